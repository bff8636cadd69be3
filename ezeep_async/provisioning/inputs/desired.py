"""`DesiredState`: who should be in which group, from a mapping, a file, or rows that arrive one by one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Literal, Self
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import check_kind, cleaned_path
from ezeep_async.provisioning.inputs.collector import Collected
from ezeep_async.provisioning.inputs.csv_tables import read_table
from ezeep_async.provisioning.inputs.documents import read_document
from ezeep_async.provisioning.inputs.json_tokens import json_tokens
from ezeep_async.provisioning.inputs.yaml_tokens import yaml_tokens


Format = Literal["csv", "json", "yaml"]
"""What `DesiredState` reads."""

FORMATS: Mapping[str, Format] = {".csv": "csv", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
"""How the names of such files end."""
ROWS_AT_ONCE = 500
"""How many rows `from_rows` takes before it lets others have the event loop."""


@attrs.frozen
class DesiredState:
    """Which members each group should have. Every `from_...` checks and normalises, and means the same by the same names.

    A group is named by 1 to 255 characters, upper and lower case being different. A member is an e-mail address, in any
    case, or a user id: a UUID with its hyphens, in any case. Blanks around a name do not count, nor does how its
    accents are composed. What is named twice is there once, and is counted: a group, too, may be named in several places,
    and has the members of all of them.

    Everything that is wrong is told at once, by `InvalidInput`, with the file and the line.
    """

    groups: Mapping[str, tuple[str, ...]] = attrs.field(
        hash=False, repr=lambda groups: f"<{len(groups)} groups>"
    )
    """Group names to members, both in the order of the input. A member is an e-mail address (NFC, casefolded, trimmed)
    or a user id (a UUID, as text)."""
    rows: int = 0
    """How many pairs of group and member were read, duplicates included."""
    duplicates: int = 0
    """How many of them had been named before."""

    @classmethod
    def from_mapping(cls, groups: Mapping[str, Iterable[str | UUID]]) -> Self:
        """From group names to members. A group with no members is one that has to exist, and in mode "exact" be empty.

        Raises `InvalidInput` with everything that is wrong.
        """
        check_kind(groups, Mapping, "groups", "a mapping from group names to lists of members")
        collected = Collected("mapping")
        collected.add_mapping(groups)
        return cls._from(collected)

    @classmethod
    async def from_rows(
        cls, rows: AsyncIterable[tuple[str, str | UUID]] | Iterable[tuple[str, str | UUID]]
    ) -> Self:
        """From pairs of group and member, as many as there are. None is kept: each name is held once.

        The event loop is free in between, also when `rows` does not wait for anything. Whoever made `rows` closes it.
        Raises `InvalidInput` when all were read, whose lines are the numbers of the rows, and what `rows` raises.
        """
        collected = Collected("rows")
        number = 0
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                number += 1
                collected.add_row(row, number)
                if number % ROWS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        else:
            for row in rows:
                number += 1
                collected.add_row(row, number)
                if number % ROWS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return cls._from(collected)

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str | UUID]]) -> Self:
        """As `from_rows`, where there is no event loop that has to be free: blocks until all were read.

        Raises `InvalidInput` when all were read, whose lines are the numbers of the pairs, and what `pairs` raises.
        """
        collected = Collected("pairs")
        for number, pair in enumerate(pairs, 1):
            collected.add_row(pair, number)
        return cls._from(collected)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """From a file whose name ends with `.csv`, `.json`, `.yaml` or `.yml`. `ValueError` for another.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`. Raises what `from_csv`, `from_json`
        and `from_yaml` raise.
        """
        form = FORMATS.get(cleaned_path(path, "path").suffix.lower())
        if form is None:
            raise ValueError(f"{os.fspath(path)} ends with none of {', '.join(FORMATS)}")
        return cls._from_path(path, form)

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Self:
        """From a CSV file, in UTF-8 with or without a BOM, separated by `,` or `;`, with any line ends.

        The first line names the columns, in either order and in any case. They are `group` and `member`, a row for
        each membership, or `member` and `groups`, a row for each member. Several groups in one cell are separated by `;`,
        whatever separates the columns: where that is `;` as well, the cell is in quotes. So a group whose name has a `;`
        is one for the other kind of file. An empty cell under `groups` is a member in no group: it adds no row to
        `rows`. Any other blank name is a problem, and so is any other column: a group with no members needs another
        format, since a name that got lost must not empty a group. Rows and columns that spreadsheets leave behind are
        skipped: a row whose cells are all blank, and a column without a name whose cells are all blank. A single
        quote in front of a cell that a spreadsheet would otherwise calculate (`'=`, `'+`, `'-`, `'@`) is taken off:
        `write_csv` puts it there.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`. Raises `InvalidInput` with every bad
        row, and `OSError`.
        """
        return cls._from_path(path, "csv")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """From a JSON file, in UTF-8 with or without a BOM.

        It is a mapping from groups to lists of members (an empty list is a group with no members), or a list of records
        with the fields `group` and `member`, or `member` and `groups`, a list. The names of fields are in any case.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`. Raises `InvalidInput` with everything
        that is wrong, up to the first place that is not JSON, and `OSError`.
        """
        return cls._from_path(path, "json")

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """From a YAML file (extra `yaml`), in UTF-8 with or without a BOM, with one document that looks as in `from_json`.

        Names that YAML takes for something else (`no`, `2024`, `2024-05-01`, `~`) are problems unless they are in
        quotes, and so are aliases, merges and tags other than `!!str`.

        Blocks while it reads: in an event loop, call it with `asyncio.to_thread`. Raises `InvalidInput` with everything
        that is wrong, up to the first place that is not YAML, `ImportError` without the extra, and `OSError`.
        """
        return cls._from_path(path, "yaml")

    @classmethod
    def from_bytes(cls, content: bytes, form: Format, *, source: str) -> Self:
        """From the content of a file, as from standard input. `source` is what to call it.

        Blocks while it reads. Raises what `from_csv`, `from_json` and `from_yaml` raise, but for `OSError`.
        """
        check_kind(content, bytes, "content", "text.encode()")
        if form not in FORMATS.values():
            raise ValueError(f"form is one of csv, json, yaml, and not {form!r}")
        collected = Collected(source)
        if form == "csv":
            read_table(content, collected)
        elif (text := collected.decode(content)) is not None:
            read_document(json_tokens(text) if form == "json" else yaml_tokens(text), collected)
        return cls._from(collected)

    @classmethod
    def _from_path(cls, path: str | os.PathLike[str], form: Format) -> Self:
        return cls.from_bytes(cleaned_path(path, "path").read_bytes(), form, source=os.fspath(path))

    @classmethod
    def _from(cls, collected: Collected) -> Self:
        return cls(collected.finish(), collected.rows, collected.duplicates)
