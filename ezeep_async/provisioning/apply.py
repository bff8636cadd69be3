"""`apply_plan`: make the changes of a plan, several at once, one failure stopping nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal
from uuid import UUID

import attrs

from ezeep_async.errors import EzeepError, OutcomeUnknown
from ezeep_async.provisioning.plan import AddToGroups, Change, CreateGroup, Plan
from ezeep_async.provisioning.report import Outcome, Report, Row
from ezeep_async.session import EzeepSession


@attrs.frozen
class Event:
    """One change is done with."""

    kind: Literal["create_group", "add_to_groups"]
    change: Change
    outcome: Outcome
    done: int
    """How many changes are done with, this one included."""
    total: int
    """How many changes the plan has."""


OnEvent = Callable[[Event], None]


async def apply_plan(
    session: EzeepSession, plan: Plan, *, concurrency: int = 16, on_event: OnEvent | None = None
) -> Report:
    """Make the changes of `plan`, at most `concurrency` at once: groups first, then one write for each user.

    Each user is read afresh and merged, so that what others changed since the plan was made stays. `on_event` is
    called in the event loop after each change; what it raises ends the run. A change that fails is in the report and
    stops nobody. Raises `ValueError` for a `concurrency` below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is a whole number of at least 1, not {concurrency!r}")
    return await _Run(session, plan, concurrency, on_event).run()


@attrs.define(eq=False)
class _Run:
    session: EzeepSession
    plan: Plan
    concurrency: int
    on_event: OnEvent | None
    _rows: dict[int, Row] = attrs.field(init=False, factory=dict[int, Row])
    _created: dict[str, UUID] = attrs.field(init=False, factory=dict[str, UUID])
    """The groups of this run, by the names that the plan has for them."""

    async def run(self) -> Report:
        started = time.monotonic()
        numbered = list(enumerate(self.plan.changes))
        with self.session.background():  # people's calls on this session do not wait behind it
            await self._work(step for step in numbered if isinstance(step[1], CreateGroup))
            await self._work(step for step in numbered if isinstance(step[1], AddToGroups))
        rows = tuple(self._rows[number] for number in range(len(numbered)))
        return Report(rows, time.monotonic() - started)

    async def _work(self, steps: Iterator[tuple[int, Change]]) -> None:
        """Workers that share one iterator: however many changes there are, there are no more tasks than workers."""

        async def worker() -> None:
            for number, change in steps:
                await self._step(number, change)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self.concurrency, len(self.plan.changes))):
                    tasks.create_task(worker())
        except BaseExceptionGroup as errors:
            # Changes do not raise: this is a fault in the callback or here, and its own class says which.
            raise errors.exceptions[0] from None

    async def _step(self, number: int, change: Change) -> None:
        started = time.monotonic()
        error: EzeepError | None = None
        outcome: Outcome
        try:
            outcome = await self._make(change)
        except OutcomeUnknown as unknown:
            outcome, error = "unknown", unknown
        except EzeepError as failure:
            outcome, error = "failed", failure
        self._rows[number] = Row(change, outcome, error, time.monotonic() - started)
        if self.on_event is not None:
            kind: Literal["create_group", "add_to_groups"] = (
                "create_group" if isinstance(change, CreateGroup) else "add_to_groups"
            )
            self.on_event(Event(kind, change, outcome, len(self._rows), len(self.plan.changes)))

    async def _make(self, change: Change) -> Outcome:
        if isinstance(change, CreateGroup):
            group, created = await self.session.groups.ensure(change.name, change.organization_id)
            self._created[change.name] = group.id
            return "created" if created else "adopted"
        await self._add(change)
        return "updated"

    async def _add(self, change: AddToGroups) -> None:
        ids = [self._created.get(group.name) if group.id is None else group.id for group in change.groups]
        known = [group_id for group_id in ids if group_id is not None]
        # What can be done is done, also where one of the groups could not be created.
        if known:
            await self.session.users.add_to_groups(change.user_id, *known)
        if len(known) < len(ids):
            absent = [
                group.name for group, group_id in zip(change.groups, ids, strict=True) if group_id is None
            ]
            raise EzeepError(f"{_quoted(absent)} could not be created")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
