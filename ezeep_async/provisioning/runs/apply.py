"""Making the changes of a plan: several at once, one failure stopping nobody, everything noted before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID

import anyio
import attrs

from ezeep_async._http.sender import background
from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async.errors import AuditLogError, EzeepError
from ezeep_async.provisioning.names import normalize_email
from ezeep_async.provisioning.plans.changes import (
    KINDS,
    Change,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    InvitePerson,
    Kind,
    TargetGroup,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.snapshot import Resources
from ezeep_async.provisioning.runs.audit import STARTED, AuditLog
from ezeep_async.provisioning.runs.outcomes import Done, unless_absent
from ezeep_async.provisioning.runs.preflight import created_twice
from ezeep_async.provisioning.runs.report import Outcome, Report, Row
from ezeep_async.provisioning.runs.verify import Verifier


logger = logging.getLogger("ezeep_async.provisioning")

Verify = Literal["fresh", "trust-plan"]


@attrs.frozen
class Event:
    """One change is done with."""

    kind: Kind
    change: Change
    outcome: Outcome
    done: int
    """How many changes are done with, this one included."""
    total: int
    """How many changes the plan has."""


OnEvent = Callable[[Event], None]


async def run_to_report(run: Run) -> Report:
    """The report of a run. A caller that is cancelled stops it: what is in flight ends, and nothing else begins.

    The report of a run that was ended so, or by its callback, is on the exception: see `report_of`. A second
    cancellation cuts off what is in flight; those changes are "unknown" then.
    """
    task = ContainedTask(run.run())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as cancelled:
        run.stop()
        # anyio cancels again at every await, asyncio once for each time that somebody asks.
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError:
                    run.cut()
        if not task.cancelled():
            task.exception()  # looked at: the cancellation goes first
        # The same object goes on: time limits look at its class, and not at those derived from it.
        _attach(run.report(), cancelled)
        raise
    except BaseException as error:
        run.stop()
        _attach(run.report(), error)
        raise


def _attach(report: Report, error: BaseException) -> None:
    with contextlib.suppress(AttributeError):  # a class that has something else of that name
        BaseException.__setattr__(error, "report", report)  # also where the class is frozen


class Run:
    """One application of a plan."""

    def __init__(
        self,
        resources: Resources,
        plan: Plan,
        appeared: Mapping[str, UUID],
        invited: frozenset[str],
        trusted: set[UUID],
        *,
        concurrency: int,
        on_event: OnEvent | None,
        log: AuditLog | None,
        warnings: Iterable[str] = (),
        verifier: Verifier | None = None,
    ) -> None:
        self._resources = resources
        self._plan = plan
        self._concurrency = concurrency
        self._on_event = on_event
        self._log = log
        self._rows: dict[int, Row] = {}
        self._trusted = trusted
        """Users who need not be read, as their groups are what the plan has for them."""
        self._invited = invited
        """People who need no invitation any more."""
        self._created = dict(appeared)
        """The groups that the plan has no ids for, by the names that it has for them."""
        self._workers: set[asyncio.Task[None]] = set()
        self._warnings = list(warnings)
        self._verifier = verifier or Verifier(resources, plan, {}, wanted=False)
        self._stopped = False
        self._started = time.monotonic()
        self._done = 0

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopped = True

    def cut(self) -> None:
        """Break off what is in flight."""
        for worker in self._workers:
            worker.cancel()

    def report(self) -> Report:
        """What became of the changes so far."""
        rows = tuple(
            self._rows.get(number) or Row(change=change, outcome="not_started")
            for number, change in enumerate(self._plan.changes)
        )
        return Report(
            rows,
            time.monotonic() - self._started,
            "" if self._log is None else self._log.run_id,
            tuple(self._warnings),
            self._verifier.differences,
            self._verifier.unverified,
        )

    async def run(self) -> Report:
        """Make the changes. Raises what the callback raises, when what is in flight has ended."""
        of_kind: dict[str, list[tuple[int, Change]]] = {kind: [] for kind in KINDS}
        for number, change in enumerate(self._plan.changes):
            of_kind[change.kind].append((number, change))
        with background():  # people's calls on this session do not wait behind it
            for kind, steps in of_kind.items():
                if kind == CreateGroup.kind and steps:
                    # In one turn, after one look at what there is.
                    async with self._resources.groups.inner.creating_many():
                        await self._work(steps)
                else:
                    await self._work(steps)
                if kind == CreateGroup.kind and steps and not self._stopped:
                    await self._finish([ContainedTask(self._look_for_twins())])
            self._warnings += await self._verifier.run(
                [*self._rows.values()],
                self._created,
                together=lambda work: self._finish(map(ContainedTask, work)),
                repair=self._repair,
                stopped=lambda: self._stopped,
                concurrency=self._concurrency,
            )
        return self.report()

    async def _look_for_twins(self) -> None:
        created = [
            (row.change, row.group_id)
            for row in self._rows.values()
            if row.outcome == "created" and row.group_id is not None and isinstance(row.change, CreateGroup)
        ]
        if created:
            self._warnings += await created_twice(self._resources, created)
        for warning in self._warnings:
            logger.warning(warning)

    async def _repair(self, change: ChangeMemberships) -> None:
        await self._note(change, await self._change_memberships(change))

    async def _work(self, steps: Sequence[tuple[int, Change]]) -> None:
        """Workers that share one iterator: however many changes there are, there are no more tasks than workers."""
        rest = iter(steps)

        async def worker() -> None:
            for number, change in rest:
                if self._stopped:
                    return
                await self._step(number, change)

        if self._stopped:
            return
        many = min(self._concurrency, len(steps))
        await self._finish(ContainedTask(worker()) for _ in range(many))

    async def _finish(self, workers: Iterable[asyncio.Task[None]]) -> None:
        """Wait for all of them, also where one fails. `cut` cuts them off."""
        self._workers = set(workers)
        failed: list[BaseException] = []
        while self._workers:
            done, self._workers = await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    error = task.exception()
                elif self._stopped:  # `cut` did it, which comes after `stop`
                    continue
                else:
                    error = asyncio.CancelledError()  # the callback raised it
                if error is not None:
                    # Changes do not raise: this is a fault in the callback, or here.
                    self.stop()
                    failed.append(error)
        if failed:
            raise failed[0]

    async def _step(self, number: int, change: Change) -> None:
        started = time.monotonic()
        # Whatever ends it from here on: a change that may have been written was not "not_started".
        self._rows[number] = Row(change=change, outcome="unknown")
        try:
            done = await self._outcome_of(change)
        except BaseException:
            self._rows[number] = Row(change=change, outcome="unknown", seconds=time.monotonic() - started)
            raise
        # The row first: with the line under way, it is done all the same.
        self._rows[number] = Row(
            change=change,
            outcome=done.outcome,
            error=done.error,
            seconds=time.monotonic() - started,
            attempts=done.attempts,
            request_id=done.request_id,
            group_id=done.group_id,
            added=done.added,
            removed=done.removed,
        )
        await self._note(change, done)
        self._done += 1
        if self._on_event is not None:
            self._on_event(Event(change.kind, change, done.outcome, self._done, len(self._plan.changes)))

    async def _outcome_of(self, change: Change) -> Done:
        if isinstance(change, ChangeMemberships):
            return await self._change_memberships(change)
        begun = False
        try:
            if (settled := await self._settled(change)) is not None:
                return settled
            await self._intend(change)
            begun = True
            return await self._make(change)
        except EzeepError as error:
            failed = Done.failed(error, begun=begun)
            if isinstance(change, DeleteGroup):
                failed = attrs.evolve(failed, group_id=change.id)
                return await unless_absent(
                    failed, begun=begun, read=lambda: self._resources.groups.get(change.id)
                )
            return failed

    async def _settled(self, change: CreateGroup | InvitePerson | DeleteGroup) -> Done | None:
        """The outcome of a change that need not be made, or must not be."""
        if isinstance(change, CreateGroup) and (known := self._created.get(change.name)) is not None:
            logger.warning("group %r has come into being since the plan was made: it is used", change.name)
            return Done(outcome="adopted", group_id=known)
        if isinstance(change, InvitePerson) and normalize_email(change.email) in self._invited:
            return Done(outcome="unchanged")
        if isinstance(change, DeleteGroup) and await self._is_used(change.id):
            return Done(outcome="kept", group_id=change.id)
        return None

    async def _make(self, change: CreateGroup | InvitePerson | DeleteGroup) -> Done:
        if isinstance(change, CreateGroup):
            return await self._create(change)
        if isinstance(change, InvitePerson):
            _, answer = await self._resources.invitations.inner.create(change.email)
            return Done(outcome="invited", attempts=answer.attempts, request_id=answer.request_id)
        answer = await self._resources.groups.inner.delete(change.id)
        return Done(
            outcome="deleted", attempts=answer.attempts, request_id=answer.request_id, group_id=change.id
        )

    # --- the kinds of change ---------------------------------------------------------------------------------------

    async def _create(self, change: CreateGroup) -> Done:
        made = await self._resources.groups.inner.ensure_absent(change.name, change.organization_id)
        self._created[change.name] = made.group.id
        return Done(
            outcome="created" if made.created else "adopted",
            attempts=made.attempts,
            request_id=made.request_id,
            group_id=made.group.id,
        )

    async def _change_memberships(self, change: ChangeMemberships) -> Done:
        add, absent = self._ids(change.add)
        remove, _ = self._ids(change.remove)
        # What can be done is done, also where one of the groups could not be created.
        if absent and not add and not remove:
            return Done(outcome="failed", error=_not_created(absent))

        trusted = change.user_id in self._trusted
        self._trusted.discard(change.user_id)  # after this write it has other groups
        begun = False

        async def before_write(before: frozenset[UUID], after: frozenset[UUID]) -> None:
            nonlocal begun
            await self._intend(change, before, after)
            begun = True

        try:
            made = await self._resources.users.inner.change_groups(
                change.user_id,
                add,
                remove,
                assumed=change.before if trusted else None,
                before_write=before_write,
            )
        except EzeepError as error:
            failed = Done.failed(error, begun=begun)
            if change.add:
                return failed
            return await unless_absent(
                failed, begun=begun, read=lambda: self._resources.users.get(change.user_id)
            )
        after = made.user.group_ids
        return Done(
            outcome="failed" if absent else "updated" if made.written else "unchanged",
            error=_not_created(absent) if absent else None,
            attempts=made.attempts,
            request_id=made.request_id,
            before=made.before,
            after=after,
            added=self._among(change.add, after - made.before),
            removed=self._among(change.remove, made.before - after),
        )

    def _ids(self, groups: Iterable[TargetGroup]) -> tuple[frozenset[UUID], list[str]]:
        """Their ids, and the names of those that have none: they could not be created."""
        known: set[UUID] = set()
        unknown: list[str] = []
        for group in groups:
            if (group_id := self._id_of(group)) is None:
                unknown.append(group.name)
            else:
                known.add(group_id)
        return frozenset(known), unknown

    def _among(self, groups: Iterable[TargetGroup], ids: frozenset[UUID]) -> tuple[TargetGroup, ...]:
        # A plan that was made by hand may name a group twice.
        by_id = {self._id_of(group): group for group in groups}
        return tuple(group for group_id, group in by_id.items() if group_id in ids)

    def _id_of(self, group: TargetGroup) -> UUID | None:
        return group.id or self._created.get(group.name)

    async def _is_used(self, group_id: UUID) -> bool:
        group = await self._resources.groups.get(group_id)
        return bool(group.num_members or group.num_printers)

    # --- the audit log ---------------------------------------------------------------------------------------------

    async def _intend(
        self, change: Change, before: frozenset[UUID] | None = None, after: frozenset[UUID] | None = None
    ) -> None:
        """Note what is about to be written. Raises `AuditLogError`: then it is not written."""
        if self._log is not None:
            await self._log.note(change, STARTED, before=before, after=after)

    async def _note(self, change: Change, done: Done) -> None:
        if self._log is None or isinstance(done.error, AuditLogError):
            return
        try:
            await self._log.note(
                change,
                done.outcome,
                group_id=done.group_id,
                before=done.before,
                after=done.after,
                attempts=done.attempts,
                request_id=done.request_id,
                error="" if done.error is None else str(done.error),
            )
        except AuditLogError as error:
            # It was noted as started, which is enough to undo it.
            logger.critical("%s: %s, which is not in the audit log: %s", change, done.outcome, error)


def _not_created(names: Iterable[str]) -> EzeepError:
    return EzeepError(f"{', '.join(repr(name) for name in names)} could not be created")
