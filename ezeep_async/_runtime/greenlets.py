"""gevent and eventlet, which replace the threads of the standard library by greenlets of one thread.

An event loop in a greenlet would be the running event loop of all greenlets of its thread. Under gevent the background event
loop therefore runs on a thread of the operating system: gevent's locks work across such threads, and a greenlet that waits
for a call lets other greenlets run. The locks of eventlet do not work across threads.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import selectors
import sys
import threading
from _queue import SimpleQueue  # that of the module `queue` may be replaced
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar


P = ParamSpec("P")
T = TypeVar("T")


def monkey_patched_by() -> str:
    """Return "gevent" or "eventlet" if it has replaced threads or sockets in this process, else an empty string.

    Not known at import: with `--preload` gunicorn imports an application before a worker patches.
    """
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None and (gevent.is_module_patched("threading") or gevent.is_module_patched("select")):
        return "gevent"
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None and (
        eventlet.is_monkey_patched("thread") or eventlet.is_monkey_patched("socket")
    ):
        return "eventlet"
    return ""


def _original(module: str, name: str) -> Any:
    return sys.modules["gevent.monkey"].get_original(module, name)


class _Workers:
    """Threads of the operating system that are used again, without a limit, and never end.

    gevent gives each thread that waits for a lock a hub with descriptors. A hub cannot be destroyed at the end of its thread:
    sockets that were opened there may still refer to it, and corrupt the memory of the process then.
    """

    def __init__(self) -> None:
        self._guard = _original("_thread", "allocate_lock")()
        self._idle = 0
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def start(self, job: Callable[[], object]) -> None:
        with self._guard:
            is_idle, self._idle = self._idle > 0, max(0, self._idle - 1)
        if not is_idle:
            _original("_thread", "start_new_thread")(self._work, ())
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job()
            del job  # what it refers to is not kept until the next one
            with self._guard:
                self._idle += 1


_workers: _Workers | None = None


def _start(job: Callable[[], object]) -> None:
    global _workers  # noqa: PLW0603  # one pool per process
    if _workers is None:
        _workers = _Workers()
    _workers.start(job)


class GeventThread:
    """A daemon thread of the operating system, with the methods of `threading.Thread` that a portal uses."""

    def __init__(self, target: Callable[[], object]) -> None:
        self._target = target
        self._ended = threading.Event()
        self._started = False
        self.ident: int | None = None

    def start(self) -> None:
        """Start the thread. Raises `RuntimeError` if the system refuses one."""
        _start(self._run)
        self._started = True

    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._started and not self._ended.is_set()

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        self._ended.wait(timeout)

    def _run(self) -> None:
        self.ident = threading.get_ident()
        try:
            self._target()
        finally:
            self._ended.set()


def new_thread(target: Callable[[], object], name: str, *, daemon: bool) -> GeventThread | threading.Thread:
    """Create a thread of the operating system. Under gevent it is always a daemon."""
    if monkey_patched_by() == "gevent":
        return GeventThread(target)
    return threading.Thread(target=target, name=name, daemon=daemon)


class _Executor(ThreadPoolExecutor):
    """Runs each job in a thread of the operating system. The workers of its base class would be greenlets."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001  # raised in the waiter
                    future.set_exception(error)
                else:
                    future.set_result(result)

        _start(run)
        return future


def gevent_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop for a `GeventThread`, whose executor has such threads too.

    While it waits, the greenlets of its thread run: libraries such as database drivers get those for the threads that they
    start there.
    """
    wait_read: Any = importlib.import_module("gevent.socket").wait_read
    # `selectors.DefaultSelector` itself is gevent's, which does not read while the event loop has other work.
    original: type[selectors.EpollSelector] = _original("selectors", "DefaultSelector")

    class Selector(original):  # type: ignore[misc, valid-type]  # which class it is depends on the system
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
            if ready or (timeout is not None and timeout <= 0):
                return ready
            try:
                # The selector's own descriptor is readable when one of its descriptors is ready.
                wait_read(self.fileno(), timeout, TimeoutError())
            except TimeoutError:
                return []
            return list(super().select(0))

    loop = asyncio.SelectorEventLoop(Selector())
    loop.set_default_executor(_Executor())
    return loop


def _after_fork_in_child() -> None:
    global _workers  # noqa: PLW0603  # one pool per process
    _workers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
