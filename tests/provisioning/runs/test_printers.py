"""Plans with printers, applied and undone: on servers whose PUT replaces groups and on servers whose PUT adds to them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from helpers.provisioned import (
    GET_USER,
    LIST_USERS,
    PATCH_USER,
    add_team,
    emails,
    group_named,
    members,
    names,
    state,
    writes,
)
from helpers.support import QUICK

from ezeep_async import EzeepSession, StalePlan, run_sync
from ezeep_async.provisioning import (
    ChangeAssignments,
    DesiredState,
    Event,
    Line,
    Plan,
    Report,
    read_audit_log,
)
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.printers import SandboxPrinter


LIST = "GET /printing/v1/assignments/"
PUT = "PUT /printing/v1/assignments/{id}/"
DELETE = "DELETE /printing/v1/assignments/{id}/"


@pytest.fixture(params=["replace", "add"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with Sandbox(assignments_put=request.param) as server:
        for name in ("A", "B", "C"):
            server.organization.add_group(name)
        yield server


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def printer(sandbox: Sandbox, name: str, *groups: str) -> SandboxPrinter:
    return sandbox.printing.add_printer(name, groups=[group_named(sandbox, each).id for each in groups])


def assigned(sandbox: Sandbox) -> dict[UUID, frozenset[UUID]]:
    groups = sandbox.organization.groups
    return {each.id: frozenset(each.groups) & groups.keys() for each in sandbox.printing.printers.values()}


def groups_of(sandbox: Sandbox, each: SandboxPrinter) -> set[str]:
    return {sandbox.organization.groups[group_id].name for group_id in each.groups}


async def planned(
    session: EzeepSession, printers: dict[str, list[str]], mode: str = "exact", **arguments: object
) -> Plan:
    desired = DesiredState.from_mapping({}, printers)
    return await session.provisioning.plan(desired, mode=mode, **arguments)  # type: ignore[arg-type]  # any argument of a plan


async def undone(session: EzeepSession, log: Path) -> Report:
    plan = await session.provisioning.undo(log, delete_groups=True)
    report = await session.provisioning.apply(plan)
    report.raise_for_failures()
    return report


async def test_7_17_one_write_for_each_printer(sandbox: Sandbox, session: EzeepSession, log: Path) -> None:
    """7-10, 7-14, 7-17: new groups first. A printer that gains and loses groups takes two. The second plan is empty."""
    laser, label = printer(sandbox, "Laser"), printer(sandbox, "Label", "A", "B")
    other = printer(sandbox, "Other", "A", "C")
    before, all_names = assigned(sandbox), names(sandbox)
    wanted = {"A": ["Laser", "Other"], "B": ["Laser", "Label"], "New": ["Laser"]}
    plan = await planned(session, wanted)
    report = await session.provisioning.apply(plan, audit_log=log)
    report.raise_for_failures()
    assert (sandbox.count(PUT), sandbox.count(DELETE)) == (1, 1)
    assert groups_of(sandbox, laser) == {"A", "B", "New"}
    assert groups_of(sandbox, label) == {"B"}
    assert groups_of(sandbox, other) == {"A", "C"}
    assert [row.outcome for row in report.rows] == ["created", "updated", "updated"]
    assert (report.printers_changed, report.assignments_added, report.assignments_removed) == (2, 3, 1)
    assert (report.users_changed, report.memberships_added, report.memberships_removed) == (0, 0, 0)
    assert (await planned(session, wanted)).is_empty
    report = await session.provisioning.apply(plan)
    assert [row.outcome for row in report.rows] == ["adopted", "unchanged", "unchanged"]

    await undone(session, log)
    assert (assigned(sandbox), names(sandbox)) == (before, all_names)


async def test_members_and_printers_of_a_new_group(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """In one apply, and one undo. Other printers and users stay as they are."""
    laser = printer(sandbox, "Laser", "A")
    before = state(sandbox), assigned(sandbox), names(sandbox)
    desired = DesiredState.from_mapping({"New": emails(sandbox, 3)}, {"New": ["Laser"], "A": []})
    plan = await session.provisioning.plan(desired, mode="exact")
    report = await session.provisioning.apply(plan, audit_log=log, verify_after=True)
    report.raise_for_failures()
    assert members(sandbox, "New") == set(emails(sandbox, 3))
    assert groups_of(sandbox, laser) == {"New"}
    assert (sandbox.count(PUT), sandbox.count(DELETE)) == (1, 1)
    assert list(report.lines(desired, plan)) == [
        *(Line("New", member, "added") for member in emails(sandbox, 3)),
        Line("New", "Laser", "added"),
    ]
    undo = await session.provisioning.undo(log, delete_groups=True)
    assert (undo.removals, undo.assignment_removals, undo.assignment_additions) == (3, 1, 1)
    await undone(session, log)
    assert (state(sandbox), assigned(sandbox), names(sandbox)) == before


async def test_what_others_assigned_since_the_plan_stays(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-3: read, merge, write; and undo reverts the part of the run only."""
    laser = printer(sandbox, "Laser", "A")
    plan = await planned(session, {"A": [], "B": ["Laser"]})
    laser.groups.append(group_named(sandbox, "C").id)
    (await session.provisioning.apply(plan, audit_log=log)).raise_for_failures()
    assert groups_of(sandbox, laser) == {"B", "C"}
    laser.groups.append(group_named(sandbox, "Reception").id)
    await undone(session, log)
    assert groups_of(sandbox, laser) == {"A", "C", "Reception"}


