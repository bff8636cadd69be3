"""CSV: one row per membership, or one row per member."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

import attrs

from ezeep_async._text.text_files import lines_of
from ezeep_async.provisioning.csv_cells import csv_line, unprotected
from ezeep_async.provisioning.inputs.collector import Collected
from ezeep_async.provisioning.names import member_problem, normalise_email, shortened
from ezeep_async.provisioning.wording import some


GROUP, GROUPS, MEMBER = "group", "groups", "member"
COLUMNS = {GROUP: None, GROUPS: None, MEMBER: None}.keys()
"""What columns, and the fields of records, are called."""
BETWEEN_GROUPS = ";"
"""Separates the names in a cell of the column `groups`."""
DELIMITERS = (",", ";")
LINES_IN_A_CELL = 20
"""How many lines are searched for the end of a cell that has a line break."""
COLUMNS_SHOWN = 20
"""How many unknown columns a problem names. A header may have any number of them, of any length."""

_WANTED = "the first line has to be the header group,member or member,groups"
_LINE_BREAK = "a line break inside a cell (in quotes): no name and no address has one, so remove it"


@attrs.frozen
class _Header:
    delimiter: str
    columns: tuple[str, ...]
    """Their names. One that has none is there as an empty text."""
    member: int
    """Where the column is, counted from 0."""
    named: int
    """Where the column `group` or `groups` is."""
    several: bool
    """Whether it is `groups`."""

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.columns)

    @property
    def named_width(self) -> int:
        """How many columns there are up to the last one that has a name."""
        return max(self.member, self.named, *(at for at, name in enumerate(self.columns) if name)) + 1


def read_table(content: bytes, collected: Collected) -> None:
    """Reads the content of a CSV file. What it has to look like is at `DesiredState.from_csv`."""
    body = collected.strip_bom(content)
    if body is None:
        return
    header: _Header | None = None
    # Line by line: no name and no address has a line break in it, so a quote that is left open, as in a file that was
    # cut off, spoils its own line and not the rest of the file.
    lines = _Lines(lines_of(body))
    for number, line in lines:
        if not line.strip():
            continue
        text = collected.decode_line(number, line)
        if header is None:
            if text is not None and _is_blank_row(text):
                continue
            if text is not None and _has_line_break(text, lines):
                collected.note_problem(number, f"{_WANTED}, and it has {_LINE_BREAK}")
                return
            header = None if text is None else _read_header(text, number, collected)
            if header is None:
                return
        elif text is not None:
            _read_row(text, header, number, collected, lines)
    if header is None:
        collected.note_problem(None, "the file is empty: it needs the header group,member or member,groups")


class _Lines:
    """Lines with their numbers, of which some can be looked at ahead."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._ahead: deque[tuple[int, bytes]] = deque()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        return self._ahead.popleft() if self._ahead else next(self._lines)

    def end_of_cell(self, text: str, delimiter: str) -> int | None:
        """How many of the next lines it takes to close the quote that `text` leaves open. None: they do not close it."""
        for taken in range(1, LINES_IN_A_CELL + 1):
            if len(self._ahead) < taken:
                line = next(self._lines, None)
                if line is None:
                    return None
                self._ahead.append(line)
            text += "\n" + self._ahead[taken - 1][1].decode(errors="replace")
            try:
                _split(text, delimiter)
            except csv.Error as error:
                if not _is_open(error):
                    return None
            else:
                return taken
        return None

    def skip(self, count: int) -> None:
        """Go past lines that were looked at."""
        for _ in range(count):
            self._ahead.popleft()

    @property
    def is_at_end(self) -> bool:
        """Whether nothing but blank lines comes."""
        if not self._ahead and (line := next(self._lines, None)) is not None:
            self._ahead.append(line)
        return not any(line.strip(b" \t,;") for _, line in self._ahead)


def write_csv(groups: Mapping[str, Iterable[str]], file: TextIO) -> None:
    """Writes groups and their members as the CSV `group,member` that `DesiredState.from_csv` reads.

    `file` is opened with `newline=""` and `encoding="utf-8"`, or "utf-8-sig" for spreadsheets that take a file without
    a BOM for something else. Names are written as they are compared, in the order given, each membership once. A group
    with no members is left out: a row cannot say it, and a group that is not named is one that nothing happens to.

    A cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-` or `@`) is written with a single quote
    in front, which `DesiredState.from_csv` takes off again (OWASP, "CSV Injection").

    Blocks while it writes. Raises `InvalidInput` for what could not be read again, before anything is written, and
    `OSError`.
    """
    collected = Collected("mapping")
    collected.add_mapping(groups)
    checked = collected.finish()
    file.write(csv_line((GROUP, MEMBER), "\n"))
    for name, members in checked.items():
        file.writelines(csv_line((name, member), "\n") for member in members)


