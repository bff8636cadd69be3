"""`ezeep printers`: the printers of the logged-in user, and what they can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ezeep_async import AmbiguousName, NotFound
from ezeep_async.cli.connection import HERE, Connection, Json, open_session
from ezeep_async.cli.directory.lookup import as_id
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.screen import Screen, to_json


if TYPE_CHECKING:
    from ezeep_async import EzeepSession, PaperFormat, Printer, PrinterProperties, Tray

PrinterName = Annotated[str, Parameter(help="The printer's id or exact name.")]

printers_app = App(name="printers", help="The printers that you may print to. Without a command: list.")


@printers_app.default
@printers_app.command(name="list")
async def list_printers(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """List the printers that you may print to: id, name, location, and whether it is a queue for pull printing."""
    screen = Screen()
    async with open_session(connection) as session:
        printers = await session.printers.list().collect()
    if as_json:
        write_json(to_json(printers))
        return
    screen.table(
        ("id", "name", "location", "kind"),
        [(each.id, each.name, each.location, _kind(each)) for each in printers],
    )


@printers_app.command(name="show")
async def show_printer(
    printer: PrinterName, /, *, as_json: Json = False, connection: Connection = HERE
) -> None:
    """Show what a printer can do: paper, trays, colors, resolutions. These are the values of the options of ezeep print."""
    screen = Screen()
    async with open_session(connection) as session:
        found = await find_printer(session, printer)
        properties = await session.printers.properties(found)
    if as_json:
        write_json(to_json(_record(found, properties)))
        return
    screen.facts(
        {
            "id": found.id,
            "name": found.name,
            "location": found.location or properties.location,
            "kind": _kind(found),
            "driver": properties.driver,
            "colors": "color, mono" if properties.color else "mono",
            "duplex": "long-edge, short-edge, off" if properties.duplex else "off",
            "orientation": ", ".join(properties.orientations),
            "paper": ", ".join(_paper(each) for each in properties.papers if each.name),
            "tray": ", ".join(map(_tray, properties.trays)) or "no choice",
            "resolution": ", ".join(properties.resolutions),
        }
    )


async def find_printer(session: EzeepSession, name_or_id: str) -> Printer:
    """Return the printer with that id, or with exactly that name. Raises `AmbiguousName` and `ValueError`."""
    printer_id = as_id(name_or_id)
    try:
        if printer_id is not None:
            return await session.printers.get(printer_id)
        return await session.printers.find(name_or_id)
    except NotFound as error:
        raise ValueError(f"{error}. ezeep printers lists those that there are") from error
    except AmbiguousName as error:
        raise AmbiguousName(f"{error}, {' or '.join(map(str, error.ids))}", ids=error.ids) from error


def _kind(printer: Printer) -> str:
    return "pull queue" if printer.is_queue else "printer"


def _paper(paper: PaperFormat) -> str:
    size = f"{paper.width:g}x{paper.length:g}mm" if paper.width and paper.length else ""
    return _with_details(paper.name or "", size, paper.is_default)


def _tray(tray: Tray) -> str:
    return _with_details(tray.name, str(tray.index), tray.is_default)


def _with_details(name: str, detail: str, is_default: bool) -> str:
    details = ", ".join(filter(None, (detail, "default" if is_default else "")))
    return f"{name} ({details})" if details else name


def _record(printer: Printer, properties: PrinterProperties) -> dict[str, object]:
    return {
        "id": printer.id,
        "name": printer.name,
        "location": printer.location or properties.location,
        "is_queue": printer.is_queue,
        "driver": properties.driver,
        "color": properties.color,
        "duplex": properties.duplex,
        "collate": properties.collate,
        "orientations": properties.orientations,
        "papers": properties.papers,
        "trays": properties.trays,
        "resolutions": properties.resolutions,
    }
