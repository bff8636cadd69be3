"""Throttling of a whole job on a real socket, measured in counts: 6-2, 6-7, 6-8."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from helpers.raw_server import ID, PlayServer, http, says
from helpers.stub_servers import Stub, quick, session_on

from ezeep_async import EzeepSession, RateLimited, Settings
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow


WRITE = "PATCH /printing/v1/users/{id}/"
PHASES = (5, 3, 20)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def large() -> AsyncIterator[Sandbox]:
    async with Sandbox(users=1000, latency=0.005) as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("retry_after", [None, 0, 0.05])
async def test_6_8_a_thousand_writes_while_the_server_takes_five_then_three_then_twenty(
    large: Sandbox, retry_after: float | None
) -> None:
    """6-8: all applied, and at most 1.3 requests for each, whatever the server asks for with its refusals."""
    large.behaviour.retry_after = retry_after
    users, groups = list(large.organization.users), list(large.organization.groups)
    for user in users:
        large.organization.users[user].groups.clear()
    wanted = {user: {groups[n % len(groups)]} for n, user in enumerate(users)}
    done = 0
    large.behaviour.max_parallel = PHASES[0]

    async with EzeepSession(
        large.oauth_app, tokens=large.tokens(), endpoints=large.endpoints, settings=Settings()
    ) as session:

        async def write(user: Any) -> None:
            nonlocal done
            await session.users.set_groups(user, wanted[user])
            done += 1
            large.behaviour.max_parallel = PHASES[3 * done // 1001]

        await asyncio.gather(*map(write, users))
        assert session.stats.throttled == session.stats.retries > 0
    assert {user: set(large.organization.users[user].groups) for user in users} == wanted
    statuses = [seen.status for seen in large.requests if seen.key == WRITE]
    assert statuses.count(200) == 1000
    assert len(statuses) <= 1300


@pytest.mark.timeout(30)
async def test_6_2_a_storm_of_429_is_one_pause() -> None:
    """6-2, 6-7: 1000 calls meet a server that refuses everybody for two seconds: as many as may be under way are
    refused, once; no request starts before `Retry-After` is over; and then they do not all come at once."""
    arrived: list[tuple[float, int]] = []
    open_from = 0.0

    async def handler(seen: Any) -> web.Response:
        nonlocal open_from
        open_from = open_from or now() + 2
        refused = now() < open_from
        arrived.append((now(), 429 if refused else 200))
        await asyncio.sleep(0.002)
        if refused:
            return web.json_response({}, status=429, headers={"Retry-After": "2"})
        return web.json_response({})

    async with Stub(handler) as stub, session_on(stub.url, concurrency=16) as session:
        await asyncio.gather(*(session.request("GET", f"/x/{n}/") for n in range(1000)))
        assert session.stats.throttled <= 16
    assert [status for _, status in arrived].count(429) <= 16
    assert [status for _, status in arrived].count(200) == 1000
    last_refused = max(when for when, status in arrived if status == 429)
    first_let_in = min(when for when, status in arrived if status == 200)
    assert first_let_in >= last_refused + 2


async def test_6_2_after_the_pause_they_come_back_by_halves(sandbox: Sandbox) -> None:
    """6-7: after a storm the server has half as many at once as before it, and not all that have been waiting."""
    sandbox.behaviour.latency = 0.02
    sandbox.faults.add(WRITE, status=429, retry_after=2, times=16)
    users, group = list(sandbox.organization.users)[:100], next(iter(sandbox.organization.groups))
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(concurrency=16),
    ) as session:
        calls = [asyncio.create_task(session.users.set_groups(user, [group])) for user in users]
        while session.stats.throttled < 16:
            await asyncio.sleep(0.001)
        sandbox.peak_parallel = 0
        hold = sandbox.faults.hold(WRITE)
        await hold.arrived(8)
        await asyncio.sleep(0.1)
        assert hold.count == 8
        assert sandbox.peak_parallel == 8
        hold.release()
        await asyncio.gather(*calls)


async def test_6_12_without_retries_a_refusal_still_slows_the_others_down() -> None:
    """6-7, 6-11: `retries=0` repeats nothing. The cool-down applies all the same: the others wait out what was asked for."""
    arrived: list[float] = []

    async def handler(seen: Any) -> web.Response:
        arrived.append(now())
        first = len(arrived) == 1
        return web.json_response(
            {}, status=429 if first else 200, headers={"Retry-After": "1"} if first else {}
        )

    async with Stub(handler) as stub, session_on(stub.url, retries=0, concurrency=4) as session:
        with pytest.raises(RateLimited):
            await session.request("GET", "/x/")
        await asyncio.gather(*(session.request("GET", "/x/") for _ in range(4)))
    assert len(arrived) == 5
    assert min(arrived[1:]) >= arrived[0] + 1


async def test_6_2_a_retry_after_beyond_the_limit_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """6-2: the throttled call fails at once; the log says that the others wait for `max_retry_after`."""
    play = says(http(b"{}", "Retry-After: 3600", status="429 No"))
    async with PlayServer(play) as server, session_on(server.url, max_retry_after=0.05) as session:
        with pytest.raises(RateLimited) as caught:
            await session.groups.get(ID)
        assert caught.value.retry_after == 3600
        assert (await session.groups.get(ID)).name == "g"
        assert len(server.requests) == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "asked for 3600 s" in record.getMessage()
    assert "wait 0.05 s" in record.getMessage()
