"""`Plan`: what has to change. A value: it can be read, kept as JSON, applied later, and turned round."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, Self
from uuid import UUID

import attrs

from ezeep_async._wire.converter import register_union
from ezeep_async.errors import SafetyLimitExceeded
from ezeep_async.provisioning.plans.changes import (
    KINDS,
    Change,
    ChangeMemberships,
    CreateGroup,
    InvitePerson,
    TargetGroup,
    ids_of,
)
from ezeep_async.provisioning.plans.plan_json import from_json, to_json
from ezeep_async.provisioning.plans.protection import HeldBack
from ezeep_async.provisioning.wording import counted, some


Mode = Literal["add", "exact", "undo"]

LEAST_LIMIT = 5
"""A share of few memberships is hardly any: so many may be removed at least."""

register_union(Change, "kind", KINDS)


@attrs.frozen(kw_only=True)
class Plan:
    """What has to change, and under which rules. Made by `session.provisioning.plan`, or read from JSON."""

    changes: tuple[Change, ...] = ()
    """Groups to create and people to invite, then one change for each user whose memberships change."""
    mode: Mode = "add"
    """"add": nobody is taken out of anything; "exact": the groups named have the members named, and no others."""
    memberships: int = 0
    """How many memberships the people found should have in the groups named.

    Each is counted once, however often and by whichever name the input has the person. People who were passed over, are
    invited or are waited for are not counted.
    """
    groups: frozenset[UUID] = frozenset()
    """The groups named that existed when the plan was made."""
    members: Mapping[UUID, frozenset[UUID]] = attrs.field(
        factory=dict[UUID, frozenset[UUID]], hash=False, repr=False
    )
    """Who should be in each of them when the plan has been applied, protected members included; in mode "add" others may be
    too. Empty where that is not known: in a plan that undoes a run, and in one that an earlier version kept."""
    members_now: int = 0
    """How many memberships they had then."""
    max_removals: float = 0.10
    """Below 1 a share of those, of which five are always allowed; from 1 up a number; 0 is none."""
    skipped: tuple[str, ...] = ()
    """People whom the organisation does not have, and who were passed over."""
    waiting: tuple[str, ...] = ()
    """People who were invited, or have an account, and are no users of the printing API yet."""
    held_back: tuple[HeldBack, ...] = ()
    """Removals that are not made, because somebody or something is protected."""
    notes: tuple[str, ...] = ()
    """What one has to know before it is applied, a sentence each."""
    kept_users: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str], hash=False)
    """Users of the groups named who are taken out of nothing, and why. Checked again when the plan is applied."""
    kept_groups: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str], hash=False)
    """Groups that nobody is taken out of, and why."""
    allow_external: bool = False
    """Whether groups that another directory owns may be changed."""
    made_at: datetime = attrs.field(factory=lambda: datetime.now(UTC))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to change."""
        return not self.changes

    @property
    def additions(self) -> int:
        """How many memberships are added."""
        return len({(change.user_id, group) for change in self._memberships for group in change.add})

    @property
    def removals(self) -> int:
        """How many memberships are removed."""
        return len(self._removed)

    @property
    def removal_limit(self) -> int:
        """How many memberships may be removed, by the numbers of when the plan was made."""
        return removal_limit(self.max_removals, self.members_now)

    def check_limits(self, members_now: int | None = None) -> None:
        """Raise `SafetyLimitExceeded` if the plan removes more than it may, of `members_now` memberships.

        `apply` calls it with the number of that moment, before the first write.
        """
        members_now = self.members_now if members_now is None else members_now
        limit = removal_limit(self.max_removals, members_now)
        if self.removals <= limit:
            return
        by_group = Counter(group.name for _, group in self._removed)
        told = some([f"{number} from {name!r}" for name, number in by_group.most_common()])
        raise SafetyLimitExceeded(
            f"the plan removes {counted(self.removals, 'membership')} of {members_now}, and max_removals="
            f"{self.max_removals:g} allows {limit}: {told}. Where this is meant, plan again with "
            f"max_removals={self.removals}",
            removals=self.removals,
            limit=limit,
            by_group=by_group,
        )

    def summary(self) -> str:
        """The plan in one line."""
        parts = [f"{verb} {counted(number, noun)}" for verb, number, noun in self._numbers() if number]
        told = ", ".join(parts) or "nothing to change"
        if self.is_empty and self.mode != "undo":
            told += f": {counted(self.memberships, 'membership')} as they should be"
        beside = [
            f"{counted(len(group), 'person', 'people')} {word}"
            for group, word in ((self.skipped, "passed over"), (self.waiting, "waited for"))
            if group
        ]
        if self.held_back:
            beside.append(f"{counted(len(self.held_back), 'removal')} held back")
        return f"{told} ({', '.join(beside)})" if beside else told

    def diff(self) -> Iterator[str]:
        """The plan for people, line by line: `+` for what comes, `-` for what goes, `~` for whom, `!` for what does not happen.

        What one has to know besides comes first, after a `!` too.
        """
        yield from (f"! {note}" for note in self.notes)
        for change in self.changes:
            if isinstance(change, CreateGroup):
                yield f"+ group {change.name}"
            elif isinstance(change, InvitePerson):
                yield f"+ invitation {change.email}"
            elif isinstance(change, ChangeMemberships):
                yield f"~ {change.member}"
                yield from (f"  + {group.name}" for group in change.add)
                yield from (f"  - {group.name}" for group in change.remove)
            else:
                yield f"- group {change.name}"
        yield from (f"! {person}: not in the organisation, passed over" for person in self.skipped)
        yield from (f"! {person}: no user yet, waited for" for person in self.waiting)
        yield from (f"! {each}" for each in self.held_back)

    def to_json(self) -> str:
        """The plan as JSON, for another time or another machine."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """A plan that `to_json` wrote. Raises `ValueError` that says what does not fit, and where."""
        plan = from_json(text, cls)
        checked_max_removals(plan.max_removals)
        return plan

    def invert(self) -> Self:
        """The plan that takes the memberships back which this one changes, and deletes no group that it created.

        It undoes what was planned. What really happened is in the audit log: `session.provisioning.undo` goes by that.
        """
        turned = tuple(
            attrs.evolve(change, add=change.remove, remove=change.add, before=_after(change.before, change))
            for change in self._memberships
        )
        return attrs.evolve(
            self,
            changes=turned,
            mode="undo",
            memberships=0,
            # What was added just now may go: that is what is asked for, and no more than that.
            members={},
            max_removals=self.additions,
            skipped=(),
            waiting=(),
            held_back=(),
            notes=(),
            # They were protected from this plan, not from having it taken back.
            kept_users={},
            kept_groups={},
            made_at=datetime.now(UTC),
        )

    @property
    def _memberships(self) -> list[ChangeMemberships]:
        return [change for change in self.changes if isinstance(change, ChangeMemberships)]

    @property
    def _removed(self) -> set[tuple[UUID, TargetGroup]]:
        """Distinct: a plan that was made by hand may have one of them twice."""
        return {(change.user_id, group) for change in self._memberships for group in change.remove}

    def _numbers(self) -> tuple[tuple[str, int, str], ...]:
        of_kind = Counter(change.kind for change in self.changes)
        return (
            ("create", of_kind["create_group"], "group"),
            ("invite", of_kind["invite_person"], "person"),
            ("change", len({change.user_id for change in self._memberships}), "user"),
            ("add", self.additions, "membership"),
            ("remove", self.removals, "membership"),
            ("delete", of_kind["delete_group"], "group"),
        )


def removal_limit(max_removals: float, members_now: int) -> int:
    """How many of so many memberships may be removed."""
    if max_removals >= 1 or max_removals == 0:
        return int(max_removals)
    # Shares are decimal fractions that binary ones do not hit: 0.07 * 300 is 21.000000000000004.
    return max(LEAST_LIMIT, math.floor(round(max_removals * members_now, 6)))


def checked_max_removals(value: object) -> float:
    """Raises `ValueError` for what is neither a share nor a whole number."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < math.inf
        and (value < 1 or value == int(value))
    ):
        return value
    raise ValueError(f"max_removals is a share below 1 or a whole number from 1 up, not {value!r}")


def _after(before: frozenset[UUID], change: ChangeMemberships) -> frozenset[UUID]:
    return (before | ids_of(change.add)) - ids_of(change.remove)
