"""`Paginator.of`: a listing of records that are there, for fakes in users' tests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import attrs
import pytest

from ezeep_async import BlockingPaginator, Group, Paginator


GROUPS = [Group(id=UUID(int=n), name=str(n), organization_id=UUID(int=99)) for n in range(1, 8)]


@pytest.mark.parametrize("page_size", [1, 3, 7, 100])
async def test_it_reads_as_a_listing_does(page_size: int) -> None:
    """Any number of times, by items and by pages."""
    listing = Paginator.of(iter(GROUPS), page_size=page_size)
    for _ in range(2):
        assert [group async for group in listing] == await listing.collect(consistent=True) == GROUPS
    assert [page.items async for page in listing.pages()] == [
        GROUPS[start : start + page_size] for start in range(0, 7, page_size)
    ]
    assert (await listing.first(), await listing.count()) == (GROUPS[0], 7)
    assert (listing.drift, listing.duplicates) == (False, 0)


async def test_an_empty_one_and_one_with_a_repeated_row() -> None:
    """As from a server."""
    empty: Paginator[Group] = Paginator.of([])
    assert (await empty.collect(), await empty.first(), await empty.count()) == ([], None, 0)
    assert not empty.drift
    twice = Paginator.of([*GROUPS, GROUPS[0]])
    assert await twice.collect() == GROUPS
    assert twice.duplicates == 1
    with pytest.raises(ValueError, match="page_size is 0"):
        Paginator.of(GROUPS, page_size=0)


@pytest.mark.parametrize("kind", [Paginator, BlockingPaginator])
def test_a_record_without_an_id_is_refused(kind: Any) -> None:
    """Where the fake is made, not where it is read."""
    for wrong in (attrs.evolve(GROUPS[0], id="1"), {"id": UUID(int=1)}, None):
        with pytest.raises(TypeError, match="each record needs an id that is a UUID, not"):
            kind.of([GROUPS[0], wrong])


@pytest.mark.may_block
def test_it_reads_without_await() -> None:
    """The blocking listing."""
    listing = BlockingPaginator.of(GROUPS, page_size=3)
    assert [*listing] == listing.collect() == GROUPS
    assert [len(page.items) for page in listing.pages()] == [3, 3, 1]
    assert (listing.first(), listing.count()) == (GROUPS[0], 7)
