"""`comparison`: users or printers compared with the plan, after a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Protocol
from uuid import UUID

import attrs

from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.provisioning.plans.changes import Change, ChangeAssignments, ChangeMemberships, Regrouping
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.preflight import Preflight
from ezeep_async.provisioning.runs.report import AssignmentDifference, Difference


AnyDifference = Difference | AssignmentDifference
Compared = tuple[list[AnyDifference], Regrouping | None]
"""The groups of a user or printer that differ from the plan, and the part of its change that was undone."""


class Grouped(Protocol):
    """A user, or a printer."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def group_ids(self) -> frozenset[UUID]:
        """The ids of its groups."""
        ...


def comparison(
    plan: Plan, known: Preflight, failed: Collection[Change], kind: type[Regrouping]
) -> Callable[[Grouped], Compared]:
    """Return a function that compares a user or printer with the plan, after a run in which these changes failed."""
    of_members = kind is ChangeMemberships
    changes = {each.record_id: each for each in plan.changes if isinstance(each, kind)}
    ignored = {each.record_id for each in failed if isinstance(each, kind)}  # they are in the report
    names = {**known.group_names, **{group_id: name for name, group_id in known.created.items()}}
    wanted = plan.members if of_members else plan.printers
    expected = defaultdict[UUID, set[UUID]](set)
    for group_id, record_ids in wanted.items():
        for record_id in record_ids:
            expected[record_id].add(group_id)
    for record_id, change in changes.items():
        expected[record_id] |= known.ids_of(change.add)
    exact = {*wanted, *_created(plan, known, of_members=of_members)} if plan.mode == "exact" else set[UUID]()
    exact -= plan.kept_groups.keys()

    def compare(record: Grouped) -> Compared:
        change = changes.get(record.id)
        if record.id in ignored:
            return [], None
        removed = frozenset[UUID]() if change is None else known.ids_of(change.remove)
        missing = expected.get(record.id, set[UUID]()) - record.group_ids
        # Protected users may stay in groups with exact members.
        forbidden = removed if record.id in plan.kept_users else exact | removed
        extra = (record.group_ids & forbidden) - expected.get(record.id, set[UUID]())
        if not missing and not extra:
            return [], None
        label = str(record.id) if change is None else change.subject
        if isinstance(record, PrinterAssignment):
            label = record.printer_name or label
        difference = Difference if of_members else AssignmentDifference
        differences: list[AnyDifference] = [
            difference(record.id, label, group_id, names.get(group_id, str(group_id)), is_there)
            for group_ids, is_there in ((missing, False), (extra, True))
            for group_id in sorted(group_ids)
        ]
        if change is None:
            return differences, None
        add = tuple(group for group in change.add if known.id_of(group) in missing)
        remove = tuple(group for group in change.remove if known.id_of(group) in extra)
        return differences, attrs.evolve(change, add=add, remove=remove) if add or remove else None

    return compare


def _created(plan: Plan, known: Preflight, *, of_members: bool) -> set[UUID]:
    """The groups that the run created, and whose members or printers the plan has."""
    names = {
        kind: {
            group.name
            for change in plan.changes
            if isinstance(change, kind)
            for group in change.add
            if group.id is None
        }
        for kind in (ChangeMemberships, ChangeAssignments)
    }
    if of_members:  # also groups without members
        unplanned = names[ChangeAssignments] - names[ChangeMemberships]
        return {group_id for name, group_id in known.created.items() if name not in unplanned}
    return {group_id for name, group_id in known.created.items() if name in names[ChangeAssignments]}
