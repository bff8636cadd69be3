"""The documents of the repository and their code blocks."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path


ROOT = Path(__file__).parents[2]
# Three backticks and a language, also indented below a tab or a list; before it, perhaps, the mark of the test that runs it.
# The two commands of the README have marks of their own: .ci/run reads one of them.
BLOCK = re.compile(
    r"(?:^ *<!-- (?:test: )?(?P<mark>(?<=test: )[\w-]+|demo|tests) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
# What looks like a mark: a comment before a fence, and one that says so.
COMMENT = re.compile(r"^ *<!-- (?:[^\n]*-->\n+(?= *```)|test)", re.MULTILINE)
FENCE = re.compile(r"^ *(?:```|~~~)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block: `page` is its path below the root, `mark` the name in the comment before it, or ""."""

    page: str
    number: int
    line: int
    language: str
    mark: str
    text: str

    @property
    def name(self) -> str:
        """For messages and the names of tests."""
        return f"{self.page.removeprefix('docs/')}-{self.number}"

    @property
    def where(self) -> str:
        """The place in the file, which an editor can open."""
        return f"{self.page}:{self.line}"

    @property
    def is_included(self) -> bool:
        """Whether it shows other files with `--8<--`."""
        lines = self.text.split("\n")[:-1]
        return bool(lines) and all(line.startswith('--8<-- "') for line in lines)


def pages() -> list[str]:
    """The README, and all pages of the site, as paths below the root."""
    return [
        "README.md",
        *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
    ]


def blocks(page: str) -> list[Block]:
    """The code blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(
            page,
            number,
            text.count("\n", 0, block.start("language")) + 1,
            block["language"],
            block["mark"] or "",
            textwrap.dedent(block["text"]),
        )
        for number, block in enumerate(BLOCK.finditer(text), 1)
    ]


def all_blocks(*languages: str) -> list[Block]:
    """The code blocks of all pages in these languages."""
    return [block for page in pages() for block in blocks(page) if block.language in languages]


def marked(page: str, mark: str) -> str:
    """The text of the one block of the page after `<!-- test: mark -->`."""
    (block,) = [block for block in blocks(page) if block.mark == mark]
    return block.text


def lines_with_a_wrong_mark(page: str) -> list[int]:
    """Lines with a comment that is meant as a mark, and that marks no block."""
    text = (ROOT / page).read_text("utf-8")
    marks = {match.start() for match in BLOCK.finditer(text) if match["mark"]}
    return [
        text.count("\n", 0, comment.start()) + 1
        for comment in COMMENT.finditer(text)
        if comment.start() not in marks
    ]


def lines_without_fence(page: str) -> list[int]:
    """Lines with a fence that is part of no block: another kind of fence, or one that is not closed."""
    text = (ROOT / page).read_text("utf-8")
    inside = [match.span() for match in BLOCK.finditer(text)]
    return [
        text.count("\n", 0, fence.start()) + 1
        for fence in FENCE.finditer(text)
        if not any(start <= fence.start() < end for start, end in inside)
    ]
