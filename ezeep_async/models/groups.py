"""Groups of the printing API (docs/ezeep-api.md#groups)."""

from __future__ import annotations

from uuid import UUID

import attrs

from ezeep_async.models.record import Record


@attrs.frozen
class Origin(Record):
    """The directory that a group comes from. Unknown values of `provider` are kept."""

    provider: str = "Ezeep"
    foreign_id: str | None = None

    @property
    def is_external(self) -> bool:
        """Whether another directory owns the group. The API writes both "Ezeep" and "ezeep"."""
        return self.provider.casefold() != "ezeep"


@attrs.frozen(kw_only=True)
class Group(Record):
    """A group of users, to which printers are assigned."""

    id: UUID
    name: str
    description: str = ""
    local_printing_enabled: bool = False
    myprinters_enabled: bool = False
    origin: Origin = Origin()
    organization_id: UUID
    num_members: int = 0
    num_printers: int = 0

    @property
    def is_external(self) -> bool:
        """Whether another directory, such as Azure, owns the group. Its members are changed there."""
        return self.origin.is_external
