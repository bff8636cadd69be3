"""Accounts and invitations (docs/ezeep-api.md#account-directory)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import attrs

from ezeep_async.models.record import Record


@attrs.frozen
class Invitation(Record):
    """An invitation to join the organization. Unknown values of both statuses are kept."""

    id: UUID
    email: str = ""
    updated: datetime | None = None
    expire_date: datetime | None = None
    delivery_status: str = ""
    """"SENT", ..."""
    invitation_status: str = ""
    """"OPEN", "ACCEPTED", "EXPIRED", ..."""


@attrs.frozen
class AccountUser(Record):
    """A person of the organization, with the same id as the `User` of the printing API."""

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
    """"admin", "user"; unknown values are kept."""
    is_verified: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether the person may administer the organization."""
        return "admin" in self.roles
