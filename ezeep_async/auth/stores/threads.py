"""Work of stores that completes although its caller is cancelled: in a new thread, or in a task."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from ezeep_async._runtime.greenlets import start_thread
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.tasks import start_self_timed


T = TypeVar("T")


async def completed(future: asyncio.Future[T]) -> T:
    """Wait for the end of `future`, also after a cancellation, which is raised then."""
    process = os.getpid()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while (
            not future.done() and os.getpid() == process
        ):  # a forked child has neither the thread nor the task
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if future.done() and not future.cancelled():
            future.exception()  # marks it as retrieved
        raise


async def to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end in a separate task, also if the caller is cancelled; then raise the cancellation."""
    return await completed(start_self_timed(coroutine, "ezeep-store"))


@clears_locals
async def in_thread(function: Callable[[], T]) -> T:
    """Run `function` in a thread, and wait until it ends, as in `completed`.

    An abandoned thread could still acquire a lock or write a token set. The executor of the loop is not used, because all
    of its workers may be waiting for this session. The interpreter does not exit before the thread ends.
    """
    try:
        future = _started(function, daemon=False)
    except RuntimeError:  # the interpreter shuts down and starts no threads
        return function()
    return await completed(future)


@clears_locals
async def in_thread_for(seconds: float, function: Callable[[], T]) -> T:
    """Run `function`, which changes nothing, in a thread that is abandoned on a timeout or a cancellation.

    Raises `TimeoutError`. The interpreter can exit while the thread runs.
    """
    future = _started(function, daemon=True)
    future.add_done_callback(lambda future: future.cancelled() or future.exception())
    if not await RunningLimit(seconds).wait(future):
        raise TimeoutError
    return future.result()


def _started(function: Callable[[], T], *, daemon: bool) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            finish = partial(future.set_result, function())
        except BaseException as error:  # noqa: BLE001  # raised in the waiter
            finish = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish)

    start_thread(run, "ezeep-store", daemon=daemon)
    return future
