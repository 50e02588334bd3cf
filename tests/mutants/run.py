"""Mutants of ourselves: takes one protection after the other out of the code, and tells which tests notice.

    python3 tests/mutants/run.py [--only NAME] [--write docs/reliability.md] [--list]

A mutant is a patch: one text in one file of HEAD, which must stand there exactly once, and what comes in its place. It is built
in a worktree of its own, with a build folder of its own (`CARGO_TARGET_DIR`, or target/mutants); the checkout is not touched, and
what is not committed is not tested. Tests are tried from the cheapest on, until some turn red:

    unit       the tests of the nearest crate (cargo nextest; of the node's, those of the parts around the patch)
    simulator  200 seeds of the deterministic simulator
    processes  ten kills of real validators under load

First all of them must be green without a patch. A patch that does not compile is an error and no catch, and so is a run out of
time. Exits with 1 if a mutant is not caught. What tests say is kept in the build folder, under logs/.
"""

import argparse
import dataclasses
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"

SEEDS, KILLS = 200, 10
# Seconds: of a build, and of each kind of test.
BUILD, UNIT, SIMULATOR, PROCESSES = 7200, 1800, 1800, 900
# A test that hangs is red by itself, rather than a run out of time.
NEXTEST = '[profile.default]\nslow-timeout = { period = "120s", terminate-after = 3 }\n'

CONSENSUS, LEDGER, PRIMITIVES = "package(assay-consensus)", "package(assay-ledger)", "package(assay-primitives)"
# The whole package takes minutes: devnets, language models.
STORE = "package(assay) & test(/^(store|chain|snapshots)::/)"
MINER = "package(assay) & test(/^roles::miner::/)"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """`what` is taken away where `old` in the file at `path` becomes `new`; `near` chooses the unit tests."""

    name: str
    what: str
    path: str
    old: str
    new: str
    near: str