async def test_a_trusted_plan_reads_no_printer_again(sandbox: Sandbox, session: EzeepSession) -> None:
    """Only those that changed since the plan."""
    sandbox.printing.printers.clear()
    printers = [printer(sandbox, f"P{number}", "A") for number in range(4)]
    plan = await planned(session, {"B": [each.name for each in printers]}, "add")
    printers[0].groups.append(group_named(sandbox, "C").id)
    sandbox.requests.clear()
    report = await session.provisioning.apply(plan, verify="trust-plan")
    report.raise_for_failures()
    assert [row.outcome for row in report.rows] == ["updated"] * 4
    assert (sandbox.count(LIST), sandbox.count(PUT)) == (2, 4)
    assert groups_of(sandbox, printers[0]) == {"A", "B", "C"}


@pytest.mark.parametrize("what", ["gone", "renamed", "group gone"])
async def test_a_plan_that_no_longer_fits_is_stale(
    sandbox: Sandbox, session: EzeepSession, what: str
) -> None:
    """7-2: nothing is written."""
    laser = printer(sandbox, "Laser", "A")
    plan = await planned(session, {"B": ["Laser"], "New": ["Laser"]})
    if what == "gone":
        sandbox.printing.remove_printer(laser.id)
        expected = "printer 'Laser' is gone"
    elif what == "renamed":
        laser.name = "Other"
        expected = "printer 'Laser' is named 'Other' now"
    else:
        sandbox.organization.remove_group(group_named(sandbox, "B").id)
        expected = "group 'B' is gone"
    with pytest.raises(StalePlan, match=expected):
        await session.provisioning.apply(plan)
    assert writes(sandbox) == []


