"""`Run`: make the changes of a plan concurrently. Each write is in the audit log before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, Literal, TypeVar
from uuid import UUID

import anyio
import attrs

from ezeep_async._http.sender import background
from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async.errors import AuditLogError, EzeepError, NotFound, UnexpectedResponse
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.provisioning.names import normalize_email, normalize_group_name
from ezeep_async.provisioning.plans.changes import (
    KINDS,
    Change,
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    InvitePerson,
    Kind,
    Regrouping,
    TargetGroup,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.plans.snapshot import READERS, Resources
from ezeep_async.provisioning.runs.audit import AuditLog
from ezeep_async.provisioning.runs.comparison import AnyDifference, Compared, Grouped, comparison
from ezeep_async.provisioning.runs.preflight import Preflight
from ezeep_async.provisioning.runs.report import AssignmentDifference, Difference, Outcome, Report, Row
from ezeep_async.provisioning.wording import counted
from ezeep_async.resources._base import read_settled
from ezeep_async.resources.assignments import AssignmentChange
from ezeep_async.resources.users import MembershipChange


T = TypeVar("T")
Made = MembershipChange | AssignmentChange

logger = logging.getLogger("ezeep_async.provisioning")

Verify = Literal["fresh", "trust-plan"]
"""Whether `apply` reads each user and printer before its write, or only those that changed since the plan."""

LISTINGS = 3
"""Listings of the users, and of the printers, with `verify_after`, at most. Changes that were undone are repeated after each but the last."""
NOT_COMPARED = "the run ended before its result was compared with the plan"


@attrs.frozen
class Event:
    """The end of one change, for `on_event`."""

    kind: Kind
    change: Change
    outcome: Outcome
    done: int
    """Number of changes that have ended, this one included."""
    total: int
    """Number of changes of the plan."""


OnEvent = Callable[[Event], None]
"""Called at the end of each change."""
Begin = Callable[..., Awaitable[None]]
"""Called before a write, with the groups of the user or printer before and after it. Raises `AuditLogError` to prevent the write."""


@attrs.frozen
class Writer:
    """Makes single changes, with their lines in the audit log."""

    resources: Resources
    known: Preflight
    log: AuditLog | None = None

    async def make(self, change: Change) -> tuple[Row, Made | None]:
        """Make a change. The only place that decides what an error means for its outcome."""
        started, begun = time.monotonic(), False

        async def begin(before: frozenset[UUID] | None = None, after: frozenset[UUID] | None = None) -> None:
            nonlocal begun
            if self.log is not None:
                await self.log.note(change, before=before, after=after)
            begun = True

        outcome: Outcome
        error: EzeepError | None = None
        result: object
        try:
            if isinstance(change, Regrouping):
                outcome, result = await self._regroup(change, begin)
            else:
                outcome, result = await self._write(change, begin)
        except EzeepError as raised:
            error = result = raised
            may_have_happened = raised.may_have_happened or isinstance(raised, UnexpectedResponse)
            outcome = "unknown" if begun and may_have_happened else "failed"
            if outcome == "failed" and isinstance(raised, NotFound) and await self._is_gone(change, begun):
                outcome, error = "already_absent", None
        added: tuple[TargetGroup, ...] = ()
        removed: tuple[TargetGroup, ...] = ()
        group_id = change.id if isinstance(change, DeleteGroup) else None
        if isinstance(change, CreateGroup):
            group_id = self.known.created.get(change.name)
        made = result if isinstance(result, Made) else None
        if made is not None and isinstance(change, Regrouping):
            after = made.after
            added = self._among(change.add, after - made.before)
            removed = self._among(change.remove, made.before - after) if change.remove else ()
            # The possible part of the change is made, although another group could not be created.
            if (error := self._not_created(change)) is not None:
                outcome = "failed"
        row = Row(
            change=change,
            outcome=outcome,
            error=error,
            seconds=time.monotonic() - started,
            attempts=getattr(result, "attempts", 0),
            request_id=getattr(result, "request_id", None) or "",
            group_id=group_id,
            added=added,
            removed=removed,
        )
        return row, made

    async def note(self, row: Row, made: Made | None) -> None:
        """Write the outcome into the log."""
        if self.log is None or isinstance(row.error, AuditLogError):
            return
        states = (None, None) if made is None else (made.before, made.after)
        try:
            await self.log.note(row.change, row, *states)
        except AuditLogError as error:
            # The log has its start, which is enough for undo.
            logger.critical("%s: %s, which is not in the audit log: %s", row.change, row.outcome, error)

    async def _write(
        self, change: CreateGroup | InvitePerson | DeleteGroup, begin: Begin
    ) -> tuple[Outcome, object]:
        """Make a change, unless it is not needed. Return its outcome, and the result with the attempts and request id."""
        if isinstance(change, CreateGroup):
            return await self._create(change, begin)
        if isinstance(change, InvitePerson):
            if normalize_email(change.email) in self.known.invited:
                return "unchanged", None
            await begin()
            return "invited", (await self.resources.invitations.inner.create(change.email))[1]
        group = await self.resources.groups.get(change.id)
        if group.num_members or group.num_printers:
            return "kept", None
        await begin()
        return "deleted", await self.resources.groups.inner.delete(change.id)

    async def _create(self, change: CreateGroup, begin: Begin) -> tuple[Outcome, object]:
        if change.name in self.known.created:
            logger.warning("group %r was created after the plan was made: it is used", change.name)
            return "adopted", None
        await begin()
        ensured = await self.resources.groups.inner.ensure_absent(change.name, change.organization_id)
        self.known.created[change.name] = ensured.group.id
        return "created" if ensured.created else "adopted", ensured

    async def _regroup(self, change: Regrouping, begin: Begin) -> tuple[Outcome, Made]:
        add, remove = self.known.ids_of(change.add), self.known.ids_of(change.remove)
        if not add and not remove and (error := self._not_created(change)) is not None:
            raise error
        made: Made
        # What is trusted has other groups after this write.
        if isinstance(change, ChangeMemberships):
            trusted = change.user_id in self.known.trusted
            self.known.trusted.discard(change.user_id)
            made = await self.resources.users.inner.change_groups(
                change.user_id, add, remove, assumed=change.before if trusted else None, before_write=begin
            )
        else:
            row = self.known.trusted_printers.pop(change.printer_id, None)
            made = await self.resources.assignments.inner.change_groups(
                change.printer_id, add, remove, assumed=row, before_write=begin
            )
        return "updated" if made.written else "unchanged", made

    async def _is_gone(self, change: Change, begun: bool) -> bool:
        """Whether the user, printer or group of a removal does not exist, after a 404.

        After a 404 to a write this is read: a proxy may reject writes only.
        """
        if isinstance(change, DeleteGroup):
            read: Callable[[], Awaitable[object]] = partial(self.resources.groups.get, change.id)
        elif isinstance(change, ChangeMemberships) and not change.add:
            read = partial(self.resources.users.get, change.user_id)
        elif isinstance(change, ChangeAssignments) and not change.add:
            read = partial(self.resources.assignments.inner.read, change.printer_id)
        else:
            return False
        if begun:
            try:
                await read()
            except EzeepError as error:
                return isinstance(error, NotFound)
        return not begun

    def _not_created(self, change: Regrouping) -> EzeepError | None:
        if all(group.id for group in change.add):
            return None
        names = [repr(group.name) for group in change.add if self.known.id_of(group) is None]
        return EzeepError(f"{', '.join(names)} could not be created") if names else None

    def _among(self, groups: Iterable[TargetGroup], ids: frozenset[UUID]) -> tuple[TargetGroup, ...]:
        # A plan that was edited by hand may contain duplicates.
        return tuple({each: group for group in groups if (each := self.known.id_of(group)) in ids}.values())


@attrs.define(eq=False)
class Run:
    """One application of a plan."""

    writer: Writer
    plan: Plan
    concurrency: int
    on_event: OnEvent | None = None
    unverified: str = ""
    """Why the organization is not compared with the plan yet. Empty: it is not to be compared, or is."""
    _differences: dict[type[Regrouping], list[AnyDifference]] = attrs.field(
        init=False, factory=dict[type[Regrouping], list[AnyDifference]]
    )
    _rows: dict[int, Row | None] = attrs.field(init=False, factory=dict[int, Row | None])
    """By the number of the change. None: it has begun."""
    _workers: asyncio.Future[list[BaseException | None]] | None = attrs.field(init=False, default=None)
    _stopped: bool = attrs.field(init=False, default=False)
    _started: float = attrs.field(init=False, factory=time.monotonic)
    _done: int = attrs.field(init=False, default=0)

    async def to_report(self) -> Report:
        """Run. If the caller is cancelled, changes in flight end and no other begins.

        A second cancellation cancels the changes in flight: their outcome is "unknown". The exception of a run that was
        cancelled, or ended by its callback, carries the report: see `report_of`.
        """
        task = ContainedTask(self._run())
        try:
            await asyncio.shield(task)
        except BaseException as error:  # raised again itself: time limits compare its class
            self.stop()
            # anyio cancels again at every await.
            with anyio.CancelScope(shield=True):
                while not task.done():
                    try:
                        await asyncio.wait({task})
                    except asyncio.CancelledError:
                        if self._workers is not None:
                            self._workers.cancel()
            if not task.cancelled():
                task.exception()  # retrieved
            with contextlib.suppress(AttributeError):  # a class with another attribute of this name
                BaseException.__setattr__(error, "report", self._report())  # also if the class is frozen
            raise
        return self._report()

    def stop(self) -> None:
        """Begin no more changes."""
        self._stopped = True

    def _report(self) -> Report:
        return Report(
            tuple(
                self._rows.get(number)
                or Row(change=change, outcome="unknown" if number in self._rows else "not_started")
                for number, change in enumerate(self.plan.changes)
            ),
            time.monotonic() - self._started,
            "" if self.writer.log is None else self.writer.log.run_id,
            tuple(self.writer.known.warnings),
            tuple(each for each in self._different(ChangeMemberships) if isinstance(each, Difference)),
            self.unverified,
            tuple(
                each for each in self._different(ChangeAssignments) if isinstance(each, AssignmentDifference)
            ),
        )

    def _different(self, kind: type[Regrouping]) -> list[AnyDifference]:
        return self._differences.get(kind, [])

    async def _run(self) -> None:
        steps: dict[str, list[tuple[int, Change]]] = {kind: [] for kind in KINDS}
        for number, change in enumerate(self.plan.changes):
            steps[change.kind].append((number, change))
        with background():  # other calls on this session do not wait for the run
            if creations := steps.pop(CreateGroup.kind):
                async with self.writer.resources.groups.inner.creating_many():
                    await self._for_each(creations, self._step)
                await self._together([self._find_duplicates()])
            for rest in steps.values():
                await self._for_each(rest, self._step)
            if self.unverified:
                await self._verify()

    async def _for_each(self, items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
        """Process items with workers that share one iterator: there are never more tasks than workers."""
        rest = iter(items)

        async def worker() -> None:
            for item in takewhile(lambda _: not self._stopped, rest):
                try:
                    await work(item)
                except BaseException:  # of the callback: changes do not raise
                    self.stop()
                    raise

        await self._together(worker() for _ in range(min(self.concurrency, len(items))))

    async def _together(self, work: Iterable[Coroutine[object, object, None]]) -> None:
        """Run all concurrently, and wait for all also if one fails."""
        self._workers = asyncio.gather(*map(ContainedTask, work), return_exceptions=True)
        for error in await self._workers:
            if error is not None:
                raise error

    async def _step(self, step: tuple[int, Change]) -> None:
        number, change = step
        self._rows[number] = None
        row, made = await self.writer.make(change)
        self._rows[number] = row  # before its line in the log is written: the change is made
        await self.writer.note(row, made)
        self._done += 1
        if self.on_event is not None:
            self.on_event(Event(change.kind, change, row.outcome, self._done, len(self.plan.changes)))

    async def _repair(self, change: Regrouping) -> None:
        await self.writer.note(*await self.writer.make(change))  # the next listing shows whether it succeeded

    def _warn(self, *warnings: str) -> None:
        for warning in warnings:
            logger.warning(warning)
        self.writer.known.warnings += warnings

    async def _find_duplicates(self) -> None:
        """Warn of groups that another writer created with the same names at the same time."""
        created = [
            (row.group_id, row.change)
            for row in self._rows.values()
            if row and row.outcome == "created" and isinstance(row.change, CreateGroup)
        ]
        if self._stopped or not created:
            return
        by_name = defaultdict[tuple[str, UUID], list[UUID]](list)
        groups = self.writer.resources.groups.list(concurrency=READERS)
        try:
            for group in await read_settled(groups, lambda group: group, strict=False):
                by_name[normalize_group_name(group.name), group.organization_id].append(group.id)
        except EzeepError as error:
            self._warn(f"it is not known whether other writers created groups with the same names: {error}")
        for group_id, change in created:
            ids = by_name[normalize_group_name(change.name), change.organization_id]
            if others := [str(other) for other in ids if other != group_id]:
                self._warn(
                    f"group {change.name!r} was created twice at the same time: {group_id} by this run, "
                    f"{', '.join(others)} by another writer. Delete one of them"
                )

    async def _verify(self) -> None:
        """Compare the organization with the plan: the users if members were planned, and the printers likewise."""
        resources, reasons = self.writer.resources, list[str]()
        listings: list[tuple[type[Regrouping], str, Callable[[], Paginator[Any]]]] = []
        if self.plan.has_members:
            listings.append((ChangeMemberships, "users", partial(resources.users.list, concurrency=READERS)))
        if self.plan.has_printers:
            rows = partial(resources.assignments.list, concurrency=READERS)
            listings.append((ChangeAssignments, "printers", rows))
        for kind, noun, listing in listings:
            self.unverified = NOT_COMPARED
            await self._verify_kind(kind, noun, listing)
            reasons += [self.unverified] if self.unverified else []
        self.unverified = "; ".join(reasons)

    async def _verify_kind(
        self, kind: type[Regrouping], noun: str, listing: Callable[[], Paginator[Any]]
    ) -> None:
        """List, and repeat the changes that other writers have undone, with at most `LISTINGS` listings."""
        failed = [row.change for row in self._rows.values() if row is not None and not row.ok]
        compare = comparison(self.plan, self.writer.known, failed, kind)
        undone = 0
        try:
            for listings_left in reversed(range(LISTINGS)):
                repairs: list[Regrouping] = []
                await self._together([self._compare(kind, noun, listing(), compare, repairs)])
                if not repairs or not listings_left:
                    break
                self.unverified = NOT_COMPARED
                undone += sum(len(change.add) + len(change.remove) for change in repairs)
                await self._for_each(repairs, self._repair)
        finally:
            if undone:
                what = "membership change" if kind is ChangeMemberships else "printer assignment"
                self._warn(f"other writers undid {counted(undone, what)} of this run. They were made again")

    async def _compare(
        self,
        kind: type[Regrouping],
        noun: str,
        listing: Paginator[Any],
        compare: Callable[[Grouped], Compared],
        repairs: list[Regrouping],
    ) -> None:
        if self._stopped:
            return
        try:
            compared = await read_settled(listing, compare, strict=False)
        except EzeepError as error:
            self.unverified = f"the {noun} could not be listed after the run: {error}"
            return
        self.unverified = ""
        self._differences[kind] = [difference for differences, _ in compared for difference in differences]
        repairs += [repair for _, repair in compared if repair is not None]
