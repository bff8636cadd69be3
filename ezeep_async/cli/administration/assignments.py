"""`ezeep assignments`: which groups may use which printer."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ezeep_async import AmbiguousName
from ezeep_async.cli.connection import HERE, Connection, Json, open_session
from ezeep_async.cli.directory.lookup import (
    PAGES_AT_ONCE,
    GroupName,
    all_groups,
    as_id,
    choose_group,
    find_group,
    listed,
)
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.screen import Screen, to_json


if TYPE_CHECKING:
    from ezeep_async import EzeepSession, PrinterAssignment

PrinterName = Annotated[str, Parameter(help="The printer's id or exact name.")]

assignments_app = App(
    name="assignments",
    help="Printers, and the groups that may use them. PRINTER and GROUP are ids, or exactly the names.",
)


@assignments_app.command(name="list")
async def list_assignments(
    *, group: GroupName | None = None, as_json: Json = False, connection: Connection = HERE
) -> None:
    """List all printers with their groups, or the printers of one group.

    Args:
        group: Only the printers of this group.
    """
    screen = Screen()
    async with open_session(connection) as session:
        found = None if group is None else await find_group(session, group)
        printers = await session.printer_assignments.list(found, concurrency=PAGES_AT_ONCE).collect()
    if as_json:
        write_json(to_json(printers))
        return
    screen.table(("id", "name", "groups"), [(each.id, each.printer_name, _names(each)) for each in printers])


@assignments_app.command(name="add")
async def add(
    printer: PrinterName, *groups: GroupName, as_json: Json = False, connection: Connection = HERE
) -> None:
    """Assign a printer to groups. Its other groups stay."""
    await _change(printer, groups, as_json=as_json, connection=connection, is_added=True)


@assignments_app.command(name="remove")
async def remove(
    printer: PrinterName, *groups: GroupName, as_json: Json = False, connection: Connection = HERE
) -> None:
    """Take a printer away from groups. Its other groups stay."""
    await _change(printer, groups, as_json=as_json, connection=connection, is_added=False)


async def _change(
    printer: str, names: tuple[str, ...], *, as_json: bool, connection: Connection, is_added: bool
) -> None:
    if not names:
        raise ValueError("no group is given: name at least one")
    screen = Screen()
    async with open_session(connection) as session:
        found = await _find_printer(session, printer)
        groups = await all_groups(session)
        chosen = [choose_group(groups, name) for name in names]
        calls = session.printer_assignments
        result = await (calls.assign if is_added else calls.remove)(found, *chosen)
    if as_json:
        write_json(to_json(result))
        return
    screen.facts({"id": result.id, "name": result.printer_name, "groups": _names(result)})


async def _find_printer(session: EzeepSession, name_or_id: str) -> PrinterAssignment:
    printers = await listed(session.printer_assignments.list(concurrency=PAGES_AT_ONCE))
    printer_id, name = as_id(name_or_id), name_or_id.strip()
    found = [each for each in printers if each.id == printer_id] or [
        each for each in printers if each.printer_name.strip() == name
    ]
    if not found:
        near = difflib.get_close_matches(name, [each.printer_name for each in printers], n=1)
        raise ValueError(f"no printer is named {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    if len(found) > 1:
        ids = [each.id for each in found]
        raise AmbiguousName(
            f"{len(ids)} printers are named {name!r}: use an id, {' or '.join(map(str, ids))}", ids=ids
        )
    return found[0]


def _names(printer: PrinterAssignment) -> str:
    return "; ".join(sorted(group.group_name or str(group.group_id) for group in printer.groups))
