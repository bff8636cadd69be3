"""The end of `session.keep_alive()`, and where it may be called."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator

import pytest
from helpers.keeping_alive import LIFE, later, steps, warnings_of
from helpers.support import TOKEN, Clock, expired, open_session, sandbox_in_a_thread, settle, until

from ezeep_async import (
    EzeepSession,
    MemoryTokenStore,
    SessionClosed,
    TokenSet,
)
from ezeep_async.auth import keep_alive
from ezeep_async.auth.keep_alive import KeepAlive
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


# --- its end -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_closing_ends_it_and_waits_for_its_refresh(sandbox: Sandbox) -> None:
    """1-7: the new login is stored before the close is over; nothing is left running."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    old = await store.load()
    session = open_session(sandbox, store)
    hold = sandbox.faults.hold(TOKEN)
    handle = session.keep_alive()
    await hold.arrived()
    closing = asyncio.create_task(session.aclose())
    await settle(50)
    assert not closing.done()
    assert not handle.is_running
    hold.release()
    await closing
    assert (await store.load()).refresh_token != old.refresh_token
    assert sandbox.refreshes == 1
    assert handle._task.done()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("ezeep")] == []
    assert repr(handle) == "<KeepAlive stopped>"


async def test_closed_before_it_began(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Its first step comes after the close has begun: nothing is said, and nothing done."""
    session = open_session(sandbox)
    handle = session.keep_alive()
    await session.aclose()
    await until(handle._task.done)
    assert caplog.text == ""
    assert sandbox.refresh_requests == 0


async def test_it_is_stopped_from_any_thread(sandbox: Sandbox) -> None:
    """In the middle of a sleep of half a minute."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        handle = session.keep_alive()
        await until(lambda: session._core.refresher.due_in() > 0)
        await settle()
        await asyncio.to_thread(handle.stop)
        await until(handle._task.done)


async def test_closing_does_not_wait_for_its_sleep(sandbox: Sandbox) -> None:
    """It sleeps for half a minute, and is ended at once."""
    session = open_session(sandbox, stored=sandbox.tokens())
    handle = session.keep_alive()
    await until(lambda: session._core.refresher.due_in() > 0)
    async with asyncio.timeout(5):
        await session.aclose()
    assert handle._task.done()


@pytest.mark.usefixtures("quick")
async def test_stopping_ends_it_and_not_its_refresh(sandbox: Sandbox) -> None:
    """The refresh runs in a task that stopping does not cancel."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    old = await store.load()
    async with open_session(sandbox, store) as session:
        hold = sandbox.faults.hold(TOKEN)
        handle = session.keep_alive()
        await hold.arrived()
        handle.stop()
        handle.stop()
        await until(handle._task.done)
        hold.release()
        await until(lambda: store._tokens != old)
    assert sandbox.refreshes == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("way", ["stop", "async with", "with"])
async def test_after_stop_nothing_is_refreshed(sandbox: Sandbox, clock: Clock, way: str) -> None:
    """By hand, and at the end of a block."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        if way == "stop":
            handle = session.keep_alive()
            await steps(handle)
            handle.stop()
        elif way == "with":
            with session.keep_alive() as handle:
                await steps(handle)
        else:
            async with session.keep_alive() as handle:
                await steps(handle)
                assert repr(handle) == "<KeepAlive running>"
            assert handle._task.done()
        assert not handle.is_running
        later(LIFE - 40, clock, sandbox)
        await until(handle._task.done)
    assert sandbox.refresh_requests == 0


async def test_there_is_one_for_each_session(sandbox: Sandbox) -> None:
    """Asked for again it is the same one, and another one after it was stopped."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        first = session.keep_alive()
        assert session.keep_alive() is first
        first.stop()
        second = session.keep_alive()
        assert second is not first
        assert second.is_running
        await until(first._task.done)
        first._task.cancel()
        second._task.cancel()  # as a shutdown handler does that cancels everything
        await until(second._task.done)
        assert session.keep_alive() is not second


async def test_it_has_a_context_of_its_own(sandbox: Sandbox) -> None:
    """It outlives the request that it was started in, and must not run under that one's name."""
    from contextvars import ContextVar

    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []
    request.set("the first one")
    async with open_session(sandbox, on_token_rotated=lambda old, new: seen.append(request.get())) as session:
        session.keep_alive()
        await until(lambda: seen)
    assert seen == ["none"]


def _unclosed(caught: list[warnings.WarningMessage]) -> bool:
    return any("EzeepSession was not closed" in str(warning.message) for warning in caught)


@pytest.mark.slow
@pytest.mark.parametrize("with_handle", [True, False])
async def test_a_session_that_was_not_closed_is_noticed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, with_handle: bool
) -> None:
    """It does not keep its session alive, not even one that a hook refers to; and it ends, asleep as it is."""
    pauses: list[float] = []
    real = KeepAlive._step

    async def noted(self: KeepAlive, kept) -> float:
        pauses.append(await real(self, kept))
        return pauses[-1]

    monkeypatch.setattr(KeepAlive, "_step", noted)
    monkeypatch.setattr(keep_alive, "SHORTEST_SLEEP_S", 0.005)

    class App:
        """Its session refers to it, and it to the session."""

        def __init__(self) -> None:
            self.session = open_session(sandbox, on_token_rotated=self.hook)

        def hook(self, old: TokenSet | None, new: TokenSet) -> None:
            pass

    app = App()
    handle = app.session.keep_alive()
    task = handle._task
    if not with_handle:
        del handle
    await until(lambda: 30.0 in pauses)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del app
        await until(lambda: (gc.collect(), _unclosed(caught))[1])
    await until(task.done)


