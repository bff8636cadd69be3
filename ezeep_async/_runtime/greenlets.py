"""gevent and eventlet, which replace the threads of the standard library by greenlets of one thread.

An event loop in a greenlet would be the running event loop of all greenlets of its thread. Under gevent the background event
loop therefore runs on a thread of the operating system: gevent's locks work across such threads, and a greenlet that waits
for a call lets other greenlets run. The locks of eventlet do not work across threads.

A blocking call under gevent:

1. The portal (`blocking/portal.py`) runs `gevent_loop()` on a `GeventThread`.
2. The calling greenlet starts the coroutine there with `call_soon_threadsafe`, and waits for a lock of gevent. Meanwhile the
   other greenlets of its thread run.
3. The event loop waits in the hub of its own thread. Work that the SDK and database drivers give to threads becomes greenlets
   of that thread (`start_thread`, `_Executor`), which run while the event loop waits.
4. At the end of the coroutine the event loop's thread releases the lock, and the hub of the caller's thread continues the caller.
"""

from __future__ import annotations

import asyncio
import importlib
import selectors
import sys
import threading
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


class GeventThread:
    """A daemon thread of the operating system, with the methods of `threading.Thread` that a portal uses."""

    def __init__(self, target: Callable[[], object]) -> None:
        self._target = target
        self._ended = threading.Event()
        self._started = False
        self.ident: int | None = None

    def start(self) -> None:
        """Start the thread. Raises `RuntimeError` if the system refuses one."""
        _original("_thread", "start_new_thread")(self._run, ())
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


def start_thread(target: Callable[[], object], name: str, *, daemon: bool) -> None:
    """Start a thread for work of the event loop that runs here. Under gevent that is a greenlet of this thread.

    Not another thread of the operating system: a greenlet that waits for a lock needs the hub of the thread that had the lock
    before, and the hub of a thread that blocks does not run. A greenlet that blocks in a read or write of a file keeps the event
    loop from running meanwhile.
    """
    if monkey_patched_by() == "gevent":
        _spawn(target)
    else:
        threading.Thread(target=target, name=name, daemon=daemon).start()


def _spawn(target: Callable[[], object]) -> None:
    importlib.import_module("gevent").spawn(target)


class _Executor(ThreadPoolExecutor):
    """Runs each job as `start_thread` does. The threads of its base class would have to be joined by the main thread."""

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

        _spawn(run)
        return future


def gevent_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop for a `GeventThread`. While it waits, the greenlets of its thread run.

    Libraries such as database drivers get greenlets for the threads that they start there.
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
