"""Groups and users by what people type: an id, a name, or an e-mail address."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

from cyclopts import Parameter

from ezeep_async import (
    AccountUser,
    AmbiguousName,
    ExternalGroup,
    Group,
    InconsistentListing,
    NotFound,
    Person,
    PrinterAssignment,
    User,
)
from ezeep_async.provisioning import normalize_email, normalize_group_name


if TYPE_CHECKING:
    from ezeep_async import EzeepSession, Paginator


T = TypeVar("T", Group, User, AccountUser, Person, PrinterAssignment)
GroupName = Annotated[str, Parameter(help="The group's id or exact name.")]
UserName = Annotated[str, Parameter(help="The user's id, or e-mail address.")]

PAGES_AT_ONCE = 4
"""Concurrent requests of one listing."""
READINGS = 3
"""Attempts to read a listing that does not change meanwhile."""


async def listed(listing: Paginator[T]) -> list[T]:
    """Return all items, for a decision that rests on the absence of an item. Raises `InconsistentListing`."""
    for _ in range(READINGS):
        items = await listing.collect()
        if not listing.drift:
            return items
    raise InconsistentListing(
        f"the listing changed during each of {READINGS} readings: a row may be missing. Try again later"
    )


async def all_groups(session: EzeepSession) -> list[Group]:
    """Return all groups. Raises `InconsistentListing`."""
    return await listed(session.groups.list(concurrency=PAGES_AT_ONCE))


async def find_group(session: EzeepSession, name_or_id: str) -> Group:
    """Return the group with that id, or with exactly that name.

    Raises `NotFound` for an id, `AmbiguousName` if several have the name, `ValueError` if none has.
    """
    group_id = as_id(name_or_id)
    if group_id is not None:
        return await session.groups.get(group_id)
    return choose_group(await all_groups(session), name_or_id)


def choose_group(groups: Sequence[Group], name_or_id: str) -> Group:
    """As `find_group`, among these. Raises `ValueError` also for an id."""
    wanted, group_id = normalize_group_name(name_or_id), as_id(name_or_id)
    found = [group for group in groups if group_id == group.id] or with_name(groups, wanted)
    if not found:
        by_folded = {group.name.casefold(): group.name for group in groups}
        near = difflib.get_close_matches(wanted.casefold(), by_folded, n=1)
        hint = f": did you mean {by_folded[near[0]]!r}?" if near else ""
        raise ValueError(f"no group is named {wanted!r}{hint}")
    return _only(found, f"groups are named {wanted!r}")


def with_name(groups: Iterable[Group], name: str) -> list[Group]:
    """Return the groups with that name, which is normalized."""
    return [group for group in groups if normalize_group_name(group.name) == name]


def _only(found: Sequence[T], what: str) -> T:
    if len(found) > 1:
        ids = [each.id for each in found]
        raise AmbiguousName(f"{len(ids)} {what}: use an id, {' or '.join(map(str, ids))}", ids=ids)
    return found[0]


def refuse_external(group: Group, *, allowed: bool) -> None:
    """Raise `ExternalGroup` for a group of another directory, unless changing those is allowed."""
    if group.is_external and not allowed:
        raise ExternalGroup(
            f"group {group.name!r} belongs to {group.origin.provider}: change it there, or give --allow-external"
        )


async def find_user(session: EzeepSession, email_or_id: str) -> User:
    """Return the user with that id, or with that e-mail address.

    Raises `NotFound` for an id, `AmbiguousName` if several have the address, `ValueError` if none has.
    """
    user_id = as_id(email_or_id)
    if user_id is not None:
        return await session.users.get(user_id)
    if "@" not in email_or_id:
        raise ValueError(f"{email_or_id!r} is neither an e-mail address nor the id of a user")
    email = normalize_email(email_or_id)
    users: list[User] = []
    for person in await listed(session.accounts.list(concurrency=PAGES_AT_ONCE)):
        if normalize_email(person.email) == email:
            try:
                users.append(await session.users.get(person.id))
            except NotFound:
                continue  # an account that is not a user of the printing API
    if not users:
        raise ValueError(f"no user has the address {email}")
    return _only(users, f"users have the address {email}")


def as_id(text: str) -> UUID | None:
    """Return the id that the text is; None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
