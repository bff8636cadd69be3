"""The printers of the sandbox, with their properties."""

from __future__ import annotations

from typing import TypedDict
from uuid import UUID

import attrs


@attrs.define(kw_only=True)
class Paper:
    """A paper format of a printer. Sizes are in tenths of a millimetre; 0: automatic."""

    id: int
    name: str | None
    """None: the key is missing."""
    width: int = 0
    length: int = 0


@attrs.define(kw_only=True)
class Tray:
    """A paper tray of a printer."""

    index: int
    name: str


def _papers() -> list[Paper]:
    return [
        Paper(id=0, name="Auto"),
        Paper(id=9, name="A4", width=2100, length=2970),
        Paper(id=1, name="Letter", width=2159, length=2794),
        Paper(id=256, name="Custom", width=1000, length=1500),
        Paper(id=0, name=None),
    ]


def _trays() -> list[Tray]:
    return [Tray(index=15, name="Automatic"), Tray(index=259, name="Tray 1")]


@attrs.define(eq=False)
class SandboxPrinter:
    """A printer, or with `is_queue` a queue for pull printing. Its fields may be changed at any time."""

    id: UUID
    name: str
    location: str = ""
    is_queue: bool | None = False
    """None: GetPrinter leaves the key out, as older versions of the service did."""
    driver: str = "Example PCL 6"
    color: bool = True
    duplex: bool = True
    papers: list[Paper] = attrs.field(factory=_papers, repr=False)
    """The first with the id 9, or else the first one, is the default."""
    trays: list[Tray] = attrs.field(factory=_trays, repr=False)
    """The first one is the default. Empty: the response has `[null]`."""
    resolutions: list[str] = attrs.field(factory=lambda: ["Auto", "600"], repr=False)
    groups: list[UUID] = attrs.field(factory=list[UUID], repr=False)
    """Ids of the groups that it is assigned to, each once."""
    properties: dict[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """Keys of GetPrinterProperties that replace the computed ones; a value of `...` leaves the key out."""


class PrinterFields(TypedDict, total=False):
    """The fields of a `SandboxPrinter` that `Printing.add_printer` takes."""

    location: str
    is_queue: bool | None
    driver: str
    color: bool
    duplex: bool
    papers: list[Paper]
    trays: list[Tray]
    resolutions: list[str]
    groups: list[UUID]
    properties: dict[str, object]


_PLACES = ("Ground floor", "First floor", "Second floor", "")


def example_printers(count: int) -> list[tuple[str, PrinterFields]]:
    """Names and fields of that many printers: different kinds, with what the documents contradict each other on."""
    label = Paper(id=256, name="Label", width=1016, length=1524)
    kinds: list[tuple[str, PrinterFields]] = [
        ("Front desk laser", {"location": "Ground floor"}),
        ("Pull queue", {"is_queue": True, "driver": ""}),
        (
            "Warehouse label",
            {"color": False, "duplex": False, "papers": [label], "trays": [], "resolutions": ["", "203"]},
        ),
        (
            "Second floor",
            # An older driver, which reports less.
            {
                "location": "Second floor",
                "color": False,
                "properties": dict.fromkeys(("ColorSupported", "Default", "DefaultResolution", "Trays"), ...),
            },
        ),
    ]
    for number in range(len(kinds) + 1, count + 1):
        fields = PrinterFields(location=_PLACES[number % 4], color=number % 3 > 0, duplex=number % 2 > 0)
        kinds.append((f"Printer {number}", fields))
    return kinds[:count]
