"""`ezeep invitations`: list, resend."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cyclopts import App

from ezeep_async.cli.connection import HERE, Connection, Json, open_session
from ezeep_async.cli.directory.lookup import PAGES_AT_ONCE, as_id, listed
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.screen import Screen, to_json
from ezeep_async.provisioning import normalize_email


if TYPE_CHECKING:
    from ezeep_async import EzeepSession, Invitation

invitations_app = App(
    name="invitations",
    help="Invitations to the organization. ezeep users invite sends new ones; ezeep has no call that takes one back.",
)


@invitations_app.default
@invitations_app.command(name="list")
async def list_invitations(
    *, status: str | None = None, as_json: Json = False, connection: Connection = HERE
) -> None:
    """List invitations: id, e-mail address, status, delivery of the mail, end.

    Args:
        status: Only invitations of this status: OPEN, ACCEPTED, EXPIRED.
    """
    screen = Screen()
    async with open_session(connection) as session:
        found = await session.invitations.list(concurrency=PAGES_AT_ONCE).collect()
    if status is not None:
        found = [each for each in found if each.invitation_status.casefold() == status.strip().casefold()]
    if as_json:
        write_json(to_json(found))
        return
    screen.table(
        ("id", "e-mail", "status", "delivery", "ends"),
        [
            (
                each.id,
                each.email,
                each.invitation_status,
                each.delivery_status,
                "" if each.expire_date is None else f"{each.expire_date:%Y-%m-%d}",
            )
            for each in found
        ],
    )


@invitations_app.command(name="resend")
async def resend_invitation(invitation: str, /, *, connection: Connection = HERE) -> None:
    """Send the mail of an invitation again.

    Args:
        invitation: The id of the invitation, or the e-mail address of an open one.
    """
    screen = Screen()
    async with open_session(connection) as session:
        invitation_id = as_id(invitation)
        if invitation_id is None:
            found = await _open_invitation(session, invitation)
            invitation_id, who = found.id, found.email
        else:
            who = invitation
        await session.invitations.resend(invitation_id)
    screen.note(f"the mail to {who} is sent again")


async def _open_invitation(session: EzeepSession, email: str) -> Invitation:
    """The open invitation of an address; of several the one that ends last."""
    if "@" not in email:
        raise ValueError(f"{email!r} is neither an e-mail address nor the id of an invitation")
    wanted = normalize_email(email)
    every = await listed(session.invitations.list(concurrency=PAGES_AT_ONCE))
    found = [each for each in every if is_open(each) and normalize_email(each.email) == wanted]
    if not found:
        raise ValueError(f"no open invitation for {email!r}: ezeep users invite {email} sends one")
    return max(found, key=lambda each: str(each.expire_date or ""))


def is_open(invitation: Invitation) -> bool:
    """Whether the person can still accept it."""
    end = invitation.expire_date
    if end is not None and end.tzinfo is None:
        end = end.replace(tzinfo=UTC)  # the API documents and sends UTC
    return invitation.invitation_status.casefold() == "open" and (end is None or end > datetime.now(UTC))
