"""Groups and members in JSON and YAML: both are read as one sequence of tokens that have lines.

Nothing is built from a document but the groups: what does not belong into it is skipped as it is read, so its depth and
its size cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from ezeep_async.provisioning.inputs.collector import Collected
from ezeep_async.provisioning.inputs.csv_tables import COLUMNS, GROUP, GROUPS, MEMBER
from ezeep_async.provisioning.names import shortened


DEEPEST = 100
"""Levels of mappings and lists inside each other, where three have a meaning."""
_EITHER = f"either {GROUP} and {MEMBER}, or {MEMBER} and {GROUPS}"


class Kind(Enum):
    """What a token is. A mapping goes on with its keys and values in turn, a list with its items, until an end."""

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
    """The text; of another value, what to call it in a message."""

    def __str__(self) -> str:
        return {Kind.MAPPING: "a mapping", Kind.LIST: "a list", Kind.TEXT: repr(shortened(self.value))}.get(
            self.kind, self.value
        )


class Malformed(Exception):
    """The document cannot be read on from this line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message


def read_document(tokens: Iterator[Token], collected: Collected) -> None:
    """Reads a mapping from groups to members or a list of records, to its end."""
    try:
        first = next(tokens)
        if first.kind is Kind.MAPPING:
            _read_groups(tokens, collected)
        elif first.kind is Kind.LIST:
            _read_records(tokens, collected)
        else:
            collected.note_problem(
                first.line,
                f"this has to be a mapping from groups to members, or a list of records, and is {first}",
            )
        for _ in tokens:  # what comes after the end is the reader's to refuse
            pass
    except Malformed as error:
        collected.note_problem(error.line, error.message)


def _read_groups(tokens: Iterator[Token], collected: Collected) -> None:
    for key in _until_end(tokens):
        name = None
        if key.kind is Kind.TEXT:
            name = collected.check_group(key.value, key.line)
            if name is not None:
                collected.groups.setdefault(name, {})
        else:
            _refuse(key, "the name of a group", "text", tokens, collected)
        value = next(tokens)
        if value.kind is Kind.LIST:
            for item in _until_end(tokens):
                _read_member(name, item, tokens, collected)
        elif value.kind is Kind.TEXT:  # one member, as in `DesiredState.from_mapping`
            _read_member(name, value, tokens, collected)
        else:
            whose = key if key.kind is Kind.TEXT else "this group"
            _refuse(value, f"what {whose} has for members", "a list ([] for none)", tokens, collected)


def _read_member(name: str | None, token: Token, tokens: Iterator[Token], collected: Collected) -> None:
    if token.kind is Kind.TEXT:
        collected.add_pair(name, collected.check_member(token.value, token.line))
    else:
        _refuse(token, "a member", "text", tokens, collected)


def _read_records(tokens: Iterator[Token], collected: Collected) -> None:
    for record in _until_end(tokens):
        if record.kind is Kind.MAPPING:
            _read_record(record.line, tokens, collected)
        else:
            _refuse(record, f"a record with {_EITHER}", "a mapping", tokens, collected)


def _read_record(line: int, tokens: Iterator[Token], collected: Collected) -> None:
    texts: dict[str, list[Token]] = {}
    for key in _until_end(tokens):
        field = _read_field_name(key, tokens, collected)
        value = next(tokens)
        if field is None:
            _skip(value, tokens)
            continue
        if field in texts:
            collected.note_problem(key.line, f"the field {field} is there more than once")
        texts.setdefault(field, []).extend(_read_field(field, value, tokens, collected))
    if texts.keys() not in ({GROUP, MEMBER}, {GROUPS, MEMBER}):
        there = ", ".join(name for name in COLUMNS if name in texts) or "none of them"
        collected.note_problem(line, f"a record has {_EITHER}, and this one has {there}")
    members = [collected.check_member(token.value, token.line) for token in texts.get(MEMBER, ())]
    named = [*texts.get(GROUP, ()), *texts.get(GROUPS, ())]
    for group in [collected.check_group(token.value, token.line) for token in named]:
        for member in members:
            collected.add_pair(group, member)


def _read_field_name(key: Token, tokens: Iterator[Token], collected: Collected) -> str | None:
    if key.kind is not Kind.TEXT:
        _refuse(key, "the name of a field", "text", tokens, collected)
    elif (field := key.value.strip().casefold()) in COLUMNS:
        return field
    else:
        collected.note_problem(key.line, f"unknown field {key}: a record has {_EITHER}")
    return None


def _read_field(field: str, value: Token, tokens: Iterator[Token], collected: Collected) -> list[Token]:
    """The texts that it holds: one, or those of the list `groups`."""
    if field != GROUPS:
        if value.kind is Kind.TEXT:
            return [value]
        _refuse(value, f"the field {field}", "text", tokens, collected)
        return []
    if value.kind is not Kind.LIST:
        _refuse(value, f"the field {field}", "a list", tokens, collected)
        return []
    texts: list[Token] = []
    for item in _until_end(tokens):
        if item.kind is Kind.TEXT:
            texts.append(item)
        else:
            _refuse(item, "the name of a group", "text", tokens, collected)
    return texts


def _refuse(token: Token, what: str, wanted: str, tokens: Iterator[Token], collected: Collected) -> None:
    """A problem for a value of the wrong kind, which is skipped."""
    collected.note_problem(token.line, f"{what} has to be {wanted}, and is {token}")
    _skip(token, tokens)


def _skip(token: Token, tokens: Iterator[Token]) -> None:
    """Goes past the end of a value that begins with this token."""
    depth = int(token.kind in {Kind.MAPPING, Kind.LIST})
    while depth:
        token = next(tokens)
        if token.kind is Kind.END:
            depth -= 1
        elif token.kind in {Kind.MAPPING, Kind.LIST}:
            depth += 1
            if depth > DEEPEST:
                raise Malformed(token.line, f"mappings and lists are more than {DEEPEST} deep")


def _until_end(tokens: Iterator[Token]) -> Iterator[Token]:
    """The keys of a mapping or the items of a list. Whoever takes one takes what is in it too."""
    for token in tokens:
        if token.kind is Kind.END:
            return
        yield token
