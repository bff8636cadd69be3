"""Questions to the person at the terminal."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import getpass
import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from ezeep_async._text.redaction import Secret
from ezeep_async.cli.terminal.output import make_way, width_of
from ezeep_async.cli.terminal.screen import wrapped


if sys.platform != "win32":
    import termios

T = TypeVar("T")


async def ask_secret(prompt: str) -> str:
    """Read a line that is not shown while it is typed; from a pipe, its next line. Raises `ValueError` for none."""
    make_way()
    if sys.stdin.isatty():
        with _terminal_restored():
            typed = await in_background(lambda: _getpass(prompt))
    else:
        typed = await in_background(_read_line)
    return Secret(_given(typed, prompt))


async def ask_line(prompt: str) -> str:
    """Read a line. Raises `ValueError` for none."""
    make_way()
    sys.stdout.write(prompt)
    sys.stdout.flush()
    return _given((await in_background(_read_line)).strip(), prompt)


async def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the person at the terminal says yes, or said so with `--yes`. See `check_can_ask`."""
    if yes:
        return True
    if sys.platform != "win32":  # what was typed before the question does not answer it
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    make_way()
    # On standard error: standard output may be on its way into a file.
    sys.stdout.flush()
    sys.stderr.write("\n".join(wrapped(question, width_of(sys.stderr), "[y/N]")) + " ")
    sys.stderr.flush()
    return (await in_background(_read_line)).strip().casefold() in {"y", "yes"}


def check_can_ask(*, yes: bool) -> None:
    """Raise `ValueError` if the command must ask, and standard input is not a terminal."""
    if not yes and not sys.stdin.isatty():
        raise ValueError("not confirmed: standard input is not a terminal. Pass --yes to skip the question")


def _given(typed: str, prompt: str) -> str:
    if not typed:
        raise ValueError(f"standard input ended: no answer to {prompt.strip(' :')!r}")
    return typed


def _getpass(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


@contextlib.contextmanager
def _terminal_restored() -> Generator[None]:
    """Let the terminal show what is typed again if a signal ends the command while a secret is typed."""
    before = [] if sys.platform == "win32" else termios.tcgetattr(sys.stdin)
    try:
        yield
    except BaseException:
        if sys.platform != "win32":
            with contextlib.suppress(termios.error):  # after SIGHUP it may be gone
                termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
        raise


async def in_background(function: Callable[[], T]) -> T:
    """Run blocking code in a daemon thread: it may wait for a person, and then must not delay the end of the program."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():  # from here on, a cancelled waiter does not cancel it
            return
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised in the waiter
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)


def _read_line() -> str:
    """Return the next line of standard input, past Python's buffers.

    A thread that blocks in those holds their lock, and the interpreter needs the lock at exit.
    """
    line = bytearray()
    while (byte := os.read(sys.stdin.fileno(), 1)) not in {b"", b"\n"}:
        line += byte
    return line.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r")
