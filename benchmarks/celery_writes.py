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


@functools.cache
def settings(kind: str, value: str) -> Settings:
    """Made once in each process for each run: `SharedPace` begins without knowledge."""
    if kind == "shared":
        return Settings(deadline=600, shared_pace=SharedPace(REDIS_URL, f"pace-{value}"))
    if kind == "rate":
        return Settings(deadline=600, requests_per_second=float(value))
    return Settings(deadline=600, concurrency=int(value))


@app.task
def write(kind: str, value: str, users: list[str], group: str) -> int:
    """Write the groups of some users, all at once as far as the settings allow. Returns the 429 responses."""

    async def main() -> int:
        ezeep, store = OAuthApp(os.environ["EZEEP_CLIENT_ID"]), RedisTokenStore(REDIS_URL)
        async with EzeepSession(
            ezeep, store, endpoints=Endpoints.from_env(), settings=settings(kind, value)
        ) as session:
            await asyncio.gather(*[session.users.set_groups(user, [group]) for user in users])
            return session.stats.throttled

    return asyncio.run(main())
