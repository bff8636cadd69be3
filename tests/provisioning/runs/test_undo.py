"""7-15: undo reverts what a run did, by its audit log, and nothing that other writers did."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import attrs
import pytest
from helpers.provisioned import (
    GET_USER,
    LIST_USERS,
    PATCH_USER,
    POST_GROUP,
    add_team,
    emails,
    group_named,
    names,
    new_team,
    state,
)
from helpers.support import QUICK, open_session
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import AuditLogError, EzeepSession, Plan, Settings
from ezeep_async.provisioning import (
    ChangeMemberships,
    DeleteGroup,
    DesiredState,
    read_audit_log,
)
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID


pytestmark = pytest.mark.may_block


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def applied(session: EzeepSession, log: Path, desired: DesiredState, **options) -> Plan:
    plan = await session.provisioning.plan(desired, **options)
    await session.provisioning.apply(plan, audit_log=log)
    return plan


async def undone(session: EzeepSession, log: Path, **options) -> None:
    plan = await session.provisioning.undo(log, **options)
    (await session.provisioning.apply(Plan.from_json(plan.to_json()))).raise_for_failures()


# --- over the socket -----------------------------------------------------------------------------------------------


async def test_7_15_after_undo_everything_is_as_it_was(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    add_team(sandbox, 8)
    before, groups = state(sandbox), names(sandbox)
    people = emails(sandbox)
    desired = DesiredState.from_mapping({"Team": people[4:12], "New": people[:6]})
    await applied(session, log, desired, mode="exact")
    assert state(sandbox) != before
    await undone(session, log, delete_groups=True)
    assert (state(sandbox), names(sandbox)) == (before, groups)
    again = await session.provisioning.undo(log, delete_groups=True)
    assert (again.is_empty, again.summary()) == (True, "nothing to change")


async def test_7_15_changes_that_are_reverted_already_are_not_in_the_plan(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    team = add_team(sandbox, 4)
    people, users = emails(sandbox), sandbox.organization.listed_users()
    await applied(
        session, log, DesiredState.from_mapping({"Team": people[2:6], "New": people[:3]}), mode="exact"
    )
    users[0].groups.add(team.id)  # the run removed it
    users[4].groups.discard(team.id)  # the run added it
    users[2].groups.discard(group_named(sandbox, "New").id)
    plan = await session.provisioning.undo(log)
    changes = [change for change in plan.changes if isinstance(change, ChangeMemberships)]
    assert {change.user_id: change.before for change in changes} == {
        users[number].id: frozenset(users[number].groups) for number in (0, 1, 5)
    }
    assert (plan.additions, plan.removals, plan.removal_limit) == (1, 3, 3)


@pytest.mark.slow
async def test_7_15_users_that_are_gone_are_named(sandbox: Sandbox, session: EzeepSession, log: Path) -> None:
    add_team(sandbox, 6)
    people, users = emails(sandbox), [*sandbox.organization.listed_users()]
    await applied(session, log, DesiredState.from_mapping({"Team": people[4:8]}), mode="exact")
    for number in (0, 7):
        sandbox.organization.remove_user(users[number].id)
    plan = await session.provisioning.undo(log)
    assert (plan.additions, plan.removals) == (3, 1)
    (note,) = [note for note in plan.notes if "is gone" in note]
    assert note == f"user {people[0]} is gone: not put back into 'Team'"
    (await session.provisioning.apply(plan)).raise_for_failures()


@pytest.mark.parametrize("listed", [134, 1000])
async def test_7_15_the_users_of_the_run_are_read_in_few_requests(log: Path, listed: int) -> None:
    async with Sandbox(users=listed) as sandbox, open_session(sandbox, settings=QUICK) as session:
        await applied(session, log, new_team(sandbox, 3))
        sandbox.reset_counts()
        assert (await session.provisioning.undo(log)).removals == 3
        assert sandbox.count(LIST_USERS) + sandbox.count(GET_USER) <= 8


async def test_7_15_what_other_writers_did_since_stays(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    team = add_team(sandbox, 4)
    other = sandbox.organization.add_group("Other")
    users = sandbox.organization.listed_users()
    await applied(session, log, DesiredState.from_mapping({"Team": emails(sandbox)[2:6]}), mode="exact")
    users[0].groups.add(other.id)
    users[5].groups.add(other.id)
    users[9].groups.add(team.id)
    expected = state(sandbox)
    for number in (0, 1):
        expected[users[number].id] |= {team.id}
    for number in (4, 5):
        expected[users[number].id] -= {team.id}
    await undone(session, log)
    assert state(sandbox) == expected


async def test_7_15_what_other_writers_did_between_two_writes_stays(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: another writer overwrote the user, and the run merged and wrote again. Only its own part is reverted."""
    team = sandbox.organization.add_group("Team")
    theirs = sandbox.organization.add_group("Theirs")
    lost = add_team(sandbox, 1, "Lost")
    user = sandbox.organization.listed_users()[0]
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": emails(sandbox, 1)}))
    hold = sandbox.faults.hold(PATCH_USER, times=1)
    body = b'{"id": "%s", "groups": []}' % str(user.id).encode()
    sandbox.faults.add(PATCH_USER, body=body)
    running = asyncio.ensure_future(session.provisioning.apply(plan, audit_log=log))
    await hold.arrived()
    second = sandbox.faults.hold("GET /printing/v1/users/{id}/", times=1)
    hold.release()
    await second.arrived()
    user.groups.replace((set(user.groups) | {theirs.id}) - {lost.id, team.id})
    second.release()
    (await running).raise_for_failures()
    assert {team.id, theirs.id} <= set(user.groups)
    await undone(session, log)
    assert theirs.id in user.groups
    assert not {team.id, lost.id} & set(user.groups)


