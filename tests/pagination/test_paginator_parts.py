"""The parts of a reading without I/O: the loop guard and the prefetch plan."""

from __future__ import annotations

from uuid import UUID

import pytest

from ezeep_async import PaginationLoop, User
from ezeep_async.pagination.loop_guard import (
    COUNT_SLACK_ROWS,
    KNOWN_REQUESTS,
    MAX_PAGE_ROWS,
    MAX_READING_BYTES,
    LoopGuard,
)
from ezeep_async.pagination.prefetch import PrefetchPlan
from ezeep_async.pagination.reader import KNOWN_ROWS, Drift, KnownRows


ENDS = (UUID(int=1), UUID(int=2))
OTHER_ENDS = (UUID(int=3), UUID(int=4))


def test_4_6_a_request_is_new_once_unless_it_was_forgotten() -> None:
    """4-6: the order of the parameters does not matter."""
    guard = LoopGuard(page_size=10, offset=0)
    assert guard.record({"limit": "10", "offset": "0"})
    assert not guard.record({"offset": "0", "limit": "10"})
    guard.forget({"limit": "10", "offset": "0"})
    assert guard.record({"limit": "10", "offset": "0"})


@pytest.mark.slow
def test_4_6_only_the_last_requests_are_remembered() -> None:
    """4-6: the memory of a reading is bounded."""
    guard = LoopGuard(page_size=1, offset=0)
    for offset in range(KNOWN_REQUESTS + 1):
        assert guard.record({"offset": str(offset)})
    assert not guard.record({"offset": "1"})
    assert guard.record({"offset": "0"})


def users(*numbers: int) -> list[User]:
    return [User(id=UUID(int=number), groups=()) for number in numbers]


@pytest.mark.parametrize(
    ("page", "new"),
    [((4, 5), [4, 5]), ((3, 4), [4]), ((1, 2, 3), []), ((4, 4, 2, 5, 4), [4, 5]), ((), [])],
)
def test_4_3_the_rows_of_a_page_that_no_page_before_it_had(page: tuple[int, ...], new: list[int]) -> None:
    """4-3: in their order, each once."""
    known: KnownRows[User] = KnownRows()
    known.new_of(users(1, 2, 3))
    assert [user.id.int for user in known.new_of(users(*page))] == new
    assert known.distinct == 3 + len(new)


def test_4_4_drift_is_true_if_there_are_signs() -> None:
    """4-4: duplicates are among them, but are counted apart."""
    assert not Drift()
    assert Drift(detected=True, duplicates=1)


@pytest.mark.slow
@pytest.mark.parametrize("page_size", [1, 100, 7000, 20_000])
def test_4_3_a_repeated_row_is_found_within_a_bound_of_rows(page_size: int) -> None:
    """4-3: at least so many rows are remembered, and at most twice as many and a page."""
    known: KnownRows[User] = KnownRows()
    for first in range(0, 40_000, page_size):
        known.new_of(users(*range(first, first + page_size)))
        assert len(known._ids) < KNOWN_ROWS + page_size
        assert len(known._ids) + len(known._older) < 2 * KNOWN_ROWS + page_size
    last = known.distinct
    assert known.new_of(users(last - KNOWN_ROWS)) == []
    assert len(known.new_of(users(0))) == (last > KNOWN_ROWS + page_size)


def test_4_6_a_repeated_page_is_a_loop() -> None:
    """4-6: the same rows with the same count."""
    guard = LoopGuard(page_size=2, offset=0)
    guard.check_page(ENDS, 2, 2, 10, 100)
    with pytest.raises(PaginationLoop, match="limit and offset"):
        guard.check_page(ENDS, 2, 0, 10, 100)


def test_4_6_known_rows_with_another_count_are_no_loop_until_all_came_again() -> None:
    """4-6, 4-4: rows that were inserted before the offset repeat as many known rows."""
    guard = LoopGuard(page_size=2, offset=0)
    guard.check_page(ENDS, 2, 2, 10, 100)
    guard.check_page(ENDS, 2, 0, 12, 100)
    with pytest.raises(PaginationLoop, match="limit and offset"):
        guard.check_page(OTHER_ENDS, 2, 0, 14, 100)


@pytest.mark.parametrize(("page_size", "accepted"), [(10, MAX_PAGE_ROWS), (5_000, 50_000)])
def test_4_6_a_page_has_a_maximum_of_rows(page_size: int, accepted: int) -> None:
    """4-6: a fixed number, or ten times the page size."""
    LoopGuard(page_size, 0).check_page(ENDS, accepted, accepted, None, 0)
    with pytest.raises(PaginationLoop, match="ignores limit"):
        LoopGuard(page_size, 0).check_page(ENDS, accepted + 1, accepted + 1, None, 0)


def test_4_6_new_rows_beyond_ten_times_the_count_are_a_loop() -> None:
    """4-6: the message names the offset from which the rest can be read."""
    guard = LoopGuard(page_size=10_000, offset=7)
    guard.check_page(ENDS, COUNT_SLACK_ROWS + 50, COUNT_SLACK_ROWS + 50, 5, 0)
    with pytest.raises(PaginationLoop, match=f"continue from offset={COUNT_SLACK_ROWS + 57}"):
        guard.check_page(OTHER_ENDS, 1, 1, 5, 0)


def test_4_6_the_bytes_of_one_reading_are_limited() -> None:
    """4-6: few rows may be large."""
    guard = LoopGuard(page_size=10, offset=0)
    guard.check_page(ENDS, 2, 2, 10, MAX_READING_BYTES)
    with pytest.raises(PaginationLoop, match="too large"):
        guard.check_page(OTHER_ENDS, 2, 2, 10, 1)


def test_4_9_the_plan_steps_by_the_rows_that_arrived_up_to_the_count() -> None:
    """4-9: and goes on beyond it where it advances."""
    plan = PrefetchPlan()
    plan.restart(step=5, offset=5)
    assert [plan.next_params(12) for _ in range(3)] == [
        {"limit": "5", "offset": "5"},
        {"limit": "5", "offset": "10"},
        None,
    ]
    assert plan.advance() == {"limit": "5", "offset": "15"}


@pytest.mark.parametrize(
    ("following", "rows", "fits"),
    [
        ({"limit": "5", "offset": "10"}, 5, True),
        ({"limit": "5", "offset": "10"}, 4, False),
        ({"cursor": "c"}, 5, False),
    ],
)
def test_4_2_a_page_of_another_size_or_a_cursor_ends_the_plan(
    following: dict[str, str], rows: int, fits: bool
) -> None:
    """4-2: the planned pages would leave a gap."""
    plan = PrefetchPlan()
    plan.restart(step=5, offset=5)
    assert plan.fits(following, rows) is fits
