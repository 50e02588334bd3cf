"""Holds `assay model inspect` to what it says: 20 models of different kinds, and 21 that are broken.

    python tests/llm/inspect_models.py --assay target/debug/assay

The models are random and small, made here in the layouts of Hugging Face, GGUF, ONNX and this project. Of a good one, kind,
architecture, parameters, context and precision must be right; a broken one must be refused with the reason, in a moment, and
without a panic.
"""

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/openai"))
import make_models  # noqa: E402

GLOSS = ROOT / "assets/gloss"
VOCABULARY = 2048
HIDDEN, FEED, HEADS, KV, HEAD, LAYERS = 64, 112, 4, 2, 16, 2
SIZES = {"F32": ("<f4", 4), "F16": ("<f2", 2)}


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(0, 0.1, shape).astype("f4")


def write_safetensors(path, tensors, dtype="F32"):
    header, parts, at = {}, [], 0
    for name, array in tensors.items():
        if dtype == "BF16":
            raw = (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = np.ascontiguousarray(array).astype(SIZES[dtype][0]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + len(raw)]}
        parts.append(raw)
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def llama(biases=False, head_norms=False, tied=True, fused=False, extra_norms=()):
    """Tensors of a decoder."""
    t = {"model.embed_tokens.weight": draw(VOCABULARY, HIDDEN), "model.norm.weight": np.ones(HIDDEN, "f4")}
    if not tied:
        t["lm_head.weight"] = draw(VOCABULARY, HIDDEN)
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        q, kv = HEADS * HEAD, KV * HEAD
        if fused:
            t[at + "self_attn.qkv_proj.weight"] = draw(q + 2 * kv, HIDDEN)
            t[at + "mlp.gate_up_proj.weight"] = draw(2 * FEED, HIDDEN)
        else:
            for name, width in (("q", q), ("k", kv), ("v", kv)):
                t[at + f"self_attn.{name}_proj.weight"] = draw(width, HIDDEN)
                if biases:
                    t[at + f"self_attn.{name}_proj.bias"] = draw(width)
            t[at + "mlp.gate_proj.weight"], t[at + "mlp.up_proj.weight"] = draw(FEED, HIDDEN), draw(FEED, HIDDEN)
        t[at + "self_attn.o_proj.weight"], t[at + "mlp.down_proj.weight"] = draw(HIDDEN, q), draw(HIDDEN, FEED)
        if head_norms:
            t[at + "self_attn.q_norm.weight"] = t[at + "self_attn.k_norm.weight"] = np.ones(HEAD, "f4")
        for norm in ("input_layernorm", "post_attention_layernorm", *extra_norms):
            t[at + norm + ".weight"] = np.ones(HIDDEN, "f4")
    return t


def config(kind, **more):
    base = {
        "model_type": kind, "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": FEED,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
    }
    return {**base, **more}


