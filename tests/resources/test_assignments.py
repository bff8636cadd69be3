"""Assignments of printers to groups, on servers whose PUT replaces the groups and on servers whose PUT adds to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, page, session_on
from helpers.support import QUICK

from ezeep_async import (
    BadRequest,
    ConcurrentModification,
    EzeepSession,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    PrinterAssignment,
    UnexpectedResponse,
)
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")

LIST = "GET /printing/v1/assignments/"
PUT = "PUT /printing/v1/assignments/{id}/"
DELETE = "DELETE /printing/v1/assignments/{id}/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture(params=["replace", "add"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with Sandbox(users=2, assignments_put=request.param) as server:
        yield server


@pytest.fixture
def groups(sandbox: Sandbox) -> list[UUID]:
    return list(sandbox.organization.groups)


@pytest.fixture
def printer(sandbox: Sandbox, groups: list[UUID]) -> UUID:
    """A printer that is assigned to the first two groups."""
    return sandbox.printing.add_printer("Test printer", groups=groups[:2]).id


def stored(sandbox: Sandbox, printer: UUID) -> set[UUID]:
    return set(sandbox.printing.printers[printer].groups)


def writes(sandbox: Sandbox) -> int:
    return sandbox.count(PUT) + sandbox.count(DELETE)


# --- listing


async def test_all_printers_are_listed(session: EzeepSession, sandbox: Sandbox, printer: UUID) -> None:
    """Also those without a group."""
    bare = sandbox.printing.add_printer("Bare")
    listed = {each.id: each for each in await session.printer_assignments.list(page_size=2).collect()}
    assert listed.keys() == sandbox.printing.printers.keys()
    assert isinstance(listed[printer], PrinterAssignment)
    assert listed[printer].printer_name == "Test printer"
    assert listed[printer].group_ids == stored(sandbox, printer)
    assert [group.group_name for group in listed[printer].groups] == [
        sandbox.organization.groups[group_id].name for group_id in sandbox.printing.printers[printer].groups
    ]
    assert listed[bare.id].groups == listed[bare.id].assignments == ()


@pytest.mark.parametrize("honoured", [True, False])
async def test_the_printers_of_a_group(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID], honoured: bool
) -> None:
    """The filter is sent, and each row is checked here."""
    sandbox.behaviour.honour_group_filter = honoured
    other = sandbox.printing.add_printer("Other", groups=groups[1:3])
    listing = session.printer_assignments.list(group=groups[0], page_size=1)
    assert [each.id for each in await listing.collect()] == [printer]
    assert {seen.query["group"] for seen in sandbox.requests} == {str(groups[0])}
    assert await session.printer_assignments.list(str(groups[1])).count() == 2
    group = await session.groups.get(groups[2])
    assert [each.id for each in await session.printer_assignments.list(group).collect()] == [other.id]


# --- assigning and removing


async def test_9_6_assigning_keeps_the_other_groups(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """9-6: one read and one write for several groups. Ids are UUID, text, or records."""
    group = await session.groups.get(groups[3])
    sandbox.reset_counts()
    result = await session.printer_assignments.assign(printer, groups[2], str(groups[4]), group)
    assert result.group_ids == stored(sandbox, printer) == set(groups[:5])
    assert (sandbox.count(LIST), sandbox.count(PUT), writes(sandbox)) == (1, 1, 1)
    assert await session.printer_assignments.assign(result, groups[0]) == result
    assert writes(sandbox) == 1


async def test_9_6_removing_keeps_the_other_groups(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """9-6: one DELETE that names the groups, right for both kinds of server; then the printer is read."""
    result = await session.printer_assignments.remove(str(printer), groups[0], groups[5])
    assert result.group_ids == stored(sandbox, printer) == {groups[1]}
    (seen,) = [each for each in sandbox.requests if each.key == DELETE]
    assert json.loads(seen.body) == {"assignment": [{"groups": [{"group_id": str(groups[0])}]}]}
    assert sandbox.count(PUT) == 0
    assert (await session.printer_assignments.remove(printer, groups[1])).groups == ()
    assert stored(sandbox, printer) == set()


async def test_groups_come_and_go_in_one_change(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """Provisioning adds and removes with one call."""
    change = await session.printer_assignments.inner.change_groups(
        printer, frozenset(groups[2:4]), frozenset(groups[:1])
    )
    assert change.assignment.group_ids == stored(sandbox, printer) == set(groups[1:4])
    assert (change.before, change.written) == (frozenset(groups[:2]), True)
    assert change.request_id


async def test_nothing_to_change_is_no_write(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    await session.printer_assignments.assign(printer, groups[0])
    await session.printer_assignments.assign(printer)
    await session.printer_assignments.remove(printer, groups[5])
    assert writes(sandbox) == 0
    assert stored(sandbox, printer) == set(groups[:2])


async def test_a_known_state_is_not_read(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """`assumed` replaces the first read, unless it says that there is nothing to do."""
    (known,) = [each async for each in session.printer_assignments.list() if each.id == printer]
    sandbox.reset_counts()
    change = session.printer_assignments.inner.change_groups
    await change(printer, frozenset(groups[2:3]), frozenset(), assumed=known)
    assert (sandbox.count(LIST), sandbox.count(PUT)) == (0, 1)
    await change(printer, frozenset(groups[:1]), frozenset(), assumed=known)
    assert (sandbox.count(LIST), sandbox.count(PUT)) == (1, 1)
    assert stored(sandbox, printer) == set(groups[:3])


async def test_a_printer_is_searched_once(
    session: EzeepSession, sandbox: Sandbox, groups: list[UUID]
) -> None:
    """The list of all printers is read to find one; later changes begin with the page that it was on."""
    printers = [sandbox.printing.add_printer(f"P{number}").id for number in range(250)]
    await session.printer_assignments.assign(printers[240], groups[0])
    assert sandbox.count(LIST) == 3
    sandbox.reset_counts()
    await session.printer_assignments.assign(printers[230], groups[0])
    await session.printer_assignments.assign(printers[10], groups[0])
    assert sandbox.count(LIST) == 2
    del sandbox.printing.printers[printers[0]]
    for removed in printers[1:120]:
        del sandbox.printing.printers[removed]
    await session.printer_assignments.assign(printers[230], groups[1])
    assert stored(sandbox, printers[230]) == set(groups[:2])


async def test_many_printers_are_searched_together(
    session: EzeepSession, sandbox: Sandbox, groups: list[UUID]
) -> None:
    """Concurrent changes of all printers read the list once, and then one page for each printer."""
    printers = [sandbox.printing.add_printer(f"P{number}").id for number in range(250)]
    await asyncio.gather(
        *(session.printer_assignments.assign(printer, groups[0]) for printer in reversed(printers))
    )
    assert all(stored(sandbox, printer) == {groups[0]} for printer in printers)
    assert sandbox.count(PUT) == 250
    assert sandbox.count(LIST) <= 3 + 250


async def test_an_unknown_printer(session: EzeepSession, sandbox: Sandbox, groups: list[UUID]) -> None:
    with pytest.raises(NotFound, match="not in the list") as caught:
        await session.printer_assignments.assign(unknown := uuid4(), groups[0])
    assert str(unknown) in str(caught.value)
    assert caught.value.status == 404
    assert caught.value.may_have_happened is False
    assert writes(sandbox) == 0


async def test_an_unknown_group(session: EzeepSession, sandbox: Sandbox, printer: UUID) -> None:
    """3-8: the field errors of the server are in the error. Removing an unknown group writes nothing."""
    with pytest.raises(BadRequest) as caught:
        await session.printer_assignments.assign(printer, uuid4())
    assert "assignment" in caught.value.field_errors
    await session.printer_assignments.remove(printer, uuid4())
    assert writes(sandbox) == 1


@pytest.mark.parametrize("bad", ["", "x", "../x", None, 5, object()])
async def test_bad_ids_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, bad: Any
) -> None:
    for call in (
        lambda: session.printer_assignments.assign(bad, uuid4()),
        lambda: session.printer_assignments.assign(uuid4(), uuid4(), bad),
        lambda: session.printer_assignments.remove(bad, uuid4()),
        lambda: session.printer_assignments.remove(uuid4(), bad),
    ):
        with pytest.raises(ValueError, match="UUID"):
            await call()
    if bad is not None:
        with pytest.raises(ValueError, match="UUID"):
            session.printer_assignments.list(group=bad)
    assert sandbox.requests == []


async def test_an_ordinary_user_may_not_do_this(sandbox: Sandbox, printer: UUID, groups: list[UUID]) -> None:
    user = next(person.id for person in sandbox.organization.listed_people() if "admin" not in person.roles)
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(user), endpoints=sandbox.endpoints, settings=QUICK
    ) as session:
        with pytest.raises(PermissionDenied):
            await session.printer_assignments.assign(printer, groups[2])


# --- in turns


async def test_changes_of_one_printer_run_one_after_another(
    session: EzeepSession, sandbox: Sandbox, groups: list[UUID]
) -> None:
    """Also from another session of this process: none is lost."""
    printer = sandbox.printing.add_printer("Busy", groups=groups[:4]).id
    sandbox.behaviour.latency = 0.001
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
    ) as other:
        await asyncio.gather(
            *(session.printer_assignments.assign(printer, group) for group in groups[4:8]),
            *(other.printer_assignments.assign(printer, group) for group in groups[8:]),
            *(other.printer_assignments.remove(printer, group) for group in groups[:4]),
        )
    assert stored(sandbox, printer) == set(groups[4:])


async def test_a_cancelled_change_is_completed_and_not_overtaken(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """A write in flight ends before the next begins. A caller that is cancelled before its turn writes nothing."""
    hold = sandbox.faults.hold(PUT, times=1)
    calls = [asyncio.create_task(session.printer_assignments.assign(printer, group)) for group in groups[2:5]]
    await hold.arrived()
    calls[0].cancel()
    calls[1].cancel()
    await asyncio.wait(calls[:2], timeout=10)
    assert not calls[2].done()
    hold.release()
    result = await asyncio.wait_for(calls[2], 5)
    assert result.group_ids == stored(sandbox, printer) == {*groups[:3], groups[4]}


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"drop": "before"}, {"status": 503}])
async def test_a_lost_response_is_no_lost_group(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID], fault: dict[str, Any]
) -> None:
    """Both writes may be repeated, and the result is right."""
    sandbox.faults.add(PUT, **fault)
    sandbox.faults.add(DELETE, **fault)
    await session.printer_assignments.assign(printer, groups[2])
    result = await session.printer_assignments.remove(printer, groups[0])
    assert result.group_ids == stored(sandbox, printer) == set(groups[1:3])


async def test_an_outcome_is_never_unknown(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """After the last retry the error says that the write may have happened; it is not `OutcomeUnknown`."""
    sandbox.faults.add(PUT, times=None, drop="after")
    with pytest.raises(Exception) as caught:
        await session.printer_assignments.assign(printer, groups[2])
    assert not isinstance(caught.value, OutcomeUnknown)
    assert caught.value.may_have_happened


# --- servers with other responses, and other writers


PRINTER = UUID(int=9)


def row(groups: set[int], **fields: Any) -> dict[str, Any]:
    refs = [{"group_id": str(UUID(int=each)), "force_chosen": False} for each in sorted(groups)]
    return {
        "printer_id": str(PRINTER),
        "printer_name": "P",
        "assignments": [{"settings": None, "groups": refs}] if refs else [],
        **fields,
    }


def ids(seen: Seen) -> set[int]:
    return {UUID(each["group_id"]).int for one in seen.json["assignment"] for each in one["groups"]}


class Server:
    """One printer, whose groups another writer changes: `after` has its groups after each write."""

    def __init__(self, groups: set[int], after: list[set[int]] | None = None, response: Any = None) -> None:
        self.groups = groups
        self.after = [] if after is None else after
        self.response = response
        self.written: list[tuple[str, set[int]]] = []

    def __call__(self, seen: Seen) -> web.Response:
        if seen.method == "GET":
            return page([row(self.groups)])
        self.written.append((seen.method, ids(seen)))
        self.groups = ids(seen) if seen.method == "PUT" else self.groups - ids(seen)
        if self.after:
            self.groups = self.after.pop(0) if len(self.after) > 1 else self.after[0]
        if seen.method == "DELETE":
            return web.Response(status=204)
        return web.json_response(row(self.groups) if self.response is None else self.response)


async def test_a_change_by_another_writer_is_merged() -> None:
    """The response shows another group more, and lacks ours: it is written again, with the other one."""
    server = Server({1}, [{1, 7}, {1, 2, 7}])
    async with Stub(server) as stub, session_on(stub.url) as session:
        result = await session.printer_assignments.assign(PRINTER, UUID(int=2))
    assert {each.int for each in result.group_ids} == {1, 2, 7}
    assert server.written == [("PUT", {1, 2}), ("PUT", {1, 2, 7})]


@pytest.mark.parametrize(
    "response", ["", {}, [], row({2}), row({1, 2}, printer_id=str(UUID(int=5))), {"assignment": []}]
)
async def test_a_response_that_does_not_show_the_groups_is_checked_by_reading(response: Any) -> None:
    """What a PUT responds with is documented by one example only: the list decides."""
    server = Server({1}, response=response)
    async with Stub(server) as stub, session_on(stub.url) as session:
        result = await session.printer_assignments.assign(PRINTER, UUID(int=2))
    assert {each.int for each in result.group_ids} == {1, 2}
    assert [seen.method for seen in stub.seen] == ["GET", "PUT", "GET"]
    assert result.printer_id == PRINTER


async def test_a_write_without_effect_is_concurrent_modification() -> None:
    """After some attempts, and no endless loop."""
    server = Server({1}, [{1}])
    async with Stub(server) as stub, session_on(stub.url) as session:
        with pytest.raises(ConcurrentModification, match="4 times") as caught:
            await session.printer_assignments.assign(PRINTER, UUID(int=2))
    assert caught.value.may_have_happened
    assert len(server.written) == 4


@pytest.mark.parametrize("call", ["assign", "remove"])
async def test_a_lost_group_of_others_is_concurrent_modification(call: str) -> None:
    """Such as where a proxy drops the body of the DELETE, and the server removes all groups. It is not undone: perhaps
    another writer removed it."""
    server = Server({1, 2, 3}, [{4}])
    async with Stub(server) as stub, session_on(stub.url) as session:
        method = getattr(session.printer_assignments, call)
        with pytest.raises(ConcurrentModification, match=str(UUID(int=3))) as caught:
            await method(PRINTER, UUID(int=1 if call == "remove" else 4))
    assert caught.value.may_have_happened
    assert len(server.written) == 1


async def test_settings_and_forced_groups_go_with_a_write() -> None:
    """A PUT may replace everything: what other groups have beside their id is sent back as it was read."""
    assignments = [
        {"settings": {"duplex": True}, "groups": [{"group_id": str(UUID(int=1)), "force_chosen": True}]},
        {"settings": None, "groups": [{"group_id": str(UUID(int=2)), "group_name": "B"}]},
    ]

    def handler(seen: Seen) -> web.Response:
        if seen.method == "GET":
            return page([row(set(), assignments=assignments)])
        return web.json_response(row({1, 2, 3}))

    async with Stub(handler) as stub, session_on(stub.url) as session:
        await session.printer_assignments.assign(PRINTER, UUID(int=3))
        assert stub.seen[-1].json == {
            "assignment": [
                {
                    "settings": {"duplex": True},
                    "groups": [{"group_id": str(UUID(int=1)), "force_chosen": True}],
                },
                {"groups": [{"group_id": str(UUID(int=2))}, {"group_id": str(UUID(int=3))}]},
            ]
        }


async def test_a_list_of_groups_is_refused(
    session: EzeepSession, sandbox: Sandbox, printer: UUID, groups: list[UUID]
) -> None:
    """The message says how to pass several groups. Nothing is sent."""
    for call in (session.printer_assignments.assign, session.printer_assignments.remove):
        with pytest.raises(ValueError, match=r"assign\(printer, \*groups\)"):
            await call(printer, groups)
    assert sandbox.requests == []


async def test_a_list_without_assignments_is_not_written() -> None:
    """A missing field is not an empty set: a PUT would remove all groups."""

    def handler(seen: Seen) -> web.Response:
        return page([{"printer_id": str(PRINTER), "printer_name": "P"}])

    async with Stub(handler) as stub, session_on(stub.url) as session:
        with pytest.raises(UnexpectedResponse, match="assignments"):
            await session.printer_assignments.assign(PRINTER, UUID(int=2))
        assert [seen.method for seen in stub.seen] == ["GET"]