async def test_7_15_a_rejected_write_is_not_reverted(sandbox: Sandbox, log: Path) -> None:
    """7-15: another writer has added the membership since."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=Settings(retries=0)
    ) as session:
        team = sandbox.organization.add_group("Team")
        sandbox.faults.add(PATCH_USER, status=403)
        sandbox.faults.add(PATCH_USER, drop="after")
        await applied(session, log, DesiredState.from_mapping({"Team": emails(sandbox, 5)}))
        refused = {r.user_id for r in read_audit_log(log) if r.outcome == "failed"}
        assert len(refused) == 1
        for user in sandbox.organization.listed_users():
            user.groups.add(team.id)
        await undone(session, log)
        five = {user.id for user in sandbox.organization.listed_users()[:5]}
        assert {user for user in five if team.id in state(sandbox)[user]} == refused


async def test_7_5_changes_of_external_groups_can_be_reverted(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-5: the run was allowed to change groups of another directory."""
    sandbox.organization.add_group("Azure", origin={"provider": "Azure", "foreign_id": "x"})
    before = state(sandbox)
    await applied(session, log, DesiredState.from_mapping({"Azure": emails(sandbox, 2)}), allow_external=True)
    assert state(sandbox) != before
    await undone(session, log)
    assert state(sandbox) == before


