"""`plan_undo`: from the audit log of a run to the plan that takes it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import attrs

from ezeep_async.errors import AuditLogError
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    TargetGroup,
    ids_of,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.audit import RUN, STARTED, AuditRecord
from ezeep_async.provisioning.wording import counted, some


@attrs.define
class _User:
    """What a run did to one user."""

    name: str
    added: set[UUID] = attrs.field(factory=set[UUID])
    removed: set[UUID] = attrs.field(factory=set[UUID])
    groups: frozenset[UUID] = frozenset()
    """All groups of the user, as the run left them."""
    undecided: AuditRecord | None = None
    """A write that was begun, and of whose end nothing is known yet."""

    def as_now(self, groups: frozenset[UUID]) -> _User:
        """The same without what has been taken back already."""
        return _User(self.name, self.added & groups, self.removed - groups, groups)


def plan_undo(
    records: Iterable[AuditRecord],
    groups: Iterable[Group],
    now: Mapping[UUID, frozenset[UUID]] | None = None,
    *,
    run_id: str | None = None,
    delete_groups: bool = False,
) -> Plan:
    """Take back what one run of the log did, by default the last one: memberships, and with `delete_groups` also groups.

    What may have been written counts as written. Only what the run changed is changed back, whatever others did since.
    `now` has the groups of each user that exists: what is as it was before the run needs no change, and the plan's notes
    name users that are gone. None: the users are taken to be as the run left them.
    `groups` are those that there are; memberships of others are passed over, and the plan's notes name them. Raises `AuditLogError` for a
    log without that run.
    """
    everything = list(records)
    run = _one_run(everything, run_id)
    known = {group.id: group for group in groups}
    users = _users(run)
    gone = [] if now is None else [user for user_id, user in users.items() if user_id not in now]
    if now is not None:
        users = {user_id: user.as_now(now[user_id]) for user_id, user in users.items() if user_id in now}
    changes: list[Change] = [
        change for user_id, user in users.items() if (change := _back(user_id, user, known)) is not None
    ]
    if delete_groups:
        changes += [DeleteGroup(group.id, group.name) for group in _created(run, known)]
    removals = [change.remove for change in changes if isinstance(change, ChangeMemberships)]
    return Plan(
        changes=tuple(changes),
        mode="undo",
        groups=frozenset[UUID]().union(*map(ids_of, removals)),
        # What the run added may go: that is what is asked for, and no more than that.
        max_removals=sum(map(len, removals)),
        # What the run was allowed to write may be written back.
        allow_external=True,
        notes=(
            *([] if run_id is not None else _other_runs(everything, run[0].run_id)),
            *_gone(users.values(), known),
            *_gone_users(gone, known),
        ),
    )


def _one_run(everything: Sequence[AuditRecord], run_id: str | None) -> list[AuditRecord]:
    if not everything:
        raise AuditLogError("the audit log is empty: no run has written anything to it")
    if run_id is None:
        # A run that ended before it came to anything hides nothing.
        changes = [record for record in everything if record.operation != RUN]
        run_id = changes[-1].run_id if changes else None
    run = [record for record in everything if record.run_id == run_id]
    if not run:
        raise AuditLogError(
            "the audit log has no changes" if run_id is None else f"no run {run_id} in the audit log"
        )
    return run


def _other_runs(everything: Iterable[AuditRecord], run_id: str) -> list[str]:
    """Where nobody said which run is meant: a job that was killed, and run again, is two runs."""
    others = dict.fromkeys(record.run_id for record in everything if record.operation != RUN)
    others.pop(run_id, None)
    if not others:
        return []
    told = some([*reversed(others)])
    return [
        f"only run {run_id} is taken back, the last one; the log has {counted(len(others), 'other')}: {told}"
    ]


def _gone(users: Iterable[_User], known: Mapping[UUID, Group]) -> list[str]:
    """Groups that people would be put back into, and that there are no more."""
    gone = Counter(group_id for user in users for group_id in user.removed if group_id not in known)
    return [
        f"group {group_id} is gone: {counted(many, 'person is', 'people are')} not put back into it"
        for group_id, many in gone.items()
    ]


def _gone_users(users: Iterable[_User], known: Mapping[UUID, Group]) -> list[str]:
    """Users that would be put back into groups, and that there are no more."""
    return [
        f"user {user.name} is gone: not put back into {some([repr(known[group_id].name) for group_id in groups])}"
        for user in users
        if (groups := [group_id for group_id in known if group_id in user.removed])
    ]


def _created(run: Iterable[AuditRecord], known: Mapping[UUID, Group]) -> list[Group]:
    """The groups that the run created and that there still are."""
    created: dict[UUID, None] = {}
    lost: dict[tuple[str, UUID | None], None] = {}
    before: set[UUID] = set()
    for record in run:
        before.update(record.namesakes or ())
        if record.operation != CreateGroup.kind:
            continue
        if record.outcome == "created" and record.group_id is not None:
            created[record.group_id] = None
        if record.outcome in {STARTED, "unknown"}:
            lost[record.name, record.organization_id] = None
        else:
            lost.pop((record.name, record.organization_id), None)
    # There was no such group when the run began to create it: where there is exactly one now, it is that one.
    for name, organization_id in lost:
        candidates = [
            group.id
            for group in known.values()
            if (group.name, group.organization_id) == (name, organization_id) and group.id not in before
        ]
        if len(candidates) == 1:
            created[candidates[0]] = None
    return [known[group_id] for group_id in created if group_id in known]


def users_of(records: Iterable[AuditRecord], run_id: str | None = None) -> frozenset[UUID]:
    """The users that a run of the log changed, by default the last one. Raises `AuditLogError` for a log without that run."""
    return frozenset(_users(_one_run(list(records), run_id)))


def _users(run: Iterable[AuditRecord]) -> dict[UUID, _User]:
    users: dict[UUID, _User] = {}
    for record in run:
        if record.operation != ChangeMemberships.kind or record.user_id is None:
            continue
        user = users.setdefault(record.user_id, _User(record.name))
        if record.outcome == STARTED:
            _settle(user)
            user.undecided = record
        elif record.outcome in {"failed", "already_absent"} and record.after is None:
            user.undecided = None  # certainly not written: else it is "unknown"
        else:
            _settle(user)
            user.groups = user.groups if record.after is None else frozenset(record.after)
    for user in users.values():
        _settle(user)
    return users


def _settle(user: _User) -> None:
    """The last write counts. Its own difference does: what the answer had besides was done by others."""
    record, user.undecided = user.undecided, None
    if record is None:
        return
    before, after = frozenset(record.before or ()), frozenset(record.after or ())
    added, removed = after - before, before - after
    user.added, user.removed = (
        (user.added - removed) | (added - user.removed),
        (user.removed - added) | (removed - user.added),
    )
    user.groups = after


def _back(user_id: UUID, user: _User, known: Mapping[UUID, Group]) -> ChangeMemberships | None:
    def targets(groups: Iterable[UUID]) -> tuple[TargetGroup, ...]:
        there = [TargetGroup(known[group_id].name, group_id) for group_id in groups if group_id in known]
        return tuple(sorted(there, key=lambda group: (group.name, group.id)))

    add, remove = targets(user.removed), targets(user.added)
    if not add and not remove:
        return None
    return ChangeMemberships(user_id, user.name, add, remove, user.groups)
