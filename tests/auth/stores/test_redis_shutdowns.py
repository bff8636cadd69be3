"""1-5: shutdowns that cancel all tasks at each step of a token refresh on Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import pytest
from helpers.redis_servers import Server
from helpers.support import expired, open_session, put, sandbox_in_a_thread

from ezeep_async import RedisTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.close()


def _redis_sends() -> bool:
    """Whether a task that redis started sends a command: that of `asyncio.wait_for`, before Python 3.12."""
    return any("_send_packed_command" in repr(task) for task in asyncio.all_tasks())


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


async def _end_in_a_refresh(
    sandbox: Sandbox, store: RedisTokenStore, steps: int, is_step: Callable[[], bool], *, by_callback: bool
) -> None:
    """Cancel all tasks in the middle of a refresh, as a signal handler does, or as a task or `asyncio.run()` does."""
    refresh = asyncio.ensure_future(open_session(sandbox, store).oauth.refresh())
    while steps and not refresh.done():
        await asyncio.sleep(0)
        steps -= is_step()
    if by_callback:
        asyncio.get_running_loop().call_soon(_cancel_all)
    else:
        _cancel_all()
    await asyncio.wait({refresh})


async def _refresh(sandbox: Sandbox, store: RedisTokenStore) -> None:
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()


async def _each(calls: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*calls)


@pytest.mark.parametrize(
    ("steps", "is_step", "by_callback"),
    [(range(1, 25), _redis_sends, False), (range(1, 120, 4), lambda: True, True)],
    ids=["asyncio.run", "signal handler"],
)
def test_1_5_all_tasks_are_cancelled_at_each_step_of_a_refresh(
    server: Server, steps: range, is_step: Callable[[], bool], by_callback: bool
) -> None:
    """1-5: no token set is lost, and the lock is released, also if the cancellation meets a task inside redis."""
    stores = {step: RedisTokenStore(server.address, f"key{step}", lock_timeout=5.0) for step in steps}
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(_each(put(store, expired(sandbox.tokens())) for store in stores.values()))
        for step, store in stores.items():
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(_end_in_a_refresh(sandbox, store, step, is_step, by_callback=by_callback))
            assert not server.admin.exists(f"{{key{step}}}:lock"), step
        asyncio.run(_each(_refresh(sandbox, store) for store in stores.values()))
