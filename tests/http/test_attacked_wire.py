"""A server that means harm: nothing secret comes out, nothing hangs, nothing grows, and every error tells the truth.

Requirements 3-7, 3-10, 3-13, 6-2, 8-1, 8-3.
"""

from __future__ import annotations

import logging
import pickle
import traceback

import pytest
from raw_server import ID, Exchange, Play, PlayServer, http
from stub_servers import ACCESS, REFRESH, no_jitter, session_on

from ezeep_async import EzeepError


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
                lambda: session.oauth.refresh(),
                lambda: session.oauth.exchange_code("the-code-of-a-login", "v" * 50),
            ):
                with pytest.raises(EzeepError) as caught:
                    await call()
                for secret in secrets:
                    assert secret not in told(caught.value)
            assert len(server.requests) >= 4
    for secret in secrets:
        assert secret not in caplog.text
