"""Kills the miner that serves a stream, in its middle, again and again; the client must not notice.

    python tests/openai/kills.py --assay target/debug/assay [--kills 50]

One validator, three miners of the genesis model and a gateway, each a process of its own. A greedy text is told without
trouble first; then it is asked for again, and its miner is killed (SIGKILL) as soon as the first words are there. The text
must be the same to the letter. The miner is started again before the next round.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import httpx
from network import Network

MINERS = 3
# Long enough that a miner is in the middle of it when its first words arrive.
TOKENS = 440
PROMPTS = ["What does \"river\" mean?", "Define \"stone\".", "What is 12 + 30?", "Name the word for: a large natural stream of water."]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--base-port", type=int, default=28400, help="first of the ports that are taken")
    return parser.parse_args()


def tell(url, prompt, seen=None):
    """A greedy text, whole; `seen` is called with the first words."""
    body = {"model": "gloss", "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": TOKENS,
            "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    text, usage = "", None
    with httpx.stream("POST", f"{url}/chat/completions", json=body, timeout=60) as answer:
        if answer.status_code != 200:
            answer.read()
            raise RuntimeError(f"{answer.status_code}: {answer.text}")
        for line in answer.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            usage = event.get("usage") or usage
            piece = event["choices"][0]["delta"].get("content") if event["choices"] else None
            text += piece or ""
            if piece and seen:
                seen()
                seen = None
    return text, usage["completion_tokens"]


def main():
    args = parse()
    with tempfile.TemporaryDirectory(prefix="assay-kills-") as work:
        network = Network(args.assay.resolve(), Path(work), args.base_port, MINERS)
        try:
            url = network.url()
            deadline = time.monotonic() + 120
            while True:
                try:
                    undisturbed = {prompt: tell(url, prompt) for prompt in PROMPTS}
                    break
                except (httpx.HTTPError, RuntimeError) as error:
                    if time.monotonic() > deadline:
                        sys.exit(f"the gateway does not answer: {error}")
                    time.sleep(1)
            same = middle = 0
            longest = 0.0
            for round_ in range(args.kills):
                prompt = PROMPTS[round_ % len(PROMPTS)]
                killed = []

                def strike():
                    killed.append(network.asked()[-1])
                    network.kill(killed[0])

                before, began = len(network.asked()), time.monotonic()
                try:
                    told = tell(url, prompt, strike)
                except (httpx.HTTPError, RuntimeError) as error:
                    told = repr(error)
                longest = max(longest, time.monotonic() - began)
                same += told == undisturbed[prompt]
                if told != undisturbed[prompt]:
                    print(f"round {round_}: {told} in the place of {undisturbed[prompt]}", file=sys.stderr)
                middle += len(network.asked()) > before + 1
                network.restart(killed[0])
            print(f"{args.kills} kills, {middle} of them in the middle of a text that another miner went on with; {same} texts are "
                  f"the same as undisturbed; the longest took {longest:.1f} s")
            sys.exit(0 if same == args.kills and middle else 1)
        finally:
            network.stop()


if __name__ == "__main__":
    main()
