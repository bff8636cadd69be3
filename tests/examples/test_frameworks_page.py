"""docs/how-to/frameworks.md shows the code of `examples/`, and examples/README.md names all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "how-to" / "frameworks.md"


def test_the_code_of_the_page_is_that_of_the_examples() -> None:
    """Each block is in the file that was linked last before it."""
    shown, source = 0, ""
    for match in re.finditer(r"\]\(\.\./(examples/[^)]+)\)|```py\n(.*?)```", PAGE.read_text(), re.DOTALL):
        link, block = match.groups()
        if link is not None:
            source = (ROOT / link).read_text()
        else:
            assert f"\n{block}" in source, block
            shown += 1
    assert shown > 8


def test_the_examples_are_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE)
    folders = [each.name for each in (ROOT / "examples").iterdir() if any(each.glob("*.*"))]
    assert sorted(listed) == sorted(folders)


@pytest.mark.parametrize(
    "folder", [each for each in EXAMPLES.iterdir() if each.is_dir()], ids=lambda path: path.name
)
def test_each_example_says_what_to_install_and_set(folder: Path) -> None:
    """And how a program that has one login gets it. Those with a login for each user have /login."""
    text = "\n".join(
        path.read_text("utf-8") for path in folder.rglob("*.*") if path.suffix in {".py", ".md", ".ipynb"}
    )
    for name in ("pip install ", "EZEEP_CLIENT_ID"):
        assert name in text
    assert any(way in text for way in ("ezeep login --client-id", "/login", "tenants.py login"))


def test_links_of_the_list_resolve() -> None:
    readme = ROOT / "examples" / "README.md"
    assert [
        link
        for link in re.findall(r"\]\(([^)]+)\)", readme.read_text())
        if not (readme.parent / link).exists()
    ] == []
