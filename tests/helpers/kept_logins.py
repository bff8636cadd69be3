"""A running `ezeep keep-alive`, for tests with moved clocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
from helpers.moved_clock import MovedClock
from helpers.support import until


@attrs.define
class Keeping:
    """A running `ezeep keep-alive`, with the lines that it wrote so far."""

    process: asyncio.subprocess.Process
    lines: list[str] = attrs.field(factory=list)

    async def read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(line.decode().rstrip("\n"))

    async def wrote(self, text: str, times: int = 1) -> None:
        await until(lambda: len(self.with_text(text)) >= times, 20)

    def with_text(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]


@asynccontextmanager
async def keeping(clock: MovedClock, env: dict[str, str], *arguments: str) -> AsyncIterator[Keeping]:
    """The command while it runs, once it keeps the login alive."""
    async with clock.started("keep-alive", *arguments, env=env) as process:
        running = Keeping(process)
        reading = asyncio.create_task(running.read())
        try:
            await running.wrote("kept alive with a refresh every")
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await reading
