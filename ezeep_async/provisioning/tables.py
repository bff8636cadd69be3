"""CSV: one row per membership, or one row per member."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TextIO

import attrs

from ezeep_async.provisioning.collected import Collected, lines_of
from ezeep_async.provisioning.names import shortened
from ezeep_async.provisioning.wording import some


GROUP, GROUPS, MEMBER = "group", "groups", "member"
COLUMNS = {GROUP: None, GROUPS: None, MEMBER: None}.keys()
"""What columns, and the fields of records, are called."""
BETWEEN_GROUPS = ";"
"""Separates the names in a cell of the column `groups`."""
DELIMITERS = (",", ";")
COLUMNS_SHOWN = 20
"""How many unknown columns a problem names. A header may have any number of them, of any length."""

_WANTED = "the first line has to be the header group,member or member,groups"


@attrs.frozen
class _Header:
    delimiter: str
    width: int
    member: int
    """Where the column is, counted from 0."""
    named: int
    """Where the column `group` or `groups` is."""
    several: bool
    """Whether it is `groups`."""


def read_table(content: bytes, collected: Collected) -> None:
    """Reads the content of a CSV file. What it has to look like is at `DesiredState.from_csv`."""
    body = collected.strip_bom(content)
    if body is None:
        return
    header: _Header | None = None
    # Line by line: no name and no address has a line break in it, so a quote that is left open, as in a file that was
    # cut off, spoils its own line and not the rest of the file.
    for number, line in lines_of(body):
        if not line.strip():
            continue
        text = collected.decode_line(number, line)
        if header is None:
            header = None if text is None else _read_header(text, number, collected)
            if header is None:
                return
        elif text is not None:
            _read_row(text, header, number, collected)
    if header is None:
        collected.note_problem(None, "the file is empty: it needs the header group,member or member,groups")


def write_csv(groups: Mapping[str, Iterable[str]], file: TextIO) -> None:
    """Writes groups and their members as the CSV `group,member` that `DesiredState.from_csv` reads.

    `file` is opened with `newline=""` and `encoding="utf-8"`, or "utf-8-sig" for spreadsheets that take a file without
    a BOM for something else. Names are written as they are compared, in the order given, each membership once. A group
    with no members is left out: a row cannot say it, and a group that is not named is one that nothing happens to.

    Names come from people, and those that begin with `=`, `+`, `-` or `@` are written as they are, or they would be
    other names when they are read again: a spreadsheet may take such a cell for a formula, so do not open a file in
    one whose names you do not trust.

    Blocks while it writes. Raises `InvalidInput` for what could not be read again, before anything is written, and
    `OSError`.
    """
    collected = Collected("mapping")
    collected.add_mapping(groups)
    writer = csv.writer(file, lineterminator="\n")
    checked = collected.finish()
    writer.writerow((GROUP, MEMBER))
    for name, members in checked.items():
        writer.writerows((name, member) for member in members)


def _read_header(text: str, number: int, collected: Collected) -> _Header | None:
    """None when the rows cannot be understood. A header that is wrong otherwise is a problem, and the rows are read."""
    best: tuple[str, list[str]] | None = None
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
    unknown = [repr(column) for column in counts if column not in COLUMNS]
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
    return _Header(delimiter, len(columns), columns.index(MEMBER), columns.index(named), named == GROUPS)


def _read_row(text: str, header: _Header, number: int, collected: Collected) -> None:
    try:
        cells = _split(text, header.delimiter)
    except csv.Error as error:
        unclosed = "unexpected end of data" in str(error)
        collected.note_problem(
            number, "a quote is not closed: is the file cut off?" if unclosed else f"not CSV: {error}"
        )
        return
    if len(cells) != header.width:
        found = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        hint = ""
        if header.several and header.delimiter == BETWEEN_GROUPS and len(cells) > header.width:
            hint = f': several groups go into one cell, in quotes: "A{BETWEEN_GROUPS}B"'
        collected.note_problem(number, f"there are {header.width} columns, and this row has {found}{hint}")
        return
    member, named = cells[header.member], cells[header.named]
    if header.several:
        checked = collected.check_member(member, number)
        for name in named.split(BETWEEN_GROUPS) if named.strip() else ():
            collected.add_pair(collected.check_group(name, number), checked)
    else:
        collected.add_pair(collected.check_group(named, number), collected.check_member(member, number))


def _split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
