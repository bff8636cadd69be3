"""`Comparison`: the memberships after a run, compared with its plan, without I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from uuid import UUID

import attrs

from ezeep_async.models.users import User
from ezeep_async.provisioning.plans.changes import ChangeMemberships
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.preflight import Preflight
from ezeep_async.provisioning.runs.report import Difference, Row


class Comparison:
    """The memberships that a plan expects after a run with these rows."""

    def __init__(self, plan: Plan, known: Preflight, rows: Iterable[Row]) -> None:
        self._plan = plan
        self._known = known
        self._names = {**known.group_names, **{group_id: name for name, group_id in known.created.items()}}
        self._changes: dict[UUID, ChangeMemberships] = {}
        self._failed: set[UUID] = set()
        """Users whose change failed. They are not compared: the report has their errors."""
        self._expected = defaultdict[UUID, set[UUID]](set)
        """Groups in which each user must be."""
        for group_id, users in plan.members.items():
            for user_id in users:
                self._expected[user_id].add(group_id)
        for row in rows:
            if isinstance(row.change, ChangeMemberships):
                self._changes[row.change.user_id] = row.change
                self._expected[row.change.user_id] |= known.ids_of(row.change.add)
                if not row.ok:
                    self._failed.add(row.change.user_id)
        exact = {*plan.members, *known.created.values()} if plan.mode == "exact" else set[UUID]()
        self._exact = exact - plan.kept_groups.keys()
        """Groups that must not have other members."""

    def differences(self, user: User) -> list[Difference]:
        """Return the memberships of this user that differ from the plan."""
        if user.id in self._failed:
            return []
        change = self._changes.get(user.id)
        removed = frozenset[UUID]() if change is None else self._known.ids_of(change.remove)
        expected = self._expected.get(user.id, set[UUID]())
        missing = expected - user.group_ids
        # Protected users may stay in groups with exact members.
        forbidden = removed if user.id in self._plan.kept_users else self._exact | removed
        extra = (user.group_ids & forbidden) - expected
        if not missing and not extra:
            return []
        member = str(user.id) if change is None else change.member
        return [
            Difference(user.id, member, group_id, self._names.get(group_id, str(group_id)), is_member)
            for group_ids, is_member in ((missing, False), (extra, True))
            for group_id in sorted(group_ids)
        ]

    def repairs(self, differences: Collection[Difference]) -> list[ChangeMemberships]:
        """Return the parts of the planned changes that other writers have undone."""
        wrong = defaultdict[UUID, set[UUID | None]](set)
        for difference in differences:
            wrong[difference.user_id].add(difference.group_id)
        repairs = [
            attrs.evolve(
                change,
                add=tuple(group for group in change.add if self._known.id_of(group) in group_ids),
                remove=tuple(group for group in change.remove if self._known.id_of(group) in group_ids),
            )
            for user_id, group_ids in wrong.items()
            if (change := self._changes.get(user_id)) is not None
        ]
        return [change for change in repairs if change.add or change.remove]
