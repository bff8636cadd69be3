"""Blocking work of the stores, in threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.redaction import clears_locals


T = TypeVar("T")
X = TypeVar("X")


@clears_locals
async def in_thread(function: Callable[[], T]) -> T:
    """Run in a thread, to the end: a lock taken or a login written while nobody looks would be lost track of.

    Not in the executor of the loop: all of its workers may be waiting for this very session. The program does not end
    before the thread has.
    """
    try:
        future = _started(function, daemon=False)
    except RuntimeError:  # the interpreter shuts down and starts no threads: better late than not at all
        return function()
    process = os.getpid()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done() and os.getpid() == process:  # the thread stays behind in a fork
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        raise


@clears_locals
async def in_thread_for(seconds: float, function: Callable[[], T]) -> T:
    """Run in a thread that may be left to itself, for what changes nothing. Raises `TimeoutError`.

    Whoever is cancelled goes at once, and so does the program at its end.
    """
    future = _started(function, daemon=True)
    if not await RunningLimit(seconds).wait(future):
        raise TimeoutError
    return future.result()


def _started(function: Callable[[], T], *, daemon: bool) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    # Looked at, whoever has gone in the meantime.
    future.add_done_callback(lambda future: future.cancelled() or future.exception())

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            _tell(future.set_exception, error)
        else:
            _tell(future.set_result, result)

    def _tell(finish: Callable[[X], None], value: X) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, value)

    threading.Thread(target=run, name="ezeep-store", daemon=daemon).start()
    return future
