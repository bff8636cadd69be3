"""Messages to the service manager that started the process: the protocol of `sd_notify` (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from ezeep_async.cli.terminal.output import clean


SHORTEST_WATCHDOG_S = 0.1
LONGEST_WATCHDOG_S = 31_536_000.0
"""Seconds within which signs of life are sent, at least and at most: others are not from a service manager."""


class Supervisor:
    """systemd, or whatever listens on `NOTIFY_SOCKET`. Without one, messages are dropped.

    Args:
        environ: Environment variables; None for those of this process.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        # A name in the abstract namespace begins with a zero byte, which no environment variable can contain.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = _watchdog_s(environ)

    def notify(self, *states: str) -> None:
        """Send states, such as `READY=1`. Errors are ignored: the work continues without a listener."""
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        message = "\n".join(map(clean, states))  # a line break in a status would begin another state
        with (
            contextlib.suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
        ):
            channel.setblocking(False)
            channel.connect(self._address)
            channel.send(message.encode("utf-8", "replace"))

    @asynccontextmanager
    async def signs_of_life(self) -> AsyncGenerator[None]:
        """Send `WATCHDOG=1` within the block, if it is expected, also while the block waits for something."""

        async def send(seconds: float) -> None:
            while True:
                self.notify("WATCHDOG=1")
                await asyncio.sleep(seconds)

        if self._watchdog_s is None:
            yield
            return
        sending = asyncio.create_task(send(self._watchdog_s / 3))
        try:
            yield
        finally:
            sending.cancel()


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Seconds within which a sign of life is expected: `WATCHDOG_USEC`, unless it is for another process (sd_watchdog_enabled(3))."""
    if environ.get("WATCHDOG_PID", "") not in {"", str(os.getpid())}:
        return None
    given = environ.get("WATCHDOG_USEC", "")
    if not given.isascii() or not given.isdecimal():
        return None
    seconds = float(given) / 1e6  # of any number of digits
    return max(seconds, SHORTEST_WATCHDOG_S) if 0 < seconds <= LONGEST_WATCHDOG_S else None