MUTANTS = [
    Mutant(
        "commit-not-synced",
        "a block's batch is written without fsync",
        "node/src/store.rs",
        "self.disk.write(batch, true)",
        "self.disk.write(batch, false)",
        STORE,
    ),
    Mutant(
        "rocksdb-not-synced",
        "RocksDB is never asked for the fsync that the store wants",
        "node/src/store/rocks.rs",
        "options.set_sync(sync);",
        "options.set_sync(false);",
        STORE,
    ),
    Mutant(
        "log-gone",
        "the engine starts without its write-ahead log",
        "consensus/src/bft/machine.rs",
        "let log = self.home.join(LOG);",
        "let log = self.home.join(LOG);\n        let _ = std::fs::remove_file(&log);",
        CONSENSUS,
    ),
    Mutant(
        "log-not-read",
        "the simulated engine reads nothing from its log after a failure",
        "consensus/src/bft/simulation/log.rs",
        "Ok(self.journal.entries().iter().map(|entry| decode_entry(&BorshCodec, entry.as_slice())).collect())",
        "Ok(self.journal.entries().iter().take(0).map(|entry| decode_entry(&BorshCodec, entry.as_slice())).collect())",
        CONSENSUS,
    ),
    Mutant(
        "watermark-before-log",
        "a signature is noted before its reasons are in the log",
        "consensus/src/bft/watermark.rs",
        "self.slots.flush_log().and_then(|()| self.slots.write(offset, &slot))",
        "self.slots.write(offset, &slot)",
        CONSENSUS,
    ),
    Mutant(
        "watermark-blind",
        "the signer signs a second, different message for a round",
        "consensus/src/bft/watermark.rs",
        "Outcome::Conflict => return Err(WatermarkError::Conflict { kind, height, round }),",
        "Outcome::Conflict => return Ok(()),",
        CONSENSUS,
    ),
    Mutant(
        "root-not-compared",
        "a block's state root is not compared with what its execution gives",
        "node/src/chain/verdict.rs",
        'equal("state root", executed.state_root, header.state_root)',
        "Ok(())",
        STORE,
    ),
    Mutant(
        "snapshot-root-not-compared",
        "a snapshot's state is taken whatever root it has",
        "node/src/store/install.rs",
        "if found != header.state_root {",
        "if false {",
        STORE,
    ),
    Mutant(
        "stale-nonce",
        "a nonce that was used is taken again",
        "ledger/src/execute.rs",
        "if *nonce != expected || ",
        "if *nonce > expected || ",
        LEDGER,
    ),
    Mutant(
        "signature-not-checked",
        "a transaction counts as verified without a look at its signature",
        "ledger/src/candidate.rs",
        "        transaction.verify(genesis)?;\n",
        "",
        LEDGER,
    ),
    Mutant(
        "evidence-twice",
        "a validator is slashed for each pair of conflicting votes",
        "ledger/src/execute/slashing.rs",
        "if record.tombstoned {",
        "if false {",
        LEDGER,
    ),
    Mutant(
        "refutation-twice",
        "a miner is slashed again for a response that was refuted",
        "ledger/src/execute/evidence.rs",
        'if state.read::<u64>("refuted response", &keys::refuted(&id))?.is_some() {',
        "if false {",
        LEDGER,
    ),
    Mutant(
        "replay-table-off",
        "a miner answers a nonce again",
        "node/src/roles/miner/answers.rs",
        "if file.nonces.contains(&(requester, nonce)) {",
        "if false {",
        MINER,
    ),
    Mutant(
        "replay-table-forgotten",
        "a miner forgets at a restart which nonces it has answered",
        "node/src/roles/miner/answers.rs",
        "(nonces.collect(), Arc::new(tokio::sync::Mutex::new(end)))",
        "(nonces.take(0).collect(), Arc::new(tokio::sync::Mutex::new(end)))",
        MINER,
    ),
    Mutant(
        "commitment-not-binding",
        "any scores open a commitment",
        "ledger/src/execute/scores.rs",
        "if found != commitment.hash {\n        commitment.mismatches",
        "if false {\n        commitment.mismatches",
        LEDGER,
    ),
    # Last: everything is built anew.
    Mutant(
        "quorum-of-two-thirds",
        "exactly two thirds of the power certify a block",
        "primitives/src/block.rs",
        "if u128::from(signed) * 3 <= u128::from(total) * 2 {",
        "if u128::from(signed) * 3 < u128::from(total) * 2 {",
        PRIMITIVES,
    ),
]


