"""The measurements of a run: interleaved rounds of works, starts of processes, growth curves; and their summary as JSON."""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from processes import Contender, Server, contender, imported, start
from works import SDK, USERS_WITH_GROUPS, Curve, Start, Target, Work


PACKAGES = [
    "ezeep_async",
    "aiohttp",
    "msgspec",
    "attrs",
    "cattrs",
    "anyio",
    "uvloop",
    "httpx",
    "authlib",
    "requests",
    "openapi-python-client",
]
Say = Callable[[str], None]
Costs = dict[str, list[dict[str, float]]]
"""By the names of the entries: what each round has cost, for one unit."""


def machine() -> dict[str, object]:
    """Where this runs."""
    model = platform.processor() or platform.machine()
    if (file := Path("/proc/cpuinfo")).exists():
        names = [
            line.split(":")[1] for line in file.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].strip() if names else model
    return {
        "platform": platform.platform(),
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that are compared."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def measure_works(
    works: Sequence[Work], processes: dict[str, Contender], server: Server, rounds: int, say: Say
) -> list[dict[str, Any]]:
    """Interleave the contenders of each work, in all rounds; each second round in the opposite order."""
    costs: list[Costs] = [{} for _ in works]
    for number in range(rounds):
        for work, found in zip(works, costs, strict=True):
            entries = [entry for entry in work.entries if entry.contender in processes]
            for entry in entries if number % 2 == 0 else entries[::-1]:
                n = round(work.n * entry.share)
                server.prepare(**work.setup)
                measured = processes[entry.contender].do(entry.work or work.work, n, repeat=work.repeat)
                counted = server.counted()
                units = work.units * entry.share * work.repeat
                found.setdefault(entry.name, []).append(
                    {
                        "cpu": measured["cpu"] / units,
                        "wall": measured["wall"] / units,
                        "requests": counted["requests"] / units,
                        "refreshes": counted["refreshes"],
                    }
                )
        say(f"round {number + 1} of {rounds}")
    return [
        _summary(
            work.name, work.unit, work.metric, work.base, work.targets, [e.name for e in work.entries], found
        )
        for work, found in zip(works, costs, strict=True)
    ]


def measure_starts(starts: Sequence[Start], rounds: int, say: Say) -> list[dict[str, Any]]:
    """Imports, and commands, each in a new process."""
    ezeep = str(Path(sysconfig.get_path("scripts"), "ezeep"))
    costs: list[Costs] = [{} for _ in starts]
    for _ in range(rounds):
        for each, found in zip(starts, costs, strict=True):
            for name, text in each.commands.items():
                if text.startswith(("import ", "from ")):
                    if importlib.util.find_spec(text.split()[1].partition(".")[0]) is None:
                        continue
                    measured = imported(text)
                else:
                    measured = start([ezeep, *text.split()] if text else [sys.executable, "-c", "pass"])
                found.setdefault(name, []).append(measured)
    say("imports and commands")
    return [
        _summary(each.name, each.name, each.metric, each.base, each.targets, list(each.commands), found)
        for each, found in zip(starts, costs, strict=True)
    ]


def measure_curves(
    curves: Sequence[Curve], server: Server, rounds: int, first: int | None, say: Say
) -> list[dict[str, Any]]:
    """Each curve in a process of its own, from the smallest point to the largest; only its `first` points."""
    results: list[dict[str, Any]] = []
    for curve in curves:
        points = curve.points[:first]
        cpu: list[list[float]] = [[] for _ in points]
        peak: list[list[float]] = [[] for _ in points]
        for number in range(rounds):
            with contender(curve.contender, server.base, None) as process:
                for place, point in enumerate(points):
                    if number and point > curve.every_round:
                        continue
                    measured = _point(curve, point, process, server)
                    cpu[place].append(measured["cpu"])
                    peak[place].append(measured["peak"])
        names = {"name": curve.name, "unit": curve.unit, "label": curve.label, "contender": curve.contender}
        results.append({**names, "points": points, "cpu": cpu, "peak": peak})
        say(f"{curve.name}: {curve.label}")
    return results


def _point(curve: Curve, point: int, process: Contender, server: Server) -> dict[str, float]:
    """CPU seconds for one unit, and the peak memory of the process in MiB."""
    n, groups = (USERS_WITH_GROUPS, point) if curve.by_groups else (point, 0 if curve.unit == "user" else 1)
    server.prepare(users=n, groups_per_user=groups if curve.by_groups else 0)
    repeat = max(1, curve.least_units // n)
    if curve.after:
        process.do(curve.after, n)
        repeat = 1
    measured = process.do(curve.work, n, repeat=repeat, groups=max(1, groups))
    return {**measured, "cpu": measured["cpu"] / (n * repeat)}


def memory(curves: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the peak memory grows between the last two points of the listings."""
    found = []
    for curve in curves:
        if curve["name"] != "users listed" or len(curve["points"]) < 2:
            continue
        before, after = curve["peak"][-2:]
        growth = [b - a for a, b in zip(before, after, strict=True)]
        found.append(
            {
                "label": curve["label"],
                "from": curve["points"][-2],
                "to": curve["points"][-1],
                "mib": growth,
                "median": statistics.median(growth),
                "limit": 10.0 if curve["contender"] == SDK else None,
            }
        )
    return found


def _summary(
    name: str,
    unit: str,
    metric: str,
    base: str,
    targets: Sequence[Target],
    order: Sequence[str],
    costs: Costs,
) -> dict[str, Any]:
    """One group of the table. Ratios are made in each round, and then summarized."""
    entries = {}
    for entry in (each for each in order if each in costs):
        rounds = costs[entry]
        summary: dict[str, Any] = {"rounds": rounds}
        for measure in ("cpu", "wall"):
            values = [each[measure] for each in rounds]
            summary[measure] = {"min": min(values), "median": statistics.median(values), "max": max(values)}
            if base in costs:
                summary[measure]["ratio"] = ratio(costs, entry, base, measure)
        entries[entry] = summary
    reached = []
    for target in targets:
        if target.entry not in costs or (target.base and target.base not in costs):
            continue
        if target.base:
            value = ratio(costs, target.entry, target.base, target.metric)["median"]
        else:
            value = statistics.median(each[target.metric] for each in costs[target.entry])
        reached.append({**vars(target), "value": value})
    return {
        "name": name,
        "unit": unit,
        "metric": metric,
        "base": base,
        "entries": entries,
        "targets": reached,
    }


def ratio(costs: Costs, entry: str, base: str, metric: str) -> dict[str, float]:
    """The ratio of two entries in each round: least, median, largest."""
    ratios = [a[metric] / b[metric] for a, b in zip(costs[entry], costs[base], strict=True)]
    return {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}
