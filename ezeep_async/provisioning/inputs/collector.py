"""`Collector`: holds the checked and normalized part of an input, and its problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast
from uuid import UUID

import attrs

from ezeep_async._text.text_files import NotText, line_of, lines_of, without_bom
from ezeep_async.provisioning.inputs.problems import PROBLEMS_KEPT, InvalidInput, Problem
from ezeep_async.provisioning.names import (
    group_name_problem,
    member_problem,
    normalize_email,
    normalize_group_name,
    shortened,
)


@attrs.define
class Collector:
    """Groups, members and problems that were read so far. Stores each distinct text once, and no rows."""

    source: str
    groups: dict[str, dict[str, None]] = attrs.field(factory=dict[str, dict[str, None]])
    problems: list[Problem] = attrs.field(factory=list[Problem])
    problem_count: int = 0
    rows: int = 0
    duplicates: int = 0
    _names: dict[str, str] = attrs.field(factory=dict[str, str])
    """Valid group names, to share one object for each."""
    _members: dict[str, str] = attrs.field(factory=dict[str, str])

    def note_problem(self, line: int | None, message: str) -> None:
        """Add a problem. `line` is None for the whole input."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(self.source, line, message))

    def check_group(self, text: object, line: int | None) -> str | None:
        """Return the normalized name; None, and a problem, if it is invalid."""
        if not isinstance(text, str):
            self.note_problem(line, f"the group name must be text, not {shortened(repr(text))}")
            return None
        name = normalize_group_name(text)
        if (known := self._names.get(name)) is not None:
            return known
        if (problem := group_name_problem(name)) is not None:
            self.note_problem(line, problem)
            return None
        self._names[name] = name
        return name

    def check_member(self, text: object, line: int | None) -> str | None:
        """Return the normalized member; None, and a problem, if it is invalid."""
        if not isinstance(text, (str, UUID)):
            self.note_problem(line, f"the member must be text, not {shortened(repr(text))}")
            return None
        member = normalize_email(str(text))
        if (known := self._members.get(member)) is not None:
            return known
        if (problem := member_problem(member)) is not None:
            self.note_problem(line, problem)
            return None
        self._members[member] = member
        return member

    def add_pair(self, group: str | None, member: str | None) -> None:
        """Add a pair of results of `check_group` and `check_member`. A pair with None is ignored."""
        if group is None or member is None:
            return
        self.rows += 1
        members = self.groups.setdefault(group, {})
        if member in members:
            self.duplicates += 1
        members[member] = None

    def add_row(self, row: object, number: int) -> None:
        """Check and add a pair of any types."""
        try:
            group, member = cast("tuple[object, object]", row)
        except (TypeError, ValueError):
            self.note_problem(number, f"a row must be a pair of group and member, not {shortened(repr(row))}")
            return
        self.add_pair(self.check_group(group, number), self.check_member(member, number))

    def add_mapping(self, groups: Mapping[str, Iterable[str | UUID]]) -> None:
        """Check and add groups and members of any types."""
        for text, members in groups.items():
            name = self.check_group(text, None)
            if name is not None:
                self.groups.setdefault(name, {})
            # A string is one member. Iterating it would read each character as a member.
            several = [members] if isinstance(members, str) else cast("object", members)
            if not isinstance(several, Iterable):
                group, value = shortened(repr(text)), shortened(repr(several))
                self.note_problem(None, f"the members of {group} must be a list, not {value}")
                continue
            for member in cast("Iterable[object]", several):
                self.add_pair(name, self.check_member(member, None))

    def finish(self) -> dict[str, tuple[str, ...]]:
        """Return the groups, or raise `InvalidInput`. Moves them out, so that they are not in memory twice."""
        if self.problem_count:
            raise InvalidInput(self.problems, self.problem_count)
        return {name: tuple(self.groups.pop(name)) for name in list(self.groups)}

    def strip_bom(self, content: bytes) -> bytes | None:
        """Return the content without its BOM; None, and a problem, for UTF-16."""
        try:
            return without_bom(content)
        except NotText as error:
            self.note_problem(None, error.reason)
            return None

    def decode(self, content: bytes) -> str | None:
        """Return the content as text. Each line that is not UTF-8 is a problem; invalid bytes are replaced."""
        body = self.strip_bom(content)
        if body is None:
            return None
        try:
            return body.decode()
        except UnicodeDecodeError:
            for number, line in lines_of(body):
                self.decode_line(number, line)
            return body.decode(errors="replace")

    def decode_line(self, number: int, line: bytes) -> str | None:
        """Return a line as text; None, and a problem, if it is not UTF-8."""
        try:
            return line_of(line)
        except NotText as error:
            self.note_problem(number, error.reason)
            return None
