"""CSV tables of groups and members: one row per membership, or one row per member."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

import attrs

from ezeep_async._text.text_files import lines_of
from ezeep_async.provisioning.csv_cells import csv_line, unprotected
from ezeep_async.provisioning.inputs.collector import Collector
from ezeep_async.provisioning.names import member_problem, normalize_email, shortened
from ezeep_async.provisioning.wording import some


GROUP, GROUPS, MEMBER = "group", "groups", "member"
COLUMNS = {GROUP: None, GROUPS: None, MEMBER: None}.keys()
"""Names of columns, and of the fields of records in JSON and YAML."""
GROUP_SEPARATOR = ";"
"""Separates group names in a cell of the column `groups`."""
DELIMITERS = (",", ";")
MAX_LINES_IN_CELL = 20
"""Lines searched for the end of a cell that has line breaks."""
COLUMNS_SHOWN = 20
"""Unknown columns that a message names."""

_HEADER_EXPECTED = "the first line must be the header group,member or member,groups"
_LINE_BREAK = "a line break inside a quoted cell: names and addresses have none, so remove it"


@attrs.frozen
class _Header:
    delimiter: str
    columns: tuple[str, ...]
    """Column names; empty for a column without a name."""
    member: int
    """Index of the column `member`, from 0."""
    named: int
    """Index of the column `group` or `groups`."""
    several: bool
    """Whether that column is `groups`."""

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def named_width(self) -> int:
        """Number of columns up to the last one with a name."""
        return max(self.member, self.named, *(at for at, name in enumerate(self.columns) if name)) + 1


def read_table(content: bytes, collector: Collector) -> None:
    """Read the content of a CSV file (format: `DesiredState.from_csv`)."""
    body = collector.strip_bom(content)
    if body is None:
        return
    header: _Header | None = None
    # Line by line, because names and addresses have no line breaks: an open quote, as in a truncated file, affects its
    # own line only.
    lines = _Lines(lines_of(body))
    for number, line in lines:
        if not line.strip():
            continue
        text = collector.decode_line(number, line)
        if header is None:
            if text is not None and _is_blank_row(text):
                continue
            if text is not None and _has_line_break(text, lines):
                collector.note_problem(number, f"{_HEADER_EXPECTED}; it has {_LINE_BREAK}")
                return
            header = None if text is None else _read_header(text, number, collector)
            if header is None:
                return
        elif text is not None:
            _read_row(text, header, number, collector, lines)
    if header is None:
        collector.note_problem(None, "the file is empty: add the header group,member or member,groups")


class _Lines:
    """Numbered lines with lookahead."""

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._ahead: deque[tuple[int, bytes]] = deque()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return self

    def __next__(self) -> tuple[int, bytes]:
        return self._ahead.popleft() if self._ahead else next(self._lines)

    def end_of_cell(self, text: str, delimiter: str) -> int | None:
        """Count the next lines needed to close the quote that `text` leaves open. None if they do not close it."""
        for taken in range(1, MAX_LINES_IN_CELL + 1):
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
        """Drop lines that were read ahead."""
        for _ in range(count):
            self._ahead.popleft()

    @property
    def is_at_end(self) -> bool:
        """Whether only blank lines are left."""
        if not self._ahead and (line := next(self._lines, None)) is not None:
            self._ahead.append(line)
        return not any(line.strip(b" \t,;") for _, line in self._ahead)


def write_csv(groups: Mapping[str, Iterable[str]], file: TextIO) -> None:
    """Write groups and their members as the CSV `group,member` that `DesiredState.from_csv` reads. Blocks.

    Names are written normalized, in the given order, each membership once. A group without members is left out, because
    a row cannot express it. A cell that a spreadsheet would read as a formula (it begins with `=`, `+`, `-` or `@`) gets
    a single quote in front (OWASP, "CSV Injection"); `DesiredState.from_csv` removes it.

    Args:
        groups: Group names to members (e-mail addresses or user ids).
        file: A text file opened with `newline=""` and `encoding="utf-8"`, or "utf-8-sig" for spreadsheets that need a
            BOM.

    Raises:
        InvalidInput: A name or a member is invalid. Nothing was written.
        OSError: The file cannot be written.
    """
    collector = Collector("mapping")
    collector.add_mapping(groups)
    checked = collector.finish()
    file.write(csv_line((GROUP, MEMBER), "\n"))
    for name, members in checked.items():
        file.writelines(csv_line((name, member), "\n") for member in members)


def _read_header(text: str, number: int, collector: Collector) -> _Header | None:
    """Return None if the rows cannot be read with this header. Other faults are problems, and the rows are read."""
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
        collector.note_problem(number, f"{_HEADER_EXPECTED}, not {shortened(text)!r}")
        return None
    delimiter, columns = best
    counts = Counter(columns)
    faults: list[str] = []
    # Spreadsheets write columns without a name for deleted content. `_read_row` refuses them if they are not blank.
    unknown = [repr(column) for column in counts if column and column not in COLUMNS]
    if unknown:
        faults.append(
            f"unknown column{'s' if len(unknown) > 1 else ''} {some([*map(shortened, unknown)], COLUMNS_SHOWN)}"
        )
    faults += [f"{counts[name]} columns are named {name}" for name in COLUMNS if counts[name] > 1]
    if GROUP in counts and GROUPS in counts:
        faults.append(f"use either {GROUP} or {GROUPS}")
    named = next((name for name in (GROUP, GROUPS) if name in counts), None)
    if MEMBER not in counts or named is None:
        missing = MEMBER if MEMBER not in counts else f"{GROUP} or {GROUPS}"
        faults.append(f"no column is named {missing}")
    if faults:
        collector.note_problem(number, f"{_HEADER_EXPECTED}: {', '.join(faults)}")
    if MEMBER not in counts or named is None:
        return None
    return _Header(delimiter, tuple(columns), columns.index(MEMBER), columns.index(named), named == GROUPS)


def _read_row(text: str, header: _Header, number: int, collector: Collector, lines: _Lines) -> None:
    try:
        cells = _split(text, header.delimiter)
    except csv.Error as error:
        collector.note_problem(number, _syntax_problem(error, text, header, lines))
        return
    if not any(map(str.strip, cells)):
        return
    cells = _of_named_columns(cells, header)
    if len(cells) != header.width:
        found = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        hint = ""
        if header.several and header.delimiter == GROUP_SEPARATOR and len(cells) > header.width:
            hint = f': quote a cell that has several groups: "A{GROUP_SEPARATOR}B"'
        collector.note_problem(
            number, f"the header has {header.width} columns, and this row has {found}{hint}"
        )
        return
    for at, (name, cell) in enumerate(zip(header.columns, cells, strict=True), 1):
        if not name and cell.strip():
            collector.note_problem(
                number,
                f"column {at} has no name in the header, but this row has {shortened(repr(cell))} in it",
            )
            return
    member, named = _member_of(cells[header.member]), unprotected(cells[header.named])
    if header.several:
        checked = collector.check_member(member, number)
        for name in named.split(GROUP_SEPARATOR) if named.strip() else ():
            collector.add_pair(collector.check_group(name, number), checked)
    else:
        collector.add_pair(collector.check_group(named, number), collector.check_member(member, number))


def _syntax_problem(error: csv.Error, text: str, header: _Header, lines: _Lines) -> str:
    """Describe the error, and skip the other lines of a cell with line breaks."""
    if not _is_open(error):
        return f"not CSV: {error}"
    taken = lines.end_of_cell(text, header.delimiter)
    if taken is not None:
        lines.skip(taken)
        return f"this row has {_LINE_BREAK}"
    return "a quote is not closed" + (": is the file cut off?" if lines.is_at_end else "")


def _of_named_columns(cells: list[str], header: _Header) -> list[str]:
    """Drop blank cells after the last named column, or add them, to fit the header."""
    if header.several and header.delimiter == GROUP_SEPARATOR and len(cells) > header.width:
        return cells  # a cell after the last `;` may be a group
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
    """The member in a cell. `'@example.com` is an address itself: without the quote it would be invalid."""
    member = unprotected(cell)
    return cell if member != cell and member_problem(normalize_email(member)) else member


def _split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
