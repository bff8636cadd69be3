"""Users of the printing API: what they may do, and in which groups they are. Source: API document, "Users"."""

from __future__ import annotations

from functools import cached_property
from uuid import UUID

import attrs


@attrs.frozen
class GroupRef:
    """One membership, shaped like the wire."""

    group_id: UUID


@attrs.frozen(kw_only=True)
class User:
    """A user as the printing API knows it. Names and e-mail addresses are in `AccountUser`, under the same id."""

    id: UUID
    local_printing_enabled: bool = False
    self_service_enabled: bool = False
    myprinters_enabled: bool = False
    # No default: the write replaces the whole set, so a membership that was not read must never look like an empty one.
    groups: tuple[GroupRef, ...]

    @cached_property
    def group_ids(self) -> frozenset[UUID]:
        """The ids of the groups that the user is in."""
        return frozenset(ref.group_id for ref in self.groups)
