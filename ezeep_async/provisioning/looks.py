"""What `apply` reads just before its first write: a plan may have been kept for a while."""

from __future__ import annotations

from uuid import UUID

from ezeep_async.provisioning.changes import ChangeMemberships, InvitePerson
from ezeep_async.provisioning.names import normalise_email
from ezeep_async.provisioning.plan import Plan
from ezeep_async.provisioning.snapshot import READERS, Resources, open_invitation
from ezeep_async.resources.base import read_settled


PAGE = 100
"""How many users a request lists."""


async def invited_by_now(resources: Resources, plan: Plan) -> frozenset[str]:
    """Whom the plan invites, and who has an open invitation, or an account, by now: no second mail for them.

    Reads nothing for a plan that invites nobody. Raises what the listings raise.
    """
    wanted = {normalise_email(change.email) for change in plan.changes if isinstance(change, InvitePerson)}
    if not wanted:
        return frozenset()
    invited = await read_settled(
        resources.invitations.list(concurrency=READERS), open_invitation, strict=False
    )
    people = await read_settled(
        resources.accounts.list(concurrency=READERS),
        lambda person: normalise_email(person.email),
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
