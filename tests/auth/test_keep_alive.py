"""`session.keep_alive()`: an idle token set is refreshed in time, and once."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
from helpers.keeping_alive import LIFE, later, steps
from helpers.support import TOKEN, Clock, open_session, put, settle, until

from ezeep_async import (
    FileTokenStore,
    MemoryTokenStore,
    ReauthorizationRequired,
)
from ezeep_async.auth import clock as clocks
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
async def test_an_idle_login_lives_on(sandbox: Sandbox, clock: Clock) -> None:
    """No call for five lifetimes: one refresh in each, and the call that comes at last works."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive()
        await steps(handle)
        assert sandbox.refresh_requests == 0
        for number in range(1, 6):
            later(LIFE - 40, clock, sandbox)
            await until(lambda number=number: sandbox.refreshes == number)
            await steps(handle)
        await session.accounts.me()
    assert (sandbox.refresh_requests, sandbox.refreshes) == (5, 5)


@pytest.mark.usefixtures("quick")
async def test_it_is_off_by_default(sandbox: Sandbox, clock: Clock) -> None:
    """Without it nothing runs; an hour later a person has to log in."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        await session.accounts.me()
        later(LIFE - 40, clock, sandbox)
        await settle(50)
        assert sandbox.refresh_requests == 0
        assert [task for task in asyncio.all_tasks() if "keep-alive" in task.get_name()] == []
        later(LIFE, clock, sandbox)
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
async def test_two_sessions_on_one_file_make_one_refresh(
    sandbox: Sandbox, clock: Clock, tmp_path: Path
) -> None:
    """The second session finds the token set that the first one stored."""
    path = tmp_path / "login.json"
    async with (
        open_session(sandbox, FileTokenStore(path), tokens=sandbox.tokens(), clock=clock) as one,
        open_session(sandbox, FileTokenStore(path), clock=clock) as two,
    ):
        handles = [one.keep_alive(), two.keep_alive()]
        for number in range(1, 4):
            later(LIFE - 40, clock, sandbox)
            await until(lambda: all(session._core.refresher.due_in() > 0 for session in (one, two)))
            for handle in handles:
                await steps(handle)
            assert (sandbox.refresh_requests, sandbox.refreshes) == (number, number)
        assert one._core.refresher.tokens == two._core.refresher.tokens


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
async def test_calls_at_the_same_instant_join_it(sandbox: Sandbox, clock: Clock) -> None:
    """Calls join its refresh."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        hold = sandbox.faults.hold(TOKEN)
        session.keep_alive()
        later(LIFE - 40, clock, sandbox)
        await hold.arrived()
        calls = [asyncio.create_task(session.accounts.me()) for _ in range(20)]
        await settle(20)
        hold.release()
        await asyncio.gather(*calls)
    assert sandbox.refresh_requests == 1


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
async def test_a_login_of_half_a_second_is_kept_alive() -> None:
    """In real time: the leeway is a fifth of the life, and so is what else is waited for."""
    async with Sandbox(expires_in=0.5) as sandbox:
        async with open_session(sandbox, stored=sandbox.tokens()) as session:
            session.keep_alive()
            await until(lambda: sandbox.refreshes >= 4)
        assert sandbox.refresh_requests == sandbox.refreshes


@pytest.mark.usefixtures("quick")
async def test_what_is_stored_is_looked_at_once_at_the_start(sandbox: Sandbox) -> None:
    """An expired token set is refreshed at once; a valid one is only read."""
    async with open_session(sandbox) as session:
        session.keep_alive()
        await until(lambda: sandbox.refreshes == 1)
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        handle = session.keep_alive()
        await until(lambda: session._core.refresher.due_in() > 0)
        await steps(handle)
    assert sandbox.refresh_requests == 1


