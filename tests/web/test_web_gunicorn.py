"""The web flow under gunicorn: workers that share token files, and that are killed or stopped during a refresh:
requirements 1-5, 1-7, 2-1 and 2-3.

The sandbox is on the loop of the test, which nothing here blocks: the workers are processes of their own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import attrs
import pytest
from helpers.evidence import note
from helpers.support import ME, TOKEN, until
from web.gunicorn_server import Gunicorn, gunicorn
from web.servers import Browser, SiteResponse

from ezeep_async import EzeepSession, FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: gunicorn forks its workers"),
]


@pytest.fixture
async def server(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Gunicorn]:
    async with gunicorn(sandbox, tmp_path) as server:
        yield server
        sandbox.faults.clear()  # stopping would wait for what a failed test still holds
        await server.stop()
        log = server.log
    assert not any(word in log for word in ("Traceback", "Warning", "never retrieved")), log
    grants = sandbox._grants
    assert not [secret for secret in {*grants._access, *grants._refresh, *grants._codes} if secret in log]


@attrs.frozen
class Pair:
    """A logged-in browser with ten connections to each of the two workers."""

    cookies: Mapping[str, str]
    one: list[Browser]
    two: list[Browser]


@pytest.fixture
async def pair(server: Gunicorn, sandbox: Sandbox) -> Pair:
    browser = await server.browser()
    await browser.log_in()
    one, two = [await server.browsers_at(pid, browser.cookies, 10) for pid in server.workers]
    assert sandbox.refresh_requests == 0
    sandbox.reset_counts()
    return Pair(browser.cookies, one, two)


def _ask(browsers: list[Browser]) -> list[asyncio.Task[SiteResponse]]:
    return [asyncio.create_task(browser.get("/me")) for browser in browsers]


async def _statuses(calls: list[asyncio.Task[SiteResponse]]) -> list[int]:
    return [response.status for response in await asyncio.gather(*calls)]


async def _hang_up(calls: list[asyncio.Task[SiteResponse]], server: Gunicorn) -> None:
    before = server.hung_up()
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await until(lambda: server.hung_up() == before + len(calls))


async def test_a_log_in_is_served_by_several_workers(server: Gunicorn, sandbox: Sandbox) -> None:
    """9-4: begun at one, completed at the other, used at both: the authorization request works once."""
    one, two = server.workers
    (first,) = await server.browsers_at(one, {})
    location = await first.come_back()
    (second,) = await server.browsers_at(two, first.cookies)
    assert (await second.get(location)).status == 302
    assert (await first.get(location)).status == 403
    first.cookies = second.cookies
    responses = [await browser.get("/me") for browser in (first, second)]
    assert [SANDBOX_ADMIN in response.text for response in responses] == [True, True]
    assert [response.headers["X-Served-By"] for response in responses] == [str(one), str(two)]
    assert (await second.ask("POST", "/logout")).status == 204
    assert (await first.get("/me")).status == 401


@pytest.mark.parametrize("after", [False, True], ids=["before_the_server_rotates", "after_it_rotated"])
async def test_2_1_twenty_requests_at_two_workers_of_which_ten_disconnect(
    server: Gunicorn, sandbox: Sandbox, pair: Pair, after: bool
) -> None:
    """1-5, 2-1: one refresh in all, ten responses, and the token set still works."""
    sandbox.expire_access_tokens()
    hold = sandbox.faults.hold(TOKEN, after=after)
    calls = _ask(pair.one + pair.two)
    await hold.arrived()
    await until(lambda: sandbox.count(ME) == 20)
    await _hang_up(calls[5:15], server)
    hold.release()
    assert await _statuses(calls[:5] + calls[15:]) == [200] * 10
    assert sandbox.refresh_requests == sandbox.refreshes == 1
    refreshes = sandbox.refresh_requests
    sandbox.expire_access_tokens()
    responses = await _statuses(_ask(pair.one + pair.two))
    assert sandbox.refresh_requests == sandbox.refreshes == 2
    fault = f"client disconnect, gunicorn, {'after' if after else 'before'} the rotation"
    note(fault, sandbox, refreshes, lost=401 in responses)
    assert responses == [200] * 20


@pytest.mark.parametrize(
    ("grace", "rotated", "survives"),
    [(0.0, False, True), (120.0, True, True), (0.0, True, False)],
    ids=["lost on the way", "rotated, with a grace window", "rotated, without"],
)
async def test_2_3_a_worker_is_killed_during_a_refresh(
    server: Gunicorn, sandbox: Sandbox, pair: Pair, grace: float, rotated: bool, survives: bool
) -> None:
    """2-3: the other worker refreshes at once, and gunicorn's new one needs no refresh. A token set is lost only where the server
    had rotated its token and has no grace window: 401, and the person logs in again.
    """
    sandbox.behaviour.grace_window = grace
    sandbox.expire_access_tokens()
    if not rotated:
        sandbox.faults.add(TOKEN, drop="before")
    hold = sandbox.faults.hold(TOKEN, after=rotated, times=1)
    dying = _ask(pair.one)
    await hold.arrived()
    waiting = _ask(pair.two)
    await until(lambda: sandbox.count(ME) == 20)
    server.kill(server.workers[0])
    assert all(
        isinstance(error, aiohttp.ClientConnectionError)
        for error in await asyncio.gather(*dying, return_exceptions=True)
    )
    assert await _statuses(waiting) == [200 if survives else 401] * 10
    assert sandbox.refresh_requests == 2
    assert sandbox.refreshes == 1
    hold.release()
    (browser,) = await server.browsers_at(await server.replacement(), pair.cookies)
    assert browser.responses[-1].status == (200 if survives else 401)
    refreshes = sandbox.refresh_requests
    sandbox.expire_access_tokens()
    after = await browser.get("/me")
    note(
        f"SIGKILL of a gunicorn worker, rotated: {'yes' if rotated else 'no'}",
        sandbox,
        refreshes,
        lost=after.status == 401,
    )
    assert after.status == (200 if survives else 401)
    if survives:
        assert refreshes == 2
        assert (sandbox.refresh_requests, sandbox.refreshes) == (3, 2)
    else:
        await browser.log_in()
        assert (await browser.get("/me")).status == 200


@pytest.mark.parametrize("stay", [True, False], ids=["clients stay", "clients hang up"])
async def test_1_7_gunicorn_stops_during_a_refresh(
    server: Gunicorn, sandbox: Sandbox, pair: Pair, stay: bool
) -> None:
    """1-7: after SIGTERM the refresh completes, and the new token set is in the file before the process ends."""
    sandbox.expire_access_tokens()
    hold = sandbox.faults.hold(TOKEN, after=True)
    calls = _ask(pair.one)
    await hold.arrived()
    await until(lambda: sandbox.count(ME) == 10)
    if not stay:
        await _hang_up(calls, server)
    server.process.terminate()
    one, two = server.workers
    await until(lambda: f"worker {one} stops" in server.log and f"Worker exiting (pid: {two})" in server.log)
    assert server.process.returncode is None
    hold.release()
    if stay:
        assert await _statuses(calls) == [200] * 10
    assert await server.stop() == 0
    assert f"Worker exiting (pid: {one})" in server.log
    (file,) = server.logins.glob("*.json")
    async with EzeepSession(sandbox.oauth_app, FileTokenStore(file), endpoints=sandbox.endpoints) as session:
        assert (await session.accounts.me()).email == SANDBOX_ADMIN
    assert sandbox.refresh_requests == sandbox.refreshes == 1
