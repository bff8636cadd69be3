"""7-8, 7-15: "failed" is certainly not written, "unknown" may be written, and undo relies on the difference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from helpers.provisioned import (
    GET_USER,
    LIST_GROUPS,
    PATCH_USER,
    POST_GROUP,
    add_team,
    emails,
    group_named,
    members,
    names,
    new_team,
)

from ezeep_async import EzeepError, EzeepSession, Plan, Settings
from ezeep_async.provisioning import ChangeMemberships, DeleteGroup, DesiredState
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the log is read by the session, in a thread

ONCE = Settings(retries=0, connect_timeout=2.0, read_timeout=5.0)
AGAIN = Settings(retries=2, connect_timeout=2.0, read_timeout=5.0)
DELETE_GROUP = "DELETE /printing/v1/groups/{id}/"


def a_session(sandbox: Sandbox, settings: Settings = ONCE) -> EzeepSession:
    return EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=settings
    )


def echo(user_id: UUID, *groups: UUID) -> str:
    """A response in which the user has these groups."""
    listed = ", ".join(f'{{"group_id": "{group}"}}' for group in groups)
    return f'{{"id": "{user_id}", "groups": [{listed}]}}'


# --- gone, or not let through --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", ["fresh", "trust-plan"])
async def test_7_11_a_404_to_the_write_alone_does_not_mean_that_the_user_is_gone(
    sandbox: Sandbox, verify
) -> None:
    """7-11: a proxy rejects every PATCH with its own page. All users are still members, and every row has failed."""
    add_team(sandbox, 8)
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(
            DesiredState.from_mapping({"Team": emails(sandbox, 4)}), mode="exact"
        )
        sandbox.faults.add(PATCH_USER, status=404, times=None, body="<html>", content_type="text/html")
        report = await session.provisioning.apply(plan, verify=verify)
    assert report.counts == {"failed": 4}
    assert not report.ok
    assert "404" in str(report.rows[0].error)
    assert len(members(sandbox, "Team")) == 8


async def test_7_11_a_user_who_cannot_be_read_after_a_404_is_not_gone(sandbox: Sandbox) -> None:
    add_team(sandbox, 8)
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(
            DesiredState.from_mapping({"Team": emails(sandbox, 7)}), mode="exact"
        )
        sandbox.faults.add(PATCH_USER, status=404)
        sandbox.faults.add(GET_USER, nth=2, status=500)
        report = await session.provisioning.apply(plan)
    assert report.counts == {"failed": 1}


async def test_7_11_a_user_who_is_deleted_between_the_read_and_the_write_is_absent(sandbox: Sandbox) -> None:
    add_team(sandbox, 8)
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(
            DesiredState.from_mapping({"Team": emails(sandbox, 7)}), mode="exact"
        )
        sandbox.faults.add(PATCH_USER, status=404)
        sandbox.faults.add(GET_USER, nth=2, status=404)
        report = await session.provisioning.apply(plan)
    assert report.counts == {"already_absent": 1}
    assert report.ok


@pytest.mark.slow
async def test_7_11_a_404_to_a_deletion_alone_does_not_mean_that_the_group_is_gone(sandbox: Sandbox) -> None:
    group = sandbox.organization.add_group("Empty")
    plan = Plan(changes=(DeleteGroup(group.id, "Empty"),), mode="undo")
    async with a_session(sandbox) as session:
        sandbox.faults.add(DELETE_GROUP, status=404)
        assert (await session.provisioning.apply(plan)).counts == {"failed": 1}
        assert "Empty" in names(sandbox)
        assert (await session.provisioning.apply(plan)).counts == {"deleted": 1}


# --- written, and then an error ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 500])
async def test_7_15_a_read_that_fails_after_a_successful_write(
    sandbox: Sandbox, tmp_path: Path, status: int
) -> None:
    """7-15: the response has other groups than were written. The outcome is unknown, and undo reverts it."""
    log = tmp_path / "audit.jsonl"
    user = sandbox.organization.listed_users()[3]
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": [user.id]}))
        sandbox.faults.add(PATCH_USER, status=200, processed=True, body=echo(user.id))
        sandbox.faults.add(GET_USER, nth=2, status=status)
        report = await session.provisioning.apply(plan, audit_log=log)
        assert report.counts == {"created": 1, "unknown": 1}
        assert len(members(sandbox, "Team")) == 1
        (await session.provisioning.apply(await session.provisioning.undo(log))).raise_for_failures()
    assert members(sandbox, "Team") == set()


async def test_7_15_a_user_who_is_not_found_after_a_successful_removal(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    add_team(sandbox, 8)
    user = sandbox.organization.listed_users()[7]
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(
            DesiredState.from_mapping({"Team": emails(sandbox, 7)}), mode="exact"
        )
        team = group_named(sandbox, "Team")
        sandbox.faults.add(PATCH_USER, status=200, processed=True, body=echo(user.id, team.id))
        sandbox.faults.add(GET_USER, nth=2, status=404)
        assert (await session.provisioning.apply(plan, audit_log=log)).counts == {"unknown": 1}
        assert team.id not in user.groups
        (await session.provisioning.apply(await session.provisioning.undo(log))).raise_for_failures()
    assert team.id in user.groups


async def test_7_15_the_first_write_succeeds_and_the_second_is_rejected(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    user = sandbox.organization.listed_users()[3]
    one, two = (sandbox.organization.add_group(name) for name in ("One", "Two"))
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(
            DesiredState.from_mapping({"One": [user.id], "Two": [user.id]})
        )
        sandbox.faults.add(PATCH_USER, status=200, processed=True, body=echo(user.id, one.id))
        sandbox.faults.add(GET_USER, nth=2, status=200, body=echo(user.id, one.id))
        sandbox.faults.add(PATCH_USER, nth=2, status=400)
        report = await session.provisioning.apply(plan, audit_log=log)
        assert report.counts == {"unknown": 1}
        assert {one.id, two.id} <= set(user.groups)
        (await session.provisioning.apply(await session.provisioning.undo(log))).raise_for_failures()
    assert not {one.id, two.id} & set(user.groups)


# --- several attempts ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        ({"status": 429, "retry_after": 0}, "failed"),
        ({"status": 503, "retry_after": 0}, "failed"),
        ({"status": 504, "processed": True}, "unknown"),
        ({"status": 500, "processed": True}, "unknown"),
        ({"drop": "after"}, "unknown"),
        ({"drop": "before"}, "unknown"),
    ],
)
async def test_7_15_a_rejection_after_an_earlier_attempt_that_may_have_been_carried_out(
    sandbox: Sandbox, tmp_path: Path, first: dict[str, object], outcome: str
) -> None:
    """7-15: a 429 or 503 never was carried out, so undo keeps what other writers have made since."""
    log = tmp_path / "audit.jsonl"
    team = sandbox.organization.add_group("Team")
    user = sandbox.organization.listed_users()[3]
    async with a_session(sandbox, AGAIN) as session:
        plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": [user.id]}))
        sandbox.faults.add(PATCH_USER, **first)
        sandbox.faults.add(PATCH_USER, nth=2, status=400)
        report = await session.provisioning.apply(plan, audit_log=log)
        assert (report.counts, report.rows[0].attempts) == ({outcome: 1}, 2)
        user.groups.add(team.id)
        assert (await session.provisioning.undo(log)).is_empty is (outcome == "failed")


async def test_7_15_a_creation_whose_lookup_fails_is_unknown(sandbox: Sandbox, tmp_path: Path) -> None:
    """7-15: the response to the creation is lost, and the listing that should show the group is refused."""
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(new_team(sandbox, 1))
        lost = sandbox.faults.add(POST_GROUP, drop="after")
        sandbox.faults.add(LIST_GROUPS, when=lambda _: lost.hits > 0, status=403)
        report = await session.provisioning.apply(plan, audit_log=tmp_path / "log")
        assert report.rows[0].outcome == "unknown"
        undo = await session.provisioning.undo(tmp_path / "log", delete_groups=True)
        await session.provisioning.apply(undo)
    assert "Team" not in names(sandbox)


async def test_7_15_a_failed_read_is_not_an_unknown_write(sandbox: Sandbox) -> None:
    async with a_session(sandbox) as session:
        for fault in ({"drop": "after"}, {"status": 504}):
            sandbox.faults.add(GET_USER, **fault)
            with pytest.raises(EzeepError) as caught:
                await session.users.get(sandbox.organization.listed_users()[0].id)
            assert not caught.value.may_have_happened


async def test_7_13_a_write_that_the_end_of_the_session_interrupts_is_unknown(sandbox: Sandbox) -> None:
    """7-13: the session is closed during the write, which has arrived."""
    async with a_session(sandbox) as session:
        plan = await session.provisioning.plan(new_team(sandbox, 1))
        hold = sandbox.faults.hold(PATCH_USER)
        running = asyncio.ensure_future(session.provisioning.apply(plan))
        await hold.arrived()
        await session.aclose()
        report = await running
        hold.release()
    (row,) = [row for row in report.rows if isinstance(row.change, ChangeMemberships)]
    assert row.outcome == "unknown"
