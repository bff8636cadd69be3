"""Small helpers of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import attrs

from ezeep_async import EzeepSession, MemoryTokenStore, Settings, TokenSet, TokenStore
from ezeep_async.sandbox import Sandbox


QUICK = Settings(connect_timeout=2.0, read_timeout=5.0, deadline=10.0, refresh_timeout=3.0)
"""Short time limits, so that a failing test ends soon."""

TOKEN = "POST /oauth/access_token/"
ME = "GET /v1/users/me/"


@attrs.define
class Clock:
    """The client's clocks, which a test can move: the wall clock alone, or both."""

    wall: float = 0.0
    steady: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.wall + self.steady)

    def monotonic(self) -> float:
        return time.monotonic() + self.steady


def expired(tokens: TokenSet) -> TokenSet:
    """The same token set with an access token that expired a minute ago."""
    return attrs.evolve(tokens, expires_at=datetime.now(UTC) - timedelta(minutes=1))


def open_session(sandbox: Sandbox, store=None, **options) -> EzeepSession:
    """A session in the sandbox; with no store and no tokens given, logged in with an expired access token."""
    if store is None:
        store = MemoryTokenStore(options.pop("stored", None) or expired(sandbox.tokens()))
    options.setdefault("settings", QUICK)
    return EzeepSession(sandbox.oauth_app, store=store, endpoints=sandbox.endpoints, **options)


async def put(store: TokenStore, tokens: TokenSet) -> None:
    """Store a token set as the contract demands: with the lock held, and after a `load`."""
    async with store.lock():
        await store.load()
        await store.save(tokens)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until the condition is true, at most `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port on 127.0.0.1 that no process listens on, and that no other process gets."""
    with socket.socket() as holder:
        # Bound and not listening: the system gives it to no other process, but a server that reuses addresses can bind it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def four_free_ports() -> int:
    """The first of four consecutive ports, below those that systems give to connections."""
    while True:
        first = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in range(4):
                stack.enter_context(socket.create_server(("127.0.0.1", first + number)))
            return first


async def settle(times: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(times):
        await asyncio.sleep(0)


@contextlib.contextmanager
def sandbox_in_a_thread(**options) -> Iterator[Sandbox]:
    """A sandbox on a loop of its own, for tests that end theirs."""
    # Here, because it imports pytest, and spawned children import this module.
    from ezeep_async.testing import ThreadedSandbox

    with ThreadedSandbox(**options) as sandbox:
        yield sandbox


@contextlib.contextmanager
def bounded(limit: int) -> Iterator[None]:
    """Fails when more bytes than that were in use at once in the block."""
    tracemalloc.start(1)
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        yield
        used = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert used < limit, f"{used / 1_000_000:.0f} MB"
