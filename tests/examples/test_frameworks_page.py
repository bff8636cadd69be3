"""docs/frameworks.md shows the code of `examples/`, and examples/README.md names all of them."""

from __future__ import annotations

import re
from pathlib import Path


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "frameworks.md"


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


def test_links_of_the_list_resolve() -> None:
    readme = ROOT / "examples" / "README.md"
    assert [
        link
        for link in re.findall(r"\]\(([^)]+)\)", readme.read_text())
        if not (readme.parent / link).exists()
    ] == []
