"""`Verifier`: list the users after a run, and repeat the changes that other writers have undone meanwhile."""

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
"""Listings of the users, at most. Changes that were undone are repeated after each listing but the last."""

Together = Callable[[Iterable[Coroutine[object, object, None]]], Awaitable[None]]
"""Runs all of them concurrently and waits for them. Raises nothing for those that are cancelled."""
Repair = Callable[[ChangeMemberships], Awaitable[None]]
"""Makes a change. The next listing shows whether it succeeded."""


@attrs.frozen
class _Expected:
    """The memberships that a plan expects after the run."""

    changes: Mapping[UUID, ChangeMemberships]
    """The planned change of each user. Groups have their ids; groups that were not created are left out."""
    groups: Mapping[UUID, frozenset[UUID]]
    """Groups of the plan in which each user must be a member."""
    names: Mapping[UUID, str]
    """Names of groups, for the report."""
    exact: frozenset[UUID]
    """Groups that must not have other members than the planned ones."""
    failed: frozenset[UUID]
    """Users whose change failed. They are not compared: the report has their errors already."""
    kept: frozenset[UUID]
    """Protected users, whom `exact` does not apply to."""

    @classmethod
    def of(
        cls, plan: Plan, rows: Iterable[Row], created: Mapping[str, UUID], names: Mapping[UUID, str]
    ) -> _Expected:
        """Expect the plan, after a run with these rows that created these groups."""
        changes: dict[UUID, ChangeMemberships] = {}
        failed: set[UUID] = set()
        for row in rows:
            if not isinstance(row.change, ChangeMemberships):
                continue
            change = attrs.evolve(
                row.change, add=_known(row.change.add, created), remove=_known(row.change.remove, created)
            )
            changes[change.user_id] = change
            if not row.ok:
                failed.add(change.user_id)
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
            frozenset(failed),
            frozenset(plan.kept_users),
        )

    def differences(self, user: User) -> list[Difference]:
        """Return the memberships of this user that differ from the plan."""
        if user.id in self.failed:
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
        """Return the part of a user's planned change that other writers have undone; None if there is none."""
        change = self.changes.get(differences[0].user_id)
        if change is None:
            return None
        wrong = {difference.group_id for difference in differences}
        add = tuple(group for group in change.add if group.id in wrong)
        remove = tuple(group for group in change.remove if group.id in wrong)
        return attrs.evolve(change, add=add, remove=remove) if add or remove else None


class Verifier:
    """Compares the memberships with a plan after its run, and repeats changes of the plan that were undone."""

    def __init__(self, resources: Resources, plan: Plan, names: Mapping[UUID, str], *, wanted: bool) -> None:
        self._resources = resources
        self._plan = plan
        self._names = names
        """Names of the groups that existed before the run."""
        self._wanted = wanted
        self.differences: tuple[Difference, ...] = ()
        """Differences in the last listing."""
        self.unverified = "the run ended before its result was compared with the plan" if wanted else ""
        """Why the result was not verified. Empty if it was, or if that was not wanted."""

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
        """List and repair until nothing is left to repair, with at most `LISTINGS` listings.

        Returns warnings for the report. Sets `differences` and `unverified`.
        """
        if not self._wanted or stopped():
            return []
        expected = _Expected.of(self._plan, rows, created, self._names)
        undone = 0
        for left in reversed(range(LISTINGS)):
            listings: list[list[ChangeMemberships]] = []
            await together([self._list(expected, listings)])
            if not listings:  # it failed or was cancelled
                break
            repairs = listings[0]
            if not repairs or not left:
                self.unverified = ""
                break
            undone += sum(len(change.add) + len(change.remove) for change in repairs)
            rest = iter(repairs)
            await together(_repair_all(rest, repair, stopped) for _ in range(min(concurrency, len(repairs))))
            if stopped():
                break
        if not undone:
            return []
        warning = (
            f"other writers undid {counted(undone, 'membership change')} of this run. They were made again"
        )
        logger.warning(warning)
        return [warning]

    async def _list(self, expected: _Expected, listings: list[list[ChangeMemberships]]) -> None:
        """List the users once. If that succeeds, append the repairs to `listings`."""
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
        listings.append([change for change in repairs if change is not None])


async def _repair_all(rest: Iterator[ChangeMemberships], repair: Repair, stopped: Callable[[], bool]) -> None:
    for change in rest:
        if stopped():
            return
        await repair(change)


def _known(groups: Iterable[TargetGroup], created: Mapping[str, UUID]) -> tuple[TargetGroup, ...]:
    """The groups that exist, with their ids."""
    with_ids = (attrs.evolve(group, id=group.id or created.get(group.name)) for group in groups)
    return tuple(group for group in with_ids if group.id is not None)
