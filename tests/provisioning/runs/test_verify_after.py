"""`apply(..., verify_after=True)`: what other writers undid is found, written again, and reported if it does not last."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import attrs
import pytest
from helpers.provisioned import (
    LIST_USERS,
    PATCH_USER,
    add_team,
    emails,
    group_named,
    members,
    new_team,
    state,
)
from helpers.support import open_session

from ezeep_async import EzeepSession, report_of
from ezeep_async.provisioning import DesiredState, Event, Plan, ProvisioningFailed
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the audit log


def disturb(sandbox: Sandbox, team: UUID, numbers: dict[int, bool]) -> Callable[[Event], None]:
    """A callback that adds users to a group, or removes them, as another writer might, after the last change."""
    users = [*sandbox.organization.listed_users()]

    def undo(event: Event) -> None:
        if event.done == event.total:
            for number, joins in numbers.items():
                (users[number].groups.add if joins else users[number].groups.discard)(team)

    return undo


async def test_what_others_undid_is_written_again(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    team = add_team(sandbox, 4)
    before, log = state(sandbox), tmp_path / "audit.jsonl"
    wanted = set(emails(sandbox)[2:8])
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": wanted}), mode="exact")
    report = await session.provisioning.apply(
        plan,
        on_event=disturb(sandbox, team.id, {0: True, 5: False}),
        audit_log=log,
        verify_after=True,
    )
    assert members(sandbox, "Team") == wanted
    assert (report.ok, report.differences, report.unverified) == (True, (), "")
    assert report.warnings == ("other writers undid 2 membership changes of this run. They were made again",)
    assert report.summary() == "6 updated (1 warning)"
    assert (report.memberships_added, report.memberships_removed) == (4, 2)
    undo = await session.provisioning.undo(log)
    (await session.provisioning.apply(undo)).raise_for_failures()
    assert state(sandbox) == before


async def test_without_verify_after_nothing_is_listed_and_nothing_is_found(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    team = add_team(sandbox, 4)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox, 6)}), mode="exact"
    )
    sandbox.reset_counts()
    report = await session.provisioning.apply(plan, on_event=disturb(sandbox, team.id, {5: False}))
    assert (report.ok, sandbox.count(LIST_USERS)) == (True, 0)


@pytest.mark.parametrize("mode", ["add", "exact"])
async def test_one_listing_if_nothing_differs(sandbox: Sandbox, session: EzeepSession, mode: str) -> None:
    add_team(sandbox, 4)
    desired = DesiredState.from_mapping(
        {"Team": emails(sandbox)[2:8], "New": emails(sandbox, 3), "Empty": []}
    )
    plan = await session.provisioning.plan(desired, mode=mode)
    sandbox.reset_counts()
    report = await session.provisioning.apply(plan, verify_after=True)
    assert (report.ok, report.warnings) == (True, ())
    assert sandbox.count(LIST_USERS) == 2  # pages of 100


async def test_a_new_group_is_verified_too(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 3), mode="exact")
    users = sandbox.organization.listed_users()

    def undo(event: Event) -> None:
        if event.done == event.total:
            team = group_named(sandbox, "Team").id
            users[0].groups.discard(team)
            users[9].groups.add(team)

    report = await session.provisioning.apply(plan, on_event=undo, verify_after=True)
    assert members(sandbox, "Team") == {*emails(sandbox, 3), emails(sandbox)[9]}
    assert [(each.user_id, each.group, each.is_member) for each in report.differences] == [
        (users[9].id, "Team", True)
    ]


async def test_differences_outside_the_plan_are_reported_and_not_repaired(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    team = add_team(sandbox, 4)
    users, people = sandbox.organization.listed_users(), emails(sandbox)
    desired = DesiredState.from_mapping({"Team": people[1:6]})
    plan = Plan.from_json((await session.provisioning.plan(desired, mode="exact")).to_json())
    # 3 was in and should stay, 8 was not in and should not be: neither is in the plan.
    report = await session.provisioning.apply(
        plan, on_event=disturb(sandbox, team.id, {3: False, 8: True}), verify_after=True
    )
    assert members(sandbox, "Team") == {*people[1:6], people[8]} - {people[3]}
    assert not report.ok
    assert not report.failures
    assert report.summary() == "3 updated, 2 memberships different afterwards"
    assert {str(each) for each in report.differences} == {
        f"{users[3].id} is not in 'Team' and should be",
        f"{users[8].id} is in 'Team' and should not be",
    }
    with pytest.raises(ProvisioningFailed, match=r"2 memberships different after the run: .* in 'Team'"):
        report.raise_for_failures()
    table, lines = io.StringIO(newline=""), io.BytesIO()
    report.write_csv(table)
    report.write_jsonl(lines)
    rows = [*csv.DictReader(io.StringIO(table.getvalue()))]
    assert [row["outcome"] for row in rows] == ["updated"] * 3 + ["different"] * 2
    assert [json.loads(line)["outcome"] for line in lines.getvalue().splitlines()][-1] == "different"
    assert {row["user_id"] for row in rows[3:]} == {str(users[3].id), str(users[8].id)}
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert [*values["rows"], *values["differences"]] == [*map(json.loads, lines.getvalue().splitlines())]
    assert (values["ok"], values["counts"]) == (False, {"updated": 3})
    # In mode "add" others may join.
    added = await session.provisioning.plan(DesiredState.from_mapping({"Team": people[:4]}))
    report = await session.provisioning.apply(
        added, on_event=disturb(sandbox, team.id, {9: True}), verify_after=True
    )
    assert report.ok


async def test_a_writer_that_keeps_undoing_a_change_leaves_a_report_that_is_not_ok(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    team = add_team(sandbox, 2)
    user = sandbox.organization.listed_users()[5]
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": emails(sandbox, 6)}))
    running = True

    async def other() -> None:
        while running:
            user.groups.discard(team.id)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    try:
        report = await session.provisioning.apply(plan, verify_after=True)
    finally:
        running = False
        await task
    (difference,) = [each for each in report.differences if each.user_id == user.id]
    assert (report.ok, difference.is_member) == (False, False)
    assert "should be" in str(difference)


@pytest.mark.slow
async def test_two_sessions_that_write_to_the_same_users_at_once(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """Read, merge and write of another session at the same time."""
    add_team(sandbox, 10)
    other_group = sandbox.organization.add_group("Other")
    users = [*sandbox.organization.listed_users()][:20]
    wanted = set(emails(sandbox)[5:20])
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": wanted}), mode="exact", max_removals=10
    )
    sandbox.behaviour.latency = 0.002
    async with open_session(sandbox) as other:
        moving = [asyncio.ensure_future(other.users.add_to_groups(user.id, other_group.id)) for user in users]
        applying = asyncio.ensure_future(session.provisioning.apply(plan, verify_after=True))
        await asyncio.gather(*moving, return_exceptions=True)
        report = await applying
    assert members(sandbox, "Team") == wanted or not report.ok
    assert report.ok == (members(sandbox, "Team") == wanted)


async def test_protected_members_and_changes_that_failed_are_no_differences(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    add_team(sandbox, 6)
    people = emails(sandbox)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": people[3:8], "Support": []}),
        mode="exact",
        protect_users=[people[0]],
        protect_groups=["Support"],
    )
    assert plan.held_back
    sandbox.faults.add(PATCH_USER, status=403, times=1)
    report = await session.provisioning.apply(plan, concurrency=1, verify_after=True)
    assert (report.counts["failed"], report.differences, report.unverified) == (1, (), "")
    assert report.counts["updated"] == len(plan.changes) - 1


async def test_users_that_are_gone_are_no_differences(sandbox: Sandbox, session: EzeepSession) -> None:
    team = add_team(sandbox, 2)
    users = [*sandbox.organization.listed_users()]
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": emails(sandbox, 6)}))

    def leave(event: Event) -> None:
        if event.done == event.total:
            for number in (1, 5):
                sandbox.organization.remove_user(users[number].id)

    report = await session.provisioning.apply(plan, on_event=leave, verify_after=True)
    assert report.ok
    assert sandbox.organization.num_members(team.id) == 4


async def test_a_failed_listing_is_reported_and_the_report_is_not_ok(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    sandbox.faults.add(LIST_USERS, status=403, times=None)
    report = await session.provisioning.apply(plan, verify_after=True)
    assert (report.ok, report.failures, report.differences) == (False, (), ())
    assert "could not be listed" in report.unverified
    assert report.summary() == "1 created, 3 updated, not verified"
    with pytest.raises(ProvisioningFailed, match=r"nothing verified: .*403"):
        report.raise_for_failures()


async def test_a_run_that_is_cancelled_during_its_verification(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    hold = sandbox.faults.hold(LIST_USERS)
    running = asyncio.ensure_future(session.provisioning.apply(plan, verify_after=True))
    await hold.arrived()
    running.cancel()
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as ended:
        await running
    report = report_of(ended.value)
    assert report is not None
    assert report.counts == {"created": 1, "updated": 3}
    assert not report.ok
    assert "before its result was compared" in report.unverified
    hold.release()


async def test_plans_of_version_1_are_verified_by_their_changes(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    team = add_team(sandbox, 4)
    people = emails(sandbox)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": people[2:6]}), mode="exact")
    document = json.loads(plan.to_json())
    assert document["version"] == 2
    del document["members"]
    with pytest.raises(ValueError, match="members is missing"):
        Plan.from_json(json.dumps(document))
    kept = Plan.from_json(json.dumps({**document, "version": 1}))
    assert kept == attrs.evolve(plan, members={})
    report = await session.provisioning.apply(
        kept, on_event=disturb(sandbox, team.id, {0: True, 4: False}), verify_after=True
    )
    assert report.ok
    assert members(sandbox, "Team") == set(people[2:6])
