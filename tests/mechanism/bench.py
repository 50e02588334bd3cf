"""Settles the same random subnets with `assay` and with numpy, one after the other on the same core, compares the results and
prints the times side by side.

    python3 tests/mechanism/bench.py --bench PATH [--runs N] [--write docs/benchmarks.md] [--plot docs/images/mechanism-scale.svg]

A settlement is what the ledger computes at the end of an epoch: each miner's reports aggregated (`robust`), then the epoch's
rewards (classic Yuma). The numpy code has the same formulas in double precision, vectorised over the whole matrix.
"""

import os

# Before numpy is imported: one thread. Below, one core for this process and those it starts.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import datetime
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy

BEGIN, END = "<!-- bench-mechanism: begin -->", "<!-- bench-mechanism: end -->"
# family, validators, miners, percent of scores that are there
CASES = [
    *[("validators", validators, 4096, 100) for validators in (32, 64, 128, 256)],
    *[("miners", 256, miners, 100) for miners in (512, 1024, 2048, 4096)],
    *[("density", 256, 4096, density) for density in (1, 2, 5, 10, 20, 50, 100)],
]
# What may be asked of one core, in milliseconds.
LIMITS = {(256, 4096, 100): 250.0, (256, 4096, 2): 20.0}
ONE = 2.0**32


# Matrices have a row for each miner and a column for each validator, so that what is sorted and summed lies together.


def lower_median(values, stake):
    """By row the smallest value at or below which lies half of the stake."""
    order = numpy.argsort(values, axis=1)
    below = numpy.cumsum(numpy.take_along_axis(stake, order, axis=1), axis=1)
    at = numpy.argmax(2 * below >= below[:, -1:], axis=1)
    rows = numpy.arange(values.shape[0])
    return values[rows, order[rows, at]]


def aggregate(scores, there, stake):
    """Values, confidences and outliers of all miners; fewer than three reports settle nothing."""
    stakes = numpy.where(there, stake, 0.0)
    value = lower_median(scores, stakes)
    distance = numpy.abs(scores - value[:, None])
    mad = lower_median(distance, stakes)
    outlier = there & (0.6745 * distance > 3.5 * numpy.maximum(mad, 0.01)[:, None])
    agreeing = numpy.where(outlier, 0.0, stakes)
    total = agreeing.sum(axis=1)
    with numpy.errstate(invalid="ignore"):
        closeness = numpy.einsum("ij,ij->i", agreeing, numpy.maximum(0.0, 1 - 2 * distance)) / total
        # Every report declares full confidence.
        declared = agreeing.sum(axis=1) / total
        confidence = closeness * declared * total / stakes.sum(axis=1)
    enough = there.sum(axis=1) >= 3
    return numpy.where(enough, value, 0.0), confidence, outlier & enough[:, None]


def shares(matrix):
    """Each row by its sum, where there is one."""
    total = matrix.sum(axis=1, keepdims=True)
    return matrix / numpy.where(total > 0, total, 1.0)


def epoch(scores, there, stake, bonds, flagged, kappa=32767 / 65535, alpha=0.1):
    """Incentive, dividends, bonds to store, trust and emission."""
    weights = numpy.where(there, scores, 0.0)
    total = weights.sum(axis=0)
    weights /= numpy.where(total > 0, total, 1.0)
    stake = stake / stake.sum()
    order = numpy.argsort(weights, axis=1)
    by_rank = stake[order]
    below = numpy.cumsum(by_rank, axis=1) - by_rank
    last = weights.shape[1] - 1 - numpy.argmax((below <= 1 - kappa)[:, ::-1], axis=1)
    rows = numpy.arange(weights.shape[0])
    consensus = weights[rows, order[rows, last]]
    clipped = numpy.minimum(weights, consensus[:, None])
    ranks = clipped @ stake
    incentive = ranks / (ranks.sum() or 1.0)

    upheld = numpy.where(flagged, 0.0, clipped)
    given = numpy.where(flagged, 0.0, weights) @ stake
    trust = (upheld @ stake) / numpy.where(given > 0, given, 1.0)
    validator_trust = upheld.sum(axis=0)

    new = shares(alpha * shares(upheld * stake) + (1 - alpha) * shares(bonds))
    dividends = incentive @ new
    dividends /= dividends.sum() or 1.0
    largest = new.max(axis=1, keepdims=True)
    stored = (new * (65535 / numpy.where(largest > 0, largest, 1.0))).astype(numpy.uint16)
    emission = numpy.concatenate([incentive, dividends]) / ((incentive.sum() + dividends.sum()) or 1.0)
    return incentive, dividends, stored, trust, validator_trust, emission


def least(runs, function):
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        found = function()
        times.append((time.perf_counter() - begun) * 1e3)
    return min(times), found


