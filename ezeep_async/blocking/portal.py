"""The one background thread with the one event loop that blocking calls run on. Nothing else starts a thread or a loop.

The thread starts with the first call and is shared by the whole process. A forked child starts its own. At the exit
of the interpreter what is still open is closed, within a bound.
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
from itertools import count
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

CLEANUP_WAIT = 40.0
"""Seconds that Ctrl-C waits for a call to clean up: a renewal of the login under way may take 30."""
EXIT_WAIT = 1.0
"""Seconds that the exit of the interpreter waits for what is still open, and then `STOP_WAIT` for the loop to end."""
STOP_WAIT = 0.4
PARK_WAIT = 5.0
"""Seconds that a daemon thread is held when its call meets the exit of the interpreter."""
WAIT_SLICE = 0.1
"""Seconds. Windows cannot interrupt a wait, so it is made of short ones there."""


@attrs.define(eq=False)
class Call(Generic[T]):
    """One coroutine on the portal's loop, and the thread that waits for it.

    Lighter than `BlockingPortal.call`, which crosses between the threads twice for each call. And nothing that the
    coroutine raises leaves its task: a SystemExit or KeyboardInterrupt in there would end the loop for everybody.
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
        self.done.acquire()
        # Registered first: whatever happens to the loop from here on, the end of its thread finishes this call.
        self.portal.calls.add(self)
        try:
            # The context is for the task alone: one that starts eagerly enters it, and it can be entered only once.
            loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            self.finish(SessionClosed("the background event loop has ended"))

    def wait(self) -> None:
        while not self.done.acquire(timeout=WAIT_SLICE if sys.platform == "win32" else -1):
            pass

    def stop(self, loop: asyncio.AbstractEventLoop, seconds: float) -> BaseException | None:
        """Cancels it and waits until it has cleaned up, or that time is over. What came out of that, if an error."""
        if self in self.portal.calls:
            with contextlib.suppress(RuntimeError):  # a closed loop: the end of its thread finishes the call
                loop.call_soon_threadsafe(self.cancel)
            wait_in_thread(lambda part: self.done.acquire(timeout=part), seconds)
        return self.error

    def outcome(self) -> T:
        error, self.error = self.error, None
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error  # it holds this frame through its traceback: without this, a cycle

    # In the loop's thread

    def _start(self) -> None:
        if self not in self.portal.calls:
            return
        loop = asyncio.get_running_loop()
        driving = self._drive()
        try:
            self.task = loop.create_task(driving, name=self.name, context=self.context)
        except BaseException as error:  # noqa: BLE001  # a task factory is the program's own code
            driving.close()
            self.finish(error)
            return
        # A task that is cancelled before its first step never enters its body: only the callback is sure to run.
        self.task.add_done_callback(self._settle)

    async def _drive(self) -> None:
        try:
            self.result = await self.func(*self.args, **self.kwargs)
        except BaseException as error:  # noqa: BLE001  # raised again, in the thread that waits
            self.error = error

    def _settle(self, task: asyncio.Task[None]) -> None:
        self.finish(asyncio.CancelledError() if task.cancelled() else self.error)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
        else:
            self.finish(asyncio.CancelledError())

    def finish(self, error: BaseException | None) -> None:
        try:
            self.portal.calls.remove(self)
        except KeyError:  # finished already: whoever removes it, releases it, once
            return
        self.error = error
        self.task = None
        self.done.release()


