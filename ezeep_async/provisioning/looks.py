"""What `apply` reads just before its first write: a plan may have been kept for a while."""

from __future__ import annotations

from ezeep_async.provisioning.changes import InvitePerson
from ezeep_async.provisioning.names import normalise_email
from ezeep_async.provisioning.plan import Plan
from ezeep_async.provisioning.snapshot import READERS, Resources, open_invitation
from ezeep_async.resources.base import read_settled


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
