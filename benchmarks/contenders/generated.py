"""The client that openapi-python-client generates from the SDK's description of the API: httpx, and attrs classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from ezeep_client import AuthenticatedClient
from ezeep_client.api.groups import get_group
from ezeep_client.api.users import get_user, list_users, update_user
from ezeep_client.models import Group, Membership, User, UserChange, UserPage
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


class Generated:
    """The works on one client."""

    def __init__(self, client: AuthenticatedClient) -> None:
        self._client = client

    async def page(self, offset: int) -> UserPage:
        page = await list_users.asyncio(client=self._client, limit=PAGE, offset=offset)
        assert isinstance(page, UserPage)
        return page

    async def list(self, _: Job) -> int:
        users: list[User] = []
        total = 1
        while len(users) < total:
            page = await self.page(len(users))
            total = page.count
            users += page.results
        return len(users)

    async def list_concurrently(self, job: Job) -> int:
        pages: list[list[User]] = [[]] * (job.n // PAGE)

        async def read(number: int) -> None:
            pages[number] = (await self.page(number * PAGE)).results

        await in_tasks(len(pages), CONCURRENT_PAGES, read)
        return sum(len(page) for page in pages)

    async def gets(self, job: Job) -> int:
        for _ in range(job.n):
            assert isinstance(await get_group.asyncio(UUID(GROUP), client=self._client), Group)
        return job.n

    async def writes(self, job: Job) -> int:
        groups = [Membership(UUID(each)) for each in group_ids(job.groups)]

        async def write(number: int) -> None:
            user = UUID(user_id(number))
            assert isinstance(await get_user.asyncio(user, client=self._client), User)
            body = UserChange(groups=groups)
            assert isinstance(await update_user.asyncio(user, client=self._client, body=body), User)

        return await in_tasks(job.n, CONCURRENT_WRITES, write)


class Blocking:
    """The blocking works."""

    def __init__(self, client: AuthenticatedClient) -> None:
        self._client = client

    def gets(self, job: Job) -> int:
        for _ in range(job.n):
            assert isinstance(get_group.sync(UUID(GROUP), client=self._client), Group)
        return job.n

    def list(self, _: Job) -> int:
        users: list[User] = []
        total = 1
        while len(users) < total:
            page = list_users.sync(client=self._client, limit=PAGE, offset=len(users))
            assert isinstance(page, UserPage)
            total = page.count
            users += page.results
        return len(users)


@asynccontextmanager
async def contender(base: str) -> AsyncIterator[dict[str, Work]]:
    """The works of the generated client."""
    with AuthenticatedClient(base, token="a" * 40) as blocking_client:
        async with AuthenticatedClient(base, token="a" * 40) as client:
            works, blocking = Generated(client), Blocking(blocking_client)
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
