"""Wrong loops, closed sessions, lent sessions that close, and long queues: 3-10, 3-11, 3-12."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from helpers.raw_server import ID, Exchange, PlayServer
from helpers.stub_servers import no_jitter, session_on

from ezeep_async import EzeepSession, OAuthApp, SessionClosed
from ezeep_async._http import transport


CALLS: dict[str, Callable[[EzeepSession], Awaitable[object]]] = {
    "get": lambda session: session.groups.get(ID),
    "listing": lambda session: session.users.list().collect(),
    "create": lambda session: session.groups.create("x", ID),
    "request": lambda session: session.request("GET", "/x/"),
    "refresh": lambda session: session.oauth.refresh(),
    "code": lambda session: session.oauth.exchange_code("a-code"),
    "pair": lambda session: session.oauth.pair(),
    "revoke": lambda session: session.oauth.revoke(),
}


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


async def hang(exchange: Exchange) -> None:
    await asyncio.sleep(10)


@pytest.mark.parametrize("call", CALLS)
async def test_3_11_a_lent_session_that_was_closed_is_a_clear_error(call: str) -> None:
    """3-11: closed by its owner before the first call, or between two: `SessionClosed` that says whose it was."""
    async with PlayServer() as server:
        http = aiohttp.ClientSession()
        async with session_on(server.url, http=http) as session:
            await session.groups.get(ID)
            await http.close()
            with pytest.raises(SessionClosed, match="lent"):
                await CALLS[call](session)
        async with session_on(server.url, http=http) as session:
            with pytest.raises(SessionClosed, match="lent"):
                await CALLS[call](session)
        assert len(server.requests) == 1


async def test_traces_of_a_lent_session_are_not_used() -> None:
    """They would see tokens, and what one raises ends a request with aiohttp: in a refresh, that loses a token set."""
    trace = aiohttp.TraceConfig()
    seen: list[object] = []

    async def broken(_: aiohttp.ClientSession, __: object, params: object) -> None:
        seen.append(params)
        raise ZeroDivisionError

    trace.on_request_start.append(broken)
    trace.on_request_end.append(broken)
    async with PlayServer() as server, aiohttp.ClientSession(trace_configs=[trace]) as http:
        with pytest.raises(ZeroDivisionError):
            await http.get(server.url)
        seen.clear()
        async with session_on(server.url, http=http) as session:
            await session.groups.get(ID)
    assert seen == []
    assert "`trace_configs` are not" in (EzeepSession.__doc__ or "")


@pytest.mark.may_block  # with a loop of its own
@pytest.mark.parametrize("call", CALLS)
def test_3_12_a_lent_session_of_another_loop_is_a_clear_error(call: str) -> None:
    """3-12: made on another event loop: our `RuntimeError`, which says whose it is, each time."""

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def use(http: aiohttp.ClientSession) -> None:
        async with PlayServer() as server, session_on(server.url, http=http) as session:
            for _ in range(2):
                with pytest.raises(RuntimeError, match="lent to EzeepSession is of another event loop"):
                    await CALLS[call](session)
            assert server.requests == []

    with asyncio.Runner() as theirs:
        http = theirs.run(make())
        with asyncio.Runner() as ours:
            ours.run(use(http))
        theirs.run(http.close())


async def test_3_11_a_lent_session_that_closes_during_a_call_ends_it() -> None:
    """3-11: the call ends with an error of ours, not with one of aiohttp's."""
    async with PlayServer(hang) as server, aiohttp.ClientSession() as http:
        async with session_on(server.url, http=http) as session:
            call = asyncio.create_task(session.groups.get(ID))
            while not server.requests:
                await asyncio.sleep(0.01)
            await http.close()
            with pytest.raises(SessionClosed, match="lent"):
                await asyncio.wait_for(call, 5)


@pytest.mark.parametrize("call", CALLS)
async def test_3_11_after_the_close_every_kind_of_call_says_so(call: str) -> None:
    """3-11: closed twice, and then used: `SessionClosed`, and nothing is sent."""
    async with PlayServer() as server:
        async with session_on(server.url) as session:
            await session.groups.get(ID)
        await session.aclose()
        with pytest.raises(SessionClosed):
            await CALLS[call](session)
        assert len(server.requests) == 1


