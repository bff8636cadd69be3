"""A server that means harm: nothing secret comes out, nothing hangs, and every error tells the truth.

Requirements 3-7, 3-13, 6-2, 6-7, 8-3, 8-4.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import traceback
from socket import SO_LINGER, SOL_SOCKET
from struct import pack

import pytest
from raw_server import GROUP, ID, Exchange, Play, PlayServer, http, says
from stub_servers import ACCESS, REFRESH, login, no_jitter, quick, session_on

from ezeep_async import (
    ConnectFailed,
    Disconnected,
    EzeepError,
    EzeepSession,
    NotFound,
    OAuthApp,
    OutcomeUnknown,
    RateLimited,
    Settings,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)
from ezeep_async._http.limiter import Limiter


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


def told(error: BaseException) -> str:
    """Everything that an error shows, here and in another process."""
    chain = "".join(traceback.format_exception(error))
    return f"{error!r} {vars(error)!r} {chain} {pickle.dumps(error)!r}"


# --- secrets


def echoes(before: bytes, after: bytes = b"") -> Play:
    """Sends `before`, what the client sent in confidence, `after`, and closes."""

    async def play(exchange: Exchange) -> None:
        confided = exchange.head.partition("Authorization: ")[2].partition("\r\n")[0].encode() + exchange.body
        await exchange.send(before + confided + b" new-refresh-token" + after)

    return play


ECHOES = {
    "half of a head": echoes(OK + b"X-Echo: ", b"\r\n"),
    "half of a head with a cookie": echoes(OK + b"Set-Cookie: refresh_token=", b"; path=/\r\n"),
    "a chunk size": echoes(CHUNKED + b"2\r\n{}\r\n", b"\r\n"),
    "a trailer": echoes(CHUNKED + b"2\r\n{}\r\n0\r\nX ", b"\r\n\r\n"),
    "half of a trailer": echoes(CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"\r\n"),
    "a status line": echoes(b"HTTP/1.1 2", b"\r\n\r\n"),
    "no gzip": echoes(OK + b"Content-Encoding: gzip\r\nContent-Length: 500\r\n\r\n"),
}


@pytest.mark.parametrize("fault", ECHOES)
async def test_8_3_half_an_answer_is_not_repeated(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """8-3: what a server sent before it broke off, which may be a login, is in no error, no pickle and no log."""
    caplog.set_level(logging.DEBUG)
    play = ECHOES[fault]
    secrets = (ACCESS, REFRESH, "new-refresh-token", "the-code-of-a-login", "v" * 50)
    async with PlayServer(*[play] * 12) as server:
        async with session_on(server.url, retries=1, deadline=5) as session:
            for call in (
                lambda: session.groups.get(ID),
                lambda: session.groups.create("x", ID),
                session.oauth.refresh,
                lambda: session.oauth.exchange_code("the-code-of-a-login", "v" * 50),
            ):
                with pytest.raises(EzeepError) as caught:
                    await call()
                for secret in secrets:
                    assert secret not in told(caught.value)
            assert len(server.requests) >= 4
    for secret in secrets:
        assert secret not in caplog.text


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
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN_LATE)
async def test_3_7_what_breaks_in_a_later_packet_ends_the_call_at_once(fault: str) -> None:
    """3-7: long before any time limit: with all its slots in such calls a session would stand still. Nor has the
    renewal of a login to wait for its limit, and nothing is left for asyncio to complain of."""
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


async def test_3_7_a_connection_that_was_read_in_pieces_serves_on() -> None:
    """3-7: answers in two parts are whole, the connection is kept, and its end, a reset, is no complaint of asyncio's."""
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
    """3-13: `False`, with which aiohttp looks at no certificate, is refused before a session can be made of it."""
    with pytest.raises(ValueError, match=r"ssl_context is an ssl\.SSLContext"):
        Settings(ssl_context=value)  # type: ignore[arg-type]


# --- errors that tell the truth


async def test_3_7_an_earlier_attempt_that_left_is_not_forgotten() -> None:
    """3-7: `request_sent` is False only when no attempt left: the last one, which found nobody, does not speak for all."""

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


async def test_8_4_an_answer_that_cannot_be_read_counts_its_requests() -> None:
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


FORGED = "x\n2026-01-01 CRITICAL it is all over \x1b[31m\x07\x9b2J\u202e"


