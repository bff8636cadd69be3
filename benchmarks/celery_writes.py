"""The Celery application of bench_shared_pace.py: `celery -A celery_writes worker -c 4`."""

from __future__ import annotations

import asyncio
import functools
import os

from celery import Celery

from ezeep_async import Endpoints, EzeepSession, OAuthApp, RedisTokenStore, Settings, SharedPace


REDIS_URL = os.environ["REDIS_URL"]
app = Celery("celery_writes", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(worker_prefetch_multiplier=1, task_acks_late=True)
opened: dict[tuple[str, str], EzeepSession] = {}
"""The session of the current run: one for all tasks of this process."""


@functools.cache
def runner() -> asyncio.Runner:
    """One event loop for each process."""
    return asyncio.Runner()


def settings(kind: str, value: str) -> Settings:
    """`SharedPace` begins each run without knowledge."""
    if kind == "shared":
        return Settings(deadline=600, shared_pace=SharedPace(REDIS_URL, f"pace-{value}"))
    if kind == "rate":
        return Settings(deadline=600, requests_per_second=float(value))
    return Settings(deadline=600, concurrency=int(value))


@app.task
def write(kind: str, value: str, users: list[str], group: str) -> None:
    """Write the groups of some users, all at once as far as the settings allow."""

    async def main() -> None:
        if (kind, value) not in opened:
            while opened:
                await opened.popitem()[1].aclose()
            ezeep, store = OAuthApp(os.environ["EZEEP_CLIENT_ID"]), RedisTokenStore(REDIS_URL)
            opened[kind, value] = EzeepSession(
                ezeep, store, endpoints=Endpoints.from_env(), settings=settings(kind, value)
            )
        session = opened[kind, value]
        await asyncio.gather(*[session.users.set_groups(user, [group]) for user in users])

    runner().run(main())
