"""`read_snapshot`: the organisation as it is, read once, as far as a plan needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import attrs

from ezeep_async._runtime.contained_tasks import Exiting, contained
from ezeep_async.models.accounts import AccountUser, Invitation
from ezeep_async.models.groups import Group
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.reader import HasId
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.names import normalise_email
from ezeep_async.resources._base import read_settled
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import Users


T = TypeVar("T")
R = TypeVar("R", bound=HasId)

READERS = 4
"""How many pages of one listing are read at once."""


@attrs.frozen
class Resources:
    """What provisioning works with: the session's own resources, with their turns and their limits."""

    groups: Groups
    users: Users
    accounts: Accounts
    invitations: Invitations


@attrs.frozen
class Snapshot:
    """The organisation at one moment, as nearly as listings can tell."""

    groups: tuple[Group, ...] = ()
    users: Mapping[UUID, frozenset[UUID]] = attrs.field(factory=dict[UUID, frozenset[UUID]])
    """Every user of the printing API, and the ids of its groups."""
    emails: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str])
    """People of the account directory, and their addresses, as addresses are compared."""
    admins: frozenset[UUID] = frozenset()
    me: UUID | None = None
    """The user that the session is logged in as."""
    invited: frozenset[str] = frozenset()
    """Addresses that have an open invitation."""


async def read_snapshot(
    resources: Resources, desired: DesiredState, *, exact: bool, invitations: bool
) -> Snapshot:
    """Read groups, users and, where needed, the account directory and the invitations, all at once.

    The directory is needed for e-mail addresses, and in `exact` mode to know the administrators. A listing that never
    holds still is `InconsistentListing` in `exact` mode, where a row that is missed may take a membership from somebody.
    Raises what reading raises; of several errors the first.
    """
    directory = exact or any("@" in member for members in desired.groups.values() for member in members)

    def read(listing: Paginator[R], take: Callable[[R], T]) -> asyncio.Task[list[T]]:
        return tasks.create_task(contained(read_settled(listing, take, strict=exact)))

    try:
        async with asyncio.TaskGroup() as tasks:
            groups = read(resources.groups.list(concurrency=READERS), lambda group: group)
            users = read(resources.users.list(concurrency=READERS), _Users().take)
            people = read(resources.accounts.list(concurrency=READERS), _person) if directory else None
            invited = (
                read(resources.invitations.list(concurrency=READERS), open_invitation)
                if invitations
                else None
            )
            me = tasks.create_task(contained(resources.accounts.me())) if exact else None
    except BaseExceptionGroup as errors:
        # One reading failed, and the others were ended: its error is what the caller can decide on.
        first = errors.exceptions[0]
        raise (first.error if isinstance(first, Exiting) else first) from None
    known = [] if people is None else people.result()
    return Snapshot(
        tuple(groups.result()),
        dict(users.result()),
        {user_id: email for user_id, email, _ in known},
        frozenset(user_id for user_id, _, is_admin in known if is_admin),
        None if me is None else me.result().id,
        frozenset() if invited is None else frozenset(email for email in invited.result() if email),
    )


class _Users:
    """A hundred thousand users are in few combinations of groups: each is kept once."""

    def __init__(self) -> None:
        self._combinations: dict[frozenset[UUID], frozenset[UUID]] = {}

    def take(self, user: User) -> tuple[UUID, frozenset[UUID]]:
        return user.id, self._combinations.setdefault(user.group_ids, user.group_ids)


def _person(person: AccountUser) -> tuple[UUID, str, bool]:
    return person.id, normalise_email(person.email), person.is_admin


def open_invitation(invitation: Invitation) -> str:
    """The address of an invitation that is open; empty for others."""
    expires = invitation.expire_date
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)  # as they are documented, and sent
    is_open = invitation.invitation_status.upper() == "OPEN" and (
        expires is None or expires > datetime.now(UTC)
    )
    return normalise_email(invitation.email) if is_open else ""
