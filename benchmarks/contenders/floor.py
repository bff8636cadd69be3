"""The floor: aiohttp and msgspec by hand, straight into frozen attrs classes with UUIDs. No refresh, retries or checks.

Blocking works run the same loop in a thread, and wait for it with `asyncio.run_coroutine_threadsafe`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import UUID

import aiohttp
import attrs
import msgspec
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
from yarl import URL


T = TypeVar("T")


@attrs.frozen
class Origin:
    """Where a group comes from."""

    provider: str = "Ezeep"
    foreign_id: str | None = None


@attrs.frozen(kw_only=True)
class Group:
    """A group of the printing API."""

    id: UUID
    name: str
    description: str = ""
    local_printing_enabled: bool = False
    myprinters_enabled: bool = False
    origin: Origin = Origin()
    organization_id: UUID
    num_members: int = 0
    num_printers: int = 0


@attrs.frozen
class GroupRef:
    """A membership."""

    group_id: UUID


@attrs.frozen(kw_only=True)
class User:
    """A user of the printing API."""

    id: UUID
    local_printing_enabled: bool = False
    self_service_enabled: bool = False
    myprinters_enabled: bool = False
    groups: tuple[GroupRef, ...]


@attrs.frozen
class Page(Generic[T]):
    """One page of a listing."""

    count: int
    results: list[T]
    next: str | None = None


@attrs.frozen
class Upload:
    """The response of PrepareUpload."""

    fileid: str
    sasUri: str  # noqa: N815  # the name on the wire


@attrs.frozen
class Accepted:
    """The response of Print."""

    jobid: str


@attrs.frozen
class Status:
    """The response of Status."""

    jobstatus: int
    jobstatusstring: str = ""
    jobpagesprinted: int = 0
    jobpagestotal: int = 0
    jobposition: int = 0


decode_upload = msgspec.json.Decoder(Upload).decode
decode_accepted = msgspec.json.Decoder(Accepted).decode
decode_status = msgspec.json.Decoder(Status).decode
decode_group = msgspec.json.Decoder(Group).decode
decode_user = msgspec.json.Decoder(User).decode
decode_users = msgspec.json.Decoder(Page[User]).decode


class Floor:
    """The works, on one client."""

    def __init__(self, client: aiohttp.ClientSession, base: str) -> None:
        self._client = client
        self._users = base + "/printing/v1/users/"
        self._groups = base + "/printing/v1/groups/"
        self._print = base + "/sfapi/"

    async def page(self, offset: int) -> Page[User]:
        async with self._client.get(f"{self._users}?limit={PAGE}&offset={offset}") as response:
            return decode_users(await response.read())

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

    async def stream(self, _: Job) -> int:
        seen, total = 0, 1
        while seen < total:
            page = await self.page(seen)
            total = page.count
            seen += len(page.results)
        return seen

    async def get_group(self, group_id: str) -> Group:
        async with self._client.get(f"{self._groups}{group_id}/") as response:
            return decode_group(await response.read())

    async def get_user(self, number: int) -> User:
        async with self._client.get(f"{self._users}{user_id(number)}/") as response:
            return decode_user(await response.read())

    async def set_groups(self, number: int, groups: Sequence[str]) -> User:
        body = msgspec.json.encode({"groups": [{"group_id": each} for each in groups]})
        url = f"{self._users}{user_id(number)}/"
        async with self._client.patch(
            url, data=body, headers={"Content-Type": "application/json"}
        ) as response:
            return decode_user(await response.read())

    async def gets(self, job: Job) -> int:
        for _ in range(job.n):
            await self.get_group(GROUP)
        return job.n

    async def writes(self, job: Job) -> int:
        groups = group_ids(job.groups)

        async def write(number: int) -> None:
            await self.get_user(number)
            await self.set_groups(number, groups)

        return await in_tasks(job.n, CONCURRENT_WRITES, write)

    async def prints(self, job: Job) -> int:
        # The storage must not get the token: a client of its own, over the same connections.
        async with aiohttp.ClientSession(
            connector=self._client.connector,
            connector_owner=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as storage:

            async def print_one(_: int) -> None:
                job_id = await self.print_file(storage)
                while (await self.status(job_id)).jobstatus in {129, 1246}:  # noqa: ASYNC110  # polls a server
                    await asyncio.sleep(STATUS_INTERVAL_S)

            return await in_tasks(job.n, CONCURRENT_JOBS, print_one)

    async def print_file(self, storage: aiohttp.ClientSession) -> str:
        async with self._client.get(f"{self._print}PrepareUpload/") as response:
            upload = decode_upload(await response.read())
        address = URL(upload.sasUri, encoded=True)
        async with storage.put(address, data=DOCUMENT, headers={"x-ms-blob-type": "BlockBlob"}) as response:
            response.raise_for_status()
        order = {
            "fileid": upload.fileid,
            "type": "pdf",
            "alias": "a.pdf",
            "printerid": PRINTER,
            "printanddelete": True,
            "properties": {"copies": 2, "duplex": True, "duplexmode": 2},
        }
        headers = {"Content-Type": "application/json"}
        async with self._client.post(
            f"{self._print}Print/", data=msgspec.json.encode(order), headers=headers
        ) as response:
            return decode_accepted(await response.read()).jobid

    async def status(self, job_id: str) -> Status:
        address = URL(f"{self._print}Status/?id={quote(job_id, safe='')}", encoded=True)
        async with self._client.get(address) as response:
            return decode_status(await response.read())


class InThread:
    """The blocking works: the floor on an event loop in a thread."""

    def __init__(self, base: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.client = self.wait(open_client())
        self.floor = Floor(self.client, base)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def gets(self, job: Job) -> int:
        for _ in range(job.n):
            self.wait(self.floor.get_group(GROUP))
        return job.n

    def list(self, _: Job) -> int:
        users: list[User] = []
        total = 1
        while len(users) < total:
            page = self.wait(self.floor.page(len(users)))
            total = page.count
            users += page.results
        return len(users)

    def close(self) -> None:
        self.wait(self.client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def open_client() -> aiohttp.ClientSession:
    """A client with a fixed token, and nothing that takes time."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Authorization": "Bearer " + "a" * 40, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None),
    )


@asynccontextmanager
async def contender(base: str) -> AsyncIterator[dict[str, Work]]:
    """The works of the floor."""
    async with await open_client() as client:
        floor, blocking = Floor(client, base), InThread(base)
        yield {
            "list": floor.list,
            "list concurrently": floor.list_concurrently,
            "stream": floor.stream,
            "gets": floor.gets,
            "writes": floor.writes,
            "prints": floor.prints,
            "blocking gets": blocking.gets,
            "blocking list": blocking.list,
        }
        blocking.close()


if __name__ == "__main__":
    main(contender)
