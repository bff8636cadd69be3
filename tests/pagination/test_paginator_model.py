"""Property tests: the paginator against a model of a server, whose states are known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from helpers.listing_model import (
    BROKEN_LINKS,
    LINKS,
    ODD_LINKS,
    Server,
    changes,
    concurrencies,
    numbers,
    odd_texts,
    row_counts,
    several_sizes,
    sizes,
    turns,
)
from hypothesis import example, given
from hypothesis import strategies as st

from ezeep_async import InconsistentListing, PaginationLoop, Paginator, PermissionDenied, User


BOTH_KINDS = changes("insert", "delete")


def finish(reading: Coroutine[Any, Any, Any], *, debug: bool = False) -> Any:
    """Run it; no task may be left."""

    async def main() -> Any:
        try:
            return await asyncio.wait_for(reading, 10)
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main(), debug=debug)


def read(server: Server, size: int, concurrency: int = 1) -> tuple[list[int], Paginator[User]]:
    pager = Paginator(server.fetch, page_size=size, concurrency=concurrency)
    return numbers(finish(pager.collect())), pager


# --- nothing changes


@given(
    rows=row_counts,
    size=sizes,
    caps=several_sizes,
    concurrency=concurrencies,
    turns=turns,
    link=st.sampled_from([*LINKS, *BROKEN_LINKS]),
    count=st.sampled_from(["true", None, -1, 0, 7, 10**12]),
    counts_differ_by=st.just([0]) | st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    longer=st.integers(0, 3),
)
def test_4_1_complete_in_order_and_unique(
    rows: int, size: int, caps: list[int], concurrency: int, turns: list[int], link: str, count: Any,
    counts_differ_by: list[int], longer: int,
) -> None:  # shorter than one item a line  # fmt: skip
    """4-1, 4-2, 4-4, 4-6, 4-9: with any page sizes, counts and links: every row once, in the order of the server."""
    server = Server(
        list(range(rows)), caps=caps, turns=turns, link=link, count=count, counts_differ_by=counts_differ_by,
        longer=longer, most=(concurrency + 1) * (rows + 2),
    )  # shorter than one item a line  # fmt: skip
    found, pager = read(server, size, concurrency)
    assert found == list(range(rows))
    assert pager.duplicates == 0
    if (count, set(counts_differ_by)) in [("true", {0}), (None, {0})]:
        assert pager.drift is False
    elif all(count is not None and max(count, 0) != rows for _, _, count in server.answered):
        assert pager.drift is True


@given(
    rows=row_counts,
    size=sizes,
    cap=sizes,
    concurrency=concurrencies,
    style=st.sampled_from(["page", "both", "cursor"]),
    link=st.sampled_from([*LINKS]),
    count=st.sampled_from(["true", None]),
)
def test_4_11_other_parameters_than_offset(
    rows: int, size: int, cap: int, concurrency: int, style: Any, link: str, count: Any
) -> None:
    """4-11: page numbers, with `limit` and `offset` echoed or not, and cursors: every row once, in order."""
    server = Server(list(range(rows)), style, [cap], link, count=count, most=rows + 2)
    found, pager = read(server, size, concurrency)
    assert found == list(range(rows))
    assert (pager.drift, pager.duplicates) == (False, 0)


@given(
    rows=row_counts,
    size=sizes,
    concurrency=concurrencies,
    turns=turns,
    count=st.sampled_from(["true", None, 3, 10**12]),
    ignores_offset=st.booleans(),
    empty=st.frozensets(st.integers(0, 4), max_size=2),
    last=st.none() | st.integers(0, 4),
    longer=st.integers(0, 3),
    doubled=st.booleans(),
    style=st.sampled_from(["offset", "page", "both", "cursor"]),
    caps=several_sizes,
    link=st.sampled_from([*LINKS, *BROKEN_LINKS, *ODD_LINKS]) | odd_texts,
    counts_differ_by=st.just([0]) | st.lists(st.integers(-3, 3), min_size=1, max_size=3),
)
@example(
    rows=3, size=1, concurrency=1, turns=[0], count=None, ignores_offset=False, empty=frozenset({1}), last=None,
    longer=0, doubled=False, style="offset", caps=[12], link="documented", counts_differ_by=[0],
)  # shorter than one item a line  # fmt: skip
def test_4_6_a_server_that_contradicts_itself_is_a_loop_or_drift_or_harmless(
    rows: int, size: int, concurrency: int, turns: list[int], count: Any, ignores_offset: bool,
    empty: frozenset[int], last: int | None, longer: int, doubled: bool, style: Any, caps: list[int], link: str,
    counts_differ_by: list[int],
) -> None:  # shorter than one item a line  # fmt: skip
    """4-6: no endless reading, no error but `PaginationLoop`, no repeated row; with a true `count` a missing row is drift."""
    server = Server(
        list(range(rows)), style, caps, link, {}, count, counts_differ_by, ignores_offset, empty, last, longer,
        doubled, turns=turns, most=(concurrency + 1) * (2 * rows + 10),
    )  # shorter than one item a line  # fmt: skip
    pager = Paginator(server.fetch, page_size=size, concurrency=concurrency)
    try:
        found = numbers(finish(pager.collect()))
    except PaginationLoop as error:
        assert error.resume_offset is not None
        found = numbers(error.items_so_far or ())
        complete = True
    else:
        complete = found == list(range(rows))
    assert len(set(found)) == len(found)
    assert set(found) <= set(range(rows))
    if count == "true" and counts_differ_by == [0] and not complete:
        assert pager.drift
    if empty and last is None and not complete:
        assert pager.drift, "an empty page that has a next contradicts itself"


# --- changes during a reading


@given(
    rows=row_counts, size=sizes, caps=several_sizes, concurrency=concurrencies, turns=turns,
    what=changes("insert") | changes("delete") | BOTH_KINDS, count=st.sampled_from(["true", "true", "true", None]),
)  # shorter than one item a line  # fmt: skip
def test_4_4_a_change_is_drift_unless_it_keeps_the_count(
    rows: int, size: int, caps: list[int], concurrency: int, turns: list[int], what: Any, count: Any
) -> None:
    """4-3, 4-4: no row twice; a row that was there all the time is given, or `drift` says so, unless as many rows came
    as went between any two pages, or the server does not count. Alone and concurrently alike."""
    server = Server(list(range(rows)), caps=caps, turns=turns, changes=what, count=count, most=2000)
    pager = Paginator(server.fetch, page_size=size, concurrency=concurrency)
    try:
        found = numbers(finish(pager.collect()))
    except PaginationLoop as error:
        assert len(server.history) > 1, "a false alarm"
        found = numbers(error.items_so_far or ())
        assert len(set(found)) == len(found)
        return
    assert len(set(found)) == len(found)
    assert set(found) <= set().union(*server.history)
    if pager.duplicates:
        assert pager.drift
    if {state for _, state, _ in server.answered} == {0}:
        assert found == list(server.history[0])
        assert pager.drift is False
    if server.always - set(found) and not pager.drift:
        kinds = {kind for each in what.values() for kind, _ in each}
        assert count is None or kinds == {"insert", "delete"}
        assert len({count for _, _, count in server.answered}) == 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_4_6_many_insertions_before_the_offset_are_no_loop(concurrency: int) -> None:
    """4-6, 4-4: many rows inserted at once before the offset repeat several pages: drift, and all rows are read."""
    server = Server(list(range(100)), caps=[10], changes={8: [("insert", 0)] * 60})
    found, pager = read(server, 10, concurrency)
    assert found == list(range(100))
    assert (pager.drift, pager.duplicates) == (True, 60)


def test_4_6_known_rows_in_changing_order_are_a_loop() -> None:
    """4-6: a server that ignores `offset`, and changes order and count with each page."""
    server = Server(list(range(20)), caps=[10])

    async def fetch(params: Any) -> Any:
        server.rows = server.rows[3:] + server.rows[:3]
        server.counts_differ_by = [server.asked]
        return await server.fetch({**params, "offset": "0"})

    with pytest.raises(PaginationLoop) as caught:
        finish(Paginator(fetch, page_size=10).collect())
    assert sorted(numbers(caught.value.items_so_far or ())) == list(range(20))
    assert server.asked <= 12


def readings(server: Server) -> list[set[int]]:
    """The states that each reading saw."""
    seen: list[set[int]] = []
    for params, state, _ in server.answered:
        if params["offset"] == "0":
            seen.append(set())
        seen[-1].add(state)
    return seen


@pytest.mark.slow
@given(
    rows=row_counts, size=sizes, concurrency=concurrencies, turns=turns,
    what=changes("insert") | changes("delete") | BOTH_KINDS,
)  # shorter than one item a line  # fmt: skip
def test_4_4_consistent_is_a_state_or_an_error(
    rows: int, size: int, concurrency: int, turns: list[int], what: Any
) -> None:
    """4-4: `collect(consistent=True)` gives a state that the listing had, or raises."""
    server = Server(list(range(rows)), turns=turns, changes=what, most=4000)
    pager = Paginator(server.fetch, page_size=size, concurrency=concurrency)
    try:
        found = tuple(numbers(finish(pager.collect(consistent=True))))
    except (InconsistentListing, PaginationLoop):
        assert len(server.history) > 1
        return
    if found not in server.history:
        # Both readings saw the same insertions and deletions, in equal number.
        kinds = {kind for each in what.values() for kind, _ in each}
        assert kinds == {"insert", "delete"}
        assert all(len(states) > 1 for states in readings(server)[-2:])


@pytest.mark.parametrize("concurrency", [1, 4])
def test_4_4_a_pair_that_keeps_the_count_is_not_seen_by_one_reading(concurrency: int) -> None:
    """4-4: a limit: a deletion before the offset and an insertion after it keep the count. Two readings show it."""
    swap = {1: [("delete", 0), ("insert", 29)]}
    server = Server(list(range(30)), caps=[10], changes=swap)
    found, pager = read(server, 10, concurrency)
    assert server.always - set(found) == {10}
    assert pager.drift is False
    server = Server(list(range(30)), caps=[10], changes=swap)
    pager = Paginator(server.fetch, page_size=10, concurrency=concurrency)
    assert numbers(finish(pager.collect(consistent=True))) == [*range(1, 30), 30]
    assert server.asked == 9


def test_4_4_the_same_change_in_two_readings_is_not_seen() -> None:
    """4-4: a limit: the same pair of changes in both readings, undone in between."""
    server = Server(list(range(30)), caps=[10])
    before, after = list(range(30)), [*range(1, 30), 30]

    async def fetch(params: Any) -> Any:
        server.rows = before if params["offset"] == "0" else after
        return await server.fetch(params)

    found = numbers(finish(Paginator(fetch, page_size=10).collect(consistent=True)))
    assert found == [*range(10), *range(11, 31)]


@pytest.mark.parametrize(
    "lie", [{"last": 1}, {"count": 29}, {"count": 31}, {"doubled": True}, {"counts_differ_by": [0, 1]}]
)
def test_4_4_consistent_refuses_a_server_that_contradicts_itself(lie: dict[str, Any]) -> None:
    """4-4: readings that agree with each other, but not with the count, are an error."""
    server = Server(list(range(30)), caps=[10], **lie)

    async def fetch(params: Any) -> Any:
        if params["offset"] == "0":
            server.answered.clear()
        return await server.fetch(params)

    with pytest.raises(InconsistentListing):
        finish(Paginator(fetch, page_size=10).collect(consistent=True))
    assert server.asked <= 12


# --- errors


@given(
    rows=st.integers(1, 40), size=sizes, caps=several_sizes, concurrency=concurrencies, turns=turns,
    at=st.integers(0, 12), doubled=st.booleans(),
)  # shorter than one item a line  # fmt: skip
def test_4_10_the_items_so_far_and_the_rest_are_complete(
    rows: int, size: int, caps: list[int], concurrency: int, turns: list[int], at: int, doubled: bool
) -> None:
    """4-10: a failure anywhere: `items_so_far`, and the listing from `resume_offset` on, are all rows in order."""
    refused = PermissionDenied("no", status=403)
    server = Server(list(range(rows)), caps=caps, turns=turns, fails={at: refused})
    try:
        found, _ = read(server, size, concurrency)
    except PermissionDenied as error:
        assert error is refused
        assert error.resume_offset is not None
        server.fails = {}
        rest = Paginator(server.fetch, page_size=size, concurrency=concurrency, offset=error.resume_offset)
        found = numbers(error.items_so_far or ()) + numbers(finish(rest.collect()))
        assert rest.drift is False
    assert found == list(range(rows))


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("links", [["?cursor=c10"], ["?cursor=c10", "?cursor=c20", "?cursor=c10"]])
def test_4_10_the_rows_before_a_loop_are_kept(links: list[str], concurrency: int) -> None:
    """4-10, 4-6: the rows of the page that leads into the loop are in `items_so_far`."""
    server = Server(list(range(40)), "cursor", [10])

    async def fetch(params: Any) -> Any:
        server.link = links[min(server.asked, len(links) - 1)]
        return await server.fetch(params)

    with pytest.raises(PaginationLoop) as caught:
        finish(Paginator(fetch, page_size=10, concurrency=concurrency).collect())
    assert numbers(caught.value.items_so_far or ()) == list(range(10 * (len(set(links)) + 1)))
    assert caught.value.resume_offset == 10 * (len(set(links)) + 1)


# --- leaving early


@pytest.mark.slow
@given(
    rows=st.integers(1, 40),
    size=sizes,
    caps=several_sizes,
    concurrency=concurrencies,
    turns=turns,
    how=st.sampled_from(["break", "raise", "cancel", "aclose", "drop"]),
    after=st.integers(0, 20),
    leaving=st.integers(0, 3),
)
@example(rows=40, size=10, caps=[10, 7], concurrency=4, turns=[0, 0, 3], how="aclose", after=2, leaving=3)
def test_4_8_leaving_at_any_moment_leaves_nothing(
    rows: int,
    size: int,
    caps: list[int],
    concurrency: int,
    turns: list[int],
    how: str,
    after: int,
    leaving: int,
) -> None:
    """4-8: after a break, an error, a cancellation or a close no request is in flight, and few were sent."""
    server = Server(list(range(rows)), caps=caps, turns=turns, leaving=leaving)
    pager = Paginator(server.fetch, page_size=size, concurrency=concurrency)

    async def consume() -> None:
        taken = 0
        async for _ in pager:
            taken += 1
            await asyncio.sleep(0)
            if taken > after:
                if how == "raise":
                    raise ZeroDivisionError
                return

    async def leave() -> None:
        if how == "cancel":
            task = asyncio.ensure_future(consume())
            for _ in range(after):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        elif how == "aclose":
            async with pager.pages() as pages:
                for _ in range(after % 4):
                    await anext(pages, None)
            assert server.active == 0, "closed, and still in flight"
        elif how == "drop":
            await anext(pager.pages())
        else:
            with contextlib.suppress(ZeroDivisionError):
                await consume()

    finish(leave(), debug=True)
    assert server.active == 0
    if how == "drop":
        assert server.asked <= 1 + concurrency
