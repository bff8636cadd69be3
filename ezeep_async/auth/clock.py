"""The two clocks that a login depends on."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, which tokens are stored with, and steady time, which their life in this process is measured by."""

    def now(self) -> datetime:
        """UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds. Never jumps."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()
