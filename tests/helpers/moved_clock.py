"""Runs the command with clocks that a test moves: `python moved_clock.py FILE ARGUMENTS`, with seconds in the file."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path


class MovedClock:
    """The clocks of the sandbox and of all processes that are started with it."""

    def __init__(self, sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._file = folder / "clock"
        self._seconds = 0.0
        self.advance(0.0)
        self.program = [sys.executable, __file__, str(self._file)]
        """What to run instead of `ezeep`."""

    def advance(self, seconds: float) -> None:
        """Move them forward."""
        self._seconds += seconds
        part = self._file.with_suffix(".part")
        part.write_text(f"{self._seconds}")
        part.replace(self._file)  # in one step: the processes read it at any time
        self._sandbox.clock.advance(seconds)

    def install(self, folder: Path) -> Path:
        """Write an executable `ezeep` into the folder, for shells."""
        folder.mkdir(exist_ok=True)
        path = folder / "ezeep"
        path.write_text(f'#!/bin/sh\nexec {shlex.join(self.program)} "$@"\n')
        path.chmod(0o755)
        return path

    @contextlib.asynccontextmanager
    async def started(
        self, *arguments: str, env: Mapping[str, str], folder: Path | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The command while it runs. Killed if it is still there at the end."""
        from helpers.command_line import environment

        process = await asyncio.create_subprocess_exec(
            *self.program,
            *arguments,
            cwd=folder,
            env=environment(env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def ezeep(self, *arguments: str, env: Mapping[str, str], folder: Path | None = None):
        """Run the command to its end."""
        from helpers.command_line import ended

        async with self.started(*arguments, env=env, folder=folder) as process:
            return await ended(process)


def move_clocks(monkeypatch, sandbox) -> Callable[[float], None]:
    """Return what moves the clocks of this process and of the sandbox forward."""
    from ezeep_async.auth.clock import SystemClock

    moved = [0.0]
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(seconds=moved[0]))
    monkeypatch.setattr(SystemClock, "monotonic", lambda _: time.monotonic() + moved[0])

    def advance(seconds: float) -> None:
        moved[0] += seconds
        sandbox.clock.advance(seconds)

    return advance


def main(file: str, *arguments: str) -> int:
    """Run the command with the clocks of the file, and with short steps of real time."""
    from ezeep_async.auth.clock import SystemClock
    from ezeep_async.cli.entry import main as run
    from ezeep_async.cli.login import keeping

    def moved() -> float:
        return float(Path(file).read_text())

    SystemClock.now = lambda _: datetime.now(UTC) + timedelta(seconds=moved())  # type: ignore[method-assign]  # replaced for the process
    SystemClock.monotonic = lambda _: time.monotonic() + moved()  # type: ignore[method-assign]  # replaced for the process
    keeping.LONGEST_STEP_S = keeping.SHORTEST_STEP_S = 0.03
    keeping.FIRST_PAUSE_S = keeping.LONGEST_PAUSE_S = 0.05
    sys.argv[1:] = arguments
    return run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
