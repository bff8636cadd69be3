"""`Plan`: a list of changes with the rules they were made under. It can be saved as JSON and applied later."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, Self, cast
from uuid import UUID

import attrs

from ezeep_async._text.text_files import is_blank, text_of
from ezeep_async._wire.converter import decode_json, encode
from ezeep_async.errors import SafetyLimitExceeded, UnexpectedResponse
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    HeldBack,
    InvitePerson,
    Regrouping,
    TargetGroup,
)
from ezeep_async.provisioning.wording import counted, some


Mode = Literal["add", "exact", "undo"]
"""How a plan was made: additions only, removals too, or from an audit log."""

FORMAT = "ezeep provisioning plan"
VERSION = 3
"""Of plans with printers. Plans without printers have version 2, which earlier releases can read."""
PRINTER_FIELDS: Mapping[str, object] = {"printers": {}, "assignments": 0, "assignments_now": 0}
"""What versions 1 and 2 do not have, and its values in a plan without printers."""
LATER_FIELDS: Mapping[str, object] = {"hints": [], "undoes": ""}
"""What plans have only if they have a value for it. Earlier releases refuse a plan with one of these."""
MIN_REMOVALS_OF_SHARE = 5
"""Removals that a share always allows, because a share of few memberships rounds to none."""


@attrs.frozen(kw_only=True)
class Plan:
    """The changes that make a desired state true. Made by `session.provisioning.plan` or `Plan.from_json`."""

    changes: tuple[Change, ...] = ()
    """Groups to create, people to invite, then one change for each user whose memberships change, and one for each printer
    whose assignments change."""
    mode: Mode = "add"
    """"add": nothing is removed. "exact": the named groups keep only the named members and printers. "undo": reverts a
    run."""
    memberships: int = 0
    """Number of distinct memberships in the input, without people who are skipped, invited or waiting."""
    groups: frozenset[UUID] = frozenset()
    """Ids of the groups with named members that existed when the plan was made."""
    members: Mapping[UUID, frozenset[UUID]] = attrs.field(
        factory=dict[UUID, frozenset[UUID]], hash=False, repr=False
    )
    """Who should be in each of `groups` after the run: group ids to user ids, protected members included. In mode "add"
    a group may have others too. Empty in a plan of `undo` and in a plan saved by an earlier version."""
    members_now: int = 0
    """Number of memberships that `groups` had when the plan was made."""
    max_removals: float = 0.10
    """Below 1: share of `members_now`, and of `assignments_now`, at least five removals of each. From 1: number of
    removals of both kinds together. 0: none."""
    skipped: tuple[str, ...] = ()
    """Members who are not in the organization and are skipped."""
    waiting: tuple[str, ...] = ()
    """People who are invited or have an account, but are not yet users of the printing API."""
    held_back: tuple[HeldBack, ...] = ()
    """Removals that are not made, because the user or the group is protected."""
    notes: tuple[str, ...] = ()
    """Warnings to read before applying the plan, one sentence each."""
    kept_users: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str], hash=False)
    """Ids of protected members of `groups`, with the reason. Checked again when the plan is applied."""
    kept_groups: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str], hash=False)
    """Ids of protected groups, with the reason."""
    allow_external: bool = False
    """Whether groups owned by another directory may be changed."""
    made_at: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    printers: Mapping[UUID, frozenset[UUID]] = attrs.field(
        factory=dict[UUID, frozenset[UUID]], hash=False, repr=False
    )
    """Which printers the groups with named printers should have after the run: group ids to printer ids, for the groups
    that existed when the plan was made. In mode "add" a group may have others too."""
    assignments: int = 0
    """Number of distinct assignments of printers in the input."""
    assignments_now: int = 0
    """Number of assignments that the groups in `printers` had when the plan was made."""
    hints: tuple[str, ...] = ()
    """New groups, and people who are not in the organization, whose names differ from existing ones by a typing error at
    most. One sentence each."""
    undoes: str = ""
    """Id of the run that a plan of `undo` reverts, for the audit log."""

    @property
    def is_empty(self) -> bool:
        """Whether the plan contains no changes."""
        return not self.changes

    @property
    def additions(self) -> int:
        """Number of memberships that are added."""
        return len({(change.user_id, group) for change in self._membership_changes for group in change.add})

    @property
    def removals(self) -> int:
        """Number of memberships that are removed."""
        return len(removed(self._membership_changes))

    @property
    def assignment_additions(self) -> int:
        """Number of assignments of printers that are added."""
        return len(
            {(change.printer_id, group) for change in self._assignment_changes for group in change.add}
        )

    @property
    def assignment_removals(self) -> int:
        """Number of assignments of printers that are removed."""
        return len(removed(self._assignment_changes))

    @property
    def has_members(self) -> bool:
        """Whether members were planned."""
        return bool(self.groups or self._membership_changes) or not self.has_printers

    @property
    def has_printers(self) -> bool:
        """Whether printers were planned."""
        return bool(self.printers or self._assignment_changes)

    @property
    def removal_limit(self) -> int:
        """Number of memberships that may be removed, computed from `members_now`."""
        return removal_limit(self.max_removals, self.members_now)

    @property
    def assignment_removal_limit(self) -> int:
        """Number of assignments of printers that may be removed, computed from `assignments_now`."""
        return removal_limit(self.max_removals, self.assignments_now)

    def check_limits(self, members_now: int | None = None, assignments_now: int | None = None) -> None:
        """Check the number of removals against `max_removals`. `apply` does so before the first write.

        A share counts for memberships and for assignments of printers by themselves, a number for both together.

        Args:
            members_now: Current number of memberships in the named groups; None for the number in the plan.
            assignments_now: Current number of printers of the named groups; None for the number in the plan.

        Raises:
            SafetyLimitExceeded: The plan removes more than `max_removals` allows.
        """
        members_now = self.members_now if members_now is None else members_now
        assignments_now = self.assignments_now if assignments_now is None else assignments_now
        members, assignments = removed(self._membership_changes), removed(self._assignment_changes)
        if self.max_removals >= 1 and members and assignments:
            what, plural = "membership or assignment", "memberships and assignments of printers"
            self._check_limit([*members, *assignments], members_now + assignments_now, what, plural)
        else:
            self._check_limit([*members], members_now, "membership", "memberships")
            one, several = "assignment of a printer", "assignments of printers"
            self._check_limit([*assignments], assignments_now, one, several)

    def _check_limit(
        self, removals: Sequence[tuple[UUID, TargetGroup]], now: int, noun: str, plural: str
    ) -> None:
        limit = removal_limit(self.max_removals, now)
        if len(removals) <= limit:
            return
        by_group = Counter(group.name for _, group in removals)
        groups = some([f"{number} from {name!r}" for name, number in by_group.most_common()])
        what, needed = counted(len(removals), noun, plural), self.removals + self.assignment_removals
        error = SafetyLimitExceeded(
            f"the plan removes {what} of {now}, and max_removals={self.max_removals:g} allows {limit}: {groups}. "
            f"If this is intended, plan again with max_removals={needed}",
            removals=len(removals),
            limit=limit,
            by_group=by_group,
        )
        error.what, error.needed = what, needed
        raise error

    def summary(self) -> str:
        """Describe the plan in one line.

        Returns:
            The numbers of changes by kind, as the command shows them.
        """
        kinds = Counter(change.kind for change in self.changes)
        numbers = (
            ("create", kinds["create_group"], "group"),
            ("invite", kinds["invite_person"], "person"),
            ("change", len({change.user_id for change in self._membership_changes}), "user"),
            ("add", self.additions, "membership"),
            ("remove", self.removals, "membership"),
            ("change", len({change.printer_id for change in self._assignment_changes}), "printer"),
            ("add", self.assignment_additions, "printer assignment"),
            ("remove", self.assignment_removals, "printer assignment"),
            ("delete", kinds["delete_group"], "group"),
        )
        plurals = {"person": "people"}
        text = ", ".join(
            f"{verb} {counted(number, noun, plurals.get(noun))}" for verb, number, noun in numbers if number
        )
        if self.is_empty:
            text = "nothing to change"
            if self.mode != "undo":
                as_wanted = [counted(self.memberships, "membership")] if self.has_members else []
                as_wanted += [counted(self.assignments, "printer assignment")] if self.has_printers else []
                text += f": {' and '.join(as_wanted)} as they should be"
        details = [
            f"{counted(len(people), 'person', 'people')} {word}"
            for people, word in ((self.skipped, "skipped"), (self.waiting, "waiting"))
            if people
        ]
        if self.held_back:
            details.append(f"{counted(len(self.held_back), 'removal')} held back")
        return f"{text} ({', '.join(details)})" if details else text

    def diff(self) -> Iterator[str]:
        """Iterate over the plan as lines for people to read.

        Lines begin with `+` for an addition, `-` for a removal, `~` for the user or printer of the next lines, and `!` for
        a note, a hint, or for something that is not done. Notes and hints come first.

        Returns:
            An iterator over these lines.
        """
        yield from (f"! {note}" for note in (*self.notes, *self.hints))
        for change in self.changes:
            if isinstance(change, CreateGroup):
                yield f"+ group {change.name}"
            elif isinstance(change, InvitePerson):
                yield f"+ invitation {change.email}"
            elif isinstance(change, Regrouping):
                yield (
                    f"~ {change.member}"
                    if isinstance(change, ChangeMemberships)
                    else f"~ printer {change.printer}"
                )
                yield from (f"  + {group.name}" for group in change.add)
                yield from (f"  - {group.name}" for group in change.remove)
            else:
                yield f"- group {change.name}"
        yield from (f"! {person}: not in the organization, skipped" for person in self.skipped)
        yield from (f"! {person}: not a user yet, waiting" for person in self.waiting)
        yield from (f"! {each}" for each in self.held_back)

    def to_html(self) -> str:
        """Return the plan as one HTML page, for the person who approves it.

        The page has the changes by group, the totals and the safety limits. It needs no other file, runs no script, and can
        be printed.

        Returns:
            The whole page.
        """
        from ezeep_async.provisioning.plans.page import plan_page

        return plan_page(self)

    def to_dict(self) -> dict[str, object]:
        """Return the plan as plain JSON values.

        Returns:
            The object that `to_json` writes.
        """
        return cast("dict[str, object]", decode_json(self.to_json().encode()))

    def to_json(self) -> str:
        """Return the plan as JSON, for `from_json` in a later process or on another machine.

        Returns:
            One JSON object.
        """
        from ezeep_async.provisioning.plans.saved import unstructure

        fields = cast("dict[str, object]", unstructure(self))
        version = VERSION
        if not self.has_printers:
            version = 2
            for name in PRINTER_FIELDS:
                del fields[name]
        for name, absent in LATER_FIELDS.items():
            if fields[name] == absent:
                del fields[name]
        return encode({"format": FORMAT, "version": version, **fields}, indent=2).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a plan that `to_json` wrote.

        Args:
            text: The JSON, as text or UTF-8 bytes.

        Raises:
            ValueError: The text is not a plan, or is damaged. The message contains the JSON path.
        """
        from ezeep_async.provisioning.plans.saved import structure

        if is_blank(text):
            raise ValueError("this is not a plan: it is empty")
        try:
            document = decode_json(text_of(text).encode())
        except (UnexpectedResponse, UnicodeError):
            raise ValueError("this is not JSON") from None
        fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
        if fields.pop("format", None) != FORMAT:
            raise ValueError("this is not a plan")
        version = fields.pop("version", None)
        if version == 1:
            fields.setdefault("members", {})  # version 1 does not have it
        if version in {1, 2}:
            fields = {**PRINTER_FIELDS, **fields}
        elif version != VERSION:
            raise ValueError(f"this plan has version {version!r}; this release reads versions 1 to {VERSION}")
        plan = structure({**LATER_FIELDS, **fields}, cls)
        checked_max_removals(plan.max_removals)
        return plan

    @property
    def _membership_changes(self) -> list[ChangeMemberships]:
        return [change for change in self.changes if isinstance(change, ChangeMemberships)]

    @property
    def _assignment_changes(self) -> list[ChangeAssignments]:
        return [change for change in self.changes if isinstance(change, ChangeAssignments)]


def removed(changes: Iterable[Regrouping]) -> set[tuple[UUID, TargetGroup]]:
    """The removals. Distinct, because a plan that was edited by hand may contain duplicates."""
    return {(change.record_id, group) for change in changes for group in change.remove}


def removal_limit(max_removals: float, members_now: int) -> int:
    """Number of removals that `max_removals` allows."""
    if max_removals >= 1 or max_removals == 0:
        return int(max_removals)
    # Binary fractions are inexact: 0.07 * 300 is 21.000000000000004.
    return max(MIN_REMOVALS_OF_SHARE, math.floor(round(max_removals * members_now, 6)))


def checked_max_removals(value: object) -> float:
    """Return the value; raise `ValueError` if it is neither a share nor a whole number."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < math.inf
        and (value < 1 or value == int(value))
    ):
        return value
    raise ValueError(f"max_removals must be a share below 1 or a whole number from 1 up, not {value!r}")
