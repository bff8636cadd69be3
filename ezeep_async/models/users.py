"""Users of the printing API: permissions and memberships (docs/ezeep-api.md#users)."""

from __future__ import annotations

from uuid import UUID

import attrs

from ezeep_async.models.record import Record, WithGroupIds


@attrs.frozen
class GroupRef(Record):
    """One membership, in the shape of the API."""

    group_id: UUID


@attrs.frozen(kw_only=True)
class User(WithGroupIds):
    """A user of the printing API. Name and e-mail address are in `AccountUser`, under the same id."""

    id: UUID
    local_printing_enabled: bool = False
    self_service_enabled: bool = False
    myprinters_enabled: bool = False
    # No default: a write replaces the whole set, so a missing field must not look like an empty set.
    groups: tuple[GroupRef, ...]
