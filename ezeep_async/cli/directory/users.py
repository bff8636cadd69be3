"""`ezeep users`: list, show, groups."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from cyclopts import App

from ezeep_async import Group, Person
from ezeep_async.cli.connection import HERE, AllowExternal, Connection, Json, open_session
from ezeep_async.cli.directory.lookup import (
    UserName,
    choose_group,
    find_group,
    find_user,
    refuse_external,
)
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.screen import Screen, to_json


users_app = App(name="users", help="Users of the organization. USER is an id, or an e-mail address.")


@users_app.command(name="list")
async def list_users(
    *, group: str | None = None, as_json: Json = False, connection: Connection = HERE
) -> None:
    """List users: id, e-mail address, name, number of groups.

    Args:
        group: List only the members of this group. An id or an exact name.
    """
    async with open_session(connection) as session:
        group_id = None if group is None else (await find_group(session, group)).id
        people = await session.people.list(group=group_id).collect()
    show_people(Screen(), people, as_json)


@users_app.command(name="show")
async def show_user(user: UserName, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show one user, with the names of the user's groups."""
    screen = Screen()
    async with open_session(connection) as session:
        found = await find_user(session, user)
        person = await session.people.get(found.id)
        if as_json:
            write_json(to_json(_record(person)))
            return
        names = {group.id: group.name async for group in session.groups.list()}
    screen.facts(
        {
            "id": found.id,
            "e-mail": person.email,
            "name": person.display_name,
            "roles": ", ".join(person.account.roles if person.account else ()),
            "groups": ", ".join(sorted(names.get(group_id, str(group_id)) for group_id in found.group_ids)),
            "local printing": "yes" if found.local_printing_enabled else "no",
            "self service": "yes" if found.self_service_enabled else "no",
            "my printers": "yes" if found.myprinters_enabled else "no",
        }
    )


@users_app.command(name="groups")
async def groups_of_user(
    user: UserName,
    /,
    *,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    allow_external: AllowExternal = False,
    as_json: Json = False,
    connection: Connection = HERE,
) -> None:
    """List the groups of a user: id, name, origin. --add and --remove change them first, in one write.

    The other groups of the user stay. Nothing is written if nothing changes.

    Args:
        add: A group to add the user to, by id or exact name. May be given several times.
        remove: A group to remove the user from, by id or exact name. May be given several times.
    """
    screen = Screen()
    async with open_session(connection) as session:
        found = await find_user(session, user)
        groups = await session.groups.list().collect()
        to_add, to_remove = _chosen(groups, add), _chosen(groups, remove)
        if both := to_add.keys() & to_remove.keys():
            raise ValueError(
                f"in --add and in --remove: {', '.join(repr(to_add[each].name) for each in both)}"
            )
        for group in (*to_add.values(), *to_remove.values()):
            refuse_external(group, allowed=allow_external)
        if to_add or to_remove:
            before, found = found, await session.users.change_groups(found.id, to_add, to_remove)
            if not as_json and not screen.plain:  # a pipe gets rows and nothing else
                same = found.group_ids == before.group_ids
                screen.say("nothing to change" if same else "changed")
    theirs = sorted(
        (group for group in groups if group.id in found.group_ids), key=lambda group: group.name.casefold()
    )
    if as_json:
        records = [{"id": group.id, "name": group.name, "origin": group.origin} for group in theirs]
        write_json(to_json(records))
        return
    screen.table(
        ("id", "name", "origin"), [(group.id, group.name, group.origin.provider) for group in theirs]
    )


def _chosen(groups: list[Group], names: tuple[str, ...]) -> dict[UUID, Group]:
    found = [choose_group(groups, name) for name in names]
    return {group.id: group for group in found}


def show_people(screen: Screen, people: Iterable[Person], as_json: bool) -> None:
    """Show users with their names and addresses: a row each, or a record."""
    if as_json:
        write_json(to_json([*map(_record, people)]))
        return
    screen.table(
        ("id", "e-mail", "name", "groups"),
        [(person.id, person.email, person.display_name, len(person.group_ids)) for person in people],
    )


def _record(person: Person) -> dict[str, object]:
    user = person.user
    return {
        "id": user.id,
        "email": person.email,
        "display_name": person.display_name,
        "local_printing_enabled": user.local_printing_enabled,
        "self_service_enabled": user.self_service_enabled,
        "myprinters_enabled": user.myprinters_enabled,
        "groups": user.groups,
    }