@pytest.mark.parametrize(
    "body",
    [
        f"<html><title>{FORGED}</title>".encode(),
        FORGED.encode(),
        json.dumps({"detail": FORGED}).encode(),
        json.dumps({FORGED: [FORGED]}).encode(),
        json.dumps({"error": "x", "error_description": FORGED}).encode(),
    ],
    ids=["title", "text", "detail", "field", "error"],
)
async def test_8_3_a_server_writes_no_lines_of_its_own_into_a_log(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """8-3: nor does it move the cursor of the terminal that shows the log."""
    caplog.set_level(logging.INFO)
    play = says(http(body, status="500 Oh"))
    async with PlayServer(*[play] * 4) as server, session_on(server.url, retries=1) as session:
        for call in (lambda: session.groups.get(ID), session.oauth.refresh):
            with pytest.raises(EzeepError) as caught:
                await call()
            assert str(caught.value).isprintable()
        assert "it is all over" in caplog.text
        for record in caplog.records:
            if record.name.startswith("ezeep_async"):
                assert record.getMessage().isprintable()


async def test_8_3_a_token_that_comes_back_as_a_name_is_blacked_out() -> None:
    """8-3: a header may be named after it."""
    body = http(b"{}", f"X-{ACCESS}: 1", f"{ACCESS}: 2", status="404 No")
    async with PlayServer(says(body)) as server, session_on(server.url) as session:
        with pytest.raises(NotFound) as caught:
            await session.groups.get(ID)
        assert ACCESS not in told(caught.value)
        assert ACCESS not in str(dict(caught.value.headers))
        assert caught.value.headers["X-***"] == "1"


# --- on the way to a connection


async def silent(exchange: Exchange) -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("play", [silent, says(b"garbage\r\n\r\n"), says(b"", keep=False)])
async def test_3_7_a_proxy_that_makes_no_tunnel_is_no_connection(play: Play) -> None:
    """3-7: whether it is silent, talks nonsense or hangs up: `connect_timeout` holds, and nothing was sent, which a
    creation is told as well."""
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
    """3-7: `connect_timeout` is for the look-up, too."""

    async def slow(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    async with session_on("https://a.example", connect_timeout=0.2, deadline=3600.0, retries=0) as session:
        with pytest.raises(ConnectFailed) as caught:
            await session.groups.get(ID)
        assert caught.value.request_sent is False


async def test_6_2_a_pause_that_is_not_waited_out_by_one_is_told_of_to_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """6-2: the call that was sent away ends at once; that the others wait for `max_retry_after` is in the log."""
    play = says(http(b"{}", "Retry-After: 3600", status="429 No"))
    async with PlayServer(play) as server, session_on(server.url, max_retry_after=0.05) as session:
        with pytest.raises(RateLimited) as caught:
            await session.groups.get(ID)
        assert caught.value.retry_after == 3600
        assert (await session.groups.get(ID)).name == "g"
        assert len(server.requests) == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "asked for 3600 s" in record.getMessage()
    assert "wait 0.05 s" in record.getMessage()


# --- the queue


class Compared(asyncio.Future[None]):
    """A future that counts how often it is compared: what looks for one in a queue compares."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Compared.comparisons += 1
        return self is other

    __hash__ = asyncio.Future.__hash__


@pytest.mark.parametrize("background", [False, True])
async def test_6_7_cancelling_many_waiting_calls_looks_for_none(
    background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6-7: thousands of waiting calls are cancelled, the newest first: none is sought in the queue, few stay in it,
    and the slot goes to the one that is left."""
    limiter = Limiter(1)
    await limiter.acquire()
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "create_future", lambda: Compared(loop=loop))
        calls = [asyncio.create_task(limiter.acquire(background=background)) for _ in range(3000)]
        await asyncio.sleep(0)
        assert limiter.waiting == 3000
    Compared.comparisons = 0
    for call in reversed(calls[:1500] + calls[1501:]):
        call.cancel()
    await asyncio.wait(calls[:1500] + calls[1501:])
    assert Compared.comparisons < 3000
    assert limiter.waiting == 1
    kept = len(limiter._waiters) + len(limiter._background)
    assert kept <= 200
    limiter.release()
    await calls[1500]
    assert limiter.waiting == 0
    assert limiter.active == 1
