"""`compare`: make a plan from a desired state and a snapshot, without I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, Self
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import check_unread
from ezeep_async._wire.group_names import LookAlikes, invisible_problem, shown
from ezeep_async._wire.requests import HasId
from ezeep_async.errors import AmbiguousName, ExternalGroup, MissingPeople, SafetyLimitExceeded
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.inputs.desired import DesiredState, has_emails
from ezeep_async.provisioning.inputs.problems import InvalidInput, Problem
from ezeep_async.provisioning.names import fold, normalize_group_name
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeMemberships,
    CreateGroup,
    HeldBack,
    InvitePerson,
    TargetGroup,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.printers import compare_printers
from ezeep_async.provisioning.plans.similar import SIMILAR_SHOWN, group_hints, people_hints, similar_to
from ezeep_async.provisioning.plans.snapshot import Snapshot, plans_members
from ezeep_async.provisioning.wording import NAMES_SHOWN, some


logger = logging.getLogger("ezeep_async.provisioning")

OnMissing = Literal["error", "skip", "invite"]
"""What becomes of members that are not in the organization: an error, no change, or an invitation by e-mail."""

OWN_USER = "this is the user that the session is logged in as"
LAST_ADMIN = "this is the last administrator"
UNSEEN = "the account directory does not list this user, so the input may contain its e-mail address"


@attrs.frozen
class Protection:
    """Patterns of users (e-mail addresses) or groups (names) whose memberships are not removed.

    docs/requirements.md, 7-7
    """

    argument: str
    """Name of the argument, for messages."""
    patterns: tuple[str, ...] = ()
    """Ids, whole texts or shell globs, all without regard to case: a capital letter must not disable a protection."""

    @classmethod
    def of(cls, given: Iterable[object], argument: str, *kinds: type[HasId]) -> Self:
        """Check and normalize the patterns. Raises `ValueError` for a single text and for blank patterns.

        The id of a record of one of the kinds is a pattern.
        """
        if isinstance(given, str | UUID):
            raise ValueError(f"{argument} must be a list of patterns, not {given!r}")
        check_unread(given, argument)
        patterns = [_pattern(each.id if isinstance(each, kinds) else each, argument) for each in given]
        return cls(argument, tuple(patterns))

    def match(self, record_id: UUID, text: str) -> str | None:
        """Return the reason why the user or group is protected; None if it is not."""
        text = fold(text)
        whole = {str(record_id), text}
        for pattern in self.patterns:
            # Compare the whole text first: brackets in a name are not always a glob.
            if pattern in whole or fnmatchcase(text, pattern):
                return f"{self.argument} contains {pattern!r}"
        return None

    def warn_of_unused(self, records: Mapping[UUID, str]) -> None:
        """Log the patterns that match none of these ids and texts."""
        for pattern in self.patterns:
            one = attrs.evolve(self, patterns=(pattern,))
            if not any(one.match(record_id, text) for record_id, text in records.items()):
                message = "%s contains %r, which matches no user and no group: it protects nothing"
                logger.warning(message, self.argument, pattern)


def _pattern(given: object, argument: str) -> str:
    if not isinstance(given, str | UUID):
        raise ValueError(f"{argument} must contain ids and globs, not {given!r}")
    text = fold(str(given))
    if not text:
        raise ValueError(f"{argument} contains a blank pattern: remove it")
    try:
        # Accept every spelling of an id: one that is read as a name would protect no user.
        return str(UUID(text))
    except ValueError:
        return text


@attrs.frozen(kw_only=True)
class Rules:
    """The checked arguments of `session.provisioning.plan`."""

    mode: Literal["add", "exact"] = "add"
    organization_id: UUID | None = None
    create_groups: bool = True
    on_missing: OnMissing = "error"
    allow_external: bool = False
    max_removals: float = 0.10
    protect_users: Protection = Protection("protect_users")
    protect_groups: Protection = Protection("protect_groups")


def compare(desired: DesiredState, now: Snapshot, rules: Rules) -> Plan:
    """Return the changes that bring the organization to `desired`.

    The organization may still differ from `desired` after the run: protected members stay, and people who are skipped,
    invited or waiting are not added.

    Raises:
        AmbiguousName: Several groups or users match a name or an address.
        ExternalGroup: Another directory owns a group with named members.
        MissingPeople: Members are not in the organization, and `on_missing` is "error".
        InvalidInput: A new group's name has invisible characters, or printers are unknown or ambiguous.
        SafetyLimitExceeded: The input is empty in mode "exact".
        ValueError: Groups are missing and must not be created, or their organization is unknown.
    """
    if rules.mode == "exact" and not desired.names:
        raise SafetyLimitExceeded(
            "the input contains no groups. mode='exact' refuses it, because an empty export is usually a failed export."
        )
    targets, creations = _find_groups(desired, now.groups, rules)
    notes = check_new_group_names(creations, now.groups)
    organizations = {each.organization_id for each in creations}
    hints = group_hints(
        [each.name for each in creations],
        (group.name for group in now.groups if group.organization_id in organizations),
    )
    found = _Found()
    _find_people(found, desired, now, rules)
    named = {
        target.id: target for target in map(targets.__getitem__, desired.groups) if target.id is not None
    }
    members = {group_id: set[UUID]() for group_id in named}
    # By user, not by member: an address and an id may belong to one user, who gets one write.
    additions: dict[UUID, list[TargetGroup]] = {}
    memberships = 0
    for name, texts in desired.groups.items():
        target = targets[name]
        users = dict.fromkeys(found.people[text] for text in texts if text in found.people)
        memberships += len(users)
        if target.id is not None:
            members[target.id].update(users)
        for user_id in users:
            if target.id not in now.users[user_id]:
                additions.setdefault(user_id, []).append(target)
    if rules.mode == "exact":
        if has_members := plans_members(desired):
            rules.protect_users.warn_of_unused(
                {user_id: now.emails.get(user_id, "") for user_id in now.users}
            )
        found.protected_groups = _protected_groups(targets.values(), now, rules)
        if has_members:
            _find_removals(found, named, members, now, rules, by_email=has_emails(desired))
    printers = compare_printers(
        desired.printers, now.printers, targets, found.protected_groups, exact=rules.mode == "exact"
    )
    changes: list[Change] = [*creations, *map(InvitePerson, found.invite)]
    for user_id in dict.fromkeys([*additions, *found.removals]):
        member = now.emails.get(user_id) or str(user_id)
        add, remove = tuple(additions.get(user_id, ())), tuple(found.removals.get(user_id, ()))
        changes.append(ChangeMemberships(user_id, member, add, remove, now.users[user_id]))
    return Plan(
        changes=(*changes, *printers.changes),
        mode=rules.mode,
        memberships=memberships,
        groups=frozenset(named),
        members={group_id: frozenset(users) for group_id, users in members.items()},
        members_now=sum(len(groups & named.keys()) for groups in now.users.values()),
        max_removals=rules.max_removals,
        skipped=tuple(found.skipped),
        waiting=tuple(found.waiting),
        held_back=(*found.held_back, *printers.held_back),
        notes=(*notes, *printers.notes),
        hints=(*hints, *people_hints([*found.skipped, *found.invite], now.emails.values())),
        kept_users=found.protected_users,
        kept_groups=found.protected_groups,
        allow_external=rules.allow_external,
        printers=printers.wanted,
        assignments=printers.count,
        assignments_now=printers.count_now,
    )


@attrs.define
class _Found:
    """What a comparison has found so far. The last five are parts of a plan."""

    people: dict[str, UUID] = attrs.field(factory=dict[str, UUID])
    """Members of the input to their user ids."""
    invite: list[str] = attrs.field(factory=list[str])
    removals: dict[UUID, list[TargetGroup]] = attrs.field(factory=dict[UUID, list[TargetGroup]])
    skipped: list[str] = attrs.field(factory=list[str])
    waiting: list[str] = attrs.field(factory=list[str])
    held_back: list[HeldBack] = attrs.field(factory=list[HeldBack])
    protected_users: dict[UUID, str] = attrs.field(factory=dict[UUID, str])
    """With the reason, as `protected_groups`."""
    protected_groups: dict[UUID, str] = attrs.field(factory=dict[UUID, str])


def _find_groups(
    desired: DesiredState, groups: Iterable[Group], rules: Rules
) -> tuple[dict[str, TargetGroup], list[CreateGroup]]:
    """Map each name to its group, and return a `CreateGroup` for each name without one."""
    by_name: dict[str, list[Group]] = {}
    for group in groups:
        if rules.organization_id in {None, group.organization_id}:
            by_name.setdefault(normalize_group_name(group.name), []).append(group)
    targets: dict[str, TargetGroup] = {}
    external: list[str] = []
    for name in desired.names:
        found = by_name.get(name, [])
        if len(found) > 1:
            ids = [group.id for group in found]
            raise AmbiguousName(f"{len(found)} groups are named {name!r}: rename all but one", ids=ids)
        targets[name] = TargetGroup(name, found[0].id if found else None)
        external += [
            f"{group.name!r} ({group.origin.provider})"
            for group in found
            # The other directory owns the members of the group, and not its printers.
            if group.is_external and name in desired.groups
        ]
    if external and not rules.allow_external:
        raise ExternalGroup(f"another directory owns these groups, change them there: {some(external)}")
    missing = [name for name, target in targets.items() if target.id is None]
    if missing and not rules.create_groups:
        existing = LookAlikes(group.name for group in groups)
        similar = similar_to(missing, (group.name for group in groups))
        mentions = [
            repr(name)
            + "".join(
                f" ({_mention(other, name)})" for other in [*existing.of(name), *similar.get(name, ())][:1]
            )
            for name in missing
        ]
        raise ValueError(f"no such group: {some(mentions)}")
    organization_id = rules.organization_id
    if missing and organization_id is None:
        organization_id = only_organization(groups)
    # With missing groups it is never None: `only_organization` raises. The condition is for the type checker.
    return targets, [CreateGroup(name, organization_id) for name in missing if organization_id is not None]


def only_organization(groups: Iterable[Group], option: str = "organization_id") -> UUID:
    """Return the organization of all groups. Raises `ValueError` that asks for `option` if it is not unique."""
    organizations = {group.organization_id for group in groups}
    if len(organizations) != 1:
        raise ValueError(
            f"{option} is needed for new groups: the existing groups belong to {len(organizations)} organizations"
        )
    return organizations.pop()


def check_new_group_names(creations: Sequence[CreateGroup], groups: Iterable[Group]) -> list[str]:
    """Check the names of new groups against each other and against existing groups.

    Returns:
        One note for each new name that looks the same as an existing or another new name.

    Raises:
        InvalidInput: A new name has invisible characters. `problems` lists all of them.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    new = {creation.organization_id: LookAlikes() for creation in creations}
    existing = {organization_id: LookAlikes() for organization_id in new}
    for group in groups:
        if group.organization_id in existing:
            existing[group.organization_id].add(group.name)
    for creation in creations:
        name, organization_id = creation.name, creation.organization_id
        looks = [(other, _mention(other, name)) for other in existing[organization_id].of(name)]
        if (problem := invisible_problem(name)) is not None:
            hint = "".join(f"; {mention}" for _, mention in looks[:1])
            problems.append(Problem("input", None, f"the new group {problem}{hint}"))
        looks += [
            (other, f"the input names {_spelled(other, name)} too")
            for other in new[organization_id].of(name)[:1]
        ]
        notes += [
            f"the new group {_spelled(name, other)} looks the same as another: {mention}"
            for other, mention in looks
        ]
        new[organization_id].add(name)
    if problems:
        raise InvalidInput(problems)
    return notes


