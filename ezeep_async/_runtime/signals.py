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


LONGEST_WAIT = 75.0
"""Seconds that a signal is held back at most: an exchange, its replay and the token store, with default settings."""

_Handler = Callable[[int, FrameType | None], object]


@attrs.define(eq=False)
class _Exchange:
    """One exchange, from the lock of the token store to its release."""

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[object] | None = attrs.field(factory=asyncio.current_task)
    pid: int = attrs.field(factory=os.getpid)
    thread: int = attrs.field(factory=threading.get_ident)
    over: threading.Lock = attrs.field(factory=threading.Lock)


# Changed by single operations only, in any thread: a signal handler must not wait for a lock that its thread holds.
_under_way: set[_Exchange] = set()
_held_back: dict[int, float] = {}
"""Signals that wait for an exchange on the main thread's own event loop, and until when they do (monotonic time)."""


@contextlib.contextmanager
def exchange_under_way() -> Generator[None]:
    """Hold back the signals of `finish_refresh_on` for the block."""
    current = _Exchange(asyncio.get_running_loop())
    _begin(current)
    try:
        yield
    finally:
        _end(current)


@contextlib.contextmanager
def exchange_suspended() -> Generator[None]:
    """Let signals through for the block: the exchange of this task waits for others, and has nothing at stake."""
    task = asyncio.current_task()
    mine = [each for each in list(_under_way) if each.task is task]
    for each in mine:
        _end(each)
    try:
        yield
    finally:
        for each in mine:
            _begin(each)


def _begin(exchange: _Exchange) -> None:
    exchange.over.acquire()
    _under_way.add(exchange)


def _end(exchange: _Exchange) -> None:
    _under_way.discard(exchange)
    exchange.over.release()
    for number in list(_held_back):
        _send_later(number, 0.0)


def finish_refresh_on(*signals: int) -> None:
    """Let a token refresh that has begun end before a signal takes effect.

    A refresh token works once. A process that a signal ends between the request and the saving of the response loses
    the token set, and a person must log in again. Call this once at the start of a program, blocking or asyncio. The
    signal then does what it did before: it ends the process, or calls the handler that was installed. It is held back
    for a refresh, a login and a logout under way, at most 75 seconds; else it takes effect at once. A signal that
    arrives again meanwhile changes nothing. Signals that are ignored stay ignored, as under `nohup`.

    A handler that is installed later replaces this one: `loop.add_signal_handler`, uvicorn and gunicorn do so when they
    start. They end a program in order, and closing a session waits for its refresh; nothing else is needed there.

    Args:
        *signals: For example `signal.SIGTERM`. By default SIGTERM, and SIGHUP where the platform has it. With SIGINT, a
            second Ctrl-C cannot lose the token set either; asyncio.run then raises `KeyboardInterrupt` where the
            program is, instead of cancelling its main task first.

    Raises:
        ValueError: Not called in the main thread, or the signal has a handler that was not installed by Python.
        OSError: The signal cannot be handled (SIGKILL, SIGSTOP).
    """
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("finish_refresh_on() was called in another thread: call it in the main thread")
    for number in signals or _usual():
        before = signal.getsignal(number)
        if before is None:
            raise ValueError(
                f"signal {number} has a handler that was not installed by Python: it cannot be called later"
            )
        if before is not signal.SIG_IGN and not isinstance(before, _Finishing):
            signal.signal(number, _Finishing(before if callable(before) else None))


def _usual() -> list[int]:
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Finishing:
    """The handler of one signal. `before` is the one that it replaces; None for the default action."""

    def __init__(self, before: _Handler | None) -> None:
        self._before = before
        self._waiting_in = 0  # which process; another thread may fork meanwhile

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._waiting_in == os.getpid():
            return
        end = _held_back.get(number, time.monotonic() + LONGEST_WAIT)
        if end > time.monotonic() and any(each.thread == threading.get_ident() for each in _alive()):
            # To wait here would stop the event loop that the exchange needs.
            if number not in _held_back:
                _held_back[number] = end
                _send_later(number, LONGEST_WAIT)
            return
        _held_back.pop(number, None)
        self._waiting_in = os.getpid()
        try:
            for each in _alive():
                if each.over.acquire(timeout=max(0.0, end - time.monotonic())):
                    each.over.release()
        finally:
            self._waiting_in = 0
        if self._before is not None:
            self._before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.signal(number, self)  # its default action does not end a process


def _alive() -> list[_Exchange]:
    """Those of this process: what a fork left behind never ends, and neither does what a closed loop left."""
    return [each for each in list(_under_way) if each.pid == os.getpid() and not each.loop.is_closed()]


def _send_later(number: int, seconds: float) -> None:
    """Send the signal to the main thread again, from outside: it may interrupt it anywhere, as it did before."""
    timer = threading.Timer(seconds, _send, (number,))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # the interpreter is exiting and starts no threads
        _send(number)


def _send(number: int) -> None:
    if number not in _held_back:
        return
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
