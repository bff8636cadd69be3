"""The signals that ask a process to end. In a module of its own, because the command needs them before asyncio."""

from __future__ import annotations

import signal


ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
