"""CSV tables of groups with members or printers: one row per pair, or one row per member or printer."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TextIO

import attrs

from ezeep_async.provisioning.csv_cells import csv_line, unprotected
from ezeep_async.provisioning.inputs.problems import Collector, Kind
from ezeep_async.provisioning.inputs.spreadsheets import NAME_ENCODING
from ezeep_async.provisioning.names import member_problem, normalize_email, shortened


GROUP, GROUPS = "group", "groups"
MEMBER: Kind = "member"
PRINTER: Kind = "printer"
"""Names of columns, and of the fields of records in JSON and YAML."""
GROUP_SEPARATOR = ";"
"""Separates group names in a cell of the column `groups`."""
DELIMITERS = (",", ";", "\t")
MAX_LINES_IN_CELL = 20
"""Lines searched for the end of a cell that has line breaks."""

_BOM = "\ufeff"
_BLANK = b" \t,;"
_HEADER_EXPECTED = "the first line must be the header group,{0} or {0},groups"
_SEPARATOR_LINE = re.compile(rb'"?sep=([,;\t|])"?[,;\t|]*', re.IGNORECASE)
"""The first line that names the delimiter for Excel; Excel itself shows no such line."""
_LINE_BREAK = "a line break inside a quoted cell: names and addresses have none, so remove it"


@attrs.frozen
class _Header:
    text: str
    """The line, without its BOM."""
    lines: int
    """Number of lines: a column that is ignored may have a name with line breaks."""
    delimiter: str
    columns: list[str]
    """Column names; empty for a column without a name."""
    named: str
    """Name of the column with groups: `group` or `groups`."""
    item: Kind
    """Name of the other column."""


def read_table(body: bytes, collector: Collector, ignored: Iterable[str] = ()) -> None:
    """Read the content of a CSV file (format: `DesiredState.from_csv`), without its BOM.

    `ignored` has the names of columns that are not read.
    """
    lines = body.splitlines()
    # Spreadsheets write blank rows before the header, with or without quotes.
    filled = (number for number, line in enumerate(lines, 1) if line.replace(b'""', b"").strip(_BLANK))
    first = next(filled, None)
    delimiters: Sequence[str] = DELIMITERS
    if first is not None and (separator := _SEPARATOR_LINE.fullmatch(lines[first - 1].strip(b" "))):
        delimiters = separator[1].decode()
        first = next(filled, None)
    if first is None:
        collector.note_problem(None, "the file is empty: add the header group,member or member,groups")
        return
    ignored = frozenset(map(_column_name, ignored))
    if (header := _read_header(lines, first, delimiters, ignored, collector)) is not None:
        _read_rows(lines, first + header.lines, header, collector)
    else:
        # The rows cannot be read, but a wrong encoding is found now, and not with the next attempt.
        reported = {problem.line for problem in collector.problems}
        unread = [number for number in range(first, len(lines) + 1) if number not in reported]
        for number in unread:
            _decode_lines(lines, number, 1, collector)


def write_csv(
    groups: Mapping[str, Iterable[str]], file: TextIO, column: Kind = "member", *, excel: bool = False
) -> None:
    """Write groups and their members as the CSV `group,member` that `DesiredState.from_csv` reads. Blocks.

    Names are written normalized, in the given order, each pair once. A group without members is left out, because a row
    cannot express it. A cell that a spreadsheet would read as a formula (it begins with `=`, `+`, `-` or `@`) gets
    a single quote in front (OWASP, "CSV Injection"); `DesiredState.from_csv` removes it.

    Args:
        groups: Group names to members (e-mail addresses or user ids) or to printers (names or ids).
        file: A text file opened with `newline=""` and `encoding="utf-8"`, or "utf-8-sig" for spreadsheets that need a
            BOM.
        column: "printer" writes the CSV `group,printer`.
        excel: Whether to write the file as Excel opens it with a double click, in most of Europe: `;` between the columns,
            CRLF at the end of a line, and a BOM. Open the file with `encoding="utf-8"`.

    Raises:
        InvalidInput: A name, a member or a printer is invalid. Nothing was written.
        OSError: The file cannot be written.
    """
    collector = Collector("mapping")
    collector.add_mapping(groups, column)
    checked = collector.finish(column)
    delimiter, line_end = (";", "\r\n") if excel else (",", "\n")
    file.write((_BOM if excel else "") + csv_line((GROUP, column), line_end, delimiter))
    for name, items in checked.items():
        for item in items:
            if (name, item) == (GROUP, column):  # the reader would skip it as the header of a second file
                file.write(f'"{name}"{delimiter}"{item}"{line_end}')
            else:
                file.write(csv_line((name, item), line_end, delimiter))


def _read_header(
    lines: Sequence[bytes],
    number: int,
    delimiters: Sequence[str],
    ignored: frozenset[str],
    collector: Collector,
) -> _Header | None:
    """Return None if the rows cannot be read with this header. Other faults are problems, and the rows are read."""
    count = max(1, *(_lines_of_row(lines, number, delimiter) for delimiter in delimiters))
    if (text := _decode_lines(lines, number, count, collector)) is None:
        return None
    known = {GROUP, GROUPS, MEMBER, PRINTER}
    delimiter = max(delimiters, key=lambda each: len({*_column_names(text, each)} & known))
    columns = _column_names(text, delimiter)
    if count > 1 and (known.isdisjoint(columns) or _has_line_breaks(text, delimiter, columns, known)):
        collector.note_problem(number, f"{_HEADER_EXPECTED.format(MEMBER)}; it has {_LINE_BREAK}")
        return None
    read = [name for name in columns if name and name not in ignored]
    item = PRINTER if PRINTER in read and MEMBER not in read else MEMBER
    # Spreadsheets write columns without a name for deleted content. `_read_row` refuses them if they are not blank.
    if sorted(read) not in ([GROUP, item], [GROUPS, item]):
        shown = shortened(_header_text(text))
        message = f"{_HEADER_EXPECTED.format(item)} without other columns, not {shown!r}"
        missing = [] if {GROUP, GROUPS} & set(read) else ["group or groups"]
        missing += [] if item in read else [item]
        if PRINTER in read and item == MEMBER:
            message += ": put members and printers into two files"
        elif known.isdisjoint(read) and _has_other_delimiter(text, item):
            if len(delimiters) == 1:
                message += f": the line before it says that {delimiter!r} separates the columns"
            else:
                message += ": separate the columns with , ; or a tab"
        elif missing:
            collector.advice[_rename_advice(missing)] = None
        collector.note_problem(number, message)
        others = dict.fromkeys(name for name in read if name not in known)
        if sorted(set(read) - others.keys()) in ([GROUP, item], [GROUPS, item]):
            collector.advice[_ignore_advice(others)] = None
    named = next((name for name in (GROUP, GROUPS) if name in read), None)
    if named is None or item not in read:
        return None
    return _Header(_header_text(text), count, delimiter, columns, named, item)


def _rename_advice(missing: Iterable[str]) -> str:
    names = " and no column ".join(missing)
    return (
        f"The header has no column {names}: rename the columns, and skip the others with --ignore-columns "
        "(in Python: ignore_columns)"
    )


def _ignore_advice(names: Iterable[str]) -> str:
    line = csv_line(names, "")
    quoted = "'" + line.replace("'", "'\\''") + "'"
    return (
        f"Remove the other columns, or skip them with --ignore-columns {quoted} (in Python: ignore_columns)"
    )


def _read_rows(lines: Sequence[bytes], first: int, header: _Header, collector: Collector) -> None:
    # Line by line, because names and addresses have no line breaks: an open quote, as in a truncated file, affects its
    # own line only.
    for number, line in enumerate(lines, 1):
        if number < first:
            continue
        if (text := collector.decode_line(number, line)) is None:
            collector.advice[NAME_ENCODING] = None
            continue
        count = 1
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
            # Comments in columns that are not read may have line breaks.
            is_read = {header.named, header.item}
            if count < 2 or _has_line_breaks(
                whole := _joined(lines, number, count), header.delimiter, header.columns, is_read
            ):
                collector.note_problem(number, message)
                continue
            if _decode_lines(lines, number + 1, count - 1, collector) is None:
                continue
            text, cells = whole, _split(whole, header.delimiter)
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
    if len(cells) < width and {header.named, header.item}.isdisjoint(header.columns[len(cells) :]):
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
    at_item, at_named = header.columns.index(header.item), header.columns.index(header.named)
    cell, named = cells[at_item], unprotected(cells[at_named])
    several = header.named == GROUPS
    # The group of a row is checked first: its problem comes first.
    collector.column = at_named + 1
    names = [] if several else [collector.check_group(named, number)]
    collector.column = at_item + 1
    if header.item == MEMBER:
        item, table = collector.check_member(_member_of(cell), number), collector.groups
    else:
        item, table = collector.check_printer(unprotected(cell), number), collector.printers
    collector.column = at_named + 1
    if several and named.strip():
        names = [collector.check_group(name, number) for name in named.split(GROUP_SEPARATOR)]
    collector.column = None
    for group in names:
        collector.add_pair(group, item, table)


def _decode_lines(lines: Sequence[bytes], number: int, count: int, collector: Collector) -> str | None:
    """Decode and join lines. Returns None, and adds problems, if one is not UTF-8."""
    texts = [collector.decode_line(at, lines[at - 1]) for at in range(number, number + count)]
    if None in texts:
        collector.advice[NAME_ENCODING] = None
        return None
    return "\n".join(filter(None, texts))


def _joined(lines: Sequence[bytes], number: int, count: int) -> str:
    return "\n".join(line.decode(errors="replace") for line in lines[number - 1 : number - 1 + count])


def _has_other_delimiter(text: str, item: Kind) -> bool:
    """Whether the header is right, but for what separates its columns."""
    words = set(re.findall(r"\w+", text.casefold()))
    return item in words and not words.isdisjoint({GROUP, GROUPS})


def _has_line_breaks(text: str, delimiter: str, columns: Sequence[str], names: Collection[str]) -> bool:
    """Whether a cell of one of the named columns has a line break."""
    return any(
        "\n" in cell and name in names
        for name, cell in zip(columns, _split(text.removeprefix(_BOM), delimiter), strict=False)
    )


def _header_text(line: str) -> str:
    return line.removeprefix(_BOM).strip()


def _column_names(text: str, delimiter: str) -> list[str]:
    """Read a header, with or without a BOM. Empty if it is not CSV."""
    try:
        return [_column_name(cell) for cell in _split(text.removeprefix(_BOM), delimiter)]
    except csv.Error:
        return []


def _column_name(text: str) -> str:
    return " ".join(text.split()).casefold()


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