async def test_a_plan_that_was_edited_is_refused(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-2, 7-7: removals in mode "add", and from protected groups."""
    printer(sandbox, "Laser", "A", "B")
    plan = await planned(session, {"A": [], "B": []}, protect_groups=["B"])
    document = json.loads(plan.to_json())
    with pytest.raises(StalePlan, match="its mode is 'add'"):
        await session.provisioning.apply(Plan.from_json(json.dumps({**document, "mode": "add"})))
    protected = {"name": "B", "id": str(group_named(sandbox, "B").id)}
    document["changes"][0]["remove"].append(protected)
    with pytest.raises(StalePlan, match="group 'B' is protected"):
        await session.provisioning.apply(Plan.from_json(json.dumps(document)))
    assert writes(sandbox) == []


async def test_a_removal_from_a_group_that_the_plan_does_not_name_is_refused(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-2, 7-5: in an edited plan. The limit does not count what such a group has."""
    printer(sandbox, "Laser", "A", "B")
    add_team(sandbox, 3, "Team")
    other = {"name": "B", "id": str(group_named(sandbox, "B").id)}
    members_of_one = DesiredState.from_mapping({"Team": emails(sandbox, 1)})
    for plan in (
        await planned(session, {"A": []}),
        await session.provisioning.plan(members_of_one, mode="exact"),
    ):
        document = json.loads(plan.to_json())
        next(each for each in document["changes"] if each["remove"])["remove"].append(other)
        with pytest.raises(StalePlan, match="is removed from 'B', which the plan does not name"):
            await session.provisioning.apply(Plan.from_json(json.dumps(document)))
    assert writes(sandbox) == []


async def test_a_printer_of_a_removal_that_is_gone_counts_as_removed(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-11: and undo reports that it cannot put the groups back."""
    laser, label = printer(sandbox, "Laser", "A"), printer(sandbox, "Label", "A")
    plan = await planned(session, {"A": []})
    sandbox.printing.remove_printer(laser.id)
    report = await session.provisioning.apply(plan, audit_log=log)
    assert [row.outcome for row in report.rows] == ["already_absent", "updated"]
    assert report.ok
    sandbox.printing.remove_printer(label.id)
    undo = await session.provisioning.undo(log)
    assert undo.is_empty
    assert undo.notes == ("printer Label is gone: not assigned again to 'A'",)


async def test_undo_notes_groups_that_are_gone_and_takes_new_names(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    laser = printer(sandbox, "Laser", "A", "B")
    await session.provisioning.apply(await planned(session, {"A": [], "B": []}), audit_log=log)
    gone = group_named(sandbox, "A").id
    sandbox.organization.remove_group(gone)
    laser.name = "Renamed"
    undo = await session.provisioning.undo(log)
    assert undo.notes == (f"group {gone} is gone: 1 printer is not assigned again to it",)
    assert [change.subject for change in undo.changes] == ["Renamed"]
    (await session.provisioning.apply(undo)).raise_for_failures()
    assert groups_of(sandbox, laser) == {"B"}


async def test_a_new_group_that_others_gave_a_printer_is_kept(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-15: undo deletes no group that is in use."""
    laser, label = printer(sandbox, "Laser"), printer(sandbox, "Label")
    await session.provisioning.apply(await planned(session, {"New": ["Laser"]}), audit_log=log)
    label.groups.append(group_named(sandbox, "New").id)
    report = await undone(session, log)
    assert [row.outcome for row in report.rows] == ["updated", "kept"]
    assert (groups_of(sandbox, laser), groups_of(sandbox, label)) == (set(), {"New"})


async def test_a_failed_printer_stops_no_other(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-8: its row has the error; running it again makes the missing changes."""
    laser, label = printer(sandbox, "Laser"), printer(sandbox, "Label")
    wanted = {"A": ["Laser", "Label"]}
    plan = await planned(session, wanted)
    sandbox.faults.add(PUT, status=400, when=lambda request: str(laser.id) in request.path)
    report = await session.provisioning.apply(plan, verify_after=True)
    assert [(row.change.subject, row.outcome) for row in report.rows] == [
        ("Laser", "failed"),
        ("Label", "updated"),
    ]
    assert [
        (line.member, line.outcome) for line in report.lines(DesiredState.from_mapping({}, wanted), plan)
    ] == [
        ("Laser", "failed"),
        ("Label", "added"),
    ]
    sandbox.faults.clear()
    (await session.provisioning.apply(await planned(session, wanted))).raise_for_failures()
    assert groups_of(sandbox, laser) == groups_of(sandbox, label) == {"A"}


async def test_a_lost_response_is_unknown_and_undo_counts_it(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-9, 7-15: the change and its start are in the log before it is sent."""
    laser = printer(sandbox, "Laser", "C")
    plan = await planned(session, {"A": ["Laser"]})
    sandbox.faults.add(PUT, status=502, times=None)
    report = await session.provisioning.apply(plan, audit_log=log)
    assert [row.outcome for row in report.rows] == ["unknown"]
    started = [record for record in read_audit_log(log) if record.outcome == "started"]
    a, c = group_named(sandbox, "A").id, group_named(sandbox, "C").id
    assert [(each.operation, each.printer_id, each.before, each.after) for each in started[1:]] == [
        ("change_assignments", laser.id, (c,), tuple(sorted([a, c])))
    ]
    sandbox.faults.clear()
    assert (await session.provisioning.undo(log)).is_empty  # it was not made
    laser.groups.append(a)
    assert (await session.provisioning.undo(log)).assignment_removals == 1


async def test_the_lines_of_the_log_and_of_reports(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """`printer_id` is only in lines about printers."""
    laser = printer(sandbox, "Laser")
    desired = DesiredState.from_mapping({"A": emails(sandbox, 1)}, {"A": ["Laser"]})
    events: list[Event] = []
    plan = await session.provisioning.plan(desired)
    report = await session.provisioning.apply(plan, audit_log=log, on_event=events.append)
    assert [event.kind for event in events] == ["change_memberships", "change_assignments"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line.get("printer_id") for line in lines] == [None, None, None, str(laser.id), str(laser.id)]
    assert ["printer_id" in line for line in lines] == [False, False, False, True, True]
    text = io.StringIO(newline="")
    report.write_csv(text)
    rows = list(csv.reader(io.StringIO(text.getvalue(), newline="")))
    assert [row[-1] for row in rows] == ["printer_id", "", str(laser.id)]
    assert rows[2][:2] == ["printer Laser: add to 'A'", "updated"]


async def test_changes_that_others_undid_are_made_again(sandbox: Sandbox, session: EzeepSession) -> None:
    """`verify_after` lists the printers once more; without members it does not list the users."""
    laser, label = printer(sandbox, "Laser", "B"), printer(sandbox, "Label", "C")
    plan = await planned(session, {"A": ["Laser"], "B": ["Label"]})

    def disturb(event: Event) -> None:
        if event.done == event.total:
            laser.groups[:] = [group_named(sandbox, "B").id]

    report = await session.provisioning.apply(plan, concurrency=1, on_event=disturb, verify_after=True)
    assert report.ok
    assert groups_of(sandbox, laser) == {"A"}
    assert groups_of(sandbox, label) == {"B", "C"}
    assert report.warnings == ("other writers undid 2 printer assignments of this run. They were made again",)
    assert sandbox.count(LIST_USERS) == 0


async def test_what_stays_different_is_reported(sandbox: Sandbox, session: EzeepSession) -> None:
    """A printer that is not in the plan and got an exact group meanwhile."""
    printer(sandbox, "Laser")
    plan = await planned(session, {"A": ["Laser"], "New": ["Laser"]})

    def disturb(event: Event) -> None:
        if event.done == event.total and "Late" not in {p.name for p in sandbox.printing.printers.values()}:
            printer(sandbox, "Late", "A", "New", "C")

    report = await session.provisioning.apply(plan, on_event=disturb, verify_after=True)
    assert not report.ok
    assert report.differences == ()
    assert sorted(map(str, report.assignment_differences)) == [
        "printer Late is assigned to 'A' and should not be",
        "printer Late is assigned to 'New' and should not be",
    ]
    assert report.summary().endswith("2 printer assignments different afterwards")
    with pytest.raises(Exception, match="2 printer assignments different after the run"):
        report.raise_for_failures()


async def test_printers_of_a_protected_group_are_no_difference(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-7: it keeps what others assign to it during the run."""
    printer(sandbox, "Laser")
    plan = await planned(session, {"A": ["Laser"], "B": ["Laser"]}, protect_groups=["A"])

    def disturb(event: Event) -> None:
        if event.done == event.total:
            printer(sandbox, "Late", "A")

    report = await session.provisioning.apply(plan, on_event=disturb, verify_after=True)
    report.raise_for_failures()


async def test_printers_that_cannot_be_listed_are_not_verified(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    printer(sandbox, "Laser")
    plan = await planned(session, {"A": ["Laser"]})
    written = asyncio.Event()
    sandbox.faults.add(LIST, status=403, times=None, when=lambda _: written.is_set())
    report = await session.provisioning.apply(plan, on_event=lambda _: written.set(), verify_after=True)
    assert not report.ok
    assert report.unverified.startswith("the printers could not be listed after the run")


async def test_members_of_a_group_with_new_printers_are_not_compared(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """A new group that has printers only in the input: others may add members."""
    printer(sandbox, "Laser")
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"A": emails(sandbox, 1)}, {"New": ["Laser"]}), mode="exact"
    )

    def disturb(event: Event) -> None:
        if event.done == event.total:
            sandbox.organization.listed_users()[3].groups.add(group_named(sandbox, "New").id)

    report = await session.provisioning.apply(plan, on_event=disturb, verify_after=True)
    report.raise_for_failures()


async def test_members_alone_send_what_they_sent_before(sandbox: Sandbox, session: EzeepSession) -> None:
    """A plan without printers reads none, before, during and after the run."""
    add_team(sandbox, 3, "Team")
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox, 5)[1:]}), mode="exact"
    )
    report = await session.provisioning.apply(plan, verify_after=True)
    report.raise_for_failures()
    assert sandbox.count(LIST) == 0
    assert (sandbox.count(GET_USER), sandbox.count(PATCH_USER)) == (3, 3)


@pytest.mark.may_block
def test_the_blocking_twin_plans_printers_too(tmp_path: Path) -> None:
    from helpers.support import sandbox_in_a_thread

    with sandbox_in_a_thread(users=3) as sandbox:
        laser = sandbox.printing.add_printer("Laser")
        session = EzeepSession(
            sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
        )
        with run_sync(session) as blocking:
            plan = blocking.provisioning.plan(DesiredState.from_mapping({}, {"New": ["Laser"]}), mode="exact")
            log = tmp_path / "audit.jsonl"
            blocking.provisioning.apply(plan, audit_log=log, verify_after=True).raise_for_failures()
            assert groups_of(sandbox, laser) == {"New"}
            undo = blocking.provisioning.undo(log, delete_groups=True)
            assert [type(change) for change in undo.changes][:1] == [ChangeAssignments]
            blocking.provisioning.apply(undo).raise_for_failures()
        assert (laser.groups, "New" in names(sandbox)) == ([], False)
