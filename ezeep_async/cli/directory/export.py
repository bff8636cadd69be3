"""`ezeep export`: the organization as the CSV that `ezeep provision plan` reads."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from ezeep_async import AccountUser, AmbiguousName, DesiredState, Group, InvalidInput, User
from ezeep_async.cli.connection import HERE, Connection, OutFile, open_session
from ezeep_async.cli.directory.lookup import PAGES_AT_ONCE, all_groups, listed, read_directory, with_name
from ezeep_async.cli.files import write_private
from ezeep_async.cli.terminal.output import complain, write_document
from ezeep_async.provisioning import normalize_email, normalize_group_name, write_csv
from ezeep_async.provisioning.wording import some


async def export(
    *, out: OutFile = None, include_external: bool = False, connection: Connection = HERE
) -> None:
    """Write groups and members as CSV with the columns group and member, for ezeep provision plan.

    A member is an e-mail address, or an id if the address is unknown or not unique. Without changes to the file, plan
    finds nothing to do, also with --mode exact. Groups without members are left out: the file cannot contain them.

    Args:
        out: The file; by default standard output.
        include_external: Also write groups of another directory, such as Azure. plan and apply then need
            --allow-external.
    """
    async with open_session(connection) as session:
        # Complete listings: --mode exact would remove a member whose row is missing.
        groups = await all_groups(session)
        users = await listed(session.users.list(concurrency=PAGES_AT_ONCE))
        people = await read_directory(session)
    wanted = [group for group in groups if include_external or not group.origin.is_external]
    rows, left_out = members_by_group(wanted, users, people)
    _check_names(rows, groups)
    text = io.StringIO(newline="")
    write_csv(rows, text)
    if out is None:
        write_document(text.getvalue())
    else:
        await asyncio.to_thread(write_private, out, text.getvalue())
    if left_out:
        complain(f"left out: {some([f'{name!r} ({why})' for name, why in left_out.items()])}")


def members_by_group(
    groups: Iterable[Group], users: Iterable[User], people: Mapping[UUID, AccountUser]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return group names to members, both sorted, and the names of groups that are left out, with the reason."""
    users = list(users)
    members = _names_of(users, people)
    by_group: dict[UUID, list[str]] = {}
    for user in users:
        for group_id in user.group_ids:
            by_group.setdefault(group_id, []).append(members[user.id])
    rows: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: normalize_group_name(group.name)):
        if not _readable(group.name, []):
            left_out[group.name] = "plan would refuse its name"
        elif group.id not in by_group:
            left_out[group.name] = "it has no members"
        else:
            rows[normalize_group_name(group.name)] = sorted(by_group[group.id])
    return rows, left_out


def _names_of(users: Iterable[User], people: Mapping[UUID, AccountUser]) -> dict[UUID, str]:
    """The address of each user, or the id if several users have the address, or if `plan` would refuse it."""
    emails = {
        user.id: normalize_email(person.email)
        for user in users
        if (person := people.get(user.id)) is not None
    }
    times = Counter(emails.values())
    return {
        user.id: email
        if (email := emails.get(user.id, "")) and times[email] == 1 and _readable("group", [email])
        else str(user.id)
        for user in users
    }


def _readable(group: str, members: list[str]) -> bool:
    try:
        DesiredState.from_mapping({group: members})
    except InvalidInput:
        return False
    return True


def _check_names(rows: Iterable[str], groups: Sequence[Group]) -> None:
    """Raise `AmbiguousName` if several groups have a name: `plan` would refuse the file."""
    times = Counter(normalize_group_name(group.name) for group in groups)
    for name in rows:
        if times[name] > 1:
            ids = [group.id for group in with_name(groups, name)]
            raise AmbiguousName(
                f"{len(ids)} groups are named {name!r}, and the file contains only names: rename all but one "
                f"({', '.join(map(str, ids))})",
                ids=ids,
            )
