"""`session.invitations`. Source: API document, "Account directory"."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ezeep_async._wire.requests import INVITATIONS, as_uuid, checked_text
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import Sought
from ezeep_async.models.accounts import Invitation
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, create_record, listed, page_fetcher


LIFETIME = timedelta(days=30)
"""How long an invitation holds when nobody says."""


class Invitations:
    """Invitations to join the organisation."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._fetch = page_fetcher(api, Invitation, INVITATIONS.page)

    def list(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[Invitation]:
        """All invitations, read as they are iterated. Raises `ValueError` for sizes below 1."""
        return Paginator(self._fetch, page_size=page_size, concurrency=concurrency, offset=offset)

    async def create(self, email: str, expire_date: datetime | None = None) -> Invitation:
        """Invite somebody by e-mail, until `expire_date`: in 30 days by default, UTC where it has no time zone.

        Not repeatable: it sends a mail. Raises `BadRequest`, `ValueError` before anything is sent, and `OutcomeUnknown`
        when the answer was lost: the mail may have gone out, or may do so yet. `await error.reconcile(session)` looks
        for the address among the invitations.
        """
        return (await self._create(email, expire_date))[0]

    async def _create(
        self, email: str, expire_date: datetime | None = None
    ) -> tuple[Invitation, RawResponse]:
        if "@" not in checked_text(email, "email", shortest=3):
            raise ValueError(f"email is an e-mail address, not {email!r}")
        if expire_date is not None and not isinstance(expire_date, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ValueError(f"expire_date is a datetime, not {expire_date!r}")  # one class for bad arguments
        until = datetime.now(UTC) + LIFETIME if expire_date is None else expire_date
        if until.tzinfo is not None:
            try:
                until = until.astimezone(UTC)
            except OverflowError:
                raise ValueError(f"expire_date is beyond the years that there are: {until!r}") from None
        # As documented: 2021-07-22T15:15:33, with no offset behind it.
        values = {"email": email, "expire_date": until.replace(tzinfo=None, microsecond=0).isoformat()}
        return await create_record(
            self._api, INVITATIONS.create(values), Invitation, Sought("invitation", email)
        )

    async def find(self, email: str) -> builtins.list[Invitation]:
        """The invitations of that address, whatever became of them, upper and lower case being the same. Reads them all."""
        return [each for each in await listed(self.list()) if each.email.casefold() == email.casefold()]

    async def resend(self, invitation_id: UUID | str) -> None:
        """Send the mail again. Raises `NotFound`, `ValueError` for what is not a UUID."""
        await self._api.send(INVITATIONS.patch(as_uuid(invitation_id, "invitation_id"), {}))
