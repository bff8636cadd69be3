"""Tasks that survive cancellation of their waiters."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

from ezeep_async._runtime import forks
from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async.errors import EzeepError, TransientAuthError


T = TypeVar("T")


class Uncancellable(ContainedTask[T]):
    """A task that ignores `cancel()`, from its waiters and from `asyncio.run()` at its end.

    `asyncio.run()` cancels every task that is left and then waits for them, so what declines is waited for. For code
    that brings its own time limits only: limits made with `asyncio.timeout` inside work by cancelling, and would
    not. `abort()` is the way to end it.
    """

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  # the signature of asyncio.Task
        return False

    def abort(self) -> bool:
        """Cancel it after all."""
        return super().cancel()


class SelfTimed(ContainedTask[T]):
    """A task that is cancelled by its own time limits only.

    `asyncio.timeout` and task groups inside it cancel from a callback of the loop, where there is no current task.
    Other tasks, and a loop that winds up, are declined as in `Uncancellable`, but inside `endable()`.
    """

    is_endable = False
    """Whether `cancel()` works now: the task only waits, and nothing would be lost."""

    def cancel(self, msg: object = None) -> bool:
        loop = self.get_loop()
        if self.is_endable:
            return super().cancel(msg)
        if not loop.is_running() or asyncio.current_task(loop) not in {None, self}:
            return False
        return super().cancel(msg)


def start_uncancellable(coroutine: Coroutine[Any, Any, T], name: str | None = None) -> Uncancellable[T]:
    """Start a task that only `abort()` ends."""
    task = Uncancellable(coroutine, name=name)
    forks.watch_task(task)
    return task


def start_self_timed(coroutine: Coroutine[Any, Any, T], name: str) -> SelfTimed[T]:
    """Start a task that only its own time limits end."""
    task = SelfTimed(coroutine, name=name)
    forks.watch_task(task)
    return task


@contextlib.contextmanager
def endable() -> Generator[None]:
    """Let `cancel()` work for the running task, if it is one of this module, inside the block."""
    task = asyncio.current_task()
    if isinstance(task, SelfTimed):
        task.is_endable = True
    try:
        yield
    finally:
        if isinstance(task, SelfTimed):
            task.is_endable = False


async def wait_through(task: asyncio.Future[T], limit: RunningLimit, at_most: float = float("inf")) -> bool:
    """Wait for `task`, whatever happens to the waiting task, for what is left of `limit`, or `at_most` seconds of it.

    Returns whether `task` is done. A waiting task that is none of this module may be cancelled, as any other. `task` is
    left alone: no time limit is set by cancelling it.
    """
    rest = max(0.0, limit.left - at_most)
    while not task.done():
        if limit.left <= rest:
            return False
        try:
            await limit.wait(task, limit.left - rest)
        except asyncio.CancelledError:
            if (
                not take_back()
            ):  # in a task of ours only a loop callback gets here: the result must not be lost for it
                raise
    return True


async def insist(act: Callable[[], Awaitable[T]]) -> T:
    """Do it, and do it again whenever it is cancelled: for a task of this module, and for what may be done twice.

    Such a cancellation comes from a callback of the loop, as from a signal handler that cancels all tasks, any number
    of times. A time limit inside `act` never gets here, it becomes a `TimeoutError`. A `CancelledError` that nobody
    asked for is raised: doing it again would bring it again.
    """
    while True:
        try:
            return await act()
        except asyncio.CancelledError:
            if not take_back():
                raise


def take_back() -> bool:
    """Let the cancellations of the running task be as if they had not been, if it is one of this module.

    Whether there were any.
    """
    task = asyncio.current_task()
    if not isinstance(task, Uncancellable | SelfTimed) or not task.cancelling():
        return False
    while task.cancelling():
        task.uncancel()
    return True


async def result_of(task: asyncio.Task[T]) -> T:
    """Wait for a task of this module. Cancelling the waiter does not affect the task."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiter = asyncio.current_task()
        if not task.cancelled() or (waiter is not None and waiter.cancelling()):
            raise
        # The waiter goes on, and a CancelledError that nobody asked it for would end it without a word.
    raise TransientAuthError(
        "the login was not renewed: the session closes, and the token store was still busy"
    )


async def shared_result_of(task: asyncio.Task[T]) -> T:
    """`result_of`, for one of several waiters: an exception for each, or their tracebacks would be mixed up."""
    try:
        return await result_of(task)
    except EzeepError as error:
        try:
            twin = copy.copy(error)
        except Exception:  # noqa: BLE001  # an error class of somebody's store that cannot be copied
            twin = error
        raise twin from error.__cause__
