"""7-8: each change has its outcome in its row, independent of the other changes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from helpers.provisioned import (
    GET_USER,
    INVITE,
    PATCH_USER,
    POST_GROUP,
    add_team,
    emails,
    group_named,
    members,
    names,
    new_team,
    state,
)

from ezeep_async import EzeepSession, Plan, Settings
from ezeep_async.provisioning import (
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    Event,
    Report,
    TargetGroup,
    read_audit_log,
    report_of,
)
from ezeep_async.sandbox import Sandbox, server
from ezeep_async.sandbox.records import RecordedRequest


ONCE = Settings(retries=0, connect_timeout=2.0, read_timeout=5.0)


def once(sandbox: Sandbox) -> EzeepSession:
    """A session without retries."""
    return EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=ONCE
    )


def of_user(sandbox: Sandbox, number: int = 2):
    """The requests about one user."""
    identifier = str(sandbox.organization.listed_users()[number].id)

    def about(request: RecordedRequest) -> bool:
        return identifier in request.path

    return about


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("route", "fault", "outcome"),
    [
        (PATCH_USER, {"status": 400}, "failed"),
        (PATCH_USER, {"status": 403}, "failed"),
        (PATCH_USER, {"status": 409}, "failed"),
        (PATCH_USER, {"status": 429}, "failed"),
        (PATCH_USER, {"status": 500}, "unknown"),
        (PATCH_USER, {"status": 503}, "failed"),
        (PATCH_USER, {"status": 502}, "unknown"),
        (PATCH_USER, {"status": 504, "processed": True}, "unknown"),
        (PATCH_USER, {"drop": "before"}, "unknown"),
        (PATCH_USER, {"drop": "after"}, "unknown"),
        (PATCH_USER, {"body": "no JSON"}, "unknown"),
        (GET_USER, {"status": 403}, "failed"),
        (GET_USER, {"status": 500}, "failed"),
        (GET_USER, {"status": 504}, "failed"),
        (GET_USER, {"drop": "after"}, "failed"),
        (GET_USER, {"body": "no JSON"}, "failed"),
    ],
)
async def test_7_8_one_failure_does_not_stop_other_changes(
    sandbox: Sandbox, route: str, fault: dict[str, object], outcome: str
) -> None:
    """7-8: the other changes are made. Only a write that may have been carried out is "unknown", never a read."""
    desired = new_team(sandbox)
    async with once(sandbox) as session:
        plan = await session.provisioning.plan(desired)
        sandbox.faults.add(route, when=of_user(sandbox), **fault)
        report = await session.provisioning.apply(plan)
        assert report.counts == {"created": 1, "updated": 7, outcome: 1}
        (row,) = report.failures
        assert row.change.subject == emails(sandbox, 3)[2]
        assert row.error is not None
        assert row.attempts == 1
        assert row.request_id
        lines = {line.member: (line.outcome, line.error) for line in report.lines(desired, plan)}
        assert lines.pop(emails(sandbox, 3)[2]) == (outcome, str(row.error))
        assert set(lines.values()) == {("added", "")}
        # A second run makes the missing change.
        (await session.provisioning.apply(await session.provisioning.plan(desired))).raise_for_failures()
        assert (await session.provisioning.plan(desired)).is_empty
        assert members(sandbox, "Team") == set(emails(sandbox, 8))


@pytest.mark.slow
async def test_7_8_attempts_and_request_ids_are_those_of_the_write(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox))
    sandbox.faults.add(PATCH_USER, status=503, times=2, when=of_user(sandbox))
    report = await session.provisioning.apply(plan)
    report.raise_for_failures()
    attempts = {row.change.subject: row.attempts for row in report.rows}
    assert attempts.pop(emails(sandbox, 3)[2]) == 3
    assert set(attempts.values()) == {1}
    assert len({row.request_id for row in report.rows}) == len(report.rows)
    seen = {request.headers["X-Request-ID"] for request in sandbox.requests if request.method != "GET"}
    assert {row.request_id for row in report.rows} <= seen
    assert all(0 < row.seconds <= report.seconds for row in report.rows)


@pytest.mark.may_block
async def test_7_8_request_ids_are_the_servers_where_it_has_its_own(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """7-8, 8-4: for each kind of change and each outcome, in the audit log too."""
    real = server._respond

    def respond(*arguments: Any) -> Any:
        response = real(*arguments)
        response.headers["X-Request-ID"] = "srv-" + response.headers["X-Request-ID"]
        return response

    monkeypatch.setattr(server, "_respond", respond)
    strangers = ["a@example.org", "b@example.org"]
    desired = DesiredState.from_mapping({"Team": [*emails(sandbox, 4), *strangers]})
    async with once(sandbox) as session:
        plan = await session.provisioning.plan(desired, on_missing="invite")
        sandbox.faults.add(INVITE, status=502)
        sandbox.faults.add(PATCH_USER, status=403)
        report = await session.provisioning.apply(plan, audit_log=tmp_path / "log")
        undo = await session.provisioning.undo(tmp_path / "log", delete_groups=True)
        undone = await session.provisioning.apply(undo)
    assert report.counts == {"created": 1, "unknown": 1, "invited": 1, "failed": 1, "updated": 3}
    assert undone.counts == {"updated": 3, "deleted": 1}
    assert [row for row in (*report.rows, *undone.rows) if not row.request_id.startswith("srv-")] == []
    reported = {record.request_id for record in read_audit_log(tmp_path / "log")}
    assert reported - {""} == {row.request_id for row in report.rows}


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_7_10_a_group_whose_response_was_lost_exists_once(sandbox: Sandbox, drop) -> None:
    """7-10: and all members are in it."""
    async with once(sandbox) as session:
        plan = await session.provisioning.plan(new_team(sandbox))
        sandbox.faults.add(POST_GROUP, drop=drop)
        report = await session.provisioning.apply(plan)
    assert report.counts == {"created": 1, "updated": 8}
    assert names(sandbox).count("Team") == 1
    assert members(sandbox, "Team") == set(emails(sandbox, 8))


async def test_7_10_a_group_whose_responses_are_all_lost_is_unknown(sandbox: Sandbox) -> None:
    async with once(sandbox) as session:
        plan = await session.provisioning.plan(new_team(sandbox))
        sandbox.faults.add(POST_GROUP, drop="before", times=None)
        report = await session.provisioning.apply(plan)
    assert report.counts == {"unknown": 1, "failed": 8}
    assert names(sandbox).count("Team") == 0
    assert {str(row.error) for row in report.rows[1:]} == {"'Team' could not be created"}


async def test_a_group_that_could_not_be_created_prevents_no_other_change_of_a_user(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-8: additions to other groups and removals are made, although the row has failed."""
    add_team(sandbox, 2)
    people = emails(sandbox)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": [], "Test": people[:2], "New": people[:3]}), mode="exact"
    )
    sandbox.faults.add(POST_GROUP, status=403, times=None)
    report = await session.provisioning.apply(plan)
    assert report.counts["failed"] == 4
    assert members(sandbox, "Team") == set()
    assert {*people[:2]} == members(sandbox, "Test")
    # What was made is counted, and reported line by line.
    desired = DesiredState.from_mapping({"Test": people[:2], "New": people[:3]})
    lines = [(line.group, line.member, line.outcome) for line in report.lines(desired, plan)]
    assert lines == [("Test", who, "added") for who in people[:2]] + [
        ("New", who, "failed") for who in people[:3]
    ]
    assert (report.users_changed, report.memberships_added, report.memberships_removed) == (2, 2, 2)


