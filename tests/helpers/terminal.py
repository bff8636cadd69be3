"""A terminal for the command: a pty, what it shows, and what is typed at it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from helpers.command_line import environment


# The terminal becomes the process's own, so that Ctrl-C reaches it as it reaches everybody's.
_RUN = (
    "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'ezeep'; "
    "runpy.run_module('ezeep_async', run_name='__main__')"
)
_COMMANDS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command at a terminal."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self.raw = ""
        """Everything that came, with colours and all."""
        self._master = master
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def text(self) -> str:
        """What came, without the colours. A bar is in it each time that it is drawn."""
        return _COMMANDS.sub("", self.raw).replace("\r\n", "\n")

    async def shows(self, text: str) -> None:
        """Wait until it is there."""
        while text not in self.text:
            self._came.clear()
            await self._came.wait()

    def close(self) -> None:
        """What a closed window does: the command gets SIGHUP, and nothing can be shown any more."""
        asyncio.get_running_loop().remove_reader(self._master)
        # Another file in its place, so that it is closed once.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._master)
        os.close(nothing)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def ended(self) -> int:
        """Its exit code, when everything is there that it wrote."""
        code = await self.process.wait()
        for _ in range(3):  # what is still in the terminal
            await asyncio.sleep(0.01)
        return code

    def _read(self) -> None:
        try:
            self.raw += os.read(self._master, 65536).decode("utf-8", "replace")
        except OSError:  # the other end is closed
            asyncio.get_running_loop().remove_reader(self._master)
        self._came.set()


@contextlib.asynccontextmanager
async def at_a_terminal(
    *arguments: str,
    env: Mapping[str, str],
    folder: Path | None = None,
    stdout: int | None = None,
    columns: int = 110,
) -> AsyncIterator[Terminal]:
    """The command at a terminal of so many columns; with `stdout` only its input and its errors are there."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 45, columns, 0, 0))
    surroundings = environment({"TERM": "xterm-256color", **env, "COLUMNS": str(columns)})
    if "NO_COLOR" not in env:
        surroundings.pop("NO_COLOR", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _RUN,
        *arguments,
        cwd=folder,
        env=surroundings,
        stdin=slave,
        stdout=slave if stdout is None else stdout,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
