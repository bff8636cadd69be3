"""A process that is stopped and continued: its time limits count the time in which it ran."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.support import TOKEN, expired, put, sandbox_in_a_thread
from helpers.suspending import Stoppable, stoppable

from ezeep_async import FileTokenStore
from ezeep_async._runtime import running_time
from ezeep_async._runtime.running_time import SLICE_S, RunningLimit, RunningTimeout
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP"),
]

LIMIT = 0.3
"""Seconds: a limit of the child, which is stopped for longer than that."""
STOP = 0.4
CREATE = "POST /printing/v1/groups/"
PATIENT = {"refresh_timeout": 20.0, "read_timeout": 20.0, "deadline": 60.0}


@pytest.fixture(scope="module")
def child() -> Iterator[Stoppable]:
    with stoppable() as process:
        yield process


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with sandbox_in_a_thread(users=3, groups=1) as sandbox:
        yield sandbox


@pytest.fixture
def path(tmp_path: Path, server: Sandbox) -> Path:
    server.faults.clear()
    server.reset_counts()
    place = tmp_path / "tokens.json"
    asyncio.run(put(FileTokenStore(place), expired(server.tokens())))
    return place


def _there(sandbox: Sandbox, function: Callable[..., Any], *args: Any) -> Any:
    """Run something where the sandbox runs."""

    async def run() -> Any:
        result = function(*args)
        return await result if asyncio.iscoroutine(result) else result

    return asyncio.run_coroutine_threadsafe(run(), sandbox._runners[0].server._loop).result(20)


def _start(child: Stoppable, call: str, path: Path, server: Sandbox, **settings: float) -> None:
    where = server.endpoints
    child.start(
        call=call,
        path=str(path),
        client_id=server.oauth_app.client_id,
        account=where.account,
        api=where.api,
        settings=PATIENT | settings,
        organization=str(server.organization.organization_id),
        seconds=1.0,
    )


async def _idle(sandbox: Sandbox) -> None:
    await asyncio.wait_for(asyncio.gather(*sandbox._tasks, return_exceptions=True), 10)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["refresh", "close", "blocking"])
def test_a_response_that_arrived_during_the_stop_is_read(
    child: Stoppable, server: Sandbox, path: Path, call: str
) -> None:
    """Stopped until the limit of the exchange was over, with the response in the socket: no second refresh."""
    hold = server.faults.hold(TOKEN, after=True, times=1)
    _start(child, call, path, server, refresh_timeout=LIMIT)
    _there(server, hold.arrived)
    child.stop()
    _there(server, hold.release)
    _there(server, _idle, server)
    time.sleep(STOP)
    child.go_on()
    assert child.outcome() == "well"
    assert (server.refresh_requests, server.refreshes) == (1, 1)


@pytest.mark.slow
def test_a_limit_does_not_count_the_stop(child: Stoppable, server: Sandbox, path: Path) -> None:
    """Stopped for longer than the limit, and the server responds after the process went on."""
    hold = server.faults.hold(TOKEN, after=True, times=1)
    _start(child, "refresh", path, server, refresh_timeout=1.0)
    _there(server, hold.arrived)
    child.stop()
    time.sleep(1.05)
    child.go_on()
    _there(server, hold.release)
    assert child.outcome() == "well"
    assert (server.refresh_requests, server.refreshes) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["read_timeout", "deadline"])
def test_the_limits_of_ordinary_calls(child: Stoppable, server: Sandbox, path: Path, limit: str) -> None:
    """A creation whose response arrived during the stop has its outcome."""
    asyncio.run(put(FileTokenStore(path), server.tokens()))
    hold = server.faults.hold(CREATE, after=True, times=1)
    _start(child, "create", path, server, **{limit: LIMIT})
    _there(server, hold.arrived)
    child.stop()
    _there(server, hold.release)
    _there(server, _idle, server)
    time.sleep(STOP)
    child.go_on()
    assert child.outcome() == "well"
    assert server.count(CREATE) == 1


@pytest.mark.slow
def test_the_wait_for_a_pairing(child: Stoppable, server: Sandbox, path: Path) -> None:
    """A person confirms after the process went on: the pairing is still asked for."""
    _start(child, "pair", path, server)
    code = child.line().strip()
    child.stop()
    time.sleep(1.05)
    asked = server.count(TOKEN)
    child.go_on()
    end = time.monotonic() + 10
    while server.count(TOKEN) < asked + 2 and time.monotonic() < end:
        time.sleep(0.005)
    pairing = server._grants.pairings[code]
    pairing.user_id, pairing.state = server.organization.admin_id, "approved"
    assert child.outcome() == "well"


# --- the limits themselves -------------------------------------------------------------------------------------------


async def test_a_limit_ends() -> None:
    """What never comes is given up on, and the time that is left is shared between waits."""
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    limit = RunningLimit(0.05)
    assert not await limit.wait(never, 0.01)
    assert 0 < limit.left <= 0.04 + 1e-6
    assert not await limit.wait(never)
    assert limit.left <= 0
    with pytest.raises(TimeoutError):
        with RunningTimeout(0.01):
            await asyncio.sleep(5)
    assert not never.done()


async def test_a_blocked_loop_counts_for_one_slice() -> None:
    """What stops the process from outside is, to the event loop, what blocks it: what is there afterwards is taken."""
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb")
    )
    with RunningTimeout(0.02) as limit:
        await asyncio.sleep(0)
        os.write(write, b"there\n")
        time.sleep(0.1)
        assert await reader.readline() == b"there\n"
    assert limit.used <= SLICE_S
    os.close(write)
    transport.close()


async def test_a_cancellation_is_not_a_time_limit() -> None:
    """A task that is cancelled in the block is cancelled."""

    async def wait() -> None:
        with RunningTimeout(5.0):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_restarted_limit_begins_again() -> None:
    """As for each piece of a response: a limit of 0.05 s, and pieces that come in shorter intervals."""
    with RunningTimeout(0.05, started=False) as limit:
        await asyncio.sleep(0.06)
        for _ in range(4):
            limit.restart()
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["_tick", "now", "tick_in"])
async def test_a_signal_handler_that_raises_in_the_timer_stops_no_limit(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A handler of the caller runs between any two instructions, also in a callback of the event loop."""
    loop = asyncio.get_running_loop()
    raised: list[object] = []
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))

    def handler(number: int, frame: object) -> None:
        raise ArithmeticError

    real = getattr(running_time._Clock, where)

    def interrupted(clock: Any, *args: Any) -> Any:
        if asyncio.current_task() is None and len(raised) < 1:
            signal.raise_signal(signal.SIGUSR1)
        return real(clock, *args)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(running_time._Clock, where, interrupted)
        with pytest.raises(TimeoutError):
            with RunningTimeout(0.3):
                await asyncio.wait_for(loop.create_future(), 10)
        assert len(raised) == 1
        raised.clear()
        assert not await asyncio.wait_for(RunningLimit(0.01).wait(loop.create_future()), 10)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [type(error) for error in raised] == [ArithmeticError]
