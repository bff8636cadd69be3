"""The SDK, as its documents show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

from members import WRITERS, desired
from worker import (
    CONCURRENT_JOBS,
    CONCURRENT_PAGES,
    CONCURRENT_WRITES,
    DOCUMENT,
    GROUP,
    PAGE,
    PRINTER,
    STATUS_INTERVAL_S,
    Job,
    Work,
    group_ids,
    in_tasks,
    main,
    user_id,
)

from ezeep_async import (
    DesiredState,
    Endpoints,
    EzeepSession,
    OAuthApp,
    Plan,
    PrintOptions,
    Settings,
    TokenSet,
    run_sync,
)


def new_session(base: str, lifetime: timedelta = timedelta(days=1)) -> EzeepSession:
    """A session with a token set of its own."""
    return EzeepSession(
        OAuthApp("benchmark", "benchmark", "http://127.0.0.1/callback"),
        tokens=TokenSet("a" * 40, "r" * 40, datetime.now(UTC) + lifetime),
        endpoints=Endpoints(base, base, base),
        settings=Settings(concurrency=CONCURRENT_WRITES, deadline=600),
    )


class Sdk:
    """The works on one session."""

    def __init__(self, session: EzeepSession, base: str) -> None:
        self._session = session
        self._base = base
        self._plan: Plan | None = None

    async def list(self, _: Job) -> int:
        return len(await self._session.users.list(page_size=PAGE).collect())

    async def list_concurrently(self, _: Job) -> int:
        return len(await self._session.users.list(page_size=PAGE, concurrency=CONCURRENT_PAGES).collect())

    async def iterate(self, _: Job) -> int:
        return len([user async for user in self._session.users.list(page_size=PAGE)])

    async def stream(self, _: Job) -> int:
        return sum([len(page.items) async for page in self._session.users.list(page_size=PAGE).pages()])

    async def stream_concurrently(self, _: Job) -> int:
        listing = self._session.users.list(page_size=PAGE, concurrency=CONCURRENT_PAGES)
        return sum([len(page.items) async for page in listing.pages()])

    async def gets(self, job: Job) -> int:
        for _ in range(job.n):
            await self._session.groups.get(GROUP)
        return job.n

    async def writes(self, job: Job) -> int:
        users, groups = self._session.users, group_ids(job.groups)

        async def write(number: int) -> None:
            await users.get(user_id(number))
            await users.set_groups(user_id(number), groups)

        return await in_tasks(job.n, CONCURRENT_WRITES, write)

    async def prints(self, job: Job) -> int:
        printer = await self._session.printers.get(PRINTER)
        printing, options = self._session.printing, PrintOptions(copies=2, duplex="long-edge")

        async def print_one(_: int) -> None:
            sent = await printing.print_file(DOCUMENT, printer, options, name="a.pdf")
            await sent.wait(STATUS_INTERVAL_S)

        return await in_tasks(job.n, CONCURRENT_JOBS, print_one)

    async def tasks(self, job: Job) -> int:
        async with new_session(self._base) as session:
            return len(await asyncio.gather(*[session.groups.get(GROUP) for _ in range(job.n)]))

    async def tasks_with_expired_token(self, job: Job) -> int:
        async with new_session(self._base, timedelta(seconds=-1)) as session:
            return len(await asyncio.gather(*[session.groups.get(GROUP) for _ in range(job.n)]))

    async def access_tokens(self, job: Job) -> int:
        access_token = self._session._core.refresher.access_token
        for _ in range(job.n):
            await access_token()
        return job.n

    async def plan(self, job: Job) -> int:
        self._plan = await self._session.provisioning.plan(DesiredState.from_mapping(desired(job.n)))
        return job.n

    async def apply(self, job: Job) -> int:
        return await self._apply(job, "fresh")

    async def apply_trusting_the_plan(self, job: Job) -> int:
        return await self._apply(job, "trust-plan")

    async def _apply(self, job: Job, verify: Literal["fresh", "trust-plan"]) -> int:
        assert self._plan is not None
        report = await self._session.provisioning.apply(self._plan, concurrency=WRITERS, verify=verify)
        report.raise_for_failures()
        return job.n

    async def provision(self, job: Job) -> int:
        return await self.plan(job) and await self.apply(job)

    async def provision_trusting_the_plan(self, job: Job) -> int:
        return await self.plan(job) and await self.apply_trusting_the_plan(job)


@asynccontextmanager
async def contender(base: str) -> AsyncIterator[dict[str, Work]]:
    """The works of the SDK, the blocking ones on a blocking session."""
    blocking = run_sync(new_session(base))

    def blocking_gets(job: Job) -> int:
        for _ in range(job.n):
            blocking.groups.get(GROUP)
        return job.n

    def blocking_list(_: Job) -> int:
        return len(list(blocking.users.list(page_size=PAGE)))

    async with new_session(base) as session:
        sdk = Sdk(session, base)
        yield {
            "list": sdk.list,
            "list concurrently": sdk.list_concurrently,
            "iterate": sdk.iterate,
            "stream": sdk.stream,
            "stream concurrently": sdk.stream_concurrently,
            "gets": sdk.gets,
            "writes": sdk.writes,
            "prints": sdk.prints,
            "tasks": sdk.tasks,
            "tasks, expired token": sdk.tasks_with_expired_token,
            "access tokens": sdk.access_tokens,
            "plan": sdk.plan,
            "apply": sdk.apply,
            "provision": sdk.provision,
            "provision, trusting the plan": sdk.provision_trusting_the_plan,
            "blocking gets": blocking_gets,
            "blocking list": blocking_list,
        }


if __name__ == "__main__":
    main(contender)