def git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: git {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


class OutOfTime(Exception):
    pass


class Broken(Exception):
    """Neither green nor red: nothing can be said of the tests."""


class Tree:
    """A worktree of HEAD and its build folder."""

    def __init__(self):
        self.target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target" / "mutants").resolve()
        # The same path each time, so that a build goes on from the last one.
        self.path = self.target / "worktree"
        self.logs, self.scratch = self.target / "logs", self.target / "tmp"
        self.nextest = self.target / "nextest.toml"

    def __enter__(self):
        self.logs.mkdir(parents=True, exist_ok=True)
        self.nextest.write_text(NEXTEST)
        self.remove()
        # Its files are all new, so that Cargo never takes what it built of others for them.
        git("worktree", "add", "--detach", self.path, "HEAD")
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        git("worktree", "prune")

    def run(self, command, limit, log):
        """Exit code, what was printed, and seconds. Whatever the command started is gone afterwards."""
        self.scratch.mkdir(exist_ok=True)
        env = {
            **os.environ,
            "CARGO_TARGET_DIR": str(self.target),
            "CARGO_TERM_COLOR": "never",
            "NO_COLOR": "1",
            "RUST_BACKTRACE": "0",
            "TMPDIR": str(self.scratch),
        }
        path, began = self.logs / f"{log}.log", time.monotonic()
        with path.open("w") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.path,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                raise OutOfTime(f"{log}: not done after {limit} s") from None
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
                shutil.rmtree(self.scratch, ignore_errors=True)
        text = re.sub(r"\x1b\[[0-9;]*m", "", path.read_text(errors="replace"))
        return code, text, time.monotonic() - began

    def build(self, log):
        command = ["cargo", "build", "--locked", "--workspace", "--bins", "--tests"]
        code, text, _ = self.run(command, BUILD, f"{log}-build")
        if code != 0:
            errors = [line for line in text.splitlines() if line.startswith("error")]
            raise Broken(f"it does not compile: {errors[0] if errors else 'see ' + str(self.logs)}")

    # Each of these gives nothing where all is green, or in words what is red; and seconds.

    def unit(self, near, log):
        command = ["cargo", "nextest", "run", "--locked", "--workspace", "--tests"]
        command += ["--tool-config-file", f"mutants:{self.nextest}"]
        # Twice: what fails once and holds then is the machine's doing.
        command += ["--retries", "1", "-E", near]
        code, text, seconds = self.run(command, UNIT, f"{log}-unit")
        # nextest's own: 100 is a run with failures; others are no run.
        if code not in (0, 100):
            raise Broken(f"nextest ended with {code}, which says nothing of the tests; see {self.logs}")
        return (failed_tests(text) if code else None), seconds

    def simulator(self, _, log):
        code, text, seconds = self.run([self.target / "debug" / "sim", "--seeds", SEEDS], SIMULATOR, f"{log}-simulator")
        violations = re.findall(r"^seed (\d+): (.*)$", text, re.MULTILINE)
        if code and not violations:
            raise Broken(f"the simulator ended with {code} and names no seed; see {self.logs}")
        return (invariants(violations) if code else None), seconds

    def processes(self, _, log):
        code, text, seconds = self.run([self.target / "debug" / "kills", "--kills", KILLS], PROCESSES, f"{log}-processes")
        return (complaint(text) if code else None), seconds


TIERS = [("unit", Tree.unit), ("simulator", Tree.simulator), ("processes", Tree.processes)]


def failed_tests(text):
    """The first test that failed, and how many did, by the summary at the end."""
    kinds = r"(?:TRY \d+ )?(?:FAIL|TIMEOUT|TMT|ABORT|SIG[A-Z]+)"
    line = re.compile(rf"^\s*{kinds}\s+\[[^\]]*\]\s+(?:\(\s*\d+/\d+\)\s+)?(\S+)\s+(\S+)\s*$", re.MULTILINE)
    _, _, summary = text.rpartition("Summary [")
    names = list(dict.fromkeys(name for _, name in line.findall(summary)))
    if not names:
        return "tests whose names are in the log"
    return f"`{names[0]}`" + (f" and {len(names) - 1} more" if names[1:] else "")


def invariants(violations):
    """The invariants that were violated, with the words of the first, and in how many seeds."""
    seed, first = violations[0]
    shown = first if len(first) <= 160 else first[:160].rsplit(" ", 1)[0] + " …"
    # `no report (…)` is a seed whose process died.
    names = dict.fromkeys(re.match("[a-z ]*[a-z]", words)[0] for _, words in violations if re.match("[a-z]", words))
    others = ", ".join(name for name in names if not first.startswith(name))
    return f"{shown} (seed {seed}; {len(violations)} of {SEEDS} seeds{'; also ' + others if others else ''})"


def complaint(text):
    """What `kills` ends with."""
    _, _, words = text.rpartition("Error:")
    lines = [line.strip() for line in words.split("Location:")[0].splitlines()]
    told = " ".join(line for line in lines if line and line != "Caused by:")
    return told[:200] or "it ended without a word"


def control(tree, mutants):
    """All that is going to be used must be green without a patch."""
    print("control: building HEAD", flush=True)
    tree.build("control")
    near = " | ".join(f"({near})" for near in sorted({mutant.near for mutant in mutants}))
    for name, test in TIERS:
        red, seconds = test(tree, near, "control")
        if red:
            sys.exit(f"error: without any patch the {name} tests are red: {red}; see {tree.logs}")
        print(f"control: {name} green after {seconds:.0f} s", flush=True)


def hunt(tree, mutant):
    """Which tests noticed, by what, and after how many seconds; or what went wrong."""
    path = tree.path / mutant.path
    whole = path.read_text()
    # Both writes give the file a new time, by which Cargo knows that it is another.
    path.write_text(whole.replace(mutant.old, mutant.new))
    troubles = []
    try:
        tree.build(mutant.name)
        for name, test in TIERS:
            try:
                red, seconds = test(tree, mutant.near, mutant.name)
            except (OutOfTime, Broken) as trouble:
                # Dearer tests may still tell.
                troubles.append(str(trouble))
                continue
            if red:
                return name, red, f"{seconds:.0f}"
    except (OutOfTime, Broken) as trouble:
        return None, f"error: {trouble}", ""
    finally:
        path.write_text(whole)
    return None, "; ".join(["**not caught**", *troubles]), ""


def check(mutants):
    """Every patch fits HEAD before anything is built."""
    wrong = []
    for mutant in mutants:
        count = git("show", f"HEAD:{mutant.path}").count(mutant.old)
        if count != 1:
            wrong.append(f"{mutant.name}: {mutant.path} has its text {count} times instead of once: {mutant.old!r}")
    if wrong:
        sys.exit("error: patches do not fit; look where the code has gone\n  " + "\n  ".join(wrong))


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows):
    lines = ["| mutant | what was taken away | caught by | by what | seconds |", "|---|---|---|---|---:|"]
    for mutant, (tier, words, seconds) in rows:
        lines.append(f"| `{mutant.name}` | {cell(mutant.what)} | {tier or 'nobody'} | {cell(words)} | {seconds} |")
    return "\n".join(lines)


