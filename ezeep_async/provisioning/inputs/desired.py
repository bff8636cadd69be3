"""`DesiredState`: which members each group should have, read from a mapping, a file or a stream of rows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Literal, Self, TypeVar
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import check_kind, cleaned_path
from ezeep_async._text.text_files import NotText, without_bom
from ezeep_async.provisioning.inputs.csv_tables import read_table
from ezeep_async.provisioning.inputs.documents import json_nodes, read_document, yaml_nodes
from ezeep_async.provisioning.inputs.problems import Collector


T = TypeVar("T")
Format = Literal["csv", "json", "yaml"]
"""File formats that `DesiredState` reads."""

FORMATS: Mapping[str, Format] = {".csv": "csv", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
"""File name suffixes and their formats."""
ROWS_BETWEEN_YIELDS = 500
"""Rows that `from_rows` reads before it yields to the event loop."""


@attrs.frozen
class DesiredState:
    """Which members each group should have, checked and normalized.

    A group name has 1 to 255 characters and is case-sensitive. A member is an e-mail address or a user id (a UUID with
    hyphens), both without regard to case. White space around names and the composition of accents are ignored. A group
    may appear several times: it gets the members of all its rows. Repeated pairs are merged and counted.

    Every constructor reads the whole input and reports all problems at once, in one `InvalidInput`.
    """

    groups: Mapping[str, tuple[str, ...]] = attrs.field(
        hash=False, repr=lambda groups: f"<{len(groups)} groups>"
    )
    """Group names to members, both in the order of the input. A member is an e-mail address (NFC, case-folded, trimmed)
    or a user id (the text of a UUID)."""
    rows: int = 0
    """Pairs of group and member that were read, duplicates included."""
    duplicates: int = 0
    """Pairs that repeated an earlier pair."""

    @classmethod
    def from_mapping(cls, groups: Mapping[str, Iterable[str | UUID]]) -> Self:
        """Read a mapping from group names to members.

        Args:
            groups: Group names to e-mail addresses and user ids. A group without members must exist, and is emptied in
                mode "exact". A single text is one member.

        Raises:
            InvalidInput: Names or members are invalid; `problems` lists them.
            ValueError: `groups` is not a mapping.
        """
        check_kind(groups, Mapping, "groups", "a mapping from group names to lists of members")
        collector = Collector("mapping")
        collector.add_mapping(groups)
        return cls._from(collector)

    @classmethod
    async def from_rows(
        cls, rows: AsyncIterable[tuple[str, str | UUID]] | Iterable[tuple[str, str | UUID]]
    ) -> Self:
        """Read pairs of group and member in flat memory: rows are not kept, and each name is stored once.

        The event loop runs other tasks in between, even if `rows` never waits.

        Args:
            rows: Pairs of group name and member. The caller closes it if it is a generator.

        Raises:
            InvalidInput: Rows are invalid; raised after the last row. `line` is the number of the row, from 1.

        Note:
            An exception from `rows` propagates unchanged.
        """
        collector = Collector("rows")
        number = 0
        async for row in rows if isinstance(rows, AsyncIterable) else _one_by_one(rows):
            number += 1
            collector.add_row(row, number)
            if number % ROWS_BETWEEN_YIELDS == 0:
                await asyncio.sleep(0)
        return cls._from(collector)

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str | UUID]]) -> Self:
        """Read pairs of group and member as `from_rows` does, for programs without an event loop.

        Blocks until the last pair has been read.

        Args:
            pairs: Pairs of group name and member.

        Raises:
            InvalidInput: Pairs are invalid; raised after the last pair. `line` is the number of the pair, from 1.
        """
        collector = Collector("pairs")
        for number, pair in enumerate(pairs, 1):
            collector.add_row(pair, number)
        return cls._from(collector)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a CSV, JSON or YAML file, chosen by its suffix.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        Args:
            path: A file whose name ends with `.csv`, `.json`, `.yaml` or `.yml`, in any case. `from_csv`, `from_json` and
                `from_yaml` describe the content and read files with other names.

        Raises:
            ValueError: The suffix is another one.
            InvalidInput: The content is invalid; `problems` lists file and line of each problem.
            ImportError: The file is YAML and the extra `yaml` is not installed.
            OSError: The file cannot be read.
        """
        form = FORMATS.get(cleaned_path(path, "path").suffix.lower())
        if form is None:
            raise ValueError(f"{os.fspath(path)} ends with none of {', '.join(FORMATS)}")
        return cls._from_path(path, form)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Self:
        """Read a CSV file with one row per membership, or one row per member.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        The file is UTF-8 with or without a BOM, separated by `,` or `;`, with any line ends. The first line is the
        header, in any case and order:

        - `group` and `member`: one row per membership. Both cells are required.
        - `member` and `groups`: one row per member. `;` separates the groups in a cell; quote the cell if `;` also
          separates the columns. An empty cell means no group and adds nothing to `rows`. A group whose name contains
          `;` needs the other header.

        Other columns are problems. Blank rows, blank columns without a name, and repeated headers of files that were
        joined are skipped. A group without members needs another format, because a lost name must not empty a group.
        The single quote that `write_csv` puts before cells like `=...` is removed.

        Args:
            path: The file, with any suffix.

        Raises:
            InvalidInput: Rows are invalid; `problems` lists file and line of each one.
            OSError: The file cannot be read.
        """
        return cls._from_path(path, "csv")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a JSON file, in UTF-8 with or without a BOM.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`.

        The document is a mapping from groups to lists of members (an empty list is a group without members), or a list of
        records with the fields `group` and `member`, or `member` and `groups` (a list). Field names are case-insensitive.

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
    def from_bytes(cls, content: bytes, form: Format, *, source: str) -> Self:
        """Read the content of a file, for example from standard input. Blocks while it reads.

        Args:
            content: The content, as `from_csv`, `from_json` and `from_yaml` describe it.
            form: "csv", "json" or "yaml".
            source: Name of the input in error messages.

        Raises:
            InvalidInput: The content is invalid; `problems` lists source and line of each problem.
            ValueError: `content` is not bytes, or `form` is another text.
            ImportError: `form` is "yaml" and the extra `yaml` is not installed.
        """
        check_kind(content, bytes, "content", "text.encode()")
        if form not in FORMATS.values():
            raise ValueError(f"form must be one of csv, json, yaml, not {form!r}")
        collector = Collector(source)
        try:
            body = without_bom(content)
            if form == "csv":
                read_table(body, collector)
            else:
                read = json_nodes if form == "json" else yaml_nodes
                read_document(read(collector.decode(body)), collector)
        except NotText as error:  # UTF-16
            collector.note_problem(None, error.reason)
        return cls._from(collector)

    @classmethod
    def _from_path(cls, path: str | os.PathLike[str], form: Format) -> Self:
        return cls.from_bytes(cleaned_path(path, "path").read_bytes(), form, source=os.fspath(path))

    @classmethod
    def _from(cls, collector: Collector) -> Self:
        return cls(collector.finish(), collector.rows, collector.duplicates)


async def _one_by_one(rows: Iterable[T]) -> AsyncIterator[T]:
    for row in rows:
        yield row


def has_emails(desired: DesiredState) -> bool:
    """Whether a member is an e-mail address."""
    return any("@" in member for members in desired.groups.values() for member in members)
