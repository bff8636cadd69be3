"""Browsers disconnect: handlers are cancelled, the token refresh is not (requirements 1-1 to 1-7).

The sandbox is at its strictest: no grace window, and a refresh token that is used twice revokes the token set.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
from helpers.evidence import note
from helpers.support import ME, TOKEN, Clock, settle, until
from web.servers import Browser, Site, SiteResponse, serving

from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.faults import Hold


pytestmark = [pytest.mark.usefixtures("debug_mode"), pytest.mark.slow]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(grace_window=0.0, reuse_protection=True) as server:
        yield server


@attrs.frozen
class Crowd:
    """A browser with many concurrent requests."""

    site: Site
    browser: Browser
    sandbox: Sandbox
    clock: Clock
    caplog: pytest.LogCaptureFixture

    async def log_in(self) -> None:
        await self.browser.log_in()
        assert (await self.browser.get("/me")).status == 200
        self.sandbox.reset_counts()
        self.site.begun = 0

    def expire(self, where: str) -> None:
        """Expire the access token: by the clock of the application, or at the server, which responds with 401."""
        if where == "here":
            self.clock.steady += 3550
        else:
            self.sandbox.expire_access_tokens()

    async def ask(self, count: int, where: str) -> list[asyncio.Task[SiteResponse]]:
        """Start requests whose handlers all wait for the refresh, or are about to."""
        begun, refused = self.site.begun + count, self.sandbox.count(ME) + count
        calls = [asyncio.create_task(self.browser.get("/me")) for _ in range(count)]
        await until(lambda: self.site.begun == begun)
        if where == "there":
            await until(lambda: self.sandbox.count(ME) == refused)
        return calls

    def hung_up(self) -> int:
        """The number of handlers that ended because their client disconnected."""
        return self.caplog.text.count("GET /me: the client hung up")

    async def leave(self, count: int, hold: Hold, where: str = "here", how: str = "hang up") -> None:
        """Requests whose handlers are cancelled: the client disconnects, or they have a time limit."""
        if how == "time limit":
            responses = await asyncio.gather(*[self.browser.get("/me?within=0.3") for _ in range(count)])
            assert [response.status for response in responses] == [504] * count
            return
        before = self.hung_up()
        calls = await self.ask(count, where)
        await hold.arrived()
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await until(lambda: self.hung_up() == before + count)

    async def is_alive_after(self, refreshes: int) -> bool:
        """Whether the token set works after these refreshes, and after one more. Each refresh token must be used once."""
        first = await self.browser.get("/me")
        assert self.sandbox.refresh_requests == self.sandbox.refreshes == refreshes
        self.expire("here")
        second = await self.browser.get("/me")
        assert self.sandbox.refresh_requests == self.sandbox.refreshes == refreshes + 1
        assert self.sandbox.count(TOKEN) == refreshes + 1, "the number of refreshes is wrong"
        return first.status == second.status == 200


@pytest.fixture
async def crowd(
    site: Site, browser: Browser, sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> Crowd:
    crowd = Crowd(site, browser, sandbox, clock, caplog)
    await crowd.log_in()
    return crowd


@pytest.fixture(params=[False, True], ids=["before_the_server_rotates", "after_it_rotated"])
def hold(request: pytest.FixtureRequest, sandbox: Sandbox, crowd: Crowd) -> Hold:
    return sandbox.faults.hold(TOKEN, after=request.param)


WAYS = pytest.mark.parametrize(
    ("where", "how"), [("here", "hang up"), ("there", "hang up"), ("here", "time limit")]
)


@WAYS
async def test_1_5_ten_of_twenty_handlers_are_cancelled(
    crowd: Crowd, sandbox: Sandbox, hold: Hold, where: str, how: str
) -> None:
    """1-1, 1-2, 1-5, 1-6: during the one refresh: ten responses, and the token set still works."""
    crowd.expire(where)
    stay = await crowd.ask(10, where)
    await hold.arrived()
    await crowd.leave(10, hold, where, how)
    assert not any(call.done() for call in stay)
    hold.release()
    assert [response.status for response in await asyncio.gather(*stay)] == [200] * 10
    assert len(crowd.site.logins.sessions) == 1
    assert hold.count == 1
    fault = "client disconnect" if how == "hang up" else "time limit of a handler"
    rotated = "after" if hold.after else "before"
    refreshes = sandbox.refresh_requests
    works = await crowd.is_alive_after(refreshes=1)
    note(f"{fault}, {crowd.site.kind}, {rotated} the rotation", sandbox, refreshes, lost=not works)
    assert works


@WAYS
async def test_1_5_all_twenty_handlers_are_cancelled(
    crowd: Crowd, sandbox: Sandbox, hold: Hold, where: str, how: str
) -> None:
    """1-5: no waiter is left. The refresh completes, and the next handler needs no other."""
    crowd.expire(where)
    await crowd.leave(20, hold, where, how)
    await hold.arrived()
    hold.release()
    assert await crowd.is_alive_after(refreshes=1)


async def test_1_5_the_request_that_began_the_refresh_is_cancelled(
    crowd: Crowd, sandbox: Sandbox, hold: Hold
) -> None:
    """1-5, 1-6: the handler whose request began the refresh does not own it."""
    crowd.expire("here")
    await crowd.leave(1, hold)
    stay = await crowd.ask(10, "here")
    hold.release()
    assert [response.status for response in await asyncio.gather(*stay)] == [200] * 10
    assert await crowd.is_alive_after(refreshes=1)


async def test_1_7_an_application_that_stops_waits_for_the_refresh(
    kind: str, sandbox: Sandbox, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """1-7: without browsers it ends when the new token set is stored: the next one does not refresh."""
    caplog.set_level(logging.INFO)
    async with contextlib.AsyncExitStack() as application:
        site = await application.enter_async_context(serving(kind, sandbox, tmp_path, clock=clock))
        async with Browser(site.url) as browser:
            crowd = Crowd(site, browser, sandbox, clock, caplog)
            await crowd.log_in()
            crowd.expire("here")
            hold = sandbox.faults.hold(TOKEN, after=True)
            await crowd.leave(20, hold)
            cookies = browser.cookies
        stopped = asyncio.create_task(application.aclose())
        await until(lambda: "closing 1 sessions" in caplog.text)
        await settle(50)
        assert not stopped.done()
        hold.release()
        await stopped
    async with serving(kind, sandbox, tmp_path, clock=clock) as site, Browser(site.url) as browser:
        browser.cookies = cookies
        assert (await browser.get("/me")).status == 200
    assert sandbox.refresh_requests == 1
