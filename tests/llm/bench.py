"""Serves the same GGUF file with assay's engine and with llama.cpp, and writes the figures side by side.

They run in turns, each alone, on the same threads, and of each figure the best turn counts: what neighbours of this machine
take of its memory's bandwidth changes from one minute to the next. Eight streams of ours are compared with one of the same moment,
and the middle one of these ratios counts; of llama.cpp, whose servers for one and for eight are two, with the best of the same turn.
llama.cpp is that of the PyPI package in requirements.txt. A target that is missed is named, and is a failure.
"""

import argparse
import datetime
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import time


BEGIN, END = "<!-- bench-llm: begin -->", "<!-- bench-llm: end -->"


def machine():
    """The processor's name."""
    found = re.search(r"(?m)^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"


def llama(path, threads):
    """Prefill and decode rates of llama.cpp, by its own server's clock."""
    import xllamacpp as xlc

    def server(slots):
        params = xlc.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 2048 * slots
        params.n_parallel = slots
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.warmup = True
        return xlc.Server(params)

    def prompt(seed, n):
        rng = random.Random(seed)
        return [rng.randrange(300, 32000) for _ in range(n)]

    def ask(s, tokens, n):
        body = {"prompt": tokens, "n_predict": n, "max_tokens": n, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        return s.handle_completions(body)["timings"]

    s = server(1)
    ask(s, prompt(0, 64), 8)
    prefill = max(ask(s, prompt(100 + i, 512), 1)["prompt_per_second"] for i in range(5))
    decode = max(ask(s, prompt(1000 + i, 16), 129)["predicted_per_second"] for i in range(5))
    del s
    s = server(8)
    import concurrent.futures

    eight = 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i in range(5):
            timings = list(pool.map(lambda k: ask(s, prompt(5000 + 10 * i + k, 16), 129), range(8)))
            # All decode at once: the slowest one's time is that of the last token.
            eight = max(eight, 8 * 128 / max(t["predicted_ms"] / 1e3 for t in timings))
    return {"prefill_tok_s": prefill, "decode_tok_s": decode, "decode_8_tok_s": eight, "eight_over_one": eight / decode}


def assay(bench, path, threads):
    """Rates and times of assay's engine, and the bytes of a position."""
    return json.loads(subprocess.run([bench, "run", path, str(threads)], check=True, capture_output=True).stdout)


def best(turns):
    """Of each figure the best that a turn gave: the highest rate, the shortest time; of ratios the middle one."""

    def choose(key):
        if key.endswith("_s"):
            return max
        return statistics.median if key == "eight_over_one" else min

    return {key: choose(key)(turn[key] for turn in turns) for key in turns[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=pathlib.Path, required=True, help="the example bench_llm")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3, help="how often each program runs, the other between")
    parser.add_argument("--write", type=pathlib.Path, help="the page that the table is put into, between its marks")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    lines, missed = [], []

    def target(words, met):
        if not met:
            missed.append(words)

    def show(line):
        lines.append(line)
        print(line, flush=True)

    show("| weights | what | assay | llama.cpp | ratio |\n|---|---|---|---|---|")
    for form in ["q8", "f32"]:
        path = args.work / f"llama-110m-{form}.gguf"
        if not path.exists():
            subprocess.run([args.bench, "make", path, form], check=True)
        turns = []
        for _ in range(args.turns):
            turns.append((assay(args.bench, path, args.threads), llama(path, args.threads)))
            time.sleep(1)
        ours, theirs = map(best, zip(*turns))
        for key, words in [("prefill_tok_s", "prefill, 512 tokens"), ("decode_tok_s", "decode, one stream"), ("decode_8_tok_s", "decode, eight streams")]:
            show(f"| {form} | {words} | {ours[key]:.0f} tok/s | {theirs[key]:.0f} tok/s | {ours[key] / theirs[key]:.2f} |")
        target(f"{form}: prefill at least 1.0 times llama.cpp's", ours["prefill_tok_s"] >= theirs["prefill_tok_s"])
        target(f"{form}: decode at least 0.9 times llama.cpp's", ours["decode_tok_s"] >= 0.9 * theirs["decode_tok_s"])
        show(f"| {form} | eight streams over one | {ours['eight_over_one']:.2f}x | {theirs['eight_over_one']:.2f}x | |")
        target(f"{form}: eight streams at least 3 times one", ours["eight_over_one"] >= 3)
        cold, cached = ours["cold_ms"], ours["cached_ms"]
        target(f"{form}: a cached prompt in at most 0.2 of the cold time", cached <= 0.2 * cold)
        show(f"| {form} | a prompt of 528 tokens, cold and cached | {cold:.0f} ms, {cached:.0f} ms | | {cached / cold:.2f} |")
        show(f"| {form} | keys and values of a position | {ours['kv_bytes_per_token']} B | | |")
    if args.write:
        page = args.write.read_text()
        before, rest = page.split(BEGIN)
        head = f"`make bench-llm` on {datetime.date.today()}, {args.threads} threads ({machine()}). Best of {args.turns} turns of five runs each, the programs in turns; the middle ratio of eight to one."
        args.write.write_text(f"{before}{BEGIN}\n{head}\n\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}")
    for words in missed:
        print(f"missed: {words}")
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
