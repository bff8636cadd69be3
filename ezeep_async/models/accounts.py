"""People of the account directory, and invitations. Source: API document, "Account directory"."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import attrs


@attrs.frozen
class Invitation:
    """An invitation to join the organisation. Both status words are open sets: unknown ones are kept."""

    id: UUID
    email: str = ""
    updated: datetime | None = None
    expire_date: datetime | None = None
    delivery_status: str = ""
    """"SENT", ..."""
    invitation_status: str = ""
    """"OPEN", "ACCEPTED", "EXPIRED", ..."""


@attrs.frozen
class AccountUser:
    """A person of the organisation, with the same id as the `User` of the printing API."""

    id: UUID
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    display_name: str = ""
    date_joined: datetime | None = None
    azure_profile: dict[str, object] | None = attrs.field(default=None, hash=False)
    id_profile: dict[str, object] | None = attrs.field(default=None, hash=False)
    user_invitations: tuple[Invitation, ...] | None = None
    roles: tuple[str, ...] = ()
    """"admin" or "user"; an open set."""
    is_verified: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether the person may administer the organisation."""
        return "admin" in self.roles
