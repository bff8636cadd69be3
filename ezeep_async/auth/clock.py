"""The two clocks that the lifetime of a token depends on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Wall time, with which tokens are stored, and steady time, which measures their lifetime in this process."""

    def now(self) -> datetime:
        """Return the time in UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never jump back, and that also count while the machine is suspended."""
        ...


def steady_time() -> Callable[[], float]:
    """Find a steady clock that counts while the machine is suspended, as the lifetime of a token does.

    Linux: `CLOCK_BOOTTIME` does, and `time.monotonic()` does not (clock_gettime(2)). macOS: `CLOCK_MONOTONIC` does, and
    `time.monotonic()`, which is `mach_absolute_time()`, does not. Windows: `time.monotonic()` does.
    """
    names = {"linux": "CLOCK_BOOTTIME", "android": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}
    number: int | None = getattr(time, names.get(sys.platform, ""), None)
    if number is None:
        return time.monotonic
    read = partial(time.clock_gettime, number)
    try:
        read()
    except OSError:  # the kernel, or its emulation, does not have this clock
        return time.monotonic
    return read


_steady_time = steady_time()


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return _steady_time()


SYSTEM_CLOCK = SystemClock()
