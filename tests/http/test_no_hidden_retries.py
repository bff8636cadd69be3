"""How often a request is on the wire when a server closes kept connections at the worst moments: 3-5, 3-6, 6-11."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from helpers.raw_server import GROUP, ID, Exchange, Play, PlayServer, http, well
from helpers.stub_servers import no_jitter, session_on

from ezeep_async import (
    AuthorizationDenied,
    ConnectFailed,
    Disconnected,
    EzeepError,
    EzeepSession,
    OutcomeUnknown,
    TransientAuthError,
)
from ezeep_async._http.transport import Transport


METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "POST"]
SAFE = {"GET", "HEAD", "OPTIONS"}


async def fin(exchange: Exchange) -> None:
    """Nothing is answered."""


async def rst(exchange: Exchange) -> None:
    await exchange.reset()


async def half_a_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")


async def half_a_body(exchange: Exchange) -> None:
    await exchange.send(http(GROUP)[:-9])


async def rst_in_the_body(exchange: Exchange) -> None:
    await exchange.send(http(GROUP)[:-9])
    await asyncio.sleep(0.01)
    await exchange.reset()


LOST = [fin, rst, half_a_head, half_a_body, rst_in_the_body]
"""What a server may do instead of answering a request that it has read."""


async def well_and_fin(exchange: Exchange) -> None:
    """The connection is closed behind a response that promised to keep it."""
    await exchange.answer()


async def well_and_rst(exchange: Exchange) -> None:
    await exchange.answer()
    await asyncio.sleep(0.01)
    await exchange.reset()


async def well_and_a_timeout(exchange: Exchange) -> None:
    """Some servers say good-bye to idle connections with a response."""
    await exchange.answer()
    await asyncio.sleep(0.01)
    await exchange.send(http(b"", "Connection: close", status="408 Request Timeout"))


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@asynccontextmanager
async def connected(url: str, *, borrowed: bool, **settings: Any) -> AsyncIterator[EzeepSession]:
    """A session on connections of its own, or on those of an aiohttp session."""
    if not borrowed:
        async with session_on(url, **settings) as session:
            yield session
        return
    async with aiohttp.ClientSession() as http_session:
        async with session_on(url, http=http_session, **settings) as session:
            yield session


def body_for(method: str) -> dict[str, str] | None:
    return {"name": "x"} if method in {"PUT", "PATCH", "POST"} else None


@pytest.mark.slow
@pytest.mark.parametrize("borrowed", [False, True], ids=["owned", "borrowed"])
@pytest.mark.parametrize("lost", LOST)
async def test_3_5_6_11_without_retries_there_is_one_copy(lost: Play, borrowed: bool) -> None:
    """3-5, 6-11: one request on a kept connection, one copy, of every method, whatever happened to the response."""
    for method in METHODS:
        if method == "HEAD" and lost in {half_a_body, rst_in_the_body}:
            continue  # it has no body
        async with PlayServer(well, lost) as server:
            async with connected(server.url, borrowed=borrowed, retries=0) as session:
                await session.request("GET", "/warm/")
                with pytest.raises(Disconnected if method in SAFE else OutcomeUnknown) as caught:
                    await session.request(method, "/x/", json=body_for(method))
                assert caught.value.attempts == 1
                assert server.lines == ["GET /warm/", f"{method} /x/"]
                assert server.connections == 1
                await session.request("GET", "/again/")
            assert server.lines[2:] == ["GET /again/"]


@pytest.mark.slow
@pytest.mark.parametrize("borrowed", [False, True], ids=["owned", "borrowed"])
@pytest.mark.parametrize("lost", LOST)
async def test_3_5_with_retries_every_copy_is_an_attempt_that_is_counted(lost: Play, borrowed: bool) -> None:
    """3-5: as many copies as `attempts` and `session.stats` say; a write that must not be repeated has one."""
    for method in METHODS:
        if method == "HEAD" and lost in {half_a_body, rst_in_the_body}:
            continue
        async with PlayServer(well, lost, lost, lost) as server:
            async with connected(server.url, borrowed=borrowed, retries=2) as session:
                await session.request("GET", "/warm/")
                with pytest.raises(Disconnected if method in SAFE else OutcomeUnknown) as caught:
                    await session.request(method, "/x/", json=body_for(method))
                copies = server.lines.count(f"{method} /x/")
                assert copies == caught.value.attempts == (3 if method in SAFE else 1)
                assert session.stats.requests == len(server.requests)


@pytest.mark.slow
@pytest.mark.parametrize("borrowed", [False, True], ids=["owned", "borrowed"])
@pytest.mark.parametrize("closing", [well_and_fin, well_and_rst, well_and_a_timeout])
@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["at once", "later"])
async def test_3_5_a_connection_that_was_closed_while_idle_costs_no_copy(
    closing: Play, borrowed: bool, pause: float
) -> None:
    """3-5: called at once, before the close is noticed, or later: at most one copy arrives; exactly one if the call
    went well."""
    for method in METHODS:
        async with PlayServer(closing) as server:
            async with connected(server.url, borrowed=borrowed, retries=0) as session:
                await session.request("GET", "/warm/")
                await asyncio.sleep(pause)
                try:
                    await session.request(method, "/x/", json=body_for(method))
                except EzeepError:
                    assert server.lines.count(f"{method} /x/") <= 1
                else:
                    assert server.lines.count(f"{method} /x/") == 1


@pytest.mark.parametrize("lost", LOST)
async def test_3_6_a_deletion_that_is_repeated_is_repeated_by_us(lost: Play) -> None:
    """3-6: the copy after a lost response is our own second attempt, so that its 404 is known for a success."""

    async def gone(exchange: Exchange) -> bool:
        await exchange.send(http(b'{"detail": "Not found."}', status="404 Not Found"))
        return True

    async with PlayServer(well, lost, gone) as server, session_on(server.url) as session:
        await session.groups.get(ID)
        await session.groups.delete(ID)
        assert server.lines[1:] == [f"DELETE /printing/v1/groups/{ID}/"] * 2
        assert session.stats.requests == 3
        assert session.stats.retries == 1


Call = Callable[[EzeepSession], Awaitable[object]]


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize(
    ("call", "copies"),
    [
        (lambda session: session.oauth.refresh(), 2),
        (lambda session: session.oauth.exchange_code("a-code"), 1),
        (lambda session: session.oauth.login_with_password("who", "what"), 1),
        (lambda session: session.oauth.pair(), 1),
        (lambda session: session.oauth.revoke(), 1),
    ],
    ids=["refresh", "code", "password", "pair", "revoke"],
)
async def test_3_5_the_oauth_endpoints_get_no_hidden_copies(call: Call, copies: int, lost: Play) -> None:
    """3-5, 1-12: a refresh is presented once more and no oftener, everything else once."""
    async with PlayServer(well, lost, lost, lost) as server, session_on(server.url) as session:
        await session.groups.get(ID)
        with pytest.raises((TransientAuthError, OutcomeUnknown)):
            await call(session)
        assert len(server.requests) - 1 == copies


REDIRECTED: dict[str, Call] = {
    "GET": lambda session: session.groups.get(ID),
    "listing": lambda session: session.users.list().collect(),
    "create": lambda session: session.groups.create("x", ID),
    "update": lambda session: session.groups.update(ID, name="y"),
    "delete": lambda session: session.groups.delete(ID),
    "set_groups": lambda session: session.users.set_groups(ID, [ID]),
    "accounts": lambda session: session.accounts.me(),
    "invite": lambda session: session.invitations.create("a@example.com"),
    "resend": lambda session: session.invitations.resend(ID),
    "PUT": lambda session: session.request("PUT", "/x/", json={}),
    "HEAD": lambda session: session.request("HEAD", "/x/"),
    "refresh": lambda session: session.oauth.refresh(),
    "code": lambda session: session.oauth.exchange_code("a-code"),
    "password": lambda session: session.oauth.login_with_password("who", "what"),
    "pair": lambda session: session.oauth.pair(),
    "revoke": lambda session: session.oauth.revoke(),
}


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", REDIRECTED)
async def test_3_2_no_redirect_is_followed_by_any_call(call: str, status: int) -> None:
    """3-2: one request, nothing at the target on another host and nothing at one on the same, an error that says so."""
    async with PlayServer() as elsewhere:
        for target in (elsewhere.url, ""):

            async def redirect(exchange: Exchange, target: str = target) -> bool:
                location = f"Location: {target}/there/?code=topsecret"
                await exchange.send(http(b"", location, status=f"{status} Moved"))
                return True

            async with PlayServer(redirect) as server, session_on(server.url) as session:
                with pytest.raises(EzeepError, match=f"{status} redirect to") as caught:
                    await REDIRECTED[call](session)
                assert "topsecret" not in f"{caught.value}{caught.value.__cause__}"
                assert not isinstance(caught.value, AuthorizationDenied | ConnectFailed)
                assert len(server.requests) == 1
        assert elsewhere.connections == 0


async def test_3_5_the_switch_is_off_in_every_session_that_we_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """3-5: fails on the day that aiohttp's private switch is gone, or is asked for in another way."""
    made: list[aiohttp.ClientSession] = []
    real = Transport._make_session

    def spy(self: Transport, *args: Any, **options: Any) -> aiohttp.ClientSession:
        made.append(real(self, *args, **options))
        return made[-1]

    monkeypatch.setattr(Transport, "_make_session", spy)
    async with PlayServer() as server, session_on(server.url) as session:
        await session.groups.get(ID)
    assert [each._retry_connection for each in made] == [False]
