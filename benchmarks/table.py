"""Results as text for the terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

import statistics
from typing import Any


BEGIN, END = "<!-- results -->", "<!-- end of results -->"
Results = dict[str, Any]


def seconds(value: float) -> str:
    """A duration in the unit that fits."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e9:.0f} ns"


def text(results: Results) -> str:
    """The table for the terminal."""
    lines = _origin(results)
    for work in results["works"]:
        kind = "CPU" if work["metric"] == "cpu" else "wall"
        base = f", ratio to {work['base']}" if work["base"] else ""
        lines += ["", f"{work['name']}: {kind} for one {work['unit']}{base}"]
        lines.append(
            f"  {'':28} {'min':>9} {'median':>9} {'max':>9}   ratio in each round       {'CPU':>9} {'wall':>9}"
        )
        for name, entry in work["entries"].items():
            cost = entry[work["metric"]]
            shown = " ".join(f"{seconds(cost[each]):>9}" for each in ("min", "median", "max"))
            medians = " ".join(f"{seconds(entry[each]['median']):>9}" for each in ("cpu", "wall"))
            lines.append(f"  {name:28} {shown}   {_ratio(cost):24} {medians}")
        lines += [_sentence(*_target(target, work["unit"])) for target in work["targets"]]
    for curve in results["curves"]:
        lines += ["", f"{curve['name']}, {curve['label']}: CPU for one {curve['unit']}, and peak memory"]
        for point, cpu, peak in zip(curve["points"], curve["cpu"], curve["peak"], strict=True):
            shown = " ".join(f"{seconds(each):>9}" for each in (min(cpu), statistics.median(cpu), max(cpu)))
            lines.append(f"  {point:9,} {shown} {statistics.median(peak):7.0f} MiB")
    lines += ["", *[_sentence(*_memory(each)) for each in results["memory"]]]
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """The tables of docs/performance.md."""
    reached = [
        (work["name"], *_target(target, work["unit"]))
        for work in results["works"]
        for target in work["targets"]
    ]
    reached += [("list users", *_memory(each)) for each in results["memory"]]
    lines = [
        "![CPU time of the SDK and of other clients, as multiples of hand-written aiohttp](performance.svg)",
        "",
        *[f"{line}." for line in _origin(results)],
        "[performance.json](performance.json) has the figures of each round.",
        "",
        *_head("work", "compared", "measured", "target"),
        *[_row(*each) for each in reached],
        "",
        "In detail: medians, and ratios of the times that are compared.",
        "",
        *_head("work", "contender", "CPU", "wall", "ratio in each round"),
    ]
    for work in results["works"]:
        first = f"{work['name']}, for one {work['unit']}"
        for name, entry in work["entries"].items():
            cpu, wall = (seconds(entry[each]["median"]) for each in ("cpu", "wall"))
            lines.append(_row(first, name, cpu, wall, _ratio(entry[work["metric"]])))
            first = ""
    lines += ["", "CPU time for one unit, by size:", "", *_head("size", "line", "for one unit")]
    for curve in results["curves"]:
        costs = zip(curve["points"], map(statistics.median, curve["cpu"]), strict=True)
        shown = ", ".join(f"{point:,}: {seconds(cost)}" for point, cost in costs)
        lines.append(_row(curve["name"], curve["label"], shown))
    return "\n".join(lines)


def inserted(page: str, results: Results) -> str:
    """The page with these results between its two markers."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}"


def _origin(results: Results) -> list[str]:
    machine = results["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    sizes = "" if results["scale"] == 1 else f"; sizes are {results['scale']:g} of what the names say"
    return [
        f"{machine['processor']}, {machine['cores']} cores, {machine['platform']}",
        f"Python {machine['python']}, {packages}",
        f"{results['rounds']} interleaved rounds, {results['made']}{sizes}",
    ]


def _ratio(cost: dict[str, Any]) -> str:
    if (ratio := cost.get("ratio")) is None:
        return ""
    return f"{ratio['median']:6.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})".strip()


def _target(target: dict[str, Any], unit: str) -> tuple[str, str, str]:
    """What is compared, its value, and the target, such as "SDK / floor, CPU", "1.05", "1.08"."""
    metric, base = target["metric"], target["base"]
    name = {"cpu": "CPU", "wall": "wall", "requests": f"requests for one {unit}"}.get(metric, metric)
    value, limit = (
        f"{each:.2f}" if base else seconds(each) if metric in {"cpu", "wall"} else f"{each:.4g}"
        for each in (target["value"], target["limit"])
    )
    missed = "" if target["value"] <= target["limit"] else ", missed"
    return f"{target['entry']}{f' / {base}' if base else ''}, {name}", value, limit + missed


def _memory(growth: dict[str, Any]) -> tuple[str, str, str]:
    """The same for the memory of a listing."""
    limit = "" if growth["limit"] is None else f"{growth['limit']:.0f} MiB"
    if limit and growth["median"] > growth["limit"]:
        limit += ", missed"
    compared = f"{growth['label']}, memory from {growth['from']:,} to {growth['to']:,} users"
    return compared, f"{growth['median']:+.1f} MiB", limit


def _sentence(compared: str, value: str, limit: str) -> str:
    return f"  {compared}: {value}{f' (target {limit})' if limit else ''}"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), _row(*["---"] * len(cells))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
