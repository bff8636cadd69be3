"""7-12: a hundred thousand changes: as many tasks as workers, and each change is made once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast
from uuid import UUID

import pytest

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async.errors import NotFound, PermissionDenied
from ezeep_async.models.users import User
from ezeep_async.provisioning import ChangeMemberships, Event, Plan, TargetGroup
from ezeep_async.provisioning.plans.snapshot import Resources
from ezeep_async.provisioning.runs import apply
from ezeep_async.provisioning.runs.apply import Run, Writer
from ezeep_async.provisioning.runs.preflight import Preflight
from ezeep_async.resources.users import MembershipChange


MANY = 100_000
TEAM = UUID(int=1)


class FakeUsers:
    """Takes a turn of the loop for each change, as a socket would, and counts the concurrent calls."""

    def __init__(self) -> None:
        self.changed: Counter[UUID] = Counter()
        self.inside = 0
        self.peak = 0
        self.tasks = 0
        self.inner = self

    async def change_groups(
        self, user_id: UUID, add: frozenset[UUID], remove: frozenset[UUID], **_: object
    ) -> MembershipChange:
        self.inside += 1
        self.peak = max(self.peak, self.inside)
        if user_id.int % 1000 == 0:
            self.tasks = max(self.tasks, len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        self.inside -= 1
        self.changed[user_id] += 1
        if user_id.int % 10_000 == 1:
            raise PermissionDenied("no", status=403, request_id="r")
        if user_id.int % 10_000 == 2:
            raise NotFound("gone", status=404, request_id="r")
        return MembershipChange(User(id=user_id, groups=()), frozenset(), True, 1, "r")


def a_plan(many: int = MANY) -> Plan:
    team = (TargetGroup("Team", TEAM),)
    return Plan(
        changes=tuple(ChangeMemberships(UUID(int=n + 10), str(n), team, (), frozenset()) for n in range(many))
    )


def a_run(users: FakeUsers, plan: Plan, concurrency: int, **options: Any) -> Run:
    nothing = cast("Any", None)
    api = Resources(nothing, cast("Any", users), nothing, nothing, nothing)
    return Run(Writer(api, Preflight()), plan, concurrency, **options)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("concurrency", [1, 16])
async def test_7_12_there_are_as_many_tasks_as_workers(concurrency: int) -> None:
    """7-12: and a few others: the run and its waiters."""
    users, plan = FakeUsers(), a_plan()
    report = await a_run(users, plan, concurrency).to_report()
    assert users.peak == concurrency
    assert users.tasks <= concurrency + 3
    assert len(users.changed) == MANY
    assert set(users.changed.values()) == {1}
    assert report.counts == {"updated": MANY - 20, "failed": 20}
    assert [row.change for row in report.rows] == list(plan.changes)


@pytest.mark.timeout(120)
async def test_7_12_no_more_workers_than_changes_are_started() -> None:
    users = FakeUsers()
    await a_run(users, a_plan(3), 10_000).to_report()
    assert users.peak == 3


@pytest.mark.timeout(120)
async def test_7_12_kinds_without_changes_start_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """7-12: one task for the run and, with fewer changes than workers, one for each change."""
    started = 0

    class Counted(ContainedTask[Any]):
        def __init__(self, coroutine: Any) -> None:
            nonlocal started
            started += 1
            super().__init__(coroutine)

    monkeypatch.setattr(apply, "ContainedTask", Counted)
    await a_run(FakeUsers(), a_plan(3), 16).to_report()
    assert started == 1 + 3


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_7_13_a_run_of_many_changes_is_cancelled() -> None:
    """7-13: changes that have begun are completed, and the report has a row for each change."""
    users, plan = FakeUsers(), a_plan()
    events: list[int] = []

    def follow(event: Event) -> None:
        events.append(event.done)
        if event.done == 50_000:
            task.cancel()

    task = asyncio.ensure_future(a_run(users, plan, 16, on_event=follow).to_report())
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    report = caught.value.report
    assert len(report.rows) == MANY
    assert events == list(range(1, len(users.changed) + 1))
    assert 50_000 <= len(users.changed) <= 50_000 + 2 * 16
    assert report.counts["not_started"] == MANY - len(users.changed)
