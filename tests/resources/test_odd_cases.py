"""What resources do with odd arguments, odd answers, and callers that go away."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from uuid import UUID

import aiohttp
import pytest
from support import QUICK, open_session

from ezeep_async import EzeepSession, Group, OutcomeUnknown, PaginationLoop, Paginator, SessionClosed
from ezeep_async._wire.converter import PageBody
from ezeep_async.pagination.reader import RawPage
from ezeep_async.sandbox import Sandbox


CREATE = "POST /printing/v1/groups/"
DELETE = "DELETE /printing/v1/groups/{id}/"
PATCH = "PATCH /printing/v1/users/{id}/"
pytestmark = pytest.mark.usefixtures("debug_mode")


@pytest.fixture
def organization(sandbox: Sandbox) -> UUID:
    return sandbox.organisation.organization_id


@pytest.mark.parametrize("body", ["", "<html>", '{"id":', "{}", '{"id": "x"}'])
async def test_6_4_a_creation_that_was_answered_unreadably(
    sandbox: Sandbox, session: EzeepSession, organization: UUID, body: str
) -> None:
    """6-4: 201 with nothing of use in it: `create` does not know, `ensure` finds out by name, one group."""
    sandbox.faults.add(CREATE, times=1, status=201, body=body, processed=True)
    with pytest.raises(OutcomeUnknown, match="was carried out"):
        await session.groups.create("One", organization)
    sandbox.faults.add(CREATE, times=1, status=201, body=body, processed=True)
    group, created = await session.groups.ensure("Two", organization)
    assert (group.name, created) == ("Two", True)
    names = [each.name for each in sandbox.organisation.groups.values()]
    assert (names.count("One"), names.count("Two")) == (1, 1)


@pytest.mark.parametrize("status", [408, 500, 502, 504])
async def test_3_6_a_deletion_that_was_carried_out_and_answered_with_an_error(
    sandbox: Sandbox, session: EzeepSession, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """3-6: done, says the 404 to its repetition."""
    monkeypatch.setattr(session._core._sender, "random", lambda: 0.0)
    group = sandbox.organisation.add_group("Gone")
    sandbox.faults.add(DELETE, status=status, processed=True)
    await session.groups.delete(group.id)
    assert group.id not in sandbox.organisation.groups
    assert sandbox.count(DELETE) == 2


async def test_4_8_one_reading_is_for_one_task(session: EzeepSession) -> None:
    """4-8: shared between tasks it would lose pages: that is refused, and the reader keeps its place."""
    pages = session.users.list(page_size=10).pages()
    first = asyncio.create_task(pages.__anext__())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task"):
        await pages.__anext__()
    rest = len((await first).items) + sum([len(page.items) async for page in pages])
    assert rest == 134


async def test_4_8_a_reading_that_broke_off_does_not_look_complete(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """4-8: after a time limit for one page, going on is an error and no quiet end."""
    hold = sandbox.faults.hold(
        "GET /printing/v1/users/", when=lambda request: request.query.get("offset") == "10"
    )
    pages = session.users.list(page_size=10).pages()
    await pages.__anext__()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pages.__anext__(), 0.1)
    with pytest.raises(RuntimeError, match="broke off"):
        await pages.__anext__()
    hold.release()


async def test_4_6_a_listing_that_grows_by_a_page_is_no_loop() -> None:
    """4-6, 4-4: rows that come in ahead of us push a known page before us; the count has moved, so that is drift."""
    rows = [Group(id=UUID(int=n), name=str(n), organization_id=UUID(int=0)) for n in range(100, 112)]
    new = [Group(id=UUID(int=n), name=str(n), organization_id=UUID(int=0)) for n in range(3)]

    async def fetch(params: Mapping[str, str]) -> RawPage[Group]:
        offset = int(params["offset"])
        if offset == 3:
            rows[:0] = new
        following = f"?limit=3&offset={offset + 3}" if offset + 3 < len(rows) else None
        return PageBody(rows[offset : offset + 3], len(rows), following), b""

    listing = Paginator(fetch, page_size=3)
    assert [group.id.int for group in await listing.collect()] == list(range(100, 112))
    assert listing.drift
    assert listing.duplicates == 3


async def test_4_6_a_server_that_ignores_offset_is_still_a_loop(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """4-6: the same page with the same count is no drift."""
    sandbox.behaviour.ignore_offset = True
    with pytest.raises(PaginationLoop):
        await session.users.list(page_size=10).collect()


async def test_3_7_a_borrowed_session_that_is_closed_under_us(sandbox: Sandbox) -> None:
    """3-7, 3-11: an error of ours for reads, writes and the login; nothing raw."""
    http = aiohttp.ClientSession()
    async with open_session(sandbox, stored=sandbox.tokens(), http=http, settings=QUICK) as session:
        await session.accounts.me()
        await http.close()
        for call in (session.accounts.me(), session.oauth.refresh(), session.groups.create("x", UUID(int=1))):
            with pytest.raises(SessionClosed, match="lent"):
                await call


async def test_a_call_of_a_cancelled_task_ends_with_session_closed_too(sandbox: Sandbox) -> None:
    """DESIGN: calls in flight end with `SessionClosed`, also one that cleans up after a cancellation."""
    session = open_session(sandbox, stored=sandbox.tokens())
    await session.accounts.me()
    hold = sandbox.faults.hold("GET /v1/users/me/")
    ended: list[BaseException] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            try:
                await session.accounts.me()
            except BaseException as error:
                ended.append(error)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await hold.arrived()
    await session.aclose()
    await asyncio.wait({task})
    assert [type(error) for error in ended] == [SessionClosed]


@pytest.mark.parametrize("bad", [b"x", None, 5, ["x"]])
async def test_3_16_wrong_types_are_refused_before_anything_is_sent(
    sandbox: Sandbox, session: EzeepSession, organization: UUID, bad: object
) -> None:
    """3-16: bytes would be written as base64, a word as a flag: `ValueError`, and no request."""
    calls = [
        session.accounts.update(organization, first_name=bad),
        session.accounts.update(organization, email=bad),
        session.groups.create(bad, organization),
        session.groups.update(organization, name=bad),
        session.groups.update(organization, local_printing_enabled=bad),
        session.groups.ensure(bad, organization),
        session.users.set_groups(organization, bad),
        session.invitations.create(bad),
        session.request(bad, "/printing/v1/groups/"),
        session.request("GET", bad),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            await call
    if bad is not None:
        with pytest.raises(ValueError):
            await session.groups.create("x", organization, local_printing_enabled=bad)
        with pytest.raises(ValueError):
            await session.invitations.create("a@example.com", bad)
    if bad != ["x"]:
        with pytest.raises((ValueError, TypeError)):
            await session.accounts.update(organization, roles=bad)
    assert not sandbox.requests


async def test_a_write_that_fails_after_its_caller_has_gone_is_silent(
    sandbox: Sandbox, session: EzeepSession, organization: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is left to tell: no "exception was never retrieved" at some later moment."""
    hold = sandbox.faults.hold(CREATE)
    sandbox.faults.add(CREATE, times=None, status=403)
    call = asyncio.create_task(session.groups.ensure("x", organization))
    await hold.arrived()
    call.cancel()
    await asyncio.wait({call})
    hold.release()
    await session.groups.find("x")
    await asyncio.sleep(0.05)
    gc.collect()
    assert "never retrieved" not in caplog.text