@pytest.mark.may_block
@pytest.mark.parametrize("call", CALLS)
def test_3_12_on_another_loop_every_kind_of_call_says_so(call: str) -> None:
    """3-12: `RuntimeError` that names the loop, nothing is sent, and the session still works on its own loop."""
    first = asyncio.new_event_loop()
    server = PlayServer()

    async def opened() -> EzeepSession:
        await server.__aenter__()
        session = session_on(server.url)
        await session.groups.get(ID)
        return session

    async def elsewhere(session: EzeepSession) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await CALLS[call](session)

    async def done(session: EzeepSession) -> None:
        assert (await session.groups.get(ID)).name == "g"
        await session.aclose()
        assert len(server.requests) == 2
        await server.__aexit__(None, None, None)

    try:
        session = first.run_until_complete(opened())
        asyncio.run(elsewhere(session))
        first.run_until_complete(done(session))
    finally:
        first.close()


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("use", ["never", "entered", "lent", "read", "refreshed"])
def test_3_11_an_unclosed_session_warns_if_it_has_connections(
    use: str, caplog: pytest.LogCaptureFixture
) -> None:
    """3-11: one `ResourceWarning` that names our class when connections were made, and nothing otherwise; aiohttp itself
    says nothing."""

    async def main() -> None:
        async with PlayServer() as server, aiohttp.ClientSession() as http:
            session = session_on(server.url, http=http if use == "lent" else None)
            if use == "entered":
                await session.__aenter__()
            elif use == "refreshed":
                await session.oauth.refresh()
            elif use != "never":
                await session.groups.get(ID)
            del session
            gc.collect()
            await asyncio.sleep(0.01)

    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    expected = 0 if use in {"never", "entered"} else 1
    assert [w.category for w in caught] == [ResourceWarning] * expected
    assert all("EzeepSession" in str(w.message) for w in caught)
    assert caplog.records == []


def test_3_11_a_session_made_outside_a_loop_opens_inside_one() -> None:
    """3-11: made where no loop runs, used where one does."""

    async def use(session: EzeepSession, server: PlayServer) -> None:
        async with session:
            assert (await session.groups.get(ID)).name == "g"
        await server.__aexit__(None, None, None)

    loop = asyncio.new_event_loop()
    try:
        server = loop.run_until_complete(PlayServer().__aenter__())
        loop.run_until_complete(use(session_on(server.url), server))
    finally:
        loop.close()
    assert "new" in repr(EzeepSession(OAuthApp("client")))


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("borrowed", [False, True], ids=["owned", "borrowed"])
async def test_3_10_a_thousand_calls_wait_for_ten_slots_without_a_timeout(borrowed: bool) -> None:
    """3-10: every limit is shorter than the queue; of the lent connections there are fewer than slots."""
    active = most = 0

    async def slow(exchange: Exchange) -> bool:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.04)
        active -= 1
        await exchange.answer()
        return True

    limits = {"read_timeout": 2.0, "deadline": 2.5, "connect_timeout": 2.0, "retries": 0, "concurrency": 10}
    async with PlayServer(*[slow] * 1000) as server:
        connector = aiohttp.TCPConnector(limit=5 if borrowed else 100)
        async with aiohttp.ClientSession(connector=connector) as http:
            async with session_on(server.url, http=http if borrowed else None, **limits) as session:
                begun = asyncio.get_running_loop().time()
                groups = await asyncio.gather(*(session.groups.get(ID) for _ in range(1000)))
                assert asyncio.get_running_loop().time() - begun > limits["deadline"]
        assert len(groups) == len(server.requests) == 1000
        assert most == (5 if borrowed else 10)


@pytest.mark.parametrize(("keep_alive", "connections"), [(15.0, 1), (0.01, 2)])
async def test_3_14_an_idle_connection_is_kept_for_less_time_than_load_balancers_keep_it(
    monkeypatch: pytest.MonkeyPatch, keep_alive: float, connections: int
) -> None:
    """3-14: fifteen seconds, which the connector is given; the pool has no limit of its own, and Happy Eyeballs are on."""
    assert transport.KEEP_ALIVE == 15.0
    monkeypatch.setattr(transport, "KEEP_ALIVE", keep_alive)
    async with PlayServer() as server, session_on(server.url) as session:
        await session.groups.get(ID)
        await asyncio.sleep(0.05)
        await session.groups.get(ID)
        assert server.connections == connections
        opened = session._core._transport._session
        assert opened is not None
        connector = opened.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert (connector.limit, connector._happy_eyeballs_delay) == (0, 0.25)
