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


def _value(metric: str, value: float) -> str:
    return f"{value:.4g} {metric}" if metric in {"requests", "refreshes"} else seconds(value)


def _origin(results: Results) -> list[str]:
    machine = results["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    short = "" if results["scale"] == 1 else f"; sizes are {results['scale']:g} of what the names say"
    return [
        f"{machine['processor']}, {machine['cores']} cores, {machine['platform']}",
        f"Python {machine['python']}, {packages}",
        f"{results['rounds']} interleaved rounds, {results['made']}{short}",
    ]


def _target(target: dict[str, Any]) -> str:
    """One target in words, such as "SDK / floor, CPU: 1.05 (target 1.08)"."""
    metric = {"cpu": "CPU", "wall": "wall"}.get(target["metric"], target["metric"])
    name = (
        f"{target['entry']} / {target['base']}, {metric}"
        if target["base"]
        else f"{target['entry']}, {metric}"
    )
    shown, limit = (
        (f"{each:.2f}" if target["base"] else _value(target["metric"], each))
        for each in (target["value"], target["limit"])
    )
    missed = "" if target["value"] <= target["limit"] else ", missed"
    return f"{name}: {shown} (target {limit}{missed})"


def text(results: Results) -> str:
    """The table for the terminal."""
    lines = _origin(results)
    for work in results["works"]:
        kind = "CPU" if work["metric"] == "cpu" else "wall"
        lines += ["", f"{work['name']}: {kind} for one {work['unit']}, ratio to {work['base']}"]
        lines.append(
            f"  {'':28} {'min':>9} {'median':>9} {'max':>9}   {'ratio':>6} (in each round)     {'CPU':>9} {'wall':>9}"
        )
        for name, entry in work["entries"].items():
            cost = entry[work["metric"]]
            shown = " ".join(f"{seconds(cost[each]):>9}" for each in ("min", "median", "max"))
            ratio = cost.get("ratio")
            shown += (
                f"   {ratio['median']:6.2f} ({ratio['min']:6.2f} to {ratio['max']:6.2f})"
                if ratio
                else " " * 27
            )
            shown += f" {seconds(entry['cpu']['median']):>9} {seconds(entry['wall']['median']):>9}"
            lines.append(f"  {name:28} {shown}")
        lines += [f"  {_target(target)}" for target in work["targets"]]
    for curve in results["curves"]:
        lines += ["", f"{curve['name']}, {curve['label']}: CPU for one {curve['unit']}, and peak memory"]
        for point, cpu, peak in zip(curve["points"], curve["cpu"], curve["peak"], strict=True):
            lines.append(
                f"  {point:9,} {seconds(min(cpu)):>9} {seconds(statistics.median(cpu)):>9} {seconds(max(cpu)):>9}"
                f" {statistics.median(peak):7.0f} MiB"
            )
    if results["memory"]:
        lines += ["", *(f"{_memory(each)}" for each in results["memory"])]
    return "\n".join(lines)


def _memory(each: dict[str, Any]) -> str:
    limit = "" if each["limit"] is None else f" (target {each['limit']:.0f} MiB)"
    return f"{each['label']}: {each['median']:+.1f} MiB from {each['from']:,} to {each['to']:,} users{limit}"


def markdown(results: Results) -> str:
    """The tables of docs/performance.md."""
    lines = [
        "![CPU time beside peers, and how cost grows](performance.png)",
        "",
        f"{_origin(results)[0]}. {_origin(results)[1]}. {_origin(results)[2]}. All figures, each round of them, are in",
        "[performance.json](performance.json).",
        "",
        "| work | contender | CPU | wall | ratio, in each round |",
        "| --- | --- | --- | --- | --- |",
    ]
    for work in results["works"]:
        first = f"**{work['name']}**, for one {work['unit']}"
        for name, entry in work["entries"].items():
            ratio = entry[work["metric"]].get("ratio")
            shown = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
            cpu, wall = (seconds(entry[each]["median"]) for each in ("cpu", "wall"))
            lines.append(f"| {first} | {name} | {cpu} | {wall} | {shown} |")
            first = ""
    lines += ["", "Targets:", ""]
    lines += [
        f"- {work['name']}: {_target(target)}" for work in results["works"] for target in work["targets"]
    ]
    lines += [f"- a listing, memory: {_memory(each)}" for each in results["memory"]]
    lines += [
        "",
        "CPU time for one unit, by size:",
        "",
        "| growth | line | CPU for one unit |",
        "| --- | --- | --- |",
    ]
    for curve in results["curves"]:
        costs = ", ".join(
            f"{point:,}: {seconds(statistics.median(cpu))}"
            for point, cpu in zip(curve["points"], curve["cpu"], strict=True)
        )
        lines.append(f"| {curve['name']} | {curve['label']} | {costs} |")
    return "\n".join(lines)


def inserted(page: str, results: Results) -> str:
    """The page with these results between its two markers."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}"
