"""What a run and its undo read before the first write, and the checks of a plan against it.

docs/requirements.md, 7-2 and 7-5 to 7-7
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping
from itertools import chain
from types import TracebackType
from typing import TypeVar
from uuid import UUID

import attrs

from ezeep_async._runtime.contained_tasks import Exiting, contained
from ezeep_async.errors import NotFound, StalePlan
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.names import normalize_email, normalize_group_name
from ezeep_async.provisioning.plans.changes import (
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    InvitePerson,
    Regrouping,
    TargetGroup,
)
from ezeep_async.provisioning.plans.compare import OWN_USER, check_new_group_names
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.printers import count_assignments
from ezeep_async.provisioning.plans.snapshot import READERS, Resources, open_invitation
from ezeep_async.provisioning.wording import some
from ezeep_async.resources._base import listed, read_settled


T = TypeVar("T")

PAGE = 100
"""Users in one page of a listing."""
Memberships = dict[UUID, frozenset[UUID]]


@attrs.define(kw_only=True)
class Preflight:
    """What a run knows of the organization. The run adds the groups that it creates."""

    group_names: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str])
    created: dict[str, UUID] = attrs.field(factory=dict[str, UUID])
    """Ids of groups for which the plan has no id, by the names in the plan."""
    organization_id: UUID | None = None
    """Organization of all groups; None if they belong to several."""
    namesakes: Collection[UUID] = ()
    """Existing groups, of any organization, with the names of groups that the plan creates."""
    invited: Collection[str] = ()
    """Addresses that need no invitation any more."""
    trusted: set[UUID] = attrs.field(factory=set[UUID])
    """Users who have the groups that the plan has for them. They are not read before their write."""
    trusted_printers: dict[UUID, PrinterAssignment] = attrs.field(factory=dict[UUID, PrinterAssignment])
    """Printers that have the groups that the plan has for them, likewise."""
    warnings: list[str] = attrs.field(factory=list[str])

    def id_of(self, group: TargetGroup) -> UUID | None:
        """Id of the group; None if it was not created."""
        return group.id or self.created.get(group.name)

    def ids_of(self, groups: Iterable[TargetGroup]) -> frozenset[UUID]:
        """Ids of the groups that exist."""
        return frozenset([group_id for group in groups if (group_id := self.id_of(group)) is not None])


async def preflight(resources: Resources, plan: Plan, *, trust: bool) -> Preflight:
    """Read what the run needs, concurrently, and check the plan. With `trust`, also fill `trusted` and `trusted_printers`.

    Raises `StalePlan`, `SafetyLimitExceeded`, and `InvalidInput` for names of new groups.
    """
    creations = [change for change in plan.changes if isinstance(change, CreateGroup)]
    emails = {normalize_email(change.email) for change in plan.changes if isinstance(change, InvitePerson)}
    memberships = [change for change in plan.changes if isinstance(change, ChangeMemberships)]
    assignments = [change for change in plan.changes if isinstance(change, ChangeAssignments)]
    before = {change.user_id: change.before for change in memberships} if trust else {}
    people: list[asyncio.Task[list[str]]] = []
    async with _Reads() as reads:
        listing = reads.start(listed(resources.groups.list(concurrency=READERS)))
        users = reads.start(_list_users(resources, before.keys()))
        me = reads.start(resources.accounts.me()) if plan.removals else None
        rows = resources.assignments.list(concurrency=READERS)
        printer_rows = reads.start(listed(rows)) if assignments else None
        if emails:
            invitations = resources.invitations.list(concurrency=READERS)
            accounts = resources.accounts.list(concurrency=READERS)
            people.append(reads.start(read_settled(invitations, open_invitation, strict=False)))
            people.append(
                reads.start(read_settled(accounts, lambda each: normalize_email(each.email), strict=False))
            )
    groups = listing.result()
    by_name = defaultdict[str, list[Group]](list)
    for group in groups:
        by_name[normalize_group_name(group.name)].append(group)
    targets = _targets(memberships)
    printers = {row.id: row for row in printer_rows.result()} if printer_rows else {}
    created, problems = _created_since(plan, {**targets, **_targets(assignments)}, by_name)
    problems += _problems(
        plan, targets, {group.id: group for group in groups}, me.result().id if me else None
    )
    problems += _printer_problems(assignments, printers)
    if problems:
        drift = [*dict.fromkeys(problems)]
        raise StalePlan(
            f"the organization has changed since the plan was made: {some(drift)}. Plan again", drift=drift
        )
    if plan.removals or plan.assignment_removals:
        plan.check_limits(
            sum(group.num_members for group in groups if group.id in plan.groups),
            count_assignments(printers.values(), plan.printers),
        )
    notes = check_new_group_names([change for change in creations if change.name not in created], groups)
    organizations = {group.organization_id for group in groups}
    return Preflight(
        group_names={group.id: group.name for group in groups},
        created=created,
        organization_id=organizations.pop() if len(organizations) == 1 else None,
        namesakes=[group.id for each in creations for group in by_name[normalize_group_name(each.name)]],
        invited=emails.intersection(chain.from_iterable(task.result() for task in people)),
        trusted={user_id for user_id, group_ids in users.result().items() if group_ids == before[user_id]},
        trusted_printers={
            change.printer_id: printers[change.printer_id]
            for change in assignments
            if trust
            and change.printer_id in printers
            and printers[change.printer_id].group_ids == change.before
        },
        warnings=[note for note in notes if note not in plan.notes],
    )


def _targets(changes: Iterable[Regrouping]) -> dict[TargetGroup, None]:
    # By identity first: a plan has few groups, each in many changes, and hashing one takes longer.
    mentioned = {id(group): group for change in changes for group in (*change.add, *change.remove)}
    return dict.fromkeys(mentioned.values())


async def read_for_undo(
    resources: Resources, user_ids: frozenset[UUID], printer_ids: Collection[UUID]
) -> tuple[list[Group], Memberships, dict[UUID, PrinterAssignment]]:
    """Read the groups, the memberships of those users who exist, and all printers if there are `printer_ids`."""
    async with _Reads() as reads:
        groups = reads.start(listed(resources.groups.list(concurrency=READERS)))
        users = reads.start(_list_users(resources, user_ids))
        rows = resources.assignments.list(concurrency=READERS)
        printers = reads.start(listed(rows)) if printer_ids else None
    found = users.result()
    # The others do not exist, or a listing that changed while it was read has skipped them.
    rest = iter(user_ids - found.keys())

    async def read_rest() -> None:
        for user_id in rest:
            with contextlib.suppress(NotFound):
                found[user_id] = (await resources.users.get(user_id)).group_ids

    async with _Reads() as reads:
        for _ in range(READERS):
            reads.start(read_rest())
    return groups.result(), found, {row.id: row for row in printers.result()} if printers else {}


class _Reads(asyncio.TaskGroup):
    """Concurrent reads. The first error is raised alone, so that callers can catch its class."""

    def start(self, read: Coroutine[object, object, T]) -> asyncio.Task[T]:
        return self.create_task(contained(read))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
            raise (first.error if isinstance(first, Exiting) else first) from None


async def _list_users(resources: Resources, user_ids: Collection[UUID]) -> Memberships:
    """List the memberships of these users. Stop if reading the users one by one takes fewer requests."""
    found: Memberships = {}
    if not user_ids:
        return found
    async with resources.users.list(page_size=PAGE, concurrency=READERS).pages() as pages:
        async for page in pages:
            if page.count is not None and page.count > len(user_ids) * PAGE:
                break
            found.update((user.id, user.group_ids) for user in page.items if user.id in user_ids)
    return found


def _created_since(
    plan: Plan, targets: Iterable[TargetGroup], by_name: Mapping[str, list[Group]]
) -> tuple[dict[str, UUID], list[str]]:
    """Find existing groups for the names for which the plan has no ids. Return their ids, and problems."""
    new = {each.name: each.organization_id for each in plan.changes if isinstance(each, CreateGroup)}
    found: dict[str, UUID] = {}
    problems: list[str] = []
    for name in dict.fromkeys([*(target.name for target in targets if target.id is None), *new]):
        groups = [
            group
            for group in by_name.get(normalize_group_name(name), ())
            if new.get(name) in {None, group.organization_id}
        ]
        if len(groups) > 1:
            problems.append(f"there are {len(groups)} groups named {name!r} now")
        elif groups or name not in new:
            problems += _changed(plan, name, groups[0] if groups else None)
            found.update((name, group.id) for group in groups)
    return found, problems


def _problems(
    plan: Plan, targets: Iterable[TargetGroup], groups: Mapping[UUID, Group], me: UUID | None
) -> Iterator[str]:
    """Compare a plan with the current groups and with its own rules: it may have been edited by hand.

    `targets` are the groups whose members change.
    """
    deleted = [TargetGroup(each.name, each.id) for each in plan.changes if isinstance(each, DeleteGroup)]
    changes = [each for each in plan.changes if isinstance(each, Regrouping) and each.remove]
    removed = {target for change in changes for target in change.remove}.union(deleted)
    if (changes and plan.mode == "add") or (deleted and plan.mode != "undo"):
        yield f"the plan removes memberships or groups, and its mode is {plan.mode!r}"
    times = Counter(normalize_group_name(each.name) for each in plan.changes if isinstance(each, CreateGroup))
    yield from (f"the plan creates {many} groups named {name!r}" for name, many in times.items() if many > 1)
    assigned = _targets(each for each in plan.changes if isinstance(each, ChangeAssignments))
    for target in dict.fromkeys((*targets, *assigned, *deleted)):
        if target.id is None:
            continue
        if target.id in groups or target not in deleted:
            # Another directory owns the members of its groups, and not their printers.
            owned = target in targets or target in deleted
            yield from _changed(plan, target.name, groups.get(target.id), owned=owned)
        if target in removed and target.id in plan.kept_groups:
            yield f"group {target.name!r} is protected: {plan.kept_groups[target.id]}"
    reasons = plan.kept_users if plan.mode == "undo" or me is None else {**plan.kept_users, me: OWN_USER}
    for change in changes:
        if reason := reasons.get(change.record_id):
            yield f"{change.subject} is protected: {reason}"
        if plan.mode != "undo" and any(target.id is None for target in change.remove):
            yield f"{change.subject} is removed from a group that has no id"
        yield from _unnamed(plan, change)


def _unnamed(plan: Plan, change: Regrouping) -> Iterator[str]:
    """Describe removals from groups whose members or printers the plan does not have: its limit does not count them."""
    if plan.mode == "exact":
        named = plan.groups if isinstance(change, ChangeMemberships) else plan.printers.keys()
        for target in change.remove:
            if target.id is not None and target.id not in named:
                yield f"{change.subject} is removed from {target.name!r}, which the plan does not name"


def _printer_problems(
    changes: Iterable[ChangeAssignments], printers: Mapping[UUID, PrinterAssignment]
) -> Iterator[str]:
    for change in changes:
        if (printer := printers.get(change.printer_id)) is None:
            if change.add:
                yield f"printer {change.printer!r} is gone"
        elif (name := printer.printer_name or str(printer.id)) != change.printer:
            yield f"printer {change.printer!r} is named {name!r} now"


def _changed(plan: Plan, name: str, group: Group | None, *, owned: bool = True) -> Iterator[str]:
    """Describe what makes a group of the plan unfit: it is gone, renamed, or owned by another directory."""
    if group is None:
        yield f"group {name!r} is gone"
    elif normalize_group_name(group.name) != normalize_group_name(name):
        yield f"group {name!r} is named {group.name!r} now"
    elif owned and group.is_external and not plan.allow_external:
        yield f"group {name!r} belongs to {group.origin.provider} now"
