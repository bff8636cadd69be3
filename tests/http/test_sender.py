"""The send loop, end to end: what is repeated, how often, and what is said about it."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from helpers.stub_servers import Stub, no_jitter, nothing_running, quick, respond_with, session_on
from helpers.support import until

from ezeep_async import (
    ApiError,
    AuthenticationError,
    BadRequest,
    ConnectFailed,
    Disconnected,
    EzeepError,
    EzeepSession,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RequestTimeout,
    ServerError,
    SessionClosed,
)
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


READ = "GET /printing/v1/groups/{id}/"
CREATE = "POST /printing/v1/groups/"
WRITE = "PATCH /printing/v1/users/{id}/"
DELETE = "DELETE /printing/v1/groups/{id}/"
ME = "GET /v1/users/me/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
def group(sandbox: Sandbox) -> UUID:
    return next(iter(sandbox.organization.groups))


@pytest.fixture
def organization(sandbox: Sandbox) -> UUID:
    return sandbox.organization.organization_id


def session_with(sandbox: Sandbox, **settings: Any) -> EzeepSession:
    return EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(**settings),
    )


def now() -> float:
    return asyncio.get_running_loop().time()


# --- what is repeated


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_6_13_reads_are_repeated(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int
) -> None:
    """6-13: an idempotent call survives two failures of each passing kind."""
    sandbox.faults.add(READ, status=status, times=2)
    assert (await session.groups.get(group)).id == group
    assert sandbox.count(READ) == 3


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_6_13_reads_survive_lost_connections(
    session: EzeepSession, sandbox: Sandbox, group: UUID, drop: Any
) -> None:
    """6-13: a read is repeated after a lost connection."""
    sandbox.faults.add(READ, drop=drop, times=2)
    assert (await session.groups.get(group)).id == group
    assert sandbox.count(READ) == 3


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_6_13_setting_a_users_groups_may_be_repeated(
    session: EzeepSession, sandbox: Sandbox, group: UUID, drop: Any
) -> None:
    """6-13: setting is harmless to repeat, so a lost response is no failure."""
    user = next(iter(sandbox.organization.users))
    sandbox.faults.add(WRITE, drop=drop)
    assert (await session.users.set_groups(user, [group])).group_ids == {group}
    assert sandbox.count(WRITE) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 412, 422])
async def test_6_13_refusals_are_not_repeated(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int
) -> None:
    """6-13: one request, and the error."""
    sandbox.faults.add(READ, status=status, retry_after=0, times=None)
    with pytest.raises(ApiError) as caught:
        await session.groups.get(group)
    assert (caught.value.status, caught.value.attempts) == (status, 1)
    assert sandbox.count(READ) == 1


async def test_6_13_a_server_that_comes_up_late_is_reached() -> None:
    """6-13: connect errors are repeated: the server may be listening by the next attempt."""
    async with Stub(respond_with(lambda: web.json_response({"ok": 1}))) as early:
        url = early.url
    attempts = 0
    async with session_on(url) as session:
        transport = session._core._transport
        send = transport.send

        async def counted(*args: Any, **options: Any) -> Any:
            nonlocal attempts
            attempts += 1
            return await send(*args, **options)

        transport.send = counted
        with pytest.raises(ConnectFailed) as caught:
            await session.request("GET", "/x/")
        assert attempts == caught.value.attempts == 5


async def test_6_13_giving_up_says_how_often(session: EzeepSession, sandbox: Sandbox, group: UUID) -> None:
    """6-13, 8-4: four retries, then the error, with the number of attempts."""
    sandbox.faults.add(READ, status=503, retry_after=0, times=None)
    with pytest.raises(ServerError) as caught:
        await session.groups.get(group)
    assert caught.value.attempts == sandbox.count(READ) == 5


async def test_6_10_each_retry_is_logged(
    session: EzeepSession, sandbox: Sandbox, group: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """6-10: at INFO, with reason, attempt and delay."""
    sandbox.faults.add(READ, status=503, retry_after=0.03, times=2)
    with caplog.at_level(logging.INFO, "ezeep_async"):
        await session.groups.get(group)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("ezeep_async")]
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert "503" in line
        assert f"attempt {number}" in line
        assert "0.03" in line
    assert all(
        record.levelno == logging.INFO for record in caplog.records if "attempt" in record.getMessage()
    )


# --- Retry-After


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
async def test_6_2_retry_after_is_waited_out(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int
) -> None:
    """6-1, 6-2: the next attempt comes no earlier than was asked for."""
    sandbox.faults.add(READ, status=status, retry_after=0.3)
    begun = now()
    await session.groups.get(group)
    assert now() - begun >= 0.3


@pytest.mark.slow
async def test_6_1_retry_after_as_a_date(session: EzeepSession, sandbox: Sandbox, group: UUID) -> None:
    """6-1: an HTTP date is waited for; one that has passed is no wait."""
    date = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    sandbox.faults.add(READ, status=503, retry_after="Sun, 06 Nov 1994 08:49:37 GMT")
    sandbox.faults.add(READ, status=429, retry_after=date, nth=2)
    begun = now()
    await session.groups.get(group)
    assert 0.9 <= now() - begun <= 2.2
    assert sandbox.count(READ) == 3


@pytest.mark.parametrize("status", [429, 503])
async def test_6_2_a_retry_after_of_a_day_is_raised_at_once(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int
) -> None:
    """6-2: longer than `max_retry_after`: the error at once, and no early retry."""
    sandbox.faults.add(READ, status=status, retry_after=86400, times=None)
    begun = now()
    with pytest.raises(ApiError) as caught:
        await session.groups.get(group)
    assert now() - begun < 1
    assert sandbox.count(READ) == 1
    assert isinstance(caught.value, RateLimited if status == 429 else ServerError)
    assert caught.value.retry_after == 86400


async def test_6_7_a_retry_after_of_a_day_does_not_stop_the_session_for_a_day(
    sandbox: Sandbox, group: UUID
) -> None:
    """6-7: the cool-down of the others is bounded by our configuration, not by the header."""
    sandbox.faults.add(READ, status=429, retry_after=86400)
    async with session_with(sandbox, max_retry_after=0.2) as session:
        with pytest.raises(RateLimited):
            await session.groups.get(group)
        await asyncio.wait_for(session.groups.get(group), 2)


async def test_6_4_a_429_is_waited_out_for_creations_too(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: refused creations were not processed: repeated, and one group is there."""
    sandbox.faults.add(CREATE, status=429, retry_after=0)
    sandbox.faults.add(CREATE, status=429, nth=2)
    sandbox.faults.add(CREATE, status=503, retry_after=0, nth=3)
    await session.groups.create("Once", organization)
    assert [g.name for g in sandbox.organization.groups.values()].count("Once") == 1
    assert sandbox.count(CREATE) == 4