def _mention(other: str, name: str) -> str:
    """Mention an existing group, spelled so that it differs visibly from `name`."""
    return f"there is a group {_spelled(other, name)}"


def _spelled(name: str, other: str) -> str:
    # Letters of other scripts may look like ASCII letters in the message too: add the escapes.
    text = shown(name)
    return f"{text} ({name!a})" if other.isascii() and not text.isascii() else text


def _find_people(found: _Found, desired: DesiredState, now: Snapshot, rules: Rules) -> None:
    wanted = dict.fromkeys(member for members in desired.groups.values() for member in members)
    by_email: dict[str, list[UUID]] = {}
    for user_id, email in now.emails.items():
        if email in wanted:
            by_email.setdefault(email, []).append(user_id)
    missing: list[str] = []
    for member in wanted:
        accounts = by_email.get(member, []) if "@" in member else [UUID(member)]
        users = [user_id for user_id in accounts if user_id in now.users]
        if len(users) > 1:
            raise AmbiguousName(f"{len(users)} people have the address {member}: use a user id", ids=users)
        if users:
            found.people[member] = users[0]
        elif rules.on_missing == "skip":
            found.skipped.append(member)
        elif rules.on_missing == "invite" and "@" in member:
            known = bool(accounts) or member in now.invited
            (found.waiting if known else found.invite).append(member)
        else:
            missing.append(member)
    if missing:
        similar = similar_to(missing[:NAMES_SHOWN], now.emails.values())
        mentions = [
            f"{member} (similar: {some(similar[member], SIMILAR_SHOWN)})" if member in similar else member
            for member in missing
        ]
        raise MissingPeople(f"not in the organization: {some(mentions)}", people=missing)


