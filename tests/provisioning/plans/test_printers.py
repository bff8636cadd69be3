"""Plans with printers: what changes, what is refused, the limits, and the plan as a value."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from helpers.provisioned import LIST_PEOPLE, LIST_USERS, add_team, emails, group_named, writes

from ezeep_async import ExternalGroup, EzeepSession, SafetyLimitExceeded
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.provisioning import (
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    InvalidInput,
    Plan,
    TargetGroup,
)
from ezeep_async.provisioning.plans import printers
from ezeep_async.provisioning.plans.printers import compare_printers
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.printers import SandboxPrinter


LIST_ASSIGNMENTS = "GET /printing/v1/assignments/"


def wanting(printers: dict[str, list[str]]) -> DesiredState:
    return DesiredState.from_mapping({}, printers)


def printer(sandbox: Sandbox, name: str, *groups: str) -> SandboxPrinter:
    ids = [group_named(sandbox, each).id for each in groups]
    return sandbox.printing.add_printer(name, groups=ids)


@pytest.fixture
def label(sandbox: Sandbox) -> SandboxPrinter:
    """A printer of two groups."""
    sandbox.organization.add_group("A")
    sandbox.organization.add_group("B")
    return printer(sandbox, "Label", "A", "B")


async def test_one_change_for_each_printer(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    """By name or id, to new and existing groups. Printers and groups that are not named are not changed."""
    laser = printer(sandbox, "Laser")
    desired = wanting({"New": ["Laser", str(label.id)], "A": ["Laser", "Label", str(laser.id)]})
    plan = await session.provisioning.plan(desired)
    a, b = group_named(sandbox, "A"), group_named(sandbox, "B")
    assert plan.changes == (
        CreateGroup("New", a.organization_id),
        ChangeAssignments(label.id, "Label", (TargetGroup("New"),), (), frozenset({a.id, b.id})),
        ChangeAssignments(laser.id, "Laser", (TargetGroup("New"), TargetGroup("A", a.id)), (), frozenset()),
    )
    assert (plan.assignment_additions, plan.assignment_removals) == (3, 0)
    assert (plan.additions, plan.removals, plan.memberships) == (0, 0, 0)
    assert (plan.assignments, plan.assignments_now) == (4, 1)
    assert (plan.has_members, plan.has_printers) == (False, True)
    assert plan.summary() == "create 1 group, change 2 printers, add 3 printer assignments"
    assert list(plan.diff()) == [
        "+ group New",
        "~ printer Label",
        "  + New",
        "~ printer Laser",
        "  + New",
        "  + A",
    ]
    assert str(plan.changes[1]) == "printer Label: add to 'New'"
    assert writes(sandbox) == []


async def test_exact_takes_the_other_printers_away(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    """From the named groups only; "add" removes nothing."""
    laser = printer(sandbox, "Laser", "A", "B")
    desired = wanting({"A": ["Laser"]})
    assert (await session.provisioning.plan(desired)).is_empty
    plan = await session.provisioning.plan(desired, mode="exact")
    a = TargetGroup("A", group_named(sandbox, "A").id)
    assert plan.changes == (ChangeAssignments(label.id, "Label", (), (a,), frozenset(label.groups)),)
    assert plan.assignment_removals == 1
    assert plan.printers == {a.id: {laser.id}}
    emptied = await session.provisioning.plan(wanting({"A": []}), mode="exact")
    assert emptied.summary() == "change 2 printers, remove 2 printer assignments"


async def test_printers_alone_read_neither_users_nor_accounts(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    """And members alone do not read the printers."""
    await session.provisioning.plan(wanting({"A": ["Label"]}), mode="exact")
    assert (sandbox.count(LIST_USERS), sandbox.count(LIST_PEOPLE)) == (0, 0)
    assert sandbox.count(LIST_ASSIGNMENTS) == 1
    await session.provisioning.plan(DesiredState.from_mapping({"A": emails(sandbox, 2)}), mode="exact")
    assert sandbox.count(LIST_ASSIGNMENTS) == 1


async def test_members_and_printers_together(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    """A group whose members are not given keeps them, and one whose printers are not given keeps those."""
    add_team(sandbox, 4, "Team")
    printer(sandbox, "Laser", "Team")
    desired = DesiredState.from_mapping({"Team": emails(sandbox, 5)[1:]}, {"A": ["Laser"]})
    plan = await session.provisioning.plan(desired, mode="exact")
    kinds = [(type(change), change.subject) for change in plan.changes]
    first, *_, fifth = emails(sandbox, 5)
    assert kinds[:2] == [(ChangeMemberships, fifth), (ChangeMemberships, first)]
    assert sorted(kinds[2:], key=str) == [(ChangeAssignments, "Label"), (ChangeAssignments, "Laser")]
    assert "add 1 membership, remove 1 membership, change 2 printers" in plan.summary()
    group_ids = {group_named(sandbox, "Team").id}
    assert plan.groups == plan.members.keys() == group_ids
    assert plan.printers.keys() == {group_named(sandbox, "A").id}


async def test_all_unknown_and_ambiguous_printers_are_reported_at_once(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    twins = [printer(sandbox, "Twin"), printer(sandbox, "Twin ")]
    absent = UUID(int=5)
    with pytest.raises(InvalidInput) as caught:
        await session.provisioning.plan(
            wanting({"A": ["label", "Twin", "Label"], "B": ["Zzz", str(absent), "Twin"], "C": ["Fax \u2603"]})
        )
    assert [problem.message for problem in caught.value.problems] == [
        "no printer has the name 'label' (for 'A'); similar: 'Label'",
        f"2 printers have the name 'Twin' (for 'A', 'B'): use an id, {twins[0].id}, {twins[1].id}",
        "no printer has the name 'Zzz' (for 'B')",
        f"no printer has the id {absent} (for 'B')",
        "no printer has the name 'Fax \u2603' (for 'C')",
    ]
    assert writes(sandbox) == []
    plan = await session.provisioning.plan(wanting({"A": [str(twins[1].id)]}))
    assert [change.subject for change in plan.changes] == ["Twin "]


def test_the_search_for_similar_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It blocks the event loop: among many printers only the first messages have close matches."""
    monkeypatch.setattr(printers, "NAMES_SEARCHED", 20)
    known = [
        PrinterAssignment(printer_id=UUID(int=number), printer_name=f"Laser {number}", assignments=())
        for number in range(10)
    ]
    wanted = {"A": [f"Lasar {number}" for number in range(5)]}
    with pytest.raises(InvalidInput) as caught:
        compare_printers(wanted, known, {"A": TargetGroup("A")}, {}, exact=True)
    messages = [problem.message for problem in caught.value.problems]
    assert ["; similar: " in message for message in messages] == [True, True, False, False, False]


