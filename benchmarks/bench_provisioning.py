"""30 000 memberships for 10 000 users in 200 groups: `session.provisioning` beside two hand-written scripts, in one run.

    python benchmarks/bench_provisioning.py [--rounds 5] [--users 10000] [--groups 200] [--each 3] [--rows 1500] [--latency 0]

The server is the sandbox in a process of its own; it is reset before each run, which is not timed. Rounds are interleaved.
The input is a mapping from group names to e-mail addresses. Everybody has to find out who is who, and then to write.

- sequential: what most people write first. Read the user, add one group, write, for each row. It would take minutes, so
  it does the first `--rows` of them, and its rate is what is compared.
- concurrent: what a careful engineer writes in an afternoon with aiohttp. All listings at once, rows merged by user, then
  16 workers that read, merge and write, and try again after a 429 or a lost connection.

Printed are medians, the spread, and ratios, which are the only numbers that mean something on another machine. A third
part measures the peak memory of a process that plans and applies, for as many users and for ten times as many.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection

import aiohttp
import attrs

from ezeep_async import DesiredState, Endpoints, EzeepSession, OAuthApp, Settings, TokenSet
from ezeep_async.sandbox import Sandbox


WORKERS = 16
Desired = Mapping[str, list[str]]


# --- the server ----------------------------------------------------------------------------------------------------


def serve(pipe: Connection, users: int, groups: int, each: int, latency: float) -> None:
    """The sandbox, until the pipe says stop. "reset" empties all memberships and counts, "count" returns the number of requests."""

    async def main() -> None:
        async with Sandbox(users=users, groups=2, latency=latency) as sandbox:
            organization = sandbox.organization
            for group_id in list(organization.groups):
                organization.remove_group(group_id)
            names = [organization.add_group(f"Group {n:03}").name for n in range(groups)]
            desired: dict[str, list[str]] = {name: [] for name in names}
            for place, person in enumerate(organization.listed_people()):
                for step in range(each):
                    desired[names[(place + step * 67) % groups]].append(person.email)
            pipe.send((sandbox.endpoints, sandbox.oauth_app, desired))
            while (order := await asyncio.to_thread(pipe.recv)) != "stop":
                if order == "reset":
                    for user in organization.listed_users():
                        user.groups.clear()
                    sandbox.reset_counts()
                    pipe.send(sandbox.tokens())
                else:
                    memberships = sum(len(user.groups) for user in organization.listed_users())
                    pipe.send((len(sandbox.requests), memberships))

    asyncio.run(main())


@attrs.frozen
class Server:
    """The sandbox in its process."""

    pipe: Connection
    endpoints: Endpoints
    app: OAuthApp
    desired: Desired

    def reset(self) -> TokenSet:
        """Begin anew, with a fresh login."""
        self.pipe.send("reset")
        return self.pipe.recv()

    def counted(self) -> tuple[int, int]:
        """Requests, and memberships that there are now."""
        self.pipe.send("count")
        return self.pipe.recv()


@contextmanager
def server(users: int, groups: int, each: int, latency: float) -> Iterator[Server]:
    """Start it, and stop it."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, users, groups, each, latency)
    )
    process.start()
    try:
        yield Server(here, *here.recv())
    finally:
        here.send("stop")
        process.join(20)


# --- the contenders ------------------------------------------------------------------------------------------------


async def provision(server: Server, tokens: TokenSet, verify: str) -> None:
    """This package: plan and apply."""
    async with EzeepSession(server.app, tokens=tokens, endpoints=server.endpoints) as session:
        plan = await session.provisioning.plan(DesiredState.from_mapping(server.desired))
        report = await session.provisioning.apply(plan, concurrency=WORKERS, verify=verify)
        report.raise_for_failures()


