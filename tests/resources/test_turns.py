"""Turns of writers: what a write costs the event loop, and how its task ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest

from ezeep_async._exclusive import Exclusive, queues
from ezeep_async.auth.stores.file import FileTokenStore
from ezeep_async.auth.tokens import MemoryTokenStore
from ezeep_async.resources._base import Turn, Turns


NAME = ("user", "one")


class Locks:
    """What a resource needs of its session, without the session."""

    def __init__(self, store: MemoryTokenStore | FileTokenStore) -> None:
        self.exclusive = Exclusive(store, "https://api.example", 5.0, True).acquire

    def send(self, _: object, /) -> Awaitable[object]:
        raise NotImplementedError


@pytest.fixture
def turns() -> Turns:
    return Turns(Locks(MemoryTokenStore()))  # type: ignore[arg-type]  # `send` is not called


async def iterations_of(call: Callable[[], Awaitable[object]]) -> int:
    """Iterations of the event loop that `call` takes."""
    loop, count = asyncio.get_running_loop(), 0
    handle: asyncio.Handle

    def tick() -> None:
        nonlocal count, handle
        count += 1
        handle = loop.call_soon(tick)

    handle = loop.call_soon(tick)
    await call()
    handle.cancel()
    return count


async def test_a_turn_waits_for_nothing_but_its_write(turns: Turns) -> None:
    """One iteration to begin the write in its task, one to continue the caller."""

    async def write() -> int:
        return 1

    async def call() -> None:
        assert await turns.run(NAME, lambda turn: turn.write(write)) == 1

    await call()  # looks for shared locks
    assert await iterations_of(call) == 2
    assert len(queues) == 0


async def test_a_turn_without_other_callers_does_not_wait(turns: Turns) -> None:
    async def call() -> None:
        async with turns.take(NAME):
            assert len(queues) == 1

    await call()
    assert await iterations_of(call) == 0
    assert len(queues) == 0


class Stopped(BaseException):
    """As those of test frameworks and of other event loops, which no `except Exception` takes."""


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), Stopped()])
async def test_the_error_of_a_write_reaches_its_caller_only(turns: Turns, error: BaseException) -> None:
    """`SystemExit` does not leave the task of the write, which would stop the event loop."""

    async def write() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await turns.run(NAME, lambda turn: turn.write(write))
    assert caught.value is error
    assert len(queues) == 0


async def test_the_error_of_a_write_leaves_no_reference_cycle(turns: Turns) -> None:
    """Its traceback holds the variables of the call, among them what was sent, until it is collected."""

    class Sent:
        pass

    async def call() -> weakref.ref[Sent]:
        sent = Sent()

        async def write() -> None:
            raise ValueError(sent)

        with contextlib.suppress(ValueError):
            await turns.run(NAME, lambda turn: turn.write(write))
        return weakref.ref(sent)

    gc.collect()
    gc.disable()
    try:
        sent = await call()
        await asyncio.sleep(0)
        assert sent() is None
    finally:
        gc.enable()


async def test_a_write_whose_task_is_cancelled_at_once_ends_its_caller(turns: Turns) -> None:
    """A signal handler may cancel all tasks: that of the write before its first step too."""

    async def write() -> None:
        raise AssertionError

    async def work(turn: Turn) -> None:
        asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in turn.in_flight])
        await turn.write(write)

    # The callback runs before the first step of the task.
    with pytest.raises(asyncio.CancelledError):
        await turns.run(NAME, work)
    assert len(queues) == 0


async def test_a_write_that_outlives_its_caller_keeps_the_lock(turns: Turns) -> None:
    begun, end, order = asyncio.Event(), asyncio.Event(), list[str]()

    async def write() -> None:
        begun.set()
        await end.wait()
        order.append("first")

    async def second() -> None:
        order.append("second")

    caller = asyncio.create_task(turns.run(NAME, lambda turn: turn.write(write)))
    await begun.wait()
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    waiting = asyncio.create_task(turns.run(NAME, lambda turn: turn.write(second)))
    await asyncio.sleep(0.01)
    assert order == []
    end.set()
    await waiting
    assert order == ["first", "second"]
    assert (len(queues), turns.ending) == (0, set())
