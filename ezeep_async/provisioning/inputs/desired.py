"""`DesiredState`: which members and printers each group should have, read from a mapping, a file or rows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Literal, Self, TypeVar
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import check_kind, cleaned_path
from ezeep_async._text.text_files import NotText
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.people import Person
from ezeep_async.models.printers import Printer
from ezeep_async.models.users import User
from ezeep_async.provisioning.inputs.csv_tables import read_table
from ezeep_async.provisioning.inputs.documents import json_nodes, read_document, yaml_nodes
from ezeep_async.provisioning.inputs.problems import Collector
from ezeep_async.provisioning.inputs.spreadsheets import (
    NAME_UTF16,
    SAVE_AS,
    WORKBOOKS,
    as_utf8,
    checked_encoding,
    is_workbook,
    utf16_name,
)


T = TypeVar("T")
Member = str | UUID | User | AccountUser | Person
"""How a member of a group is named."""
Format = Literal["csv", "json", "yaml"]
"""File formats that `DesiredState` reads."""

FORMATS: Mapping[str, Format] = {".csv": "csv", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
"""File name suffixes and their formats."""
ROWS_BETWEEN_YIELDS = 500
"""Rows that `from_rows` reads before it yields to the event loop."""


@attrs.frozen
class DesiredState:
    """Which members and which printers each group should have, checked and normalized.

    A group name has 1 to 255 characters and is case-sensitive. A member is an e-mail address or a user id (a UUID with
    hyphens), both without regard to case. A printer is a case-sensitive name, or an id. White space around names and the
    composition of accents are ignored. A group may appear several times: it gets the members and printers of all its
    rows. Repeated pairs are merged and counted.

    A group whose members are not given keeps its members, and one whose printers are not given keeps its printers.

    Every constructor reads the whole input and reports all problems at once, in one `InvalidInput`.
    """

    groups: Mapping[str, tuple[str, ...]] = attrs.field(
        hash=False, repr=lambda groups: f"<{len(groups)} groups>"
    )
    """Group names to members, both in the order of the input. A member is an e-mail address (NFC, case-folded, trimmed)
    or a user id (the text of a UUID)."""
    rows: int = 0
    """Pairs of group and member, or group and printer, that were read, duplicates included."""
    duplicates: int = 0
    """Pairs that repeated an earlier pair."""
    printers: Mapping[str, tuple[str, ...]] = attrs.field(
        factory=dict[str, tuple[str, ...]], hash=False, repr=False
    )
    """Group names to printers, both in the order of the input. A printer is a name (NFC, trimmed) or an id (the text of
    a UUID)."""

    @property
    def names(self) -> dict[str, None]:
        """The names of all groups, in the order of the input."""
        return dict.fromkeys([*self.groups, *self.printers])

    def combined(self, other: DesiredState) -> Self:
        """Return a state with the groups, members and printers of both.

        Args:
            other: Another state, for example the printers of the groups from a second file.
        """
        collector = Collector("")
        for state in (self, other):
            collector.add_mapping(state.groups)
            collector.add_mapping(state.printers, "printer")
        collector.rows = self.rows + other.rows
        collector.duplicates += self.duplicates + other.duplicates
        return self._from(collector)

    @classmethod
    def from_mapping(
        cls,
        groups: Mapping[str, Iterable[Member]],
        printers: Mapping[str, Iterable[str | UUID | Printer | PrinterAssignment]] | None = None,
    ) -> Self:
        """Read a mapping from group names to members, and one from group names to printers.

        Args:
            groups: Group names to members: e-mail addresses, or users, accounts and people, or their ids. A group without
                members must exist, and is emptied in mode "exact". A single text is one member.
            printers: Group names to printers, or their names or ids. A group without printers loses its printers in mode
                "exact". A single text is one printer.

        Raises:
            InvalidInput: Names, members or printers are invalid; `problems` lists them, each with its group.
            TypeError: `groups` or `printers` is not a mapping.
        """
        check_kind(groups, Mapping, "groups", "a mapping from group names to lists of members")
        collector = Collector("mapping")
        collector.add_mapping(groups)
        if printers is not None:
            check_kind(printers, Mapping, "printers", "a mapping from group names to lists of printers")
            collector.add_mapping(printers, "printer")
        return cls._from(collector)

    @classmethod
    async def from_rows(cls, rows: AsyncIterable[tuple[str, Member]] | Iterable[tuple[str, Member]]) -> Self:
        """Read pairs of group and member in flat memory: rows are not kept, and each name is stored once.

        The event loop runs other tasks in between, even if `rows` never waits.

        Args:
            rows: Pairs of group name and member. The caller closes it if it is a generator.

        Raises:
            InvalidInput: Rows are invalid; raised after the last row. Each problem names its row: the number, from 1, is
                `line`, and `place` has the content too.

        Note:
            An exception from `rows` propagates unchanged.
        """
        collector = Collector("rows")
        number = 0
        async for row in rows if isinstance(rows, AsyncIterable) else _one_by_one(rows):
            number += 1
            collector.add_row(row, number, "row")
            if number % ROWS_BETWEEN_YIELDS == 0:
                await asyncio.sleep(0)
        return cls._from(collector)

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, Member]]) -> Self:
        """Read pairs of group and member as `from_rows` does, for programs without an event loop.

        Blocks until the last pair has been read.

        Args:
            pairs: Pairs of group name and member.

        Raises:
            InvalidInput: Pairs are invalid; raised after the last pair. Each problem names its pair: the number, from 1, is
                `line`, and `place` has the content too.
        """
        collector = Collector("pairs")
        for number, pair in enumerate(pairs, 1):
            collector.add_row(pair, number, "pair")
        return cls._from(collector)

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, encoding: str = "utf-8", ignore_columns: Iterable[str] = ()
    ) -> Self:
        """Read a CSV, JSON or YAML file, chosen by its suffix.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        Args:
            path: A file whose name ends with `.csv`, `.json`, `.yaml` or `.yml`, in any case. `from_csv`, `from_json` and
                `from_yaml` describe the content and read files with other names.
            encoding: As for `from_csv`.
            ignore_columns: As for `from_csv`. Other formats have no columns.

        Raises:
            ValueError: The suffix is another one, such as that of a workbook, or `encoding` is unknown.
            InvalidInput: The content is invalid; `problems` lists file and line of each problem.
            ImportError: The file is YAML and the extra `yaml` is not installed.
            OSError: The file cannot be read.
        """
        suffix = cleaned_path(path, "path").suffix.lower()
        form = FORMATS.get(suffix)
        if form is None:
            if suffix in WORKBOOKS:
                raise ValueError(f"{os.fspath(path)} is a workbook: save it as CSV in UTF-8. {SAVE_AS}")
            raise ValueError(f"{os.fspath(path)} ends with none of {', '.join(FORMATS)}")
        return cls._from_path(path, form, encoding, ignore_columns)

    @classmethod
    def from_csv(
        cls, path: str | os.PathLike[str], *, encoding: str = "utf-8", ignore_columns: Iterable[str] = ()
    ) -> Self:
        """Read a CSV file with one row per pair of a group and a member or printer, or one row per member or printer.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        The file is UTF-8 with or without a BOM, separated by `,`, `;` or tabs, with any line ends. Its first line may be
        `sep=;`. Then follows the header, in any case and order:

        - `group` and `member`: one row per membership. Both cells are required.
        - `member` and `groups`: one row per member. `;` separates the groups in a cell; quote the cell if `;` also
          separates the columns. An empty cell means no group and adds nothing to `rows`. A group whose name contains
          `;` needs the other header.
        - `printer` instead of `member`: the printers of the groups. Members and printers need two files (`combined`). A
          repeated header is skipped only if it is the same line: a group "Group" may have a printer "Printer".

        Other columns are problems, unless they are in `ignore_columns`. Blank rows, blank columns without a name, and
        repeated headers of files that were joined are skipped. A group without members or printers needs another format,
        because a lost name must not empty a group.
        The single quote that `write_csv` puts before cells like `=...` is removed.

        Args:
            path: The file, with any suffix.
            encoding: Encoding of a file that is not UTF-8, such as "cp1252" (Excel's "CSV" in Western Europe) or "utf-16". It
                is not guessed. A file with a UTF-8 BOM is read as UTF-8.
            ignore_columns: Names of columns that are not read, in any case. Cells in them may have line breaks.

        Raises:
            InvalidInput: Rows are invalid; `problems` lists file, line and column of each one.
            ValueError: `encoding` is unknown, or `ignore_columns` is a single text.
            OSError: The file cannot be read.
        """
        return cls._from_path(path, "csv", encoding, ignore_columns)

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a JSON file, in UTF-8 with or without a BOM.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        The document is one of these, with case-insensitive field names:

        - `{"groups": {"Finance": {"members": [...], "printers": [...]}}}`. A group has either field or both: what is left
          out is not planned, and an empty list is a group without members or printers.
        - A mapping from groups to lists of members (an empty list is a group without members).
        - A list of records with the fields `group` and `member`, or `member` and `groups` (a list), or with `printer`
          instead of `member`.

        Args:
            path: The file, with any suffix.

        Raises:
            InvalidInput: The content is invalid; `problems` lists all problems up to the first syntax error.
            OSError: The file cannot be read.
        """
        return cls._from_path(path, "json")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a YAML file with one document that looks as in `from_json`. Needs the extra `yaml`.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        Plain values that YAML reads as another type (`no`, `2024`, `2024-05-01`, `~`) are problems unless they are
        quoted. Aliases, merge keys and tags other than `!!str` are problems too.

        Args:
            path: The file, with any suffix, in UTF-8 with or without a BOM.

        Raises:
            InvalidInput: The content is invalid; `problems` lists all problems up to the first syntax error.
            ImportError: The extra `yaml` is not installed.
            OSError: The file cannot be read.
        """
        return cls._from_path(path, "yaml")

    @classmethod
    def from_bytes(
        cls,
        content: bytes,
        form: Format,
        *,
        source: str,
        encoding: str = "utf-8",
        ignore_columns: Iterable[str] = (),
    ) -> Self:
        """Read the content of a file, for example from standard input. Blocks while it reads.

        Args:
            content: The content, as `from_csv`, `from_json` and `from_yaml` describe it.
            form: "csv", "json" or "yaml".
            source: Name of the input in error messages.
            encoding: As for `from_csv`.
            ignore_columns: As for `from_csv`.

        Raises:
            InvalidInput: The content is invalid; `problems` lists source and line of each problem.
            ValueError: `content` is not bytes, `form` is another text, `encoding` is unknown, or `ignore_columns` is a single
                text.
            ImportError: `form` is "yaml" and the extra `yaml` is not installed.
        """
        check_kind(content, bytes, "content", "text.encode()")
        if form not in FORMATS.values():
            raise ValueError(f"form must be one of csv, json, yaml, not {form!r}")
        ignored = ignore_columns if isinstance(ignore_columns, str) else tuple(ignore_columns)
        if isinstance(ignored, str) or not all(isinstance(name, str) for name in ignored):
            raise ValueError(f"ignore_columns must be a list of names, not {ignored!r}")
        encoding = checked_encoding(encoding)
        collector = Collector(source)
        if is_workbook(content):
            collector.note_problem(None, "this is a workbook, not text: save it as CSV in UTF-8")
            collector.advice[SAVE_AS] = None
            return cls._from(collector)
        try:
            body = as_utf8(content, encoding, collector)
            if form == "csv":
                read_table(body, collector, ignored)
            else:
                read = json_nodes if form == "json" else yaml_nodes
                read_document(read(collector.decode(body)), collector)
        except NotText as error:
            collector.note_problem(None, error.reason)
            if form == "csv" and (name := utf16_name(content)):
                collector.advice[NAME_UTF16.format(name)] = None
        return cls._from(collector)

    @classmethod
    def _from_path(
        cls,
        path: str | os.PathLike[str],
        form: Format,
        encoding: str = "utf-8",
        ignore_columns: Iterable[str] = (),
    ) -> Self:
        content, source = cleaned_path(path, "path").read_bytes(), os.fspath(path)
        return cls.from_bytes(content, form, source=source, encoding=encoding, ignore_columns=ignore_columns)

    @classmethod
    def _from(cls, collector: Collector) -> Self:
        groups, printers = collector.finish(), collector.finish("printer")
        return cls(groups, collector.rows, collector.duplicates, printers)


async def _one_by_one(rows: Iterable[T]) -> AsyncIterator[T]:
    for row in rows:
        yield row


def has_emails(desired: DesiredState) -> bool:
    """Whether a member is an e-mail address."""
    return any("@" in member for members in desired.groups.values() for member in members)
