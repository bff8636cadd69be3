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
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, copy_context
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar, cast

import attrs

from ezeep_async._runtime import forks
from ezeep_async._runtime.running_time import RunningLimit, wait_in_thread
from ezeep_async.blocking.notebooks import in_notebook
from ezeep_async.errors import BlockingCallError, SessionClosed


P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

CLEANUP_TIMEOUT_S = 40.0
"""Wait for the cleanup of a call after Ctrl-C. A token refresh in progress may take 30 seconds."""
EXIT_TIMEOUT_S = 1.0
"""Wait for an exit hook at the exit of the interpreter, unless the hook has its own time limit."""
STOP_TIMEOUT_S = 0.4
"""Additional wait for the event loop to end."""
PARK_S = 5.0
"""Time that a daemon thread is held when it makes a call during the exit of the interpreter."""
WAIT_SLICE_S = 0.1
"""Longest single wait on Windows, where Ctrl-C does not interrupt a wait."""


@attrs.define(eq=False)
class Call(Generic[T]):
    """One coroutine on the portal's event loop, and the thread that waits for it.

    Lighter than anyio's `BlockingPortal.call`, which crosses between the threads twice. No exception of the coroutine
    leaves its task: a SystemExit or KeyboardInterrupt would end the event loop for all callers.
    """

    portal: Portal
    name: str
    func: Callable[..., Awaitable[T]]
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = attrs.field(factory=dict[str, object])
    context: Context = attrs.field(factory=copy_context, init=False)
    task: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    result: T = attrs.field(init=False)
    error: BaseException | None = attrs.field(default=None, init=False)
    done: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    # In the calling thread

    def submit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the coroutine on the event loop."""
        self.done.acquire()
        # Registered first, so that the end of the loop's thread finishes this call in every case.
        self.portal.calls.add(self)
        try:
            # Without the context: an eager task enters it, and a context can be entered only once.
            loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            self.finish(SessionClosed("the background event loop has ended"))

    def wait(self) -> None:
        """Wait for the end of the coroutine."""
        while not self.done.acquire(timeout=WAIT_SLICE_S if sys.platform == "win32" else -1):
            pass

    def stop(self, loop: asyncio.AbstractEventLoop, seconds: float) -> BaseException | None:
        """Cancel the call, wait for its cleanup, and return the error that it ended with."""
        if self in self.portal.calls:
            with contextlib.suppress(
                RuntimeError
            ):  # the loop is closed: the end of its thread finishes the call
                loop.call_soon_threadsafe(self.cancel)
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
        if self not in self.portal.calls:
            return
        loop = asyncio.get_running_loop()
        driving = self._drive()
        try:
            self.task = loop.create_task(driving, name=self.name, context=self.context)
        except BaseException as error:  # noqa: BLE001  # the program's task factory may raise anything
            driving.close()
            self.finish(error)
            return
        # A task that is cancelled before its first step never enters its body; the callback always runs.
        self.task.add_done_callback(self._settle)

    async def _drive(self) -> None:
        try:
            self.result = await self.func(*self.args, **self.kwargs)
        except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
            self.error = error

    def _settle(self, task: asyncio.Task[None]) -> None:
        self.finish(asyncio.CancelledError() if task.cancelled() else self.error)

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


class Portal:
    """A thread with an event loop."""

    def __init__(self) -> None:
        self.closing = False
        self.inherited = False  # from the parent process, where its thread is
        self.calls: set[Call[Any]] = set()
        self._hooks: dict[object, tuple[weakref.ref[object], Callable[..., Awaitable[object]], float]] = {}
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._failure: BaseException | None = None
        self._exit_timeout: float | None = None
        # Not anyio's `start_blocking_portal`: after Ctrl-C during its start it joins a thread that never ends, and it
        # does not expose the thread, which `usable` needs.
        self._thread = threading.Thread(target=self._main, name="ezeep-portal", daemon=True)
        forks.watch(self)

    def disown(self) -> None:
        """In a forked child: leave the portal to the parent process."""
        self.inherited = True
        if self.runs_here and self._loop is not None:
            # Forked by a callback on this loop: the child would run the parent's loop and never end.
            self._ended = True
            self._loop.stop()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether its thread is alive, in this process."""
        return not self.inherited and self._thread.is_alive()

    @property
    def runs_here(self) -> bool:
        """Whether this thread is the portal's thread."""
        return threading.current_thread() is self._thread

    def run_as(
        self, expression: str, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a coroutine function on this event loop and wait for it; see `run`.

        `expression` is the async form of the call, for the message of `BlockingCallError`.
        """
        _refuse_on_event_loop(expression, self)
        loop = self._running_loop()
        call = Call(self, expression, func, args, kwargs)
        try:
            call.submit(loop)
            call.wait()
        except BaseException as interruption:
            # Ctrl-C, or any exception of a signal handler. A second one ends the wait for the cleanup.
            stopped_with = call.stop(loop, CLEANUP_TIMEOUT_S)
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
        loop = self._loop
        if loop is None or self.closing or not self.usable:
            return
        call = Call(self, "finalizer", func)
        call.submit(loop)
        if wait > 0 and not called_from_event_loop():
            call.done.acquire(timeout=wait)

    def at_exit(
        self, hook: Callable[[], Awaitable[object]], *, wait: float = EXIT_TIMEOUT_S
    ) -> Callable[[], None]:
        """Call a bound async method at the exit of the interpreter, for at most `wait` seconds.

        Holds a weak reference to its object. Returns a function that removes the hook.
        """
        key = object()

        def forget(_: object = None) -> None:
            self._hooks.pop(key, None)

        # Not `WeakMethod`: its callback fails while modules are torn down.
        method = cast("MethodType", hook)
        self._hooks[key] = weakref.ref(method.__self__, forget), method.__func__, wait
        return forget

    def close(self) -> None:
        """Run the exit hooks and end the thread, within their time limits. A second call resumes the wait."""
        if not self.usable:
            return
        self.closing = True
        self._ready.wait(STOP_TIMEOUT_S)
        if self._loop is not None:
            if self._exit_timeout is None:
                timeout = max((wait for *_, wait in list(self._hooks.values())), default=0.0)
                Call(self, "exit", self._wind_down, (timeout,)).submit(self._loop)
                self._exit_timeout = timeout
            # Not join(): up to Python 3.12, an interrupted join marks the thread as ended (python/cpython#90882).
            if wait_in_thread(self._finished.wait, self._exit_timeout + STOP_TIMEOUT_S):
                self._thread.join(STOP_TIMEOUT_S)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self.closing:
            raise _end_of_interpreter()
        if self.inherited:
            raise SessionClosed(
                "the session was opened before a fork, in the parent process: open one in this process"
            )
        if self._loop is None:
            self._ready.wait()
        if self._loop is None or not self.usable:
            raise SessionClosed(
                "the background event loop has ended: call again to start another"
            ) from self._failure
        return self._loop

    # In the thread

    def _main(self) -> None:
        try:
            # A context of its own: the loop must not inherit the context variables of the first caller.
            Context().run(self._serve)
        except BaseException as error:  # noqa: BLE001  # top of the thread; logged below
            self._failure = error
        finally:
            self._ready.set()
            if not self.closing and not self.inherited:
                logger.error("the background event loop ended unexpectedly", exc_info=self._failure)
            for call in list(self.calls):
                call.finish(SessionClosed("the background event loop has ended"))
            self._finished.set()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            self._loop = runner.get_loop()
            forks.watch(self, self._loop)
            self._ready.set()
            while not self._ended:
                # All sessions of the process share the loop: a caller's code that exits or stops it must not end it.
                # Ctrl-C is raised in the main thread only.
                try:
                    self._loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    with contextlib.suppress(BaseException):  # a log handler may be the code that exits
                        logger.exception(
                            "code on the background event loop tried to exit the program; the loop continues"
                        )

    async def _wind_down(self, seconds: float) -> None:
        async def quietly(func: Callable[[object], Awaitable[object]], owner: object) -> None:
            try:
                await func(owner)
            except (Exception, SystemExit, KeyboardInterrupt):  # the other hooks still run
                logger.debug("closing at exit: %r failed", func, exc_info=True)

        hooks = [(func, owner) for ref, func, _ in list(self._hooks.values()) if (owner := ref()) is not None]
        tasks = [asyncio.create_task(quietly(func, owner)) for func, owner in hooks]
        await RunningLimit(seconds).wait_all(tasks)
        self._ended = True
        asyncio.get_running_loop().stop()


def _new_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop with the program's policy, but not uvloop's on systems with fork.

    libuv joins its threads at the exit of a forked child, where they do not exist, and crashes (libuv/libuv#4443).
    """
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop) or not hasattr(os, "fork"):
        return loop
    loop.close()
    return asyncio.SelectorEventLoop()


