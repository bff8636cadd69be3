"""1000 membership writes against a server that takes five at once, then three, then twenty, beside the best fixed number.

    nox -s bench -- pace [--rounds 5] [--writes 1000] [--latency 0.03] [--retry-after SECONDS]

The server is the sandbox in a process of its own; each write takes `--latency` there, and one too many is refused with a
429. For each phase, several values of `Settings.concurrency` are tried; those that are refused are not fixed, for the
session changes them. The best one, which is not known beforehand, competes with one session that has the default and goes
through all three phases. Rounds are interleaved. Printed are medians, the spread, the throughput in relation to the best
fixed number, and the requests for each write.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import platform
import statistics
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

import attrs

from ezeep_async import EzeepSession, Settings
from ezeep_async.sandbox import Sandbox


PHASES = (5, 3, 20)
FIXED = (1, 2, 3, 4, 5, 8, 12, 16, 20, 32)
DEFAULT = Settings().concurrency
WRITE = "PATCH /printing/v1/users/{id}/"


def serve(pipe: Connection, latency: float, retry_after: float | None) -> None:
    """The sandbox: takes a new limit, and says how many writes have arrived and how many were applied."""

    async def main() -> None:
        async with Sandbox(users=1000, latency=latency, retry_after=retry_after) as sandbox:
            people = sandbox.organization.users
            ids = ([str(each) for each in people], [str(each) for each in sandbox.organization.groups])
            pipe.send((sandbox.endpoints, sandbox.oauth_app, sandbox.tokens(), ids))
            while (limit := await asyncio.to_thread(pipe.recv)) is not None:
                applied = sum(seen.key == WRITE and seen.status == 200 for seen in sandbox.requests)
                pipe.send((sandbox.count(WRITE), applied))
                sandbox.reset_counts()
                sandbox.behaviour.max_parallel = limit

    asyncio.run(main())


@attrs.frozen
class Server:
    """The sandbox as the client sees it."""

    pipe: Connection
    endpoints: Any
    app: Any
    tokens: Any
    users: list[str]
    groups: list[str]

    def take(self, limit: int) -> tuple[int, int]:
        """Take `limit` at once from now on. Gives the writes that arrived since the last time, and those applied."""
        self.pipe.send(limit)
        arrived, applied = self.pipe.recv()
        return arrived, applied

    def session(self, concurrency: int) -> EzeepSession:
        """A new session with at most that many concurrent requests."""
        settings = Settings(concurrency=concurrency, deadline=600)
        return EzeepSession(self.app, tokens=self.tokens, endpoints=self.endpoints, settings=settings)


async def job(server: Server, session: EzeepSession, limit: int, writes: int) -> tuple[float, float]:
    """Seconds for so many writes, and requests for each of them."""
    server.take(limit)
    write = session.users.set_groups
    group = itertools.cycle(server.groups)
    users = itertools.islice(itertools.cycle(server.users), writes)
    work = [write(user, [next(group)]) for user in users]
    begun = time.perf_counter()
    await asyncio.gather(*work)
    took = time.perf_counter() - begun
    arrived, applied = server.take(limit)
    if applied != writes:
        raise SystemExit(f"{applied} of {writes} writes were applied: this is no result")
    return took, arrived / writes


async def fixed(server: Server, number: int, limit: int, writes: int) -> tuple[float, float]:
    """The job with a new session and that setting."""
    async with server.session(number) as session:
        return await job(server, session, limit, writes)


async def best_fixed(server: Server, limit: int, writes: int) -> int:
    """The setting with which a part of the job is done soonest."""
    took: dict[int, float] = {}
    for number in FIXED:
        seconds, requests = await fixed(server, number, limit, writes // 4)
        if requests == 1:
            took[number] = seconds
    print(
        f"{limit} at once: seconds for {writes // 4} writes:",
        ", ".join(f"{n}: {t:.2f}" for n, t in took.items()),
    )
    return min(took, key=lambda number: took[number])


def show(what: str, results: list[tuple[float, float]]) -> float:
    """A line for one contender; gives the median of its times."""
    times = [took for took, _ in results]
    requests = statistics.median(each for _, each in results)
    worst = max(each for _, each in results)
    median = statistics.median(times)
    print(
        f"  {what:14} {median:6.2f} s ({min(times):.2f} to {max(times):.2f}),"
        f" {requests:.3f} requests for each write (at most {worst:.3f})"
    )
    return median


async def measure(server: Server, options: argparse.Namespace) -> None:
    """Find the best fixed numbers, then the interleaved rounds."""
    best = {limit: await best_fixed(server, limit, options.writes) for limit in PHASES}
    mine: dict[int, list[tuple[float, float]]] = {limit: [] for limit in PHASES}
    theirs: dict[int, list[tuple[float, float]]] = {limit: [] for limit in PHASES}
    for _ in range(options.rounds):
        async with server.session(DEFAULT) as session:
            for limit in PHASES:
                mine[limit].append(await job(server, session, limit, options.writes))
        for limit in PHASES:
            theirs[limit].append(await fixed(server, best[limit], limit, options.writes))
    print()
    for limit in PHASES:
        print(f"{options.writes} writes, {limit} at once")
        ours, other = show("as it is", mine[limit]), show(f"fixed at {best[limit]}", theirs[limit])
        print(f"  {'throughput':14} {other / ours:6.2f} of the best fixed number")
    totals = [sum(took for took, _ in rounds) for rounds in zip(*mine.values(), strict=True)]
    others = [sum(took for took, _ in rounds) for rounds in zip(*theirs.values(), strict=True)]
    print(
        f"all three: {statistics.median(others) / statistics.median(totals):.2f} of the best fixed numbers' throughput"
    )


def main() -> None:
    """Start the server, measure, stop the server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.03)
    parser.add_argument("--retry-after", type=float, default=None, help="none by default")
    options = parser.parse_args()
    print(
        platform.platform(),
        platform.processor() or platform.machine(),
        f"{multiprocessing.cpu_count()} cores",
    )
    names = ("ezeep_async", "aiohttp", "msgspec", "attrs")
    print(
        f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in names), "\n"
    )
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, options.latency, options.retry_after)
    )
    server.start()
    try:
        endpoints, app, tokens, (users, groups) = here.recv()
        asyncio.run(measure(Server(here, endpoints, app, tokens, users, groups), options))
    finally:
        here.send(None)
        server.join(10)


if __name__ == "__main__":
    main()
