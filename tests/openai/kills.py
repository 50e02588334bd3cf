"""Kills the miner that serves a stream, in its middle, again and again; the client must not notice.

    python tests/openai/kills.py --assay target/debug/assay [--kills 50]

One validator, three miners of the genesis model and a gateway, each a process of its own. A greedy text is told without
trouble first; then it is asked for again, and its miner is killed (SIGKILL) as soon as the first words are there. The text
must be the same to the letter. The miner is started again before the next round.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
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


class Network:
    """The processes, by name."""

    def __init__(self, assay, work, port):
        self.assay, self.work, self.running = assay, work, {}
        self.names = ["v1", *(f"m{n}" for n in range(1, MINERS + 1)), "g1"]
        self.ports = {name: port + 10 * at for at, name in enumerate(self.names)}
        spec = work / "spec.json"
        self.call("chain-spec", "new", "--preset", "dev", "--chain-id", "kills", "--validators", "1", "--text-model", "gloss",
                  "--out", spec)
        roles = {"v": "validator", "m": "miner", "g": "gateway"}
        peers = [x for name in self.names for x in ("--peer", f"127.0.0.1:{self.ports[name]}")]
        for name in self.names:
            keys = ["--keys", work / "spec.keys/validator-1"] if name == "v1" else []
            own = [x for x in zip(peers[::2], peers[1::2]) if not x[1].endswith(f":{self.ports[name]}")]
            self.call("init", "--role", roles[name[0]], "--home", work / name, "--chain-spec", spec, "--base-port",
                      self.ports[name], *keys, *(word for pair in own for word in pair))
            self.call("model", "keep", ROOT / "assets/gloss", "--home", work / name)
        # Who is asked stands in the gateway's log.
        config = work / "g1/config.toml"
        config.write_text(re.sub(r'(?m)^log = ".*"$', 'log = "warn,assay::openai=debug"', config.read_text()))
        for name in self.names:
            self.start(name)
        node = f"http://127.0.0.1:{self.ports['v1'] + 2}"
        faucet = ["--wallet", work / "spec.keys/faucet.json", "--node", node]
        self.operators = {}
        for name in self.names[1:]:
            owner = self.call("wallet", "show", "owner", "--home", work / name)
            self.call("wallet", "transfer", *faucet, owner, "500", patience=60)
            if name[0] == "m":
                self.call("miner", "register", "--subnet", "2", "--home", work / name, "--node", node, "--most", "200")
                self.operators[self.call("wallet", "show", "operator", "--home", work / name)] = name

    def call(self, *words, patience=0):
        """The output of a command, asked again for so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            done = subprocess.run([self.assay, "--quiet", *map(str, words)], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return done.stdout.strip()
            if time.monotonic() > deadline:
                sys.exit(f"assay {' '.join(map(str, words))}: {done.stderr}")
            time.sleep(0.5)

    def start(self, name):
        role = {"v": "validator", "m": "miner", "g": "gateway"}[name[0]]
        log = (self.work / f"{name}.log").open("a")
        command = [self.assay, role, "run", "--home", self.work / name]
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def height(self, name):
        try:
            call = {"jsonrpc": "2.0", "id": 1, "method": "assay_status"}
            return httpx.post(f"http://127.0.0.1:{self.ports[name] + 2}/", json=call, timeout=5).json()["result"]["height"]
        except httpx.HTTPError:
            return -1

    def restart(self, name):
        """Starts a miner again, and waits until it has caught up."""
        self.start(name)
        deadline = time.monotonic() + 60
        while self.height(name) < self.height("v1") - 1:
            if time.monotonic() > deadline:
                sys.exit(f"{name} does not catch up")
            time.sleep(0.2)

    def asked(self):
        """The miners that the gateway asked, in this order."""
        found = re.findall(r"a miner is asked for a text.*?miner=(\w+)", self.log())
        return [self.operators[operator] for operator in found]

    def log(self):
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.work / "g1.log").read_text())

    def kill(self, name):
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait()

    def stop(self):
        for process in self.running.values():
            process.kill()


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
        network = Network(args.assay.resolve(), Path(work), args.base_port)
        try:
            url = f"http://127.0.0.1:{network.ports['g1'] + 3}/v1"
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
