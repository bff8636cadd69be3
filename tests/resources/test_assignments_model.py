"""Assignments against a model, on both kinds of server, with concurrent changes and failures.

The model is a set of groups for each printer. A batch of changes runs concurrently; within a batch each pair of printer and
group is either added or removed, so the result does not depend on the order.
"""

from __future__ import annotations

import asyncio
from typing import Literal
from uuid import UUID

import attrs
import pytest
from helpers.stub_servers import no_jitter
from helpers.support import QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import EzeepSession, PrinterAssignment
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow

PRINTERS, GROUPS = 3, 5
ROUTES = (
    "GET /printing/v1/assignments/",
    "PUT /printing/v1/assignments/{id}/",
    "DELETE /printing/v1/assignments/{id}/",
)

Sets = tuple[frozenset[int], ...]
"""The groups of each printer."""
Batch = dict[tuple[int, int], bool]
"""Pairs of printer and group, and whether the group is added."""


@attrs.frozen
class Fault:
    route: str
    nth: int
    kind: Literal["before", "after", "busy"]


@attrs.frozen
class Case:
    put: Literal["replace", "add"]
    start: Sets
    batches: list[Batch]
    faults: list[Fault]

    def goal(self) -> Sets:
        goal = [set(groups) for groups in self.start]
        for batch in self.batches:
            for (printer, group), is_added in batch.items():
                (goal[printer].add if is_added else goal[printer].discard)(group)
        return tuple(map(frozenset, goal))


cases = st.builds(
    Case,
    put=st.sampled_from(["replace", "add"]),
    start=st.tuples(*[st.frozensets(st.integers(0, GROUPS - 1))] * PRINTERS),
    batches=st.lists(
        st.dictionaries(
            st.tuples(st.integers(0, PRINTERS - 1), st.integers(0, GROUPS - 1)), st.booleans(), max_size=8
        ),
        max_size=4,
    ),
    faults=st.lists(
        st.builds(
            Fault, st.sampled_from(ROUTES), st.integers(1, 6), st.sampled_from(["before", "after", "busy"])
        ),
        max_size=3,
    ),
)


async def run(case: Case) -> Sets:
    async with Sandbox(users=1, groups=GROUPS, assignments_put=case.put) as sandbox:
        groups = list(sandbox.organization.groups)
        printers = [
            sandbox.printing.add_printer(f"P{number}", groups=[groups[each] for each in sorted(start)]).id
            for number, start in enumerate(case.start)
        ]
        for fault in case.faults:
            if fault.kind == "busy":
                sandbox.faults.add(fault.route, nth=fault.nth, status=503)
            else:
                sandbox.faults.add(fault.route, nth=fault.nth, drop=fault.kind)
        async with (
            EzeepSession(
                sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
            ) as one,
            EzeepSession(
                sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
            ) as two,
        ):

            async def change(session: EzeepSession, printer: UUID, group: UUID, is_added: bool) -> None:
                calls = session.printer_assignments
                result: PrinterAssignment = await (calls.assign if is_added else calls.remove)(printer, group)
                assert result.id == printer
                assert (group in result.group_ids) is is_added

            for batch in case.batches:
                await asyncio.gather(
                    *(
                        change((one, two)[number % 2], printers[printer], groups[group], is_added)
                        for number, ((printer, group), is_added) in enumerate(batch.items())
                    )
                )
        return tuple(
            frozenset(map(groups.index, sandbox.printing.printers[printer].groups)) for printer in printers
        )


@settings(max_examples=max(settings.default.max_examples // 2, 1))
@given(cases)
@pytest.mark.may_block
@pytest.mark.timeout(120)
def test_9_6_no_change_is_lost_and_no_group_of_others(case: Case) -> None:
    """9-6: the printers have the groups of the model at the end, and each call returned what it promised."""
    with pytest.MonkeyPatch.context() as patch:
        no_jitter(patch)
        assert asyncio.run(run(case)) == case.goal()
