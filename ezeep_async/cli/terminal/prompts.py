"""Asking the person at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from ezeep_async._text.redaction import Secret
from ezeep_async.cli.terminal.output import width_of, wrapped


T = TypeVar("T")


async def ask_secret(prompt: str) -> str:
    """A line that is not shown while it is typed; from a pipe, its next line. Raises `ValueError` for none."""
    if sys.stdin.isatty():
        with _terminal_restored():
            answer = await beside(lambda: _getpass(prompt))
    else:
        answer = await beside(_read_line)
    return Secret(_given(answer, prompt))


async def ask_line(prompt: str) -> str:
    """A line. Raises `ValueError` for none."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    return _given((await beside(_read_line)).strip(), prompt)


async def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the person at the terminal says yes. `yes`: it was said already. See `check_somebody_there`."""
    if yes:
        return True
    _forget_what_was_typed()
    # On standard error: standard output may be on its way into a file.
    sys.stdout.flush()
    sys.stderr.write("\n".join(wrapped(question, width_of(sys.stderr), "[y/N]")) + " ")
    sys.stderr.flush()
    return (await beside(_read_line)).strip().casefold() in {"y", "yes"}


def check_somebody_there(*, yes: bool) -> None:
    """Raise `ValueError` where nobody can be asked, and --yes was not given."""
    if not yes and not sys.stdin.isatty():
        raise ValueError(
            "nothing was done: this has to be confirmed, and here is no terminal. --yes does not ask"
        )


def _forget_what_was_typed() -> None:
    """An answer is one to the question: not what was typed before it was asked."""
    try:
        import termios
    except ImportError:  # Windows
        return
    termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _given(answer: str, prompt: str) -> str:
    if not answer:
        raise ValueError(f"no answer to {prompt.strip(' :')!r}")
    return answer


def _getpass(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


@contextlib.contextmanager
def _terminal_restored() -> Generator[None]:
    """When a signal ends the command while a secret is typed, nobody else lets the terminal show what is typed again."""
    try:
        import termios
    except ImportError:  # Windows, where nothing is switched off
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    except BaseException:
        with contextlib.suppress(termios.error):  # after SIGHUP it may be gone
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
        raise


async def beside(function: Callable[[], T]) -> T:
    """Run what blocks in a thread that nobody waits for when the program ends: it may be waiting for a person."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]  # a T, where there is no error
            else:
                future.set_exception(error)

    def run() -> None:
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, result, problem)

    threading.Thread(target=run, name="ezeep-ask", daemon=True).start()
    return await future


def _read_line() -> str:
    """The next line of standard input, past Python's buffers.

    Whoever blocks in those keeps their lock, and an interpreter that ends meanwhile stumbles over it.
    """
    line = bytearray()
    while (byte := os.read(sys.stdin.fileno(), 1)) not in {b"", b"\n"}:
        line += byte
    return line.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r")
