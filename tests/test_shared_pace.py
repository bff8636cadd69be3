"""`SharedPace` on a real Redis server: announcing, listening, restarts, forks, and what users pass to it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pools import pool_in, use
from helpers.redis_servers import Server, redis
from helpers.stub_servers import quick
from helpers.support import sandbox_in_a_thread, until

from ezeep_async import CoolDownChannel, EzeepSession, SessionClosed, SharedPace, TokenStoreError, run_sync
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow

API = "https://api2.ezeep.com"
USER = "GET /printing/v1/users/{id}/"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.admin.flushall()
    return shared


def session_in(sandbox: Sandbox, pace: SharedPace) -> EzeepSession:
    settings = quick(shared_pace=pace)
    return EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=settings
    )


def connections(server: Server) -> int:
    """Those of others than the test."""
    return len(server.admin.client_list()) - 1


async def test_listeners_hear_what_is_announced_and_what_is_in_force(server: Server) -> None:
    pace = SharedPace(server.address)
    assert isinstance(pace, CoolDownChannel)
    async with pace.listen() as early:
        assert await anext(early) == {}
        await SharedPace(server.address).announce(API, 30.0)
        assert await anext(early) == {API: 30.0}
        async with SharedPace(server.address).listen() as late:
            (found,) = (await anext(late)).items()
            assert found[0] == API
            assert 29 < found[1] <= 30.0
    async with SharedPace(server.address, "another key").listen() as other:
        assert await anext(other) == {}
    assert 29_000 < server.admin.pttl("ezeep:cool-downs") <= 30_000
    assert connections(server) == 0


async def test_a_shorter_cool_down_does_not_end_a_longer_one(server: Server) -> None:
    pace = SharedPace(server.address)
    await pace.announce(API, 30.0)
    await pace.announce(API, 1.0)
    await pace.announce("https://account.ezeep.com", 5.0)
    async with pace.listen() as heard:
        left = await anext(heard)
    assert left[API] > 29
    assert 4 < left["https://account.ezeep.com"] <= 5


@pytest.mark.may_block  # such a client reads the version of redis from the disk when it connects
async def test_a_borrowed_client_is_not_closed(server: Server) -> None:
    for decoded in (False, True):
        client = redis.asyncio.Redis.from_url(server.address, decode_responses=decoded)
        pace = SharedPace(client)
        async with pace.listen() as heard:
            assert await anext(heard) == {}
            await pace.announce(API, 0.001)
            assert await anext(heard) == {API: 0.001}
        await client.ping()
        await client.aclose()


async def test_an_idle_connection_is_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ezeep_async.shared_pace.PING_AFTER_S", 0.05)
    pace = SharedPace(server.address)
    async with pace.listen() as heard:
        await anext(heard)
        next_one = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(0.3)
        assert not next_one.done()
        server.process.send_signal(signal.SIGSTOP)  # it does not respond, and no connection ends
        try:
            with pytest.raises((OSError, redis.RedisError)):
                await asyncio.wait_for(next_one, 10)
        finally:
            server.process.send_signal(signal.SIGCONT)


async def test_no_request_waits_for_redis_and_idle_sessions_keep_one_connection(
    sandbox: Sandbox, server: Server
) -> None:
    pace = SharedPace(server.address)
    async with session_in(sandbox, pace) as one, session_in(sandbox, pace) as two:
        await one.accounts.me()
        await until(lambda: connections(server) <= 2)
        before = server.admin.info("commandstats")
        for _ in range(50):
            await one.accounts.me()
            await two.accounts.me()
        after = server.admin.info("commandstats")
        ours = {"cmdstat_eval", "cmdstat_publish", "cmdstat_subscribe", "cmdstat_get"}
        assert {name: after.get(name) for name in ours} == {name: before.get(name) for name in ours}
    await until(lambda: connections(server) == 0)


async def test_a_pool_whose_sessions_were_all_closed_listens_again(sandbox: Sandbox, server: Server) -> None:
    """Its limiters follow the others after that too."""
    pace, before = SharedPace(server.address), connections(server)
    async with pool_in(sandbox, max_open=1, settings=quick(shared_pace=pace)) as pool:
        for key in "ab":
            await pool.adopt(key, sandbox.tokens())
            await use(pool, key)
        await until(lambda: 0 < connections(server) - before <= 2)
        for key in "ab":
            await pool.drop(key)
        await until(lambda: connections(server) == before)
        for host in {sandbox.endpoints.api, sandbox.endpoints.account}:
            await SharedPace(server.address).announce(host, 0.6)
        await pool.adopt("c", sandbox.tokens())
        began = asyncio.get_running_loop().time()
        await use(pool, "c")
        assert asyncio.get_running_loop().time() - began > 0.3
    await until(lambda: connections(server) == before)


async def test_a_restart_of_the_server_is_one_warning_and_sharing_resumes(
    sandbox: Sandbox, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ezeep_async.http")
    user = next(iter(sandbox.organization.users))
    mine, other = SharedPace(server.address), SharedPace(server.address)
    async with session_in(sandbox, mine) as one, session_in(sandbox, other) as two:
        await asyncio.gather(one.users.get(user), two.users.get(user))
        await asyncio.to_thread(server.stop)
        sandbox.faults.add(USER, status=429, retry_after=0.1)
        await one.users.get(user)  # goes on as without Redis
        await until(lambda: len(caplog.records) == 2)
        await asyncio.to_thread(server.start)
        server.admin = redis.Redis(port=server.port)
        await until(lambda: server.admin.pubsub_numsub("ezeep:cool-downs")[0][1] == 2)
        sandbox.faults.add(USER, status=429, retry_after=1)
        first = asyncio.create_task(one.users.get(user))
        # Not as soon as any cool-down is stored: the announcement of the first one may have succeeded after the restart.
        await until(lambda: one.stats.throttled == 2 and server.admin.pttl("ezeep:cool-downs") > 500)
        second = asyncio.create_task(two.users.get(user))
        async with asyncio.timeout(10):
            while not two.stats.waiting:  # its calls go on until it hears of the cool-down
                await asyncio.sleep(0.002)
                if second.done():
                    second = asyncio.create_task(two.users.get(user))
        await asyncio.gather(first, second)
        assert two.stats.throttled == 0
    assert len(caplog.records) == 2  # one of each `SharedPace`
    assert all(record.message.startswith("cool-downs are not shared") for record in caplog.records)


async def test_a_session_that_is_closed_at_any_moment_leaves_nothing(
    sandbox: Sandbox, server: Server
) -> None:
    """While it opens, while the listener connects, and while that is cancelled: redis swallows some cancellations."""
    pace, before = SharedPace(server.address), asyncio.all_tasks()
    for steps in range(40):
        session = session_in(sandbox, pace)
        call = asyncio.create_task(session.accounts.me())
        for _ in range(steps):
            await asyncio.sleep(0)
        if steps % 2:
            call.cancel()
        await asyncio.wait_for(session.aclose(), 10)
        await asyncio.wait({call})
        assert call.cancelled() or isinstance(call.exception(), SessionClosed) or call.result()
    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: connections(server) == 0)


async def test_a_listener_that_is_cancelled_once_ends(server: Server) -> None:
    """As by `asyncio.run` at its end, also while the listener connects."""
    pace = SharedPace(server.address)

    async def listener() -> None:
        async with pace.listen() as heard:
            async for _ in heard:
                pass

    for steps in range(40):
        task = asyncio.create_task(listener())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=10)
        assert task.cancelled()


@pytest.mark.parametrize(
    "written",
    [b"garbage", b"", b"1000", b" ", b"nan API", b"inf API", b"1e400 API", b"-5000 API", b"0 API", b"\xff\xfe\x00",
     b"1" * 5000 + b" API", b"1" * 4000 + b" API"],
)  # shorter than one item a line  # fmt: skip
async def test_what_others_write_to_the_channel_is_no_cool_down(server: Server, written: bytes) -> None:
    pace = SharedPace(server.address)
    async with pace.listen() as heard:
        assert await anext(heard) == {}
        server.admin.publish("ezeep:cool-downs", written)
        await pace.announce(API, 1.0)
        found: list[dict[str, float]] = []
        while found[-1:] != [{API: 1.0}]:
            found.append(dict(await asyncio.wait_for(anext(heard), 10)))
        assert all(host == "" for each in found[:-1] for host in each)


@pytest.mark.parametrize(
    "stored", [{API: float("inf")}, {API: float("-inf")}, {API: 1e300}, {API: -5.0}, {b"\xff\xfe": 1e18}]
)
async def test_what_others_write_to_the_key_hides_no_cool_down(
    server: Server, stored: dict[str | bytes, float]
) -> None:
    server.admin.zadd("ezeep:cool-downs", stored)
    pace = SharedPace(server.address)
    async with pace.listen() as heard:
        assert await asyncio.wait_for(anext(heard), 10) in ({}, {API: pytest.approx(9.2e15, rel=0.1)})
        await pace.announce(API, 1.0)
        assert await asyncio.wait_for(anext(heard), 10) == {API: 1.0}
    assert server.admin.pttl("ezeep:cool-downs") > 0


@pytest.mark.may_block
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_5_3_a_forked_child_has_a_connection_of_its_own(server: Server, tmp_path: Path) -> None:
    def listeners() -> int:
        return server.admin.pubsub_numsub("ezeep:cool-downs")[0][1]

    with (
        sandbox_in_a_thread() as sandbox,
        run_sync(session_in(sandbox, SharedPace(server.address))) as session,
    ):
        session.accounts.me()
        assert listeners() == 1
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                session.accounts.me()
                count = redis.Redis(port=server.port).pubsub_numsub("ezeep:cool-downs")[0][1]
                session.close()
                code = 0 if count == 2 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        session.accounts.me()
        asyncio.run(until(lambda: listeners() == 1))
    asyncio.run(until(lambda: listeners() == 0))


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(TypeError, match="key must be a str"):
        SharedPace("redis://localhost", 5)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TypeError, match="server must be"):
        SharedPace(5)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(TokenStoreError, match="not valid"):
        SharedPace("http://localhost")
    assert "secret" not in repr(SharedPace("redis://:secret@localhost/0"))
