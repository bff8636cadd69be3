"""The background thread and its event loop, on which all blocking calls of a process run.

The thread starts with the first call. A forked child starts its own. At the exit of the interpreter the open sessions
are closed, within a time limit.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from types import FrameType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import attrs

from ezeep_async._runtime import forks, own_loops
from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._runtime.greenlets import GeventThread, gevent_loop, monkey_patched_by
from ezeep_async._runtime.running_time import RunningLimit, wait_in_thread
from ezeep_async.errors import BlockingCallError, SessionClosed


P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

CLEANUP_TIMEOUT_S = 40.0
"""Wait for the cleanup of a call after Ctrl-C, and of sessions at exit. A token refresh may take 30 seconds."""
STOP_TIMEOUT_S = 0.4
"""Additional wait for the event loop to end."""
PARK_S = 5.0
"""Time that a daemon thread is held when it makes a call during the exit of the interpreter."""
WAIT_SLICE_S = 0.1 if sys.platform == "win32" else -1
"""Longest single wait. On Windows, Ctrl-C does not interrupt a wait."""
GEVENT_WAIT_SLICE_S = 5.0
"""The same under gevent, which does not know of threads outside of it: a wait without a timer may raise `LoopExit`."""


@attrs.define(eq=False)
class Call(Generic[T]):
    """One coroutine on the portal's event loop, and the thread that waits for it.

    As fast as `asyncio.run_coroutine_threadsafe`, whose future cannot wait for the cleanup of a cancelled coroutine.
    No exception leaves the task: a SystemExit or KeyboardInterrupt would end the event loop for all callers.
    """

    portal: Portal
    name: str
    func: Callable[[], Awaitable[T]]
    done: threading.Lock = attrs.field(factory=threading.Lock)
    task: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    result: T = attrs.field(init=False)
    error: BaseException | None = attrs.field(default=None, init=False)

    # In the calling thread

    def submit(self) -> None:
        """Start the coroutine on the event loop, in the context of this thread."""
        self.done.acquire()
        # Registered first, so that the end of the loop's thread finishes this call in every case.
        self.portal.calls.add(self)
        try:
            self.portal.loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            self.finish(SessionClosed("the background event loop has ended"))

    def stop(self, seconds: float) -> BaseException | None:
        """Cancel the call, wait for its cleanup, and return the error that it ended with."""
        if self in self.portal.calls:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its thread finishes the call
                self.portal.loop.call_soon_threadsafe(self.cancel)
            wait_in_thread(lambda part: self.done.acquire(timeout=part), seconds)
        return self.error

    def outcome(self) -> T:
        """Return the result of the finished coroutine, or raise its error."""
        error, self.error = self.error, None
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame: avoids a cycle

    # In the loop's thread

    def _start(self) -> None:
        if self in self.portal.calls:
            # Not by the loop's task factory, which belongs to the program and may raise or start the task at once.
            self.task = asyncio.Task(self._drive(), loop=self.portal.loop, name=self.name)
            # A task that is cancelled before its first step never enters its body; the callback always runs.
            self.task.add_done_callback(
                lambda task: self.finish(asyncio.CancelledError() if task.cancelled() else self.error)
            )

    async def _drive(self) -> None:
        try:
            self.result = await self.func()
        except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
            self.error = error

    def cancel(self) -> None:
        """Cancel the coroutine, also before its start."""
        if self.task is not None:
            self.task.cancel()
        else:
            self.finish(asyncio.CancelledError())

    def finish(self, error: BaseException | None) -> None:
        """Release the waiting thread with this error, or with the result."""
        try:
            self.portal.calls.remove(self)
        except KeyError:  # already finished: `done` is released once
            return
        self.error = error
        self.task = None
        self.done.release()


class Closable(Protocol):
    """A session or a pool."""

    async def aclose(self) -> None:
        """Close it."""
        ...


class Portal:
    """A thread with an event loop."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.closing = False
        self.inherited = False  # from the parent process, where its thread is
        self.calls: set[Call[Any]] = set()
        self.sessions: weakref.WeakValueDictionary[int, Closable] = weakref.WeakValueDictionary()
        """Closed at the exit of the interpreter, by id."""
        self._ended = False
        self._finished = threading.Event()
        self._exit_timeout: float | None = None
        # Not anyio's `start_blocking_portal`: after Ctrl-C during its start it joins a thread that never ends, and it
        # does not expose the thread, which `usable` needs. In a context of its own, not that of the first caller.
        main = partial(Context().run, self._main)
        self._thread: GeventThread | threading.Thread
        if monkey_patched_by() == "gevent":
            self._thread, self.wait_slice = GeventThread(main), GEVENT_WAIT_SLICE_S
        else:
            self._thread = threading.Thread(target=main, name="ezeep-portal", daemon=True)
            self.wait_slice = WAIT_SLICE_S

    def disown(self) -> None:
        """In a forked child: leave the portal to the parent process."""
        self.inherited = True
        if self.runs_here:
            # Forked by a callback on this loop: the child would run the parent's loop and never end.
            self._ended = True
            self.loop.stop()

    def start(self) -> None:
        """Start the thread. Raises `SessionClosed` if the system or the interpreter refuses one."""
        self.loop = _new_loop()
        forks.watch(self, self.loop)
        own_loops.LOOPS.add(self.loop)
        try:
            self._thread.start()
        except RuntimeError as error:
            # From Python 3.12 on no thread starts once the exit has begun; otherwise a system limit was reached.
            self.loop.close()
            raise SessionClosed(f"no thread can be started for blocking calls: {error}") from error

    @property
    def usable(self) -> bool:
        """Whether its thread is alive, in this process."""
        return not self.inherited and self._thread.is_alive()

    @property
    def runs_here(self) -> bool:
        """Whether this thread is the portal's thread."""
        return threading.get_ident() == self._thread.ident

    def run(
        self, expression: str, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a coroutine function on this event loop and wait for it; see the function `run`."""
        if called_from_event_loop() and (self.runs_here or not _in_notebook_cell()):
            raise BlockingCallError(
                f"a blocking call on a thread that runs an event loop would stop the loop: use `{expression}` with an "
                "EzeepSession, or make the call in another thread with asyncio.to_thread"
            )
        return self.complete(expression, partial(func, *args, **kwargs), CLEANUP_TIMEOUT_S)

    def complete(self, name: str, func: Callable[[], Awaitable[T]], cleanup: float) -> T:
        """Call a coroutine function on this event loop and wait for it, even on a thread that runs an event loop.

        After Ctrl-C, or any exception of a signal handler, waits `cleanup` seconds for the coroutine to end.
        """
        self.check_running()
        # Looked up in `threading` at each call, because gevent may replace the class after the import of this module.
        call = Call(self, name, func, threading.Lock())
        try:
            call.submit()
            while not call.done.acquire(timeout=self.wait_slice):
                pass
        except BaseException as interruption:
            stopped_with = call.stop(cleanup)  # a second Ctrl-C ends this wait
            if interruption.__context__ is None:
                interruption.__context__ = stopped_with  # as in `asyncio.run`: shows where the coroutine was
            del stopped_with
            raise
        if self.closing and isinstance(call.error, asyncio.CancelledError | SessionClosed):
            raise _end_of_interpreter()
        return call.outcome()

    def post(self, func: Callable[[], Awaitable[object]], *, wait: float = 0.0) -> None:
        """Start a coroutine function without its result or errors, and wait for it for at most `wait` seconds.

        For finalizers, which run in any thread, also in the loop's: takes no lock other than the call's own.
        """
        if self.closing or not self.usable:
            return
        call = Call(self, "finalizer", func)
        call.submit()
        if wait > 0 and not called_from_event_loop():
            call.done.acquire(timeout=wait)

    def close(self) -> None:
        """Close the sessions and end the thread, within the time limits. A second call resumes the wait."""
        if not self.usable:
            return
        self.closing = True
        if self._exit_timeout is None:
            timeout = CLEANUP_TIMEOUT_S if self.sessions else 0.0
            Call(self, "exit", partial(self._wind_down, timeout)).submit()
            self._exit_timeout = timeout
        # Not join(): up to Python 3.12, an interrupted join marks the thread as ended (python/cpython#90882).
        if wait_in_thread(self._finished.wait, self._exit_timeout + STOP_TIMEOUT_S):
            self._thread.join(STOP_TIMEOUT_S)

    def check_running(self) -> None:
        """Raise `SessionClosed` if the event loop does not run in this process."""
        if self.closing:
            raise _end_of_interpreter()
        if self.inherited:
            raise SessionClosed(
                "this object belongs to the parent process of a fork: create it again in this process"
            )
        if not self.usable:
            raise SessionClosed("the background event loop has ended: call again to start another")

    # In the thread

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.get_loop()
                while not self._ended:
                    self._run_forever()
        except BaseException:
            if not self.closing and not self.inherited:
                logger.exception("the background event loop ended unexpectedly")
        finally:
            for call in list(self.calls):
                call.finish(SessionClosed("the background event loop has ended"))
            self._finished.set()

    def _run_forever(self) -> None:
        # All sessions of the process share the loop: a caller's code that exits or stops it must not end it.
        # Ctrl-C is raised in the main thread only.
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            with contextlib.suppress(BaseException):  # a log handler may be the code that exits
                logger.exception(
                    "code on the background event loop tried to exit the program; the loop continues"
                )

    async def _wind_down(self, seconds: float) -> None:
        sessions = [session for each in self.sessions.valuerefs() if (session := each()) is not None]
        closing = asyncio.gather(*[ContainedTask(each.aclose()) for each in sessions], return_exceptions=True)
        await RunningLimit(seconds).wait(closing)
        self._ended = True
        self.loop.stop()


def _new_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop with the program's policy, but not uvloop's on systems with fork.

    libuv joins its threads at the exit of a forked child, where they do not exist, and crashes (libuv/libuv#4443).
    """
    if monkey_patched_by() == "gevent":
        return gevent_loop()
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop) or not hasattr(os, "fork"):
        return loop
    loop.close()
    return asyncio.SelectorEventLoop()


