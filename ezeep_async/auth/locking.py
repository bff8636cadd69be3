"""Holding the lock of a token store, whose release may fail."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType

from ezeep_async._runtime.signals import exchange_under_way
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.tasks import endable, take_back
from ezeep_async.auth.tokens import TokenStore, as_store_errors


@asynccontextmanager
async def locked(store: TokenStore, log: Log = logger) -> AsyncGenerator[None, None]:
    """Hold the store's lock. An error of its release is logged and not raised: the token set is stored by then."""
    with as_store_errors():
        manager = store.lock()
        with endable():
            await manager.__aenter__()
    holder = os.getpid()
    with exchange_under_way():
        try:
            yield
        except BaseException:
            if os.getpid() == holder:  # in a forked child, the parent holds the lock
                await _unlock(manager, log, *sys.exc_info())
            raise
        if os.getpid() == holder:
            await _unlock(manager, log, None, None, None)


async def _unlock(
    manager: AbstractAsyncContextManager[object],
    log: Log,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    try:
        await manager.__aexit__(kind, error, trace)
    except asyncio.CancelledError as problem:
        if problem is not error and not take_back():
            raise
    except BaseException as problem:
        if problem is not error:
            log.critical("the lock of the token store could not be released", exc_info=True)
        if not isinstance(problem, Exception) and problem is not error:
            raise
