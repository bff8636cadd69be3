"""`finish_refresh_on`: a signal takes effect when the token exchange that is under way has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType

import attrs

from ezeep_async._runtime.ending_signals import ENDING_SIGNALS


LONGEST_WAIT_S = 75.0
"""Longest delay of a signal: an exchange, its replay and the token store, with default settings.

It does not follow `refresh_timeout`: with more than about 32 s, a signal can end the process during the exchange.
"""

_Handler = Callable[[int, FrameType | None], object]


@attrs.frozen(eq=False)
class _Exchange:
    """One token exchange, from acquiring the lock of the token store to its release."""

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[object] | None = attrs.field(factory=asyncio.current_task)
    pid: int = attrs.field(factory=os.getpid)


# Any thread changes these two, by atomic operations only. A lock is not possible: the thread that a signal handler
# interrupts might hold it.
_under_way: set[_Exchange] = set()
_deferred: dict[int, float] = {}
"""Signals that wait for an exchange, with the end of the wait (`time.monotonic`)."""


@contextlib.contextmanager
def exchange_under_way() -> Generator[None]:
    """Defer the signals of `finish_refresh_on` until the end of the block."""
    exchange = _Exchange(asyncio.get_running_loop())
    _under_way.add(exchange)
    try:
        yield
    finally:
        _end(exchange)


@contextlib.contextmanager
def exchange_suspended() -> Generator[None]:
    """Defer no signals during the block: the exchange of this task only waits, and has not sent its request."""
    task = asyncio.current_task()
    mine = [each for each in list(_under_way) if each.task is task]
    for each in mine:
        _end(each)
    try:
        yield
    finally:
        _under_way.update(mine)


def _end(exchange: _Exchange) -> None:
    _under_way.discard(exchange)
    for number in list(_deferred):
        _send_later(number, 0.0)


def finish_refresh_on(*signals: int) -> None:
    """Let a token refresh that has begun end before a signal takes effect.

    A refresh token works once. A process that a signal ends between the request and the saving of the response loses
    the token set, and a person must log in again. Call this once at the start of a program, blocking or asyncio.

    While a refresh, a login or a logout is under way, the signal is deferred for at most 75 seconds, which is enough if
    `Settings.refresh_timeout` is at most 32; otherwise it takes effect at once. Its effect stays what it was: it ends
    the process, or calls the handler that was installed before. A signal that arrives again while it is deferred has no
    further effect. Ignored signals stay ignored, as under `nohup`.

    A handler that is installed later replaces this one: `loop.add_signal_handler`, uvicorn and gunicorn do so when they
    start. Those shut down in order, and closing a session waits for its refresh, so they do not need this function.

    Python calls signal handlers in the main thread. The system can give a signal to another thread, and does not wake
    a main thread that sleeps in one long call then: the signal takes effect when that call returns. A main thread that
    only waits for others should wake up each second, for example with `while not done.wait(1): pass`.

    Args:
        *signals: For example `signal.SIGTERM`. By default SIGTERM, and SIGHUP where the platform has it. SIGINT protects
            the token set from a second Ctrl-C too; asyncio.run then raises `KeyboardInterrupt` in the running code,
            instead of cancelling its main task first.

    Raises:
        ValueError: Not called in the main thread, or the signal has a handler that was not installed by Python.
        OSError: The signal cannot be handled (SIGKILL, SIGSTOP).
    """
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("finish_refresh_on() was called in another thread: call it in the main thread")
    for number in signals or ENDING_SIGNALS:
        before = signal.getsignal(number)
        if before is None:
            raise ValueError(
                f"signal {number} has a handler that was not installed by Python: it cannot be called later"
            )
        if before is not signal.SIG_IGN and not isinstance(before, _Finishing):
            signal.signal(number, _Finishing(before if callable(before) else None))


class _Finishing:
    """The handler of one signal. `before` is the handler that it replaces, None for the default action."""

    def __init__(self, before: _Handler | None) -> None:
        self._before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_new = number not in _deferred
        # Before the check: an exchange that ends meanwhile on another thread sends the signal again.
        end = _deferred.setdefault(number, time.monotonic() + LONGEST_WAIT_S)
        if end > time.monotonic() and _is_under_way():
            if is_new:
                _send_later(number, LONGEST_WAIT_S)
            return
        _deferred.pop(number, None)
        if self._before is not None:
            self._before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, self)  # reached if the default action does not end the process


def _is_under_way() -> bool:
    """Whether an exchange can still end: not one of the parent process, nor of a closed event loop."""
    return any(each.pid == os.getpid() and not each.loop.is_closed() for each in list(_under_way))


def _send_later(number: int, seconds: float) -> None:
    """Send the signal to the main thread again, from another thread, so that it can interrupt any code there."""
    timer = threading.Timer(seconds, _send, (number,))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # the interpreter is exiting and starts no threads
        _send(number)


def _send(number: int) -> None:
    if number not in _deferred:
        return
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)


if hasattr(os, "register_at_fork"):
    # The child did not get the signals that its parent holds back.
    os.register_at_fork(after_in_child=_deferred.clear)
