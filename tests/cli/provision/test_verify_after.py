"""`ezeep provision apply --verify-after`: what others did meanwhile is repaired, or said."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path

import pytest
from helpers.command_line import Ran, ezeep
from helpers.organizations import people, write

from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.timeout(120)  # several processes one after the other

LIST_USERS = "GET /printing/v1/users/"


async def planned(sandbox: Sandbox, login: dict[str, str], tmp_path: Path, mode: str) -> str:
    """A kept plan that puts five people into a group that two of them are in, and one who is taken out."""
    team = sandbox.organization.add_group("Team").id
    for user in sandbox.organization.listed_users()[:3]:
        user.groups.add(team)
    source, kept = write(tmp_path / "team.csv", {"Team": people(sandbox, 6)[1:]}), str(tmp_path / "plan.json")
    ran = await ezeep("provision", "plan", str(source), "--mode", mode, "--out", kept, env=login)
    assert ran.code == 2
    sandbox.reset_counts()
    return kept


async def applied(
    sandbox: Sandbox, login: dict[str, str], kept: str, *options: str, leaves: int, joins: int
) -> Ran:
    """Apply it, while another writer removes one user from the group and adds another one."""
    users = [*sandbox.organization.listed_users()]
    team = next(group.id for group in sandbox.organization.groups.values() if group.name == "Team")
    hold = sandbox.faults.hold(LIST_USERS)
    running = asyncio.ensure_future(ezeep("provision", "apply", kept, "-y", *options, env=login))
    await hold.arrived()
    users[leaves].groups.discard(team)
    users[joins].groups.add(team)
    hold.release()
    return await running


async def test_exact_repairs_what_others_undid(
    sandbox: Sandbox, login: dict[str, str], tmp_path: Path
) -> None:
    kept = await planned(sandbox, login, tmp_path, "exact")
    ran = await applied(sandbox, login, kept, leaves=5, joins=0)
    assert (ran.code, ran.err) == (0, "")
    assert "! other writers undid 2 membership changes of this run. They were made again" in ran.out
    team = next(group for group in sandbox.organization.groups.values() if group.name == "Team")
    assert sandbox.organization.members(team.id) == {
        user.id for user in sandbox.organization.listed_users()[1:6]
    }


async def test_what_stays_different_is_exit_code_1(
    sandbox: Sandbox, login: dict[str, str], tmp_path: Path
) -> None:
    kept, report = await planned(sandbox, login, tmp_path, "exact"), tmp_path / "report.csv"
    users = [*sandbox.organization.listed_users()]
    ran = await applied(sandbox, login, kept, "--report", str(report), leaves=1, joins=9)
    assert ran.code == 1
    assert f"! {users[1].id} is not in 'Team' and should be" in ran.out
    assert f"! {users[9].id} is in 'Team' and should not be" in ran.out
    assert "memberships different afterwards: 2" in ran.out
    assert ran.err == (
        "ezeep: 2 memberships different after the run, because of other writers. Run the same again to make the missing "
        "changes\n"
    )
    with report.open(encoding="utf-8", newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)].count("different") == 2
    ran = await ezeep(
        "provision", "apply", str(tmp_path / "team.csv"), "--mode", "exact", "-y", "--json", env=login
    )
    shown = json.loads(ran.out)
    assert (ran.code, shown["ok"], shown["differences"], shown["unverified"]) == (0, True, [], "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "options", "listings"),
    [
        ("exact", ["--no-verify-after"], 0),
        ("exact", [], 2),
        ("add", [], 0),
        ("add", ["--verify-after"], 2),
    ],
)
async def test_exact_verifies_and_add_does_not_unless_it_is_said(
    sandbox: Sandbox, login: dict[str, str], tmp_path: Path, mode: str, options: list[str], listings: int
) -> None:
    kept = await planned(sandbox, login, tmp_path, mode)
    assert (await ezeep("provision", "apply", kept, "-y", *options, env=login)).code == 0
    assert sandbox.count(LIST_USERS) == listings  # pages of 100
