"""The pictures of the documents: diagrams as their texts say, none of them with a request to another server."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import statistics
from pathlib import Path
from types import ModuleType

import pytest

from ezeep_async.testing import ThreadedSandbox


ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs" / "assets"
SOURCES = sorted((ROOT / "docs/.diagrams").glob("*.txt"))
DRAWN = [*sorted(ASSETS.glob("*.svg")), *sorted((ROOT / "docs").glob("*.svg"))]


def _diagrams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "docs/.scripts/diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagrams_are_up_to_date() -> None:
    """`nox -s diagrams` would change nothing."""
    draw = _diagrams().draw
    assert SOURCES
    for source in SOURCES:
        made = (ASSETS / f"{source.stem}.svg").read_text("utf-8")
        assert made == draw(source.read_text("utf-8")), f"{source.name} was changed: nox -s diagrams"


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_a_drawing_needs_no_other_server_and_has_a_title(path: Path) -> None:
    drawing = path.read_text("utf-8")
    found = re.findall(r"(?:href|src|url\()\W*https?:[^\"')]*|@font-face|@import|<script|<image", drawing)
    assert not found, "a drawing loads nothing: put into the file what it needs"
    assert re.search(r"<title[^>]*>[^<]{10,}</title>", drawing), "screen readers need a <title>"


def test_the_page_has_the_figures_of_the_last_measurement() -> None:
    """`nox -s bench` writes the tables of the page from `performance.json`, and the plot."""
    results = json.loads((ROOT / "docs" / "performance.json").read_text("utf-8"))
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    inserted = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))["inserted"]
    assert page == inserted(page, results), (
        "docs/performance.md: its tables are not those of performance.json"
    )
    plot = (ROOT / "docs" / "performance.svg").read_text("utf-8")
    assert results["made"] in plot, "docs/performance.svg is of another measurement: nox -s bench"
    for work in results["works"][:2]:
        floor = work["entries"]["floor"]["rounds"]
        rounds = zip(work["entries"]["SDK"]["rounds"], floor, strict=True)
        ratio = statistics.median(mine["cpu"] / base["cpu"] for mine, base in rounds)
        assert f">{ratio:.2f}  SDK<" in plot, f"performance.svg does not show {ratio:.2f}: nox -s bench"


def test_pictures_of_pages_have_an_alternative_text() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for text, name in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", path.read_text("utf-8")):
            assert len(text) >= len("status: beta"), f"{path.name}: say what {name} shows, ![here]({name})"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_the_picture_of_a_plan_is_up_to_date(tmp_path: Path) -> None:
    """That of the terminal, which says the same as that of the page."""
    plan = runpy.run_path(str(ROOT / "docs/.scripts/screenshots.py"))["plan"]
    with ThreadedSandbox() as sandbox:
        made = plan(sandbox, tmp_path)
    picture = (ASSETS / "plan-terminal.svg").read_text("utf-8")
    # The words only: another version of rich may place them elsewhere.
    words, shown = (re.findall(r"<text[^>]*>([^<]+)<", each) for each in (made, picture))
    assert shown == words, (
        "plan-terminal.svg (left) is not what the command shows (right): nox -s screenshots"
    )
    assert len(words) > 20


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.png")), ids=lambda path: path.name)
def test_screenshots_are_small(path: Path) -> None:
    size = path.stat().st_size
    assert size < 80_000, f"{size:,} bytes: nox -s screenshots makes it small, with few colours"
