"""Runs the command: in a thread of this process, which is fast, or as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from unittest import mock

import attrs

from ezeep_async.cli.main import main


EZEEP = [sys.executable, "-m", "ezeep_async"]


@attrs.frozen
class Ran:
    """The outcome of a command."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """The one sentence that a refused command says, with nothing else around it."""
        assert self.code == (4 if "run ezeep login" in self.err else 1), self  # docs/reference/exit-codes.md
        assert "Traceback" not in self.err, self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("ezeep: ")
        return lines[0].removeprefix("ezeep: ")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120", **(extra or {})}


@contextlib.asynccontextmanager
async def started(
    *arguments: str,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int = asyncio.subprocess.PIPE,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command while it runs. Killed if it is still there at the end."""
    process = await asyncio.create_subprocess_exec(
        *EZEEP,
        *arguments,
        cwd=folder,
        env=environment(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def running(*arguments: str, env: Mapping[str, str] | None = None) -> AsyncIterator[asyncio.Task[Ran]]:
    """The command while it runs, in a thread of this process. It must end by itself."""
    task = asyncio.create_task(ezeep(*arguments, env=env))
    yield task
    await task


async def ended(process: asyncio.subprocess.Process | asyncio.Task[Ran], stdin: str = "") -> Ran:
    """The outcome of a command, with the rest of its input."""
    if isinstance(process, asyncio.Task):
        return await process
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ran(process.returncode, (out or b"").decode(), err.decode())


async def ezeep_process(
    *arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Ran:
    """Run the command to its end, in a process of its own."""
    async with started(*arguments, folder=folder, env=env) as process:
        return await ended(process, stdin)


async def ezeep(
    *arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Ran:
    """Run the command to its end, in a thread of this process: one at a time."""
    return await asyncio.to_thread(_in_process, arguments, folder, env, stdin)


def _in_process(
    arguments: tuple[str, ...], folder: Path | None, env: Mapping[str, str] | None, stdin: str
) -> Ran:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as given,
        mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err),
        mock.patch.dict(os.environ, environment(env)),
        mock.patch.multiple(webbrowser, _tryorder=None, _browsers={}),  # they are of another BROWSER
        contextlib.chdir(folder or Path.cwd()),
    ):
        given.write(stdin)
        given.seek(0)
        code = main(arguments)
    return Ran(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))