@pytest.mark.usefixtures("quick")
async def test_workers_spread_over_a_quarter_of_the_leeway(sandbox: Sandbox, clock: Clock) -> None:
    """With the largest share: not at 3540 seconds, and at 3555."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive()
        await steps(handle)
        assert 0 <= handle._delay_share <= 0.25
        handle._delay_share = 0.25
        later(LIFE - 50, clock, sandbox)
        await steps(handle)
        assert sandbox.refresh_requests == 0
        later(6, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
async def test_an_interval_leaves_time_for_an_outage(sandbox: Sandbox, clock: Clock) -> None:
    """At that age, and not in the last minute. What another session refreshed counts."""
    store = MemoryTokenStore(sandbox.tokens())
    async with (
        open_session(sandbox, store, clock=clock) as session,
        open_session(sandbox, store, clock=clock) as other,
    ):
        handle = session.keep_alive(interval=1200)
        assert session.keep_alive() is handle
        for number in range(1, 4):
            later(1190, clock, sandbox)
            await steps(handle)
            assert sandbox.refresh_requests == number - 1
            later(20, clock, sandbox)
            await until(lambda number=number: sandbox.refreshes == number)
            await steps(handle)
        fault = sandbox.faults.add(TOKEN, times=None, status=400, body="a proxy")
        later(1210, clock, sandbox)
        await until(lambda: handle.state == "trying again")
        later(2300, clock, sandbox)
        fault.remove()
        await until(lambda: sandbox.refreshes == 4 and handle.state == "running")
        await steps(handle)
        later(1100, clock, sandbox)
        await other.oauth.refresh()
        later(200, clock, sandbox)
        await steps(handle)
        assert sandbox.refreshes == 5


@pytest.mark.usefixtures("quick")
async def test_an_interval_longer_than_the_life_changes_nothing(sandbox: Sandbox, clock: Clock) -> None:
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive(interval=86400)
        await steps(handle)
        later(LIFE - 40, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)


@pytest.mark.usefixtures("quick")
async def test_an_ended_login_is_waited_out_also_with_an_interval(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """While its access token is valid: one request, and one line in the log."""
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store, clock=clock) as session:
        handle = session.keep_alive(interval=1200)
        tokens = await store.load()
        assert tokens is not None
        sandbox._grants.revoke(tokens.refresh_token)
        later(1210, clock, sandbox)
        await until(lambda: handle.state == "waiting for a login")
        await steps(handle, 20)
        assert sandbox.refresh_requests == 1
        assert caplog.text.count("not kept alive") == 1
        await put(store, sandbox.tokens())
        await until(lambda: handle.state == "running")


@pytest.mark.parametrize(("interval", "error"), [(0, ValueError), (-1, ValueError), ("1200", TypeError)])
async def test_an_interval_that_is_none(sandbox: Sandbox, interval, error: type[Exception]) -> None:
    async with open_session(sandbox) as session:
        with pytest.raises(error, match="interval"):
            session.keep_alive(interval)


@pytest.mark.usefixtures("quick")
async def test_a_wall_clock_that_jumps_makes_no_refresh(sandbox: Sandbox, clock: Clock) -> None:
    """1-16: days forward and back; and what is due is due."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive()
        await steps(handle)
        for jump in (3600.0, -3600.0, 86400.0, 0.0):
            clock.wall = jump
            await steps(handle, 3)
        assert sandbox.refresh_requests == 0
        clock.wall = -86400.0
        later(LIFE - 40, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)


@pytest.mark.parametrize(
    ("platform", "clock_id"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC"), ("win32", None)]
)
def test_steady_time_goes_on_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch, platform: str, clock_id: str | None
) -> None:
    """1-16: by the clock that does so on each system; time.monotonic() where there is none."""
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC", 1, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda number: asked.append(number) or 5.0, raising=False)
    read = clocks.steady_time()
    if clock_id is None:
        assert read is time.monotonic
    else:
        assert read() == 5.0
        assert set(asked) == {getattr(time, clock_id)}


def test_steady_time_where_the_kernel_does_not_know_that_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the ordinary one has to do; and the real one of this machine runs."""

    def fail(number: int) -> float:
        raise OSError(22, "Invalid argument")

    before = clocks.SYSTEM_CLOCK.monotonic()
    assert clocks.SYSTEM_CLOCK.monotonic() >= before
    monkeypatch.setattr(time, "clock_gettime", fail, raising=False)
    assert clocks.steady_time() is time.monotonic
