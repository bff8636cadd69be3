"""`LoggedRun`: what a run wrote, by its audit log, and the plan that reverts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from uuid import UUID

import attrs

from ezeep_async.errors import AuditLogError
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    Regrouping,
    TargetGroup,
    ids_of,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.audit import RUN, STARTED, AuditRecord
from ezeep_async.provisioning.wording import counted, some


_WORDS: Mapping[type[Regrouping], tuple[str, str, str, str]] = {
    ChangeMemberships: ("user", "person is", "people are", "put back into"),
    ChangeAssignments: ("printer", "printer is", "printers are", "assigned again to"),
}
"""For notes: the record, one and several of them, and what is not done to them."""


@attrs.define
class _Regrouped:
    """What a run did to one user or printer: its own part of each write, because other writers change the same one."""

    name: str
    added: set[UUID] = attrs.field(factory=set[UUID])
    removed: set[UUID] = attrs.field(factory=set[UUID])
    undecided: AuditRecord | None = None
    """A write without an outcome yet."""

    def settle(self, record: AuditRecord | None = None) -> None:
        """Count the undecided write, unless `record` says that it was not made. Then begin the next one."""
        write, self.undecided = self.undecided, record if record and record.outcome == STARTED else None
        if write is None or (
            record and record.outcome in {"failed", "already_absent"} and record.after is None
        ):
            return
        before, after = frozenset(write.before or ()), frozenset(write.after or ())
        added, removed = after - before, before - after
        self.added, self.removed = (
            (self.added - removed) | (added - self.removed),
            (self.removed - added) | (removed - self.added),
        )


class LoggedRun:
    """A run of the log: `run_id`, or the last one that changed something and is no undo.

    What may have been written counts as written.

    Raises:
        AuditLogError: The log is empty, or has no such run.
    """

    def __init__(self, records: Iterable[AuditRecord], run_id: str | None = None) -> None:
        self.notes: list[str] = []
        self.run_id = ""
        self.users: dict[UUID, _Regrouped] = {}
        self.printers: dict[UUID, _Regrouped] = {}
        self._created: dict[UUID, None] = {}
        self._lost: dict[tuple[str, UUID | None], None] = {}
        """Names and organizations of creations whose outcome is unknown."""
        self._namesakes: set[UUID] = set()
        for record in self._select(records, run_id):
            self._namesakes.update(record.namesakes or ())
            if record.operation == CreateGroup.kind:
                self._lost.pop((record.name, record.organization_id), None)
                if record.outcome in {STARTED, "unknown"}:
                    self._lost[record.name, record.organization_id] = None
                elif record.outcome == "created" and record.group_id is not None:
                    self._created[record.group_id] = None
            elif record.user_id is not None:
                self.users.setdefault(record.user_id, _Regrouped(record.name)).settle(record)
            elif record.printer_id is not None:
                self.printers.setdefault(record.printer_id, _Regrouped(record.name)).settle(record)
        for regrouped in (*self.users.values(), *self.printers.values()):
            regrouped.settle()

    def _select(self, records: Iterable[AuditRecord], run_id: str | None) -> list[AuditRecord]:
        runs: dict[str, list[AuditRecord]] = {}
        changing: dict[str, None] = {}
        """Runs that changed something, in the order of their last changes."""
        undoing: set[str] = set()
        for record in records:
            runs.setdefault(record.run_id, []).append(record)
            if record.operation != RUN:
                changing.pop(record.run_id, None)
                changing[record.run_id] = None
            elif record.undoes:
                undoing.add(record.run_id)
        if not runs:
            raise AuditLogError("the audit log is empty: no run has written to it")
        if run_id is None:
            newest = [*reversed(changing or runs)]
            # A second undo finds nothing to do. It must not repeat the run, as the undo of an undo does.
            run_id = next((each for each in newest if each not in undoing), newest[0])
            if changing and (others := [each for each in newest if each != run_id]):
                others_named = f"{counted(len(others), 'other')}: {some(others)}"
                last = "the last one that is no undo" if undoing - {run_id} else "the last one"
                self.notes.append(f"only run {run_id} is reverted, {last}; the log has {others_named}")
        if run_id not in runs:
            raise AuditLogError(f"no run {run_id} in the audit log")
        self.run_id = run_id
        return runs[run_id]

    def undo(
        self,
        groups: Iterable[Group],
        memberships: Mapping[UUID, frozenset[UUID]],
        printers: Mapping[UUID, PrinterAssignment] = MappingProxyType({}),
        *,
        delete_groups: bool,
    ) -> Plan:
        """Plan to revert the run: what it changed and what is still so, whatever other writers have changed since.

        Args:
            groups: All groups.
            memberships: The groups of each user of the run who exists.
            printers: All printers, or none if the run changed none.
            delete_groups: Whether to delete the groups that the run created, if they are not in use.
        """
        known = {group.id: group for group in groups}

        def targets(ids: set[UUID]) -> tuple[TargetGroup, ...]:
            found = [TargetGroup(known[group_id].name, group_id) for group_id in ids & known.keys()]
            return tuple(sorted(found, key=lambda group: (group.name, str(group.id))))

        notes = [*self.notes]

        def reverted(
            kind: type[Regrouping], done: Mapping[UUID, _Regrouped], now: Mapping[UUID, frozenset[UUID]]
        ) -> list[Regrouping]:
            changes: list[Regrouping] = []
            gone_groups = Counter[UUID]()
            gone: list[str] = []
            noun, one, several, verb = _WORDS[kind]
            for record_id, record in done.items():
                if (current := now.get(record_id)) is None:
                    if names := [repr(group.name) for group in targets(record.removed)]:
                        gone.append(f"{noun} {record.name} is gone: not {verb} {some(names)}")
                    continue
                gone_groups.update(record.removed - current - known.keys())
                add, remove = targets(record.removed - current), targets(record.added & current)
                if add or remove:
                    # The printer may have another name now.
                    name = labels.get(record_id, record.name)
                    changes.append(kind(record_id, name, add, remove, current))
            for group_id, many in gone_groups.items():
                notes.append(f"group {group_id} is gone: {counted(many, one, several)} not {verb} it")
            notes.extend(gone)
            return changes

        labels = {row.id: row.printer_name or str(row.id) for row in printers.values()}
        members = reverted(ChangeMemberships, self.users, memberships)
        assignments = reverted(
            ChangeAssignments, self.printers, {row.id: row.group_ids for row in printers.values()}
        )
        changes: list[Change] = [*members, *assignments]
        if delete_groups:
            changes += [DeleteGroup(group.id, group.name) for group in self._created_groups(known)]
        return Plan(
            changes=tuple(changes),
            mode="undo",
            groups=frozenset[UUID]().union(*(ids_of(change.remove) for change in members)),
            # Exactly what the run added.
            max_removals=sum(len(change.remove) for change in (*members, *assignments)),
            allow_external=True,  # what the run was allowed to write
            notes=tuple(notes),
            undoes=self.run_id,
        )

    def _created_groups(self, known: Mapping[UUID, Group]) -> list[Group]:
        """The groups that the run created and that exist."""
        created = dict(self._created)
        for lost in self._lost:
            # No such group existed when the creation began: if exactly one exists now, it is that one.
            found = [
                group.id
                for group in known.values()
                if (group.name, group.organization_id) == lost and group.id not in self._namesakes
            ]
            if len(found) == 1:
                created[found[0]] = None
        return [known[group_id] for group_id in created if group_id in known]
