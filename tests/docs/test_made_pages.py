"""The pages that docs/.scripts/make_pages.py makes are those of the code."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


pytestmark = [pytest.mark.may_block, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
MAKER = "docs/.scripts/make_pages.py"


@pytest.fixture(scope="module")
def maker() -> dict[str, object]:
    return runpy.run_path(str(ROOT / MAKER))


@pytest.mark.parametrize("page", ["docs/reference/commands.md", "docs/reference/settings.md"])
def test_a_made_page_is_up_to_date(page: str, maker) -> None:
    """The message says how to make it again."""
    is_equal = maker["PAGES"][page]() == (ROOT / page).read_text("utf-8")
    assert is_equal, f"{page} differs from the code: run python {MAKER}, and commit the page"


def test_all_made_pages_are_compared(maker) -> None:
    assert list(maker["PAGES"]) == ["docs/reference/commands.md", "docs/reference/settings.md"]


def test_a_number_without_a_unit_is_refused(maker) -> None:
    """A new setting cannot be forgotten."""
    maker["settings_page"].__globals__["UNITS"]["Settings"].pop("leeway")
    with pytest.raises(ValueError, match=r"Settings\.leeway is a number: write its unit"):
        maker["settings_page"]()


def test_each_command_has_a_heading() -> None:
    """Those of all levels, and the two options that are commands."""
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    headings = [line.lstrip("# ") for line in page.splitlines() if line.startswith("#")]
    for name in ("ezeep print", "ezeep provision apply", "ezeep users invite", "ezeep --show-completion"):
        assert name in headings
    assert len(headings) == len(set(headings)) > 45