def _read_header(text: str, number: int, collected: Collected) -> _Header | None:
    """None when the rows cannot be understood. A header that is wrong otherwise is a problem, and the rows are read."""
    best: tuple[str, list[str]] | None = None
    columns: list[str]
    for delimiter in DELIMITERS:
        try:
            columns = [cell.strip().casefold() for cell in _split(text, delimiter)]
        except csv.Error:
            continue
        if best is None or len(COLUMNS & set(columns)) > len(COLUMNS & set(best[1])):
            best = delimiter, columns
    if best is None or not COLUMNS & set(best[1]):
        collected.note_problem(number, f"{_WANTED} and is {shortened(text)!r}")
        return None
    delimiter, columns = best
    counts = Counter(columns)
    wrong: list[str] = []
    # A column without a name, as spreadsheets write them for what was deleted, is empty in every row or a problem there.
    unknown = [repr(column) for column in counts if column and column not in COLUMNS]
    if unknown:
        told = [shortened(column) for column in unknown]
        wrong.append(f"unknown column{'s' if len(unknown) > 1 else ''} {some(told, COLUMNS_SHOWN)}")
    wrong += [f"the column {name} is there {counts[name]} times" for name in COLUMNS if counts[name] > 1]
    if GROUP in counts and GROUPS in counts:
        wrong.append(f"either {GROUP} or {GROUPS}")
    named = next((name for name in (GROUP, GROUPS) if name in counts), None)
    if MEMBER not in counts or named is None:
        lacking = MEMBER if MEMBER not in counts else f"{GROUP} or {GROUPS}"
        wrong.append(f"there is no column {lacking}")
    if wrong:
        collected.note_problem(number, f"{_WANTED}: {', '.join(wrong)}")
    if MEMBER not in counts or named is None:
        return None
    return _Header(delimiter, tuple(columns), columns.index(MEMBER), columns.index(named), named == GROUPS)


def _read_row(text: str, header: _Header, number: int, collected: Collected, lines: _Lines) -> None:
    try:
        cells = _split(text, header.delimiter)
    except csv.Error as error:
        collected.note_problem(number, _what_is_wrong(error, text, header, lines))
        return
    if not any(map(str.strip, cells)):
        return
    cells = _of_named_columns(cells, header)
    if len(cells) != header.width:
        found = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        hint = ""
        if header.several and header.delimiter == BETWEEN_GROUPS and len(cells) > header.width:
            hint = f': several groups go into one cell, in quotes: "A{BETWEEN_GROUPS}B"'
        collected.note_problem(number, f"there are {header.width} columns, and this row has {found}{hint}")
        return
    for at, (name, cell) in enumerate(zip(header.columns, cells, strict=True), 1):
        if not name and cell.strip():
            collected.note_problem(
                number, f"column {at} has no name in the header, and has {shortened(repr(cell))} here"
            )
            return
    member, named = _member_of(cells[header.member]), unprotected(cells[header.named])
    if header.several:
        checked = collected.check_member(member, number)
        for name in named.split(BETWEEN_GROUPS) if named.strip() else ():
            collected.add_pair(collected.check_group(name, number), checked)
    else:
        collected.add_pair(collected.check_group(named, number), collected.check_member(member, number))


def _what_is_wrong(error: csv.Error, text: str, header: _Header, lines: _Lines) -> str:
    """Goes past the lines that belong to a cell with line breaks."""
    if not _is_open(error):
        return f"not CSV: {error}"
    taken = lines.end_of_cell(text, header.delimiter)
    if taken is not None:
        lines.skip(taken)
        return f"this row has {_LINE_BREAK}"
    return "a quote is not closed" + (": is the file cut off?" if lines.is_at_end else "")


def _of_named_columns(cells: list[str], header: _Header) -> list[str]:
    """The row without blank cells at its end that have no column with a name. A row that has other cells stays."""
    if header.several and header.delimiter == BETWEEN_GROUPS and len(cells) > header.width:
        return cells  # what comes after the last `;` may have been a group
    width = len(cells)
    while width > header.named_width and not cells[width - 1].strip():
        width -= 1
    cells = cells[:width]
    return cells + [""] * (header.width - width) if header.named_width <= width < header.width else cells


def _is_blank_row(text: str) -> bool:
    for delimiter in DELIMITERS:
        try:
            if not any(map(str.strip, _split(text, delimiter))):
                return True
        except csv.Error:
            continue
    return False


def _has_line_break(text: str, lines: _Lines) -> bool:
    for delimiter in DELIMITERS:
        try:
            _split(text, delimiter)
        except csv.Error as error:
            if _is_open(error) and lines.end_of_cell(text, delimiter) is not None:
                return True
    return False


def _is_open(error: csv.Error) -> bool:
    return "unexpected end of data" in str(error)


def _member_of(cell: str) -> str:
    """The member in a cell. `'@example.com` is an address, and `@example.com` is none that could have been protected."""
    member = unprotected(cell)
    return cell if member != cell and member_problem(normalise_email(member)) else member


def _split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
