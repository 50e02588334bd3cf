"""Two hundred clients of one gateway at once, for five minutes.

    python tests/openai/load.py --assay target/debug/assay --client target/debug/examples/load_gateway

One validator, miners of the genesis model and a gateway, each a process of its own. Clients may be told 429 and nothing else;
the gateway's memory must not grow from its first minute to its last; what it adds to the time of the engine is read from its
own histogram.
"""

import argparse
import json
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


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    parser.add_argument("--client", type=Path, required=True, help="the example load_gateway")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--miners", type=int, default=2)
    parser.add_argument("--base-port", type=int, default=28600, help="first of the ports that are taken")
    return parser.parse_args()


def memory(pid):
    """Resident MiB of a process."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


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
            command = [args.client, "--url", url, "--model", "gloss", "--clients", args.clients, "--seconds", args.seconds]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
            stop.set()
            watching.join()
            seen, counts = json.loads(done.stdout), overhead(url)
            alive = all(process.poll() is None for process in network.running.values())
        finally:
            network.stop()
    minute = max(1, min(60, len(sizes) // 4))
    first, last = sum(sizes[minute : 2 * minute]) / minute, sum(sizes[-minute:]) / minute
    within = next(count for bound, count in counts if bound >= 0.01) / counts[-1][1]
    print(f"{args.clients} clients for {args.seconds} s: {seen['answers']} answers ({seen['answers'] / args.seconds:.0f}/s), "
          f"{seen['busy']} times 429, other errors: {seen['other'] or 'none'}")
    print(f"an answer takes {seen['p50_s']:.2f} s (median) and {seen['p99_s']:.2f} s (p99), nearly all of it in the engines' queues")
    print(f"the gateway adds at most {quantile(counts, 0.5) * 1e3:.1f} ms (median) and {quantile(counts, 0.99) * 1e3:.1f} ms (p99); "
          f"{within:.2%} of answers at most 10 ms")
    print(f"its memory: {first:.0f} MiB in the second minute, {last:.0f} MiB in the last")
    sys.exit(0 if seen["answers"] and not seen["other"] and alive and last < first * 1.1 + 8 and within >= 0.99 else 1)


if __name__ == "__main__":
    main()
