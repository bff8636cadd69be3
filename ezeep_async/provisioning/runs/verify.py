"""`Verifier`: after a run, list the users once more, and set again what other writers undid in the meantime."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

import attrs

from ezeep_async.errors import EzeepError
from ezeep_async.models.users import User
from ezeep_async.provisioning.plans.changes import ChangeMemberships, CreateGroup, TargetGroup, ids_of
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.snapshot import READERS, Resources
from ezeep_async.provisioning.runs.report import Difference, Row
from ezeep_async.provisioning.wording import counted
from ezeep_async.resources._base import read_settled


logger = logging.getLogger("ezeep_async.provisioning")

LISTINGS = 3
"""How often the users are listed at most. After each listing but the last, what was undone is set again."""


Together = Callable[[Iterable[Coroutine[object, object, None]]], Awaitable[None]]
"""Does all of it at once and waits for its end. Raises nothing for what is broken off."""
Repair = Callable[[ChangeMemberships], Awaitable[None]]
"""Makes a change. How that comes out is seen in the next listing."""


@attrs.frozen
class _Expected:
    """What a plan says about the groups of each user."""

    changes: Mapping[UUID, ChangeMemberships]
    """By user, with the ids of all groups that exist."""
    groups: Mapping[UUID, frozenset[UUID]]
    """The groups that the plan names and that each user should be in."""
    names: Mapping[UUID, str]
    exact: frozenset[UUID]
    """Groups that have no other members than these."""
    passed_over: frozenset[UUID]
    """Users of whom nothing is expected: their change was not made, which is reported already."""
    kept: frozenset[UUID]
    """Users who are taken out of nothing."""

    @classmethod
    def of(
        cls, plan: Plan, rows: Iterable[Row], created: Mapping[str, UUID], names: Mapping[UUID, str]
    ) -> _Expected:
        """What is expected after a run with these rows, in which these groups came into being."""
        changes: dict[UUID, ChangeMemberships] = {}
        passed_over: set[UUID] = set()
        for row in rows:
            if not isinstance(row.change, ChangeMemberships):
                continue
            change = attrs.evolve(
                row.change, add=_known(row.change.add, created), remove=_known(row.change.remove, created)
            )
            changes[change.user_id] = change
            if not row.ok:
                passed_over.add(change.user_id)
        groups: dict[UUID, set[UUID]] = {}
        for group_id, users in plan.members.items():
            for user_id in users:
                groups.setdefault(user_id, set()).add(group_id)
        names = dict(names)
        for change in changes.values():
            groups.setdefault(change.user_id, set()).update(ids_of(change.add))
            names.update({group.id: group.name for group in change.add if group.id is not None})
        exact = set[UUID]()
        if plan.mode == "exact":
            new = {created.get(change.name) for change in plan.changes if isinstance(change, CreateGroup)}
            exact = {*plan.members, *(group_id for group_id in new if group_id is not None)}
        return cls(
            changes,
            {user_id: frozenset(group_ids) for user_id, group_ids in groups.items()},
            names,
            frozenset(exact - plan.kept_groups.keys()),
            frozenset(passed_over),
            frozenset(plan.kept_users),
        )

    def differences(self, user: User) -> list[Difference]:
        """What is not as it should be for this user."""
        if user.id in self.passed_over:
            return []
        expected, change = self.groups.get(user.id, frozenset[UUID]()), self.changes.get(user.id)
        removed = frozenset[UUID]() if change is None else ids_of(change.remove)
        missing = expected - user.group_ids
        exact = removed if user.id in self.kept else self.exact | removed
        extra = (user.group_ids & exact) - expected
        if not missing and not extra:
            return []
        member = str(user.id) if change is None else change.member
        return [
            Difference(user.id, member, group_id, self.names.get(group_id, str(group_id)), is_member)
            for group_ids, is_member in ((missing, False), (extra, True))
            for group_id in sorted(group_ids)
        ]

    def repair(self, differences: Sequence[Difference]) -> ChangeMemberships | None:
        """The part of the plan's change of one user that others have undone; None where it is something else."""
        change = self.changes.get(differences[0].user_id)
        if change is None:
            return None
        wrong = {difference.group_id for difference in differences}
        add = tuple(group for group in change.add if group.id in wrong)
        remove = tuple(group for group in change.remove if group.id in wrong)
        return attrs.evolve(change, add=add, remove=remove) if add or remove else None


class Verifier:
    """Compares the memberships with a plan when it has been applied, and repairs what belongs to the plan."""

    def __init__(self, resources: Resources, plan: Plan, names: Mapping[UUID, str], *, wanted: bool) -> None:
        self._resources = resources
        self._plan = plan
        self._names = names
        """Of the groups that existed when the run began."""
        self._wanted = wanted
        self.differences: tuple[Difference, ...] = ()
        """What was different when the users were listed last."""
        self.unverified = "the run ended before its result was compared with the plan" if wanted else ""
        """Why it is not known whether everything is as it should be; empty when it is known, or not wanted."""

    async def run(
        self,
        rows: Iterable[Row],
        created: Mapping[str, UUID],
        *,
        together: Together,
        repair: Repair,
        stopped: Callable[[], bool],
        concurrency: int,
    ) -> list[str]:
        """List and repair until nothing is left to repair, `LISTINGS` times at most.

        Gives warnings for the report. What fails is in the attributes.
        """
        if not self._wanted or stopped():
            return []
        expected = _Expected.of(self._plan, rows, created, self._names)
        undone = 0
        for left in reversed(range(LISTINGS)):
            looks: list[list[ChangeMemberships]] = []
            await together([self._look(expected, looks)])
            if not looks:
                break
            repairs = looks[0]
            if not repairs or not left:
                self.unverified = ""
                break
            undone += sum(len(change.add) + len(change.remove) for change in repairs)
            rest = iter(repairs)
            await together(_work(rest, repair, stopped) for _ in range(min(concurrency, len(repairs))))
            if stopped():
                break
        if not undone:
            return []
        warning = f"other writers undid {counted(undone, 'membership change')} of this run: written again"
        logger.warning(warning)
        return [warning]

    async def _look(self, expected: _Expected, looks: list[list[ChangeMemberships]]) -> None:
        """List the users once; what is to be repaired is added to `looks`, if that was possible."""
        try:
            found = await read_settled(
                self._resources.users.list(concurrency=READERS), expected.differences, strict=False
            )
        except EzeepError as error:
            self.unverified = f"the users could not be listed after the run: {error}"
            return
        different = [differences for differences in found if differences]
        self.differences = tuple(difference for each in different for difference in each)
        repairs = [expected.repair(differences) for differences in different]
        looks.append([change for change in repairs if change is not None])


async def _work(rest: Iterator[ChangeMemberships], repair: Repair, stopped: Callable[[], bool]) -> None:
    for change in rest:
        if stopped():
            return
        await repair(change)


def _known(groups: Iterable[TargetGroup], created: Mapping[str, UUID]) -> tuple[TargetGroup, ...]:
    """Those that exist, with their ids."""
    with_ids = (attrs.evolve(group, id=group.id or created.get(group.name)) for group in groups)
    return tuple(group for group in with_ids if group.id is not None)
