"""`for`, `with` and `await` in the wrong place: one sentence says which form is right. And `await` of a listing."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

import pytest
from helpers.support import open_session, sandbox_in_a_thread

from ezeep_async import (
    BlockingSession,
    EzeepSession,
    MemoryTokenStore,
    NotFound,
    OAuthApp,
    Paginator,
    ServerError,
    SessionPool,
    run_sync,
)
from ezeep_async.sandbox import Sandbox


LIST = "GET /printing/v1/groups/"


def loop_over(value: Any) -> None:
    for _ in value:
        raise AssertionError


def enter(value: Any) -> None:
    with value:
        raise AssertionError


def enter_a_stack(value: Any) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(value)


def contains(value: Any) -> None:
    assert 1 in value


def first_of(value: Any) -> None:
    value[0]


async def async_loop_over(value: Any) -> None:
    async for _ in value:
        raise AssertionError


async def async_enter(value: Any) -> None:
    async with value:
        raise AssertionError


async def awaiting(value: Any) -> None:
    await value


LOOPS = [loop_over, list, sorted, frozenset, contains, first_of]
ASYNCHRONOUS: list[tuple[str, Callable[[EzeepSession], Any], list[Callable[[Any], object]]]] = [
    ("session", lambda session: session, [enter, enter_a_stack]),
    ("view", lambda session: session.with_options(retries=0), [enter]),
    ("listing", lambda session: session.groups.list(), [*LOOPS, enter]),
    ("pages", lambda session: session.users.list().pages(), [*LOOPS, enter]),
    ("jobs", lambda session: session.printing.watch("job"), LOOPS),
]


@pytest.mark.parametrize(
    ("make", "uses"), [each[1:] for each in ASYNCHRONOUS], ids=[each[0] for each in ASYNCHRONOUS]
)
async def test_an_asynchronous_object_says_how_it_is_used(
    session: EzeepSession,
    sandbox: Sandbox,
    make: Callable[[EzeepSession], Any],
    uses: list[Callable[[Any], object]],
) -> None:
    """One sentence, which names `async for`, `async with` and `run_sync`. Nothing is sent."""
    for use in uses:
        with pytest.raises(TypeError) as caught:
            use(make(session))
        message = str(caught.value)
        assert all(part in message for part in ("`async for`", "`async with`", "run_sync(EzeepSession(...))"))
        assert ". " not in message
    assert not isinstance(make(session), Iterable)
    assert sandbox.requests == []


BLOCKING: list[tuple[str, Callable[[BlockingSession], Any], list[Callable[[Any], Any]]]] = [
    ("session", lambda session: session, [async_enter]),
    ("listing", lambda session: session.groups.list(), [async_enter, async_loop_over, awaiting]),
    ("pages", lambda session: session.users.list().pages(), [async_loop_over]),
    ("jobs", lambda session: session.printing.watch("job"), [async_loop_over]),
]


@pytest.mark.may_block
@pytest.mark.parametrize(
    ("make", "uses"), [each[1:] for each in BLOCKING], ids=[each[0] for each in BLOCKING]
)
def test_a_blocking_object_says_how_it_is_used(
    make: Callable[[BlockingSession], Any], uses: list[Callable[[Any], Any]]
) -> None:
    """One sentence, which names both forms."""
    with sandbox_in_a_thread() as sandbox, run_sync(open_session(sandbox)) as blocking:
        for use in uses:
            with pytest.raises(TypeError) as caught:
                asyncio.run(use(make(blocking)))
            message = str(caught.value)
            assert all(
                part in message for part in ("`with`", "`for`", "`async for`", "`async with`", "run_sync")
            )
            assert ". " not in message


@pytest.mark.may_block
def test_a_blocking_session_does_not_look_awaitable() -> None:
    """Frameworks await a dependency that `inspect.isawaitable`, and iterate one that is an `AsyncIterable`."""
    app = OAuthApp("client")
    pool = run_sync(SessionPool(app, lambda _: MemoryTokenStore()))
    for blocking in (run_sync(EzeepSession(app)), pool, pool.session("key")):
        assert not inspect.isawaitable(blocking)
        assert not isinstance(blocking, AsyncIterable)
    pool.close()


async def test_a_listing_is_awaited_for_a_list(session: EzeepSession, sandbox: Sandbox) -> None:
    """The same as `collect()`; each `await` reads anew."""
    listing = session.groups.list(page_size=5)
    groups = await listing
    assert isinstance(groups, list)
    assert groups == await listing.collect() == [each async for each in listing] == await listing
    assert len(groups) == 13
    assert await session.groups.members(groups[0]) == await session.users.list(groups[0]).collect()


async def test_listings_are_awaited_together(session: EzeepSession) -> None:
    """With `gather`, with a time limit, and in a task group."""
    groups, users = await asyncio.gather(session.groups.list(), session.users.list())
    assert (len(groups), len(users)) == (13, 134)
    assert await asyncio.wait_for(session.groups.list(), 5) == groups
    assert inspect.isawaitable(session.groups.list())
    async with contextlib.aclosing(session.groups.list()) as listing:
        assert await listing == groups


async def test_an_awaited_listing_raises_what_a_reading_raises(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """With the items until then."""
    sandbox.faults.add(LIST, status=500, nth=2)
    with pytest.raises(ServerError) as caught:
        await session.with_options(retries=0).groups.list(page_size=5)
    assert len(caught.value.items_so_far) == 5
    assert isinstance(session.groups.list(), Paginator)
    with pytest.raises(NotFound):
        await session.groups.get(next(iter(sandbox.organization.users)))
