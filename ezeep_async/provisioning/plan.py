"""`make_plan`: read the organisation once, compare, and say what has to change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

import attrs

from ezeep_async.errors import AmbiguousName, ExternalGroup, EzeepError
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.groups import Group
from ezeep_async.models.users import User
from ezeep_async.provisioning.desired import DesiredState, normalise_email, normalise_group_name
from ezeep_async.session import EzeepSession
from ezeep_async.wire.requests import as_uuid


READERS = 4
"""How many pages of one listing are read at once."""
NAMES_SHOWN = 10
"""How many names the message of an error spells out. Its attributes have all of them."""


@attrs.frozen
class TargetGroup:
    """A group that somebody is added to. One that has yet to be created has no id."""

    name: str
    id: UUID | None = None


@attrs.frozen
class CreateGroup:
    """A group that does not exist yet."""

    name: str
    organization_id: UUID

    def __str__(self) -> str:
        return f"create group {self.name!r}"


@attrs.frozen
class AddToGroups:
    """A user, and the groups that it lacks."""

    user_id: UUID
    member: str
    """The e-mail address or id that the input has for the user."""
    groups: tuple[TargetGroup, ...]

    def __str__(self) -> str:
        return f"add {self.member} to {', '.join(repr(group.name) for group in self.groups)}"


Change = CreateGroup | AddToGroups


@attrs.frozen
class Plan:
    """What has to change. A value: making it writes nothing."""

    changes: tuple[Change, ...] = ()
    """Groups to create first, then one change for each user that lacks something."""
    memberships: int = 0
    """How many memberships were asked for."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to change."""
        return not self.changes

    @property
    def memberships_to_add(self) -> int:
        """How many of the memberships are lacking."""
        return sum(len(change.groups) for change in self.changes if isinstance(change, AddToGroups))

    def summary(self) -> str:
        """The plan in one line."""
        if self.is_empty:
            return f"nothing to change: {_counted(self.memberships, 'membership')} as they should be"
        create = sum(isinstance(change, CreateGroup) for change in self.changes)
        return (
            f"create {_counted(create, 'group')}, change {_counted(len(self.changes) - create, 'user')}, "
            f"add {_counted(self.memberships_to_add, 'membership')}"
        )


class MissingPeople(EzeepError):
    """The input names people whom the organisation does not have. `people` are all of them."""

    def __init__(self, message: str, *, people: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.people = tuple(people)


async def make_plan(
    session: EzeepSession,
    desired: DesiredState,
    *,
    mode: str = "add",
    organization_id: UUID | str | None = None,
    create_groups: bool = True,
    allow_external: bool = False,
) -> Plan:
    """What has to change for `desired` to be true. Reads groups, users and the account directory at once; writes nothing.

    `mode` is "add": nobody is taken out of anything. `organization_id` is for new groups, by default the one that all
    groups share. Raises `MissingPeople`, `ExternalGroup` for groups that another directory owns (unless
    `allow_external`), `AmbiguousName`, `ValueError` for groups that are missing with `create_groups=False` and where
    the organisation cannot be told, and what reading raises.
    """
    if mode != "add":
        raise ValueError(f'mode is "add", not {mode!r}')
    organization = None if organization_id is None else as_uuid(organization_id, "organization_id")
    groups, users, people = await _read(session, desired)
    targets = {name: _find_group(name, groups) for name in desired.groups}
    if not allow_external:
        _refuse_external(targets.values())
    missing = [name for name, group in targets.items() if group is None]
    creations: list[CreateGroup] = []
    if missing:
        if not create_groups:
            raise ValueError(f"no such group: {_some(missing)}")
        organization = _shared_organization(groups) if organization is None else organization
        creations = [CreateGroup(name, organization) for name in missing]
    additions = _additions(desired, targets, users, people)
    memberships = sum(len(members) for members in desired.groups.values())
    return Plan((*creations, *additions), memberships)


def _additions(
    desired: DesiredState,
    targets: dict[str, Group | None],
    users: list[User],
    people: list[AccountUser],
) -> list[AddToGroups]:
    by_id = {user.id: user for user in users}
    by_email: dict[str, list[UUID]] = {}
    for person in people:
        by_email.setdefault(normalise_email(person.email), []).append(person.id)
    found: dict[str, User] = {}
    unknown: list[str] = []
    for member in dict.fromkeys(member for members in desired.groups.values() for member in members):
        ids = by_email.get(member, []) if "@" in member else [UUID(member)]
        ids = [user_id for user_id in ids if user_id in by_id]
        if len(ids) > 1:
            raise AmbiguousName(f"{len(ids)} people have the address {member}: use an id", ids=ids)
        if ids:
            found[member] = by_id[ids[0]]
        else:
            unknown.append(member)
    if unknown:
        raise MissingPeople(f"not in the organisation: {_some(unknown)}", people=unknown)
    # By user, not by member: an address and an id may mean the same person, and get one write.
    lacking: dict[UUID, tuple[str, dict[TargetGroup, None]]] = {}
    for name, members in desired.groups.items():
        group = targets[name]
        for member in members:
            user = found[member]
            if group is None or group.id not in user.group_ids:
                target = TargetGroup(name, None if group is None else group.id)
                lacking.setdefault(user.id, (member, {}))[1][target] = None
    return [AddToGroups(user_id, member, tuple(groups)) for user_id, (member, groups) in lacking.items()]


async def _read(
    session: EzeepSession, desired: DesiredState
) -> tuple[list[Group], list[User], list[AccountUser]]:
    by_email = any("@" in member for members in desired.groups.values() for member in members)
    try:
        async with asyncio.TaskGroup() as tasks:
            groups = tasks.create_task(session.groups.list(concurrency=READERS).collect())
            users = tasks.create_task(session.users.list(concurrency=READERS).collect())
            people = (
                tasks.create_task(session.accounts.list(concurrency=READERS).collect()) if by_email else None
            )
    except BaseExceptionGroup as errors:
        # One reading failed, and the others were ended: its error is what the caller can decide on.
        raise errors.exceptions[0] from None
    return groups.result(), users.result(), [] if people is None else people.result()


def _find_group(name: str, groups: list[Group]) -> Group | None:
    found = [group for group in groups if normalise_group_name(group.name) == name]
    if len(found) > 1:
        raise AmbiguousName(
            f"{len(found)} groups are named {name!r}: rename all but one",
            ids=[group.id for group in found],
        )
    return found[0] if found else None


def _refuse_external(groups: Iterable[Group | None]) -> None:
    external = [group for group in groups if group is not None and group.origin.is_external]
    if external:
        told = _some([f"{group.name!r} ({group.origin.provider})" for group in external])
        raise ExternalGroup(f"another directory owns these groups, change them there: {told}")


def _shared_organization(groups: list[Group]) -> UUID:
    organizations = {group.organization_id for group in groups}
    if len(organizations) != 1:
        raise ValueError(
            f"organization_id is needed for new groups: the groups here belong to {len(organizations)} organisations"
        )
    return organizations.pop()


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
