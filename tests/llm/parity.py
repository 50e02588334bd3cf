"""Compares the greedy texts of a model in assay's engine and in llama.cpp, from the same GGUF file.

    python tests/llm/parity.py --assay target/debug/assay [--model assets/gloss]
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import tokenizers
import xllamacpp

WORDS = ["river", "stone", "to walk", "bright", "an apple", "justice", "slowly", "a house", "music", "fire"]
QUESTIONS = [q.replace("{}", w) for w in WORDS for q in ('What does "{}" mean?', 'Define "{}".', 'Use "{}" in a sentence.')]
QUESTIONS += [f"What is {a} + {b}?" for a, b in [(1, 2), (12, 7), (40, 23), (8, 91), (77, 77)]]
TOKENS = 48
PORT = 28600


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    parser.add_argument("--model", type=Path, default=Path("assets/gloss"))
    args = parser.parse_args()
    words = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
    prompts = [words.encode(f"<|end|><|user|>{q}<|end|><|assistant|>", add_special_tokens=False).ids for q in QUESTIONS]
    with tempfile.TemporaryDirectory(prefix="assay-parity-") as work:
        path = Path(work) / "model.gguf"
        subprocess.run([args.assay, "--quiet", "model", "gguf", args.model, "--out", path, "--form", "f32"], check=True)
        server = subprocess.Popen([args.assay, "--json", "serve", f"model={path}", "--precision", "f32", "--listen", f"127.0.0.1:{PORT}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            url = json.loads(server.stdout.readline())["base_url"]
            ours = []
            for prompt in prompts:
                body = {"model": "model", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}
                answer = httpx.post(f"{url}/completions", json=body, timeout=60).raise_for_status().json()
                ours.append(answer["choices"][0]["text"])
        finally:
            server.terminate()
            server.wait()
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 512
        llama = xllamacpp.Server(params)
        theirs = []
        for prompt in prompts:
            body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "cache_prompt": False}
            answer = llama.handle_completions(body)
            theirs.append(answer.get("content") if "content" in answer else answer["choices"][0]["text"])
    same = sum(a == b for a, b in zip(ours, theirs))
    for question, a, b in zip(QUESTIONS, ours, theirs):
        if a != b:
            print(f"{question}\n  assay      {a!r}\n  llama.cpp  {b!r}", file=sys.stderr)
    print(f"{same} of {len(QUESTIONS)} greedy texts of up to {TOKENS} tokens are the same in assay and in llama.cpp "
          f"(xllamacpp {importlib.metadata.version('xllamacpp')})")
    sys.exit(0 if same == len(QUESTIONS) else 1)


if __name__ == "__main__":
    main()
