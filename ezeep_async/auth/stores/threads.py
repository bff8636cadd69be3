"""Blocking work of the stores, in worker threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar


T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run in a worker thread, to the end: a lock taken or a login written while nobody looks would be lost track of."""
    loop = asyncio.get_running_loop()
    try:
        future = loop.run_in_executor(None, function)
    except RuntimeError:  # the interpreter shuts down and starts no threads: better late than not at all
        return function()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise
