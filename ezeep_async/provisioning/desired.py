"""`DesiredState`: who should be in which group, from a mapping or from a CSV file."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self
from uuid import UUID

import attrs


LONGEST_GROUP_NAME = 255
"""Characters (API document, "Groups")."""
LONGEST_EMAIL = 254
"""Characters (RFC 5321 section 4.5.3.1.3, without the angle brackets)."""
PROBLEMS_SHOWN = 20
"""How many problems the message of `InvalidInput` spells out. `problems` has all of them."""
COLUMNS = ("group", "member")

_HYPHENATED_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@attrs.frozen
class Problem:
    """One thing that is wrong with the input."""

    source: str
    """The file, or "mapping"."""
    line: int | None
    """Counted from 1; None where there are no lines, or where the whole file is meant."""
    message: str

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}, line {self.line}"
        return f"{where}: {self.message}"


class InvalidInput(ValueError):
    """The input cannot be used. `problems` has everything that is wrong with it; nothing was read or written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        told = "; ".join(str(problem) for problem in self.problems[:PROBLEMS_SHOWN])
        more = len(self.problems) - PROBLEMS_SHOWN
        return f"{told}; and {more} more" if more > 0 else told


@attrs.frozen
class DesiredState:
    """Which members each group should have. Made by `from_mapping` and `from_csv`, which check and normalise."""

    groups: Mapping[str, tuple[str, ...]] = attrs.field(hash=False)
    """Group names to members, both in the order of the input. A member is an e-mail address (NFC, casefolded, trimmed)
    or a user id (a UUID, as text)."""
    rows: int = 0
    """How many pairs of group and member were read, duplicates included."""
    duplicates: int = 0
    """How many of them had been named before."""

    @classmethod
    def from_mapping(cls, groups: Mapping[str, Iterable[str | UUID]]) -> Self:
        """From group names to members. A group with no members is one that has to exist.

        Raises `InvalidInput` with everything that is wrong.
        """
        collected = _Collected("mapping")
        for name, members in groups.items():
            checked = collected.check_group(name, None)
            if checked is not None:
                collected.groups.setdefault(checked, {})
            # A single text is a member that was meant to be a list: its letters are not people.
            for member in [members] if isinstance(members, str) else members:
                collected.add(checked, str(member), None)
        return cls._from(collected)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Self:
        """From a file with the columns `group` and `member`, in UTF-8 with or without a BOM, separated by `,` or `;`.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`. Raises `InvalidInput` with every bad
        row, and `OSError`.
        """
        return cls.from_csv_bytes(Path(path).read_bytes(), source=os.fspath(path))

    @classmethod
    def from_csv_bytes(cls, content: bytes, *, source: str) -> Self:
        """From the content of such a file. `source` is what to call it. Raises `InvalidInput` with every bad row."""
        collected = _Collected(source)
        _read_rows(content, collected)
        return cls._from(collected)

    @classmethod
    def _from(cls, collected: _Collected) -> Self:
        if collected.problems:
            raise InvalidInput(collected.problems)
        groups = {name: tuple(members) for name, members in collected.groups.items()}
        return cls(groups, collected.rows, collected.duplicates)


def normalise_email(text: str) -> str:
    """How addresses are compared: without surrounding blanks, without regard to case, in NFC."""
    # NFD first: folding what is composed and what is not has to give the same (Unicode standard, D145).
    folded = unicodedata.normalize("NFD", text.strip()).casefold()
    return unicodedata.normalize("NFC", folded).strip()


def normalise_group_name(text: str) -> str:
    """How group names are compared: without surrounding blanks, in NFC. Upper and lower case are different."""
    return unicodedata.normalize("NFC", text.strip()).strip()


@attrs.define
class _Collected:
    """What was read so far, and what is wrong with it."""

    source: str
    groups: dict[str, dict[str, None]] = attrs.field(factory=dict[str, dict[str, None]])
    problems: list[Problem] = attrs.field(factory=list[Problem])
    rows: int = 0
    duplicates: int = 0

    def problem(self, line: int | None, message: str) -> None:
        self.problems.append(Problem(self.source, line, message))

    def check_group(self, text: str, line: int | None) -> str | None:
        name = normalise_group_name(text)
        if not name:
            self.problem(line, "the group name is blank")
        elif len(name) > LONGEST_GROUP_NAME:
            self.problem(
                line, f"the group name has {len(name)} characters, at most {LONGEST_GROUP_NAME} are allowed"
            )
        elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            self.problem(line, f"the group name {name!r} has a control character")
        else:
            return name
        return None

    def check_member(self, text: str, line: int | None) -> str | None:
        member = normalise_email(text)
        if not member:
            self.problem(line, "the member is blank")
        elif _HYPHENATED_UUID.fullmatch(member) or _is_email(member):
            return member
        else:
            self.problem(
                line, f"the member {_shortened(member)!r} is neither an e-mail address nor a user id"
            )
        return None

    def add(self, group: str | None, member_text: str, line: int | None) -> None:
        """One more row, whose group was checked before."""
        member = self.check_member(member_text, line)
        if group is None or member is None:
            return
        self.rows += 1
        members = self.groups.setdefault(group, {})
        if member in members:
            self.duplicates += 1
        members[member] = None


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    # C: control, format and unassigned characters; Z: blanks. Nobody types these on purpose.
    return bool(
        local
        and at
        and domain
        and "@" not in local
        and len(text) <= LONGEST_EMAIL
        and not any(unicodedata.category(character)[0] in "CZ" for character in text)
        and not set(text) & set(',;"<>')
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:80] + "..."


def _read_rows(content: bytes, collected: _Collected) -> None:
    if content.startswith(_UTF16_BOMS):
        collected.problem(None, "this is UTF-16: save it as UTF-8")
        return
    # Line by line: no name and no address has a line break in it, so a quote that is left open, as in a file that was
    # cut off, spoils its own line and not the rest of the file.
    lines = _LINE_END.split(content.removeprefix(_UTF8_BOM))
    delimiter: str | None = None
    columns: tuple[str, ...] = COLUMNS
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            collected.problem(number, f"byte {error.start + 1} is not UTF-8")
            if delimiter is None:
                return
            continue
        if delimiter is None:
            header = _header(text)
            if header is None:
                collected.problem(
                    number, f"the first line has to be the header group,member and is {_shortened(text)!r}"
                )
                return
            delimiter, columns = header
            continue
        cells = _cells(text, delimiter, number, collected)
        if cells is not None:
            row = dict(zip(columns, cells, strict=True))
            collected.add(collected.check_group(row["group"], number), row["member"], number)
    if delimiter is None:
        collected.problem(None, "the file is empty: it needs the header group,member")


def _header(text: str) -> tuple[str, tuple[str, ...]] | None:
    """The delimiter and the order of the columns."""
    for delimiter in (",", ";"):
        try:
            cells = next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
        except csv.Error:
            continue
        columns = tuple(cell.strip().casefold() for cell in cells)
        if sorted(columns) == sorted(COLUMNS):
            return delimiter, columns
    return None


def _cells(text: str, delimiter: str, number: int, collected: _Collected) -> list[str] | None:
    try:
        cells = next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error as error:
        unclosed = "unexpected end of data" in str(error)
        collected.problem(
            number, "a quote is not closed: is the file cut off?" if unclosed else f"not CSV: {error}"
        )
        return None
    if len(cells) != len(COLUMNS):
        found = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        collected.problem(number, f"there are {len(COLUMNS)} columns, and this row has {found}")
        return None
    return cells
