"""1-5: shutdowns that cancel all tasks at each step of a token refresh on Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.redis_servers import Server
from helpers.support import expired, open_session, put, sandbox_in_a_thread

from ezeep_async import RedisTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

STEPS = 120
"""More iterations of the event loop than a refresh takes."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.close()


async def _end_in_a_refresh(
    sandbox: Sandbox, store: RedisTokenStore, step: int, end: Callable[[], None]
) -> None:
    """Return in the middle of a refresh: `asyncio.run()` then cancels all tasks, once more after `end`."""
    session = open_session(sandbox, store)
    refresh = asyncio.ensure_future(session.oauth.refresh())
    for _ in range(step):
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(end)
    await asyncio.wait({refresh}, timeout=0.0)


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


async def _refresh(sandbox: Sandbox, store: RedisTokenStore) -> None:
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()


@pytest.mark.parametrize("end", [lambda: None, _cancel_all], ids=["asyncio.run", "signal handler"])
def test_1_5_all_tasks_are_cancelled_at_each_step_of_a_refresh(
    server: Server, end: Callable[[], None]
) -> None:
    """1-5: no token set is lost, and the lock is released, also if the cancellation meets a task inside redis."""
    with sandbox_in_a_thread() as sandbox:
        for step in range(STEPS):
            store = RedisTokenStore(server.address, f"key{step}", lock_timeout=5.0)
            asyncio.run(put(store, expired(sandbox.tokens())))
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(_end_in_a_refresh(sandbox, store, step, end))
            assert not server.admin.exists(f"{{key{step}}}:lock"), step
            asyncio.run(_refresh(sandbox, store))