def _protected_groups(targets: Iterable[TargetGroup], now: Snapshot, rules: Rules) -> dict[UUID, str]:
    rules.protect_groups.warn_of_unused({group.id: group.name for group in now.groups})
    return {
        target.id: reason
        for target in targets
        if target.id is not None and (reason := rules.protect_groups.match(target.id, target.name))
    }


def _find_removals(
    found: _Found,
    named: Mapping[UUID, TargetGroup],
    members: Mapping[UUID, set[UUID]],
    now: Snapshot,
    rules: Rules,
    *,
    by_email: bool,
) -> None:
    """Fill the removals with members who are not desired. Protected ones are held back and added to `members`."""
    order = {group_id: position for position, group_id in enumerate(named)}
    for user_id, groups in now.users.items():
        present = sorted(groups & named.keys(), key=order.__getitem__)
        email = now.emails.get(user_id, "")
        if present and (reason := _protection_of(user_id, email, now, rules)):
            found.protected_users[user_id] = reason
        # Only administrators see other people in the directory. Others cannot match the addresses of the input.
        unseen = UNSEEN if by_email and user_id not in now.emails else None
        for group_id in present:
            if user_id in members[group_id]:
                continue
            if reason := found.protected_groups.get(group_id) or found.protected_users.get(user_id) or unseen:
                found.held_back.append(HeldBack(email or str(user_id), named[group_id].name, reason))
                members[group_id].add(user_id)
            else:
                found.removals.setdefault(user_id, []).append(named[group_id])


def _protection_of(user_id: UUID, email: str, now: Snapshot, rules: Rules) -> str | None:
    if user_id == now.me:
        return OWN_USER
    if now.admins == frozenset({user_id}):
        return LAST_ADMIN
    return rules.protect_users.match(user_id, email)
