"""`ezeep export`: the organization as the CSV that `ezeep provision plan` reads."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from uuid import UUID

from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.directory.lookup import read_directory
from ezeep_async.cli.options import OutFile
from ezeep_async.cli.terminal.private_files import write_private
from ezeep_async.cli.terminal.screen import complain, write_document
from ezeep_async.errors import AmbiguousName
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.groups import Group
from ezeep_async.models.users import User
from ezeep_async.provisioning.inputs.csv_tables import write_csv
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.inputs.problems import InvalidInput
from ezeep_async.provisioning.names import normalize_email, normalize_group_name
from ezeep_async.provisioning.plans.snapshot import READERS
from ezeep_async.provisioning.wording import some
from ezeep_async.resources._base import listed


async def export(
    *, out: OutFile = None, include_external: bool = False, connection: Connection = HERE
) -> None:
    """Write groups and members as CSV with the columns group and member, for ezeep provision plan.

    A member is an e-mail address, or an id where the directory has no address of its own for it. Nothing changed in the
    file is nothing to do for plan, with --mode exact too. A group with no members cannot be written down so, and is left out.

    Parameters
    ----------
    out
        The file; by default standard output.
    include_external
        Also the groups that another directory owns, such as Azure. plan and apply then need --allow-external.
    """
    async with open_session(connection) as session:
        # A row that a reading skipped would be somebody whom --mode exact takes out.
        groups = await listed(session.groups.list(concurrency=READERS))
        users = await listed(session.users.list(concurrency=READERS))
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
        complain(
            f"left out, as no line can say it: {some([f'{name!r} ({why})' for name, why in left_out.items()])}"
        )


def members_by_group(
    groups: Iterable[Group], users: Iterable[User], people: Mapping[UUID, AccountUser]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Group names to members, both sorted, and the names of the groups that cannot be written down, with the reason."""
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
            left_out[group.name] = "its name cannot be read again"
        elif group.id not in by_group:
            left_out[group.name] = "it has no members"
        else:
            rows[normalize_group_name(group.name)] = sorted(by_group[group.id])
    return rows, left_out


def _names_of(users: Iterable[User], people: Mapping[UUID, AccountUser]) -> dict[UUID, str]:
    """What to call each of them: the address, unless somebody else has it too, or `plan` would not read it."""
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


def _check_names(rows: Mapping[str, object], groups: Iterable[Group]) -> None:
    """Raise `AmbiguousName` where a name does not say which group is meant. `plan` would refuse the file."""
    by_name: dict[str, list[UUID]] = {}
    for group in groups:
        by_name.setdefault(normalize_group_name(group.name), []).append(group.id)
    for name in rows:
        if len(ids := by_name[name]) > 1:
            raise AmbiguousName(
                f"{len(ids)} groups are named {name!r}, and a file has only names: rename all but one "
                f"({', '.join(map(str, ids))})",
                ids=ids,
            )
