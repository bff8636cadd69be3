"""requests: one session, and threads where the work is concurrent. JSON stays dicts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from worker import (
    CONCURRENT_PAGES,
    CONCURRENT_WRITES,
    GROUP,
    PAGE,
    Job,
    Work,
    group_ids,
    in_threads,
    main,
    user_id,
)


class Requests:
    """The works on one session."""

    def __init__(self, session: requests.Session, base: str) -> None:
        self._session = session
        self._users = base + "/printing/v1/users/"
        self._group = f"{base}/printing/v1/groups/{GROUP}/"

    def page(self, offset: int) -> dict[str, Any]:
        response = self._session.get(self._users, params={"limit": PAGE, "offset": offset}, timeout=60)
        response.raise_for_status()
        return response.json()

    def list(self, _: Job) -> int:
        users: list[object] = []
        total = 1
        while len(users) < total:
            page = self.page(len(users))
            total = page["count"]
            users += page["results"]
        return len(users)

    def list_concurrently(self, job: Job) -> int:
        pages: list[list[object]] = [[]] * (job.n // PAGE)

        def read(number: int) -> None:
            pages[number] = self.page(number * PAGE)["results"]

        in_threads(len(pages), CONCURRENT_PAGES, read)
        return sum(len(page) for page in pages)

    def gets(self, job: Job) -> int:
        for _ in range(job.n):
            response = self._session.get(self._group, timeout=60)
            response.raise_for_status()
            response.json()
        return job.n

    def writes(self, job: Job) -> int:
        body = {"groups": [{"group_id": each} for each in group_ids(job.groups)]}

        def write(number: int) -> None:
            url = f"{self._users}{user_id(number)}/"
            for response in (
                self._session.get(url, timeout=60),
                self._session.patch(url, json=body, timeout=60),
            ):
                response.raise_for_status()
                response.json()

        return in_threads(job.n, CONCURRENT_WRITES, write)


@asynccontextmanager
async def contender(base: str) -> AsyncIterator[dict[str, Work]]:
    """The works of requests."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(pool_maxsize=CONCURRENT_WRITES))
        session.headers["Authorization"] = "Bearer " + "a" * 40
        works = Requests(session, base)
        yield {
            "list": works.list,
            "list concurrently": works.list_concurrently,
            "gets": works.gets,
            "writes": works.writes,
            "blocking gets": works.gets,
            "blocking list": works.list,
        }


if __name__ == "__main__":
    main(contender)
