"""Blocking methods and paginators: signatures of the async ones, and no request left running."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import pydoc
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import UUID

import attrs
import pytest

from ezeep_async._runtime import forks
from ezeep_async._wire.converter import PageBody
from ezeep_async.blocking import descriptors as blocking
from ezeep_async.blocking import portal
from ezeep_async.blocking.descriptors import BlockingPaginator, call, listing, plain
from ezeep_async.blocking.session import BlockingAccounts, BlockingInvitations, BlockingUsers
from ezeep_async.blocking.session import BlockingGroups as SessionGroups
from ezeep_async.errors import BlockingCallError, NotFound, SessionClosed
from ezeep_async.pagination import paginator as pagination
from ezeep_async.pagination.reader import Page, RawPage


@attrs.frozen
class Item:
    id: UUID


def items(first: int, last: int) -> list[Item]:
    return [Item(UUID(int=number)) for number in range(first, last)]


@attrs.define(eq=False)
class Pages:
    """Three pages of two items, with one prefetch task that only `aclose` ends."""

    owner: Paginator
    number: int = 0
    ahead: asyncio.Task[bool] | None = None

    async def __anext__(self) -> Page[Item]:
        self.owner.threads.append(threading.get_ident())
        if self.number == 3:
            await self.aclose()
            raise StopAsyncIteration
        if self.number == self.owner.fail_at:
            raise NotFound("no such page", status=404)
        if self.ahead is None:
            self.ahead = asyncio.create_task(asyncio.Event().wait())
            self.owner.running.add(self.ahead)
            self.ahead.add_done_callback(self.owner.running.discard)
        offset = self.number * 2
        self.number += 1
        return Page(items(offset, offset + 2), 6, offset, b"{}")

    async def aclose(self) -> None:
        self.owner.closed.append(threading.get_ident())
        if self.ahead is not None:
            self.ahead.cancel()
            await asyncio.wait([self.ahead])
        self.owner.ended.set()


@attrs.define(eq=False)
class Paginator:
    drift: bool = False
    duplicates: int = 7
    fail_at: int = -1
    threads: list[int] = attrs.Factory(list[int])
    closed: list[int] = attrs.Factory(list[int])
    running: set[asyncio.Task[bool]] = attrs.Factory(set["asyncio.Task[bool]"])
    ended: threading.Event = attrs.Factory(threading.Event)

    def pages(self) -> Pages:
        return Pages(self)


class Groups:
    def __init__(self, paginator: Paginator | None = None) -> None:
        self.paginator = paginator or Paginator()

    async def get(self, group_id: UUID | str, *, fields: tuple[str, ...] = ()) -> tuple[str, int]:
        """One group.

        Raises `NotFound` when there is none.
        """
        if group_id == "missing":
            raise NotFound("no such group", status=404)
        return f"{group_id}{''.join(fields)}", threading.get_ident()

    def list(self, page_size: int = 100, *, offset: int = 0) -> Paginator:
        """All groups."""
        return self.paginator

    def url(self, path: str) -> str:
        """URL of a path."""
        return f"https://localhost/{path}"


class BlockingGroups:
    _called = "session.groups"

    def __init__(self, aio: Groups) -> None:
        self._aio = aio

    get = call(Groups.get)
    list = listing(Groups.list)
    url = plain(Groups.url)


@pytest.fixture
def paginator() -> Paginator:
    return Paginator()


@pytest.fixture
def groups(paginator: Paginator) -> BlockingGroups:
    return BlockingGroups(Groups(paginator))


# --- methods -------------------------------------------------------------------------------------------------------


def test_call_blocks_and_runs_on_the_portal(groups: BlockingGroups) -> None:
    value, thread = groups.get("a", fields=("b", "c"))
    assert value == "abc"
    assert thread != threading.get_ident()


def test_call_raises_the_error_of_the_coroutine(groups: BlockingGroups) -> None:
    with pytest.raises(NotFound) as caught:
        groups.get("missing")
    assert caught.value.status == 404


async def test_plain_and_listing_do_not_block(groups: BlockingGroups) -> None:
    assert groups.url("x") == "https://localhost/x"
    assert isinstance(groups.list(), BlockingPaginator)


@pytest.mark.parametrize("name", ["get", "url"])
def test_5_8_the_signature_is_the_async_one_without_self(groups: BlockingGroups, name: str) -> None:
    aio = getattr(groups._aio, name)
    assert inspect.signature(getattr(groups, name)) == inspect.signature(aio)
    assert inspect.signature(getattr(BlockingGroups, name)) == inspect.signature(getattr(Groups, name))


def test_5_8_a_listings_signature_differs_only_in_its_return_annotation(groups: BlockingGroups) -> None:
    mine, aio = inspect.signature(groups.list), inspect.signature(groups._aio.list)
    assert mine.parameters == aio.parameters
    assert mine.return_annotation == "BlockingPaginator"


@pytest.mark.parametrize(
    ("method", "item"),
    [
        (BlockingUsers.list, "User"),
        (SessionGroups.list, "Group"),
        (SessionGroups.members, "User"),
        (BlockingAccounts.list, "AccountUser"),
        (BlockingInvitations.list, "Invitation"),
    ],
)
def test_5_8_a_listings_return_annotation_keeps_the_item_type(
    method: Callable[..., object], item: str
) -> None:
    assert inspect.signature(method).return_annotation == f"BlockingPaginator[{item}]"


def test_names_and_docstrings_are_those_of_a_method(groups: BlockingGroups) -> None:
    method: Any = groups.get
    assert (method.__name__, method.__qualname__) == ("get", "BlockingGroups.get")
    assert method.__doc__ == Groups.get.__doc__
    assert method.__wrapped__ is Groups.get
    assert method.__self__ is groups
    assert not inspect.iscoroutinefunction(method)


def test_help_shows_signature_and_docstring_of_instance_and_class(groups: BlockingGroups) -> None:
    on_instance = pydoc.plain(pydoc.render_doc(groups.get))
    assert (
        "get(group_id: 'UUID | str', *, fields: 'tuple[str, ...]' = ()) -> 'tuple[str, int]'" in on_instance
    )
    on_class = pydoc.plain(pydoc.render_doc(BlockingGroups))
    assert "get(self, group_id: 'UUID | str'" in on_class
    assert "Raises `NotFound` when there is none." in on_class


def test_the_class_attribute_is_a_function(groups: BlockingGroups) -> None:
    assert inspect.isfunction(BlockingGroups.get)
    assert BlockingGroups.get(groups, "a")[0] == "a"


def test_the_async_object_is_read_at_each_call() -> None:
    """5-3: a bound method from before a fork uses the session that the child opened."""

    class Reopening:
        opened: ClassVar[list[Groups]] = []
        _called = "session.groups"

        @property
        def _aio(self) -> Groups:
            self.opened.append(Groups())
            return self.opened[-1]

        get = call(Groups.get)

    get = Reopening().get
    assert Reopening.opened == []
    get("a")
    get("b")
    assert len(Reopening.opened) == 2


async def test_5_2_the_message_names_the_await_expression(groups: BlockingGroups) -> None:
    class Renamed(BlockingGroups):
        _called = "session.somewhere"

    with pytest.raises(BlockingCallError, match=r"`await session\.groups\.get\(\.\.\.\)`"):
        groups.get("a")
    with pytest.raises(BlockingCallError, match=r"`await session\.somewhere\.get\(\.\.\.\)`"):
        Renamed(Groups()).get("a")
    with pytest.raises(BlockingCallError, match=r"`async for item in session\.groups\.list\(\.\.\.\)`"):
        next(iter(groups.list()))
    with pytest.raises(
        BlockingCallError, match=r"`await session\.groups\.list\(\.\.\.\)\.collect\(\.\.\.\)`"
    ):
        groups.list().collect()


# --- listings ------------------------------------------------------------------------------------------------------


def test_items_cross_the_thread_by_page(groups: BlockingGroups, paginator: Paginator) -> None:
    assert list(groups.list()) == items(0, 6)
    assert len(paginator.threads) == 4  # three pages, and the end
    assert len(paginator.closed) == 1  # by itself: a reading that has ended is not closed again
    assert set(paginator.threads) == {portal.current()._thread.ident}
    assert not paginator.running


def test_pages_are_those_of_the_server(groups: BlockingGroups, paginator: Paginator) -> None:
    assert [(page.offset, page.items) for page in groups.list().pages()] == [
        (0, items(0, 2)),
        (2, items(2, 4)),
        (4, items(4, 6)),
    ]


def test_each_loop_is_a_new_reading(groups: BlockingGroups) -> None:
    paginator = groups.list()
    assert list(paginator) == list(paginator)


def test_the_other_methods_of_the_paginator() -> None:
    fetched: list[int] = []
    repeated = 0

    async def fetch(params: Mapping[str, str]) -> RawPage[Item]:
        offset, limit = int(params["offset"]), int(params["limit"])
        fetched.append(offset)
        end = min(6, offset + limit)
        following = f"https://localhost/?limit={limit}&offset={end}" if end < 6 else None
        body = PageBody(items(max(0, offset - repeated), end), 6, following)
        return lambda: body, b"{}"

    aio = pagination.Paginator(fetch, page_size=2)
    paginator = BlockingPaginator(aio, "session.groups.list(...)")
    assert paginator.collect() == items(0, 6)
    assert fetched == [0, 2, 4]
    assert paginator.collect(consistent=True) == items(0, 6)
    assert fetched == [0, 2, 4] * 3
    assert paginator.first() == items(0, 1)[0]
    assert paginator.count() == 6
    assert (paginator.drift, paginator.duplicates) == (False, 0)
    repeated = 1
    assert paginator.collect() == items(0, 6)
    assert (paginator.drift, paginator.duplicates) == (True, 1)
    assert repr(paginator) == "<BlockingPaginator of session.groups.list(...)>"


def test_breaking_out_of_the_loop_leaves_no_request_running(
    groups: BlockingGroups, paginator: Paginator
) -> None:
    for _ in groups.list():
        assert len(paginator.running) == 1
        break
    assert not paginator.running
    for _ in groups.list().pages():
        break
    assert not paginator.running
    assert len(paginator.closed) == 2


def test_an_error_in_the_body_leaves_no_request_running(groups: BlockingGroups, paginator: Paginator) -> None:
    with pytest.raises(ValueError, match="body"):
        for _ in groups.list():
            raise ValueError("body")
    assert not paginator.running


def test_an_error_of_the_listing_is_raised_and_leaves_no_request_running(
    groups: BlockingGroups, paginator: Paginator
) -> None:
    paginator.fail_at = 1
    seen: list[Item] = []
    with pytest.raises(NotFound) as caught:
        for item in groups.list():
            seen.append(item)
    assert seen == items(0, 2)
    assert not paginator.running
    assert caught.tb  # keeps the frames of the loop alive: the reading was not closed by their collection


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["items", "pages"])
def test_a_reading_that_is_collected_is_closed(
    groups: BlockingGroups, paginator: Paginator, kind: str
) -> None:
    cycle: list[object] = [iter(groups.list()) if kind == "items" else groups.list().pages()]
    next(cycle[0])
    cycle.append(cycle)
    assert paginator.running
    del cycle
    gc.collect()
    assert paginator.ended.wait(10)
    portal.run("await f()", asyncio.sleep, 0)
    assert not paginator.running


def test_a_reading_that_is_collected_on_the_portals_loop_does_not_block_it(
    groups: BlockingGroups, paginator: Paginator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "LEAVE_TIMEOUT_S", 60.0)
    holder = [iter(groups.list())]
    next(holder[0])

    async def drop() -> None:
        holder.clear()

    portal.run("await f()", drop)
    assert paginator.ended.wait(10)


def test_leave_does_not_wait_in_a_thread_that_did_not_read(
    groups: BlockingGroups, paginator: Paginator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer may run in any thread, at any point: it must not wait for the loop there."""
    waits: list[float] = []
    original: Callable[..., None] = portal.Portal.post

    def post(self: portal.Portal, func: Callable[[], Any], *, wait: float = 0.0) -> None:
        waits.append(wait)
        original(self, func, wait=wait)

    monkeypatch.setattr(portal.Portal, "post", post)
    here, elsewhere = groups.list().pages(), groups.list().pages()
    next(here)
    thread = threading.Thread(target=next, args=(elsewhere,))
    thread.start()
    thread.join()
    here.leave()
    elsewhere.leave()
    assert waits == [blocking.LEAVE_TIMEOUT_S, 0.0]


