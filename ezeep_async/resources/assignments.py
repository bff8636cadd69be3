"""`session.printer_assignments`: which groups may use a printer, and changes of them in turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from uuid import UUID

import attrs

from ezeep_async._wire.converter import decode, encode
from ezeep_async._wire.requests import ASSIGNMENTS, Request, as_id, memberships
from ezeep_async._wire.responses import RawResponse, decode_response
from ezeep_async.errors import (
    ConcurrentModification,
    EzeepError,
    InconsistentListing,
    NotFound,
    UnexpectedResponse,
)
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.groups import Group
from ezeep_async.models.printers import Printer
from ezeep_async.pagination.paginator import MAX_READINGS, Paginator
from ezeep_async.resources._base import Api, Turn, Turns, page_fetcher
from ezeep_async.resources.printers import PRINTERS_OF
from ezeep_async.resources.users import MERGE_ATTEMPTS, BeforeWrite


logger = logging.getLogger("ezeep_async.resources")

PAGE_SIZE = 100
"""Rows of a page that is searched for a printer."""


@attrs.frozen
class AssignmentChange:
    """The result of a change of one printer's groups."""

    assignment: PrinterAssignment
    before: frozenset[UUID]
    """The groups before the first write."""
    written: bool
    attempts: int = 1
    """Requests that the last response to a write took."""
    request_id: str = ""

    @property
    def after(self) -> frozenset[UUID]:
        """The groups after the last write."""
        return self.assignment.group_ids


@attrs.define(eq=False)
class _Places:
    """Where the printers are in the list, for the next search."""

    offsets: dict[UUID, int] = attrs.field(factory=dict[UUID, int])
    """The offset of the page that each printer was on."""
    search: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    searched: int = 0
    """The rows that the last search has read."""


