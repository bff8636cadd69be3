"""Groups of the printing API. Source: API document, "Groups"."""

from __future__ import annotations

from uuid import UUID

import attrs


@attrs.frozen
class Origin:
    """Which directory a group comes from. `provider` is an open set: words that are not known yet are kept."""

    provider: str = "Ezeep"
    foreign_id: str | None = None

    @property
    def is_external(self) -> bool:
        """Whether another directory owns the group. ezeep itself is written with and without a capital."""
        return self.provider.casefold() != "ezeep"


@attrs.frozen(kw_only=True)
class Group:
    """A group of users, to which printers are given."""

    id: UUID
    name: str
    description: str = ""
    local_printing_enabled: bool = False
    myprinters_enabled: bool = False
    origin: Origin = Origin()
    organization_id: UUID
    num_members: int = 0
    num_printers: int = 0
