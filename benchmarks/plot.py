"""The plots of docs/performance.md: `performance.svg` has ratios to the floor, `performance-growth.svg` the cost of one unit by size.

    python plot.py FIGURES.json FOLDER

They are as wide as a phone allows, and follow the `color-scheme` of the page. The same figures give the same bytes.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from table import seconds


mpl.use("svg")
# Text stays text, in the font of the reader. No random ids.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ezeep_async", "font.family": "sans-serif"})
PAPER, INK, GREY = "#fffffe", "#111110", "#767675"
"""Colours that no line of a contender has. They become variables of the drawing."""
STYLE = """<style>
svg { color-scheme: light dark; --paper: #ffffff; --ink: #1b1c20; --grey: #6b7280; }
@media (prefers-color-scheme: dark) { svg { --paper: #1f2129; --ink: #e8e9ed; --grey: #9aa3af; } }
</style>"""
Results = dict[str, Any]
COLORS = {
    "SDK": "#2f7fd1",
    "SDK on uvloop": "#6fa8dc",
    "requests": "#c9a227",
    "httpx": "#d9793b",
    "generated": "#a23b3b",
    "floor": GREY,
}
"""By the beginnings of names."""
ORDER = [
    "SDK",
    "SDK, run_sync",
    "SDK, async for",
    "SDK on uvloop",
    "requests",
    "httpx + Authlib",
    "httpx.Client",
    "generated client",
]
"""Others come last."""
BARS = [
    # Title; the entry that is 1; the metric; works with the names that are shown.
    (
        "CPU time, hand-written aiohttp + msgspec = 1",
        "floor",
        "cpu",
        {
            "list 10 000 users in sequence": "list 10 000 users",
            "the same, 10 pages at a time, 20 ms server": "list 10 000 users,\n10 pages at a time",
            "2000 gets in sequence": "gets in sequence",
            "5000 x (get + set_groups), concurrency 50": "get + set_groups,\n50 at a time",
        },
    ),
    (
        "Blocking calls: wall time, aiohttp in a thread = 1",
        "aiohttp loop in a thread",
        "wall",
        {
            "blocking: list 10 000 users": "list 10 000 users",
            "blocking: 1000 gets in sequence": "gets in sequence",
        },
    ),
    (
        "Provisioning: CPU time, a script = 1",
        "concurrent script",
        "cpu",
        {"provisioning: 30 000 memberships of 10 000 users": "10 000 users,\n3 groups each"},
    ),
]
MARKS = "os^D"
WIDTH_IN = 4.6
"""Inches. On a phone this is a little less than the natural size."""


def color(name: str) -> str:
    """The color of a contender."""
    # The longest beginning: that of "SDK on uvloop" is also one of "SDK".
    return max(
        ((len(key), value) for key, value in COLORS.items() if name.startswith(key)), default=(0, GREY)
    )[1]


def bars(axes: Axes, results: Results, title: str, base: str, metric: str, shown: dict[str, str]) -> None:
    """Horizontal bars, one group for each work."""
    works = {work["name"]: work["entries"] for work in results["works"]}
    place, highest, ticks, labels = 0.0, 1.0, [], []
    for name, short in shown.items():
        entries = works.get(name, {})
        if base not in entries:
            continue
        begun = place
        for entry in sorted(entries.keys() - {base}, key=[*ORDER, *entries].index):
            costs = entries[entry]
            ratios = [
                mine[metric] / floor[metric]
                for mine, floor in zip(costs["rounds"], entries[base]["rounds"], strict=True)
            ]
            ratio = statistics.median(ratios)
            axes.barh(place, ratio - 1, left=1, color=color(entry), height=0.85)
            axes.plot([min(ratios), max(ratios)], [place, place], color=INK, linewidth=1)
            text = (
                f"{ratio:.2f}"
                if entry.startswith("SDK")
                else f"{ratio:.1f}"
                if ratio < 10
                else f"{ratio:.0f}"
            )
            weight = "bold" if entry in ORDER[:2] else "normal"
            axes.annotate(
                f"{text}  {entry.partition(' (')[0]}",
                (max(1, *ratios), place),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                fontweight=weight,
            )
            highest = max(highest, *ratios)
            place += 1
        ticks.append((begun + place - 1) / 2)
        labels.append(short)
        place += 0.8
    axes.set_yticks(ticks, labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(axes.get_xlim()[0], 0.9), highest**1.4 + 0.4)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xticks(
        [tick for tick in (1, 1.5, 2, 5, 10, 20, 50) if tick <= highest and (tick != 1.5 or highest < 3)]
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} x"))
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=10, loc="left")


def short(number: float) -> str:
    """A size for an axis."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{letter}"
    return f"{number:g}"


def growth(axes: Axes, name: str, curves: list[dict[str, Any]]) -> None:
    """Cost of one unit by size, with the range of the rounds."""
    for number, curve in enumerate(curves):
        points = curve["points"]
        middle = [statistics.median(each) for each in curve["cpu"]]
        line = GREY if curve["contender"] == "floor" else COLORS["SDK"]
        style = "--" if number and curve["contender"] == curves[number - 1]["contender"] else "-"
        axes.plot(
            points,
            middle,
            color=line,
            linestyle=style,
            marker=MARKS[number % 4],
            markersize=4,
            label=curve["label"],
        )
        low, high = [min(each) for each in curve["cpu"]], [max(each) for each in curve["cpu"]]
        axes.fill_between(points, low, high, color=line, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    least, most = axes.get_ylim()
    # At least a factor of 30, so that noise does not look like growth.
    axes.set_ylim(min(least, most / 30), most * 2)
    axes.set_xlabel(name, fontsize=9)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(f"CPU time of one {curves[0]['unit']}", fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.legend(fontsize=7.5, frameon=False, loc="best")


def draw(results: Results, folder: Path) -> None:
    """Draw both plots into the folder."""
    colors = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    faces = ("figure.facecolor", "axes.facecolor")
    with mpl.rc_context({**dict.fromkeys(colors, INK), **dict.fromkeys(faces, PAPER), "grid.color": GREY}):
        figure = plt.figure(figsize=(WIDTH_IN, 10.4), layout="constrained")
        for axes, each in zip(figure.subplots(3, 1, height_ratios=(3.4, 1.7, 0.9)), BARS, strict=True):
            bars(axes, results, *each)
            axes.spines[["top", "right", "left"]].set_visible(False)
        save(figure, folder / "performance.svg", "CPU time beside peers", results)
        names = list(dict.fromkeys(curve["name"] for curve in results["curves"]))
        figure = plt.figure(figsize=(WIDTH_IN, 2.6 * len(names)), layout="constrained")
        for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
            growth(axes, name, [curve for curve in results["curves"] if curve["name"] == name])
            axes.spines[["top", "right"]].set_visible(False)
        save(figure, folder / "performance-growth.svg", "How the CPU time of one unit grows", results)


def save(figure: Figure, path: Path, title: str, results: Results) -> None:
    """Write the figure, with colours that follow the page."""
    file = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=metadata)
    plt.close(figure)
    head, svg = file.getvalue().split("<svg ", 1)
    attributes, rest = svg.split(">", 1)
    for color, name in ((PAPER, "paper"), (INK, "ink"), (GREY, "grey")):
        rest = rest.replace(color, f"var(--{name})")
    processor = escape(f"{title}, {results['made']}, {results['machine']['processor']}")
    del head  # the document type, which names another server
    path.write_text(f'<svg role="img" {attributes}>\n <title>{processor}</title>\n {STYLE}{rest}', "utf-8")


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
