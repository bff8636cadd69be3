"""`ezeep groups`: list, show, create, rename, delete, members."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cyclopts import App

from ezeep_async import Group
from ezeep_async._wire.group_names import LookAlikes
from ezeep_async.cli.connection import HERE, AllowExternal, Connection, Json, Yes, open_session
from ezeep_async.cli.directory.lookup import (
    GroupName,
    all_groups,
    as_id,
    choose_group,
    find_group,
    refuse_external,
    with_name,
)
from ezeep_async.cli.directory.users import show_people
from ezeep_async.cli.terminal.output import complain, write_json
from ezeep_async.cli.terminal.prompts import check_can_ask, confirmed
from ezeep_async.cli.terminal.screen import Screen, to_json
from ezeep_async.provisioning import normalize_group_name
from ezeep_async.provisioning.wording import counted


LONGEST_NAME = 255
"""Characters (docs/ezeep-api.md#groups)."""

groups_app = App(name="groups", help="Groups of the organization. GROUP is an id, or exactly the name.")


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
async def show_group(group: GroupName, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show one group."""
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
    """Create a group, unless one with that name exists.

    Args:
        name: 1 to 255 visible characters. White space around the name is removed.
        organization_id: The organization of the group; by default the one that all groups belong to.
    """
    screen = Screen()
    name = _new_name(name)
    organization = None if organization_id is None else as_id(organization_id)
    if organization_id is not None and organization is None:
        raise ValueError(f"--organization-id must be a UUID, not {organization_id!r}")
    async with open_session(connection) as session:
        groups = await all_groups(session)
        organization = organization or _only_organization(groups)
        groups = [group for group in groups if group.organization_id == organization]
        if same := with_name(groups, name):
            group, created = choose_group(same, name), False
        else:
            group, created = await session.groups.ensure(name, organization)
            _note_look_alikes(groups, name)
    if not as_json:
        screen.say(f"created {name!r}" if created else f"{group.name!r} exists already: nothing changed")
    _show(screen, group, as_json)


@groups_app.command(name="rename")
async def rename_group(
    group: GroupName,
    name: str,
    /,
    *,
    allow_external: AllowExternal = False,
    as_json: Json = False,
    connection: Connection = HERE,
) -> None:
    """Rename a group. Members and printers stay.

    Args:
        name: The new name: 1 to 255 visible characters, and not the name of another group. White space around it is
            removed.
    """
    screen = Screen()
    name = _new_name(name)
    async with open_session(connection) as session:
        found = await find_group(session, group)
        refuse_external(found, allowed=allow_external)
        others = [
            each
            for each in await all_groups(session)
            if each.organization_id == found.organization_id and each.id != found.id
        ]
        if same := with_name(others, name):  # the server would allow it
            raise ValueError(f"a group named {same[0].name!r} exists already")
        renamed = await session.groups.update(found.id, name=name)
    _note_look_alikes(others, name)
    if not as_json:
        screen.say(f"renamed {found.name!r} to {renamed.name!r}")
    _show(screen, renamed, as_json)


@groups_app.command(name="delete")
async def delete_group(
    group: GroupName,
    /,
    *,
    force: bool = False,
    allow_external: AllowExternal = False,
    yes: Yes = False,
    connection: Connection = HERE,
) -> int:
    """Delete a group, after a confirmation. A group with members or printers is not deleted.

    Args:
        force: Also delete a group with members or printers. They lose it, and it cannot be restored.
    """
    check_can_ask(yes=yes)
    screen = Screen()
    async with open_session(connection) as session:
        found = await find_group(session, group)
        refuse_external(found, allowed=allow_external)
        if (found.num_members or found.num_printers) and not force:
            raise ValueError(f"group {found.name!r} has {_used(found)}: pass --force to delete it anyway")
        if not await confirmed(f"Delete group {found.name!r} with {_used(found)}?", yes=yes):
            complain("nothing was deleted")
            return 1
        if not yes:
            # The question may have been open for an hour. The confirmation is for the group that it named.
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
async def list_members(group: GroupName, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """List the members of a group: id, e-mail address, name, number of groups."""
    async with open_session(connection) as session:
        found = await find_group(session, group)
        people = await session.people.list(group=found.id).collect()
    show_people(Screen(), people, as_json)


def _new_name(given: str) -> str:
    """Return the name in its stored form. Invisible characters are refused later, by the SDK."""
    name = normalize_group_name(given)
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"the name has {len(name)} characters: a group name has 1 to {LONGEST_NAME}")
    return name


def _only_organization(groups: Iterable[Group]) -> UUID:
    organizations = {group.organization_id for group in groups}
    if len(organizations) != 1:
        raise ValueError(
            f"--organization-id is needed: the existing groups belong to {len(organizations)} organizations"
        )
    return organizations.pop()


def _note_look_alikes(groups: Iterable[Group], name: str) -> None:
    """Warn of groups whose names look the same as a new one."""
    alike = LookAlikes(group.name for group in groups).of(name)
    for group in groups:
        if group.name in alike:
            complain(f"there is also a group {group.name!r}, whose name looks the same: {group.id}")


def _used(group: Group) -> str:
    return f"{counted(group.num_members, 'member')} and {counted(group.num_printers, 'printer')}"


def _show(screen: Screen, group: Group, as_json: bool) -> None:
    if as_json:
        write_json(to_json(group))
        return
    screen.facts(
        {
            "id": group.id,
            "name": group.name,
            "description": group.description,
            "members": group.num_members,
            "printers": group.num_printers,
            "origin": group.origin.provider,
            "local printing": "yes" if group.local_printing_enabled else "no",
            "my printers": "yes" if group.myprinters_enabled else "no",
            "organization": group.organization_id,
        }
    )
