"""Callers of resources that are cancelled: what they have sent is completed, and nothing else is written."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import anyio
import pytest
from helpers.stub_servers import nothing_running
from helpers.support import until

from ezeep_async import EzeepSession, Group, User
from ezeep_async import _exclusive as exclusive
from ezeep_async.resources._base import Turn, Turns
from ezeep_async.sandbox import Sandbox


LIST = "GET /printing/v1/groups/"
CREATE = "POST /printing/v1/groups/"
READ = "GET /printing/v1/users/{id}/"
PATCH = "PATCH /printing/v1/users/{id}/"
pytestmark = [pytest.mark.usefixtures("debug_mode"), pytest.mark.slow]

Call = Callable[[], Awaitable[object]]


@pytest.fixture
def organization(sandbox: Sandbox) -> UUID:
    return sandbox.organization.organization_id


@pytest.fixture
def member(sandbox: Sandbox) -> UUID:
    return next(user.id for user in sandbox.organization.listed_users() if len(user.groups))


@pytest.fixture
def added(sandbox: Sandbox) -> UUID:
    return sandbox.organization.add_group("New").id


async def by_task(call: Call, arrived: Awaitable[object]) -> None:
    """Cancel as asyncio does: once."""
    task = asyncio.ensure_future(call())
    await arrived
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def by_scope(call: Call, arrived: Awaitable[object]) -> None:
    """Cancel as anyio does: again at every await."""
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await arrived
        group.cancel_scope.cancel()
    assert group.cancel_scope.cancelled_caught


async def by_timeout(call: Call, arrived: Awaitable[object]) -> None:
    """Cancel by a timeout, which the caller must see as `TimeoutError`."""
    out = False

    async def limited() -> None:
        nonlocal out
        try:
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                await call()
        except TimeoutError:
            out = True

    limits: list[asyncio.Timeout] = []
    task = asyncio.ensure_future(limited())
    await arrived
    limits[0].reschedule(0)
    await task
    assert out


WAYS = pytest.mark.parametrize("cancel", [by_task, by_scope, by_timeout])


@pytest.fixture(params=["ensure", "add", "remove", "put"])
def reading_call(
    request: pytest.FixtureRequest,
    sandbox: Sandbox,
    session: EzeepSession,
    organization: UUID,
    member: UUID,
    added: UUID,
) -> tuple[str, Call]:
    """A call that reads before it writes, and the route that it reads."""
    there = next(iter(sandbox.organization.users[member].groups))
    if request.param == "put":
        session.users.inner._learnt.refuses_patch = True
    calls: dict[str, tuple[str, Call]] = {
        "ensure": (LIST, lambda: session.groups.ensure("Finance", organization)),
        "add": (READ, lambda: session.users.add_to_groups(member, added)),
        "remove": (READ, lambda: session.users.remove_from_groups(member, there)),
        "put": (READ, lambda: session.users.set_groups(member, [added])),
    }
    return calls[request.param]


def writes(sandbox: Sandbox) -> list[str]:
    return [seen.method for seen in sandbox.requests if seen.method != "GET"]


@pytest.mark.slow
@WAYS
async def test_7_3_cancelled_while_it_reads_nothing_is_written(
    sandbox: Sandbox, session: EzeepSession, reading_call: tuple[str, Call], cancel: Any
) -> None:
    """7-3, 6-4: a call that is cancelled before its first write leaves nothing behind, and the next call runs."""
    read, call = reading_call
    await session.accounts.me()
    hold = sandbox.faults.hold(read, times=1)
    async with nothing_running():
        await cancel(call, hold.arrived())
        hold.release()
    assert writes(sandbox) == []
    await asyncio.wait_for(call(), 10)
    assert len(writes(sandbox)) == 1


@WAYS
async def test_7_3_cancelled_while_it_writes_the_next_turn_waits(
    sandbox: Sandbox, session: EzeepSession, member: UUID, added: UUID, cancel: Any
) -> None:
    """7-3: a write in flight is completed before the waiters begin, some of which are cancelled too."""
    before = set(sandbox.organization.users[member].groups)
    others = [sandbox.organization.add_group(f"G{number}").id for number in range(6)]
    hold = sandbox.faults.hold(PATCH, times=1)
    waiting: list[asyncio.Task[User]] = []

    async def arrived() -> None:
        await hold.arrived()
        waiting.extend(asyncio.ensure_future(session.users.add_to_groups(member, each)) for each in others)
        await asyncio.sleep(0)

    reads_at_most = sandbox.count(READ) + 1
    await cancel(lambda: session.users.add_to_groups(member, added), arrived())
    for task in waiting[::2]:
        task.cancel()
    await asyncio.wait(waiting, timeout=0.1)
    assert [task.done() for task in waiting] == [True, False] * 3
    assert sandbox.count(READ) <= reads_at_most
    hold.release()
    await asyncio.wait_for(asyncio.gather(*waiting[1::2]), 10)
    assert set(sandbox.organization.users[member].groups) == before | {added, *others[1::2]}
    assert len(exclusive.queues) == 0


@WAYS
async def test_6_4_cancelled_at_the_creation_others_get_that_group(
    sandbox: Sandbox, session: EzeepSession, organization: UUID, cancel: Any
) -> None:
    """6-4: the creation is completed, waiters with the same name get its group, and there is one group."""
    hold = sandbox.faults.hold(CREATE, times=1)
    waiting: list[asyncio.Task[tuple[Group, bool]]] = []

    async def arrived() -> None:
        await hold.arrived()
        waiting.extend(
            asyncio.ensure_future(session.groups.ensure("Finance", organization)) for _ in range(9)
        )
        await asyncio.sleep(0)

    await cancel(lambda: session.groups.ensure("Finance", organization), arrived())
    await asyncio.wait(waiting, timeout=0.1)
    assert not any(task.done() for task in waiting)
    hold.release()
    results = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    made = [each for each in sandbox.organization.groups.values() if each.name == "Finance"]
    assert {group.id for group, _ in results} == {each.id for each in made}
    assert (len(made), sandbox.count(CREATE), any(created for _, created in results)) == (1, 1, False)
    assert len(exclusive.queues) == 0


async def test_6_4_a_lost_creation_of_a_cancelled_caller_is_not_retried(
    sandbox: Sandbox, session: EzeepSession, organization: UUID
) -> None:
    """6-4: without a caller a lost creation is not retried."""
    await session.accounts.me()
    sandbox.faults.add(CREATE, status=500)
    hold = sandbox.faults.hold(CREATE, times=1)
    async with nothing_running():
        await by_task(lambda: session.groups.ensure("Finance", organization), hold.arrived())
        hold.release()
        await until(lambda: not len(exclusive.queues))
    assert (sandbox.count(CREATE), sandbox.count(LIST)) == (1, 2)


@pytest.fixture
async def response() -> AsyncIterator[asyncio.Future[None]]:
    yield asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("first", ["response", "cancel"])
@pytest.mark.parametrize("way", ["task", "scope"])
async def test_7_3_cancelled_together_with_the_response_nothing_is_written(
    session: EzeepSession, response: asyncio.Future[None], way: str, first: str
) -> None:
    """7-3: the response to the read and the cancellation arrive in one iteration of the loop, in both orders."""
    turns, sent = Turns(session._core), 0
    scope = anyio.CancelScope()

    async def write() -> None:
        nonlocal sent
        sent += 1

    async def work(turn: Turn) -> None:
        await response
        await turn.write(write)

    async def call() -> None:
        with scope:
            async with turns.take(("key",)) as turn:
                await work(turn)

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0.01)
    acts: list[Callable[[], object]] = [
        lambda: response.set_result(None) if not response.done() else None,
        task.cancel if way == "task" else scope.cancel,
    ]
    for act in acts if first == "response" else reversed(acts):
        act()
    await asyncio.wait({task}, timeout=5)
    await asyncio.sleep(0.01)
    assert (sent, len(exclusive.queues)) == (0, 0)


async def test_a_write_that_fails_after_its_caller_was_cancelled_logs_nothing(
    sandbox: Sandbox, session: EzeepSession, organization: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """No "exception was never retrieved" is logged later."""
    hold = sandbox.faults.hold(CREATE)
    sandbox.faults.add(CREATE, times=None, status=403)
    call = asyncio.create_task(session.groups.ensure("x", organization))
    await hold.arrived()
    call.cancel()
    await asyncio.wait({call})
    hold.release()
    await session.groups.find("x")
    await asyncio.sleep(0.05)
    gc.collect()
    assert "never retrieved" not in caplog.text
