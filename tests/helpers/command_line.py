"""Runs the command as its users do: as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import attrs


EZEEP = [sys.executable, "-m", "ezeep_async"]


@attrs.frozen
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """The one sentence that a refused command says, with nothing else around it."""
        assert self.code == 1, self
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


async def ended(process: asyncio.subprocess.Process, stdin: str = "") -> Ran:
    """Send the rest of its input and wait for its end."""
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Ran(process.returncode, (out or b"").decode(), err.decode())


async def ezeep(
    *arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Ran:
    """Run the command to its end."""
    async with started(*arguments, folder=folder, env=env) as process:
        return await ended(process, stdin)
