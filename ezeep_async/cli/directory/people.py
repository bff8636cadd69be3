"""`ezeep users invite` and `ezeep users delete`: people who join and leave the organization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import attrs
from cyclopts import Parameter, validators

from ezeep_async import EzeepError, NotFound, OutcomeUnknown, ReauthorizationRequired
from ezeep_async.cli.connection import HERE, LOG_IN_AGAIN, Connection, Json, Yes, open_session
from ezeep_async.cli.directory.invitations import is_open
from ezeep_async.cli.directory.lookup import PAGES_AT_ONCE, UserName, as_id, listed
from ezeep_async.cli.terminal.output import complain, sentence, write_json
from ezeep_async.cli.terminal.prompts import check_can_ask, confirmed
from ezeep_async.cli.terminal.screen import Screen, to_json
from ezeep_async.provisioning import normalize_email


if TYPE_CHECKING:
    from ezeep_async import AccountUser, EzeepSession

LONGEST_DAYS = 3650
Days = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=LONGEST_DAYS))]
Email = Annotated[str, Parameter(help="E-mail addresses.")]
FAILED = frozenset({"failed", "unknown", "not_started"})


@attrs.define(eq=False)
class Row:
    """One person, and the outcome of the call."""

    email: str
    id: UUID | None = None
    outcome: str = ""
    """Empty while the call has not begun."""
    error: str | None = None


async def invite(
    *emails: Email, days: Days = 30, as_json: Json = False, connection: Connection = HERE
) -> int:
    """Invite people to the organization by e-mail. People who are members, or have an open invitation, get no mail.

    The exit code is 1 if an invitation was not sent, or may not be.

    Args:
        days: Days until the invitation ends.
    """
    named: dict[str, str] = {}
    for each in emails:
        named.setdefault(normalize_email(each), each.strip())
    rows = [Row(each) for each in named.values()]
    if not rows:
        raise ValueError("no address is given: name at least one")
    if wrong := [row.email for row in rows if "@" not in row.email or " " in row.email]:
        raise ValueError(f"not an e-mail address: {', '.join(map(repr, wrong))}")
    until = datetime.now(UTC) + timedelta(days=days)
    async with open_session(connection) as session:
        members = {normalize_email(each.email): each for each in await _directory(session)}
        invitations = await listed(session.invitations.list(concurrency=PAGES_AT_ONCE))
        waiting = {normalize_email(each.email): each for each in invitations if is_open(each)}
        for row in rows:
            email = normalize_email(row.email)
            if email in members:
                row.id, row.outcome = members[email].id, "member"
            elif email in waiting:
                row.id, row.outcome = waiting[email].id, "invited_already"

        async def call(row: Row) -> None:
            row.id = (await session.invitations.create(row.email, until)).id
            row.outcome = "invited"

        return await _each(rows, call, as_json=as_json)


async def delete(
    *users: UserName, yes: Yes = False, as_json: Json = False, connection: Connection = HERE
) -> int:
    """Delete users from the organization, after a confirmation. This cannot be undone. You cannot delete yourself.

    If one of the users is not found, no one is deleted. The exit code is 1 if a user was not deleted, or may not be.
    """
    if not users:
        raise ValueError("no user is given: name at least one")
    check_can_ask(yes=yes)
    async with open_session(connection) as session:
        people = await _directory(session)
        rows = [Row(each.email, each.id) for each in _chosen(people, users)]
        own = (await session.accounts.me()).id
        if any(row.id == own for row in rows):
            raise ValueError("you cannot delete yourself: another administrator can")
        what = "this user" if len(rows) == 1 else f"these {len(rows)} users"
        names = ", ".join(row.email or str(row.id) for row in rows)
        if not await confirmed(f"Delete {what} from the organization: {names}?", yes=yes):
            complain("nothing was deleted")
            return 1

        async def call(row: Row) -> None:
            try:
                await session.accounts.delete(row.id or "")
                row.outcome = "deleted"
            except NotFound:
                row.outcome = "deleted_already"

        return await _each(rows, call, as_json=as_json)


async def _directory(session: EzeepSession) -> list[AccountUser]:
    return await listed(session.accounts.list(concurrency=PAGES_AT_ONCE))


def _chosen(people: Sequence[AccountUser], names: Sequence[str]) -> list[AccountUser]:
    """The people with these ids and addresses, each once. Raises `ValueError` that names all that are not found."""
    chosen: dict[UUID, AccountUser] = {}
    missing: list[str] = []
    for name in names:
        wanted = as_id(name)
        found = [each for each in people if each.id == wanted] or [
            each for each in people if "@" in name and normalize_email(each.email) == normalize_email(name)
        ]
        if len(found) > 1:
            ids = " or ".join(str(each.id) for each in found)
            raise ValueError(f"{len(found)} users have the address {name}: use an id, {ids}")
        if found:
            chosen[found[0].id] = found[0]
        else:
            missing.append(name)
    if missing:
        raise ValueError(f"not in the organization: {', '.join(map(repr, missing))}. Nothing was deleted")
    return list(chosen.values())


async def _each(rows: Sequence[Row], call: Callable[[Row], Awaitable[None]], *, as_json: bool) -> int:
    """Make the call for each row without an outcome, and show all outcomes, also if it is interrupted."""
    is_logged_out = False
    try:
        for row in rows:
            if row.outcome:
                continue
            row.outcome = "unknown"  # until there is a response
            try:
                await call(row)
            except EzeepError as error:
                row.outcome = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
                row.error = sentence(error)
                if is_logged_out := isinstance(error, ReauthorizationRequired):
                    break
    finally:
        for row in rows:
            row.outcome = row.outcome or "not_started"
        _show(rows, as_json=as_json)
    if is_logged_out:
        return LOG_IN_AGAIN
    return 1 if any(row.outcome in FAILED for row in rows) else 0


def _show(rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        write_json(to_json(rows))
    else:
        Screen().table(
            ("e-mail", "outcome", "id"),
            [(row.email, row.outcome.replace("_", " "), row.id or "") for row in rows],
        )
    for row in rows:
        if row.error:
            complain(f"{row.email}: {row.error}")
