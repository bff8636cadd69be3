"""`ezeep groups`: list, show, create."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.screen import Screen, to_json
from ezeep_async.models.groups import Group
from ezeep_async.session import EzeepSession
from ezeep_async.wire.requests import as_uuid, checked_text


Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]

groups_app = App(name="groups", help="Groups of the organisation.")


def facts_of(group: Group) -> dict[str, object]:
    """A group, for people."""
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "members": group.num_members,
        "printers": group.num_printers,
        "origin": group.origin.provider,
        "local printing": _yes_no(group.local_printing_enabled),
        "my printers": _yes_no(group.myprinters_enabled),
        "organisation": group.organization_id,
    }


@groups_app.command(name="list")
async def list_groups(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """List all groups: id, name, members, printers, origin."""
    screen = Screen()
    async with open_session(connection) as session:
        groups = await session.groups.list().collect()
    if as_json:
        screen.raw(to_json(groups))
        return
    screen.table(
        ("id", "name", "members", "printers", "origin"),
        [
            (group.id, group.name, group.num_members, group.num_printers, group.origin.provider)
            for group in groups
        ],
    )


@groups_app.command(name="show")
async def show_group(group_id: str, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show one group.

    Parameters
    ----------
    group_id
        The group's id, a UUID.
    """
    screen = Screen()
    async with open_session(connection) as session:
        group = await session.groups.get(group_id)
    _show(screen, group, as_json)


@groups_app.command(name="create")
async def create_group(
    name: str,
    /,
    *,
    organization_id: str | None = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> None:
    """Create a group, unless there is one of that name.

    Parameters
    ----------
    name
        1 to 255 characters.
    organization_id
        Where it belongs; by default where all the groups belong that there are.
    """
    screen = Screen()
    checked_text(name, "the name", shortest=1)
    async with open_session(connection) as session:
        organization = await _organization(session, organization_id)
        group, created = await session.groups.ensure(name, organization)
    if not as_json:
        screen.say(f"created {name!r}" if created else f"{name!r} was there already: nothing changed")
    _show(screen, group, as_json)


async def _organization(session: EzeepSession, given: str | None) -> UUID:
    if given is not None:
        return as_uuid(given, "--organization-id")
    found = {group.organization_id async for group in session.groups.list()}
    if len(found) != 1:
        raise ValueError(
            f"--organization-id is needed: the groups that there are belong to {len(found)} organisations"
        )
    return found.pop()


def _show(screen: Screen, group: Group, as_json: bool) -> None:
    if as_json:
        screen.raw(to_json(group))
    else:
        screen.facts(facts_of(group))


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
