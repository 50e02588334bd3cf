"""Writes models that need no training: `python make_models.py DIR` makes DIR/scripted, DIR/encoder and DIR/adapter.

`scripted` is a Llama whose attention and feed-forward parts are zero, whose embedding is the identity and whose head
is a table "after this token comes that one". So it says, to the letter, what a test wants to hear: calls of tools,
characters cut across tokens, stop strings cut across tokens. A conversation ends in the token that starts a script.

`encoder` is a BERT of random weights, for the form of embeddings; its vectors mean nothing.

`adapter` is a low-rank adapter of random weights for the genesis model: what it says means nothing, but is of its own.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

END = "<|end|>"
# What the model says after each starting token, token by token. A token other than a byte stands in one script only.
SCRIPTS = {
    # Text, then a call.
    "<|call|>": ["So: ", "<tool", "_call>", '{"name": "add", ', '"arguments": {"a": 1, "b": 2}}', "</tool_call>"],
    # Two calls.
    "<|twice|>": [
        "<tool_call>\n", '{"name": "add", "arguments": {"a": 3, "b": 4}}', "\n</tool_call>",
        "<tool_call> ", '{"name": "add", "arguments": {"a": 5, "b": 6}}', " </tool_call>",
    ],
    # A call without the marks.
    "<|bare|>": ['{"name"', ': "add", ', '"arguments": ', '{"a": 7, "b": 8}}'],
    # What looks like a call and is none.
    "<|broken|>": ["<tool_call>no", " JSON", " at all", "</tool_call>!"],
    # A call of a tool that is not offered.
    "<|stranger|>": ["<tool_call>{", '"name": "rm", "arguments": {}', "}</tool_call>"],
    # Arguments as a string of JSON.
    "<|string|>": ['<tool_call>{"name":"add","arguments":', '"{\\"a\\": 9}"', '}</tool_call>\n'],
    # Characters of several bytes, a byte a token.
    "<|bytes|>": ["face ", b"\xf0", b"\x9f", b"\x98", b"\x80", " and ", b"\xc3", b"\xa9", " done"],
    # Half a character at the end.
    "<|half|>": ["half ", b"\xe2", b"\x82"],
    # A stop string over token borders, after a false start of it.
    "<|stop|>": ["alpha EN", "X beta ", "E", "ND", " gamma"],
    # Held back at the end, as it may become a stop string.
    "<|tail|>": ["tail ", "EN "],
}


def byte_letters():
    """GPT-2's letters for bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


LETTERS = byte_letters()


def spelled(token):
    data = token.encode() if isinstance(token, str) else token
    return "".join(LETTERS[b] for b in data)


def safetensors(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tokenizer(vocabulary, specials, post=None, own=()):
    added = [
        {"id": vocabulary[s], "content": s, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": s not in own}
        for s in [*specials, *own]
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": post or level, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocabulary, "merges": []},
    }


def adapter(folder, model):
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((model / "config.json").read_text())
    rank, random, hidden = 4, np.random.default_rng(7), config["hidden_size"]
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for part in "qkvo":
            name = f"base_model.model.model.layers.{layer}.self_attn.{part}_proj"
            tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.1, (rank, hidden))
            tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.1, (hidden, rank))
    safetensors(folder / "adapter_model.safetensors", tensors)
    described = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj", "k_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(described))


def scripted(folder):
    folder.mkdir(parents=True, exist_ok=True)
    specials = [END, "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"]
    # Not special: they stand in messages, where a server need not read special ones.
    words = [*specials, *SCRIPTS, *(LETTERS[b] for b in range(256))]
    after = {}
    for start, script in SCRIPTS.items():
        before = start
        for token in script:
            word = spelled(token)
            if word not in words:
                words.append(word)
            assert before not in after, f"{before!r} stands in two scripts"
            after[before] = word
            before = word
        assert before not in after, f"{before!r} stands in two scripts"
        after[before] = END
    size = -(-len(words) // 64) * 64
    words += [f"<|spare{i}|>" for i in range(size - len(words))]
    vocabulary = {word: i for i, word in enumerate(words)}
    head = np.zeros((size, size), dtype="f4")
    for token, i in vocabulary.items():
        # Whatever is in no script ends the text.
        head[vocabulary[after.get(token, END)], i] = 1
    none = np.zeros((size, size), dtype="f4")
    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": np.eye(size, dtype="f4"), "model.norm.weight": np.ones(size, dtype="f4"),
        "lm_head.weight": head,
        layer + "input_layernorm.weight": np.ones(size, dtype="f4"),
        layer + "post_attention_layernorm.weight": np.ones(size, dtype="f4"),
        **{layer + f"self_attn.{p}_proj.weight": none for p in "qkvo"},
        layer + "mlp.gate_proj.weight": none[:64], layer + "mlp.up_proj.weight": none[:64],
        layer + "mlp.down_proj.weight": none[:, :64],
    }
    safetensors(folder / "model.safetensors", tensors)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": size, "hidden_size": size,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": size // 64,
        "num_key_value_heads": size // 64, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 0,
        "eos_token_id": 0, "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(vocabulary, specials, own=list(SCRIPTS))))
    template = "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": END, "eos_token": END, "add_bos_token": False, "chat_template": template,
    }))


def encoder(folder, hidden=32, layers=2, positions=128):
    folder.mkdir(parents=True, exist_ok=True)
    specials = ["[PAD]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*specials, *(LETTERS[b] for b in range(256))])}
    size = len(vocabulary)
    draw = np.random.default_rng(1)

    def matrix(*shape):
        return draw.normal(0, 0.3, shape).astype("f4")

    def norm(name):
        return {f"{name}.LayerNorm.weight": np.ones(hidden), f"{name}.LayerNorm.bias": np.zeros(hidden)}

    tensors = {
        "embeddings.word_embeddings.weight": matrix(size, hidden),
        "embeddings.position_embeddings.weight": matrix(positions, hidden),
        "embeddings.token_type_embeddings.weight": matrix(2, hidden), **norm("embeddings"),
    }
    for i in range(layers):
        at = f"encoder.layer.{i}"
        for part in ["query", "key", "value"]:
            tensors[f"{at}.attention.self.{part}.weight"] = matrix(hidden, hidden)
            tensors[f"{at}.attention.self.{part}.bias"] = matrix(hidden)
        tensors[f"{at}.attention.output.dense.weight"] = matrix(hidden, hidden)
        tensors[f"{at}.attention.output.dense.bias"] = matrix(hidden)
        tensors |= norm(f"{at}.attention.output")
        tensors[f"{at}.intermediate.dense.weight"] = matrix(2 * hidden, hidden)
        tensors[f"{at}.intermediate.dense.bias"] = matrix(2 * hidden)
        tensors[f"{at}.output.dense.weight"] = matrix(hidden, 2 * hidden)
        tensors[f"{at}.output.dense.bias"] = matrix(hidden)
        tensors |= norm(f"{at}.output")
    safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "bert", "vocab_size": size, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 2, "intermediate_size": 2 * hidden, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "max_position_embeddings": positions, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute", "use_cache": True,
    }))
    post = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "special_tokens": {s: {"id": s, "ids": [vocabulary[s]], "tokens": [s]} for s in ["[CLS]", "[SEP]"]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(vocabulary, specials, post)))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    scripted(where / "scripted")
    encoder(where / "encoder")
    adapter(where / "adapter", Path(__file__).parents[2] / "assets" / "gloss")
    print(f"made scripted, encoder and adapter in {where}")
