"""`compare`: make a plan from a desired state and a snapshot, without I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID

import attrs

from ezeep_async._wire.group_names import LookAlikes
from ezeep_async.errors import AmbiguousName, ExternalGroup, MissingPeople, SafetyLimitExceeded
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.names import normalize_group_name
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeMemberships,
    CreateGroup,
    InvitePerson,
    TargetGroup,
    ids_of,
)
from ezeep_async.provisioning.plans.new_groups import check_new_group_names, mention_existing
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.protection import LAST_ADMIN, OWN_USER, UNSEEN, HeldBack, Protection
from ezeep_async.provisioning.plans.snapshot import Snapshot
from ezeep_async.provisioning.wording import some


logger = logging.getLogger("ezeep_async.provisioning")

OnMissing = Literal["error", "skip", "invite"]


@attrs.frozen(kw_only=True)
class Rules:
    """The checked arguments of `session.provisioning.plan`."""

    mode: Literal["add", "exact"] = "add"
    organization_id: UUID | None = None
    create_groups: bool = True
    on_missing: OnMissing = "error"
    allow_external: bool = False
    max_removals: float = 0.10
    protection: Protection = attrs.field(factory=Protection)


def compare(desired: DesiredState, now: Snapshot, rules: Rules) -> Plan:
    """Return the smallest plan that makes `desired` true.

    Raises:
        AmbiguousName: Several groups or users match a name or an address.
        ExternalGroup: Another directory owns a named group.
        MissingPeople: Members are not in the organization, and `on_missing` is "error".
        InvalidInput: A new group's name has invisible characters.
        SafetyLimitExceeded: The input is empty in mode "exact".
        ValueError: Groups are missing and must not be created, or their organization is unknown.
    """
    if rules.mode == "exact" and not desired.groups:
        raise SafetyLimitExceeded(
            "the input contains no groups. mode='exact' refuses it, because an empty export is usually a failed export."
        )
    targets = _find_groups(desired.groups, now.groups, rules.organization_id)
    if not rules.allow_external:
        _refuse_external(targets.values())
    creations = _creations(targets, now, rules)
    notes = check_new_group_names(creations, now.groups)
    people = _find_people(desired, now, rules)
    changes: list[Change] = [*creations]
    changes += [InvitePerson(email) for email in people.invite]
    removals = _removals(desired, targets, people.found, now, rules)
    changes += _memberships(desired, targets, people.found, now, removals.of_user)
    named = frozenset(group.id for group in targets.values() if group is not None)
    return Plan(
        changes=tuple(changes),
        mode=rules.mode,
        memberships=sum(
            len({people.found[member] for member in members if member in people.found})
            for members in desired.groups.values()
        ),
        groups=named,
        members=_members(desired, targets, people.found, now, removals.of_user, rules),
        members_now=sum(len(groups & named) for groups in now.users.values()),
        max_removals=rules.max_removals,
        skipped=tuple(people.skipped),
        waiting=tuple(people.waiting),
        held_back=tuple(removals.held_back),
        notes=tuple(notes),
        kept_users=removals.kept_users,
        kept_groups=removals.kept_groups,
        allow_external=rules.allow_external,
    )


# --- groups --------------------------------------------------------------------------------------------------------


def _find_groups(
    names: Iterable[str], groups: Iterable[Group], organization_id: UUID | None
) -> dict[str, Group | None]:
    """Map each name to its group, in one organization if it is given. Raises `AmbiguousName` for duplicates."""
    by_name: dict[str, list[Group]] = {}
    for group in groups:
        if organization_id in {None, group.organization_id}:
            by_name.setdefault(normalize_group_name(group.name), []).append(group)
    targets: dict[str, Group | None] = {}
    for name in names:
        found = by_name.get(name, [])
        if len(found) > 1:
            raise AmbiguousName(
                f"{len(found)} groups are named {name!r}: rename all but one",
                ids=[group.id for group in found],
            )
        targets[name] = found[0] if found else None
    return targets


def _refuse_external(groups: Iterable[Group | None]) -> None:
    """Raise `ExternalGroup` if another directory owns a group."""
    external = [group for group in groups if group is not None and group.origin.is_external]
    if external:
        names = some([f"{group.name!r} ({group.origin.provider})" for group in external])
        raise ExternalGroup(f"another directory owns these groups, change them there: {names}")


def _creations(targets: Mapping[str, Group | None], now: Snapshot, rules: Rules) -> list[CreateGroup]:
    missing = [name for name, group in targets.items() if group is None]
    if not missing:
        return []
    if not rules.create_groups:
        raise ValueError(f"no such group: {some(_with_look_alikes(missing, now.groups))}")
    organization_id = rules.organization_id
    if organization_id is None:
        organization_id = only_organization(now.groups)
    return [CreateGroup(name, organization_id) for name in missing]


def _with_look_alikes(names: Iterable[str], groups: Iterable[Group]) -> list[str]:
    """Quote the names, each with an existing group that looks the same."""
    existing = LookAlikes(group.name for group in groups)
    return [
        repr(name) + "".join(f" ({mention_existing(other, name)})" for other in existing.of(name)[:1])
        for name in names
    ]


def only_organization(groups: Iterable[Group], option: str = "organization_id") -> UUID:
    """Return the organization of all groups. Raises `ValueError` that asks for `option` if it is not unique."""
    organizations = {group.organization_id for group in groups}
    if len(organizations) != 1:
        raise ValueError(
            f"{option} is needed for new groups: the existing groups belong to {len(organizations)} organizations"
        )
    return organizations.pop()


# --- people --------------------------------------------------------------------------------------------------------


@attrs.define
class _People:
    found: dict[str, UUID] = attrs.field(factory=dict[str, UUID])
    invite: list[str] = attrs.field(factory=list[str])
    skipped: list[str] = attrs.field(factory=list[str])
    waiting: list[str] = attrs.field(factory=list[str])


def _find_people(desired: DesiredState, now: Snapshot, rules: Rules) -> _People:
    wanted = dict.fromkeys(member for members in desired.groups.values() for member in members)
    by_email: dict[str, list[UUID]] = {}
    for user_id, email in now.emails.items():
        if email in wanted:
            by_email.setdefault(email, []).append(user_id)
    people = _People()
    missing: list[str] = []
    for member in wanted:
        accounts = by_email.get(member, []) if "@" in member else [UUID(member)]
        users = [user_id for user_id in accounts if user_id in now.users]
        if len(users) > 1:
            raise AmbiguousName(f"{len(users)} people have the address {member}: use a user id", ids=users)
        if users:
            people.found[member] = users[0]
        elif rules.on_missing == "skip":
            people.skipped.append(member)
        elif rules.on_missing == "invite" and "@" in member:
            known = bool(accounts) or member in now.invited
            (people.waiting if known else people.invite).append(member)
        else:
            missing.append(member)
    if missing:
        raise MissingPeople(f"not in the organization: {some(missing)}", people=missing)
    return people


# --- memberships ---------------------------------------------------------------------------------------------------


@attrs.define
class _Removals:
    of_user: dict[UUID, list[TargetGroup]] = attrs.field(factory=dict[UUID, list[TargetGroup]])
    held_back: list[HeldBack] = attrs.field(factory=list[HeldBack])
    kept_users: dict[UUID, str] = attrs.field(factory=dict[UUID, str])
    kept_groups: dict[UUID, str] = attrs.field(factory=dict[UUID, str])


def _removals(
    desired: DesiredState,
    targets: Mapping[str, Group | None],
    found: Mapping[str, UUID],
    now: Snapshot,
    rules: Rules,
) -> _Removals:
    """Find members of the named groups who are not desired. Empty unless the mode is "exact"."""
    removals = _Removals()
    if rules.mode != "exact":
        return removals
    wanted = _wanted(desired, targets, found)
    named = {group.id: TargetGroup(name, group.id) for name, group in targets.items() if group is not None}
    by_email = any("@" in member for members in desired.groups.values() for member in members)
    _warn_of_unused(rules.protection, now)
    order = {group_id: position for position, group_id in enumerate(named)}
    for group_id, group in named.items():
        if reason := rules.protection.of_group(group_id, group.name):
            removals.kept_groups[group_id] = reason
    for user_id, groups in now.users.items():
        present = groups & named.keys()
        if not present:
            continue
        email = now.emails.get(user_id, "")
        if reason := _kept(user_id, email, now, rules.protection):
            removals.kept_users[user_id] = reason
        # Only administrators see other people in the directory. Others cannot match the addresses of the input.
        unseen = UNSEEN if by_email and user_id not in now.emails else None
        for group_id in sorted(present, key=order.__getitem__):
            group = named[group_id]
            if user_id in wanted[group_id]:
                continue
            if reason := removals.kept_groups.get(group_id) or removals.kept_users.get(user_id) or unseen:
                removals.held_back.append(HeldBack(email or str(user_id), group.name, reason))
            else:
                removals.of_user.setdefault(user_id, []).append(group)
    return removals


def _warn_of_unused(protection: Protection, now: Snapshot) -> None:
    users = {user_id: now.emails.get(user_id, "") for user_id in now.users} if protection.users else {}
    groups = {group.id: group.name for group in now.groups}
    for pattern in protection.unused(users, groups):
        logger.warning("%s, which matches no user and no group: it protects nothing", pattern)


def _kept(user_id: UUID, email: str, now: Snapshot, protection: Protection) -> str | None:
    if user_id == now.me:
        return OWN_USER
    if now.admins == frozenset({user_id}):
        return LAST_ADMIN
    return protection.of_user(user_id, email)


def _members(
    desired: DesiredState,
    targets: Mapping[str, Group | None],
    found: Mapping[str, UUID],
    now: Snapshot,
    removals: Mapping[UUID, Sequence[TargetGroup]],
    rules: Rules,
) -> dict[UUID, frozenset[UUID]]:
    """User ids that each existing named group should have after the run."""
    members = _wanted(desired, targets, found)
    if rules.mode == "exact":  # protected members stay
        for user_id, groups in now.users.items():
            for group_id in (groups & members.keys()) - ids_of(removals.get(user_id, ())):
                members[group_id].add(user_id)
    return {group_id: frozenset(users) for group_id, users in members.items()}


def _wanted(
    desired: DesiredState, targets: Mapping[str, Group | None], found: Mapping[str, UUID]
) -> dict[UUID, set[UUID]]:
    """User ids that the input wants in each existing named group."""
    return {
        group.id: {found[member] for member in desired.groups[name] if member in found}
        for name, group in targets.items()
        if group is not None
    }


def _memberships(
    desired: DesiredState,
    targets: Mapping[str, Group | None],
    found: Mapping[str, UUID],
    now: Snapshot,
    removals: Mapping[UUID, Sequence[TargetGroup]],
) -> list[ChangeMemberships]:
    # By user, not by member: an address and an id may belong to one user, who gets one write.
    names: dict[UUID, str] = {}
    additions: dict[UUID, dict[TargetGroup, None]] = {}
    for name, members in desired.groups.items():
        group = targets[name]
        target = TargetGroup(name, None if group is None else group.id)
        for member in members:
            user_id = found.get(member)
            if user_id is not None and (target.id is None or target.id not in now.users[user_id]):
                # If the input has both, show the address: the id is in the change.
                if "@" in member or user_id not in names:
                    names[user_id] = member
                additions.setdefault(user_id, {})[target] = None
    return [
        ChangeMemberships(
            user_id,
            names.get(user_id) or now.emails.get(user_id) or str(user_id),
            tuple(additions.get(user_id, ())),
            tuple(removals.get(user_id, ())),
            now.users[user_id],
        )
        for user_id in dict.fromkeys([*additions, *removals])
    ]