def folder(path, description, tensors, dtype="F32", shards=1):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(description))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GLOSS / name, path)
    if shards == 1:
        write_safetensors(path / "model.safetensors", tensors, dtype)
        return path
    index, names = {}, list(tensors)
    for n in range(shards):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[n::shards]}
        write_safetensors(path / file, part, dtype)
        index |= dict.fromkeys(part, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return path


# GGUF: type number, bytes of a block, values of a block.
FORMS = {"F32": (0, 4, 1), "F16": (1, 2, 1), "Q8_0": (8, 34, 32), "Q4_K": (12, 144, 256), "Q6_K": (14, 210, 256)}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(v):
    if isinstance(v, bool):
        return struct.pack("<I", 7) + bytes([v])
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    kind, pack = (8, text) if isinstance(v[0], str) else (5, lambda x: struct.pack("<i", x))
    return struct.pack("<IIQ", 9, kind, len(v)) + b"".join(map(pack, v))


def gguf(path, form, version=3, hidden=256, arch="llama", cut=None, **changes):
    """A Llama; matrices in `form`, norms in F32."""
    heads, feed = hidden // 64, 2 * hidden
    words = json.loads((GLOSS / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    known = set(tokens)
    added = {t["content"]: t["id"] for t in words["added_tokens"]}
    tokens += [c for c in sorted(added, key=added.get) if c not in known]
    merges = [" ".join(m) if isinstance(m, list) else m for m in words["model"]["merges"]]
    keys = {
        "general.architecture": arch, f"{arch}.context_length": 256, f"{arch}.embedding_length": hidden,
        f"{arch}.block_count": LAYERS, f"{arch}.feed_forward_length": feed, f"{arch}.attention.head_count": heads,
        f"{arch}.attention.head_count_kv": heads, f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{arch}.rope.dimension_count": 64, f"{arch}.vocab_size": len(tokens), "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t in added else 1 for t in tokens], "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 0, **changes,
    }
    keys = {k: v for k, v in keys.items() if v is not None}
    shapes = {"token_embd.weight": (len(tokens), hidden), "output_norm.weight": (hidden,)}
    for i in range(LAYERS):
        at = f"blk.{i}."
        shapes |= {at + f"attn_{p}.weight": (hidden, hidden) for p in ("q", "k", "v", "output")}
        shapes |= {at + "ffn_gate.weight": (feed, hidden), at + "ffn_up.weight": (feed, hidden), at + "ffn_down.weight": (hidden, feed)}
        shapes |= {at + "attn_norm.weight": (hidden,), at + "ffn_norm.weight": (hidden,)}
    head = b"GGUF" + struct.pack("<IQQ", version, len(shapes), len(keys))
    head += b"".join(text(k) + value(v) for k, v in keys.items())
    data, infos, total = b"", b"", 0
    for name, shape in shapes.items():
        kind, size, block = FORMS[form if len(shape) == 2 else "F32"]
        count = int(np.prod(shape))
        total += count
        data += b"\0" * (-len(data) % 32)
        infos += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape))
        infos += struct.pack("<IQ", kind, len(data))
        data += b"\0" * (count // block * size)
    whole = head + infos
    whole += b"\0" * (-len(whole) % 32) + data
    path.write_bytes(whole[:cut] if cut else whole)
    return path, total


def good(work):
    """Name, path and what is expected of each."""
    def expect(tensors, kind="language_model", architecture=None, form="F32", context=256):
        return {"kind": kind, "architecture": architecture, "parameters": sum(t.size for t in tensors.values()),
                "context": context, "form": form}

    families = [
        ("llama in single precision", "llama", {}, llama(), "F32"),
        ("llama in half precision", "llama", {}, llama(), "F16"),
        ("llama in bfloat16", "llama", {}, llama(), "BF16"),
        ("llama with a head of its own", "llama", {"tie_word_embeddings": False}, llama(tied=False), "F32"),
        ("mistral", "mistral", {"sliding_window": 128}, llama(), "F32"),
        ("qwen2", "qwen2", {"use_sliding_window": False}, llama(biases=True), "F32"),
        ("qwen3", "qwen3", {}, llama(head_norms=True), "F32"),
        ("gemma", "gemma", {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}, llama(), "F32"),
        ("phi3", "phi3", {"tie_word_embeddings": False}, llama(fused=True, tied=False), "F32"),
    ]
    for name, kind, more, tensors, form in families:
        path = folder(work / name.replace(" ", "-"), config(kind, **more), tensors, form)
        yield name, path, expect(tensors, architecture=kind, form=form)
    tensors = llama()
    yield "llama in three shards", folder(work / "shards", config("llama"), tensors, shards=3), expect(tensors, architecture="llama")
    for form in FORMS:
        path, total = gguf(work / f"{form}.gguf", form)
        shown = {"Q4_K": "Q4_K", "Q6_K": "Q6_K"}.get(form, form)
        yield f"gguf {form}", path, {"kind": "language_model", "architecture": "llama", "parameters": total, "context": 256, "form": shown}
    make_models.encoder(work / "encoder")
    yield "bert", work / "encoder", {"kind": "embedder", "architecture": "bert", "context": 128, "form": "F32"}
    yield "the genesis model", GLOSS, {"kind": "language_model", "architecture": "llama", "parameters": 2234400, "context": 512, "form": "F16"}
    yield "an ONNX perceptron", ROOT / "assets/digits/digits.onnx", {"kind": "onnx"}
    yield "an ONNX convolution", ROOT / "assets/digits-cnn/digits-cnn.onnx", {"kind": "onnx"}
    yield "a compiled model", ROOT / "assets/digits/digits.assay", {"kind": "exact"}


def broken(work):
    """Name, path and words that the refusal has."""
    number = iter(range(1000))

    def file(data, name="x.gguf"):
        path = work / f"b{next(number)}"
        path.mkdir(parents=True)
        (path / name).write_bytes(data)
        return path / name

    def changed(change=lambda path: None, tensors=None, **more):
        path = folder(work / f"b{next(number)}", config("llama", **more), tensors or llama())
        change(path)
        return path

    weights = "model.safetensors"
    yield "an empty file", file(b""), "empty"
    yield "an empty folder", file(b"", "x").parent, "config.json"
    yield "noise", file(np.random.default_rng(1).bytes(4096), "x.bin"), "not a model"
    yield "a pickle", file(b"\x80\x02}q\x00.", "pytorch_model.bin"), "PyTorch"
    yield "noise that is called ONNX", file(np.random.default_rng(2).bytes(4096), "x.onnx"), ""
    yield "a config that is no JSON", changed(lambda p: (p / "config.json").write_text("{")), "config.json"
    yield "an unknown architecture", changed(model_type="mamba"), "mamba"
    yield "no weights", changed(lambda p: (p / weights).unlink()), "safetensors"
    yield "no tokenizer", changed(lambda p: (p / "tokenizer.json").unlink()), "tokenizer"
    yield "weights that were cut off", changed(lambda p: (p / weights).write_bytes((p / weights).read_bytes()[:-1000])), ""
    yield "a header as long as the sea", changed(lambda p: (p / weights).write_bytes(struct.pack("<Q", 2**60) + b"{}")), ""
    missing = llama()
    del missing["model.layers.1.mlp.up_proj.weight"]
    yield "a tensor that is missing", changed(tensors=missing), "up_proj"
    yield "a config that lies about the width", changed(hidden_size=128), ""
    yield "a config that lies about the vocabulary", changed(vocab_size=9000), ""
    yield "no layers", changed(num_hidden_layers=0), ""
    yield "more layers than there are", changed(num_hidden_layers=3), "layers.2"
    yield "a million layers", changed(num_hidden_layers=10**6), ""
    yield "room for one token only", changed(max_position_embeddings=1), "context"
    yield "heads that do not share", changed(num_attention_heads=3, num_key_value_heads=2), ""
    path, _ = gguf(work / "cut.gguf", "Q8_0", cut=200_000)
    yield "a GGUF that was cut off", path, ""
    path, _ = gguf(work / "version.gguf", "Q8_0", version=99)
    yield "a GGUF of the future", path, "version"


def inspect(assay, path):
    done = subprocess.run([assay, "--json", "model", "inspect", path], capture_output=True, text=True, timeout=60, check=False)
    if "panicked" in done.stderr:
        return done.returncode, {"panic": done.stderr}
    line = done.stdout.strip() or done.stderr.strip()
    return done.returncode, json.loads(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    args = parser.parse_args()
    right = refused = 0
    wrong = []
    with tempfile.TemporaryDirectory(prefix="assay-inspect-") as work:
        (Path(work) / "good").mkdir()
        (Path(work) / "broken").mkdir()
        all_good = list(good(Path(work) / "good"))
        for name, path, expected in all_good:
            code, found = inspect(args.assay, path)
            told = {**found, "form": found["precision"][0][0] if found.get("precision") else None}
            differ = {k: (told.get(k), v) for k, v in expected.items() if told.get(k) != v}
            if code or differ or found.get("refusal"):
                wrong.append(f"{name}: {differ or found}")
            else:
                right += 1
            print(f"{name:32} {told.get('kind')} {told.get('architecture')} {told.get('parameters')} {told.get('form')}")
        all_broken = list(broken(Path(work) / "broken"))
        for name, path, words in all_broken:
            code, found = inspect(args.assay, path)
            reason = found.get("refusal") or (found.get("error") or {}).get("message")
            if not code or not reason or words not in reason or "panic" in found:
                wrong.append(f"{name}: expected a refusal with {words!r}, found {found}")
            else:
                refused += 1
            print(f"{name:40} {str(reason).replace(work, '')}")
    print(f"right on {right} of {len(all_good)} models; {refused} of {len(all_broken)} broken ones refused with the reason")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
