"""CSV tables of groups with members or printers: one row per pair, or one row per member or printer."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

import attrs

from ezeep_async.provisioning.csv_cells import csv_line, unprotected
from ezeep_async.provisioning.inputs.problems import Collector, Kind
from ezeep_async.provisioning.names import member_problem, normalize_email, shortened


GROUP, GROUPS = "group", "groups"
MEMBER: Kind = "member"
PRINTER: Kind = "printer"
"""Names of columns, and of the fields of records in JSON and YAML."""
GROUP_SEPARATOR = ";"
"""Separates group names in a cell of the column `groups`."""
DELIMITERS = (",", ";")
MAX_LINES_IN_CELL = 20
"""Lines searched for the end of a cell that has line breaks."""

_BOM = "\ufeff"
_BLANK = b" \t,;"
_HEADER_EXPECTED = "the first line must be the header group,{0} or {0},groups"
_LINE_BREAK = "a line break inside a quoted cell: names and addresses have none, so remove it"


@attrs.frozen
class _Header:
    text: str
    """The line, without its BOM."""
    delimiter: str
    columns: list[str]
    """Column names; empty for a column without a name."""
    named: str
    """Name of the column with groups: `group` or `groups`."""
    item: Kind
    """Name of the other column."""


def read_table(body: bytes, collector: Collector) -> None:
    """Read the content of a CSV file (format: `DesiredState.from_csv`), without its BOM."""
    lines = body.splitlines()
    # Spreadsheets write blank rows before the header, with or without quotes.
    filled = (number for number, line in enumerate(lines, 1) if line.replace(b'""', b"").strip(_BLANK))
    if (first := next(filled, None)) is None:
        collector.note_problem(None, "the file is empty: add the header group,member or member,groups")
    elif (header := _read_header(lines, first, collector)) is not None:
        _read_rows(lines, first + 1, header, collector)


def write_csv(groups: Mapping[str, Iterable[str]], file: TextIO, column: Kind = "member") -> None:
    """Write groups and their members as the CSV `group,member` that `DesiredState.from_csv` reads. Blocks.

    Names are written normalized, in the given order, each pair once. A group without members is left out, because a row
    cannot express it. A cell that a spreadsheet would read as a formula (it begins with `=`, `+`, `-` or `@`) gets
    a single quote in front (OWASP, "CSV Injection"); `DesiredState.from_csv` removes it.

    Args:
        groups: Group names to members (e-mail addresses or user ids) or to printers (names or ids).
        file: A text file opened with `newline=""` and `encoding="utf-8"`, or "utf-8-sig" for spreadsheets that need a
            BOM.
        column: "printer" writes the CSV `group,printer`.

    Raises:
        InvalidInput: A name, a member or a printer is invalid. Nothing was written.
        OSError: The file cannot be written.
    """
    collector = Collector("mapping")
    collector.add_mapping(groups, column)
    checked = collector.finish(column)
    file.write(csv_line((GROUP, column), "\n"))
    for name, items in checked.items():
        file.writelines(_line(name, item, column) for item in items)


def _line(name: str, item: str, column: Kind) -> str:
    if (name, item) == (GROUP, column):  # the reader would skip it as the header of a second file
        return f'"{name}","{item}"\n'
    return csv_line((name, item), "\n")


def _read_header(lines: Sequence[bytes], number: int, collector: Collector) -> _Header | None:
    """Return None if the rows cannot be read with this header. Other faults are problems, and the rows are read."""
    if (text := collector.decode_line(number, lines[number - 1])) is None:
        return None
    if any(_lines_of_row(lines, number, delimiter) > 1 for delimiter in DELIMITERS):
        collector.note_problem(number, f"{_HEADER_EXPECTED.format(MEMBER)}; it has {_LINE_BREAK}")
        return None
    known = {GROUP, GROUPS, MEMBER, PRINTER}
    delimiter = max(DELIMITERS, key=lambda each: len({*_column_names(text, each)} & known))
    columns = _column_names(text, delimiter)
    item = PRINTER if PRINTER in columns and MEMBER not in columns else MEMBER
    # Spreadsheets write columns without a name for deleted content. `_read_row` refuses them if they are not blank.
    if sorted(filter(None, columns)) not in ([GROUP, item], [GROUPS, item]):
        message = f"{_HEADER_EXPECTED.format(item)} without other columns, not {shortened(text)!r}"
        if PRINTER in columns and item == MEMBER:
            message += ": put members and printers into two files"
        collector.note_problem(number, message)
    named = next((name for name in (GROUP, GROUPS) if name in columns), None)
    if named is None or item not in columns:
        return None
    return _Header(_header_text(text), delimiter, columns, named, item)


def _read_rows(lines: Sequence[bytes], first: int, header: _Header, collector: Collector) -> None:
    # Line by line, because names and addresses have no line breaks: an open quote, as in a truncated file, affects its
    # own line only.
    for number, line in enumerate(lines, 1):
        if number < first or (text := collector.decode_line(number, line)) is None:
            continue
        try:
            cells = _split(text, header.delimiter)
        except csv.Error as error:
            message = f"not CSV: {error}"
            if _is_open(error):
                count = _lines_of_row(lines, number, header.delimiter)
                first = number + count
                message = f"this row has {_LINE_BREAK}" if count else "a quote is not closed"
                if not count and not any(lines[at].strip(_BLANK) for at in range(number, len(lines))):
                    message += ": is the file cut off?"
            collector.note_problem(number, message)
        else:
            # Files that were joined repeat the header, with or without a BOM.
            is_header = (
                header.item in text.casefold()
                and _column_names(text, header.delimiter) == header.columns
                # A group may be named "Group" and its printer "Printer". No member is named "Member".
                and (header.item == MEMBER or _header_text(text) == header.text)
            )
            if any(map(str.strip, cells)) and not is_header:
                _read_row(cells, header, number, collector)


def _read_row(cells: list[str], header: _Header, number: int, collector: Collector) -> None:
    width = len(header.columns)
    # Spreadsheets omit blank cells at the end, or add some. After an unquoted group each of them may be a group.
    unquoted = header.named == GROUPS and header.delimiter == GROUP_SEPARATOR and len(cells) > width
    while len(cells) > width and not unquoted and not cells[-1].strip():
        cells.pop()
    if not any(header.columns[len(cells) :]):
        cells += [""] * (width - len(cells))
    if len(cells) != width:
        found = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        hint = f': quote a cell that has several groups: "A{GROUP_SEPARATOR}B"' if unquoted else ""
        collector.note_problem(number, f"the header has {width} columns, and this row has {found}{hint}")
        return
    for at, (name, cell) in enumerate(zip(header.columns, cells, strict=True), 1):
        if not name and cell.strip():
            message = f"column {at} has no name in the header, but this row has {shortened(repr(cell))} in it"
            collector.note_problem(number, message)
            return
    cell = cells[header.columns.index(header.item)]
    named = unprotected(cells[header.columns.index(header.named)])
    several = header.named == GROUPS
    # The group of a row is checked first: its problem comes first.
    names = [] if several else [collector.check_group(named, number)]
    if header.item == MEMBER:
        item, table = collector.check_member(_member_of(cell), number), collector.groups
    else:
        item, table = collector.check_printer(unprotected(cell), number), collector.printers
    if several and named.strip():
        names = [collector.check_group(name, number) for name in named.split(GROUP_SEPARATOR)]
    for group in names:
        collector.add_pair(group, item, table)


def _header_text(line: str) -> str:
    return line.removeprefix(_BOM).strip()


def _column_names(text: str, delimiter: str) -> list[str]:
    """Read a header, with or without a BOM. Empty if it is not CSV."""
    try:
        return [cell.strip().casefold() for cell in _split(text.removeprefix(_BOM), delimiter)]
    except csv.Error:
        return []


def _lines_of_row(lines: Sequence[bytes], number: int, delimiter: str) -> int:
    """Count the lines of the row that begins at `number`. 0 if it is not CSV, or one of its quotes is not closed."""
    text = ""
    for count, line in enumerate(lines[number - 1 : number + MAX_LINES_IN_CELL], 1):
        text += line.decode(errors="replace") + "\n"
        try:
            _split(text, delimiter)
        except csv.Error as error:
            if not _is_open(error):
                return 0
        else:
            return count
    return 0


def _is_open(error: csv.Error) -> bool:
    return "unexpected end of data" in str(error)


def _member_of(cell: str) -> str:
    """The member in a cell. `'@example.com` is an address itself: without the quote it would be invalid."""
    member = unprotected(cell)
    return cell if member != cell and member_problem(normalize_email(member)) else member


def _split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