_lock = threading.RLock()  # a finalizer may run in the thread that holds it
_current: Portal | None = None
_exiting = False


def run(expression: str, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a coroutine function on the background event loop and wait for it.

    The coroutine sees the caller's context variables, and its exception is raised unchanged. Ctrl-C cancels it, waits
    up to 40 seconds for its cleanup (a second Ctrl-C ends the wait), and is raised again.

    `expression` is the async form of the call for `BlockingCallError`, such as "await session.groups.get(...)".
    """
    return current().run(expression, func, *args, **kwargs)


def current() -> Portal:
    """Return the portal of this process, started if needed. Raises `SessionClosed` if the interpreter is exiting."""
    global _current  # noqa: PLW0603  # one portal per process
    portal = _current
    if portal is not None and portal.usable:
        return portal
    if _exiting:
        raise _end_of_interpreter()
    with _lock:
        portal = _current
        if portal is None or not portal.usable:
            if monkey_patched_by() == "eventlet":
                raise BlockingCallError(
                    "blocking calls do not work in a process whose threads eventlet has replaced: use threads (gunicorn "
                    "-k gthread, celery -P threads) or gevent, whose locks work between threads"
                )
            # Assigned before it starts: a portal whose start was interrupted by Ctrl-C remains reachable.
            portal = _current = Portal()
            portal.start()
            forks.at_end_of_child(_at_exit)
        return portal


def called_from_event_loop() -> bool:
    """Return whether this thread runs an event loop, which a blocking call would stop."""
    return asyncio._get_running_loop() is not None  # get_running_loop() raises, which takes ten times as long


def _in_notebook_cell() -> bool:
    """Return whether this thread's event loop is that of a notebook, which waits for each cell to end.

    IPython's kernel says so. Others, such as marimo, run a cell as module code inside a task: between a coroutine of an
    application and the call there are only functions, and modules that are being imported.
    """
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    if getattr(get_ipython(), "kernel", None) is not None:
        return True
    task = asyncio.current_task()
    outermost = getattr(None if task is None else task.get_coro(), "cr_frame", None)
    is_cell = False
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]  # inspect.currentframe is the same
    while frame is not None and outermost is not None:
        importer = "" if frame.f_back is None else str(frame.f_back.f_globals.get("__name__"))
        is_cell = is_cell or (frame.f_code.co_name == "<module>" and not importer.startswith("importlib."))
        if frame is outermost:
            return is_cell
        frame = frame.f_back
    return False


def _end_of_interpreter() -> SessionClosed:
    """Return the error, after a wait in a daemon thread: that thread ends with the process, without a traceback."""
    if _exiting and threading.current_thread().daemon:
        threading.Event().wait(PARK_S)
    return SessionClosed("the interpreter is exiting: make blocking calls before its end")


def _after_fork_in_child() -> None:
    global _current, _lock  # noqa: PLW0603  # one portal per process
    _lock = threading.RLock()  # another thread of the parent process may hold the old one
    _current = None


def _at_exit() -> None:
    global _exiting  # noqa: PLW0603  # one portal per process
    _exiting = True
    if _current is not None:
        try:
            _current.close()
        except BaseException:  # noqa: BLE001  # Ctrl-C: the interpreter is exiting already
            logger.warning(
                "interrupted while sessions close, perhaps during a token refresh: a second interruption stops the wait"
            )


# Registered at import: exit handlers run in reverse order, so those that a program registers later can still make calls.
atexit.register(_at_exit)
atexit.register(_at_exit)  # resumes the wait if Ctrl-C has ended the first one
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
