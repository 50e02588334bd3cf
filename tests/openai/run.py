"""Runs the clients' tests twice: against a server of this machine's own, with keys, and against a devnet's gateway.

    python tests/openai/run.py --assay target/debug/assay [-- pytest's arguments]

A server serves the genesis model, a model that says what a script tells it to, and a random encoder. A devnet serves what
its genesis has; there the slow tests, which load one engine, are left out.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ORIGIN = "https://app.example"
PATIENCE = 120


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    parser.add_argument("--base-port", type=int, default=28200, help="first of the ports that are taken")
    parser.add_argument("--only", choices=["server", "devnet"])
    parser.add_argument("rest", nargs="*", help="pytest's arguments")
    return parser.parse_args()


@contextlib.contextmanager
def running(command, log, pattern):
    """A process, once its output has what matches: gives the process and the match."""
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(map(str, command))} did not come to answer:\n{log.read_text()}")
            time.sleep(0.2)
        yield process, found
    finally:
        process.terminate()
        process.wait(timeout=30)


def tests(arguments, **settings):
    """Whether they pass."""
    env = {**os.environ, **{f"ASSAY_OPENAI_{name}": str(value) for name, value in settings.items()}}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", HERE, "-c", HERE / "pytest.ini", HERE]
    return subprocess.run([*command, *arguments], env=env, check=False).returncode == 0


def key(assay, keys, name, *limits):
    command = [assay, "--quiet", "gateway", "key", "add", name, "--file", keys, *limits]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def server(args, work):
    models, keys = work / "models", work / "keys.json"
    subprocess.run([sys.executable, HERE / "make_models.py", models], check=True)
    settings = {
        "KEY": key(args.assay, keys, "all"),
        "FORBIDDEN_KEY": key(args.assay, keys, "other", "--model", "another"),
        "SPENT_KEY": key(args.assay, keys, "spent", "--tokens-per-day", "0"),
        "AUTH": 1, "MODEL": "gloss", "SCRIPTED": "scripted", "ADAPTER": "bent", "EMBED": "encoder", "CORS": ORIGIN,
    }
    command = [args.assay, "serve", f"gloss={ROOT / 'assets/gloss'}", f"scripted={models / 'scripted'}",
               "--adapter", f"gloss/bent={models / 'adapter'}", "--embed", f"encoder={models / 'encoder'}", "--listen", f"127.0.0.1:{args.base_port}", "--cors", ORIGIN, "--keys", keys]
    with running(command, work / "server.log", r"http://\S+/v1") as (process, found):
        return tests(args.rest, URL=found[0], PID=process.pid, **settings)


def devnet(args, work):
    command = [args.assay, "devnet", "--adversaries", "", "--base-port", str(args.base_port + 10)]
    with running(command, work / "devnet.log", r"OpenAI API\s+(\S+)") as (_, found):
        print(found[0])
        return tests(["-m", "not slow", *args.rest], URL=found[1], MODEL="gloss", EMBED="gloss")


def main():
    args = parse()
    with tempfile.TemporaryDirectory(prefix="assay-openai-") as work:
        runs = [run for run in (server, devnet) if args.only in (None, run.__name__)]
        passed = [run(args, Path(work)) for run in runs]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
