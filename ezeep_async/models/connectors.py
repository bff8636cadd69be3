"""Connectors and printer drivers (docs/ezeep-api.md#connectors-and-drivers)."""

from __future__ import annotations

from uuid import UUID

import attrs

from ezeep_async.models.record import Record


@attrs.frozen
class Connector(Record):
    """What connects printers with ezeep: a hub, a print server, or a virtual one. Unknown words are kept."""

    id: UUID
    readable_name: str = ""
    description: str = ""
    location: str = ""
    type: str = ""
    """"TPHub", "Printserver", "Virtual", "Embedded"."""
    status: str = ""
    """"Online", "Offline", "Inproperly Configured"; "ON" was seen too."""
    os_type: str = ""
    """"Linux", "Windows", "Windows CE"."""
    serial_string: str = ""
    supported_formats: tuple[str, ...] = ()
    """"RAW", "PDF", "EMF", "XPS"."""


@attrs.frozen
class Driver(Record):
    """A printer driver."""

    id: UUID
    name: str = ""
    readable_name: str = ""
    vendor: str = ""
    os: str = ""
    arch: str = ""
    printers_using_driver: int = 0
