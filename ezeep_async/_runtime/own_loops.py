"""The event loops that the SDK runs in threads of its own, for blocking calls."""

from __future__ import annotations

import asyncio
import weakref


LOOPS: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
"""Loops that must not take over what a program has borrowed to the SDK for its own loop, such as the pool of a database engine."""
