"""The process of one contender: reads works on standard input, does them, and prints what they cost.

A line is a JSON object: `work`, `n`, and for some works `repeat` and `groups`. The response is a JSON object with CPU and
wall seconds, and the peak memory of the process in MiB. The process does nothing between two works.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass


PAGE = 100
CONCURRENT_PAGES = 10
CONCURRENT_WRITES = 50
CONCURRENT_JOBS = 32
STATUS_INTERVAL_S = 0.01
PRINTER = "00000000-0000-4000-a000-000000000001"
DOCUMENT = b"%PDF-1.4" + bytes(4000)
GROUP = "00000000-0000-4000-8000-000000000000"
COLLECT_AFTER = 10_000
"""Users or calls after which garbage is collected, between two repetitions."""


@dataclass(frozen=True)
class Job:
    """One line of input."""

    work: str
    n: int
    """Users, pages' rows, calls or tasks: what the work counts."""
    repeat: int = 1
    groups: int = 1
    """Groups to write for each user."""


Work = Callable[[Job], Awaitable[int] | int]
"""Returns the number that it has done, which must be `n`. A function that is no coroutine function runs outside the loop."""
Contender = Callable[[str], AbstractAsyncContextManager[Mapping[str, Work]]]
"""Takes the address of the server."""


def user_id(number: int) -> str:
    """The id of a user at the server."""
    return f"{(number + 1) * 0x9E3779B1 % 2**32:08x}-0000-4000-8000-{number + 1:012x}"


def group_ids(number: int) -> list[str]:
    """The ids of the first groups at the server."""
    return [f"00000000-0000-4000-8000-{each:012x}" for each in range(number)]


async def in_tasks(n: int, tasks: int, call: Callable[[int], Awaitable[object]]) -> int:
    """Await `call(0)` to `call(n - 1)` in as many tasks."""
    numbers = iter(range(n))

    async def task() -> int:
        done = 0
        for done, number in enumerate(numbers, 1):  # noqa: B007  # the count is the result
            await call(number)
        return done

    return sum(await asyncio.gather(*[task() for _ in range(tasks)]))


def in_threads(n: int, threads: int, call: Callable[[int], object]) -> int:
    """Call `call(0)` to `call(n - 1)` in as many threads."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(1 for _ in pool.map(call, range(n)))


def main(contender: Contender, new_event_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    """Serve one contender on the process's standard streams."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("base", help="the address of the server")
    base = parser.parse_args().base
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        opened = contender(base)
        works = runner.run(opened.__aenter__())
        print(json.dumps(sorted(works)), flush=True)
        for line in sys.stdin:
            job = Job(**json.loads(line))
            print(json.dumps(_measured(runner, works[job.work], job)), flush=True)
        runner.run(opened.__aexit__(None, None, None))


def _measured(runner: asyncio.Runner, work: Work, job: Job) -> dict[str, float]:
    wall = cpu = 0.0
    uncollected = COLLECT_AFTER
    for _ in range(job.repeat):
        # What repetitions before left behind is not the cost of this one: collecting the records of one listing takes as
        # long as the next listing.
        if uncollected >= COLLECT_AFTER:
            gc.collect()
            uncollected = 0
        uncollected += job.n
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        done = runner.run(work(job)) if inspect.iscoroutinefunction(work) else work(job)
        wall += time.perf_counter() - wall_before
        cpu += time.process_time() - cpu_before
        if done != job.n:
            raise SystemExit(f"{job}: {done} were done: this is no result")
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"cpu": cpu, "wall": wall, "peak": peak}