# --- where it may be called --------------------------------------------------------------------------------------------


async def test_after_the_close_it_is_refused(sandbox: Sandbox) -> None:
    """As every call is."""
    session = open_session(sandbox)
    await session.aclose()
    with pytest.raises(SessionClosed):
        session.keep_alive()


async def test_on_another_loop_it_is_refused(sandbox: Sandbox) -> None:
    """In a thread without a loop, and in one with another loop: a sentence, and nothing is started."""
    messages: list[str] = []

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError) as caught:
            session.keep_alive()
        messages.append(str(caught.value))

    def thread() -> None:
        with pytest.raises(RuntimeError) as caught:
            session.keep_alive()
        messages.append(str(caught.value))
        asyncio.run(elsewhere())

    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        running = threading.Thread(target=thread)
        running.start()
        await until(lambda: not running.is_alive())
    assert "in a coroutine, on the event loop of the session" in messages[0]
    assert "another event loop" in messages[1]


@pytest.fixture
def kept() -> Iterator[list[EzeepSession]]:
    """Sessions that outlive their loop, and the warning that they are not closed."""
    sessions: list[EzeepSession] = []
    yield sessions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sessions.clear()
        gc.collect()


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("in_a_refresh", [False, True])
def test_the_end_of_the_loop_ends_it_quietly(
    caplog: pytest.LogCaptureFixture, kept: list[EzeepSession], in_a_refresh: bool
) -> None:
    """asyncio.run() winds up with the session still open: no task is destroyed, and a refresh ends."""
    with sandbox_in_a_thread() as sandbox:
        store = MemoryTokenStore(expired(sandbox.tokens()))
        if in_a_refresh:
            sandbox.faults.add(TOKEN, delay_after=0.3)

        async def main() -> None:
            session = open_session(sandbox, store)
            kept.append(session)
            session.keep_alive()
            await until(lambda: sandbox.refresh_requests == 1)
            if not in_a_refresh:
                await until(lambda: session._core.refresher.due_in() > 0)

        asyncio.run(main(), debug=True)
        gc.collect()
        assert sandbox.refreshes == 1
        assert store._tokens is not None
        assert store._tokens.expires_in == LIFE
        assert not kept[0]._core._keep_alive.is_running
    assert "destroyed" not in caplog.text
    assert warnings_of(caplog) == []
