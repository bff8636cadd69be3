"""Printers of the logged-in user, and what they can do (docs/ezeep-api.md#print-jobs)."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import attrs

from ezeep_async.models.record import Record


@attrs.frozen
class Printer(Record):
    """A printer that the logged-in user may print to."""

    id: UUID
    name: str = ""
    location: str = ""
    is_queue: bool = False
    """Whether it is a queue for pull printing: a job is stored until a person releases it at a printer.

    Older servers do not send it. That jobs of such a printer wait for their release is read from ezeep's own client, not
    from its documents."""


@attrs.frozen
class PaperFormat(Record):
    """A paper format of a printer."""

    id: int
    """Number of the format: one of Windows' DEVMODE structure, 256 for a size of the user, or one of the driver."""
    name: str | None
    """Name for `PrintOptions.paper`; None where the printer has none."""
    width: float
    """Width in millimetres; 0 if unknown, such as for "Auto"."""
    length: float
    """Length in millimetres; 0 if unknown."""
    is_default: bool = False


@attrs.frozen
class Tray(Record):
    """A paper tray of a printer."""

    index: int
    name: str
    is_default: bool = False


@attrs.frozen
class PrinterProperties(Record):
    """What a printer can do.

    What the server does not send is empty. `raw` has all fields, also those without an attribute here.
    """

    id: UUID
    name: str
    location: str
    driver: str
    color: bool
    """Whether it prints in color."""
    duplex: bool
    """Whether it prints on both sides."""
    collate: bool
    orientations: tuple[str, ...]
    """"portrait", "landscape"."""
    papers: tuple[PaperFormat, ...]
    resolutions: tuple[str, ...]
    """Words for `PrintOptions.resolution`, such as "Auto" and "600"."""
    trays: tuple[Tray, ...]
    """Empty if the tray cannot be chosen."""
    raw: Mapping[str, object] = attrs.field(repr=False, hash=False)
    """The fields as the server sent them."""
