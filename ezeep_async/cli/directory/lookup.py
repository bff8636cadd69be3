"""What people call groups and users on a command line: a name or an e-mail address, or an id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from ezeep_async._wire.group_names import LookAlikes, shown
from ezeep_async.cli.terminal.screen import complain
from ezeep_async.errors import AmbiguousName, ExternalGroup, NotFound, PermissionDenied
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.groups import Group
from ezeep_async.models.users import User
from ezeep_async.provisioning.names import normalize_email, normalize_group_name
from ezeep_async.provisioning.plans.snapshot import READERS
from ezeep_async.resources._base import listed
from ezeep_async.session import EzeepSession


NOBODY = AccountUser(UUID(int=0))
"""Stands for a person whom the account directory does not have, or does not show to us."""


async def find_group(session: EzeepSession, name_or_id: str) -> Group:
    """The group with that id, or of exactly that name.

    Raises `NotFound` for an id, `AmbiguousName` where several have the name, `ValueError` where none has.
    """
    group_id = _as_id(name_or_id)
    if group_id is not None:
        return await session.groups.get(group_id)
    return choose_group(await listed(session.groups.list(concurrency=READERS)), name_or_id)


def choose_group(groups: Sequence[Group], name_or_id: str) -> Group:
    """As `find_group`, among these. Raises `ValueError` for an id that none has."""
    wanted, group_id = normalize_group_name(name_or_id), _as_id(name_or_id)
    found = [group for group in groups if group_id == group.id]
    found = found or [group for group in groups if normalize_group_name(group.name) == wanted]
    if len(found) > 1:
        ids = [group.id for group in found]
        raise AmbiguousName(
            f"{len(found)} groups are named {wanted!r}: say which by its id, {' or '.join(map(str, ids))}",
            ids=ids,
        )
    if not found:
        raise ValueError(f"no group is named {wanted!r}{_nearest(wanted, groups)}")
    return found[0]


async def namesakes(
    session: EzeepSession, name: str, organization_id: UUID
) -> tuple[list[Group], list[Group]]:
    """The groups of the organization that have that name, and those of other names that look the same."""
    wanted = normalize_group_name(name)
    groups = [
        group
        for group in await listed(session.groups.list(concurrency=READERS))
        if group.organization_id == organization_id
    ]
    same = [group for group in groups if normalize_group_name(group.name) == wanted]
    alike = LookAlikes(group.name for group in groups).of(wanted)
    return same, [group for group in groups if group.name in alike and group not in same]


def note_look_alikes(groups: Iterable[Group]) -> None:
    """Warn of groups whose names look the same as one that was just given."""
    for group in groups:
        complain(f"there is a group {shown(group.name)} as well, whose name looks the same: {group.id}")


def _nearest(name: str, groups: Iterable[Group]) -> str:
    by_folded = {group.name.casefold(): group.name for group in groups}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f": did you mean {shown(by_folded[near[0]])}?" if near else ""


def refuse_external(group: Group, *, allowed: bool) -> None:
    """Raise `ExternalGroup` for a group that another directory owns, unless it is allowed to change those."""
    if group.origin.is_external and not allowed:
        raise ExternalGroup(
            f"group {group.name!r} belongs to {group.origin.provider}: change it there, or give --allow-external"
        )


async def find_user(session: EzeepSession, email_or_id: str) -> User:
    """The user with that id, or with that e-mail address.

    Raises `NotFound` for an id, `AmbiguousName` where several have the address, `ValueError` where none has.
    """
    user_id = _as_id(email_or_id)
    if user_id is not None:
        return await session.users.get(user_id)
    if "@" not in email_or_id:
        raise ValueError(f"{email_or_id!r} is neither an e-mail address nor the id of a user")
    email = normalize_email(email_or_id)
    people = await listed(session.accounts.list(concurrency=READERS))
    users = [
        user
        for person in people
        if normalize_email(person.email) == email and (user := await _user(session, person.id)) is not None
    ]
    if len(users) > 1:
        ids = [user.id for user in users]
        raise AmbiguousName(
            f"{len(users)} people have the address {email}: say which by the id, {' or '.join(map(str, ids))}",
            ids=ids,
        )
    if not users:
        raise ValueError(f"no user has the address {email}")
    return users[0]


async def _user(session: EzeepSession, user_id: UUID) -> User | None:
    try:
        return await session.users.get(user_id)
    except NotFound:
        return None  # a person with an account, and no user of the printing API


async def read_directory(session: EzeepSession) -> Mapping[UUID, AccountUser]:
    """Everybody whom the account directory shows to this login; nobody where it shows nothing."""
    try:
        people = await listed(session.accounts.list(concurrency=READERS))
    except PermissionDenied:
        return {}
    return {person.id: person for person in people}


async def find_person(session: EzeepSession, user_id: UUID) -> AccountUser:
    """The person behind a user, as far as the directory shows it to this login."""
    try:
        return await session.accounts.get(user_id)
    except (NotFound, PermissionDenied):
        return NOBODY


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
