"""`ezeep export`: what it writes is what `ezeep provision plan` reads, and then there is nothing to do."""

from __future__ import annotations

import asyncio
import csv
import io
import stat
from pathlib import Path
from uuid import UUID

import pytest
from helpers.command_line import ezeep

from ezeep_async import AmbiguousName
from ezeep_async.cli.directory.export import export
from ezeep_async.provisioning import DesiredState
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.timeout(120)  # several processes one after the other

Capture = pytest.CaptureFixture[str]


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["add", "exact"])
async def test_export_plan_apply_is_a_round_trip(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, mode: str
) -> None:
    """With an empty plan in the middle: through a pipe, through a file, and after a change that was applied."""
    out = await ezeep("export", env=login)
    assert (out.code, out.err) == (0, "ezeep: left out: 'Test' (it has no members)\n")
    plan = await ezeep("provision", "plan", "-", "--mode", mode, env=login, stdin=out.out)
    assert (plan.code, plan.err) == (0, "")
    assert plan.out.startswith("nothing to change: ")

    path = tmp_path / "people.csv"
    assert (await ezeep("export", "--out", str(path), env=login)).out == ""
    assert path.read_text("utf-8") == out.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = out.out.splitlines()
    path.write_text("\n".join([*lines[:-1], "Test,second.user@example.com"]) + "\n", "utf-8")
    applied = await ezeep("provision", "apply", str(path), "--mode", mode, "--yes", env=login)
    assert applied.code == 0
    assert ("memberships removed: 1" in applied.out) == (mode == "exact")
    again = await ezeep("export", env=login)
    assert again.err == ""
    expected = {*lines, "Test,second.user@example.com"} - ({lines[-1]} if mode == "exact" else set())
    assert set(again.out.splitlines()) == expected
    plan = await ezeep("provision", "plan", "-", "--mode", mode, env=login, stdin=again.out)
    assert plan.code == 0


async def test_with_the_groups_of_other_directories(login: dict[str, str], sandbox: Sandbox) -> None:
    """They are left out, and exact leaves them as they are. Asked for, plan takes them with --allow-external only."""
    exported = (await ezeep("export", env=login)).out
    own = rows_of(exported)
    (wvd,) = [group for group in sandbox.organization.groups.values() if group.name == "WVD Printers"]
    assert sandbox.organization.num_members(wvd.id) > 0
    assert wvd.name not in {row[0] for row in own}
    unchanged = await ezeep("provision", "plan", "-", "--mode", "exact", env=login, stdin=exported)
    assert (unchanged.code, unchanged.out[:17]) == (0, "nothing to change")
    out = (await ezeep("export", "--include-external", env=login)).out
    organization = sandbox.organization
    assert len(rows_of(out)) - 1 == sum(organization.num_members(each) for each in organization.groups)
    refused = await ezeep("provision", "plan", "-", env=login, stdin=out)
    assert "another directory owns these groups" in refused.refused()
    arguments = ("--mode", "exact", "--allow-external")
    plan = await ezeep("provision", "plan", "-", *arguments, env=login, stdin=out)
    assert (plan.code, plan.err) == (0, "")


async def test_a_sandbox_is_the_same_each_time(tmp_path: Path) -> None:
    """--sandbox begins one for each command: what one exports, another has."""
    out = await ezeep("export", "--sandbox", "--out", "people.csv", folder=tmp_path)
    assert out.code == 0
    plan = await ezeep("provision", "plan", "people.csv", "--sandbox", "--mode", "exact", folder=tmp_path)
    assert (plan.code, plan.err) == (0, "")


@pytest.mark.usefixtures("login")
async def test_what_it_writes(capsys: Capture, sandbox: Sandbox, tmp_path: Path) -> None:
    """Sorted; an id where the address is missing, unreadable or not of one person; quotes where they are needed."""
    organization = sandbox.organization
    group = organization.add_group('Gruppe "Süd", 2. Stock')
    hidden = organization.add_group("a\x07b")
    users = organization.listed_users()[:6]
    for user in users:
        user.groups.add(group.id)
    users[0].groups.add(hidden.id)
    twins = [organization.people[user.id] for user in users[:2]]
    twins[0].email, twins[1].email = "Twin@example.com", "twin@example.com "
    organization.people[users[2].id].email = "not an address"
    organization.people[users[3].id].email = ""
    organization.people[users[4].id].email = "  Über@Example.com"
    await export()
    captured = capsys.readouterr()
    rows = rows_of(captured.out)
    found = [row[1] for row in rows if row[0] == group.name]
    ids = {str(user.id) for user in users[:4]}
    assert set(found) == ids | {"über@example.com", organization.people[users[5].id].email}
    assert rows[0] == ["group", "member"]
    assert rows[1:] == sorted(rows[1:])
    assert (
        "'a\N{REPLACEMENT CHARACTER}b' (its name cannot be read again)" in captured.err
        or "a\\x07b" in captured.err
    )
    read = DesiredState.from_bytes(captured.out.encode(), "csv", source="it")
    assert sum(map(len, read.groups.values())) == len(rows) - 1


@pytest.mark.usefixtures("login")
async def test_without_access_to_the_directory_ids_are_exported(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.faults.add("GET /v1/users/", status=403, times=None)
    await export()
    rows = rows_of(capsys.readouterr().out)
    assert len(rows) > 50
    assert all(UUID(member) in sandbox.organization.users for _, member in rows[1:])


@pytest.mark.usefixtures("login")
async def test_4_4_a_row_that_a_reading_skips_is_read_again(capsys: Capture, sandbox: Sandbox) -> None:
    """4-4, 7-4: a user goes between two pages, and the first one of the second page with it: exact would take it out."""
    organization = sandbox.organization
    gone, skipped = organization.listed_users()[0].id, organization.listed_users()[100]
    skipped.groups.add(next(group.id for group in organization.groups.values() if group.name == "Test"))
    hold = sandbox.faults.hold(
        "GET /printing/v1/users/", times=1, when=lambda request: request.query.get("offset") == "100"
    )
    exporting = asyncio.create_task(export())
    await hold.arrived()
    organization.remove_user(gone)
    hold.release()
    await exporting
    assert ["Test", organization.people[skipped.id].email] in rows_of(capsys.readouterr().out)


@pytest.mark.usefixtures("login")
async def test_two_groups_of_one_name_cannot_be_exported(capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.organization.add_group("Sales ")
    with pytest.raises(
        AmbiguousName, match="2 groups are named 'Sales', and the file contains only names: rename all but"
    ):
        await export()
    assert capsys.readouterr().out == ""


async def test_names_that_a_spreadsheet_would_calculate_are_a_round_trip(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    user = sandbox.organization.listed_users()[0]
    for name in ("=1+1", "'=1+1", "\uff0bplus", "-1;=2", "'quoted'"):
        user.groups.add(sandbox.organization.add_group(name).id)
    sandbox.organization.people[user.id].email = "+tag@example.com"
    path = tmp_path / "people.csv"
    assert (await ezeep("export", "--out", str(path), env=login)).code == 0
    cells = [cell for row in rows_of(path.read_text("utf-8")) for cell in row]
    assert {"'=1+1", "''=1+1", "'\uff0bplus", "'-1;=2", "'quoted'", "'+tag@example.com"} <= set(cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\uff0b"))]
    plan = await ezeep("provision", "plan", str(path), "--mode", "exact", env=login)
    assert (plan.code, plan.err) == (0, "")
