"""`InvalidInput`, the problems it lists, and the `Collector` that finds them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import is_used_up
from ezeep_async._text.text_files import NotText, line_of, lines_of
from ezeep_async.errors import EzeepError
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.people import Person
from ezeep_async.models.printers import Printer
from ezeep_async.models.users import User
from ezeep_async.provisioning.names import (
    group_name_problem,
    member_problem,
    normalize_email,
    normalize_group_name,
    normalize_printer,
    printer_problem,
    shortened,
)


if TYPE_CHECKING:
    from ezeep_async._wire.requests import (
        HasId,  # not at run time: its import is slow, and `--help` imports this module
    )


Kind = Literal["member", "printer"]
"""What a group has; also the name of a column, and of the field of a record in JSON and YAML."""
PROBLEMS_SHOWN = 20
"""Problems in the message of `InvalidInput`."""
PROBLEMS_KEPT = 10_000
"""Problems in `InvalidInput.problems`. `count` includes the others."""


@attrs.frozen
class Problem:
    """One invalid part of an input."""

    source: str
    """The file, or "mapping", "rows", "pairs" or "input"."""
    line: int | None
    """Line of the file, or number of the row or pair, from 1. None for a mapping or for the whole file."""
    message: str
    column: int | None = None
    """Column of a CSV file, from 1. None for a whole row, and for other inputs."""
    place: str = ""
    """The part of an input without lines, such as "pair 2 ('Sales', 'mila abel')". Empty for a file."""

    def __str__(self) -> str:
        if self.place:
            return f"{self.place}: {self.message}"
        where = self.source if self.line is None else f"{self.source}, line {self.line}"
        return f"{where}: {self.message}"


class InvalidInput(EzeepError, ValueError):
    """The input is invalid. Nothing was written to the server.

    `problems` lists the problems in the order of the input, at most 10,000. `count` is the number of all problems.
    `advice` has sentences on what to do about several of them, such as how to save a file as UTF-8.
    """

    def __init__(
        self, problems: Sequence[Problem], count: int | None = None, advice: Iterable[str] = ()
    ) -> None:
        self.problems = list(problems)
        self.count = len(self.problems) if count is None else count
        self.advice = tuple(advice)
        super().__init__(problems)

    def __str__(self) -> str:
        shown = self.problems[:PROBLEMS_SHOWN]
        message = "; ".join(str(problem) for problem in shown)
        more = self.count - len(shown)
        message += f"; and {more} more" if more > 0 else ""
        return ". ".join([message, *self.advice])


Table = dict[str, dict[str, None]]


def _place_of_row(what: str, number: int, row: object) -> str:
    shown = shortened(repr(row))
    return f"{what} {number} {shown if shown.startswith('(') else f'({shown})'}"


def _place_in_mapping(group: object) -> str:
    return f"mapping, group {shortened(repr(group))}"


def _text_of(given: object, *kinds: type[HasId]) -> object:
    """The text of an id, or of the id of a record of the kinds. Other values are returned unchanged."""
    if isinstance(given, str):
        return given
    found = given.id if isinstance(given, kinds) else given
    return str(found) if isinstance(found, UUID) else found


@attrs.define
class Collector:
    """Groups, members, printers and problems that were read so far. Stores each distinct text once, and no rows."""

    source: str
    groups: Table = attrs.field(factory=dict[str, dict[str, None]])
    """Group names to members."""
    printers: Table = attrs.field(factory=dict[str, dict[str, None]])
    """Group names to printers."""
    problems: list[Problem] = attrs.field(factory=list[Problem])
    problem_count: int = 0
    rows: int = 0
    duplicates: int = 0
    column: int | None = None
    """Column that is being checked, for `Problem.column`."""
    place: Callable[[], str] = str
    """Describes the part that is being checked, for `Problem.place`."""
    advice: dict[str, None] = attrs.field(factory=dict[str, None])
    """Sentences for `InvalidInput.advice`."""
    _valid: dict[str, dict[str, str]] = attrs.field(factory=lambda: defaultdict[str, dict[str, str]](dict))
    """Valid group names, members and printers, to share one object for each."""

    def note_problem(self, line: int | None, message: str) -> None:
        """Add a problem. `line` is None for the whole input."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(self.source, line, message, self.column, self.place()))

    def check_group(self, text: object, line: int | None) -> str | None:
        """Return the normalized name; None, and a problem, if it is invalid."""
        return self._check(text, line, "group name", normalize_group_name, group_name_problem)

    def check_member(self, given: object, line: int | None) -> str | None:
        """Return the normalized member; None, and a problem, if it is invalid."""
        text = _text_of(given, User, AccountUser, Person)
        return self._check(text, line, "member", normalize_email, member_problem)

    def check_printer(self, given: object, line: int | None) -> str | None:
        """Return the normalized printer; None, and a problem, if it is invalid."""
        text = _text_of(given, Printer, PrinterAssignment)
        return self._check(text, line, "printer", normalize_printer, printer_problem)

    def _check(
        self,
        text: object,
        line: int | None,
        what: str,
        normalize: Callable[[str], str],
        problem_of: Callable[[str], str | None],
    ) -> str | None:
        if not isinstance(text, str):
            self.note_problem(line, f"the {what} must be text, not {shortened(repr(text))}")
            return None
        known = self._valid[what]
        if text.isascii() and (found := known.get(text)) is not None:  # it is normalized already
            return found
        normalized = normalize(text)
        if normalized not in known:
            if (problem := problem_of(normalized)) is not None:
                self.note_problem(line, problem)
                return None
            known[normalized] = normalized
        return known[normalized]

    def add_pair(self, group: str | None, item: str | None, table: Table | None = None) -> None:
        """Add a pair of results of `check_group` and `check_member` to `groups`, or to another table.

        A pair with None is ignored.
        """
        if group is None or item is None:
            return
        self.rows += 1
        items = (self.groups if table is None else table).setdefault(group, {})
        if item in items:
            self.duplicates += 1
        items[item] = None

    def part(self, kind: Kind) -> tuple[Callable[[object, int | None], str | None], Table]:
        """Return the check of members or printers, and their table."""
        return (self.check_member, self.groups) if kind == "member" else (self.check_printer, self.printers)

    def add_row(self, row: object, number: int, what: Literal["row", "pair"]) -> None:
        """Check and add a pair of any types."""
        self.place = partial(_place_of_row, what, number, row)
        try:
            group, member = cast("tuple[object, object]", row)
        except (TypeError, ValueError):
            self.note_problem(number, f"a {what} must have a group and a member, and nothing else")
            return
        self.add_pair(self.check_group(group, number), self.check_member(member, number))

    def add_mapping(self, groups: Mapping[str, Iterable[object]], kind: Kind = "member") -> None:
        """Check and add groups, with members or printers, of any types."""
        check, table = self.part(kind)
        for text, items in groups.items():
            name = self.check_group(text, None)
            if name is not None:
                table.setdefault(name, {})
            # A string is one item. Iterating it would read each character as one.
            several = [items] if isinstance(items, str) else cast("object", items)
            if is_used_up(several):
                group = shortened(repr(text))
                self.note_problem(
                    None, f"the {kind}s of {group} are a generator that was read before: pass a list"
                )
            if not isinstance(several, Iterable):
                group, value = shortened(repr(text)), shortened(repr(several))
                self.note_problem(None, f"the {kind}s of {group} must be a list, not {value}")
                continue
            self.place = partial(_place_in_mapping, text)
            for item in cast("Iterable[object]", several):
                self.add_pair(name, check(item, None), table)
            self.place = str

    def decode(self, body: bytes) -> str:
        """Decode a text. Each line that is not UTF-8 is a problem; its invalid bytes are replaced."""
        try:
            return body.decode()
        except UnicodeDecodeError:
            for number, line in lines_of(body):
                self.decode_line(number, line)
            return body.decode(errors="replace")

    def decode_line(self, number: int, line: bytes) -> str | None:
        """Decode a line. Returns None, and adds a problem, if it is not UTF-8."""
        try:
            return line_of(line)
        except NotText as error:
            self.note_problem(number, error.reason)
            return None

    def finish(self, kind: Kind = "member") -> dict[str, tuple[str, ...]]:
        """Return the groups with their members or printers, or raise `InvalidInput`.

        Moves them out, so that they are not in memory twice.
        """
        if self.problem_count:
            raise InvalidInput(self.problems, self.problem_count, self.advice)
        _, table = self.part(kind)
        return {name: tuple(table.pop(name)) for name in list(table)}
