"""`plan_undo`: from the audit log of a run to the plan that takes it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

import attrs

from ezeep_async.errors import AuditLogError
from ezeep_async.provisioning.audit import AuditRecord
from ezeep_async.provisioning.changes import Change, ChangeMemberships, DeleteGroup, TargetGroup
from ezeep_async.provisioning.plan import Plan, ids_of


@attrs.define
class _User:
    """What a run did to one user."""

    name: str
    before: frozenset[UUID]
    after: frozenset[UUID]


def plan_undo(
    records: Iterable[AuditRecord],
    names: Mapping[UUID, str],
    *,
    run_id: str | None = None,
    delete_groups: bool = False,
) -> Plan:
    """Take back what one run of the log did, by default the last one: memberships, and with `delete_groups` also groups.

    What may have been written counts as written. Only what the run changed is changed back, whatever others did since.
    `names` are those of the groups that there are; memberships of others are passed over. Raises `AuditLogError` for a
    log without that run.
    """
    run = _one_run(records, run_id)
    users: dict[UUID, _User] = {}
    created: dict[UUID, str] = {}
    for record in run:
        if record.operation == ChangeMemberships.kind:
            _follow(users, record)
        elif record.outcome == "created" and record.group_id is not None:
            created[record.group_id] = record.name
    changes: list[Change] = [
        change for user_id, user in users.items() if (change := _back(user_id, user, names)) is not None
    ]
    if delete_groups:
        changes += [DeleteGroup(group_id, name) for group_id, name in created.items() if group_id in names]
    removals = [change.remove for change in changes if isinstance(change, ChangeMemberships)]
    return Plan(
        changes=tuple(changes),
        mode="undo",
        groups=frozenset[UUID]().union(*map(ids_of, removals)),
        # What the run added may go: that is what is asked for, and no more than that.
        max_removals=sum(map(len, removals)),
    )


def _one_run(records: Iterable[AuditRecord], run_id: str | None) -> list[AuditRecord]:
    run: list[AuditRecord] = []
    for record in records:
        if run_id is None and run and run[0].run_id != record.run_id:
            run = []  # the last one counts; runs that wrote to one file at once have to be named
        if run_id in {None, record.run_id}:
            run.append(record)
    if not run:
        raise AuditLogError(
            "the audit log is empty" if run_id is None else f"no run {run_id} in the audit log"
        )
    return run


def _follow(users: dict[UUID, _User], record: AuditRecord) -> None:
    if record.user_id is None or record.before is None or record.after is None:
        return
    before, after = frozenset(record.before), frozenset(record.after)
    user = users.setdefault(record.user_id, _User(record.name, before, before))
    user.after = after


def _back(user_id: UUID, user: _User, names: Mapping[UUID, str]) -> ChangeMemberships | None:
    def targets(groups: frozenset[UUID]) -> tuple[TargetGroup, ...]:
        known = [TargetGroup(names[group_id], group_id) for group_id in groups if group_id in names]
        return tuple(sorted(known, key=lambda group: group.name))

    add, remove = targets(user.before - user.after), targets(user.after - user.before)
    if not add and not remove:
        return None
    return ChangeMemberships(user_id, user.name, add, remove, user.after)
