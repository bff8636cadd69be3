"""What `apply` reads besides: before its first write, as a plan may have been kept for a while, and after creating groups."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from uuid import UUID

from ezeep_async.errors import EzeepError, NotFound
from ezeep_async.provisioning.names import normalize_email, normalize_group_name
from ezeep_async.provisioning.plans.changes import ChangeMemberships, CreateGroup, InvitePerson
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.snapshot import READERS, Resources, open_invitation
from ezeep_async.resources._base import read_settled


PAGE = 100
"""How many users a request lists."""


async def invited_by_now(resources: Resources, plan: Plan) -> frozenset[str]:
    """Whom the plan invites, and who has an open invitation, or an account, by now: no second mail for them.

    Reads nothing for a plan that invites nobody. Raises what the listings raise.
    """
    wanted = {normalize_email(change.email) for change in plan.changes if isinstance(change, InvitePerson)}
    if not wanted:
        return frozenset()
    invited = await read_settled(
        resources.invitations.list(concurrency=READERS), open_invitation, strict=False
    )
    people = await read_settled(
        resources.accounts.list(concurrency=READERS),
        lambda person: normalize_email(person.email),
        strict=False,
    )
    return frozenset(wanted.intersection([*invited, *people]))


async def as_planned(resources: Resources, plan: Plan) -> set[UUID]:
    """The users whose groups are still those that the plan has for them, by one listing: a request for a hundred of them.

    Whoever is not among them has to be read. Where reading the users of the plan one by one takes fewer requests than
    the listing, that is everybody. Raises what the listing raises.
    """
    before = {
        change.user_id: change.before for change in plan.changes if isinstance(change, ChangeMemberships)
    }
    same: set[UUID] = set()
    listing = resources.users.list(page_size=PAGE, concurrency=READERS)
    async with listing.pages() as pages:
        async for page in pages:
            if page.count is not None and page.count > len(before) * PAGE:
                return set()
            same.update(user.id for user in page.items if before.get(user.id) == user.group_ids)
    return same


async def groups_now(resources: Resources, user_ids: frozenset[UUID]) -> dict[UUID, frozenset[UUID]]:
    """The groups of each of these users that exists. Raises what reading them raises.

    By one listing, or one by one where that takes fewer requests.
    """
    found: dict[UUID, frozenset[UUID]] = {}
    if not user_ids:
        return found
    async with resources.users.list(page_size=PAGE, concurrency=READERS).pages() as pages:
        async for page in pages:
            if page.count is not None and page.count > len(user_ids) * PAGE:
                break
            found.update((user.id, user.group_ids) for user in page.items if user.id in user_ids)
    # Who is not listed is gone, or was skipped by a listing that changed while it was read.
    rest = iter(sorted(user_ids - found.keys()))

    async def read_rest() -> None:
        for user_id in rest:
            with contextlib.suppress(NotFound):
                found[user_id] = (await resources.users.get(user_id)).group_ids

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(READERS):
                tasks.create_task(read_rest())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return found


async def created_twice(resources: Resources, created: Iterable[tuple[CreateGroup, UUID]]) -> list[str]:
    """Of which groups that a run created there is another one of the name, in that organization: a sentence for each.

    Another run looked, and created, at the same time. Raises nothing: what cannot be read is a sentence too.
    """
    by_name: dict[tuple[str, UUID], list[UUID]] = {}
    try:
        groups = await read_settled(
            resources.groups.list(concurrency=READERS),
            lambda group: (normalize_group_name(group.name), group.organization_id, group.id),
            strict=False,
        )
    except EzeepError as error:
        return [f"it is not known whether somebody else created groups of the same names: {error}"]
    for name, organization_id, group_id in groups:
        by_name.setdefault((name, organization_id), []).append(group_id)
    told: list[str] = []
    for change, group_id in created:
        there = by_name.get((normalize_group_name(change.name), change.organization_id), [])
        if others := [str(other) for other in there if other != group_id]:
            told.append(
                f"group {change.name!r} was created twice: {group_id} by this run, {', '.join(others)} by somebody else "
                "at the same time. Delete one of them"
            )
    return told
