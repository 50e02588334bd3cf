"""Measures how proving time grows with width, depth and batch, and draws it.

    python3 tests/zk/scale.py --assay PATH [--runs N] [--write docs/benchmarks.md] [--plot docs/images/zk-scale.svg]

Each family of `models.py --scale` varies one number and leaves the rest. The table says, for each network, the time of one proof
and how it compares with the smallest of its family; the plot has both axes logarithmic, with a line of slope 1 beside.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

from bench import HERE, processor, run_ours

BEGIN, END = "<!-- bench-zk-scale: begin -->", "<!-- bench-zk-scale: end -->"
# What may be asked of the design: a batch of 32 inputs costs at most this many times one.
BATCH_LIMIT = 12.0


def measure(assay, models, runs):
    """family -> [(size, figures)] by size."""
    found = {}
    for folder in sorted(models.glob("*/*"), key=lambda f: (f.parent.name, int(f.name))):
        figures = run_ours(assay, folder, "sumcheck", runs)
        if "refused" in figures:
            raise SystemExit(f"{folder.parent.name} {folder.name}: {figures['refused']}")
        found.setdefault(folder.parent.name, []).append((int(folder.name), figures))
        print(f"{folder.parent.name} {folder.name}: {figures['prove_s']:.3f} s", file=sys.stderr, flush=True)
    return found


def plot(found, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "assay"
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.5), constrained_layout=True)
    for axis, (family, points) in zip(axes.flat, found.items()):
        sizes, times = [s for s, _ in points], [f["prove_s"] * 1e3 for _, f in points]
        axis.loglog(sizes, times, "o-", label="measured")
        axis.loglog(sizes, [times[0] * s / sizes[0] for s in sizes], ":", color="grey", label="slope 1")
        axis.set_title(family.replace("-", ", "))
        axis.set_xlabel(family.split("-")[1])
        axis.set_ylabel("one proof, ms")
        axis.set_xticks(sizes, [str(s) for s in sizes])
        axis.minorticks_off()
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--assay", required=True)
    arguments.add_argument("--work", type=Path, default=Path("target/bench-zk"))
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--write", type=Path)
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    models = given.work / "scale"
    subprocess.run([sys.executable, str(HERE / "models.py"), str(models), "--scale"], check=True)
    found = measure(given.assay, models, given.runs)
    lines = [f"`make bench-zk-scale` on {datetime.date.today()}, {os.cpu_count()} cores ({processor()}), `sumcheck`, medians of {given.runs} runs.", "",
             "| family | size | prove | of the smallest | prove, CPU | verify | proof, B | peak memory |", "|---|---|---|---|---|---|---|---|"]
    for family, points in found.items():
        least = points[0][1]["prove_s"]
        for size, f in points:
            lines.append(f"| {family} | {size} | {f['prove_s'] * 1e3:.0f} ms | {f['prove_s'] / least:.1f}x | {f['prove_cpu_s']:.2f} s | "
                         f"{f['verify_s'] * 1e3:.1f} ms | {f['proof_bytes']:,} | {f['peak_rss_mib']:.0f} MiB |")
    text = "\n".join(lines)
    print(text)
    if given.plot:
        plot(found, given.plot)
    if given.write:
        page = given.write.read_text()
        before, rest = page.split(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    for family in ("mlp-batch", "cnn-batch"):
        times = {size: f["prove_s"] for size, f in found[family]}
        if times[32] > BATCH_LIMIT * times[1]:
            raise SystemExit(f"{family}: 32 inputs cost {times[32] / times[1]:.1f} times one; expected at most {BATCH_LIMIT:.0f}")


if __name__ == "__main__":
    main()
