"""A network of processes: one validator, some miners of the genesis model and a gateway, each with a home of its own."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent.parent


class Network:
    """The processes, by name."""

    def __init__(self, assay, work, port, miners):
        self.assay, self.work, self.running = assay, work, {}
        self.names = ["v1", *(f"m{n}" for n in range(1, miners + 1)), "g1"]
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
        self.operators = {}
        try:
            self.join(f"http://127.0.0.1:{self.ports['v1'] + 2}")
        except BaseException:
            self.stop()
            raise

    def join(self, node):
        """Starts them all, and makes the miners known on chain."""
        for name in self.names:
            self.start(name)
        faucet = ["--wallet", self.work / "spec.keys/faucet.json", "--node", node]
        for name in self.names[1:]:
            home = ["--home", self.work / name]
            owner = self.call("wallet", "show", "owner", *home)
            self.call("wallet", "transfer", *faucet, owner, "500", patience=60)
            if name[0] == "m":
                self.call("miner", "register", "--subnet", "2", *home, "--node", node, "--most", "200")
                self.operators[self.call("wallet", "show", "operator", *home)] = name

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

    def url(self):
        """The base of the gateway's API."""
        return f"http://127.0.0.1:{self.ports['g1'] + 3}/v1"

    def stop(self):
        for process in self.running.values():
            process.kill()
