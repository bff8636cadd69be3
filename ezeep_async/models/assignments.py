"""Assignments: the groups that may use a printer (docs/ezeep-api.md#printers-and-assignments)."""

from __future__ import annotations

from uuid import UUID

import attrs

from ezeep_async.models.record import Record, WithGroupIds


@attrs.frozen
class AssignedGroup(Record):
    """A group that a printer is assigned to."""

    group_id: UUID
    group_name: str = ""
    group_foreign_id: str | None = None
    """Id of the group in the directory that it comes from."""
    force_chosen: bool = False


@attrs.frozen
class Assignment(Record):
    """Groups with the same settings, in the shape of the API."""

    groups: tuple[AssignedGroup, ...]
    settings: dict[str, object] | None = attrs.field(default=None, hash=False)
    """None in all documented examples."""


@attrs.frozen(kw_only=True)
class PrinterAssignment(WithGroupIds):
    """A printer of the organization and the groups that it is assigned to, which may be none."""

    printer_id: UUID
    printer_name: str = ""
    # No default: a write may replace the whole set, so a missing field must not look like an empty set.
    assignments: tuple[Assignment, ...]

    @property
    def id(self) -> UUID:
        """The same as `printer_id`."""
        return self.printer_id

    @property
    def groups(self) -> tuple[AssignedGroup, ...]:
        """The groups of all `assignments`."""
        return tuple(group for assignment in self.assignments for group in assignment.groups)
