"""What many logins cost in one process: a session for each, and a `SessionPool`, in processes of their own.

    nox -s bench -- logins [--logins 5000] [--calls 2] [--max-open 500]

Each form makes calls for each login, one login after another. Printed are the memory of the process that remains for a login
(growth of the resident set), what Python allocated of it (tracemalloc, in another process, because it slows), the CPU time of a
call, and what one of 1000 calls at the same time adds at the peak. The token sets are in memory, and are there before.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import attrs
import processes

from ezeep_async import (
    Endpoints,
    EzeepSession,
    MemoryTokenStore,
    OAuthApp,
    SessionPool,
    Settings,
    TokenSet,
)


APP = OAuthApp("benchmark")
AT_ONCE = 1000


@attrs.frozen
class Form:
    """One way to keep the sessions."""

    base: str
    logins: int
    calls: int
    max_open: int
    """0: a session for each login, all over one borrowed aiohttp session."""
    traced: bool = False

    @asynccontextmanager
    async def opened(self, stores: dict[str, MemoryTokenStore]) -> AsyncIterator[SessionPool | Sessions]:
        """The pool, or a substitute for it."""
        endpoints = Endpoints(self.base, self.base, self.base)
        if self.max_open:
            async with SessionPool(
                APP, stores.__getitem__, max_open=self.max_open, endpoints=endpoints, settings=Settings()
            ) as pool:
                yield pool
            return
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession())
            yield Sessions(stack, http, endpoints, stores)

    async def measure(self) -> dict[str, float]:
        """Bytes and seconds for one login or one call."""
        until = datetime.now(UTC) + timedelta(days=1)
        keys = [f"user-{number}" for number in range(self.logins)]
        stores = {key: MemoryTokenStore(TokenSet(f"access-{key}", f"refresh-{key}", until)) for key in keys}
        async with self.opened({**stores, "first": MemoryTokenStore(stores[keys[0]]._tokens)}) as pool:
            await self.call(pool, "first")
            gc.collect()
            if self.traced:
                tracemalloc.start(1)
            before, began = self.memory(), time.process_time()
            for key in keys:
                for _ in range(self.calls):
                    await self.call(pool, key)
            took = time.process_time() - began
            gc.collect()
            after = self.memory()
            at_once = 0.0
            if self.traced:
                tracemalloc.reset_peak()
                await asyncio.gather(*[self.call(pool, keys[-1]) for _ in range(AT_ONCE)])
                at_once = (tracemalloc.get_traced_memory()[1] - after) / AT_ONCE
            return {
                "memory": (after - before) / self.logins,
                "cpu": took / self.logins / self.calls,
                "call": at_once,
            }

    async def call(self, pool: SessionPool | Sessions, key: str) -> None:
        """One call, as a handler of a web app makes it."""
        async with pool.session(key) as session:
            await session.accounts.me()

    def memory(self) -> int:
        """Bytes that the process has now."""
        if self.traced:
            return tracemalloc.get_traced_memory()[0]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    def __call__(self, pipe: Connection) -> None:
        pipe.send(asyncio.run(self.measure()))


class Sessions:
    """A session for each login that stays open, over one borrowed aiohttp session."""

    def __init__(
        self,
        stack: AsyncExitStack,
        http: aiohttp.ClientSession,
        endpoints: Endpoints,
        stores: dict[str, MemoryTokenStore],
    ) -> None:
        self.sessions: dict[str, EzeepSession] = {}
        self.stack, self.http, self.endpoints, self.stores = stack, http, endpoints, stores

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[EzeepSession]:
        """The session of a login."""
        if key not in self.sessions:
            session = EzeepSession(APP, self.stores[key], endpoints=self.endpoints, http=self.http)
            self.sessions[key] = await self.stack.enter_async_context(session)
        yield self.sessions[key]


def in_a_process(form: Form) -> dict[str, float]:
    """Measure it in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=form, args=(there,))
    process.start()
    there.close()
    measured: dict[str, float] = here.recv()
    process.join(20)
    return measured


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--logins", type=int, default=5000)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--max-open", type=int, default=500)
    options = parser.parse_args()
    core = processes.take_core()
    forms = {
        "a session for each": 0,
        "pool, all open": 10**9,
        f"pool, {options.max_open} open": options.max_open,
    }
    with processes.server(core) as server:
        server.prepare()
        for name, max_open in forms.items():
            form = Form(server.base, options.logins, options.calls, max_open)
            plain, traced = in_a_process(form), in_a_process(attrs.evolve(form, traced=True))
            total = plain["memory"] * options.logins / 2**20
            print(
                f"{name:20} {options.logins} logins: {total:6.1f} MiB, {plain['memory'] / 1000:5.1f} kB a login "
                f"({traced['memory'] / 1000:.1f} kB of objects), {plain['cpu'] * 1e6:5.0f} us CPU a call, "
                f"{traced['call'] / 1000:.1f} kB a call at the same time"
            )


if __name__ == "__main__":
    main()
