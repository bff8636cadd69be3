"""`ezeep groups`: list, show, create, rename, delete, members."""

from __future__ import annotations

from uuid import UUID

from cyclopts import App

from ezeep_async._wire.requests import as_uuid, checked_text
from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.directory.lookup import (
    choose_group,
    find_group,
    namesakes,
    note_look_alikes,
    read_directory,
    refuse_external,
)
from ezeep_async.cli.directory.people import show_users
from ezeep_async.cli.options import AllowExternal, Json, Yes
from ezeep_async.cli.terminal.prompts import check_somebody_there, confirmed
from ezeep_async.cli.terminal.screen import Screen, complain, to_json, write_json
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.names import normalize_group_name
from ezeep_async.provisioning.plans.compare import only_organization
from ezeep_async.provisioning.wording import counted
from ezeep_async.session import EzeepSession


groups_app = App(name="groups", help="Groups of the organization. GROUP is an id, or exactly the name.")


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
        "organization": group.organization_id,
    }


@groups_app.command(name="list")
async def list_groups(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """List all groups: id, name, members, printers, origin."""
    screen = Screen()
    async with open_session(connection) as session:
        groups = await session.groups.list().collect()
    if as_json:
        write_json(to_json(groups))
        return
    screen.table(
        ("id", "name", "members", "printers", "origin"),
        [
            (group.id, group.name, group.num_members, group.num_printers, group.origin.provider)
            for group in groups
        ],
    )


@groups_app.command(name="show")
async def show_group(group: str, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show one group.

    Parameters
    ----------
    group
        The group's id, or exactly its name.
    """
    screen = Screen()
    async with open_session(connection) as session:
        found = await find_group(session, group)
    _show(screen, found, as_json)


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
        1 to 255 characters, none of them invisible. Blanks around them do not count.
    organization_id
        Where it belongs; by default where all the groups belong that there are.
    """
    screen = Screen()
    name = checked_text(normalize_group_name(name), "the name", shortest=1)
    async with open_session(connection) as session:
        organization = await _organization(session, organization_id)
        there, alike = await namesakes(session, name, organization)
        if there:
            group, created = choose_group(there, name), False
        else:
            group, created = await session.groups.ensure(name, organization)
    if created:
        note_look_alikes(alike)
    if not as_json:
        screen.say(f"created {name!r}" if created else f"{group.name!r} was there already: nothing changed")
    _show(screen, group, as_json)


@groups_app.command(name="rename")
async def rename_group(
    group: str,
    name: str,
    /,
    *,
    allow_external: AllowExternal = False,
    as_json: Json = False,
    connection: Connection = HERE,
) -> None:
    """Give a group another name. Members and printers stay.

    Parameters
    ----------
    group
        The group's id, or exactly its name.
    name
        Its new name, 1 to 255 characters, none of them invisible, that no other group of the organization has. Blanks around them do not count.
    """
    screen = Screen()
    name = checked_text(normalize_group_name(name), "the name", shortest=1)
    async with open_session(connection) as session:
        found = await find_group(session, group)
        refuse_external(found, allowed=allow_external)
        # The server would not mind, and nobody could say any more which of them is meant.
        there, alike = await namesakes(session, name, found.organization_id)
        for other in there:
            if other.id != found.id:
                raise ValueError(f"there is a group {other.name!r} already")
        renamed = await session.groups.update(found.id, name=name)
    note_look_alikes(group for group in alike if group.id != found.id)
    if not as_json:
        screen.say(f"renamed {found.name!r} to {renamed.name!r}")
    _show(screen, renamed, as_json)


@groups_app.command(name="delete")
async def delete_group(
    group: str,
    /,
    *,
    force: bool = False,
    allow_external: AllowExternal = False,
    yes: Yes = False,
    connection: Connection = HERE,
) -> int:
    """Delete a group, after asking. One with members or printers is not deleted.

    Parameters
    ----------
    group
        The group's id, or exactly its name.
    force
        Delete it also if it has members or printers. They lose it; there is no way back.
    """
    check_somebody_there(yes=yes)
    screen = Screen()
    async with open_session(connection) as session:
        found = await find_group(session, group)
        refuse_external(found, allowed=allow_external)
        if (found.num_members or found.num_printers) and not force:
            raise ValueError(f"group {found.name!r} has {_used(found)}: --force deletes it all the same")
        if not await confirmed(f"Delete group {found.name!r} with {_used(found)}?", yes=yes):
            complain("nothing was deleted")
            return 1
        if not yes:
            # A question may stand for an hour. What was said yes to is the group that it named.
            now = await session.groups.get(found.id)
            if (now.name, _used(now), now.origin) != (found.name, _used(found), found.origin):
                raise ValueError(
                    f"nothing was deleted: it has changed since the question, and is now {now.name!r} of "
                    f"{now.origin.provider} with {_used(now)}"
                )
        await session.groups.delete(found.id)
    screen.say(f"deleted {found.name!r}")
    return 0


@groups_app.command(name="members")
async def list_members(group: str, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """List the members of a group: id, e-mail address, name, number of groups.

    Parameters
    ----------
    group
        The group's id, or exactly its name.
    """
    async with open_session(connection) as session:
        found = await find_group(session, group)
        users = await session.groups.members(found.id).collect()
        people = await read_directory(session)
    show_users(Screen(), users, people, as_json)


async def _organization(session: EzeepSession, given: str | None) -> UUID:
    if given is not None:
        return as_uuid(given, "--organization-id")
    return only_organization(await session.groups.list().collect(), "--organization-id")


def _used(group: Group) -> str:
    return f"{counted(group.num_members, 'member')} and {counted(group.num_printers, 'printer')}"


def _show(screen: Screen, group: Group, as_json: bool) -> None:
    if as_json:
        write_json(to_json(group))
    else:
        screen.facts(facts_of(group))


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
