"""Users of the printing API: permissions and memberships (docs/ezeep-api.md#users)."""

from __future__ import annotations

from uuid import UUID

import attrs


@attrs.frozen
class GroupRef:
    """One membership, in the shape of the API."""

    group_id: UUID


class _WithGroupIds:
    """A place for `User.group_ids`. A `cached_property` in a class with slots makes all its attributes slower to read."""

    __slots__ = ("_group_ids",)
    _group_ids: frozenset[UUID]


@attrs.frozen(kw_only=True)
class User(_WithGroupIds):
    """A user of the printing API. Name and e-mail address are in `AccountUser`, under the same id."""

    id: UUID
    local_printing_enabled: bool = False
    self_service_enabled: bool = False
    myprinters_enabled: bool = False
    # No default: a write replaces the whole set, so a missing field must not look like an empty set.
    groups: tuple[GroupRef, ...]

    @property
    def group_ids(self) -> frozenset[UUID]:
        """Ids of the groups that the user is in."""
        try:
            return self._group_ids
        except AttributeError:
            ids = frozenset(ref.group_id for ref in self.groups)
            object.__setattr__(self, "_group_ids", ids)
            return ids