_lock = threading.RLock()  # a finalizer may run in the thread that holds it
_current: Portal | None = None
_exiting = False


def run(func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a coroutine function on the background event loop and wait for it.

    The coroutine sees the caller's context variables, and its exception is raised unchanged. Ctrl-C cancels it, waits
    up to 40 seconds for its cleanup (a second Ctrl-C ends the wait), and is raised again.

    Args:
        func: Coroutine function.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The result of the coroutine.

    Raises:
        BlockingCallError: This thread runs an event loop.
        SessionClosed: The interpreter is exiting.
    """
    expression = f"await {getattr(func, '__qualname__', repr(func))}(...)"
    return run_as(expression, func, *args, **kwargs)


def run_as(expression: str, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`run` with the async form of the call for error messages, such as "await session.groups.get(...)"."""
    _refuse_on_event_loop(expression, _current)
    return current().run_as(expression, func, *args, **kwargs)


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
            # Assigned before it starts: a portal whose start was interrupted by Ctrl-C remains reachable.
            portal = _current = Portal()
            try:
                portal.start()
            except RuntimeError as error:
                # From Python 3.12 on no thread starts once the exit has begun; otherwise a system limit was reached.
                raise SessionClosed(f"no thread can be started for blocking calls: {error}") from error
            forks.at_end_of_child(_at_exit)
        return portal


def exiting() -> bool:
    """Return whether the interpreter is exiting. Blocking calls are refused then."""
    return _exiting


def called_from_event_loop() -> bool:
    """Return whether this thread runs an event loop, which a blocking call would stop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _refuse_on_event_loop(expression: str, portal: Portal | None) -> None:
    if not called_from_event_loop():
        return
    if (portal is None or not portal.runs_here) and in_notebook():
        return
    raise BlockingCallError(
        f"a blocking call on a thread that runs an event loop: use `{expression}` with an EzeepSession"
    )


def _end_of_interpreter() -> SessionClosed:
    """Return the error, after a wait in a daemon thread: that thread ends with the process, without a traceback."""
    if _exiting and threading.current_thread().daemon:
        threading.Event().wait(PARK_S)
    return SessionClosed("the interpreter is exiting: make blocking calls before its end")


def _after_fork_in_child() -> None:
    global _current, _lock  # noqa: PLW0603  # see current()
    _lock = threading.RLock()  # another thread of the parent process may hold the old one
    _current = None


def _at_exit() -> None:
    global _exiting  # noqa: PLW0603  # see current()
    _exiting = True
    portal = _current
    if portal is not None:
        try:
            portal.close()
        except BaseException:  # noqa: BLE001  # Ctrl-C; an earlier one may have ended the program
            logger.warning(
                "interrupted while sessions close, perhaps during a token refresh: a second interruption stops the wait"
            )


# Registered at import: exit handlers run in reverse order, so those that a program registers later can still make calls.
atexit.register(_at_exit)
atexit.register(_at_exit)  # resumes the wait if Ctrl-C has ended the first one
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
