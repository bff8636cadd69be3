"""The documents of the repository and their code blocks."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path


ROOT = Path(__file__).parents[2]
# Three backticks and a language, also indented below a tab or a list; before it, perhaps, the mark of the test that runs it.
BLOCK = re.compile(
    r"(?:^ *<!-- test: (?P<mark>[\w-]+) -->\n+)?^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block: `page` is its path below the root, `mark` the name in the comment before it, or ""."""

    page: str
    number: int
    language: str
    mark: str
    text: str


def pages() -> list[str]:
    """The README, and all pages of the site, as paths below the root."""
    return ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]


def blocks(page: str) -> list[Block]:
    """The code blocks of a page, in order."""
    found = BLOCK.finditer((ROOT / page).read_text("utf-8"))
    return [
        Block(page, number, block["language"], block["mark"] or "", textwrap.dedent(block["text"]))
        for number, block in enumerate(found)
    ]


def marked(page: str, mark: str) -> str:
    """The text of the one block of the page after `<!-- test: mark -->`."""
    (block,) = [block for block in blocks(page) if block.mark == mark]
    return block.text
