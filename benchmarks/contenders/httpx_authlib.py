"""httpx with Authlib's OAuth2 client, which refreshes tokens; `httpx.Client` for blocking works. JSON stays dicts."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from worker import (
    CONCURRENT_PAGES,
    CONCURRENT_WRITES,
    GROUP,
    PAGE,
    Job,
    Work,
    group_ids,
    in_tasks,
    main,
    user_id,
)


with warnings.catch_warnings(record=True):  # Authlib 1.9 recommends a successor of httpx
    from authlib.integrations.httpx_client import AsyncOAuth2Client


class Httpx:
    """The works on one client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def page(self, offset: int) -> dict[str, Any]:
        response = await self._client.get("/printing/v1/users/", params={"limit": PAGE, "offset": offset})
        return response.raise_for_status().json()

    async def list(self, _: Job) -> int:
        users: list[object] = []
        total = 1
        while len(users) < total:
            page = await self.page(len(users))
            total = page["count"]
            users += page["results"]
        return len(users)

    async def list_concurrently(self, job: Job) -> int:
        slots = asyncio.Semaphore(CONCURRENT_PAGES)

        async def read(offset: int) -> list[object]:
            async with slots:
                return (await self.page(offset))["results"]

        pages = await asyncio.gather(*[read(offset) for offset in range(0, job.n, PAGE)])
        return sum(len(page) for page in pages)

    async def gets(self, job: Job) -> int:
        for _ in range(job.n):
            (await self._client.get(f"/printing/v1/groups/{GROUP}/")).raise_for_status().json()
        return job.n

    async def writes(self, job: Job) -> int:
        body = {"groups": [{"group_id": each} for each in group_ids(job.groups)]}

        async def write(number: int) -> None:
            path = f"/printing/v1/users/{user_id(number)}/"
            (await self._client.get(path)).raise_for_status().json()
            (await self._client.patch(path, json=body)).raise_for_status().json()

        return await in_tasks(job.n, CONCURRENT_WRITES, write)


class Blocking:
    """The blocking works."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def gets(self, job: Job) -> int:
        for _ in range(job.n):
            self._client.get(f"/printing/v1/groups/{GROUP}/").raise_for_status().json()
        return job.n

    def list(self, _: Job) -> int:
        users: list[object] = []
        total = 1
        while len(users) < total:
            response = self._client.get("/printing/v1/users/", params={"limit": PAGE, "offset": len(users)})
            page = response.raise_for_status().json()
            total = page["count"]
            users += page["results"]
        return len(users)


@asynccontextmanager
async def contender(base: str) -> AsyncIterator[dict[str, Work]]:
    """The works of httpx."""
    token = {
        "access_token": "a" * 40,
        "refresh_token": "r" * 40,
        "token_type": "Bearer",
        "expires_at": int(time.time()) + 86_400,
    }
    endpoint = base + "/oauth/access_token/"
    with httpx.Client(base_url=base, headers={"Authorization": "Bearer " + "a" * 40}, timeout=60) as client:
        async with AsyncOAuth2Client(
            "benchmark", "benchmark", token=token, token_endpoint=endpoint, base_url=base, timeout=60
        ) as oauth_client:
            works, blocking = Httpx(oauth_client), Blocking(client)
            yield {
                "list": works.list,
                "list concurrently": works.list_concurrently,
                "gets": works.gets,
                "writes": works.writes,
                "blocking gets": blocking.gets,
                "blocking list": blocking.list,
            }


if __name__ == "__main__":
    main(contender)
