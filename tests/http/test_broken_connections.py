"""Connections that fail while they are opened or while a response is read: 3-7, 3-13, 8-4."""

from __future__ import annotations

import asyncio
import gc
from socket import SO_LINGER, SOL_SOCKET
from struct import pack

import pytest
from helpers.raw_server import GROUP, ID, Exchange, Play, PlayServer, http, says
from helpers.stub_servers import login, no_jitter, quick, session_on

from ezeep_async import (
    ConnectFailed,
    Disconnected,
    EzeepSession,
    OAuthApp,
    OutcomeUnknown,
    Settings,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


# --- connections that end in the middle


def in_two(first: bytes, then: bytes) -> Play:
    """The second part comes when the first has been read. The connection is not closed by the server."""

    async def play(exchange: Exchange) -> bool:
        await exchange.send(first)
        await asyncio.sleep(0.05)
        await exchange.send(then)
        return True

    return play


async def reset_in_the_body(exchange: Exchange) -> None:
    await exchange.send(OK + b"Content-Length: 500\r\n\r\n{")
    await asyncio.sleep(0.05)
    await exchange.reset()


BROKEN_LATE: dict[str, Play] = {
    "a chunk size that is no number": in_two(CHUNKED + b'2\r\n{"\r\n', b"zz\r\n"),
    "a chunk without its end": in_two(CHUNKED + b'2\r\n{"', b"xx\r\n"),
    "a trailer that is no header": in_two(CHUNKED + b"2\r\n{}\r\n", b"0\r\nX y\r\n\r\n"),
    "a trailer of 9000 characters": in_two(CHUNKED + b"2\r\n{}\r\n", b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n"),
    "the end of the connection": reset_in_the_body,
}  # shorter than one item a line  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", BROKEN_LATE)
async def test_3_7_what_breaks_in_a_later_packet_ends_the_call_at_once(fault: str) -> None:
    """3-7: long before any time limit: with all its slots in such calls a session would stand still. Nor has the
    token refresh to wait for its limit, and nothing is left for asyncio to complain of."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    play = BROKEN_LATE[fault]
    limits = {"retries": 0, "read_timeout": 3600.0, "deadline": 3600.0, "refresh_timeout": 3600.0}
    async with PlayServer(*[play] * 6) as server, session_on(server.url, concurrency=2, **limits) as session:
        async with asyncio.timeout(20):
            calls = [session.groups.get(ID) for _ in range(3)]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, Disconnected)
                assert error.request_id
            with pytest.raises(OutcomeUnknown):
                await session.groups.create("x", ID)
            with pytest.raises(TransientAuthError):
                await session.oauth.refresh()
            assert (await session.groups.get(ID)).name == "g"
            assert (await session.oauth.refresh()).access_token == "access-2"
    gc.collect()
    assert not complaints


@pytest.mark.slow
async def test_3_7_a_connection_that_was_read_in_pieces_serves_on() -> None:
    """3-7: responses in two parts are whole, the connection is kept, and its end, a reset, is no complaint of asyncio's."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    answer = http(GROUP)
    pieces = in_two(answer[:-20], answer[-20:])

    async with PlayServer(*[pieces] * 5) as server, session_on(server.url) as session:
        for _ in range(5):
            assert (await session.groups.get(ID)).name == "g"
        assert server.connections == 1
        # Closing it so sends an RST: to the client an error, not an end.
        server.requests[-1].writer.get_extra_info("socket").setsockopt(
            SOL_SOCKET, SO_LINGER, pack("ii", 1, 0)
        )
        await server.requests[-1].reset()
        await asyncio.sleep(0.05)
        assert (await session.groups.get(ID)).name == "g"
        assert server.connections == 2
    gc.collect()
    assert not complaints


@pytest.mark.parametrize("value", [False, True, 0, "x"])
def test_3_13_certificates_are_checked_whatever_is_given(value: object) -> None:
    """3-13: `False`, with which aiohttp checks no certificate, is refused before a session can be made of it."""
    with pytest.raises(ValueError, match=r"ssl_context must be an ssl\.SSLContext"):
        Settings(ssl_context=value)


# --- errors that tell the truth


async def test_3_7_an_earlier_attempt_that_left_is_not_forgotten() -> None:
    """3-7: `request_sent` is False only when no attempt left: the last one, which found no server, does not speak for all."""

    async def go_away(exchange: Exchange) -> None:
        server._server.close()

    async with PlayServer(go_away) as server, session_on(server.url, retries=1) as session:
        with pytest.raises(ConnectFailed) as caught:
            await session.groups.update(ID, name="new")
        assert caught.value.attempts == 2
        assert len(server.requests) == 1
        assert caught.value.request_sent is None

    async with session_on(server.url, retries=1) as session:
        with pytest.raises(ConnectFailed) as caught:
            await session.groups.update(ID, name="new")
        assert caught.value.request_sent is False


async def test_8_4_a_response_that_cannot_be_read_counts_its_requests() -> None:
    """8-4: nonsense after two 503s took three requests: `attempts` says so."""
    busy = says(http(b"{}", status="503 Busy"))
    nonsense = says(http(b"nonsense", status="201 Created"))
    plays = [busy, busy, nonsense] * 2
    async with PlayServer(*plays) as server, session_on(server.url, retries=2) as session:
        with pytest.raises(UnexpectedResponse) as caught:
            await session.groups.get(ID)
        assert caught.value.attempts == 3
        with pytest.raises(OutcomeUnknown) as lost:
            await session.groups.create("x", ID)
        assert isinstance(lost.value.__cause__, UnexpectedResponse)
        assert lost.value.__cause__.attempts == 3
        assert lost.value.attempts == 3


# --- on the way to a connection


async def silent(exchange: Exchange) -> None:
    await asyncio.sleep(3600)


@pytest.mark.slow
@pytest.mark.parametrize("play", [silent, says(b"garbage\r\n\r\n"), says(b"", keep=False)])
async def test_3_7_a_proxy_that_makes_no_tunnel_is_no_connection(play: Play) -> None:
    """3-7: whether it is silent, talks nonsense or hangs up: `connect_timeout` holds, and nothing was sent, which a
    creation is reported as well."""
    async with PlayServer(*[play] * 9) as proxy:
        settings = quick(
            proxy=proxy.url, connect_timeout=0.2, deadline=3600.0, read_timeout=3600.0, retries=0
        )
        async with EzeepSession(OAuthApp("client"), tokens=login(), settings=settings) as session:
            with pytest.raises(TransportError):
                await session.groups.get(ID)
            with pytest.raises(TransportError) as caught:
                await session.groups.create("x", ID)
            assert caught.value.request_sent is False
            assert len(proxy.requests) == 2


async def test_3_7_a_name_that_is_not_found_in_time_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """3-7: `connect_timeout` covers the DNS lookup too."""

    async def slow(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    async with session_on("https://a.example", connect_timeout=0.2, deadline=3600.0, retries=0) as session:
        with pytest.raises(ConnectFailed) as caught:
            await session.groups.get(ID)
        assert caught.value.request_sent is False
