"""`read_snapshot`: the current groups, users and printers, read once for a plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import attrs

from ezeep_async._runtime.contained_tasks import Exiting, contained
from ezeep_async._wire.requests import HasId
from ezeep_async.models.accounts import AccountUser, Invitation
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.groups import Group
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.provisioning.inputs.desired import DesiredState, has_emails
from ezeep_async.provisioning.names import normalize_email
from ezeep_async.resources._base import read_settled
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.assignments import PrinterAssignments
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import Users


T = TypeVar("T")
R = TypeVar("R", bound=HasId)

READERS = 4
"""Pages of one listing that are read concurrently."""


@attrs.frozen
class Resources:
    """The session's resources that provisioning uses, so that their locks and limits apply."""

    groups: Groups
    users: Users
    accounts: Accounts
    invitations: Invitations
    assignments: PrinterAssignments


@attrs.frozen
class Snapshot:
    """The organization at about one moment. Listings are not transactional."""

    groups: tuple[Group, ...] = ()
    users: Mapping[UUID, frozenset[UUID]] = attrs.field(factory=dict[UUID, frozenset[UUID]])
    """Ids of all users of the printing API to the ids of their groups."""
    emails: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str])
    """Ids of people in the account directory to their normalized addresses."""
    admins: frozenset[UUID] = frozenset()
    me: UUID | None = None
    """The user that the session is logged in as."""
    invited: frozenset[str] = frozenset()
    """Addresses that have an open invitation."""
    printers: tuple[PrinterAssignment, ...] = ()
    """All printers of the organization with their groups. Empty if no printers are planned."""


def plans_members(desired: DesiredState) -> bool:
    """Whether members are planned. An empty input is one without members."""
    return bool(desired.groups) or not desired.printers


async def read_snapshot(
    resources: Resources, desired: DesiredState, *, exact: bool, invitations: bool
) -> Snapshot:
    """Read the groups and, as needed, users, account directory, invitations and printers, concurrently.

    The directory resolves e-mail addresses; in `exact` mode it also lists the administrators. If several reads fail, the
    first error is raised.

    Raises:
        InconsistentListing: In `exact` mode, a listing kept changing: a missed row could remove a membership. In both
            modes for the list of printers: without the missed row, a name could seem to be unique.
    """
    combinations: dict[frozenset[UUID], frozenset[UUID]] = {}

    def take_user(user: User) -> tuple[UUID, frozenset[UUID]]:
        # Many users share few sets of groups: each is stored once.
        return user.id, combinations.setdefault(user.group_ids, user.group_ids)

    def take_person(person: AccountUser) -> tuple[UUID, str, bool]:
        return person.id, normalize_email(person.email), person.is_admin

    def read(listing: Paginator[R], take: Callable[[R], T], *, strict: bool = exact) -> asyncio.Task[list[T]]:
        return tasks.create_task(contained(read_settled(listing, take, strict=strict)))

    members = plans_members(desired)

    try:
        async with asyncio.TaskGroup() as tasks:
            groups = read(resources.groups.list(concurrency=READERS), lambda group: group)
            users = people = invited = me = printers = None
            if members:
                users = read(resources.users.list(concurrency=READERS), take_user)
                if exact or has_emails(desired):
                    people = read(resources.accounts.list(concurrency=READERS), take_person)
                if invitations:
                    invited = read(resources.invitations.list(concurrency=READERS), open_invitation)
                if exact:
                    me = tasks.create_task(contained(resources.accounts.me()))
            if desired.printers:
                assignments = resources.assignments.list(concurrency=READERS)
                printers = read(assignments, lambda printer: printer, strict=True)
    except BaseExceptionGroup as errors:
        # The first failure cancelled the other reads. Raise it alone, so that callers can catch its class.
        first = errors.exceptions[0]
        raise (first.error if isinstance(first, Exiting) else first) from None
    known = people.result() if people else []
    return Snapshot(
        groups=tuple(groups.result()),
        users=dict(users.result() if users else ()),
        emails={user_id: email for user_id, email, _ in known},
        admins=frozenset(user_id for user_id, _, is_admin in known if is_admin),
        me=me.result().id if me else None,
        invited=frozenset(filter(None, invited.result())) if invited else frozenset(),
        printers=tuple(printers.result() if printers else ()),
    )


def open_invitation(invitation: Invitation) -> str:
    """Return the address of an open invitation; empty for others."""
    expires = invitation.expire_date
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)  # the API documents and sends UTC
    is_open = invitation.invitation_status.upper() == "OPEN" and (
        expires is None or expires > datetime.now(UTC)
    )
    return normalize_email(invitation.email) if is_open else ""