# --- writes whose response was lost


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_6_4_a_creation_whose_response_was_lost_is_not_repeated(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, drop: Any
) -> None:
    """6-4: `OutcomeUnknown`, with its cause, after one request."""
    sandbox.faults.add(CREATE, drop=drop)
    with pytest.raises(OutcomeUnknown) as caught:
        await session.groups.create("Lost", organization)
    assert isinstance(caught.value.__cause__, Disconnected)
    assert caught.value.attempts == 1
    assert caught.value.request_id == sandbox.requests[-1].headers["X-Request-ID"]
    assert sandbox.count(CREATE) == 1


@pytest.mark.parametrize("status", [502, 504])
async def test_6_4_a_creation_that_a_proxy_gave_up_on_is_unknown(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, status: int
) -> None:
    """6-4: 502 and 504 may have been processed."""
    sandbox.faults.add(CREATE, status=status, processed=True)
    with pytest.raises(OutcomeUnknown) as caught:
        await session.groups.create("Lost", organization)
    assert isinstance(caught.value.__cause__, ServerError)
    assert sandbox.count(CREATE) == 1


async def test_6_13_a_creation_with_a_500_response_is_a_server_error(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-13: 500 is `ServerError`, once; 422 is `BadRequest`."""
    sandbox.faults.add(CREATE, status=500)
    with pytest.raises(ServerError):
        await session.groups.create("x", organization)
    sandbox.faults.add(CREATE, status=422)
    with pytest.raises(BadRequest):
        await session.groups.create("x", organization)
    assert sandbox.count(CREATE) == 2


async def test_6_4_a_creation_that_was_slow_is_unknown(sandbox: Sandbox, organization: UUID) -> None:
    """6-4: no response within the read timeout: it may have happened."""
    sandbox.faults.add(CREATE, delay_after=3)
    async with session_with(sandbox, read_timeout=0.2) as session:
        with pytest.raises(OutcomeUnknown) as caught:
            await session.groups.create("Slow", organization)
        assert isinstance(caught.value.__cause__, RequestTimeout)
    assert [g.name for g in sandbox.organization.groups.values()].count("Slow") == 1


async def test_6_4_a_creation_that_never_left_is_no_unknown_outcome(
    sandbox: Sandbox, organization: UUID
) -> None:
    """6-4, 3-7: a deadline that ends during the token refresh: nothing was sent, and that is said."""
    async with session_with(sandbox, deadline=0.2) as session:
        await session.groups.list().first()
        sandbox.expire_access_tokens()
        hold = sandbox.faults.hold("POST /oauth/access_token/")
        refresh = asyncio.create_task(session.oauth.refresh())
        await hold.arrived()
        session._core.refresher._current.expire()
        with pytest.raises(EzeepError) as caught:
            await session.groups.create("Never", organization)
        hold.release()
        await refresh
    assert sandbox.count(CREATE) == 0
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_6_13_other_requests_are_repeated_only_on_demand(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """6-13: `session.request` repeats a PATCH with `idempotent=True` only."""
    path = f"/printing/v1/groups/{group}/"
    sandbox.faults.add("PATCH /printing/v1/groups/{id}/", status=500)
    with pytest.raises(ServerError):
        await session.request("PATCH", path, json={"description": "a"})
    sandbox.faults.add("PATCH /printing/v1/groups/{id}/", status=500)
    answer = await session.request("PATCH", path, json={"description": "a"}, idempotent=True)
    assert answer["description"] == "a"


# --- limits


async def test_6_5_the_deadline_covers_attempts_and_pauses(sandbox: Sandbox, group: UUID) -> None:
    """6-5: a delay that would end after the deadline is not begun."""
    sandbox.faults.add(READ, status=503, retry_after=5, times=None)
    async with session_with(sandbox, deadline=2.0) as session:
        begun = now()
        with pytest.raises(ServerError):
            await session.groups.get(group)
        assert now() - begun < 0.5


@pytest.mark.slow
async def test_6_5_the_deadline_ends_a_slow_attempt(sandbox: Sandbox, group: UUID) -> None:
    """6-5: the deadline ends an attempt that the read timeout would have let go on."""
    sandbox.faults.add(READ, delay=5, times=None)
    async with session_with(sandbox, deadline=0.3, read_timeout=10) as session:
        begun = now()
        with pytest.raises(RequestTimeout):
            await session.groups.get(group)
        assert 0.25 < now() - begun < 1


@pytest.mark.slow
async def test_6_5_many_slow_attempts_share_one_deadline(sandbox: Sandbox, group: UUID) -> None:
    """6-5: it is one deadline for all attempts, not one for each."""
    sandbox.faults.add(READ, delay=5, times=None)
    async with session_with(sandbox, deadline=0.5, read_timeout=0.2) as session:
        begun = now()
        with pytest.raises(RequestTimeout):
            await session.groups.get(group)
        assert now() - begun < 1


@pytest.mark.slow
async def test_6_5_a_cool_down_of_the_session_is_no_timeout(sandbox: Sandbox, group: UUID) -> None:
    """6-5: waiting for a slot during the cool-down of another call's 429 does not count."""
    other = list(sandbox.organization.groups)[1]
    sandbox.faults.add(READ, status=429, retry_after=2.5, when=lambda seen: str(other) in seen.path)
    async with session_with(sandbox, deadline=2.0) as session:
        first = asyncio.create_task(session.groups.get(other))
        await until(lambda: session.stats.throttled)
        assert (await session.groups.get(group)).id == group
        await asyncio.wait({first})
        first.exception()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_6_11_without_retries_one_attempt(sandbox: Sandbox, group: UUID, status: int) -> None:
    """6-11: `retries=0` is one request, whatever the response."""
    sandbox.faults.add(READ, status=status, retry_after=0, times=None)
    async with session_with(sandbox, retries=0) as session:
        with pytest.raises(ApiError) as caught:
            await session.groups.get(group)
    assert caught.value.attempts == sandbox.count(READ) == 1


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_6_11_without_retries_a_cut_connection_is_raised(
    sandbox: Sandbox, group: UUID, drop: Any
) -> None:
    """6-11: nor after a lost connection, of a kept one either."""
    async with session_with(sandbox, retries=0) as session:
        await session.groups.get(group)
        sandbox.faults.add(READ, drop=drop, times=None)
        with pytest.raises(Disconnected):
            await session.groups.get(group)
    assert sandbox.count(READ) == 2


@pytest.mark.slow
async def test_6_6_a_storm_of_500_is_not_doubled(sandbox: Sandbox, group: UUID) -> None:
    """6-6: 300 calls to a server that fails: at most 20 requests more than calls."""
    sandbox.faults.add(READ, status=500, times=None)
    async with session_with(sandbox) as session:
        results = await asyncio.gather(
            *(session.groups.get(group) for _ in range(300)), return_exceptions=True
        )
    assert all(isinstance(result, ServerError) for result in results)
    assert 300 <= sandbox.count(READ) <= 320


@pytest.mark.slow
async def test_6_6_successes_fill_the_budget_again(sandbox: Sandbox, group: UUID) -> None:
    """6-6: after a storm, good calls buy retries back."""
    fault = sandbox.faults.add(READ, status=500, times=None)
    async with session_with(sandbox) as session:
        for _ in range(10):
            with pytest.raises(ServerError):
                await session.groups.get(group)
        fault.remove()
        await asyncio.gather(*(session.accounts.me() for _ in range(50)))
        sandbox.faults.add(READ, status=500)
        assert (await session.groups.get(group)).id == group


async def test_6_6_429_is_not_paid_for(sandbox: Sandbox, group: UUID) -> None:
    """6-6: waiting out a 429 is not a retry in the budget's sense."""
    sandbox.faults.add(READ, status=429, retry_after=0, times=60)
    async with session_with(sandbox, concurrency=1) as session:
        for _ in range(10):
            try:
                await session.groups.get(group)
            except RateLimited:
                pass
        sandbox.faults.add(ME, status=500, times=3)
        await session.accounts.me()


# --- cancelling and closing


@pytest.mark.slow
async def test_6_9_cancelling_a_back_off_is_immediate(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """6-9: long before its end, after a 503, with nothing left behind."""
    sandbox.faults.add(READ, status=503, retry_after=5)
    async with nothing_running():
        call = asyncio.create_task(session.groups.get(group))
        await asyncio.sleep(0.1)
        begun = now()
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled()
        assert now() - begun < 2.5  # the wait would have been 5 s


async def test_6_9_cancelling_a_cool_down_is_immediate(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """6-9: the same while a 429 keeps everyone waiting, and with a timeout of the caller's."""
    sandbox.faults.add(READ, status=429, retry_after=5)
    begun = now()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.groups.get(group), 0.1)
    assert now() - begun < 2.5  # the wait would have been 5 s
    limiter = next(iter(session._core._sender._limiters.hosts.values()))
    assert limiter.active == 0


async def test_6_9_a_callers_timeout_is_not_taken_for_the_deadline(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """6-9: `asyncio.timeout` around a call raises `TimeoutError`, and no attempt follows."""
    sandbox.faults.add(READ, delay=3, times=None)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await session.groups.get(group)
    assert not isinstance(caught.value, EzeepError)
    assert sandbox.count(READ) == 1


async def test_6_9_cancelled_calls_give_their_slots_back(sandbox: Sandbox, group: UUID) -> None:
    """6-9: after 50 cancelled calls all slots are there."""
    hold = sandbox.faults.hold(READ)
    async with session_with(sandbox, concurrency=5) as session:
        calls = [asyncio.create_task(session.groups.get(group)) for _ in range(50)]
        await hold.arrived(5)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls), [call for call in calls if not call.cancelled()]
        hold.release()
        await asyncio.gather(*(session.groups.get(group) for _ in range(10)))


async def test_closing_ends_calls_in_flight_with_session_closed(sandbox: Sandbox, group: UUID) -> None:
    """Calls in flight, in a back-off, or waiting for a slot end with `SessionClosed`, not cancelled."""
    hold = sandbox.faults.hold(READ)
    session = session_with(sandbox, concurrency=3)
    calls = [asyncio.create_task(session.groups.get(group)) for _ in range(6)]
    await hold.arrived(3)
    begun = now()
    await session.aclose()
    assert now() - begun < 1
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [SessionClosed] * 6
    assert [call.cancelled() for call in calls] == [False] * 6


async def test_closing_ends_a_back_off_with_session_closed(sandbox: Sandbox, group: UUID) -> None:
    """A call that waits for its next attempt is in flight too."""
    sandbox.faults.add(READ, status=503, retry_after=30)
    session = session_with(sandbox, deadline=60.0)
    call = asyncio.create_task(session.groups.get(group))
    await asyncio.sleep(0.1)
    await session.aclose()
    with pytest.raises(SessionClosed):
        await call


@pytest.mark.slow
async def test_closing_ends_listings_with_session_closed(sandbox: Sandbox) -> None:
    """So does a listing, read ahead or several pages at once, and leaves nothing running."""
    for concurrency in (1, 4):
        hold = sandbox.faults.hold(
            "GET /printing/v1/users/", when=lambda seen: seen.query.get("offset") != "0"
        )
        async with nothing_running():
            session = session_with(sandbox)
            reading = asyncio.create_task(session.users.list(page_size=10, concurrency=concurrency).collect())
            await hold.arrived()
            await session.aclose()
            with pytest.raises(SessionClosed):
                await reading
            hold.release()


async def test_closing_does_not_swallow_the_callers_own_cancellation(sandbox: Sandbox, group: UUID) -> None:
    """A call that is cancelled by its owner at the moment of closing is cancelled."""
    hold = sandbox.faults.hold(READ)
    session = session_with(sandbox)
    call = asyncio.create_task(session.groups.get(group))
    await hold.arrived()
    call.cancel()
    await session.aclose()
    await asyncio.wait({call})
    assert call.cancelled()


# --- tokens and ids


async def test_8_4_one_request_id_over_all_attempts(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """8-4: attempts of one call share an id, calls do not."""
    sandbox.faults.add(READ, status=503, retry_after=0, times=2)
    await session.groups.get(group)
    await session.groups.get(group)
    ids = [seen.headers["X-Request-ID"] for seen in sandbox.requests if seen.key == READ]
    assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_8_4_over_the_replay_after_a_401_too(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """8-4: the replay after a 401 is the same logical call."""
    sandbox.expire_access_tokens()
    await session.groups.get(group)
    ids = {seen.headers["X-Request-ID"] for seen in sandbox.requests if seen.key == READ}
    assert len(ids) == 1
    assert sandbox.count(READ) == 2


async def test_1_4_a_second_401_is_final(session: EzeepSession, sandbox: Sandbox, group: UUID) -> None:
    """1-4: two requests, one refresh, `AuthenticationError`; never a third attempt."""
    sandbox.faults.add(READ, status=401, times=None)
    with pytest.raises(AuthenticationError) as caught:
        await session.groups.get(group)
    assert caught.value.status == 401
    assert caught.value.attempts == 2
    assert "rejected a new token too" in str(caught.value)
    assert sandbox.count(READ) == 2
    assert sandbox.refresh_requests == 1


async def test_1_4_a_401_that_is_not_replayed_says_nothing_of_a_new_token(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """1-4: a token that has just been issued is not refreshed again: one request, and its 401."""
    sandbox.faults.add(READ, status=401, times=None)
    with pytest.raises(AuthenticationError):
        await session.groups.get(group)
    sandbox.reset_counts()
    with pytest.raises(AuthenticationError) as caught:
        await session.groups.get(group)
    assert (caught.value.attempts, sandbox.count(READ), sandbox.refresh_requests) == (1, 1, 0)
    assert "new token" not in str(caught.value)


async def test_1_4_a_401_between_retries_counts_once(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """1-4: 503, 401, 503, 401: the second 401 ends it, whatever was in between."""
    for nth, status in enumerate([503, 401, 503, 401, 200], 1):
        if status != 200:
            sandbox.faults.add(READ, status=status, retry_after=0, nth=nth)
    with pytest.raises(AuthenticationError):
        await session.groups.get(group)
    assert sandbox.count(READ) == 4
    assert sandbox.refresh_requests == 1


async def test_1_19_a_creation_is_replayed_once_after_a_401(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """1-19: a 401 comes before processing: one replay, one group."""
    sandbox.expire_access_tokens()
    await session.groups.create("Once", organization)
    assert sandbox.count(CREATE) == 2
    assert [g.name for g in sandbox.organization.groups.values()].count("Once") == 1
    assert sandbox.refreshes == 1


async def test_1_19_without_retries_too(sandbox: Sandbox, organization: UUID) -> None:
    """1-19, 6-11: the replay belongs to the token refresh, not to the retries."""
    async with session_with(sandbox, retries=0) as session:
        await session.groups.list().first()
        sandbox.expire_access_tokens()
        await session.groups.create("Once", organization)
    assert sandbox.count(CREATE) == 2


async def test_1_19_a_replay_whose_response_is_lost_is_unknown(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """1-19, 6-4: after the one replay a lost response is `OutcomeUnknown`, with no third request."""
    sandbox.expire_access_tokens()
    sandbox.faults.add(CREATE, drop="after", nth=2)
    with pytest.raises(OutcomeUnknown):
        await session.groups.create("Once", organization)
    assert sandbox.count(CREATE) == 2


@pytest.mark.slow
async def test_1_2_a_herd_of_401_is_one_refresh(session: EzeepSession, sandbox: Sandbox, group: UUID) -> None:
    """1-2: 100 calls in flight, all refused: one refresh, each replayed once."""
    await session.groups.list().first()
    sandbox.expire_access_tokens()
    await asyncio.gather(*(session.groups.get(group) for _ in range(100)))
    assert sandbox.refresh_requests == 1
    assert sandbox.count(READ) <= 200


async def test_8_4_errors_carry_the_servers_id() -> None:
    """8-4: what the server calls the request is what its operators can search for."""
    reply = respond_with(
        lambda: web.json_response({"detail": "no"}, status=404, headers={"X-Request-ID": "srv-1"})
    )
    async with Stub(reply) as stub, session_on(stub.url) as session:
        with pytest.raises(NotFound) as caught:
            await session.request("GET", "/x/")
        assert caught.value.request_id == "srv-1"
        assert stub.seen[0].headers["X-Request-ID"] != "srv-1"


async def test_a_write_of_json_has_its_content_type(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """API document: JSON in; every request says who asks and for what."""
    await session.groups.update(group, description="x")
    seen = sandbox.requests[-1]
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Accept"] == "application/json"
    assert seen.headers["User-Agent"].startswith("ezeep_async/")
    assert json.loads(seen.body) == {"description": "x"}
