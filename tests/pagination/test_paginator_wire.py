"""The model of `listing_model` over a socket, deletions during a loop, and early exits in a process of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any, Literal

import pytest
from aiohttp import web
from helpers.listing_model import (
    BROKEN_LINKS,
    LINKS,
    ODD_LINKS,
    Change,
    Server,
    changes,
    concurrencies,
    numbers,
    row_counts,
    several_sizes,
    sizes,
)
from helpers.stub_servers import Seen, Stub, session_on, user
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import EzeepError, EzeepSession, PaginationLoop, Paginator, UnexpectedResponse, User
from ezeep_async.sandbox import Sandbox


FEWER = settings(max_examples=max(1, settings().max_examples // 4))
"""A server and a session for each example."""

COUNTS = ["true", "string", "missing", "null", "negative", "too many", "nonsense"]


def written(count: int | None, how: str) -> dict[str, object]:
    """The text of `count` in the response."""
    return {
        "true": {"count": count},
        "string": {"count": str(count)},
        "missing": {},
        "null": {"count": None},
        "negative": {"count": -3},
        "too many": {"count": 10**30},
        "nonsense": {"count": "many"},
    }[how]


async def read(
    server: Server, how: str, size: int, concurrency: int
) -> tuple[list[int], Paginator[User], list[Seen], EzeepError | None]:
    """The users over the wire, and everything that arrived."""

    async def handler(seen: Seen) -> web.StreamResponse:
        page = (await server.fetch(seen.query))[0]()
        rows = [user(each.id.int) for each in page.results]
        body = {**written(page.count, how), "next": page.next, "previous": 7, "results": rows}
        return web.Response(body=json.dumps(body).encode(), content_type="application/json")

    async with Stub(handler) as stub, session_on(stub.url, retries=0) as session:
        pager = session.users.list(page_size=size, concurrency=concurrency)
        try:
            found = await asyncio.wait_for(pager.collect(), 15)
        except EzeepError as error:
            return numbers(error.items_so_far or ()), pager, stub.seen, error
        return numbers(found), pager, stub.seen, None


@FEWER
@given(
    rows=row_counts,
    size=sizes,
    caps=several_sizes,
    concurrency=concurrencies,
    link=st.sampled_from([*LINKS, *BROKEN_LINKS]),
    count=st.sampled_from(COUNTS),
)
def test_4_1_complete_over_the_wire(
    rows: int, size: int, caps: list[int], concurrency: int, link: str, count: str
) -> None:
    """4-1, 4-2, 4-4: the same over a socket, with every way to write a count; no link leads elsewhere."""
    server = Server(list(range(rows)), caps=caps, link=link, most=(concurrency + 1) * (rows + 2))
    found, pager, seen, error = asyncio.run(read(server, count, size, concurrency))
    if count == "nonsense":
        assert isinstance(error, UnexpectedResponse)
        assert error.path == "$.count"
        return
    assert error is None
    assert found == list(range(rows))
    assert pager.drift is (count == "too many" or (count == "negative" and rows > 0))
    assert {each.path for each in seen} == {"/printing/v1/users/"}


@FEWER
@given(
    rows=row_counts,
    size=sizes,
    caps=several_sizes,
    concurrency=concurrencies,
    link=st.sampled_from([*LINKS, *BROKEN_LINKS, *ODD_LINKS]),
    count=st.sampled_from(COUNTS[:-1]),
    style=st.sampled_from(["offset", "page", "both", "cursor"]),
    what=st.just({}) | changes("insert", "delete"),
    ignores_offset=st.booleans(),
    empty=st.frozensets(st.integers(0, 4), max_size=2),
)
def test_4_6_whatever_comes_over_the_wire_ends(
    rows: int,
    size: int,
    caps: list[int],
    concurrency: int,
    link: str,
    count: str,
    style: Literal["offset", "page", "both", "cursor"],
    what: dict[int, list[Change]],
    ignores_offset: bool,
    empty: frozenset[int],
) -> None:
    """4-6, 4-11: a server that contradicts itself and changes: an end, no repeated row, at worst `PaginationLoop`."""
    server = Server(
        list(range(rows)),
        style,
        caps,
        link,
        what,
        ignores_offset=ignores_offset,
        empty=empty,
        most=(concurrency + 1) * (2 * rows + 300),
    )
    found, pager, seen, error = asyncio.run(read(server, count, size, concurrency))
    assert error is None or type(error) is PaginationLoop
    assert len(set(found)) == len(found)
    assert set(found) <= set().union(*server.history)
    assert {each.path for each in seen} == {"/printing/v1/users/"}
    if not what and count in {"true", "string"} and error is None:
        assert pager.drift or found == list(range(rows))


@pytest.mark.parametrize("count", ["string", "missing", "null", "negative"])
async def test_4_12_count_is_right_however_it_is_written(count: str) -> None:
    """4-12: a `count` that is a text is read; without one, or below zero, the rows are counted."""
    server = Server(list(range(7)))

    async def handler(seen: Seen) -> web.StreamResponse:
        page = (await server.fetch(seen.query))[0]()
        rows = [user(each.id.int) for each in page.results]
        return web.json_response({**written(page.count, count), "next": page.next, "results": rows})

    async with Stub(handler) as stub, session_on(stub.url, retries=0) as session:
        assert await session.users.list(page_size=3).count() == 7


# --- 4-5


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_4_5_deleting_inside_the_loop_is_seen(
    session: EzeepSession, sandbox: Sandbox, concurrency: int
) -> None:
    """4-5: without `collect`, deleting each row in the loop skips rows: `drift` is true."""
    left = len(sandbox.organization.groups)
    while sandbox.organization.groups:
        groups = session.groups.list(page_size=3, concurrency=concurrency)
        async for group in groups:
            await session.groups.delete(group.id)
        if sandbox.organization.groups:
            assert groups.drift
        assert len(sandbox.organization.groups) < left
        left = len(sandbox.organization.groups)


async def test_4_5_a_consistent_snapshot_can_be_deleted_from(session: EzeepSession, sandbox: Sandbox) -> None:
    """4-5, 4-4: `collect(consistent=True)` first: every row is removed."""
    for group in await session.groups.list(page_size=2).collect(consistent=True):
        await session.groups.delete(group.id)
    assert sandbox.organization.groups == {}


# --- 4-8


EARLY_EXITS = """
import asyncio, gc, logging
from ezeep_async import EzeepSession
from ezeep_async.sandbox import Sandbox

async def main():
    async with Sandbox() as sandbox:
        async with EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints) as session:
            for concurrency in (1, 4):
                listing = session.users.list(page_size=5, concurrency=concurrency)
                async for _ in listing:
                    break
                try:
                    async for _ in listing:
                        raise KeyError
                except KeyError:
                    pass
                reading = asyncio.ensure_future(listing.collect())
                await asyncio.sleep(0.01)
                reading.cancel()
                await asyncio.wait({reading})
                iterator, pages = aiter(listing), listing.pages()
                await anext(iterator), await anext(pages)
                del iterator
                gc.collect()
        print("read")

logging.basicConfig(level=logging.WARNING)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.may_block
def test_4_8_early_exits_say_nothing_in_development_mode() -> None:
    """4-8: in a process with `-W error`, `-X dev` and PYTHONASYNCIODEBUG nothing is printed."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", EARLY_EXITS],
        env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines: list[Any] = [line for line in done.stderr.splitlines() if "took" not in line]
    assert (done.returncode, done.stdout, lines) == (0, "read\n", [])
