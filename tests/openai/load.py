"""Two hundred clients of one gateway at once, for five minutes.

    python tests/openai/load.py --assay target/debug/assay --client target/debug/examples/load_gateway

One validator, miners of the genesis model and a gateway, each a process of its own. Clients may be told 429 and nothing else;
the gateway's memory must not grow from its first minute to its last; what it adds to the time of the engine is read from its
own histogram.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
from network import Network

OVERHEAD = "assay_gateway_overhead_seconds"
BEGIN, END = "<!-- test-load: begin -->", "<!-- test-load: end -->"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    parser.add_argument("--client", type=Path, required=True, help="the example load_gateway")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--max-tokens", type=int, default=32, help="tokens of an answer at most")
    parser.add_argument("--miners", type=int, default=2)
    parser.add_argument("--base-port", type=int, default=28600, help="first of the ports that are taken")
    parser.add_argument("--write", type=Path, help="the file whose section on this is to be written anew")
    return parser.parse_args()


def memory(pid):
    """Resident MiB of a process."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def processor(pid):
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def overhead(url):
    """Counts up to each bound, the last of them of all."""
    text = httpx.get(url.removesuffix("/v1") + "/metrics", timeout=30).text
    return [(float(bound), int(count)) for bound, count in re.findall(OVERHEAD + r'_bucket\{le="([^"]+)"\} (\d+)', text)]


def quantile(counts, part):
    """The bound below which so large a part lies."""
    return next(bound for bound, count in counts if count >= part * counts[-1][1])


def main():
    args = parse()
    with tempfile.TemporaryDirectory(prefix="assay-load-") as work:
        network = Network(args.assay.resolve(), Path(work), args.base_port, args.miners)
        try:
            url = network.url()
            ask = {"model": "gloss", "messages": [{"role": "user", "content": "What is 1 + 1?"}], "max_tokens": 4}
            deadline = time.monotonic() + 120
            while True:
                try:
                    httpx.post(f"{url}/chat/completions", json=ask, timeout=30).raise_for_status()
                    break
                except httpx.HTTPError as error:
                    if time.monotonic() > deadline:
                        sys.exit(f"the gateway does not answer: {error}")
                    time.sleep(1)
            pid, sizes, stop = network.running["g1"].pid, [], threading.Event()

            def watch():
                while not stop.wait(1):
                    sizes.append(memory(pid))

            watching = threading.Thread(target=watch)
            watching.start()
            before = {name: processor(process.pid) for name, process in network.running.items()}
            command = [args.client, "--url", url, "--model", "gloss", "--clients", args.clients, "--seconds", args.seconds,
                       "--max-tokens", args.max_tokens]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
            stop.set()
            watching.join()
            seen, counts = json.loads(done.stdout), overhead(url)
            used = {name: processor(process.pid) - before[name] for name, process in network.running.items()}
            alive = all(process.poll() is None for process in network.running.values())
        finally:
            network.stop()
    minute = max(1, min(60, len(sizes) // 4))
    first, last = sum(sizes[minute : 2 * minute]) / minute, sum(sizes[-minute:]) / minute
    within = next(count for bound, count in counts if bound >= 0.01) / counts[-1][1]
    cores = {name: seconds / args.seconds for name, seconds in used.items()}
    rows = [
        (f"answers, of {args.max_tokens} tokens at most, to {args.clients} clients in {args.seconds} s",
         f"{seen['answers']:,}, {seen['answers'] / args.seconds:.0f} a second"),
        ("told 429", f"{seen['busy']:,}"),
        ("other errors", str(seen["other"] or "none")),
        ("an answer takes, nearly all of it in the engines' queues: median, p99", f"{seen['p50_s']:.2f} s, {seen['p99_s']:.2f} s"),
        ("the gateway adds to its miners' engines at most: median, p99",
         f"{quantile(counts, 0.5) * 1e3:.1f} ms, {quantile(counts, 0.99) * 1e3:.1f} ms"),
        ("answers to which it adds at most 10 ms", f"{within:.1%}"),
        ("its memory in the second minute, in the last", f"{first:.0f} MiB, {last:.0f} MiB"),
        ("cores used by the gateway, the miners, the validator",
         f"{cores['g1']:.2f}, {sum(c for name, c in cores.items() if name[0] == 'm'):.2f}, {cores['v1']:.2f}"),
    ]
    for row in rows:
        print(": ".join(row))
    if args.write:
        head = (f"`make test-load` on {datetime.date.today()}, {os.cpu_count()} cores, which the clients share with a validator, "
                f"{args.miners} miners and the gateway, each a process of its own.")
        lines = [f"| {what} | {value} |" for what, value in [("", "figure"), ("---", "---"), *rows]]
        text = args.write.read_text()
        before, rest = text.split(BEGIN)
        args.write.write_text(f"{before}{BEGIN}\n{head}\n\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}")
    sys.exit(0 if seen["answers"] and not seen["other"] and alive and last < first * 1.1 + 8 and within >= 0.99 else 1)


if __name__ == "__main__":
    main()