def test_the_context_manager_closes_all_readings(groups: BlockingGroups, paginator: Paginator) -> None:
    with groups.list() as listed:
        pages = listed.pages()
        next(pages)
        one = iter(listed)
        next(one)
        assert len(paginator.running) == 2
    assert not paginator.running
    assert list(pages) == []
    listed.close()
    assert len(paginator.closed) == 2


def test_a_listing_that_is_not_read_sends_nothing_and_is_freed(
    groups: BlockingGroups, paginator: Paginator
) -> None:
    listed = groups.list()
    iter(listed)
    pages = weakref.ref(listed.pages())
    assert pages() is None
    assert not paginator.threads
    assert not paginator.closed


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_5_3_a_listing_from_before_a_fork_is_refused_and_its_sockets_are_not_touched(
    groups: BlockingGroups, paginator: Paginator
) -> None:
    listed = groups.list()
    one, pages = iter(listed), listed.pages()
    next(one)
    next(pages)
    pid = os.fork()
    if pid == 0:
        right = 0
        for attempt in (listed.collect, listed.pages, lambda: next(iter(listed)), lambda: next(pages)):
            try:
                attempt()
            except SessionClosed as error:
                right += "fork" in str(error)
        del one, pages, attempt
        gc.collect()
        right += len(forks._grave.buried) >= 2
        os._exit(right)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert next(one) == items(1, 2)[0]
    assert not paginator.closed
