"""A `FileTokenStore` in a folder with many other token files costs what it costs alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import pytest
from helpers.support import expired, open_session

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow


NEIGHBOURS = 300


class Counts:
    """What this process asks of the file system, by the events of `sys.addaudithook`."""

    def __init__(self) -> None:
        self.events: Counter[str] | None = None
        sys.addaudithook(self._count)  # it cannot be removed

    def _count(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.events is not None and event.startswith(("open", "os.", "fcntl.")):
            self.events[event] += 1

    async def of(self, work: Awaitable[None]) -> Counter[str]:
        self.events = found = Counter()
        try:
            await work
        finally:
            self.events = None
        return found


@pytest.fixture(scope="module")
def counts() -> Counts:
    return Counts()


async def _refreshed(sandbox: Sandbox, path: Path) -> None:
    async with open_session(sandbox, FileTokenStore(path), tokens=expired(sandbox.tokens())) as session:
        await session.accounts.me()
        await session.oauth.revoke()


@pytest.mark.may_block
async def test_no_step_lists_the_folder(sandbox: Sandbox, tmp_path: Path, counts: Counts) -> None:
    """Login, refresh, logout: the number of accesses does not depend on the other files, and none reads the folder."""
    await _refreshed(sandbox, tmp_path / "before" / "first.json")  # what is done once in a process
    for number in range(NEIGHBOURS):
        (tmp_path / f"{number}.json").write_text("{}")
        (tmp_path / f".{number}.json.0.tmp").write_text("{}")
    alone = await counts.of(_refreshed(sandbox, tmp_path / "alone" / "login.json"))
    beside = await counts.of(_refreshed(sandbox, tmp_path / "login.json"))
    assert sum(alone.values()) > 10
    assert (beside["os.listdir"], beside["os.scandir"]) == (0, 0)
    assert sum(beside.values()) <= sum(alone.values())
    assert len(list(tmp_path.iterdir())) == 2 * NEIGHBOURS + 3  # before/, alone/ and the lock
