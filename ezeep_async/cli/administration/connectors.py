"""`ezeep connectors`: what connects printers with ezeep."""

from __future__ import annotations

from ezeep_async.cli.connection import HERE, Connection, Json, open_session
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.screen import Screen, to_json


async def connectors(
    *,
    type: str | None = None,  # noqa: A002  # the name of the option
    as_json: Json = False,
    connection: Connection = HERE,
) -> None:
    """List the connectors of the organization: hubs, print servers and virtual ones.

    Args:
        type: Only connectors of this type: TPHub, Printserver, Virtual, Embedded.
    """
    screen = Screen()
    async with open_session(connection) as session:
        found = await session.connectors.list(type=type).collect()
    if as_json:
        write_json(to_json(found))
        return
    screen.table(
        ("id", "name", "type", "status", "location"),
        [(each.id, each.readable_name, each.type, each.status, each.location) for each in found],
    )