def measure(bench, work, validators, miners, density, runs):
    command = [bench, *map(str, (validators, miners, density, runs, work))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    figures = json.loads(done.stdout)

    read = lambda name: numpy.fromfile(work / name, dtype="<i8")
    matrix = lambda name: numpy.ascontiguousarray(read(name).reshape(validators, miners).T)
    stake, there = read("stake").astype(float), matrix("scores") >= 0
    scores = numpy.where(there, matrix("scores") / ONE, 0.0)
    bonds = numpy.maximum(matrix("bonds"), 0).astype(float)
    few = max(1, runs // 2)
    figures["numpy_aggregate_ms"], (values, _, flagged) = least(few, lambda: aggregate(scores, there, stake))
    figures["numpy_epoch_ms"], found = least(few, lambda: epoch(scores, there, stake, bonds, flagged))
    # The same work, or there is nothing to compare.
    for name, ours in (("values", values), ("incentive", found[0]), ("dividends", found[1])):
        error = float(numpy.abs(ours - read(name) / ONE).max())
        if error > 1e-6:
            raise SystemExit(f"{validators} x {miners} at {density} %: {name} differ by {error}")
        figures["error"] = max(figures.get("error", 0.0), error)
    if int(flagged.sum()) != figures["outliers"]:
        raise SystemExit(f"{validators} x {miners} at {density} %: {flagged.sum()} outliers, ours are {figures['outliers']}")
    figures["ours_ms"] = figures["aggregate_ms"] + figures["epoch_ms"]
    figures["numpy_ms"] = figures["numpy_aggregate_ms"] + figures["numpy_epoch_ms"]
    return figures


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def plot(found, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "assay"
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 4), constrained_layout=True, sharey=True)
    for axis, family in zip(axes, ("validators", "miners", "density")):
        column = {"validators": 1, "miners": 2, "density": 3}[family]
        points = [(case[column], figures) for case, figures in found if case[0] == family]
        sizes = [size for size, _ in points]
        for label, key in (("assay", "ours_ms"), ("numpy", "numpy_ms")):
            axis.loglog(sizes, [f[key] for _, f in points], "o-", label=label)
        last = points[-1][1]["ours_ms"]
        axis.loglog(sizes, [last * size / sizes[-1] for size in sizes], ":", color="grey", label="slope 1")
        axis.set_title({"validators": "4096 miners, dense", "miners": "256 validators, dense", "density": "256 x 4096"}[family])
        axis.set_xlabel(family + (", %" if family == "density" else ""))
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
    axes[0].set_ylabel("one settlement, ms")
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bench", required=True)
    arguments.add_argument("--work", type=Path, default=Path("target/bench-mechanism"))
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--write", type=Path)
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cores = os.cpu_count()
    found, measured = [], {}
    for case in CASES:
        if case[1:] not in measured:
            measured[case[1:]] = measure(given.bench, given.work / "subnet", *case[1:], given.runs)
            figures = measured[case[1:]]
            print(f"{case[1]} x {case[2]} at {case[3]} %: {figures['ours_ms']:.1f} ms, numpy {figures['numpy_ms']:.1f} ms", file=sys.stderr, flush=True)
        found.append((case, measured[case[1:]]))
    error = max(figures["error"] for figures in measured.values())
    lines = [f"`make bench-mechanism` on {datetime.date.today()}, one of {cores} cores ({processor()}), load {os.getloadavg()[0]:.1f} at the end. The least of "
             f"{given.runs} runs (numpy {numpy.__version__}: {max(1, given.runs // 2)}), same subnet, one after the other. Settled scores, incentives and dividends agree within {error:.0e}, outliers wholly.", "",
             "| grows | validators | miners | scores there | aggregation | epoch | settlement | numpy: aggregation | epoch | settlement | faster | epoch sparse | dense | Yuma3 | liquid alpha |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    ms = lambda figure: f"{figure:.1f} ms"
    for (family, validators, miners, density), f in found:
        cells = [family, validators, f"{miners:,}", f"{density} %", ms(f["aggregate_ms"]), ms(f["epoch_ms"]), ms(f["ours_ms"]), ms(f["numpy_aggregate_ms"]),
                 ms(f["numpy_epoch_ms"]), ms(f["numpy_ms"]), f"{f['numpy_ms'] / f['ours_ms']:.1f}x", ms(f["sparse_ms"]), ms(f["dense_ms"]), ms(f["yuma3_ms"]), ms(f["liquid_ms"])]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    text = "\n".join(lines)
    print(text)
    if given.plot:
        plot(found, given.plot)
    if given.write:
        page = given.write.read_text()
        before, rest = page.split(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    late = [f"{case}: {measured[case]['ours_ms']:.0f} ms of {limit:.0f}" for case, limit in LIMITS.items() if measured[case]["ours_ms"] > limit]
    if late:
        raise SystemExit("over the limit: " + "; ".join(late))


if __name__ == "__main__":
    main()
