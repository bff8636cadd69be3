"""Two hand-written scripts that provision, without a plan, a report, or the checks of the SDK.

- concurrent: what a careful engineer writes in an afternoon with aiohttp. All listings at once, rows merged by user, then
  16 workers that read, merge and write, and try again after a 429 or a lost connection.
- sequential: what most people write first. Read the user, add one group, write, for each row.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from members import WRITERS, desired
from worker import Job, Work, main


class Script:
    """What both scripts share: a client with a token, and listings."""

    def __init__(self, client: aiohttp.ClientSession, base: str) -> None:
        self._client = client
        self._api = f"{base}/printing/v1/"
        self._account = f"{base}/v1/"

    async def concurrent(self, job: Job) -> int:
        groups, people = await self._known()
        wanted: dict[str, set[str]] = defaultdict(set)
        for name, members in desired(job.n).items():
            for member in members:
                wanted[people[member]].add(groups[name])
        rows = iter(wanted.items())

        async def worker() -> None:
            for user_id, group_ids in rows:
                await self._add(user_id, group_ids)

        await asyncio.gather(*[worker() for _ in range(WRITERS)])
        return job.n

    async def sequential(self, job: Job) -> int:
        groups, people = await self._known()
        rows = ((name, member) for name, members in desired(len(people)).items() for member in members)
        for name, member in itertools.islice(rows, job.n):
            await self._add(people[member], {groups[name]})
        return job.n

    async def _known(self) -> tuple[dict[str, str], dict[str, str]]:
        groups, people = await asyncio.gather(
            self._listed(f"{self._api}groups/"), self._listed(f"{self._account}users/")
        )
        return {g["name"]: g["id"] for g in groups}, {p["email"].lower(): p["id"] for p in people}

    async def _listed(self, url: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        total = 1
        while len(found) < total:
            page = await self._send("GET", f"{url}?limit=100&offset={len(found)}")
            total = page["count"]
            found += page["results"]
        return found

    async def _send(self, method: str, url: str, body: object = None) -> Any:
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

    async def _add(self, user_id: str, group_ids: set[str]) -> None:
        url = f"{self._api}users/{user_id}/"
        user = await self._send("GET", url)
        now = {group["group_id"] for group in user["groups"]}
        if not group_ids <= now:
            wanted = [{"group_id": group_id} for group_id in sorted(now | group_ids)]
            await self._send("PATCH", url, {"groups": wanted})


@asynccontextmanager
async def contender(base: str) -> AsyncIterator[dict[str, Work]]:
    """Both scripts, on one client."""
    headers = {"Authorization": "Bearer " + "a" * 40, "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as client:
        script = Script(client, base)
        yield {"provision": script.concurrent, "provision, row by row": script.sequential}


if __name__ == "__main__":
    main(contender)
