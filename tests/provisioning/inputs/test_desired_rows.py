"""`DesiredState.from_rows` and `from_pairs`: meaning, memory use, errors."""

from __future__ import annotations

import asyncio
import pickle
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest

from ezeep_async.provisioning import DesiredState, InvalidInput


async def one_by_one(*rows: Any) -> AsyncIterator[Any]:
    for row in rows:
        yield row


def pairs(count: int, members: int, groups: int) -> Iterator[tuple[str, str]]:
    """Distinct pairs of new text objects, as a database driver returns them."""
    for number in range(count):
        member = number % members
        yield f"Group {(number // members * 17 + member) % groups}", f"Person.{member}@Example.com"


async def test_rows_mean_what_a_mapping_means() -> None:
    someone = UUID("54e3a324-cc89-4722-8338-c285d26bef15")
    rows = [("Sales", "B@example.com"), (" Sales ", "b@example.com"), ["Finance", someone]]
    state = await DesiredState.from_rows(one_by_one(*rows))
    assert list(state.groups.items()) == [("Sales", ("b@example.com",)), ("Finance", (str(someone),))]
    assert (state.rows, state.duplicates) == (3, 1)
    assert await DesiredState.from_rows(iter(rows)) == state  # a list of two is a pair too
    assert await DesiredState.from_rows([]) == DesiredState({})


def test_5_1_without_an_event_loop_pairs_mean_the_same() -> None:
    """5-1: `from_pairs` is the blocking form of `from_rows`."""
    rows = [("Sales", "B@example.com"), (" Sales ", "b@example.com"), ("Finance", "c@example.com")]
    state = DesiredState.from_pairs(iter(rows))
    assert state == asyncio.run(DesiredState.from_rows(rows))
    assert (state.rows, state.duplicates) == (3, 1)
    with pytest.raises(InvalidInput, match=r"^pair 2 \('Sales', 'nomail'\): the member 'nomail' is neither"):
        DesiredState.from_pairs([("Sales", "b@example.com"), ("Sales", "nomail")])


async def test_each_invalid_row_is_reported_with_its_number() -> None:
    rows = [
        ("Sales", "nomail"),
        "Sales",
        None,
        ("Sales",),
        ("Sales", "a", 1),
        ("Sales", "a@example.com"),
        (7, None),
    ]
    with pytest.raises(InvalidInput) as caught:
        await DesiredState.from_rows(one_by_one(*rows))
    assert [str(problem) for problem in caught.value.problems] == [
        "row 1 ('Sales', 'nomail'): the member 'nomail' is neither an e-mail address nor a user id",
        "row 2 ('Sales'): a row must have a group and a member, and nothing else",
        "row 3 (None): a row must have a group and a member, and nothing else",
        "row 4 ('Sales',): a row must have a group and a member, and nothing else",
        "row 5 ('Sales', 'a', 1): a row must have a group and a member, and nothing else",
        "row 7 (7, None): the group name must be text, not 7",
        "row 7 (7, None): the member must be text, not None",
    ]


async def test_an_exception_from_the_rows_propagates() -> None:
    async def broken() -> AsyncIterator[tuple[str, str]]:
        yield "Sales", "nomail"
        raise OSError("the connection is gone")

    with pytest.raises(OSError, match="the connection is gone"):
        await DesiredState.from_rows(broken())


@pytest.mark.parametrize("waits", [False, True])
async def test_other_tasks_run_while_rows_are_read(waits: bool) -> None:
    """Neither a plain iterable nor an asynchronous one that never waits blocks the event loop."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    rows = pairs(10_000, 100, 100)
    await DesiredState.from_rows(one_by_one(*rows) if waits else rows)
    task.cancel()
    assert turns >= 10


@pytest.mark.slow
async def test_a_hundred_thousand_rows_in_flat_memory_7_12() -> None:
    """7-12: memory grows with the groups. The rows alone would take more than twice the limit."""

    async def rows() -> AsyncIterator[tuple[str, str]]:
        for pair in pairs(100_000, 10_000, 200):
            yield pair

    tracemalloc.start()
    try:
        state = await DesiredState.from_rows(rows())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (state.rows, state.duplicates, len(state.groups)) == (100_000, 0, 200)
    assert peak < 8_000_000
    texts = {id(member) for members in state.groups.values() for member in members}
    assert len(texts) == 10_000


@pytest.mark.slow
async def test_a_hundred_thousand_invalid_rows_are_counted_and_not_kept() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as caught:
            await DesiredState.from_rows(("Sales", f"nomail {number}") for number in range(100_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    error = caught.value
    assert (error.count, len(error.problems)) == (100_000, 10_000)
    assert str(error).endswith("; and 99980 more")
    assert len(str(error)) < 3000
    assert peak < 10_000_000  # all of them would take 30 MB
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.count, copy.problems, str(copy)) == (error.count, error.problems, str(error))


def test_problems_of_printers_name_their_group() -> None:
    """And one after it, that belongs to no group, names none. A long value is cut."""
    with pytest.raises(InvalidInput) as caught:
        DesiredState.from_mapping({}, {"Sales": [" "], "": ["Laser"], "x" * 300: [""]})
    in_sales, of_the_name, long, blank = map(str, caught.value.problems)
    assert in_sales == "mapping, group 'Sales': the printer is blank"
    assert of_the_name == "mapping: the group name is blank"
    assert long.startswith("mapping: the group name has 300 characters")
    assert blank.startswith("mapping, group 'xxx")
    assert len(blank) < 200


def test_repr_shows_no_members() -> None:
    """asyncio in debug mode formats the results of tasks."""
    state = DesiredState.from_mapping({"Sales": ["a@example.com"]})
    assert repr(state) == "DesiredState(groups=<1 groups>, rows=1, duplicates=0)"


def test_all_wrong_types_in_a_mapping_are_reported_at_once() -> None:
    """Such as a YAML loader returns for `no:` and `Sales:`."""
    groups: Any = {
        False: ["a@example.com"],
        "Sales": None,
        "Legal": 7,
        "Finance": [None, 7, b"a@example.com"],
    }
    with pytest.raises(InvalidInput) as caught:
        DesiredState.from_mapping(groups)
    assert [str(problem) for problem in caught.value.problems] == [
        "mapping: the group name must be text, not False",
        "mapping: the members of 'Sales' must be a list, not None",
        "mapping: the members of 'Legal' must be a list, not 7",
        "mapping, group 'Finance': the member must be text, not None",
        "mapping, group 'Finance': the member must be text, not 7",
        "mapping, group 'Finance': the member must be text, not b'a@example.com'",
    ]
