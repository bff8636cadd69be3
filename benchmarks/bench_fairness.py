"""How long one call takes while a job of 1000 writes has the same session busy, beside a session that is idle.

    nox -s bench -- fairness [--rounds 5] [--writes 1000] [--latency 0.05] [--concurrency 8]

The server is the sandbox in a process of its own. The single call comes ten times during each job, whether the one before
has been answered or not: with the job begun all at once, and with the job in `session.background()`. Printed are medians
and the ratio to the idle session's call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import platform
import statistics
import time
from importlib.metadata import version
from multiprocessing.connection import Connection

from ezeep_async import EzeepSession, Settings
from ezeep_async.sandbox import Sandbox


CALLS = 10


def serve(pipe: Connection, latency: float) -> None:
    """The sandbox, until the pipe says stop."""

    async def main() -> None:
        async with Sandbox(users=1000, latency=latency) as sandbox:
            users, groups = list(sandbox.organization.users), list(sandbox.organization.groups)
            pipe.send((sandbox.endpoints, sandbox.oauth_app, sandbox.tokens(), users, groups))
            await asyncio.to_thread(pipe.recv)

    asyncio.run(main())


async def single_calls(session: EzeepSession, group: object, pause: float) -> list[float]:
    """Seconds that each of some calls takes, which come one after the other with a pause in between."""

    async def one() -> float:
        begun = time.perf_counter()
        await session.groups.get(str(group))
        return time.perf_counter() - begun

    calls: list[asyncio.Task[float]] = []
    for _ in range(CALLS):
        calls.append(asyncio.create_task(one()))
        await asyncio.sleep(pause)
    return await asyncio.gather(*calls)


async def measure(options: argparse.Namespace, pipe: Connection) -> None:
    """The interleaved rounds: idle, a job, a job in the background."""
    endpoints, app, tokens, users, groups = pipe.recv()
    results: dict[str, list[float]] = {"idle": [], "a job": [], "a job in the background": []}
    jobs: dict[str, list[float]] = {"a job": [], "a job in the background": []}
    settings = Settings(concurrency=options.concurrency, deadline=600)
    for _ in range(options.rounds):
        for what, times in results.items():
            async with EzeepSession(app, tokens=tokens, endpoints=endpoints, settings=settings) as session:
                await session.groups.get(str(groups[0]))
                if what == "idle":
                    times.extend(await single_calls(session, groups[0], 2 * options.latency))
                    continue
                begun = time.perf_counter()
                with session.background() if "background" in what else contextlib.nullcontext():
                    job = [
                        asyncio.create_task(session.users.set_groups(user, [groups[0]]))
                        for user in (users * (options.writes // len(users) + 1))[: options.writes]
                    ]
                await asyncio.sleep(options.latency)
                times.extend(await single_calls(session, groups[0], 2 * options.latency))
                await asyncio.gather(*job)
                jobs[what].append(time.perf_counter() - begun)
    idle = statistics.median(results["idle"])
    for what, times in results.items():
        median = statistics.median(times)
        line = f"{what:24} {median * 1e3:7.0f} ms for a single call ({min(times) * 1e3:.0f} to {max(times) * 1e3:.0f})"
        line += f", {median / idle:6.1f} x idle"
        if what in jobs:
            line += f"; the job {statistics.median(jobs[what]):.2f} s"
        print(line)


def main() -> None:
    """Start the server, measure, stop the server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--concurrency", type=int, default=8)
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
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.latency))
    server.start()
    try:
        asyncio.run(measure(options, here))
    finally:
        here.send("stop")
        server.join(10)


if __name__ == "__main__":
    main()
