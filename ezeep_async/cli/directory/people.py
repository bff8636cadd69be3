"""Users as the commands show them: with the names and addresses of the account directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from ezeep_async.cli.directory.lookup import NOBODY
from ezeep_async.cli.terminal.screen import Screen, to_json, write_json
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.users import User


def show_users(
    screen: Screen, users: Iterable[User], people: Mapping[UUID, AccountUser], as_json: bool
) -> None:
    """Many of them: a row each, or a record."""
    rows = [(user, people.get(user.id, NOBODY)) for user in users]
    if as_json:
        write_json(to_json([user_record(user, person) for user, person in rows]))
        return
    screen.table(
        ("id", "e-mail", "name", "groups"),
        [(user.id, person.email, person.display_name, len(user.group_ids)) for user, person in rows],
    )


def user_record(user: User, person: AccountUser) -> dict[str, object]:
    """One of them, for programs."""
    return {
        "id": user.id,
        "email": person.email,
        "display_name": person.display_name,
        "local_printing_enabled": user.local_printing_enabled,
        "self_service_enabled": user.self_service_enabled,
        "myprinters_enabled": user.myprinters_enabled,
        "groups": user.groups,
    }
