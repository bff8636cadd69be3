"""Print options to the properties of a `Print` request, checked against what the printer has. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from ezeep_async._wire.printing import TENTHS_PER_MM
from ezeep_async._wire.responses import one_line
from ezeep_async.errors import UnsupportedOption
from ezeep_async.models.printers import PaperFormat, PrinterProperties, Tray
from ezeep_async.models.printing import PrintOptions, page_ranges


USER_DEFINED = 256
"""The paper format with a size of the user."""
DUPLEX_MODES = {"off": 1, "long-edge": 2, "short-edge": 3}
MOST_LISTED = 100
"""Names that a message lists. `UnsupportedOption.available` has all."""
ORIENTATIONS = {"portrait": 1, "landscape": 2}


def wire_properties(options: PrintOptions, printer: PrinterProperties | None) -> dict[str, object]:
    """The `properties` of a print request. Contains only what was chosen.

    `printer` is None where nothing is checked. Raises `UnsupportedOption` for what the printer does not have.
    """
    sent: dict[str, object] = {}
    if options.copies is not None:
        sent["copies"] = options.copies
    if options.color is not None:
        if options.color and printer is not None and not printer.color:
            raise _unsupported("color", "does not print in color", (), printer)
        sent["color"] = options.color
    sent |= _duplex(options.duplex, printer) | _paper(options.paper, printer) | _tray(options.tray, printer)
    if options.orientation is not None:
        if printer is not None and printer.orientations:
            has = tuple(each.lower() for each in printer.orientations)
            _one_of("orientation", options.orientation, has, printer)
        sent["orientation"] = ORIENTATIONS[options.orientation]
    if options.resolution is not None:
        if printer is not None:
            _one_of("resolution", options.resolution, printer.resolutions, printer)
        sent["resolution"] = options.resolution
    if options.pages is not None:
        sent["PageRanges"] = ";".join(page_ranges(options.pages))
    return sent


def _duplex(duplex: str | None, printer: PrinterProperties | None) -> dict[str, object]:
    if duplex is None:
        return {}
    has_duplex = printer is not None and printer.duplex
    if duplex == "off" and not has_duplex:
        return {"duplex": False}
    if printer is not None and not has_duplex:
        raise _unsupported("duplex", "does not print on both sides", ("off",), printer)
    return {"duplex": True, "duplexmode": DUPLEX_MODES[duplex]}


def _paper(paper: str | tuple[float, float] | None, printer: PrinterProperties | None) -> dict[str, object]:
    if paper is None:
        return {}
    if isinstance(paper, tuple):
        width, length = (round(side * TENTHS_PER_MM) for side in paper)
        return {"paperid": USER_DEFINED, "paperwidth": width, "paperlength": length}
    if printer is None:
        return {"paper": paper}
    named = [each for each in printer.papers if each.name is not None]
    found: PaperFormat | None = next((each for each in named if each.name == paper), None)
    if found is None:
        alike = [each for each in named if (each.name or "").casefold() == paper.casefold()]
        if len(alike) != 1:
            names = (each.name or "" for each in named)
            raise _unsupported("paper", f"has no paper format {paper!r}", names, printer)
        found = alike[0]
    return {"paper": found.name, "paperid": found.id}


def _tray(tray: str | int | None, printer: PrinterProperties | None) -> dict[str, object]:
    if tray is None:
        return {}
    if printer is None:
        if isinstance(tray, int):
            return {"defaultSource": tray}
        raise ValueError(
            f"the index of the tray {tray!r} is not known without a check: pass the index of the tray, or check=True"
        )
    found: Tray | None = next((each for each in printer.trays if tray in (each.name, each.index)), None)
    if found is None:
        names = (f"{each.name} ({each.index})" for each in printer.trays)
        raise _unsupported("tray", f"has no tray {tray!r}", names, printer)
    # Empty text is never sent.
    return {"defaultSource": found.index, **({"trayname": found.name} if found.name else {})}


def _one_of(option: str, value: str, available: tuple[str, ...], printer: PrinterProperties) -> None:
    if value not in available:
        raise _unsupported(option, f"has no {option} {value!r}", available, printer)


def _unsupported(
    option: str, problem: str, available: Iterable[str], printer: PrinterProperties
) -> UnsupportedOption:
    choices = tuple(dict.fromkeys(available))
    listed = ", ".join(map(repr, choices[:MOST_LISTED])) + (", ..." if len(choices) > MOST_LISTED else "")
    has = f"It has {listed}" if choices else "It offers no choice"
    return UnsupportedOption(
        f"the printer {one_line(printer.name) or printer.id} {problem}. {has}",
        option=option,
        available=choices,
    )
