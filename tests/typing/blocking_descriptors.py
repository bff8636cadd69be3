"""Signatures of blocking methods as type checkers see them: those of the async methods without `await`.

Checked by `mypy --strict` and pyright in strict mode, never run. Each ignore comment is an error that must be reported.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, assert_type
from uuid import UUID

import attrs

from ezeep_async.blocking import portal
from ezeep_async.blocking.descriptors import BlockingPages, BlockingPaginator, call, listing, plain
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.reader import Page


@attrs.frozen
class Group:
    id: UUID


class Groups:
    async def get(self, group_id: UUID | str) -> Group:
        raise NotImplementedError

    async def ensure(self, name: str, *, local: bool | None = None) -> tuple[Group, bool]:
        raise NotImplementedError

    async def delete(self, *group_ids: UUID | str) -> None:
        raise NotImplementedError

    def send(self, path: str) -> Awaitable[bytes]:
        raise NotImplementedError

    def list(self, page_size: int = 100, concurrency: int = 1) -> Paginator[Group]:
        raise NotImplementedError

    def url(self, path: str = "/") -> str:
        raise NotImplementedError


class BlockingGroups:
    _called = "session.groups"

    def __init__(self, aio: Groups) -> None:
        self._aio = aio

    get = call(Groups.get)
    ensure = call(Groups.ensure)
    delete = call(Groups.delete)
    send = call(Groups.send)
    list = listing(Groups.list)
    url = plain(Groups.url)


class Other:
    _called = "session.other"
    _aio: str
    get = call(Groups.get)


def right(groups: BlockingGroups, group_id: UUID) -> None:
    assert_type(groups.get(group_id), Group)
    assert_type(groups.get(group_id="a"), Group)
    assert_type(groups.ensure("a", local=True), tuple[Group, bool])
    assert_type(groups.send("a"), bytes)
    assert_type(groups.url(), str)
    groups.delete("a", group_id)
    as_callback: Callable[[UUID | str], Group] = groups.get
    as_callback("a")

    paginator = groups.list(page_size=5)
    assert_type(paginator, BlockingPaginator[Group])
    assert_type(iter(paginator), Generator[Group, None, None])
    for item in paginator:
        assert_type(item, Group)
    assert_type(paginator.pages(), BlockingPages[Group])
    assert_type(next(paginator.pages()), Page[Group])
    assert_type(paginator.collect(consistent=True)[0], Group)
    assert_type(paginator.first(), Group | None)
    assert_type(paginator.count(), int)
    assert_type(paginator.drift, bool)
    with groups.list() as listed:
        assert_type(listed, BlockingPaginator[Group])

    assert_type(BlockingGroups.get(groups, "a"), Group)
    assert_type(portal.run("await f()", Groups().get, "a"), Group)


def wrong(groups: BlockingGroups, other: Other) -> None:
    groups.get()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    groups.get(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    groups.get("a", "b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    groups.ensure("a", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    groups.list(size=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    groups.url(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    portal.run("await f()", Groups().get)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    other.get("a")  # type: ignore[misc]  # only mypy checks the type of `_aio`
    not_a_coroutine: Coroutine[Any, Any, Group] = groups.get("a")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del not_a_coroutine
    call(Groups.url)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    listing(Groups.url)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