class AssignmentCalls:
    """Calls for assignments."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.fetch_page = page_fetcher(api, PrinterAssignment, ASSIGNMENTS.page)
        self._turns = Turns(api)
        self._places = api.common(_Places)

    async def read(self, printer_id: UUID) -> PrinterAssignment:
        """Search the list for one printer: no request for a single one is documented."""
        if (found := await self._read_known_place(printer_id)) is not None:
            return found
        # One search at a time: it finds the places of many printers, and the next search begins after them.
        async with self._places.search:
            if (found := await self._read_known_place(printer_id)) is not None:
                return found
            for offset in (self._places.searched, *[0] * MAX_READINGS):
                found, has_drift = await self._read_from(offset, printer_id)
                if found is not None:
                    return found
                if offset == 0 and not has_drift:
                    raise NotFound(
                        f"printer {printer_id} is not in the list of assignments: check its id, and whether the logged-in "
                        "user is an administrator",
                        status=404,
                    )
        raise InconsistentListing(
            f"printer {printer_id} was not found, and the list of assignments changed during each of {MAX_READINGS} "
            "readings. Try again later"
        )

    async def _read_known_place(self, printer_id: UUID) -> PrinterAssignment | None:
        """Read the page that the printer was on; None if it is not there."""
        if (place := self._places.offsets.get(printer_id)) is None:
            return None
        decode_page, _ = await self.fetch_page({"limit": str(PAGE_SIZE), "offset": str(place)})
        return _row(decode_page().results, printer_id)

    async def _read_from(self, offset: int, printer_id: UUID) -> tuple[PrinterAssignment | None, bool]:
        """Read the list until the printer is found. Return it, and whether the list changed meanwhile."""
        async with Paginator(self.fetch_page, page_size=PAGE_SIZE, offset=offset).pages() as pages:
            async for page in pages:
                self._places.offsets.update(
                    dict.fromkeys((row.printer_id for row in page.items), page.offset)
                )
                self._places.searched = page.offset + len(page.items)
                if (found := _row(page.items, printer_id)) is not None:
                    return found, False
        return None, bool(pages.drift)

    async def change_groups(
        self,
        printer_id: UUID,
        add: frozenset[UUID],
        remove: frozenset[UUID],
        *,
        assumed: PrinterAssignment | None = None,
        before_write: BeforeWrite | None = None,
    ) -> AssignmentChange:
        """Read, merge, write if something changes, and compare.

        Right for a PUT that replaces the groups and for one that adds to them: it sends all groups of the printer, and
        groups are removed by DELETE. `assumed` replaces the first read. `before_write` runs before each write.
        """

        async def merge(turn: Turn) -> AssignmentChange:
            nonlocal assumed
            change = _Merge(self, turn, printer_id, add, remove, before_write)
            known, assumed = assumed, None  # other writers may have had a turn before a second one
            try:
                return await change.run(known if known is not None and change.is_needed(known) else None)
            except EzeepError as error:
                error.may_have_happened = error.may_have_happened or change.response is not None
                raise

        return await self._turns.run(("printer", str(printer_id)), merge)


@attrs.define(eq=False)
class _Merge:
    """One change of the groups of a printer, within a turn."""

    _calls: AssignmentCalls
    _turn: Turn
    _printer_id: UUID
    _add: frozenset[UUID]
    _remove: frozenset[UUID]
    _before_write: BeforeWrite | None
    response: RawResponse | None = None
    """The response to the last write; None before the first one."""

    def is_needed(self, current: PrinterAssignment) -> bool:
        return self._merged(current.group_ids) != current.group_ids

    async def run(self, current: PrinterAssignment | None) -> AssignmentChange:
        """Change `current`, or what is read, until nothing is left to change."""
        before: frozenset[UUID] | None = None
        kept = frozenset[UUID]()
        for writes_left in range(MERGE_ATTEMPTS, -1, -1):
            current = await self._calls.read(self._printer_id) if current is None else current
            groups = current.group_ids
            before = groups if before is None else before
            if lost := kept - groups:
                raise ConcurrentModification(
                    f"printer {self._printer_id} has lost the groups {', '.join(map(str, sorted(lost)))}, which were to "
                    "be kept. Another writer changes the same printer, or the server removes more than it is asked to. "
                    "Assign them again if that was no intention"
                )
            if not self.is_needed(current):
                return self._result(current, before)
            if writes_left:
                if self._before_write is not None:
                    await self._before_write(groups, self._merged(groups))
                kept = groups - self._remove
                current = await self._write_once(current)
        raise ConcurrentModification(
            f"printer {self._printer_id}: the groups differed from what was written, {MERGE_ATTEMPTS} times. Another "
            "writer changes the same printer, or the server rejects one of the groups. Read the printer and try again"
        )

    def _merged(self, groups: frozenset[UUID]) -> frozenset[UUID]:
        return (groups | self._add) - self._remove

    def _result(self, current: PrinterAssignment, before: frozenset[UUID]) -> AssignmentChange:
        if self.response is None:
            return AssignmentChange(current, before, False)
        return AssignmentChange(current, before, True, self.response.attempts, self.response.request_id)

    async def _write_once(self, current: PrinterAssignment) -> PrinterAssignment | None:
        """Add and remove. Return the new state if the response is certain to show it."""
        new: PrinterAssignment | None = None
        if added := self._add - current.group_ids:
            new = await self._put(current, added)
        if removed := self._remove & current.group_ids:
            body = encode({"assignment": [{"groups": memberships(removed)}]})
            await self._send(ASSIGNMENTS.delete(self._printer_id, body))
            return None
        return new

    async def _put(self, current: PrinterAssignment, added: frozenset[UUID]) -> PrinterAssignment | None:
        request = ASSIGNMENTS.put(self._printer_id, {"assignment": _entries(current, added)})
        response = await self._send(request)
        try:
            new = decode_response(request, response, lambda body: decode(body, PrinterAssignment))
        except UnexpectedResponse:
            new = None
        if new is not None and (new.id, new.group_ids) == (self._printer_id, current.group_ids | added):
            return new
        logger.info(
            "printer %s: the response has other groups than were written; reading the printer again",
            self._printer_id,
        )
        return None

    async def _send(self, request: Request) -> RawResponse:
        async def send() -> RawResponse:
            return await self._calls.api.send(request)

        self.response = response = await self._turn.write(send)
        return response


def _row(rows: list[PrinterAssignment], printer_id: UUID) -> PrinterAssignment | None:
    return next((row for row in rows if row.printer_id == printer_id), None)


def _entries(current: PrinterAssignment, added: frozenset[UUID]) -> list[dict[str, object]]:
    """All groups as a write has them. What a group has beside its id goes with it: the write may replace everything."""
    new = memberships(added)
    entries: list[dict[str, object]] = []
    for assignment in current.assignments:
        groups: list[dict[str, object]] = [
            {"group_id": str(group.group_id), **({"force_chosen": True} if group.force_chosen else {})}
            for group in assignment.groups
        ]
        if assignment.settings is not None:
            entries.append({"settings": assignment.settings, "groups": groups})
            continue
        if groups := groups + [dict(each) for each in new]:
            entries.append({"groups": groups})
        new = []
    return [*entries, {"groups": new}] if new else entries


class PrinterAssignments:
    """The groups that may use each printer of the organization.

    Note:
        docs/ezeep-api.md#printers-and-assignments
    """

    def __init__(self, api: Api) -> None:
        self.inner = AssignmentCalls(api)
        """Internal: the same calls with their responses, for `ezeep_async.provisioning`."""

    def list(
        self,
        group: UUID | str | Group | None = None,
        page_size: int = 100,
        concurrency: int = 1,
        offset: int = 0,
    ) -> Paginator[PrinterAssignment]:
        """List all printers of the organization with their groups, or the printers of one group.

        Nothing is sent before the listing is iterated. The printers of a user are those of its groups.

        Args:
            group: A group or its id; None for all printers, also those without a group. Each row is checked here, too.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing, in the order of the server.
        """
        everything = self.inner.fetch_page
        if group is None:
            return Paginator(everything, page_size=page_size, concurrency=concurrency, offset=offset)
        group_id = as_id(group, "group", Group)
        query = {"group": str(group_id)}
        return Paginator(
            page_fetcher(
                self.inner.api, PrinterAssignment, lambda params: ASSIGNMENTS.page({**params, **query})
            ),
            page_size=page_size,
            concurrency=concurrency,
            offset=offset,
            keep=lambda assignment: group_id in assignment.group_ids,
            unfiltered=everything,
        )

    async def assign(
        self, printer_or_id: UUID | str | PrinterAssignment | Printer, *groups: UUID | str | Group
    ) -> PrinterAssignment:
        """Assign a printer to groups and keep its other groups: read, merge, write if something changes, compare.

        Changes of one printer run one after another, as those of one user (see `users.add_to_groups`). A change by
        another writer between the read and the write may be overwritten. A write that has begun is completed when its
        caller is cancelled; a caller that is cancelled earlier writes nothing.

        Args:
            printer_or_id: A printer, or its id.
            *groups: The groups to add, or their ids.

        Returns:
            The printer with its groups after the change.

        Raises:
            ConcurrentModification: The groups after the write are not as they should be: one is missing, or a group
                that was to be kept is. Or the lock of the printer was busy or lost.
            NotFound: No such printer exists.
            BadRequest: The server rejects one of the groups.
            ValueError: An id is no UUID; nothing was sent.

        Note:
            ezeep does not document whether the write replaces the groups of a printer or adds to them. Both are
            handled: all groups are sent. The groups are read from the list of all printers, because no request for one
            printer is documented.
        """
        printer, ids = as_id(printer_or_id, "printer_or_id", *PRINTERS_OF), _ids(groups)
        return (await self.inner.change_groups(printer, ids, frozenset())).assignment

    async def remove(
        self, printer_or_id: UUID | str | PrinterAssignment | Printer, *groups: UUID | str | Group
    ) -> PrinterAssignment:
        """Take a printer away from groups and keep its other groups. Otherwise like `assign`.

        Args:
            printer_or_id: A printer, or its id.
            *groups: The groups to remove, or their ids.

        Returns:
            The printer with its groups after the change.

        Raises:
            ConcurrentModification: As for `assign`.
            NotFound: No such printer exists.
            ValueError: An id is no UUID; nothing was sent.

        Note:
            The write is the documented DELETE, whose body names the groups. Its response is empty, so the printer is
            read again. If a proxy drops the body and the server removes every group, this raises
            `ConcurrentModification` with the ids of the groups that are missing.
        """
        printer, ids = as_id(printer_or_id, "printer_or_id", *PRINTERS_OF), _ids(groups)
        return (await self.inner.change_groups(printer, frozenset(), ids)).assignment


def _ids(groups: Iterable[UUID | str | Group]) -> frozenset[UUID]:
    groups = [*groups]
    if any(isinstance(group, list | tuple | set | frozenset) for group in groups):
        raise ValueError("pass each group as an argument of its own, such as assign(printer, *groups)")
    return frozenset(as_id(group, "group", Group) for group in groups)
