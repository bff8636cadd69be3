"""Plans of printers against a model, for any assignments, input, rules and interference.

The model is a set of groups for each printer. Both kinds of servers are in it: a PUT that replaces, and one that adds.
"""

from __future__ import annotations

import asyncio
from typing import Literal
from uuid import UUID

import attrs
import pytest
from helpers.provisioned import state
from helpers.support import QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import EzeepSession, StalePlan
from ezeep_async.models.assignments import AssignedGroup, Assignment, PrinterAssignment
from ezeep_async.models.groups import Group
from ezeep_async.provisioning import ChangeAssignments, DesiredState, Plan
from ezeep_async.provisioning.plans.compare import Protection, Rules, compare
from ezeep_async.provisioning.plans.snapshot import Snapshot
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID


pytestmark = pytest.mark.slow

PRINTERS = 6
EXISTING = ("A", "B", "C", "D")
NAMES = (*EXISTING, "New", "Newer")

Model = dict[int, frozenset[str]]
"""The names of the groups of each printer."""


@attrs.frozen
class Case:
    """The current assignments, the desired ones and the rules. Printers are numbers, groups are names."""

    now: Model
    wanted: dict[str, frozenset[int]]
    mode: Literal["add", "exact"]
    protected: frozenset[str]

    def goal(self) -> Model:
        """The state after the run."""
        return {
            printer: frozenset(
                group
                for group in NAMES
                if printer in self.wanted.get(group, ())
                or (
                    group in groups
                    and (self.mode == "add" or group not in self.wanted or group in self.protected)
                )
            )
            for printer, groups in self.now.items()
        }


numbers = st.integers(0, PRINTERS - 1)
cases = st.builds(
    Case,
    now=st.lists(st.frozensets(st.sampled_from(EXISTING)), min_size=PRINTERS, max_size=PRINTERS).map(
        lambda each: dict(enumerate(each))
    ),
    wanted=st.dictionaries(st.sampled_from(NAMES), st.frozensets(numbers), min_size=1),
    mode=st.sampled_from(["add", "exact"]),
    protected=st.frozensets(st.sampled_from(NAMES), max_size=1),
)


def printer_id(number: int) -> UUID:
    return UUID(int=3000 + number)


def printer_name(number: int) -> str:
    return f"Printer {number}"


def group_id(name: str) -> UUID:
    return UUID(int=2000 + NAMES.index(name))


def snapshot(now: Model, names: set[str]) -> Snapshot:
    return Snapshot(
        tuple(Group(id=group_id(name), name=name, organization_id=ORGANIZATION_ID) for name in sorted(names)),
        printers=tuple(
            PrinterAssignment(
                printer_id=printer_id(number),
                printer_name=printer_name(number),
                assignments=(Assignment(tuple(AssignedGroup(group_id(name)) for name in sorted(groups))),),
            )
            for number, groups in now.items()
        ),
    )


def desired(case: Case, data: st.DataObject | None = None) -> DesiredState:
    texts = {
        number: printer_name(number)
        if data is None
        else data.draw(st.sampled_from([printer_name(number), str(printer_id(number))]), label=str(number))
        for number in range(PRINTERS)
    }
    wanted = {name: [texts[number] for number in sorted(many)] for name, many in case.wanted.items()}
    return DesiredState.from_mapping({}, wanted)


@pytest.mark.timeout(120)
@given(cases, st.data())
@settings(max_examples=settings().max_examples * 2)
def test_7_1_the_plan_is_the_difference(case: Case, data: st.DataObject) -> None:
    """7-1, 7-4, 7-7, 7-10: the plan reaches the goal and is minimal, and the second plan is empty."""
    rules = Rules(
        mode=case.mode,
        max_removals=10**6,
        protect_groups=Protection.of(case.protected, "protect_groups"),
    )
    wish = desired(case, data)
    plan = compare(wish, snapshot(case.now, {*EXISTING}), rules)
    changes = [change for change in plan.changes if isinstance(change, ChangeAssignments)]
    after = dict(case.now)
    for change in changes:
        number = change.printer_id.int - 3000
        assert change.before == frozenset(map(group_id, after[number]))
        assert change.add or change.remove
        after[number] |= {group.name for group in change.add}
        after[number] -= {group.name for group in change.remove}
    assert after == case.goal()
    assert len({change.printer_id for change in changes}) == len(changes)
    assert plan.assignment_additions + plan.assignment_removals == sum(
        len(case.now[number] ^ groups) for number, groups in after.items()
    )
    assert {(held.member, held.group) for held in plan.held_back} == {
        (printer_name(number), group)
        for number, groups in case.now.items()
        for group in groups & case.wanted.keys() & case.protected
        if case.mode == "exact" and number not in case.wanted[group]
    }
    assert compare(wish, snapshot(after, {*EXISTING, *case.wanted}), rules).is_empty
    assert Plan.from_json(plan.to_json()) == plan


