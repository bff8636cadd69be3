"""Listing 10 000 users, and 1000 GETs at concurrency 50, beside raw aiohttp doing the same, in one run.

    python benchmarks/bench_listing_and_gets.py [--rounds 5] [--users 10000] [--gets 1000]

The server is the sandbox in a process of its own. Rounds are interleaved: SDK, peer, SDK, peer. Printed are medians, the
spread, and the ratio, which is the only number that means something on another machine: 1.00 is as fast as the peer.
The peer decodes JSON to dicts and follows offsets, with a fixed bearer token: no refresh, no retries, no types.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from multiprocessing.connection import Connection

import aiohttp

from ezeep_async import Endpoints, EzeepSession, OAuthApp, Settings, TokenSet
from ezeep_async.sandbox import Sandbox


CONCURRENCY = 50
PAGE = 100


def serve(pipe: Connection, users: int) -> None:
    """The sandbox, until the pipe says stop."""

    async def main() -> None:
        async with Sandbox(users=users) as sandbox:
            ids = [str(user) for user in list(sandbox.organization.users)[:CONCURRENCY]]
            pipe.send((sandbox.endpoints, sandbox.oauth_app, sandbox.tokens(), ids))
            await asyncio.to_thread(pipe.recv)

    asyncio.run(main())


class Raw:
    """What a careful engineer writes with nothing but aiohttp."""

    def __init__(self, client: aiohttp.ClientSession, base: str) -> None:
        self._client = client
        self._users = base + "/printing/v1/users/"

    async def list(self) -> int:
        users: list[object] = []
        total = 1
        while len(users) < total:
            url = f"{self._users}?limit={PAGE}&offset={len(users)}"
            async with self._client.get(url) as response:
                page = json.loads(await response.read())
            total = page["count"]
            users += page["results"]
        return len(users)

    async def gets(self, ids: list[str], number: int) -> int:
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(user_id: str) -> None:
            async with slots, self._client.get(f"{self._users}{user_id}/") as response:
                json.loads(await response.read())

        await asyncio.gather(*[one(ids[n % len(ids)]) for n in range(number)])
        return number


class Sdk:
    """The same with this package."""

    def __init__(self, session: EzeepSession) -> None:
        self._session = session

    async def list(self) -> int:
        return len([user async for user in self._session.users.list(page_size=PAGE)])

    async def gets(self, ids: list[str], number: int) -> int:
        get = self._session.users.get
        return len(await asyncio.gather(*[get(ids[n % len(ids)]) for n in range(number)]))


async def timed(work: Callable[[], Awaitable[int]], expected: int) -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = await work()
    if done != expected:
        raise SystemExit(f"{done} instead of {expected}: this is no result")
    return time.perf_counter() - wall, time.process_time() - cpu


def show(what: str, name: str, times: list[tuple[float, float]]) -> tuple[float, float]:
    """A line for one contender; gives its medians."""
    walls, cpus = [wall for wall, _ in times], [cpu for _, cpu in times]
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    spread = f"{min(walls) * 1e3:.0f} to {max(walls) * 1e3:.0f}"
    print(f"{what:28} {name:12} {wall * 1e3:8.0f} ms wall ({spread}), {cpu * 1e3:8.0f} ms CPU")
    return wall, cpu


async def measure(
    options: argparse.Namespace, where: tuple[Endpoints, OAuthApp, TokenSet, list[str]]
) -> None:
    """Warm up once, then the interleaved rounds."""
    endpoints, app, tokens, ids = where
    headers = {"Authorization": f"Bearer {tokens.access_token}", "Accept-Encoding": "identity"}
    connector = aiohttp.TCPConnector(limit=0)
    settings = Settings(concurrency=CONCURRENCY)
    async with (
        aiohttp.ClientSession(
            connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as client,
        EzeepSession(app, tokens=tokens, endpoints=endpoints, settings=settings) as session,
    ):
        peer, sdk = Raw(client, endpoints.api), Sdk(session)
        works: list[tuple[str, int, Callable[[], Awaitable[int]], Callable[[], Awaitable[int]]]] = [
            (f"list {options.users} users", options.users, sdk.list, peer.list),
            (
                f"{options.gets} GETs, {CONCURRENCY} at once",
                options.gets,
                lambda: sdk.gets(ids, options.gets),
                lambda: peer.gets(ids, options.gets),
            ),
        ]
        for what, expected, mine, theirs in works:
            results: dict[str, list[tuple[float, float]]] = {"ezeep_async": [], "raw aiohttp": []}
            await timed(mine, expected)
            await timed(theirs, expected)
            for _ in range(options.rounds):
                results["ezeep_async"].append(await timed(mine, expected))
                results["raw aiohttp"].append(await timed(theirs, expected))
            wall, cpu = show(what, "ezeep_async", results["ezeep_async"])
            peer_wall, peer_cpu = show(what, "raw aiohttp", results["raw aiohttp"])
            print(f"{'':28} {'ratio':12} {wall / peer_wall:8.2f} x wall, {cpu / peer_cpu:8.2f} x CPU\n")


def main() -> None:
    """Start the server, measure, stop the server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--gets", type=int, default=1000)
    options = parser.parse_args()
    names = ("ezeep_async", "aiohttp", "msgspec", "attrs")
    print(
        platform.platform(),
        platform.processor() or platform.machine(),
        f"{multiprocessing.cpu_count()} cores",
    )
    print(
        f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in names), "\n"
    )
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.users))
    server.start()
    try:
        asyncio.run(measure(options, here.recv()))
    finally:
        here.send("stop")
        server.join(10)


if __name__ == "__main__":
    main()