class Portal:
    """A thread with an event loop, of this process. `token` tells it from every other one, across forks too."""

    _serial = count(1)

    def __init__(self) -> None:
        self.token: tuple[int, int] = (os.getpid(), next(self._serial))
        self.closing = False
        self.inherited = False  # by a fork: its thread stayed behind
        self.calls: set[Call[Any]] = set()
        self._hooks: dict[int, tuple[weakref.ref[object], Callable[..., Awaitable[object]], float]] = {}
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._failure: BaseException | None = None
        self._patience: float | None = None
        # Not `start_blocking_portal`: a Ctrl-C while that one starts makes it join a thread that never ends, and it
        # keeps the thread to itself, whose life has to be known here.
        self._thread = threading.Thread(target=self._main, name="ezeep-portal", daemon=True)
        forks.watch(self)

    def disown(self) -> None:
        self.inherited = True
        if self.runs_here and self._loop is not None:
            # Forked by code of a caller on this loop: its child would go on as a second parent, and never end.
            self._ended = True
            self._loop.stop()

    def start(self) -> None:
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether its thread lives, in this very process."""
        return not self.inherited and self._thread.is_alive()

    @property
    def runs_here(self) -> bool:
        return threading.current_thread() is self._thread

    def run_as(self, meant: str, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs the coroutine function here and waits for it. See `run`.

        `meant` is how an async program would have written it, for the message when this thread may not block.
        """
        _refuse_where_it_would_hang(meant, self)
        loop = self._running_loop()
        call = Call(self, meant, func, args, kwargs)
        try:
            call.submit(loop)
            call.wait()
        except BaseException as interruption:
            # Ctrl-C, or whatever a signal handler raises. A second one gives up waiting for the cleanup.
            stopped_with = call.stop(loop, CLEANUP_WAIT)
            if interruption.__context__ is None:
                interruption.__context__ = stopped_with  # as `asyncio.run` shows it: where the coroutine was
            del stopped_with
            raise
        if self.closing and isinstance(call.error, asyncio.CancelledError | SessionClosed):
            raise _end_of_interpreter()
        return call.outcome()

    def post(self, func: Callable[[], Awaitable[object]], *, wait: float = 0.0) -> None:
        """Starts the coroutine function here and lets it go, with its errors, after at most `wait` seconds.

        Takes no lock but a call's own: it is made for finalisers, which run anywhere, in the loop's thread too.
        """
        loop = self._loop
        if loop is None or self.closing or not self.usable:
            return
        call = Call(self, "left behind", func)
        call.submit(loop)
        if wait > 0 and not called_from_event_loop():
            call.done.acquire(timeout=wait)

    def at_exit(
        self, hook: Callable[[], Awaitable[object]], *, wait: float = EXIT_WAIT
    ) -> Callable[[], None]:
        """Runs a bound method here at the interpreter's exit, for `wait` seconds at most. Returns how to take it back.

        Its object is referred to weakly.
        """
        key = next(self._serial)

        def forget(_: object = None) -> None:
            self._hooks.pop(key, None)

        # Not `WeakMethod`: its callback fails when it is called while modules are torn down.
        method = cast("MethodType", hook)
        self._hooks[key] = weakref.ref(method.__self__, forget), method.__func__, wait
        return forget

    def close(self) -> None:
        """Runs the hooks and ends the thread, within the time that they have. Called again, it resumes its wait."""
        if not self.usable:
            return
        self.closing = True
        self._ready.wait(STOP_WAIT)
        if self._loop is not None:
            if self._patience is None:
                patience = max((wait for *_, wait in list(self._hooks.values())), default=0.0)
                Call(self, "exit", self._wind_down, (patience,)).submit(self._loop)
                self._patience = patience
            # Not join(): up to Python 3.12, one that is interrupted takes the thread for ended (python/cpython#90882).
            if wait_in_thread(self._finished.wait, self._patience + STOP_WAIT):
                self._thread.join(STOP_WAIT)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self.closing:
            raise _end_of_interpreter()
        if self.inherited:
            raise SessionClosed("it was opened before a fork, in another process: open it again here")
        if self._loop is None:
            self._ready.wait()
        if self._loop is None or not self.usable:
            raise SessionClosed("the background event loop has ended: open it again") from self._failure
        return self._loop

    # In the thread

    def _main(self) -> None:
        try:
            # An own context: the loop must not inherit the variables of whoever happened to call first.
            Context().run(self._serve)
        except BaseException as error:  # noqa: BLE001  # there is nobody above to raise to
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
                # One loop for all sessions of the process: code of a caller that exits in it, or stops it, must not
                # end it. No Ctrl-C arrives in this thread.
                try:
                    self._loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    with contextlib.suppress(BaseException):  # a log handler may be what tried it
                        logger.exception("code on the background event loop tried to exit: the loop goes on")

    async def _wind_down(self, patience: float) -> None:
        async def quietly(func: Callable[[object], Awaitable[object]], owner: object) -> None:
            try:
                await func(owner)
            except (Exception, SystemExit, KeyboardInterrupt):  # the others are closed all the same
                logger.debug("closing at exit: %r failed", func, exc_info=True)

        hooks = [(func, owner) for ref, func, _ in list(self._hooks.values()) if (owner := ref()) is not None]
        tasks = [asyncio.create_task(quietly(func, owner)) for func, owner in hooks]
        await RunningLimit(patience).wait_all(tasks)
        self._ended = True
        asyncio.get_running_loop().stop()


