"""Responses that are no HTTP, or HTTP at its worst: one clear error within the time limit, and the next call works.

Each fault is tried on a read, on a creation and on a token refresh, on a connection that was in use before.
Requirements 3-7, 3-15, and 1-12 for the token set.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib

import pytest
from helpers.raw_server import GROUP, ID, NEXT, Exchange, Play, PlayServer, http, repeats, says, well
from helpers.stub_servers import no_jitter, session_on
from helpers.support import settle

from ezeep_async import (
    ApiError,
    Disconnected,
    EzeepError,
    EzeepSession,
    Group,
    OutcomeUnknown,
    TransientAuthError,
    TransportError,
    UnexpectedRedirect,
    UnexpectedResponse,
)


OK = b"HTTP/1.1 200 OK\r\n"
POISON = http(b'{"id": "00000000-0000-0000-0000-000000000bad", "name": "poison"}')
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HEX = f"{len(GROUP):x}".encode()
LIMITS = {"retries": 0, "read_timeout": 2.0, "deadline": 3.0, "refresh_timeout": 2.0}
"""Long enough for the good calls in between, on a machine that has other things to do."""


def sized(length: str, body: bytes = GROUP) -> bytes:
    return OK + f"Content-Length: {length}\r\n\r\n".encode() + body


async def cut_head(exchange: Exchange) -> None:
    await exchange.send(OK + b"Content-Le")


async def reset_in_the_body(exchange: Exchange) -> None:
    await exchange.send(sized("5000"))
    await asyncio.sleep(0.02)
    await exchange.reset()


FRAMING: dict[str, Play] = {
    "nothing": says(b"", keep=False),
    "HTTP/0.9": says(GROUP),
    "half a head": cut_head,
    "reset in the body": reset_in_the_body,
    "a status of two digits": says(b"HTTP/1.1 20 OK\r\n\r\n" + GROUP),
    "a status line of 5 MB": says(b"HTTP/1.1 200 " + b"O" * 5_000_000 + b"\r\n\r\n"),
    "a header of 5 MB": says(OK + b"X: " + b"y" * 5_000_000 + b"\r\n\r\n"),
    "100 000 headers": says(OK + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\n"),
    "a header without end": repeats(OK + b"X: ", b"y" * 65536),
    "headers without end, slowly": repeats(OK, b"X: y\r\n", 0.02),
    "a NUL in a header": says(OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
    "a body that drips": repeats(sized("5000", b""), b" ", 0.02),
    "a body shorter than its length": says(sized("5000"), keep=False),
    "a body shorter than its length, kept open": says(sized("5000")),
    "a body longer than its length": says(sized(str(len(GROUP))) + b"garbage"),
    "two lengths": says(OK + b"Content-Length: 5\r\n" + f"Content-Length: {len(GROUP)}\r\n\r\n".encode() + GROUP),
    "a length below zero": says(sized("-5")),
    "a length that is no number": says(sized("many")),
    "a length of 26 digits": says(sized("9" * 26)),
    "a length of 2**63 - 1": says(sized(str(2**63 - 1))),
    "a length and chunks": says(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + HEX + b"\r\n" + GROUP + b"\r\n0\r\n\r\n"),
    "an unknown transfer encoding": says(OK + b"Transfer-Encoding: banana\r\n\r\n" + GROUP),
    "a chunk size that is no number": says(CHUNKED + b"zz\r\n" + GROUP),
    "a chunk size below zero": says(CHUNKED + b"-5\r\n" + GROUP),
    "a chunk size beyond 64 bits": says(CHUNKED + b"F" * 18 + b"\r\n" + GROUP),
    "a chunk extension without end": repeats(CHUNKED + b"5;", b"x" * 65536),
    "trailers without end": repeats(CHUNKED + HEX + b"\r\n" + GROUP + b"\r\n0\r\n", b"X: y\r\n" * 1000),
    "chunks cut short": says(CHUNKED + HEX + b"\r\n" + GROUP[:9], keep=False),
    "101": says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + POISON),
    "100 and no more": says(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 without end": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "100 without end, slowly": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "a body with a 204": says(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
    "another answer after a 204": says(b"HTTP/1.1 204 No Content\r\n\r\n" + POISON),
    "no gzip": says(http(b"no gzip", "Content-Encoding: gzip")),
    "gzip cut short": says(http(gzip.compress(GROUP)[:-20], "Content-Encoding: gzip")),
    "deflate cut short": says(http(zlib.compress(GROUP)[:-9], "Content-Encoding: deflate")),
    "br that cannot be decoded": says(http(b"\x0b\x02\x80{}\x03", "Content-Encoding: br")),
    "status 999": says(http(GROUP, status="999 What")),
    "status 000": says(http(GROUP, status="000 What")),
    "a redirect to nowhere": says(http(b"", "Location: http://[::1", status="302 Found")),
    "a redirect in other letters": says(http(b"", "Location: http://\xff\xfe/", status="302 Found")),
}  # shorter than one item a line  # fmt: skip


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


async def refresh(session: EzeepSession) -> str:
    return (await session.oauth.refresh()).access_token


def no_surprise(error: BaseException | None) -> None:
    """Whatever is in the chain, the first link can be written down and sent to another process."""
    assert str(error).encode()
    assert str(getattr(error, "request_id", "")).encode()


async def a_read(play: Play) -> None:
    """`UnexpectedResponse` or `TransportError`."""
    async with PlayServer(well, play) as server, session_on(server.url, **LIMITS) as session:
        await session.groups.get(ID)  # the fault meets a kept connection
        with pytest.raises((UnexpectedResponse, TransportError)) as caught:
            await session.groups.get(ID)
        no_surprise(caught.value)
        assert caught.value.request_id
        assert (await session.groups.get(ID)).name == "g"
        assert len(server.requests) == 3


async def a_creation(play: Play) -> None:
    """`OutcomeUnknown`; but a redirect did nothing, and says so."""
    async with PlayServer(well, play) as server, session_on(server.url, **LIMITS) as session:
        await session.groups.get(ID)
        with pytest.raises((OutcomeUnknown, UnexpectedRedirect)) as caught:
            await session.groups.create("x", ID)
        no_surprise(caught.value)
        assert (await session.groups.get(ID)).name == "g"
        assert len(server.requests) == 3


async def a_refresh(play: Play) -> None:
    """The refresh token is presented at most once more; what stays broken is `TransientAuthError`, and the token set works as soon
    as the server does."""
    async with PlayServer(play, play) as server, session_on(server.url, **LIMITS) as session:
        with pytest.raises(TransientAuthError) as caught:
            await session.oauth.refresh()
        no_surprise(caught.value)
        presented = len(server.requests)
        assert 1 <= presented <= 2
        server.plays.clear()
        assert await refresh(session) == "access-2"
        assert len(server.requests) == presented + 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", FRAMING)
async def test_3_7_1_15_a_broken_response_is_one_clear_error(fault: str) -> None:
    """3-7, 3-15, 1-15: within the time limit, and the next call works, over the same pool, and gets its own response."""
    async with asyncio.TaskGroup() as together:
        for kind in (a_read, a_creation, a_refresh):
            together.create_task(kind(FRAMING[fault]))


@pytest.mark.parametrize(
    ("name", "before", "after", "kept"),
    [
        ("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n", b"", False),
        ("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + b"Content-Length: %d\r\n\r\n", b"", True),
        ("103 first", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED + b"%x\r\n", b"\r\n0\r\n\r\n", True),
    ],
)  # shorter than one item a line  # fmt: skip
async def test_3_7_old_and_talkative_servers_are_understood(
    name: str, before: bytes, after: bytes, kept: bool
) -> None:
    """3-7: HTTP/1.0, 100 and 103 are no faults, at the API and at the token endpoint."""

    def whole(body: bytes) -> bytes:
        return (before % len(body) if b"%" in before else before) + body + after

    async with PlayServer(says(whole(GROUP), keep=kept), says(whole(NEXT), keep=kept)) as server:
        async with session_on(server.url, **LIMITS) as session:
            assert (await session.groups.get(ID)).name == "g"
            assert await refresh(session) == "access-2"
            assert len(server.requests) == 2, name


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_3_9_a_body_that_was_compressed_all_the_same_is_read(encoding: str) -> None:
    """3-9: identity is asked for; a box on the way that compresses anyway does no harm."""
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    header = f"Content-Encoding: {encoding}"
    async with PlayServer(says(http(pack(GROUP), header)), says(http(pack(NEXT), header))) as server:
        async with session_on(server.url, **LIMITS) as session:
            assert (await session.groups.get(ID)).name == "g"
            assert await refresh(session) == "access-2"
            assert "Accept-Encoding: identity" in server.requests[0].head


# --- unsolicited responses


class Late:
    """A response, and when the connection is idle another one."""

    def __init__(self) -> None:
        self._idle = asyncio.Event()
        self._sent = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> bool:
        await exchange.answer()
        await self._idle.wait()
        await exchange.send(POISON)
        self._sent.set()
        return True

    async def has_come(self) -> None:
        """Now the connection is idle: until the other response has arrived."""
        self._idle.set()
        await self._sent.wait()
        await settle()


class AtOnce(Late):
    async def __call__(self, exchange: Exchange) -> bool:
        await exchange.send(http(GROUP) + POISON)
        self._sent.set()
        return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Late, AtOnce])
async def test_3_7_a_response_that_was_not_requested_belongs_to_no_call(kind: type[Late]) -> None:
    """3-7: what a server sends on an idle connection is not the response to the next request: it is dropped, with
    its connection, and nothing was sent on it. Reads, creations and token refreshes use another."""

    async def read(session: EzeepSession) -> Group:
        return await session.groups.get(ID)

    async def create(session: EzeepSession) -> Group:
        return await session.groups.create("x", ID)

    for call in (read, create, refresh):
        play = kind()
        async with PlayServer(play) as server, session_on(server.url) as session:
            await session.groups.get(ID)
            await play.has_come()
            result = await call(session)
            assert (result.name if isinstance(result, Group) else result) in {"g", "access-2"}
            assert len(server.requests) == 2
            assert server.connections == 2


async def test_3_7_6_11_without_retries_it_is_an_error_that_says_that_nothing_was_sent() -> None:
    """3-7, 6-11: `Disconnected` with `request_sent=False`, once; a creation is no unknown outcome."""
    play = Late()
    async with PlayServer(play) as server, session_on(server.url, retries=0) as session:
        await session.groups.get(ID)
        await play.has_come()
        with pytest.raises(Disconnected, match="without a request") as caught:
            await session.groups.create("x", ID)
        assert caught.value.request_sent is False
        assert len(server.requests) == 1
        assert (await session.groups.create("x", ID)).name == "g"


async def test_3_7_a_server_that_speaks_first_is_no_endless_loop() -> None:
    """3-7: something that is no HTTP server greets everyone: an error, not a search for a better connection."""
    greeted = 0

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal greeted
        greeted += 1
        writer.write(b"220 mail.example ready\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with session_on(url, retries=2, deadline=2.0) as session:
            with pytest.raises(EzeepError):
                await session.groups.get(ID)
        assert 1 <= greeted <= 3
        await asyncio.sleep(0.02)


# --- responses before the request is complete


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending a large body")  # what aiohttp thinks of one is not the point here
@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_3_7_a_response_before_the_request_was_read_is_the_response(method: str, closes: bool) -> None:
    """3-7: 413 to a large body that the server does not read: the call ends with it, and not at its deadline."""
    large = {"groups": ["x" * 1000] * 20_000}

    async def refuse(exchange: Exchange) -> None:
        connection = "close" if closes else "keep-alive"
        await exchange.send(http(b'{"detail": "too large"}', f"Connection: {connection}", status="413 No"))
        await asyncio.sleep(0.2 if closes else 10)

    async with PlayServer(refuse, unread=True) as server, session_on(server.url, retries=0) as session:
        with pytest.raises(EzeepError, match="too large"):
            await session.request(method, "/x/", json=large)
        assert (await session.groups.get(ID)).name == "g"
        assert server.connections == 2


# --- a server that asks for patience


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("asked", [["9" * 400], ["1e400"], ["0", "900"], ["900", "0"], ["soon", "900"]])
async def test_6_2_a_very_long_retry_after_is_no_short_one(status: str, asked: list[str]) -> None:
    """6-2: more than any number holds, or said twice: the error at once, and no request is sent early."""
    requests = 0

    async def refuse(exchange: Exchange) -> None:
        nonlocal requests
        requests += 1
        await exchange.send(http(b"{}", *(f"Retry-After: {each}" for each in asked), status=status))

    async with PlayServer(refuse) as server, session_on(server.url) as session:
        with pytest.raises(ApiError) as caught:
            await session.groups.get(ID)
    assert requests == 1
    assert caught.value.retry_after is not None
    assert 900 <= caught.value.retry_after < float("inf")


@pytest.mark.parametrize(
    ("response", "happened"),
    [
        (http(b"not JSON"), True),
        (http(b"{}"), True),
        (b"SSH-2.0-server\r\n\r\n", True),
        (http(b"", "Location: /elsewhere/", status="302 Found"), False),
    ],
)
async def test_3_15_a_write_whose_response_cannot_be_read_may_have_happened(
    response: bytes, happened: bool
) -> None:
    """A redirect is not followed, so nothing was carried out. A read never changes anything."""
    async with (
        PlayServer(says(response), says(response)) as server,
        session_on(server.url, **LIMITS) as session,
    ):
        with pytest.raises(UnexpectedResponse) as written:
            await session.groups.update(ID, name="g")
        with pytest.raises(UnexpectedResponse) as read:
            await session.groups.get(ID)

    assert [each.value.may_have_happened for each in (written, read)] == [happened, False]
