"""`ezeep users`: list, show."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from cyclopts import App

from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.groups import Json
from ezeep_async.cli.screen import Screen, to_json
from ezeep_async.errors import NotFound, PermissionDenied
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.users import User
from ezeep_async.session import EzeepSession
from ezeep_async.wire.requests import as_uuid


NOBODY = AccountUser(UUID(int=0))
"""Stands for a person whom the account directory does not have, or does not show to us."""

users_app = App(name="users", help="Users of the organisation.")


@users_app.command(name="list")
async def list_users(
    *, group: str | None = None, as_json: Json = False, connection: Connection = HERE
) -> None:
    """List users: id, e-mail address, name, number of groups.

    Parameters
    ----------
    group
        The id of a group: only its members.
    """
    screen = Screen()
    group_id = None if group is None else as_uuid(group, "--group")
    async with open_session(connection) as session:
        users = await session.users.list(group=group_id).collect()
        people = await _directory(session)
    if as_json:
        screen.raw(to_json([_record(user, people.get(user.id, NOBODY)) for user in users]))
        return
    rows = [(user, people.get(user.id, NOBODY)) for user in users]
    screen.table(
        ("id", "e-mail", "name", "groups"),
        [(user.id, person.email, person.display_name, len(user.groups)) for user, person in rows],
    )


@users_app.command(name="show")
async def show_user(user_id: str, /, *, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show one user, with the names of its groups.

    Parameters
    ----------
    user_id
        The user's id, a UUID.
    """
    screen = Screen()
    async with open_session(connection) as session:
        user = await session.users.get(user_id)
        person = await _person(session, user.id)
        if as_json:
            screen.raw(to_json(_record(user, person)))
            return
        # One listing, however many groups the user is in.
        names = {group.id: group.name async for group in session.groups.list()}
    screen.facts(
        {
            "id": user.id,
            "e-mail": person.email,
            "name": person.display_name,
            "roles": ", ".join(person.roles),
            "groups": ", ".join(sorted(names.get(group_id, str(group_id)) for group_id in user.group_ids)),
            "local printing": "yes" if user.local_printing_enabled else "no",
            "self service": "yes" if user.self_service_enabled else "no",
            "my printers": "yes" if user.myprinters_enabled else "no",
        }
    )


async def _directory(session: EzeepSession) -> Mapping[UUID, AccountUser]:
    try:
        return {person.id: person for person in await session.accounts.list().collect()}
    except PermissionDenied:
        return {}


async def _person(session: EzeepSession, user_id: UUID) -> AccountUser:
    try:
        return await session.accounts.get(user_id)
    except (NotFound, PermissionDenied):
        return NOBODY


def _record(user: User, person: AccountUser) -> dict[str, object]:
    return {
        "id": user.id,
        "email": person.email,
        "display_name": person.display_name,
        "local_printing_enabled": user.local_printing_enabled,
        "self_service_enabled": user.self_service_enabled,
        "myprinters_enabled": user.myprinters_enabled,
        "groups": user.groups,
    }
