"""Responses that repeat secrets: 8-3."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from urllib.parse import quote

import pytest
from helpers.raw_server import ID, Exchange, Play, PlayServer, http, says
from helpers.stub_servers import ACCESS, REFRESH, login, no_jitter, quick, session_on

from ezeep_async import Endpoints, EzeepError, EzeepSession, NotFound, OAuthApp


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def shown(error: BaseException) -> str:
    """Everything that an error shows, in this process and after pickling."""
    chain = "".join(traceback.format_exception(error))
    return f"{error!r} {vars(error)!r} {chain} {pickle.dumps(error)!r}"


def echoes(before: bytes, after: bytes = b"") -> Play:
    """Send `before`, the credentials of the request, and `after`, then close."""

    async def play(exchange: Exchange) -> None:
        credentials = (
            exchange.head.partition("Authorization: ")[2].partition("\r\n")[0].encode() + exchange.body
        )
        await exchange.send(before + credentials + b" new-refresh-token" + after)

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
async def test_8_3_an_incomplete_response_is_not_quoted(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """8-3: an incomplete response may hold a token set: no error, pickle or log line quotes it."""
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
                    assert secret not in shown(caught.value)
            assert len(server.requests) >= 4
    for secret in secrets:
        assert secret not in caplog.text


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
async def test_8_3_a_response_cannot_forge_log_lines(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """8-3: error messages are printable and have one line, whatever the server sends."""
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


async def test_8_3_a_token_in_a_header_name_is_redacted() -> None:
    """8-3: a server may repeat the token as the name of a header."""
    body = http(b"{}", f"X-{ACCESS}: 1", f"{ACCESS}: 2", status="404 No")
    async with PlayServer(says(body)) as server, session_on(server.url) as session:
        with pytest.raises(NotFound) as caught:
            await session.groups.get(ID)
        assert ACCESS not in shown(caught.value)
        assert ACCESS not in str(dict(caught.value.headers))
        assert caught.value.headers["X-***"] == "1"


CLIENT_SECRET = "the/client+secret=of&tests"
URL_FORM = quote(CLIENT_SECRET, safe="")


@pytest.mark.parametrize("form", [CLIENT_SECRET, URL_FORM, URL_FORM.lower()])
async def test_8_3_the_client_secret_is_redacted(form: str, caplog: pytest.LogCaptureFixture) -> None:
    """8-3: the server knows it, from the header. Some servers write URLs in lower case."""
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"error": "invalid_client", "error_description": f"wrong: {form}"}).encode()
    answer = says(http(body, f"X-Echo: {form}", status="401 No"))
    async with PlayServer(*[answer] * 9) as server:
        session = EzeepSession(
            OAuthApp("client", CLIENT_SECRET),
            tokens=login(),
            endpoints=Endpoints(account=server.url, api=server.url),
            settings=quick(retries=0),
        )
        async with session:
            for call in (session.oauth.refresh, lambda: session.oauth.exchange_code("code", "v" * 50)):
                with pytest.raises(EzeepError, match=r"\*\*\*") as caught:
                    await call()
                assert form not in shown(caught.value)
    assert form not in caplog.text
