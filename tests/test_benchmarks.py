"""The benchmarks run, on what the tests have installed: the SDK and the floor, and peers where they are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[1]
RUN = ROOT / "benchmarks" / "run.py"
# Each script imports modules from its folder. The package is found where it is installed, as the folder is not this one.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def test_the_smallest_run_measures_everything(tmp_path: Path) -> None:
    """One round: a table on standard output, figures as JSON, and tables in the page of the documents."""
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text())
    done = subprocess.run(
        [sys.executable, str(RUN), "--smallest", "--out", str(tmp_path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "performance.json").read_text())
    for work in results["works"]:
        assert len(work["entries"]) >= (1 if work["name"].startswith("access_token()") else 2), work["name"]
        assert all(target["value"] > 0 for target in work["targets"])
        assert work["name"] in page.read_text()
    assert {curve["name"] for curve in results["curves"]} == {
        "users listed",
        "concurrent tasks",
        "groups per user",
        "users provisioned",
    }
    assert all(cost[0] > 0 for curve in results["curves"] for cost in curve["cpu"])
    counted = {work["name"]: work["targets"] for work in results["works"]}
    (refreshes,) = [
        target["value"]
        for target in counted["10 000 tasks meet one expired token"]
        if target["metric"] == "refreshes"
    ]
    assert refreshes == 1
    assert "list 10 000 users in sequence" in done.stdout
    # The results of an earlier run are replaced.
    text = page.read_text()
    assert text.count("<!-- results -->") == text.count("<!-- end of results -->") == 1
    assert text.count("| work | contender |") == 1


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only the group bench has the plot library")
    cost = {"cpu": 1e-4, "wall": 2e-4}
    entries = {name: {"rounds": [cost, cost]} for name in ("floor", "SDK", "requests")}
    curve = {"name": "users listed", "unit": "user", "label": "SDK", "contender": "SDK"}
    results = {
        "made": "2026-01-01",
        "rounds": 2,
        "machine": {"processor": "a processor", "python": "3.11"},
        "versions": {},
        "works": [{"name": "2000 gets in sequence", "entries": entries}],
        "curves": [{**curve, "points": [1, 10], "cpu": [[1e-6, 2e-6], [1e-6]]}],
    }
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps(results))
    subprocess.run(
        [sys.executable, str(RUN.with_name("plot.py")), str(figures), str(tmp_path)],
        env=ENVIRONMENT,
        check=True,
    )
    for name in ("performance.svg", "performance-growth.svg"):
        assert (tmp_path / name).read_text().startswith("<svg ")
