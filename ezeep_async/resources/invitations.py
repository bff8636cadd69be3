"""`session.invitations`: invitations to join the organization."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from ezeep_async._wire.requests import INVITATIONS, as_id, checked_text
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import Sought
from ezeep_async.models.accounts import Invitation
from ezeep_async.resources._base import Api, Calls, Listed, listed


DEFAULT_LIFETIME = timedelta(days=30)
"""Validity of an invitation without `expire_date`."""


class InvitationCalls(Calls[Invitation]):
    """Calls for invitations."""

    async def create(self, email: str, expire_date: datetime | None = None) -> tuple[Invitation, RawResponse]:
        """Create an invitation."""
        if "@" not in checked_text(email, "email", shortest=3):
            raise ValueError(f"email is {email!r}: pass an e-mail address")
        if expire_date is not None and not isinstance(expire_date, datetime):
            raise ValueError(f"expire_date is {expire_date!r}: pass a datetime")
        until = datetime.now(UTC) + DEFAULT_LIFETIME if expire_date is None else expire_date
        if until.tzinfo is not None:
            try:
                until = until.astimezone(UTC)
            except OverflowError:
                raise ValueError(f"expire_date is {until!r}: in UTC it is out of range") from None
        # The documented form has no time zone: 2021-07-22T15:15:33.
        values = {"email": email, "expire_date": until.replace(tzinfo=None, microsecond=0).isoformat()}
        return await self.post(values, Sought("invitation", email))


class Invitations(Listed[Invitation]):
    """Invitations to join the organization.

    Note:
        docs/ezeep-api.md#account-directory
    """

    def __init__(self, api: Api) -> None:
        self.inner = InvitationCalls(api, INVITATIONS, Invitation)
        """Internal: the same calls with their responses, for `ezeep_async.provisioning`."""
        super().__init__(self.inner.fetch_page)

    async def create(self, email: str, expire_date: datetime | None = None) -> Invitation:
        """Invite a person by e-mail. Not safe to repeat: each call sends a mail.

        Args:
            email: Address of the person, 3 to 255 characters.
            expire_date: End of the invitation, to the second; UTC where it has no time zone. None for 30 days from now.

        Returns:
            The new invitation.

        Raises:
            OutcomeUnknown: The response was lost: the mail may have been sent, or may still be.
                `error.reconcile(session)` looks for the address among the invitations.
            BadRequest: The server rejects a value.
        """
        return (await self.inner.create(email, expire_date))[0]

    async def find(self, email: str) -> list[Invitation]:
        """Return the invitations of an address, whatever their status. Reads all invitations.

        Args:
            email: Address, compared without regard to case.

        Returns:
            The invitations; empty where there is none.

        Raises:
            InconsistentListing: The invitations changed during each of three readings.
        """
        return [each for each in await listed(self.list()) if each.email.casefold() == email.casefold()]

    async def resend(self, invitation_id: UUID | str | Invitation) -> None:
        """Send the mail of an invitation again.

        Args:
            invitation_id: The invitation, or its id.

        Raises:
            NotFound: No such invitation exists.
        """
        await self.inner.api.send(INVITATIONS.patch(as_id(invitation_id, "invitation_id", Invitation), {}))
