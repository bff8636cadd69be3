"""7-15: `LoggedRun`, from the records of a log to a plan. What may have been written counts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import attrs
import pytest

from ezeep_async import Group
from ezeep_async.provisioning import AuditRecord, ChangeMemberships, DeleteGroup, TargetGroup
from ezeep_async.provisioning.runs.undo import LoggedRun
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID


USER, GROUP, TWIN = UUID(int=1), UUID(int=2), UUID(int=3)


def a_group(group_id: UUID, name: str, organization_id: UUID = ORGANIZATION_ID) -> Group:
    return Group(id=group_id, name=name, organization_id=organization_id)


def record(outcome: str, before: Iterable[UUID] = (), after: Iterable[UUID] = (), **more) -> AuditRecord:
    return AuditRecord(
        run_id="r",
        time=datetime(2026, 1, 2, tzinfo=UTC),
        operation="change_memberships",
        outcome=outcome,
        user_id=USER,
        name="a",
        before=None if outcome == "failed" else tuple(before),
        after=None if outcome == "failed" else tuple(after),
        **more,
    )


@pytest.mark.parametrize(
    ("records", "add", "remove"),
    [
        ([record("started", [], [GROUP])], [], [GROUP]),
        ([record("started", [], [GROUP]), record("failed", attempts=1)], [], []),
        ([record("started", [], [GROUP]), record("failed", attempts=3)], [], []),
        ([record("started", [], [GROUP]), record("unknown")], [], [GROUP]),
        ([record("started", [GROUP], []), record("updated", [GROUP], [TWIN])], [GROUP], []),
        # Two changes of one user, in a plan that was edited by hand: the sum of both.
        ([record("started", [], [GROUP]), record("started", [GROUP], [TWIN])], [], [TWIN]),
        ([record("started", [GROUP], []), record("started", [], [GROUP])], [], []),
        # The same again, because another writer had reverted it in the meantime.
        ([record("started", [GROUP], []), record("started", [GROUP], [])], [GROUP], []),
    ],
)
def test_7_15_what_may_have_been_written_counts_and_the_rest_does_not(
    records: list[AuditRecord], add: list[UUID], remove: list[UUID]
) -> None:
    groups = [a_group(GROUP, "Group"), a_group(TWIN, "Group")]
    plan = LoggedRun(records).undo(groups, {USER: frozenset(remove)}, delete_groups=False)
    changes = [change for change in plan.changes if isinstance(change, ChangeMemberships)]
    assert [group.id for change in changes for group in change.add] == add
    assert [group.id for change in changes for group in change.remove] == remove


def test_7_15_groups_that_are_gone_are_skipped() -> None:
    run = LoggedRun([record("started", [GROUP], [TWIN])])
    plan = run.undo([a_group(TWIN, "Twin")], {USER: frozenset([TWIN])}, delete_groups=False)
    (change,) = plan.changes
    assert isinstance(change, ChangeMemberships)
    assert (change.add, change.remove) == ((), (TargetGroup("Twin", TWIN),))


def creation(outcome: str, **more) -> AuditRecord:
    more = {"name": "A", "organization_id": ORGANIZATION_ID} | more
    return AuditRecord(
        run_id="r", time=datetime(2026, 1, 2, tzinfo=UTC), operation="create_group", outcome=outcome, **more
    )


@pytest.mark.parametrize(
    ("name", "organization_id", "namesakes", "deleted"),
    [
        ("A", ORGANIZATION_ID, (), [GROUP]),
        ("A", ORGANIZATION_ID, (TWIN,), [GROUP]),
        ("A", ORGANIZATION_ID, (GROUP,), []),
        ("A", USER, (), []),
        (" A", ORGANIZATION_ID, (), []),
    ],
)
def test_7_15_a_creation_with_a_lost_response_is_the_group_that_did_not_exist_before(
    name: str, organization_id: UUID, namesakes: tuple[UUID, ...], deleted: list[UUID]
) -> None:
    """7-15: with exactly that name, in that organization."""
    begin = attrs.evolve(record("started"), operation="run", user_id=None, namesakes=namesakes)
    groups = [a_group(GROUP, name, organization_id)]
    plan = LoggedRun([begin, creation("started")]).undo(groups, {}, delete_groups=True)
    assert [change.id for change in plan.changes if isinstance(change, DeleteGroup)] == deleted