async def test_7_8_the_report_has_what_was_done_and_not_what_was_planned(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-8: other writers had made half of the changes in the meantime."""
    add_team(sandbox, 4)
    sales, team = sandbox.organization.add_group("A"), group_named(sandbox, "Team")
    users, people = sandbox.organization.listed_users(), emails(sandbox, 4)
    desired = DesiredState.from_mapping({"Team": people[2:], "A": people})
    plan = await session.provisioning.plan(desired, mode="exact", max_removals=2)
    assert (plan.additions, plan.removals) == (4, 2)
    users[0].groups.add(sales.id)
    users[1].groups.discard(team.id)
    report = await session.provisioning.apply(plan)
    assert report.counts == {"updated": 4}
    assert (report.users_changed, report.memberships_added, report.memberships_removed) == (4, 3, 1)
    reported = {(line.group, line.member): line.outcome for line in report.lines(desired, plan)}
    assert [reported["A", who] for who in people] == ["unchanged", "added", "added", "added"]
    first = report.rows[0]
    assert ([group.name for group in first.added], [group.name for group in first.removed]) == ([], ["Team"])


async def test_groups_with_the_same_name_are_distinguished_by_their_ids(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """Names need not be unique: two targets with one name are two groups."""
    twins = [sandbox.organization.add_group("Twin") for _ in range(2)]
    user = sandbox.organization.listed_users()[0]
    change = ChangeMemberships(user.id, "a", tuple(TargetGroup("Twin", twin.id) for twin in twins))
    (await session.provisioning.apply(Plan(changes=(change,)))).raise_for_failures()
    assert {twin.id for twin in twins} <= set(user.groups)


# --- how much it costs ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("verify", "most"), [("fresh", 2.05), ("trust-plan", 1.05)])
async def test_requests_for_each_changed_user(verify, most: float) -> None:
    """Two or one, and few others: planning and the checks before the first write included."""
    async with Sandbox(users=600, groups=20) as sandbox, once(sandbox) as session:
        desired = DesiredState.from_mapping({f"Team {n}": emails(sandbox) for n in range(3)})
        sandbox.reset_counts()
        plan = await session.provisioning.plan(desired)
        report = await session.provisioning.apply(plan, verify=verify)
        report.raise_for_failures()
        assert report.users_changed == 600
        assert sandbox.count(PATCH_USER) == 600
        assert len(sandbox.requests) <= most * 600
        assert (await session.provisioning.plan(desired)).is_empty


async def test_7_3_trusting_the_plan_still_compares_the_response(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-3: the plan is trusted for the groups before the write; the groups after it are compared."""
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    user = sandbox.organization.listed_users()[0]
    body = b'{"id": "%s", "groups": []}' % str(user.id).encode()
    sandbox.faults.add(PATCH_USER, body=body, when=of_user(sandbox, 0))
    report = await session.provisioning.apply(plan, verify="trust-plan")
    assert report.counts == {"created": 1, "updated": 3}
    assert sandbox.count(GET_USER) == 1
    assert members(sandbox, "Team") == set(emails(sandbox, 3))


async def test_an_unknown_value_of_verify_is_refused(sandbox: Sandbox, session: EzeepSession) -> None:
    with pytest.raises(ValueError, match="verify must be one of 'fresh', 'trust-plan'"):
        await session.provisioning.apply(Plan(changes=(CreateGroup("x", UUID(int=1)),)), verify="none")
    for concurrency in (0, -1, True, 1.5, "2"):
        with pytest.raises(ValueError, match="concurrency"):
            await session.provisioning.apply(Plan(), concurrency=concurrency)
    assert not sandbox.requests


# --- order and events ----------------------------------------------------------------------------------------------


async def test_7_14_groups_exist_before_the_first_user_is_read(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    desired = DesiredState.from_mapping({f"Team {n}": [*emails(sandbox, 3)] for n in range(5)})
    plan = await session.provisioning.plan(desired)
    hold = sandbox.faults.hold(POST_GROUP)
    running = asyncio.ensure_future(session.provisioning.apply(plan))
    await hold.arrived(5)
    hold.release(4)
    while len([name for name in names(sandbox) if name.startswith("Team")]) < 4:
        await asyncio.sleep(0.005)
    assert sandbox.count(GET_USER) == 0
    hold.release()
    (await running).raise_for_failures()


async def test_7_15_events_are_numbered_to_the_end(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    """7-15: failures are events too, and each number occurs once, also while lines of the audit log are written."""
    events: list[Event] = []
    sandbox.faults.add(PATCH_USER, status=403, nth=3)
    plan = await session.provisioning.plan(new_team(sandbox, 40))
    report = await session.provisioning.apply(
        plan, on_event=events.append, concurrency=8, audit_log=tmp_path / "audit.jsonl"
    )
    assert [event.done for event in events] == list(range(1, 42))
    assert {event.total for event in events} == {41}
    assert {(event.change, event.outcome) for event in events} == {
        (row.change, row.outcome) for row in report.rows
    }
    assert all(event.kind == event.change.kind for event in events)


async def test_7_13_a_callback_that_raises_ends_the_run_and_leaves_a_report(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """Changes in flight end, no other begins, and the exception carries the report."""

    def broken(event: Event) -> None:
        if event.done == 5:
            raise KeyError("callback")

    plan = await session.provisioning.plan(new_team(sandbox, 40))
    with pytest.raises(KeyError, match="callback") as caught:
        await session.provisioning.apply(plan, on_event=broken, concurrency=4)
    report = report_of(caught.value)
    assert report is not None
    team = group_named(sandbox, "Team").id
    done = {user for user, groups in state(sandbox).items() if team in groups}
    reported = {row.change.user_id for row in report.rows if row.outcome == "updated"}
    assert reported == done
    assert 4 <= len(done) <= 8
    assert report.counts["not_started"] == 40 - len(done)


async def test_an_empty_plan_sends_nothing(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-10: not even the checks before the first write."""
    assert await session.provisioning.apply(Plan()) == Report()
    assert not sandbox.requests


async def test_lines_with_the_address_and_the_id_of_a_person_have_the_same_outcome(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-8: one entry for each line of the input. An address and an id may belong to one person."""
    first, second = sandbox.organization.listed_users()[:2]
    one, two = emails(sandbox, 2)
    desired = DesiredState.from_mapping({"A": [first.id, two], "B": [one, second.id], "C": [one, first.id]})
    plan = await session.provisioning.plan(desired)
    sandbox.faults.add(PATCH_USER, status=403, when=of_user(sandbox, 1))
    report = await session.provisioning.apply(plan)
    assert [(line.group, line.member, line.outcome) for line in report.lines(desired, plan)] == [
        ("A", str(first.id), "added"),
        ("A", two, "failed"),
        ("B", one, "added"),
        ("B", str(second.id), "failed"),
        ("C", one, "added"),
        ("C", str(first.id), "added"),
    ]
