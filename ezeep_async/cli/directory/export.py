"""`ezeep export`: the organization as the CSV that `ezeep provision plan` reads."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID

from ezeep_async import (
    AmbiguousName,
    DesiredState,
    Group,
    InvalidInput,
    Person,
    PrinterAssignment,
)
from ezeep_async.cli.connection import HERE, Connection, OutFile, open_session
from ezeep_async.cli.directory.lookup import (
    PAGES_AT_ONCE,
    all_groups,
    as_id,
    listed,
    with_name,
)
from ezeep_async.cli.files import check_different, write_private
from ezeep_async.cli.terminal.output import complain, write_document
from ezeep_async.provisioning import normalize_email, normalize_group_name, write_csv
from ezeep_async.provisioning.wording import some


async def export(
    *,
    out: OutFile = None,
    printers: OutFile = None,
    include_external: bool = False,
    excel: bool = False,
    connection: Connection = HERE,
) -> None:
    """Write groups and members as CSV with the columns group and member, for ezeep provision plan.

    A member is an e-mail address, or an id if the address is unknown or not unique. Without changes to the file, plan
    finds nothing to do, also with --mode exact. Groups without members are left out: the file cannot contain them.

    Args:
        out: The file; by default standard output.
        printers: A second file, for the printers of the groups: CSV with the columns group and printer. A printer is a
            name, or an id if the name is not unique.
        include_external: Also write the members of groups of another directory, such as Azure. plan and apply then need
            --allow-external. Their printers are always written.
        excel: Write the files as Excel opens them with a double click: UTF-8 with a byte order mark, semicolons between the
            columns. plan reads them, and what Excel saves as "CSV UTF-8".
    """
    if out is not None and printers is not None:
        await asyncio.to_thread(check_different, printers, "--printers", out, "--out")
    async with open_session(connection) as session:
        # Complete listings: --mode exact would remove a member whose row is missing.
        groups = await all_groups(session)
        people = await listed(session.people.list(concurrency=PAGES_AT_ONCE))
        rows_of_printers = None
        if printers is not None:
            rows_of_printers = await listed(session.printer_assignments.list(concurrency=PAGES_AT_ONCE))
    wanted = [group for group in groups if include_external or not group.is_external]
    rows, left_out = members_by_group(wanted, people)
    _check_names(rows, groups)
    text = _table(rows, "member", excel=excel)
    table = None
    if rows_of_printers is not None:
        printer_rows, unreadable = printers_by_group(groups, rows_of_printers)
        left_out = {**unreadable, **left_out}
        _check_names(printer_rows, groups)
        table = _table(printer_rows, "printer", excel=excel)
    if printers is not None and table is not None:
        await asyncio.to_thread(write_private, printers, table)
    if out is None:
        write_document(text)
    else:
        await asyncio.to_thread(write_private, out, text)
    if left_out:
        complain(f"left out: {some([f'{name!r} ({why})' for name, why in left_out.items()])}")


def _table(rows: Mapping[str, Sequence[str]], column: Literal["member", "printer"], *, excel: bool) -> str:
    text = io.StringIO(newline="")
    write_csv(rows, text, column, excel=excel)
    return text.getvalue()


def printers_by_group(
    groups: Iterable[Group], printers: Sequence[PrinterAssignment]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return group names to printers, both sorted, and the names of groups that are left out, with the reason.

    A group without printers is not in either.
    """
    times = Counter(normalize_group_name(printer.printer_name) for printer in printers)
    by_group: dict[UUID, list[str]] = {}
    for printer in printers:
        name = normalize_group_name(printer.printer_name)
        is_id = as_id(name) is not None
        text = name if times[name] == 1 and not is_id and _readable("group", [], [name]) else str(printer.id)
        for group_id in printer.group_ids:
            by_group.setdefault(group_id, []).append(text)
    rows: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: normalize_group_name(group.name)):
        if group.id not in by_group:
            continue
        if _readable(group.name, []):
            rows[normalize_group_name(group.name)] = sorted(by_group[group.id])
        else:
            left_out[group.name] = "plan would refuse its name"
    return rows, left_out


def members_by_group(
    groups: Iterable[Group], people: Sequence[Person]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return group names to members, both sorted, and the names of groups that are left out, with the reason."""
    members = _names_of(people)
    by_group: dict[UUID, list[str]] = {}
    for person in people:
        for group_id in person.group_ids:
            by_group.setdefault(group_id, []).append(members[person.id])
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


def _names_of(people: Sequence[Person]) -> dict[UUID, str]:
    """The address of each user, or the id if several users have the address, or if `plan` would refuse it."""
    emails = {person.id: normalize_email(person.email) for person in people}
    times = Counter(emails.values())
    return {
        user_id: email if email and times[email] == 1 and _readable("group", [email]) else str(user_id)
        for user_id, email in emails.items()
    }


def _readable(group: str, members: list[str], printers: Sequence[str] = ()) -> bool:
    try:
        DesiredState.from_mapping({group: members}, {group: printers})
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
