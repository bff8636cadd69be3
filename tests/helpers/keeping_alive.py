"""What the tests of `session.keep_alive()` share."""

from __future__ import annotations

import logging

import pytest
from helpers.support import Clock, until

from ezeep_async.auth.keep_alive import KeepAlive
from ezeep_async.sandbox import Sandbox


LIFE = 3600.0


async def steps(handle: KeepAlive, number: int = 6) -> None:
    """Wait for so many of its steps."""
    done = 0
    real = handle._step

    async def counted(kept):
        nonlocal done
        pause = await real(kept)
        done += 1
        return pause

    handle._step = counted
    await until(lambda: done >= number)
    del handle._step


def later(seconds: float, clock: Clock, sandbox: Sandbox) -> None:
    """Advance the clocks of the client and of the server."""
    clock.steady += seconds
    sandbox.clock.advance(seconds)


def warnings_of(caplog: pytest.LogCaptureFixture, text: str = "not kept alive") -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and text in record.getMessage()
    ]