def main():
    # As an interrupt: what was started ends, and the worktree goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", help="this mutant alone")
    parser.add_argument("--write", type=Path, help=f"the page whose part between {BEGIN} and {END} becomes the table")
    parser.add_argument("--list", action="store_true", help="names the mutants, and checks that they fit HEAD")
    given = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if given.only in (None, mutant.name)]
    if not mutants:
        parser.error(f"there is no mutant {given.only}; --list names them")
    if given.only and given.write:
        parser.error("a table of one mutant is not for the page: leave out --only or --write")
    page = given.write.read_text() if given.write else None
    if page is not None and (page.count(BEGIN), page.count(END)) != (1, 1):
        parser.error(f"{given.write} must have {BEGIN} and {END} once each")
    check(mutants)
    if given.list:
        for mutant in mutants:
            print(f"{mutant.name:<28} {mutant.what} ({mutant.path})")
        return
    if git("status", "--porcelain").strip():
        print("note: HEAD is tested, and there are changes that are not committed", flush=True)
    rows = []
    with Tree() as tree:
        try:
            control(tree, mutants)
        except (OutOfTime, Broken) as trouble:
            sys.exit(f"error: without any patch: {trouble}")
        for mutant in mutants:
            found = hunt(tree, mutant)
            rows.append((mutant, found))
            print(f"{mutant.name}: {found[0] or 'nobody'}: {found[1]}", flush=True)
    caught = sum(1 for _, (tier, _, _) in rows if tier)
    text = table(rows)
    print(f"\n{text}\n\n{caught} of {len(rows)} mutants are caught")
    if page is not None:
        told = f"{caught} of {len(rows)} on {datetime.date.today()}, at {git('rev-parse', '--short', 'HEAD').strip()}:"
        # As it is by now.
        before, rest = given.write.read_text().split(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{told}\n\n{text}\n{END}{rest.split(END)[1]}")
    if caught < len(rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