interferences = st.lists(
    st.tuples(
        st.sampled_from(["assign", "take", "remove printer", "rename printer"]),
        numbers,
        st.sampled_from(EXISTING),
    ),
    max_size=3,
)


@pytest.mark.timeout(240)
@given(
    case=cases,
    interference=interferences,
    put=st.sampled_from(["replace", "add"]),
    verify=st.sampled_from(["fresh", "trust-plan"]),
    undo=st.booleans(),
)
@settings(max_examples=max(1, settings().max_examples // 2))
def test_7_1_the_sandbox_ends_where_the_model_says(
    tmp_path_factory: pytest.TempPathFactory,
    case: Case,
    interference: list[tuple[str, int, str]],
    put: Literal["replace", "add"],
    verify: Literal["fresh", "trust-plan"],
    undo: bool,
) -> None:
    """7-1, 7-2, 7-10, 7-15: over a socket, with changes of others between plan and apply, and undone."""
    log = tmp_path_factory.mktemp("audit") / "audit.jsonl"

    async def run() -> None:
        async with Sandbox(users=1, groups=0, printers=0, assignments_put=put) as sandbox:
            organization, printers = sandbox.organization, sandbox.printing.printers
            for name in EXISTING:
                organization.add_group(name, group_id=group_id(name))
            for number, groups in case.now.items():
                sandbox.printing.add_printer(
                    printer_name(number),
                    printer_id=printer_id(number),
                    groups=[group_id(name) for name in sorted(groups)],
                )

            def assigned() -> Model:
                return {
                    each.id.int - 3000: frozenset(
                        organization.groups[one].name for one in each.groups if one in organization.groups
                    )
                    for each in printers.values()
                }

            async with EzeepSession(
                sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
            ) as session:
                wish = desired(case)
                users = state(sandbox)
                plan = await session.provisioning.plan(
                    wish, mode=case.mode, max_removals=1000, protect_groups=case.protected
                )
                for what, number, name in interference:
                    if (printer := printers.get(printer_id(number))) is None:
                        continue
                    if what == "assign" and group_id(name) not in printer.groups:
                        printer.groups.append(group_id(name))
                    elif what == "take" and group_id(name) in printer.groups:
                        printer.groups.remove(group_id(name))
                    elif what == "remove printer":
                        sandbox.printing.remove_printer(printer.id)
                    elif what == "rename printer":
                        printer.name = "Renamed"
                before = assigned()
                changes = [change for change in plan.changes if isinstance(change, ChangeAssignments)]
                is_harmful = any(
                    ((printer := printers.get(change.printer_id)) is None and change.add)
                    or (printer is not None and printer.name != change.printer)
                    for change in changes
                )
                try:
                    report = await session.provisioning.apply(plan, audit_log=log, verify=verify)
                except StalePlan:
                    assert is_harmful
                    assert assigned() == before
                    return
                assert not is_harmful
                report.raise_for_failures()
                expected = dict(before)
                for change in changes:
                    number = change.printer_id.int - 3000
                    if number in expected:
                        expected[number] |= {group.name for group in change.add}
                        expected[number] -= {group.name for group in change.remove}
                assert assigned() == expected
                assert state(sandbox) == users
                if not interference:
                    assert assigned() == case.goal()
                    again = await session.provisioning.plan(
                        wish, mode=case.mode, protect_groups=case.protected
                    )
                    assert again.is_empty
                if undo and not plan.is_empty:
                    reverting = await session.provisioning.undo(log, delete_groups=True)
                    (await session.provisioning.apply(reverting)).raise_for_failures()
                    assert {group.name for group in organization.groups.values()} == {*EXISTING}
                    if not interference:
                        assert assigned() == before

    asyncio.run(run())
