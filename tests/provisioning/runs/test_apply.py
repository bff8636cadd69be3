"""`session.provisioning.apply`: order, bounds, failures, and what the report says."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from uuid import UUID

import pytest

from ezeep_async import EzeepSession, OutcomeUnknown, Settings
from ezeep_async.provisioning import (
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    Event,
    Plan,
    ProvisioningFailed,
    Report,
    TargetGroup,
)
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID


GROUPS = {"Sales": 0, "Support": 1, "Night shift": 2, "Day shift": 3}


def desired_for(sandbox: Sandbox, people: int = 40) -> DesiredState:
    """All people in some of four groups, two of which are new."""
    emails = [person.email for person in sandbox.organization.listed_people()[:people]]
    return DesiredState.from_mapping(
        {name: [e for n, e in enumerate(emails) if n % 4 <= number] for name, number in GROUPS.items()}
    )


def memberships(sandbox: Sandbox) -> dict[UUID, frozenset[str]]:
    organization = sandbox.organization
    return {
        user.id: frozenset(organization.groups[group].name for group in user.groups)
        for user in organization.listed_users()
    }


async def test_the_organization_is_as_desired_and_the_second_run_writes_nothing_7_10(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-10: the same input again makes no writes. 7-4: groups that the input does not name stay."""
    before = memberships(sandbox)
    desired = desired_for(sandbox)
    report = await session.provisioning.apply(await session.provisioning.plan(desired))
    report.raise_for_failures()
    after = memberships(sandbox)
    for name, members in desired.groups.items():
        for email in members:
            person = sandbox.organization.person_with_email(email)
            assert person is not None
            assert name in after[person.id]
    assert all(before[user] <= after[user] for user in before)
    assert all(after[user] - before[user] <= set(GROUPS) for user in before)
    sandbox.reset_counts()
    again = await session.provisioning.plan(desired)
    assert again.is_empty
    assert await session.provisioning.apply(again) == Report((), pytest.approx(0, abs=1))
    assert all(request.method == "GET" for request in sandbox.requests)


