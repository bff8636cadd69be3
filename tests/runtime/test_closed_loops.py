"""Sessions and pools whose event loop was closed in mid-work, which are closed on another loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from itertools import product

import pytest
from helpers.pools import logged_in, pool_in, use
from helpers.support import ME, TOKEN, open_session, sandbox_in_a_thread, settle, until

from ezeep_async import EzeepSession, SessionPool
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block

Subject = EzeepSession | SessionPool


@pytest.fixture(scope="module")
def server():
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


async def call(subject: Subject) -> None:
    if isinstance(subject, SessionPool):
        await use(subject, "a")
    else:
        await subject.accounts.me()


async def in_a_call(subject: Subject, server: Sandbox) -> asyncio.Task[None]:
    await call(subject)
    hold = server.faults.hold(ME, times=1)
    task = asyncio.create_task(call(subject))
    await until(lambda: hold.count)
    hold.release()
    return task


async def in_a_refresh(subject: Subject, server: Sandbox) -> asyncio.Task[None]:
    hold = server.faults.hold(TOKEN, times=1)
    task = asyncio.create_task(call(subject))
    await until(lambda: hold.count)
    hold.release()
    return task


async def kept_alive(subject: Subject, server: Sandbox) -> object:
    await call(subject)
    handle = subject.keep_alive("a") if isinstance(subject, SessionPool) else subject.keep_alive()
    await settle()
    handle._task.cancel()  # as `asyncio.run` does
    await asyncio.wait({handle._task})
    return handle


async def in_a_hook(subject: Subject, server: Sandbox) -> None:
    await call(subject)
    await settle()


async def in_a_close(subject: Subject, server: Sandbox) -> asyncio.Task[None]:
    await call(subject)
    task = asyncio.create_task(subject.aclose())
    await settle(3)
    return task


async def in_a_drop(subject: Subject, server: Sandbox) -> asyncio.Task[None]:
    assert isinstance(subject, SessionPool)
    await call(subject)
    task = asyncio.create_task(subject.drop("a"))
    await settle(2)
    return task


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "work"),
    [
        ("pool", in_a_drop),
        *product(["session", "pool"], [in_a_call, in_a_refresh, kept_alive, in_a_hook, in_a_close]),
    ],
)
def test_it_can_be_closed_on_another_loop(
    server: Sandbox, kind: str, work: Callable[[Subject, Sandbox], Awaitable[object]]
) -> None:
    """At once: tasks of the closed loop never end, and nothing waits for them."""
    held: list[object] = []

    async def hook(*args: object) -> None:
        held.append(asyncio.current_task())
        await asyncio.sleep(60)

    options = {"on_token_rotated": hook} if work is in_a_hook else {}
    if kind == "pool":
        subject: Subject = pool_in(server, logged_in(server, "a"), **options)
    else:
        subject = open_session(server, **options)
    loop = asyncio.SelectorEventLoop()  # uvloop's `close` never returns while a request is under way
    held.append(loop.run_until_complete(work(subject, server)))
    left = asyncio.all_tasks(loop)
    loop.close()

    async def close() -> None:
        async with asyncio.timeout(3):
            await subject.aclose()
        await subject.aclose()

    asyncio.run(close())
    assert "closed" in repr(subject)
    inside = subject._sessions if isinstance(subject, SessionPool) else subject._core
    assert not inside.connections.transport.is_open
    for task in left:  # as the garbage collector does
        task._log_destroy_pending = False
        task.get_coro().close()
    subject = None
    held.clear()
    left.clear()
    gc.collect()  # asyncio reports the connection of a request that was under way