async def test_the_share_counts_for_printers_by_themselves(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-6: many memberships do not allow more removals of printers; a number counts for both together."""
    add_team(sandbox, 20, "A")
    printers = [printer(sandbox, f"P{number}", "A") for number in range(8)]
    keep = [each.name for each in printers[:2]]
    people = emails(sandbox, 20)
    both = DesiredState.from_mapping({"A": people}, {"A": keep})
    plan = await session.provisioning.plan(both, mode="exact", max_removals=0.5)
    assert (plan.removal_limit, plan.assignment_removal_limit) == (10, 5)
    with pytest.raises(SafetyLimitExceeded) as caught:
        plan.check_limits()
    error = caught.value
    assert (error.removals, error.limit, error.by_group, error.needed) == (6, 5, {"A": 6}, 6)
    assert str(error) == (
        "the plan removes 6 assignments of printers of 8, and max_removals=0.5 allows 5: 6 from 'A'. If this is "
        "intended, plan again with max_removals=6"
    )
    with pytest.raises(SafetyLimitExceeded):
        await session.provisioning.apply(plan)
    assert writes(sandbox) == []

    both = DesiredState.from_mapping({"A": people[4:]}, {"A": keep})
    plan = await session.provisioning.plan(both, mode="exact", max_removals=9)
    assert (plan.removals, plan.assignment_removals) == (4, 6)
    with pytest.raises(SafetyLimitExceeded, match=r"removes 10 memberships and assignments.*max_removals=10"):
        plan.check_limits()
    (await session.provisioning.plan(both, mode="exact", max_removals=10)).check_limits()
    with pytest.raises(SafetyLimitExceeded):
        (await session.provisioning.plan(both, mode="exact", max_removals=0)).check_limits()


async def test_the_limit_is_checked_against_the_current_printers(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-6: printers that lost the group since the plan was made lower the share."""
    sandbox.organization.add_group("A")
    printers = [printer(sandbox, f"P{number}", "A") for number in range(14)]
    desired = wanting({"A": [each.name for each in printers[7:]]})
    plan = await session.provisioning.plan(desired, mode="exact", max_removals=0.5)
    plan.check_limits()
    for each in printers[7:]:
        each.groups.clear()
    with pytest.raises(SafetyLimitExceeded):
        await session.provisioning.apply(plan)
    assert writes(sandbox) == []


async def test_an_empty_input_is_refused_in_mode_exact(session: EzeepSession) -> None:
    with pytest.raises(SafetyLimitExceeded, match="no groups"):
        await session.provisioning.plan(DesiredState.from_mapping({}, {}), mode="exact")


async def test_a_protected_group_keeps_its_printers(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter, caplog: pytest.LogCaptureFixture
) -> None:
    """7-7: the removal is held back, with its reason; and printers alone do not make a pattern of users unused."""
    arguments = {"protect_groups": ["a"], "protect_users": ["*@example.com"]}
    plan = await session.provisioning.plan(wanting({"A": [], "B": []}), mode="exact", **arguments)
    assert list(plan.diff()) == [
        "~ printer Label",
        "  - B",
        "! Label stays in 'A': protect_groups contains 'a'",
    ]
    assert plan.printers[group_named(sandbox, "A").id] == {label.id}
    assert caplog.messages == []
    report = await session.provisioning.apply(plan, verify_after=True)
    assert report.ok
    assert label.groups == [group_named(sandbox, "A").id]


async def test_printers_of_groups_of_another_directory(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-5: the directory owns the members of its groups, and not their printers."""
    printer(sandbox, "Label")
    plan = await session.provisioning.plan(wanting({"WVD Printers": ["Label"]}), mode="exact")
    assert (await session.provisioning.apply(plan)).ok
    with pytest.raises(ExternalGroup):
        await session.provisioning.plan(
            DesiredState.from_mapping({"WVD Printers": emails(sandbox, 1)}, {"WVD Printers": ["Label"]})
        )


async def test_groups_are_not_created_unless_asked_for(session: EzeepSession, label: SandboxPrinter) -> None:
    with pytest.raises(ValueError, match="no such group: 'New'"):
        await session.provisioning.plan(wanting({"New": ["Label"]}), create_groups=False)


async def test_an_empty_plan_counts_what_was_compared(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    plan = await session.provisioning.plan(wanting({"A": ["Label"]}))
    assert plan.summary() == "nothing to change: 1 printer assignment as they should be"
    both = DesiredState.from_mapping({"B": []}, {"A": ["Label"]})
    plan = await session.provisioning.plan(both)
    assert plan.summary() == "nothing to change: 0 memberships and 1 printer assignment as they should be"


# --- the plan as a value


async def test_plans_are_saved_and_read(
    sandbox: Sandbox, session: EzeepSession, label: SandboxPrinter
) -> None:
    """Version 3 has printers. A plan without printers is written as before, for earlier releases."""
    both = DesiredState.from_mapping({"A": emails(sandbox, 2)}, {"A": [], "New": ["Label"]})
    plan = await session.provisioning.plan(both, mode="exact")
    document = json.loads(plan.to_json())
    assert document["version"] == 3
    assert {"printers", "assignments", "assignments_now"} < document.keys()
    assert Plan.from_json(plan.to_json()) == plan
    del document["printers"]
    with pytest.raises(ValueError, match="printers is missing"):
        Plan.from_json(json.dumps(document))

    members_only = await session.provisioning.plan(DesiredState.from_mapping({"A": emails(sandbox, 2)}))
    document = json.loads(members_only.to_json())
    assert document["version"] == 2
    assert not {"printers", "assignments", "assignments_now"} & document.keys()
    assert Plan.from_json(members_only.to_json()) == members_only


async def test_printers_of_one_name_are_distinguished(sandbox: Sandbox, session: EzeepSession) -> None:
    """Changes are shown with names: a note says which printer of that name a change is for."""
    for name in ("A", "B"):
        sandbox.organization.add_group(name)
    first, second = printer(sandbox, "Twin", "A"), printer(sandbox, "Twin", "A")
    printer(sandbox, "Other", "A")
    plan = await session.provisioning.plan(
        wanting({"A": [str(first.id)], "B": [str(first.id)]}), mode="exact", max_removals=5
    )
    assert plan.notes == (
        f"2 printers have the name 'Twin'. The plan changes {first.id} (add to 'B'), {second.id} (remove from 'A')",
    )
    assert next(plan.diff()) == f"! {plan.notes[0]}"
    (await session.provisioning.apply(plan)).raise_for_failures()