async def test_one_write_for_each_changed_user(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await session.provisioning.plan(desired_for(sandbox))
    report = await session.provisioning.apply(plan)
    users = sum(isinstance(change, ChangeMemberships) for change in plan.changes)
    assert sandbox.count("PATCH /printing/v1/users/{id}/") == users == report.users_changed
    assert sandbox.count("POST /printing/v1/groups/") == 2 == report.groups_created
    assert report.memberships_added == plan.additions
    assert report.ok
    assert report.counts == Counter(created=2, updated=users)
    assert [row.change for row in report.rows] == list(plan.changes)
    assert report.seconds > 0


async def test_groups_come_first_7_14(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-14: groups are created before members are added."""
    events: list[Event] = []
    plan = await session.provisioning.plan(desired_for(sandbox))
    await session.provisioning.apply(plan, on_event=events.append)
    assert [event.kind for event in events] == ["create_group"] * 2 + ["change_memberships"] * (
        len(events) - 2
    )
    assert [event.done for event in events] == list(range(1, len(plan.changes) + 1))
    assert {event.total for event in events} == {len(plan.changes)}


@pytest.mark.slow
async def test_no_more_tasks_than_workers_7_12(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-12: the number of live tasks follows `concurrency`, not the number of rows."""
    sandbox.behaviour.latency = 0.002
    plan = await session.provisioning.plan(desired_for(sandbox, people=134))
    peaks: list[int] = []

    def look(_: Event) -> None:
        # The sandbox's own tasks, one for each open connection, run in the same loop.
        peaks.append(sum("<locals>.worker" in repr(task.get_coro()) for task in asyncio.all_tasks()))

    await session.provisioning.apply(plan, concurrency=3, on_event=look)
    assert max(peaks) <= 3
    assert len(peaks) == len(plan.changes) > 100
    with pytest.raises(ValueError, match="concurrency"):
        await session.provisioning.apply(plan, concurrency=0)


async def test_one_failure_does_not_stop_other_changes_7_8(sandbox: Sandbox) -> None:
    """7-8: the other changes are made, and a second run makes the failed one."""
    desired = desired_for(sandbox)
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=Settings(retries=0)
    ) as session:
        plan = await session.provisioning.plan(desired)
        sandbox.faults.add("PATCH /printing/v1/users/{id}/", status=500, nth=3)
        report = await session.provisioning.apply(plan)
        assert not report.ok
        (row,) = report.failures
        assert (row.outcome, row.error is not None) == ("unknown", True)
        assert isinstance(row.change, ChangeMemberships)
        assert report.counts["updated"] == len(plan.changes) - 3
        with pytest.raises(
            ProvisioningFailed,
            match=rf"1 of {len(plan.changes)} changes were not made \(of 1 it is not known\): \S+: add to ",
        ) as caught:
            report.raise_for_failures()
        assert caught.value.report is report
        rest = await session.provisioning.plan(desired)
        assert [change.user_id for change in rest.changes if isinstance(change, ChangeMemberships)] == [
            row.change.user_id
        ]
        assert rest.additions == len(row.change.add)
        (await session.provisioning.apply(rest)).raise_for_failures()
        assert (await session.provisioning.plan(desired)).is_empty


async def test_a_group_that_cannot_be_created_costs_only_its_own_memberships(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    sandbox.faults.add("POST /printing/v1/groups/", status=403, nth=1)
    plan = await session.provisioning.plan(desired_for(sandbox))
    report = await session.provisioning.apply(plan, concurrency=1)
    (refused,) = [row.change for row in report.failures if isinstance(row.change, CreateGroup)]
    assert refused.name == "Night shift"
    after = memberships(sandbox)
    for row in report.rows:
        if isinstance(row.change, ChangeMemberships):
            names = {group.name for group in row.change.add}
            assert names - {"Night shift"} <= after[row.change.user_id]
            assert row.ok == ("Night shift" not in names)
    reported = [str(row.error) for row in report.failures[1:]]
    assert set(reported) == {"'Night shift' could not be created"}
    with pytest.raises(ProvisioningFailed, match=r"and \d+ more$"):
        report.raise_for_failures()


async def test_a_group_that_was_created_since_the_plan_is_adopted(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Night shift": []}))
    sandbox.organization.add_group("Night shift")
    report = await session.provisioning.apply(plan)
    assert report.counts == Counter(adopted=1)
    assert report.groups_created == 0


@pytest.mark.parametrize("concurrency", [1, 16])
async def test_many_new_groups_take_one_more_listing(
    sandbox: Sandbox, session: EzeepSession, concurrency: int
) -> None:
    """One page each: before the first write, with the lock held, and at the end to find duplicates."""
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({f"Team {number}": [] for number in range(60)})
    )
    sandbox.reset_counts()
    report = await session.provisioning.apply(plan, concurrency=concurrency)
    assert report.counts == Counter(created=60)
    assert sandbox.count("GET /printing/v1/groups/") == 3


async def test_a_lost_response_is_an_unknown_outcome(
    session: EzeepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> object:
        raise OutcomeUnknown("the response was lost")

    monkeypatch.setattr(session.groups.inner, "ensure_absent", lost)
    plan = Plan(changes=(CreateGroup("Night shift", ORGANIZATION_ID),))
    report = await session.provisioning.apply(plan)
    assert report.counts == Counter(unknown=1)
    assert not report.ok


async def test_memberships_that_other_writers_added_since_the_plan_stay(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(desired_for(sandbox))
    late = sandbox.organization.add_group("Late")
    for user in sandbox.organization.listed_users():
        user.groups.add(late.id)
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert all("Late" in names for names in memberships(sandbox).values())


async def test_an_error_of_the_callback_ends_the_run_unchanged(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    def broken(_: Event) -> None:
        raise KeyError("callback")

    plan = await session.provisioning.plan(desired_for(sandbox))
    with pytest.raises(KeyError, match="callback"):
        await session.provisioning.apply(plan, on_event=broken)


def test_plans_reports_and_their_error_pickle() -> None:
    change = ChangeMemberships(UUID(int=1), "a@example.com", (TargetGroup("Sales"),))
    plan = Plan(changes=(change,), memberships=1)
    assert pickle.loads(pickle.dumps(plan)) == plan
    error = ProvisioningFailed("failed", report=Report((), 1.0))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.report) == ("failed", error.report)
    assert ProvisioningFailed("bare").report == Report()
