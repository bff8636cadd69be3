"""Tasks that survive cancellation of their waiters, and the store's lock held by them."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from ezeep_async._runtime import forks
from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._runtime.signals import exchange_under_way
from ezeep_async.auth.logs import Log
from ezeep_async.auth.tokens import TokenStore, as_store_errors
from ezeep_async.errors import EzeepError, TransientAuthError


T = TypeVar("T")


class ShieldedTask(ContainedTask[T]):
    """A task that other tasks do not cancel, nor `asyncio.run()` at its end, which then waits for it.

    Besides `abort`, two things can cancel it:

    - A callback of the event loop, where there is no current task, unless `has_timers` is False. So `asyncio.timeout`
      and task groups inside it work. A signal handler looks the same: code that must not be interrupted uses
      `retry_if_cancelled`.
    - Any code, while `is_cancellable` is True (see `cancellable`).
    """

    has_timers = True
    """False for code without time limits of its own: callbacks of the event loop do not cancel it either."""
    is_cancellable = False
    """True while nothing would be lost."""

    def cancel(self, msg: object = None) -> bool:
        """Cancel it, if its own time limit or `is_cancellable` allows it. Return whether it was."""
        loop = self.get_loop()
        # Before its first step it has no time limits, so a callback that cancels it is not one of them.
        coroutine = cast("Coroutine[Any, Any, T]", self.get_coro())
        has_timers = self.has_timers and inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED
        by_timer = has_timers and loop.is_running() and asyncio.current_task(loop) in {None, self}
        return super().cancel(msg) if by_timer or self.is_cancellable else False

    def abort(self) -> bool:
        """Cancel it unconditionally: what it has in flight is lost."""
        return super().cancel()


def start_self_timed(coroutine: Coroutine[Any, Any, T], name: str | None = None) -> ShieldedTask[T]:
    """Start a task that only its own time limits end."""
    task = ShieldedTask(coroutine, name=name)
    forks.watch_task(task)
    return task


def start_uncancellable(coroutine: Coroutine[Any, Any, T], name: str | None = None) -> ShieldedTask[T]:
    """Start a task that only `abort()` ends."""
    task = start_self_timed(coroutine, name)
    task.has_timers = False
    return task


@contextlib.contextmanager
def cancellable() -> Generator[None]:
    """Let `cancel()` work for the running task inside the block."""
    task = asyncio.current_task()
    if not isinstance(task, ShieldedTask):
        yield
        return
    task.is_cancellable = True
    try:
        yield
    finally:
        task.is_cancellable = False


async def wait_through(
    future: asyncio.Future[Any], limit: RunningLimit, at_most: float = float("inf")
) -> bool:
    """`RunningLimit.wait` that cancellations do not end in a shielded task."""
    rest = max(0.0, limit.left - at_most)
    while not future.done() and limit.left > rest:
        await retry_if_cancelled(lambda: limit.wait(future, limit.left - rest))
    return future.done()


async def sleep_through(limit: RunningLimit, seconds: float) -> None:
    """`RunningLimit.sleep` that cancellations do not end in a shielded task."""
    await wait_through(asyncio.get_running_loop().create_future(), limit, seconds)


async def retry_if_cancelled(act: Callable[[], Awaitable[T]]) -> T:
    """Do it, in a shielded task again after each cancellation (by a signal handler that cancels all tasks).

    A `CancelledError` without a cancellation is raised: a retry would meet it again.
    """
    while True:
        try:
            return await act()
        except asyncio.CancelledError:
            if not _undo_cancellation():
                raise


def _undo_cancellation() -> bool:
    """Undo the cancellations of the running task, if it is a shielded one. Return whether there were any."""
    task = asyncio.current_task()
    if not isinstance(task, ShieldedTask) or not task.cancelling():
        return False
    while task.cancelling():
        task.uncancel()
    return True


async def wait_shielded(task: asyncio.Task[T]) -> T:
    """Wait for a shielded task. Cancelling one of its waiters affects neither the task nor the other waiters."""
    try:
        return await asyncio.shield(task)
    except EzeepError as error:
        try:
            twin = copy.copy(error)  # one exception would mix up the tracebacks of several waiters
        except Exception:  # noqa: BLE001  # an error class of a third-party store that cannot be copied
            twin = error
        raise twin from error.__cause__
    except asyncio.CancelledError:
        waiter = asyncio.current_task()
        if not task.cancelled() or (waiter is not None and waiter.cancelling()):
            raise
    # The waiter was not cancelled: a CancelledError would end it without an explanation.
    raise TransientAuthError("the token was not refreshed: the session closes, and the token store is busy")


class KeptLock:
    """The lock of a store without marks, held on while a token set could not be stored.

    The stored refresh token is used up then, and no other process may send it. The next use in this session takes it over.
    """

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self.is_taken = False
        self._is_wanted = is_wanted
        self._manager: AbstractAsyncContextManager[object] | None = None
        self._pid = 0

    async def take(self) -> AbstractAsyncContextManager[object] | None:
        """Return the kept lock, None without one. Waits until no other task of the session uses it."""
        while self.is_taken:
            with cancellable():
                await asyncio.sleep(0.02)
        # A forked child must not release the lock of its parent.
        if self._manager is None or self._pid != os.getpid():
            return None
        manager, self._manager, self.is_taken = self._manager, None, True
        return manager

    def keep(self, manager: AbstractAsyncContextManager[object]) -> bool:
        """Keep the lock instead of its release, if that is wanted. Return whether it was."""
        if not self._is_wanted():
            return False
        self._manager, self._pid = manager, os.getpid()
        return True

    async def release(self, log: Log) -> None:
        """Release it, if there is one."""
        if (manager := await self.take()) is not None:
            await _unlock(manager, log, None)
            self.is_taken = False


@asynccontextmanager
async def locked(store: TokenStore, log: Log, kept: KeptLock | None = None) -> AsyncGenerator[None, None]:
    """Hold the store's lock. An error of its release is logged and not raised: the token set is stored by then."""
    manager = None if kept is None else await kept.take()
    if manager is None:
        with as_store_errors():
            manager = store.lock()
            with cancellable():
                await manager.__aenter__()
    holder = os.getpid()
    error: BaseException | None = None
    with exchange_under_way():
        try:
            yield
        except BaseException as problem:
            error = problem
            raise
        finally:
            if os.getpid() == holder:  # in a forked child, the parent holds the lock
                if kept is None or not kept.keep(manager):
                    await _unlock(manager, log, error)
                if kept is not None:
                    kept.is_taken = False
            error = None


async def _unlock(
    manager: AbstractAsyncContextManager[object], log: Log, error: BaseException | None
) -> None:
    try:
        await manager.__aexit__(
            None if error is None else type(error), error, None if error is None else error.__traceback__
        )
    except BaseException as problem:
        if problem is error:
            return
        if isinstance(problem, asyncio.CancelledError):
            if not _undo_cancellation():
                raise
            return
        log.critical("the lock of the token store could not be released", exc_info=True)
        if not isinstance(problem, Exception):
            raise
