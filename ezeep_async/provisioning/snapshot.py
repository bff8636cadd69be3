"""`read_snapshot`: the organisation as it is, read once, as far as a plan needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import attrs

from ezeep_async.models.accounts import AccountUser, Invitation
from ezeep_async.models.groups import Group
from ezeep_async.models.users import User
from ezeep_async.pages import HasId
from ezeep_async.paging import Paginator
from ezeep_async.provisioning.desired import DesiredState
from ezeep_async.provisioning.names import normalise_email
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import Users


R = TypeVar("R", bound=HasId)

logger = logging.getLogger("ezeep_async.provisioning")

READERS = 4
"""How many pages of one listing are read at once."""
READINGS = 3
"""How often a listing is read that changes under the reading."""


@attrs.frozen
class Api:
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


async def read_snapshot(api: Api, desired: DesiredState, *, exact: bool, invitations: bool) -> Snapshot:
    """Read groups, users and, where needed, the account directory and the invitations, all at once.

    The directory is needed for e-mail addresses, and in `exact` mode to know the administrators. Raises what reading
    raises; of several errors the first.
    """
    directory = exact or any("@" in member for members in desired.groups.values() for member in members)
    reading = _Reading()
    work: list[Coroutine[object, object, None]] = [
        _read(api.groups.list(concurrency=READERS), reading.take_group),
        _read(api.users.list(concurrency=READERS), reading.take_user),
    ]
    if directory:
        work.append(_read(api.accounts.list(concurrency=READERS), reading.take_person))
    if exact:
        work.append(_read_me(api.accounts, reading))
    if invitations:
        work.append(_read(api.invitations.list(concurrency=READERS), reading.take_invitation))
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in work:
                tasks.create_task(each)
    except BaseExceptionGroup as errors:
        # One reading failed, and the others were ended: its error is what the caller can decide on.
        raise errors.exceptions[0] from None
    return Snapshot(
        tuple(reading.groups.values()),
        reading.users,
        reading.emails,
        frozenset(reading.admins),
        reading.me,
        frozenset(reading.invited),
    )


@attrs.define
class _Reading:
    """What was read so far. A hundred thousand users are in few combinations of groups: each is kept once."""

    groups: dict[UUID, Group] = attrs.field(factory=dict[UUID, Group])
    users: dict[UUID, frozenset[UUID]] = attrs.field(factory=dict[UUID, frozenset[UUID]])
    emails: dict[UUID, str] = attrs.field(factory=dict[UUID, str])
    admins: set[UUID] = attrs.field(factory=set[UUID])
    invited: set[str] = attrs.field(factory=set[str])
    me: UUID | None = None
    _combinations: dict[frozenset[UUID], frozenset[UUID]] = attrs.field(
        factory=dict[frozenset[UUID], frozenset[UUID]]
    )

    def take_group(self, group: Group) -> None:
        self.groups[group.id] = group

    def take_user(self, user: User) -> None:
        self.users[user.id] = self._combinations.setdefault(user.group_ids, user.group_ids)

    def take_person(self, person: AccountUser) -> None:
        self.emails[person.id] = normalise_email(person.email)
        if person.is_admin:
            self.admins.add(person.id)

    def take_invitation(self, invitation: Invitation) -> None:
        expires = invitation.expire_date
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)  # as they are documented, and sent
        if invitation.invitation_status.upper() == "OPEN" and (
            expires is None or expires > datetime.now(UTC)
        ):
            self.invited.add(normalise_email(invitation.email))


async def _read(listing: Paginator[R], take: Callable[[R], None]) -> None:
    """All rows of a listing; where it changes meanwhile again, as a row that was skipped may matter."""
    for _ in range(READINGS):
        async with listing.pages() as pages:
            async for page in pages:
                for item in page.items:
                    take(item)
        if not listing.drift:
            return
    logger.warning("a listing changed under each of %d readings of it: somebody may be missing", READINGS)


async def _read_me(accounts: Accounts, reading: _Reading) -> None:
    reading.me = (await accounts.me()).id
