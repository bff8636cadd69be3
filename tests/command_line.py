"""Runs the command as its users do: as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs


EZEEP = [sys.executable, "-m", "ezeep_async"]


@attrs.frozen
class Ran:
    """What became of a command."""

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


async def ezeep(*arguments: str, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *EZEEP,
        *arguments,
        cwd=folder,
        env=environment(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
