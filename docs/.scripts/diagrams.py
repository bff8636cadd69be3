"""The diagrams of the documents: each text file of docs/.diagrams becomes `docs/assets/<name>.svg`.

    python docs/.scripts/diagrams.py

A text begins with `title` and `description`, which screen readers read. Then follows one of two kinds:

- `sequence A | B | C`: one column for each name. `A -> B: text` is a message, `--> ` a response, `note A: text` a step of A alone.
- `boxes`: a line is a row of boxes, `name: text | name: text`. Before a text, `*` marks a box as good, `!` as bad. `.` leaves a
  place empty. `a -> b: text` is an arrow between two boxes.

The width is that of a phone, where a wider drawing would have letters that are too small. The colours follow `color-scheme`.
"""

from __future__ import annotations

import re
import textwrap
from html import escape
from pathlib import Path


DOCS = Path(__file__).parents[1]
SOURCES = DOCS / ".diagrams"
TARGET = DOCS / "assets"
WIDTH, MARGIN, LINE, SIZE = 400, 10, 16, 13
CHARACTER = 6.7
"""Width of an average character: for line breaks only, because fonts differ."""
STYLE = """
svg { color-scheme: light dark; --paper: #ffffff; --ink: #1b1c20; --line: #5b6675; --box: #f1f3f6; --good: #dcebfa; --bad: #fce4e1; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #1f2129; --ink: #e8e9ed; --line: #a3adba; --box: #2d313b; --good: #1c3d5e; --bad: #582a26; }
}
.paper { fill: var(--paper); } .box { fill: var(--box); stroke: var(--line); } .good { fill: var(--good); stroke: var(--line); }
.bad { fill: var(--bad); stroke: var(--line); } .line { stroke: var(--line); fill: none; } .tip { fill: var(--line); }
.back { stroke-dasharray: 5 3; } .life { stroke-dasharray: 2 4; }
text { fill: var(--ink); font: 13px system-ui, sans-serif; text-anchor: middle; }
.label { stroke: var(--paper); stroke-width: 5px; paint-order: stroke; stroke-linejoin: round; }
"""
TIP = '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker>'


class Drawing:
    """Shapes, and the height that they need."""

    def __init__(self) -> None:
        self.shapes: list[str] = []
        self.height: float = MARGIN

    def text(self, x: float, y: float, lines: list[str], kind: str = "") -> None:
        """Lines of text, centred at x; `y` is the middle of the first one."""
        mark = f' class="{kind}"' if kind else ""
        self.shapes += [
            f'<text{mark} x="{x:.0f}" y="{y + at * LINE + 4:.0f}">{escape(line)}</text>'
            for at, line in enumerate(lines)
        ]

    def box(self, x: float, y: float, width: float, height: float, kind: str, lines: list[str]) -> None:
        """A box with lines of text in its middle."""
        self.shapes.append(
            f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="5"/>'
        )
        self.text(x + width / 2, y + height / 2 - (len(lines) - 1) * LINE / 2, lines)

    def line(self, ends: tuple[float, float, float, float], kind: str = "", *, tip: bool = True) -> None:
        """A line, with an arrow head at its end."""
        x1, y1, x2, y2 = ends
        mark = ' marker-end="url(#tip)"' if tip else ""
        self.shapes.append(
            f'<line class="line{kind}" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"{mark}/>'
        )


def wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines of at most `width`."""
    return textwrap.wrap(text, max(6, int(width / CHARACTER)), break_long_words=False) or [""]


def sequence(drawing: Drawing, names: list[str], lines: list[str]) -> None:
    """Messages between columns, from top to bottom."""
    column = (WIDTH - 2 * MARGIN) / len(names)
    at = {name: MARGIN + (place + 0.5) * column for place, name in enumerate(names)}
    y = MARGIN + 46.0
    steps = len(drawing.shapes)
    for line in lines:
        who, text = (part.strip() for part in line.split(":", 1))
        if who.startswith("note "):
            x, found = at[who[5:]], wrapped(text, column * 1.15)
            width = min(column * 1.25, max(map(len, found)) * CHARACTER + 14)
            left = min(max(x - width / 2, 2), WIDTH - width - 2)
            drawing.box(
                left,
                y,
                width,
                len(found) * LINE + 8,
                "bad" if text.startswith("! ") else "good",
                [*wrapped(text.removeprefix("! "), column * 1.15)],
            )
            y += len(found) * LINE + 26
            continue
        first, back, second = re.split(r"\s*(-->|->)\s*", who)
        found = wrapped(text, abs(at[first] - at[second]) * 1.05)
        drawing.text((at[first] + at[second]) / 2, y, found, "label")
        y += len(found) * LINE - 2
        drawing.line((at[first], y, at[second], y), " back" if back == "-->" else "")
        y += 20
    drawing.height = y
    for name, x in at.items():
        drawing.shapes.insert(
            steps, f'<line class="line life" x1="{x:.0f}" y1="40" x2="{x:.0f}" y2="{y:.0f}"/>'
        )
        drawing.box(x - column / 2 + 4, MARGIN, column - 8, 28, "box", [name])


def boxes(drawing: Drawing, lines: list[str]) -> None:
    """Rows of boxes, and arrows between them."""
    arrows = [
        match.groups() for line in lines if (match := re.fullmatch(r"(\S+) -> (\S+?)(?:: (.*))?", line))
    ]
    rows = [line.split(" | ") for line in lines if " -> " not in line.split(":")[0]]
    row_of = {cell.split(":")[0].strip(): number for number, row in enumerate(rows) for cell in row}
    place: dict[str, tuple[float, float, float, float]] = {}
    y = float(MARGIN)
    for number, row in enumerate(rows):
        gap = 30 if any(row_of[a] == row_of[b] == number and text for a, b, text in arrows) else 10
        width = (WIDTH - 2 * MARGIN - gap * (len(row) - 1)) / len(row)
        cells = [(*(part.strip() for part in cell.split(":", 1)), "")[:2] for cell in row]
        height = max(len(wrapped(text.lstrip("*! "), width - 12)) for _, text in cells) * LINE + 12
        for column, (name, text) in enumerate(cells):
            x = MARGIN + column * (width + gap)
            if name != ".":
                kind = {"*": "good", "!": "bad"}.get(text[:1], "box")
                drawing.box(x, y, width, height, kind, wrapped(text.lstrip("*! "), width - 12))
                place[name] = (x, y, width, height)
        between = any({row_of[a], row_of[b]} == {number, number + 1} for a, b, _ in arrows)
        labelled = any({row_of[a], row_of[b]} == {number, number + 1} and text for a, b, text in arrows)
        drawing.height = y + height
        y += height + (44 if labelled else 24 if between else 6)
    for first, second, text in arrows:
        (x1, y1, w1, h1), (x2, y2, w2, h2) = place[first], place[second]
        if row_of[first] == row_of[second]:
            right = x1 < x2
            ends = (x1 + w1 if right else x1, y1 + h1 / 2, x2 if right else x2 + w2, y2 + h2 / 2)
        else:
            down, low, high = y1 < y2, max(x1, x2), min(x1 + w1, x2 + w2)
            # Straight down where the boxes overlap, beside the middle for the way back.
            x = ((low + high) / 2 if down else high - 14) if high - low > 20 else 0.0
            ends = (x or x1 + w1 / 2, y1 + h1 if down else y1, x or x2 + w2 / 2, y2 if down else y2 + h2)
        drawing.line(ends)
        if text:
            drawing.text((ends[0] + ends[2]) / 2, (ends[1] + ends[3]) / 2, [text], "label")


def draw(source: str) -> str:
    """Return the SVG of a text."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.startswith("#")]
    title, description = lines[0].removeprefix("title "), lines[1].removeprefix("description ")
    drawing = Drawing()
    if lines[2] == "boxes":
        boxes(drawing, lines[3:])
    else:
        sequence(drawing, [name.strip() for name in lines[2].removeprefix("sequence ").split("|")], lines[3:])
    height = drawing.height + MARGIN
    size = f'width="{WIDTH * 1.2:.0f}" height="{height * 1.2:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            f"<defs>{TIP}</defs>",
            f'<rect class="paper" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
            *drawing.shapes,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    for path in sorted(SOURCES.glob("*.txt")):
        (TARGET / f"{path.stem}.svg").write_text(draw(path.read_text("utf-8")), "utf-8")
