"""The background thread of the blocking calls, in one process: calls, errors, interruptions, finalizers."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref

import anyio
import anyio.to_thread
import pytest

from ezeep_async.blocking import portal
from ezeep_async.errors import BlockingCallError, SessionClosed


HANG = 15  # time limit in seconds; nothing here is expected to take long
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


async def add(a: int, b: int = 0) -> int:
    await asyncio.sleep(0)
    return a + b


# --- calls ---------------------------------------------------------------------------------------------------------


def test_a_call_returns_what_the_coroutine_returns() -> None:
    assert portal.run("await f()", add, 1, b=2) == 3


def test_calls_of_several_threads_run_concurrently() -> None:
    """20 calls wait for each other on the loop, which would deadlock if calls ran one after another."""
    met = 0
    all_met: asyncio.Event | None = None

    async def meet() -> int:
        nonlocal met, all_met
        all_met = all_met or asyncio.Event()
        met += 1
        if met == 20:
            all_met.set()
        await all_met.wait()
        return met

    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(portal.run("await f()", meet))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert results == [20] * 20


def test_5_7_the_coroutine_sees_the_context_variables_of_the_caller() -> None:
    """5-7: they are copied into each call."""

    async def read() -> str:
        await asyncio.sleep(0)
        return await asyncio.create_task(asyncio.sleep(0, VARIABLE.get()))

    portal.run("await f()", add, 1)
    token = VARIABLE.set("caller's")
    try:
        assert portal.run("await f()", read) == "caller's"
    finally:
        VARIABLE.reset(token)
    assert portal.run("await f()", read) == "unset"


# --- errors --------------------------------------------------------------------------------------------------------


class Own(Exception):
    pass


def test_5_9_an_error_keeps_its_type_and_its_traceback_shows_caller_and_coroutine() -> None:
    """5-9: the traceback names both."""
    error = Own("here")

    async def fail_inside() -> None:
        raise error

    with pytest.raises(Own) as caught:
        portal.run("await f()", fail_inside)  # the caller's line
    assert caught.value is error
    text = "".join(traceback.format_exception(error))
    assert "the caller's line" in text
    assert "in fail_inside" in text


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, BaseException]
)
def test_5_9_a_base_exception_reaches_the_caller_and_leaves_the_portal_alive(
    kind: type[BaseException],
) -> None:
    before = portal.current()

    async def fail() -> None:
        raise kind

    with pytest.raises(kind) as caught:
        portal.run("await f()", fail)
    assert caught.type is kind
    assert portal.run("await f()", add, 1) == 1
    assert portal.current() is before


def test_5_9_a_call_leaves_no_cycle_that_keeps_its_error_and_arguments_alive() -> None:
    class Thing:
        pass

    async def fail(thing: Thing) -> None:
        raise Own

    def scope() -> weakref.ref[Thing]:
        thing = Thing()
        try:
            portal.run("await f()", fail, thing)
        except Own:
            pass
        return weakref.ref(thing)

    gc.collect()
    gc.disable()
    try:
        gone = scope()
        portal.run("await f()", add, 1)  # the loop has released the last call
        assert gone() is None
    finally:
        gc.enable()


def test_wrong_arguments_raise_type_error_and_leave_no_unawaited_coroutine() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TypeError):
            portal.run("await f()", add, 1, c=3)
        gc.collect()


# --- calls on a thread that runs an event loop ---------------------------------------------------------------------


async def test_5_2_a_call_on_a_thread_with_a_running_loop_raises_and_names_the_await() -> None:
    with pytest.raises(BlockingCallError, match=r"await session\.groups\.get\(\.\.\.\)"):
        portal.run("await session.groups.get(...)", add, 1)
    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        portal.run("await f()", add, 1)


def test_5_2_a_call_on_the_portals_own_loop_raises_at_once() -> None:
    async def inside() -> None:
        portal.run("await f()", add, 1)

    with pytest.raises(BlockingCallError):
        portal.run("await f()", inside)


async def test_5_1_a_worker_thread_of_an_async_program_may_call() -> None:
    assert await anyio.to_thread.run_sync(lambda: portal.run("await f()", add, 1)) == 1
    assert await asyncio.to_thread(portal.run, "await f()", add, 2) == 2


# --- interruptions and the end of the loop -------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_5_4_an_exception_of_a_signal_handler_cancels_the_call() -> None:
    """Celery's soft time limit, for example, is an exception raised by a signal handler."""

    class TimeLimit(Exception):
        pass

    def handler(*_: object) -> None:
        raise TimeLimit

    ended: list[str] = []

    async def work() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TimeLimit):
            portal.run("await f()", work)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended == ["cancelled"]


@pytest.mark.parametrize("cancelled_first", [False, True])
def test_5_4_a_call_cancelled_before_its_first_step_never_starts_and_still_ends(
    cancelled_first: bool,
) -> None:
    """Ctrl-C may come while the call is submitted: its thread must not wait for a coroutine that never runs."""
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)

    here = portal.current()
    call = portal.Call(here, "work", work)

    async def hand_over() -> None:
        loop = asyncio.get_running_loop()
        call.submit()
        if cancelled_first:
            call.cancel()
        else:
            loop.call_soon(call.cancel)
        while call in here.calls:
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    portal.run("await f()", hand_over)
    assert call.done.acquire(timeout=HANG)
    with pytest.raises(asyncio.CancelledError):
        call.outcome()
    assert begun == []


def test_5_4_a_call_that_was_never_submitted_stops_at_once() -> None:
    call = portal.Call(portal.current(), "add", lambda: add(1))
    call.done.acquire()
    begin = time.monotonic()
    assert call.stop(2 * HANG) is None
    assert time.monotonic() - begin < HANG


def test_a_call_that_the_loop_never_started_ends_with_its_thread() -> None:
    ending = portal.Portal()
    ending.start()
    ending.run("await add(...)", add, 1)
    call = portal.Call(ending, "add", lambda: add(1))
    call.done.acquire()
    ending.calls.add(call)
    ending.close()
    assert call.done.acquire(timeout=HANG)
    with pytest.raises(SessionClosed):
        call.outcome()


def test_a_call_on_a_closed_loop_raises_session_closed() -> None:
    ended = portal.Portal()
    ended.start()
    ended.close()
    call = portal.Call(ended, "add", lambda: add(1))
    call.submit()
    assert call.done.acquire(timeout=HANG)
    with pytest.raises(SessionClosed):
        call.outcome()


def test_5_5_a_thread_that_cannot_be_started_raises_session_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.12 and later refuse to start a thread once the exit has begun."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(portal, "_current", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(SessionClosed, match="no thread can be started"):
        portal.run("await f()", add, 1)


# --- finalizers ----------------------------------------------------------------------------------------------------


def test_post_starts_a_coroutine_in_any_thread_and_does_not_wait_on_the_loop() -> None:
    ran = threading.Event()

    async def work() -> None:
        ran.set()

    async def from_the_loop_itself() -> None:
        portal.current().post(work, wait=60.0)  # a wait would exceed the time limit of the test

    portal.run("await f()", from_the_loop_itself)
    assert ran.wait(HANG)
    ran.clear()
    portal.current().post(work, wait=HANG)
    assert ran.is_set()


def test_post_ignores_errors_and_portals_that_are_not_running() -> None:
    async def fail() -> None:
        raise Own

    portal.current().post(fail, wait=HANG)
    fresh = portal.Portal()
    fresh.post(fail)
    fresh.start()
    fresh.run("await add(...)", add, 1)
    fresh.close()
    fresh.post(fail)
    with pytest.raises(SessionClosed):
        fresh.run("await add(...)", add, 1)
