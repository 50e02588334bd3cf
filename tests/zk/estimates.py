"""Holds `assay zk estimate`, which is said before any work, to the time and the memory that `assay zk bench` takes.

    python3 tests/zk/estimates.py --assay PATH [--runs N] [--write docs/benchmarks.md]

The networks are those of `make bench-zk`, with all four systems, the shipped digit models, and the ends of each family of
`make bench-zk-scale`, with `sumcheck`. A figure that is less than half or more than twice its estimate ends the run with an error.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

from bench import HERE, SYSTEMS, processor, run_ours

BEGIN, END = "<!-- bench-zk-estimates: begin -->", "<!-- bench-zk-estimates: end -->"
LEAST, MOST = 0.5, 2.0
ASSETS = HERE.parents[1] / "assets"


def shipped(name, into):
    """A folder of a digit model, like those that `models.py` makes."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "network.onnx").write_bytes((ASSETS / name / f"{name}.onnx").read_bytes())
    scans = json.loads((ASSETS / "digits" / "calibration.json").read_text())
    (into / "calibration.json").write_text(json.dumps({"input_data": [scan["pixels"] for scan in scans]}))
    (into / "input.json").write_text((ASSETS / "digits" / "input-7.json").read_text())
    return into


def networks(work):
    """(name, folder, systems) of each network."""
    for family in ((), ("--scale",)):
        subprocess.run([sys.executable, str(HERE / "models.py"), str(work / ("scale" if family else "models")), *family], check=True)
    for name in ("mlp", "lenet"):
        yield name, work / "models" / name, SYSTEMS
    for name in ("digits", "digits-cnn"):
        yield name, shipped(name, work / "shipped" / name), SYSTEMS
    for family in sorted((work / "scale").iterdir()):
        sizes = sorted(family.iterdir(), key=lambda folder: int(folder.name))
        for folder in (sizes[0], sizes[-1]):
            yield f"{family.name} {folder.name}", folder, ["sumcheck"]


def estimates(assay, folder):
    """system -> what is said before any work."""
    done = subprocess.run([assay, "zk", "estimate", str(folder / "network.onnx"), "--calibration", str(folder / "calibration.json"), "--json"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"assay zk estimate {folder}: {done.stderr.strip()}")
    return json.loads(done.stdout)["estimate"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--assay", required=True)
    arguments.add_argument("--work", type=Path, default=Path("target/bench-zk"))
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--write", type=Path)
    given = arguments.parse_args()
    lines = [f"`make bench-zk-estimates` on {datetime.date.today()}, {os.cpu_count()} cores ({processor()}), medians of {given.runs} runs.", "",
             "| network | system | time, estimated | measured | share | memory, estimated | measured | share |", "|---|---|---|---|---|---|---|---|"]
    strayed = []
    for name, folder, systems in networks(given.work):
        said = estimates(given.assay, folder)
        for system in systems:
            found = run_ours(given.assay, folder, system, given.runs)
            if "refused" in found or "refused" in said[system]:
                raise SystemExit(f"{name} with {system}: bench says {found}, estimate says {said[system]}")
            seconds, memory = (said[system][key] for key in ("prove_s", "memory_mib"))
            time, space = found["prove_s"] / seconds, found["peak_rss_mib"] / memory
            lines.append(f"| {name} | `{system}` | {seconds * 1e3:.0f} ms | {found['prove_s'] * 1e3:.0f} ms | {time:.2f} | "
                         f"{memory:.0f} MiB | {found['peak_rss_mib']:.0f} MiB | {space:.2f} |")
            print(lines[-1], file=sys.stderr, flush=True)
            strayed += [f"{name} with {system}: {share:.2f} times the {what} that was estimated"
                        for what, share in (("time", time), ("memory", space)) if not LEAST <= share <= MOST]
    text = "\n".join(lines)
    print(text)
    if given.write:
        page = given.write.read_text()
        before, rest = page.split(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    if strayed:
        raise SystemExit("expected between {} and {} times the estimate:\n{}".format(LEAST, MOST, "\n".join(strayed)))


if __name__ == "__main__":
    main()