class Script:
    """What both scripts need: a client with a token, and listings."""

    def __init__(self, client: aiohttp.ClientSession, endpoints: Endpoints) -> None:
        self._client = client
        self._api = f"{endpoints.api}/printing/v1/"
        self._account = f"{endpoints.account}/v1/"

    async def listed(self, url: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        total = 1
        while len(found) < total:
            page = await self.send("GET", f"{url}?limit=100&offset={len(found)}")
            total = page["count"]
            found += page["results"]
        return found

    async def send(self, method: str, url: str, body: object = None) -> dict:
        for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
            try:
                async with self._client.request(method, url, json=body) as response:
                    content = await response.read()
                    if response.status == 429 or response.status >= 500:
                        await asyncio.sleep(float(response.headers.get("Retry-After", pause)))
                        continue
                    response.raise_for_status()
                    return json.loads(content)
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(pause)
        raise SystemExit(f"{method} {url} does not work")

    async def known(self) -> tuple[dict[str, str], dict[str, str]]:
        groups, people = await asyncio.gather(
            self.listed(f"{self._api}groups/"), self.listed(f"{self._account}users/")
        )
        return {g["name"]: g["id"] for g in groups}, {p["email"].lower(): p["id"] for p in people}

    async def add(self, user_id: str, group_ids: set[str]) -> None:
        url = f"{self._api}users/{user_id}/"
        user = await self.send("GET", url)
        now = {group["group_id"] for group in user["groups"]}
        if not group_ids <= now:
            wanted = [{"group_id": group_id} for group_id in sorted(now | group_ids)]
            await self.send("PATCH", url, {"groups": wanted})

    async def sequential(self, desired: Desired, rows: int) -> int:
        groups, people = await self.known()
        done = 0
        for name, members in desired.items():
            for member in members:
                if done == rows:
                    return done
                await self.add(people[member], {groups[name]})
                done += 1
        return done

    async def concurrent(self, desired: Desired) -> None:
        groups, people = await self.known()
        wanted: dict[str, set[str]] = defaultdict(set)
        for name, members in desired.items():
            for member in members:
                wanted[people[member]].add(groups[name])
        rows = iter(wanted.items())

        async def worker() -> None:
            for user_id, group_ids in rows:
                await self.add(user_id, group_ids)

        await asyncio.gather(*[worker() for _ in range(WORKERS)])


async def script(server: Server, tokens: TokenSet, work: Callable[[Script], Awaitable[object]]) -> None:
    """Run a script with a client of its own."""
    headers = {"Authorization": f"Bearer {tokens.access_token}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as client:
        await work(Script(client, server.endpoints))


# --- measuring -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Run:
    """One run of one contender."""

    wall: float
    cpu: float
    requests: int
    memberships: int


def timed(server: Server, work: Callable[[TokenSet], Awaitable[None]]) -> Run:
    """Reset, run, count."""
    tokens = server.reset()
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(work(tokens))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(wall, cpu, *server.counted())


def compare(options: argparse.Namespace) -> None:
    """The interleaved rounds."""
    total = options.users * options.each
    with server(options.users, options.groups, options.each, options.latency) as there:
        contenders: dict[str, Callable[[TokenSet], Awaitable[None]]] = {
            "ezeep_async": lambda tokens: provision(there, tokens, "fresh"),
            "ezeep_async, trust-plan": lambda tokens: provision(there, tokens, "trust-plan"),
            "concurrent script": lambda tokens: script(there, tokens, lambda s: s.concurrent(there.desired)),
            "sequential script": lambda tokens: script(
                there, tokens, lambda s: s.sequential(there.desired, options.rows)
            ),
        }
        expected = dict.fromkeys(contenders, total) | {"sequential script": min(options.rows, total)}
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, work in contenders.items():
                run = timed(there, work)
                if run.memberships != expected[name]:
                    raise SystemExit(f"{name}: {run.memberships} instead of {expected[name]} memberships")
                runs[name].append(run)
    rates = {
        name: statistics.median(run.memberships / run.wall for run in each) for name, each in runs.items()
    }
    for name, each in runs.items():
        walls = [run.wall for run in each]
        print(
            f"{name:24} {statistics.median(walls):7.2f} s wall ({min(walls):.2f} to {max(walls):.2f}), "
            f"{statistics.median(run.cpu for run in each):7.2f} s CPU, {each[0].memberships} memberships, "
            f"{each[0].requests} requests, {rates[name]:7.0f} memberships/s"
        )
    for mine in ("ezeep_async", "ezeep_async, trust-plan"):
        run = runs[mine][0]
        cpu = statistics.median(
            ours.cpu / theirs.cpu for ours, theirs in zip(runs[mine], runs["concurrent script"], strict=True)
        )
        print(
            f"{mine}: {run.requests / options.users:.3f} requests per changed user; "
            f"{cpu:.2f} x the CPU of the concurrent script, "
            f"{rates[mine] / rates['concurrent script']:.2f} x the concurrent script's rate, "
            f"{rates[mine] / rates['sequential script']:.1f} x the sequential one's"
        )


def peak(pipe: Connection, endpoints: Endpoints, app: OAuthApp, tokens: TokenSet, desired: Desired) -> None:
    """Plan and apply in this process, and tell its peak memory in MiB: before the plan, after it, at the end."""

    async def main() -> None:
        state = DesiredState.from_mapping(desired)
        peaks = [_peak()]
        settings = Settings(deadline=600)
        async with EzeepSession(app, tokens=tokens, endpoints=endpoints, settings=settings) as session:
            plan = await session.provisioning.plan(state)
            peaks.append(_peak())
            (await session.provisioning.apply(plan, verify="trust-plan")).raise_for_failures()
        pipe.send([*peaks, _peak()])

    asyncio.run(main())


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(users: int, options: argparse.Namespace) -> None:
    """Peak memory of a process of its own."""
    with server(users, options.groups, options.each, 0.0) as there:
        here, child = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=peak, args=(child, there.endpoints, there.app, there.reset(), there.desired)
        )
        process.start()
        start, planned, applied = here.recv()
        process.join()
    print(
        f"{users:7} users, {users * options.each:7} memberships: {start:.0f} MiB with the input, "
        f"{planned:.0f} MiB after the plan, {applied:.0f} MiB in all"
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--no-memory", action="store_true")
    options = parser.parse_args()
    names = ("ezeep_async", "aiohttp", "msgspec", "attrs")
    print(platform.platform(), platform.machine(), f"{multiprocessing.cpu_count()} cores")
    print(
        f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in names), "\n"
    )
    compare(options)
    if not options.no_memory:
        print()
        for users in (options.users, options.users * 10):
            memory(users, options)


if __name__ == "__main__":
    main()
