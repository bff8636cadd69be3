"""The two clocks that a login depends on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Wall time, which tokens are stored with, and steady time, which their life in this process is measured by."""

    def now(self) -> datetime:
        """UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds. Never jumps back; goes on while the machine is suspended."""
        ...


def steady_time() -> Callable[[], float]:
    """Steady time that counts a suspension of the machine too: a token grows old in it as at any other time.

    Linux: `CLOCK_BOOTTIME` is `CLOCK_MONOTONIC` and "any time that the system is suspended" (clock_gettime(2)), which
    `time.monotonic()` leaves out. macOS: there `CLOCK_MONOTONIC` itself goes on "while the system is asleep"
    (clock_gettime(3) of macOS), and `time.monotonic()` is `mach_absolute_time()`, which does not. Windows: both of the
    counters that `time.monotonic()` reads, depending on Python's version, count sleep and hibernation.
    """
    names = {"linux": "CLOCK_BOOTTIME", "android": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}
    number: int | None = getattr(time, names.get(sys.platform, ""), None)
    if number is None:
        return time.monotonic
    read = partial(time.clock_gettime, number)
    try:
        read()
    except OSError:  # a kernel, or what stands in for one, that does not have it
        return time.monotonic
    return read


_steady_time = steady_time()


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return _steady_time()


SYSTEM_CLOCK = SystemClock()
