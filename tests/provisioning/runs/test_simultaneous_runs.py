"""7-10: two runs of one input at the same time. What no client can prevent is reported."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from helpers.provisioned import LIST_GROUPS, POST_GROUP, emails, group_named, names, new_team

from ezeep_async import EzeepSession
from ezeep_async.provisioning import DesiredState, report_of
from ezeep_async.provisioning.runs.apply import Verify
from ezeep_async.sandbox import Sandbox


def another(sandbox: Sandbox) -> EzeepSession:
    return EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)


@pytest.mark.parametrize("verify", ["fresh", "trust-plan"])
async def test_two_runs_of_one_input_create_each_group_once(
    sandbox: Sandbox, session: EzeepSession, verify: Verify
) -> None:
    """Both read the groups before either created one. The sessions share no token store, only the process."""
    desired = DesiredState.from_mapping({f"Team {n}": emails(sandbox, 2) for n in range(5)})
    async with another(sandbox) as other:
        plans = [await each.provisioning.plan(desired) for each in (session, other)]
        hold = sandbox.faults.hold(POST_GROUP)
        runs = [
            asyncio.ensure_future(each.provisioning.apply(plan, concurrency=5, verify=verify))
            for each, plan in zip((session, other), plans, strict=True)
        ]
        await hold.arrived(5)
        hold.release()
        reports = await asyncio.gather(*runs)
    assert all(report.ok and report.warnings == () for report in reports)
    assert sum((report.counts for report in reports), Counter())["created"] == 5
    made = [group for group in sandbox.organization.groups.values() if group.name.startswith("Team ")]
    assert len(made) == 5
    assert {len(sandbox.organization.members(group.id)) for group in made} == {2}


async def test_7_10_a_group_that_another_writer_creates_at_the_same_time_is_reported(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-10: with surrounding white space too."""
    plan = await session.provisioning.plan(new_team(sandbox, 2))
    hold = sandbox.faults.hold(POST_GROUP)
    running = asyncio.ensure_future(session.provisioning.apply(plan))
    await hold.arrived()
    twin = sandbox.organization.add_group(" Team ")
    hold.release()
    (warning,) = (await running).warnings
    assert str(twin.id) in warning
    assert str(group_named(sandbox, "Team").id) in warning


async def test_7_10_a_run_without_other_writers_has_no_warnings(
    sandbox: Sandbox, session: EzeepSession, caplog: pytest.LogCaptureFixture
) -> None:
    """7-10: a run lists the groups after its creations, and not without creations."""
    report = await session.provisioning.apply(await session.provisioning.plan(new_team(sandbox, 2)))
    assert (report.warnings, report.summary(), caplog.text) == ((), "1 created, 2 updated", "")
    plan = await session.provisioning.plan(new_team(sandbox, 4))
    sandbox.reset_counts()
    await session.provisioning.apply(plan)
    assert sandbox.count(LIST_GROUPS) == 1


async def test_7_10_a_failed_listing_after_the_creations_is_reported_and_stops_no_change(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 2))
    sandbox.reset_counts()
    sandbox.faults.add(LIST_GROUPS, status=403, when=lambda _: sandbox.count(POST_GROUP) > 0)
    report = await session.provisioning.apply(plan)
    assert report.counts == {"created": 1, "updated": 2}
    (warning,) = report.warnings
    assert "not known" in warning
    assert "403" in warning


@pytest.mark.parametrize("times", [1, 2])
async def test_7_13_a_cancellation_during_the_listing_after_the_creations(
    sandbox: Sandbox, session: EzeepSession, times: int
) -> None:
    """7-13: a second cancellation cancels the listing, and the created group is in the report."""
    plan = await session.provisioning.plan(new_team(sandbox, 2))
    sandbox.reset_counts()
    hold = sandbox.faults.hold(LIST_GROUPS, when=lambda _: sandbox.count(POST_GROUP) > 0)
    task = asyncio.ensure_future(session.provisioning.apply(plan))
    await hold.arrived()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.01)
    if times == 1:
        assert not task.done()
        hold.release()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    hold.release()
    report = report_of(caught.value)
    assert report is not None
    assert report.counts == {"created": 1, "not_started": 2}
    assert "Team" in names(sandbox)
