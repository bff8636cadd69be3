"""Groups and members in JSON and YAML. Both formats are read from one stream of tokens that have line numbers.

Only the groups are built. Values of the wrong kind are skipped as they are read, so their depth and size cost no memory
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

import attrs

from ezeep_async.provisioning.inputs.collector import Collector
from ezeep_async.provisioning.inputs.csv_tables import COLUMNS, GROUP, GROUPS, MEMBER
from ezeep_async.provisioning.names import shortened


MAX_DEPTH = 100
"""Nested mappings and lists that are skipped; a valid document has three levels at most."""
_EITHER = f"either {GROUP} and {MEMBER}, or {MEMBER} and {GROUPS}"


class Kind(Enum):
    """Kind of a token. A mapping is followed by its keys and values in turn, a list by its items, then by an end."""

    MAPPING = auto()
    LIST = auto()
    END = auto()
    TEXT = auto()
    OTHER = auto()


class Token(NamedTuple):
    """One step through a document."""

    kind: Kind
    line: int
    """Counted from 1."""
    value: str = ""
    """The text, or the description of another value for messages."""

    def __str__(self) -> str:
        return {Kind.MAPPING: "a mapping", Kind.LIST: "a list", Kind.TEXT: repr(shortened(self.value))}.get(
            self.kind, self.value
        )


class Malformed(Exception):
    """The document cannot be read past this line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message


def read_document(tokens: Iterator[Token], collector: Collector) -> None:
    """Read a mapping from groups to members, or a list of records, to its end."""
    try:
        _Reader(tokens, collector).read()
    except Malformed as error:
        collector.note_problem(error.line, error.message)


@attrs.frozen
class _Reader:
    _tokens: Iterator[Token]
    _collector: Collector

    def read(self) -> None:
        first = next(self._tokens)
        if first.kind is Kind.MAPPING:
            self._read_groups()
        elif first.kind is Kind.LIST:
            self._read_records()
        else:
            wanted = "a mapping from groups to members or a list of records"
            self._refuse(first, "the document", wanted)
        for _ in self._tokens:  # raises `Malformed` for content after the end
            pass

    def _read_groups(self) -> None:
        for key in self._until_end():
            name = None
            if key.kind is Kind.TEXT:
                name = self._collector.check_group(key.value, key.line)
                if name is not None:
                    self._collector.groups.setdefault(name, {})
            else:
                self._refuse(key, "the name of a group", "text")
            value = next(self._tokens)
            if value.kind is Kind.LIST:
                for item in self._until_end():
                    self._read_member(name, item)
            elif value.kind is Kind.TEXT:  # one member, as in `DesiredState.from_mapping`
                self._read_member(name, value)
            else:
                group = key if key.kind is Kind.TEXT else "this group"
                self._refuse(value, f"the members of {group}", "a list ([] for none)")

    def _read_member(self, name: str | None, token: Token) -> None:
        if token.kind is Kind.TEXT:
            self._collector.add_pair(name, self._collector.check_member(token.value, token.line))
        else:
            self._refuse(token, "a member", "text")

    def _read_records(self) -> None:
        for record in self._until_end():
            if record.kind is Kind.MAPPING:
                self._read_record(record.line)
            else:
                self._refuse(record, f"a record with {_EITHER}", "a mapping")

    def _read_record(self, line: int) -> None:
        texts: dict[str, list[Token]] = {}
        for key in self._until_end():
            field = self._read_field_name(key)
            value = next(self._tokens)
            if field is None:
                self._skip(value)
                continue
            if field in texts:
                self._collector.note_problem(key.line, f"duplicate field {field}")
            texts.setdefault(field, []).extend(self._read_field(field, value))
        if texts.keys() not in ({GROUP, MEMBER}, {GROUPS, MEMBER}):
            present = ", ".join(name for name in COLUMNS if name in texts) or "none of them"
            self._collector.note_problem(line, f"a record needs {_EITHER}; this one has {present}")
        members = [self._collector.check_member(token.value, token.line) for token in texts.get(MEMBER, ())]
        named = [*texts.get(GROUP, ()), *texts.get(GROUPS, ())]
        for group in [self._collector.check_group(token.value, token.line) for token in named]:
            for member in members:
                self._collector.add_pair(group, member)

    def _read_field_name(self, key: Token) -> str | None:
        if key.kind is not Kind.TEXT:
            self._refuse(key, "the name of a field", "text")
        elif (field := key.value.strip().casefold()) in COLUMNS:
            return field
        else:
            self._collector.note_problem(key.line, f"unknown field {key}: a record needs {_EITHER}")
        return None

    def _read_field(self, field: str, value: Token) -> list[Token]:
        """The texts of a field: one, or the items of the list `groups`."""
        if field != GROUPS and value.kind is Kind.TEXT:
            return [value]
        if field != GROUPS or value.kind is not Kind.LIST:
            self._refuse(value, f"the field {field}", "a list" if field == GROUPS else "text")
            return []
        texts: list[Token] = []
        for item in self._until_end():
            if item.kind is Kind.TEXT:
                texts.append(item)
            else:
                self._refuse(item, "the name of a group", "text")
        return texts

    def _refuse(self, token: Token, subject: str, wanted: str) -> None:
        """Note a value of the wrong kind and skip it."""
        self._collector.note_problem(token.line, f"{subject} must be {wanted}, not {token}")
        self._skip(token)

    def _skip(self, token: Token) -> None:
        """Read to the end of the value that begins with this token."""
        depth = int(token.kind in {Kind.MAPPING, Kind.LIST})
        while depth:
            token = next(self._tokens)
            if token.kind is Kind.END:
                depth -= 1
            elif token.kind in {Kind.MAPPING, Kind.LIST}:
                depth += 1
                if depth > MAX_DEPTH:
                    raise Malformed(
                        token.line, f"mappings and lists are nested more than {MAX_DEPTH} levels deep"
                    )

    def _until_end(self) -> Iterator[Token]:
        """The keys of a mapping or the items of a list. The caller reads the content of each before the next one."""
        for token in self._tokens:
            if token.kind is Kind.END:
                return
            yield token