def _new_loop() -> asyncio.AbstractEventLoop:
    """What the program's policy gives, but not uvloop's where there are forks.

    libuv waits for its threads when a forked child exits, where they are not, and crashes (libuv/libuv#4443).
    """
    loop = asyncio.new_event_loop()
    if isinstance(loop, asyncio.BaseEventLoop) or not hasattr(os, "fork"):
        return loop
    loop.close()
    return asyncio.SelectorEventLoop()


_lock = threading.RLock()  # a finaliser may get here in the thread that holds it
_current: Portal | None = None
_exiting = False


def run(func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs the coroutine function on the background event loop and waits for it.

    The caller's context variables are visible inside. What it raises is raised here, as it is. Ctrl-C cancels it, waits
    for its cleanup (40 seconds at most; a second Ctrl-C gives up) and is raised again. Raises `BlockingCallError` on a
    thread that runs an event loop, and `SessionClosed` when the interpreter is exiting.
    """
    meant = f"await {getattr(func, '__qualname__', repr(func))}(...)"
    return run_as(meant, func, *args, **kwargs)


def run_as(meant: str, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`run`, with the words for what an async program would have written: "await session.groups.get(...)"."""
    _refuse_where_it_would_hang(meant, _current)
    return current().run_as(meant, func, *args, **kwargs)


def current() -> Portal:
    """This process's portal, started if there is none yet. Raises `SessionClosed` when the interpreter is exiting."""
    global _current  # noqa: PLW0603  # one per process is what this module is for
    portal = _current
    if portal is not None and portal.usable:
        return portal
    if _exiting:
        raise _end_of_interpreter()
    with _lock:
        portal = _current
        if portal is None or not portal.usable:
            # Published before it starts: a Ctrl-C in the middle leaves one to go on with, not one that nobody knows.
            portal = _current = Portal()
            try:
                portal.start()
            except RuntimeError as error:
                # From Python 3.12 on there are no new threads once the exit has begun; elsewhere a limit was reached.
                raise SessionClosed(f"no thread can be started for blocking calls: {error}") from error
            forks.at_end_of_child(_at_exit)
        return portal


def exiting() -> bool:
    """Whether the interpreter is exiting, and blocking calls are refused: finalisers then have nothing left to do."""
    return _exiting


def called_from_event_loop() -> bool:
    """Whether this thread runs an event loop, so that to block it would stop everything on that loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def here() -> int:
    """Which thread this is."""
    return threading.get_ident()


def _refuse_where_it_would_hang(meant: str, portal: Portal | None) -> None:
    if not called_from_event_loop():
        return
    if (portal is None or not portal.runs_here) and in_notebook():
        return
    raise BlockingCallError(
        f"this call blocks, and its thread runs an event loop: use `{meant}` of an EzeepSession"
    )


def _end_of_interpreter() -> SessionClosed:
    """A daemon thread is about to be stopped anyway, so it is held: the error would only print its traceback."""
    if _exiting and threading.current_thread().daemon:
        threading.Event().wait(PARK_WAIT)
    return SessionClosed("the interpreter is exiting")


def _after_fork_in_child() -> None:
    global _current, _lock  # noqa: PLW0603  # see current()
    _lock = threading.RLock()  # some other thread may have held it, and that thread is not in this process
    _current = None


def _at_exit() -> None:
    global _exiting  # noqa: PLW0603  # see current()
    _exiting = True
    portal = _current
    if portal is not None:
        try:
            portal.close()
        except BaseException:  # noqa: BLE001  # Ctrl-C, and perhaps the one before it is what the program ends for
            logger.warning("interrupted while a refresh is under way: a second interruption gives it up")


# Registered at import, not with the first call: exit handlers run in reverse, so those of a program that registers them
# after its imports still find the portal working.
atexit.register(_at_exit)
atexit.register(_at_exit)  # resumes the wait where Ctrl-C has ended the first one
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
