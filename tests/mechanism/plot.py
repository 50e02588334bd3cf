"""Writes the table of attacks and draws it.

    python3 tests/mechanism/plot.py --rows attacks.json [--write docs/mechanism.md] [--plot docs/images/attacks.svg]

`--rows` is what `assay simulate --all --json` printed. The plot shows for each attack the attacker's profit as a multiple of
honest play's over its share of stake; right of 1 an attack pays. Rows without a defence are hollow.
"""

import argparse
import json
from pathlib import Path

BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"


def number(value):
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def table(rows):
    epochs, seeds = rows[0]["epochs"], rows[0]["seeds"]
    lines = [f"`make simulate`: {epochs} epochs, {seeds} seeds. Cost is what the attacker has less than by honest play, in ASY over the run.", "",
             "| attack | without | stake | keys | relative profit | 95 % interval | cost | |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row["interval"]
        cost = f"({row['gain']})" if row["cost"] is None else f"{row['cost']:.1f}"
        lines.append(f"| {row['attack']} | {row['without'] or ''} | {row['stake']:.0%} | {row['keys']} | {number(row['relative_profit'])} | "
                     f"{number(low)} to {number(high)} | {cost} | {'ok' if row['ok'] else '**not ok**'} |")
    notes = []
    for row in rows:
        note = f"- `{row['attack']}`: {row['note']}."
        if row["note"] and note not in notes:
            notes.append(note)
    return "\n".join([*lines, "", *notes])


def plot(rows, path):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot, ticker

    pyplot.rcParams["svg.hashsalt"] = "assay"
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    across = 4
    down = -(-len(attacks) // across)
    figure, axes = pyplot.subplots(down, across, figsize=(13, 2.8 * down), constrained_layout=True)
    colours = {1: "tab:blue", 5: "tab:orange", 20: "tab:green"}
    for axis, attack in zip(axes.flat, attacks):
        mine = [row for row in rows if row["attack"] == attack]
        for without in (False, True):
            for keys in sorted({row["keys"] for row in mine}):
                line = [row for row in mine if row["keys"] == keys and (row["without"] is not None) == without]
                if not line:
                    continue
                stakes, means = [100 * row["stake"] for row in line], [row["relative_profit"] for row in line]
                spread = [[m - row["interval"][0] for m, row in zip(means, line)], [row["interval"][1] - m for m, row in zip(means, line)]]
                name = f"{keys} key{'s' if keys > 1 else ''}" + (", without defence" if without else "")
                axis.errorbar(stakes, means, yerr=spread, color=colours.get(keys, "black"), label=name, capsize=2, lw=1,
                              marker="o", ms=4, mfc="white" if without else None, ls="--" if without else "-")
        axis.axhline(1, color="grey", ls=":")
        low = min(row["interval"][0] for row in mine)
        high = max(row["interval"][1] for row in mine)
        if low < -2 or high > 4:
            # From one to minus twenty: the part that matters stays wide.
            axis.set_yscale("symlog", linthresh=2, linscale=2)
            axis.set_yticks([tick for tick in (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10) if low - 1 <= tick <= high + 1])
            axis.yaxis.set_minor_locator(ticker.NullLocator())
        else:
            axis.set_ylim(min(low, 0) - 0.1, max(high, 1) + 0.15)
        axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_title(attack)
        axis.set_xticks([5, 20, 33, 49])
        axis.set_xlabel("stake, %")
        axis.legend(frameon=False, fontsize=6)
    for axis in axes.flat[len(attacks):]:
        axis.set_visible(False)
    figure.supylabel("profit, honest play = 1")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=Path, required=True)
    arguments.add_argument("--write", type=Path)
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    rows = json.loads(given.rows.read_text())["rows"]
    text = table(rows)
    if given.plot:
        plot(rows, given.plot)
    if given.write:
        page = given.write.read_text()
        before, rest = page.split(BEGIN)
        given.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    else:
        print(text)


if __name__ == "__main__":
    main()