async def test_7_15_undo_may_remove_all_that_the_run_added(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: reverting many additions is no accidental mass removal. The own user is among them."""
    await applied(session, log, DesiredState.from_mapping({"New": emails(sandbox)}))
    await undone(session, log, delete_groups=True)
    assert "New" not in names(sandbox)


async def test_7_14_groups_in_use_are_kept(sandbox: Sandbox, session: EzeepSession, log: Path) -> None:
    """7-14: a group is emptied before it is deleted, and kept while it has other members or printers."""
    await applied(
        session, log, DesiredState.from_mapping({name: emails(sandbox, 2) for name in ("A", "B", "C", "D")})
    )
    sandbox.organization.listed_users()[50].groups.add(group_named(sandbox, "B").id)
    group_named(sandbox, "C").num_printers = 1
    sandbox.organization.remove_group(group_named(sandbox, "D").id)
    plan = await session.provisioning.undo(log, delete_groups=True)
    sandbox.organization.add_group("E")
    report = await session.provisioning.apply(plan)
    assert report.counts == {"updated": 2, "deleted": 1, "kept": 2}
    assert report.ok
    assert {"B", "C", "E"} <= set(names(sandbox))
    assert not {"A", "D"} & set(names(sandbox))
    (deleted,) = [row for row in report.rows if row.outcome == "deleted"]
    assert deleted.attempts == 1
    assert deleted.request_id


async def test_7_11_a_group_that_is_gone_when_it_is_deleted(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    await applied(session, log, DesiredState.from_mapping({"A": [], "B": emails(sandbox, 1)}))
    plan = await session.provisioning.undo(log, delete_groups=True)
    sandbox.organization.remove_group(group_named(sandbox, "A").id)
    report = await session.provisioning.apply(plan)
    assert report.counts == {"updated": 1, "deleted": 1, "already_absent": 1}
    assert report.ok


async def test_7_15_groups_are_kept_unless_their_deletion_is_requested(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: groups that existed before the run are never deleted."""
    sandbox.organization.add_group("Found")
    await applied(session, log, DesiredState.from_mapping({"New": emails(sandbox, 1), "Found": []}))
    await undone(session, log)
    assert {"New", "Found"} <= set(names(sandbox))
    await undone(session, log, delete_groups=True)
    assert "Found" in names(sandbox)
    assert "New" not in names(sandbox)


async def test_7_15_undo_reverts_the_last_run_or_the_named_one(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    before = state(sandbox)
    reports = []
    for name in ("A", "B"):
        plan = await session.provisioning.plan(new_team(sandbox, 3, name))
        reports.append(await session.provisioning.apply(plan, audit_log=log))
    last = await session.provisioning.undo(log)
    named = await session.provisioning.undo(log, reports[1].run_id)
    assert last == attrs.evolve(named, made_at=last.made_at, notes=last.notes)
    assert {group.name for change in last.changes for group in change.remove} == {"B"}
    for report in reports:
        await undone(session, log, run_id=report.run_id)
    assert state(sandbox) == before | {}
    with pytest.raises(AuditLogError, match="no run"):
        await session.provisioning.undo(log, "nonsense")


async def test_7_15_a_second_undo_of_one_log_does_not_repeat_the_run(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """The undo is in the same log. Only its id undoes it."""
    before = state(sandbox)
    report = await session.provisioning.apply(
        await session.provisioning.plan(new_team(sandbox, 3, "A")), audit_log=log
    )
    after = state(sandbox)
    undo = await session.provisioning.apply(await session.provisioning.undo(log), audit_log=log)
    again = await session.provisioning.undo(log)
    assert (again.is_empty, again.undoes) == (True, report.run_id)
    assert f"only run {report.run_id} is reverted, the last one that is no undo" in again.notes[0]
    assert state(sandbox) == before
    await undone(session, log, run_id=undo.run_id)
    assert state(sandbox) == after


async def test_7_15_a_run_without_changes_hides_no_earlier_run(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 3, "A"))
    report = await session.provisioning.apply(plan, audit_log=log)
    with log.open("a") as file:
        file.write('{"run_id":"dead","time":"2026-01-02T03:04:05Z","operation":"run","outcome":"started"}\n')
        file.write('{"run_id":"dea')
    assert (await session.provisioning.undo(log)).removals == report.memberships_added == 3


async def test_7_15_a_run_with_nothing_to_do_has_a_log_and_an_empty_undo(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: undo after a run that changed nothing is no error."""
    plan = await session.provisioning.plan(DesiredState.from_mapping({}))
    sandbox.reset_counts()
    report = await session.provisioning.apply(plan, audit_log=log)
    assert (report.ok, report.rows, report.summary()) == (True, (), "nothing to do")
    assert not sandbox.requests
    (record,) = read_audit_log(log)
    assert (record.operation, record.outcome, record.run_id) == ("run", "started", report.run_id)
    undo = await session.provisioning.undo(log, delete_groups=True)
    assert (undo.is_empty, undo.mode, undo.notes) == (True, "undo", ())
    # In a log of several runs, it does not hide an earlier one.
    earlier = await session.provisioning.apply(
        await session.provisioning.plan(new_team(sandbox, 3, "A")), audit_log=log
    )
    last = await session.provisioning.apply(plan, audit_log=log)
    assert (await session.provisioning.undo(log)).removals == earlier.memberships_added == 3
    assert (await session.provisioning.undo(log, last.run_id)).is_empty


async def test_7_9_a_run_with_nothing_to_do_overwrites_no_other_file(
    session: EzeepSession, log: Path
) -> None:
    log.write_bytes(b"group,member\n")
    with pytest.raises(AuditLogError, match="not an audit log"):
        await session.provisioning.apply(Plan(), audit_log=log)
    assert log.read_bytes() == b"group,member\n"


async def test_7_15_two_concurrent_runs_in_one_log(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: the whole run that wrote last is reverted, not only its last lines."""
    plans = [await session.provisioning.plan(new_team(sandbox, 20, name)) for name in ("A", "B")]
    await asyncio.gather(*[session.provisioning.apply(plan, audit_log=log) for plan in plans])
    assert (await session.provisioning.undo(log)).removals == 20


async def test_7_15_a_creation_with_an_unknown_outcome_is_reverted(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: the process was killed while it waited for the response. The group exists and is not used."""
    plan = await session.provisioning.plan(new_team(sandbox, 3, "A"))
    hold = sandbox.faults.hold(POST_GROUP, after=True)
    running = asyncio.ensure_future(session.provisioning.apply(plan, audit_log=log))
    await hold.arrived()
    cut = log.read_bytes()
    hold.release()
    await running
    log.write_bytes(cut)
    for user in sandbox.organization.listed_users():
        user.groups.discard(group_named(sandbox, "A").id)
    assert [
        type(change) for change in (await session.provisioning.undo(log, delete_groups=True)).changes
    ] == [DeleteGroup]
    await undone(session, log, delete_groups=True)
    assert "A" not in names(sandbox)


def _another(sandbox: Sandbox) -> None:
    sandbox.organization.add_group("A").organization_id = UUID(int=9)


@pytest.mark.parametrize("theirs_first", [True, False])
async def test_7_15_a_creation_that_was_not_made_deletes_no_group_of_others(
    sandbox: Sandbox, session: EzeepSession, log: Path, theirs_first: bool
) -> None:
    """7-15: the request never arrived, and another organization has a group with the name."""
    desired = new_team(sandbox, 3, "A")
    if theirs_first:
        _another(sandbox)
    plan = await session.provisioning.plan(desired, organization_id=ORGANIZATION_ID)
    sandbox.faults.add(POST_GROUP, status=502, times=None)
    report = await session.provisioning.apply(plan, audit_log=log)
    assert report.rows[0].outcome == "unknown"
    if not theirs_first:
        _another(sandbox)
    assert (await session.provisioning.undo(log, delete_groups=True)).is_empty


async def test_7_15_undo_does_not_trust_its_plan(sandbox: Sandbox, session: EzeepSession, log: Path) -> None:
    """7-15: other writers would lose what they added since the run."""
    await applied(session, log, new_team(sandbox, 3, "A"))
    before = state(sandbox)
    undo = await session.provisioning.undo(log)
    with pytest.raises(ValueError, match="trust-plan"):
        await session.provisioning.apply(undo, verify="trust-plan")
    assert state(sandbox) == before


@pytest.mark.parametrize("content", [b"", b"group,member\n", b"\n\n"])
async def test_a_file_without_a_run_is_refused(session: EzeepSession, log: Path, content: bytes) -> None:
    log.write_bytes(content)
    with pytest.raises(AuditLogError):
        await session.provisioning.undo(log)
    log.unlink()
    with pytest.raises(OSError, match="audit"):
        await session.provisioning.undo(log)


# --- any run -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
@given(
    wanted=st.dictionaries(
        st.sampled_from(["A", "B", "C", "New"]), st.sets(st.integers(0, 7), max_size=8), min_size=1
    ),
    existing=st.lists(st.sets(st.integers(0, 2), max_size=3), min_size=8, max_size=8),
    mode=st.sampled_from(["add", "exact"]),
    verify=st.sampled_from(["fresh", "trust-plan"]),
)
@settings(max_examples=max(1, settings().max_examples // 4))
def test_7_15_apply_and_undo_restore_any_organization(
    tmp_path_factory, wanted, existing, mode, verify
) -> None:
    """7-15: with any memberships and any input."""
    log = tmp_path_factory.mktemp("audit") / "audit.jsonl"

    async def run() -> None:
        async with Sandbox(users=8, groups=0) as sandbox:
            organization = sandbox.organization
            groups = [organization.add_group(name) for name in ("A", "B", "C")]
            users = organization.listed_users()
            for user, places in zip(users, existing, strict=True):
                user.groups.replace(groups[place].id for place in sorted(places))
            before, all_names = state(sandbox), names(sandbox)
            desired = DesiredState.from_mapping(
                {name: [users[number].id for number in sorted(many)] for name, many in wanted.items()}
            )
            async with EzeepSession(
                sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
            ) as session:
                plan = await session.provisioning.plan(desired, mode=mode, max_removals=1000)
                report = await session.provisioning.apply(plan, audit_log=log, verify=verify)
                report.raise_for_failures()
                if not plan.is_empty:
                    await undone(session, log, delete_groups=True)
            assert (state(sandbox), names(sandbox)) == (before, all_names)

    asyncio.run(run())
