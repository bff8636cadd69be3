"""`RedisTokenStore`: a process that is stopped in mid refresh beyond its lease, and one that is killed there."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from collections.abc import AsyncIterator, Iterator

import attrs
import pytest
from helpers.evidence import survives
from helpers.redis_servers import Server
from helpers.support import QUICK, TOKEN, expired, open_session, put, until
from helpers.suspending import Stoppable, stoppable

from ezeep_async import EzeepSession, ReauthorizationRequired, RedisTokenStore, TokenSet, TransientAuthError
from ezeep_async.auth.stores.leased import StoreUnusable
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP"),
]

LEASE_S = 0.2
LOCK = "{ezeep:login}:lock"
MARK = "{ezeep:login}:refresh"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("redis"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def child() -> Iterator[Stoppable]:
    with stoppable() as process:
        yield process


@pytest.fixture
async def tokens(server: Server, sandbox: Sandbox) -> AsyncIterator[TokenSet]:
    server.admin.flushall()
    old = expired(sandbox.tokens())
    await put(_store(server), old)
    yield old


def _store(server: Server) -> RedisTokenStore:
    return RedisTokenStore(server.address, lease=LEASE_S, lock_timeout=20)


def _session(sandbox: Sandbox, server: Server, refresh_timeout: float) -> EzeepSession:
    return open_session(
        sandbox, _store(server), settings=attrs.evolve(QUICK, deadline=30, refresh_timeout=refresh_timeout)
    )


async def _stopped(child: Stoppable, sandbox: Sandbox, server: Server, *, responded: bool) -> None:
    """A child that is stopped in mid refresh, and whose lock has ended."""
    hold = sandbox.faults.hold(TOKEN, after=True, times=1)
    await _start(child, sandbox, server)
    await hold.arrived()
    child.stop()
    if responded:
        hold.release()
    await until(lambda: not server.admin.exists(LOCK))


async def _start(child: Stoppable, sandbox: Sandbox, server: Server) -> None:
    where = sandbox.endpoints
    job = {"account": where.account, "api": where.api, "client_id": sandbox.oauth_app.client_id}
    settings = {"refresh_timeout": 5.0, "deadline": 30.0}
    await asyncio.to_thread(
        lambda: child.start(call="refresh", redis=server.address, lease=LEASE_S, settings=settings, **job)
    )


@pytest.mark.usefixtures("tokens")
async def test_others_say_try_later_while_the_holder_is_stopped(
    child: Stoppable, sandbox: Sandbox, server: Server
) -> None:
    """No other process sends its refresh token. When it continues, it stores the token set that it received, and all work."""
    await _stopped(child, sandbox, server, responded=True)
    async with _session(sandbox, server, 0.3) as other:
        for _ in range(2):
            with pytest.raises(TransientAuthError, match="has not stored the next one"):
                await other.accounts.me()
        assert sandbox.refresh_requests == 1
        child.go_on()
        assert await asyncio.to_thread(child.outcome) == "well"
        await other.accounts.me()
        assert sandbox.refresh_requests == 1
        assert server.admin.keys() == [b"ezeep:login"]
        assert await survives("Redis: holder stopped beyond its lease, response arrived", sandbox, other)


@pytest.mark.usefixtures("tokens")
@pytest.mark.parametrize("responded", [True, False])
async def test_others_wait_for_a_holder_that_goes_on(
    child: Stoppable, sandbox: Sandbox, server: Server, responded: bool
) -> None:
    """They adopt the token set that it stores, although its lock had ended."""
    await _stopped(child, sandbox, server, responded=responded)
    async with _session(sandbox, server, 10.0) as other:
        call = asyncio.create_task(other.accounts.me())
        await until(lambda: server.admin.exists(LOCK))
        child.go_on()
        sandbox.faults.clear()
        await call
        assert await asyncio.to_thread(child.outcome) == "well"
        assert sandbox.refresh_requests == 1
        assert await survives("Redis: holder stopped beyond its lease, goes on meanwhile", sandbox, other)


async def _killed(child: Stoppable, sandbox: Sandbox, server: Server, *, after: bool) -> None:
    hold = sandbox.faults.hold(TOKEN, after=after, times=1)
    await _start(child, sandbox, server)
    await hold.arrived()
    os.kill(child.pid, signal.SIGKILL)
    child.pid = 0
    if after:
        hold.release()
    await until(lambda: not server.admin.exists(LOCK))


@pytest.mark.usefixtures("tokens")
async def test_a_killed_holder_is_not_waited_for(child: Stoppable, sandbox: Sandbox, server: Server) -> None:
    """Its connection is gone: the refresh token that it may not have used is sent at once."""
    await _killed(child, sandbox, server, after=False)
    async with _session(sandbox, server, 20.0) as other:
        await asyncio.wait_for(other.accounts.me(), 10)
    assert sandbox.refreshes == 1


@pytest.mark.usefixtures("tokens")
async def test_a_person_is_asked_for_after_two_refusals(
    child: Stoppable, sandbox: Sandbox, server: Server
) -> None:
    """The first may be due to a holder that has the next token set and is out of reach; the second is not."""
    await _killed(child, sandbox, server, after=True)
    async with _session(sandbox, server, 1.0) as other:
        with pytest.raises(TransientAuthError, match="another process had begun"):
            await other.accounts.me()
        with pytest.raises(ReauthorizationRequired):
            await other.accounts.me()
        requests = sandbox.refresh_requests
        with pytest.raises(ReauthorizationRequired):
            await other.accounts.me()
        assert sandbox.refresh_requests == requests


@pytest.mark.usefixtures("tokens")
async def test_a_forked_child_does_not_keep_the_connection_of_a_holder(
    sandbox: Sandbox, server: Server
) -> None:
    """A holder that was killed would be taken for suspended for as long as its child lives."""
    hold = sandbox.faults.hold(TOKEN, times=1)
    read, write = os.pipe()
    async with open_session(sandbox, _store(server)) as session:
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        address = server.admin.hget(MARK, "connection").decode().partition("@")[2]
        assert address in [each["addr"] for each in server.admin.client_list()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other tests left threads behind
            if not (child := os.fork()):
                os.close(write)
                os.read(read, 1)
                os._exit(0)
        try:
            hold.release()
            await call
            await until(lambda: address not in [each["addr"] for each in server.admin.client_list()])
        finally:
            os.close(write)
            os.waitpid(child, 0)
            os.close(read)


async def test_a_holder_whose_lock_was_lost_does_not_send_the_token_again(
    sandbox: Sandbox, server: Server, tokens: TokenSet
) -> None:
    """Its response is lost, and another process has the lock: a replay would end the token set of that process."""
    store = _store(server)
    hold = sandbox.faults.hold(TOKEN, times=1)
    sandbox.faults.add(TOKEN, drop="before")
    async with open_session(sandbox, store) as session:
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        server.admin.set(LOCK, "another")
        hold.release()
        with pytest.raises(TransientAuthError):
            await call
        assert sandbox.refresh_requests == 1
        server.admin.delete(LOCK)
        await session.accounts.me()
    assert server.admin.keys() == [b"ezeep:login"]
    assert await store.load() != tokens


async def test_marks_of_another_state_and_of_an_unknown_connection(
    sandbox: Sandbox, server: Server, tokens: TokenSet
) -> None:
    """A mark counts for the state that it names; one of a server that lists no connections ends by itself."""
    store = _store(server)
    generation = server.admin.hget("ezeep:login", "generation")
    mark = {"owner": "another", "generation": "old", "connection": ""}
    server.admin.hset(MARK, mapping=mark)
    async with store.lock():
        assert await store.load() == tokens
        assert await store.begin_refresh() is None
        assert await store.begin_refresh() is None
        assert server.admin.hget(MARK, "owner") != b"another"
        server.admin.hset(MARK, mapping=mark | {"generation": generation})
        assert await store.begin_refresh() == "suspended"
        server.admin.hset(MARK, "connection", "1@127.0.0.1:1")
        assert await store.begin_refresh() == "gone"
        assert await store.is_still_locked()
        server.admin.delete(LOCK)
        assert not await store.is_still_locked()
        await store.end_refresh()
    assert not server.admin.exists(MARK)


async def test_what_was_stored_after_the_load_is_adopted(
    sandbox: Sandbox, server: Server, tokens: TokenSet, caplog: pytest.LogCaptureFixture
) -> None:
    """A holder that continues just then has stored the next token set: the one that was loaded is not sent.

    Nothing is waited for, so no log line speaks of a suspended process.
    """
    new = sandbox.tokens()

    class Late(RedisTokenStore):
        async def check_writable(self) -> None:
            document = server.admin.hget("ezeep:login", "login").decode()
            document = document.replace(tokens.access_token, new.access_token)
            document = document.replace(tokens.refresh_token, new.refresh_token)
            server.admin.hset("ezeep:login", mapping={"generation": "next", "login": document})
            await super().check_writable()

    async with open_session(sandbox, Late(server.address)) as session:
        await session.accounts.me()
    assert sandbox.refresh_requests == 0
    assert "suspended" not in caplog.text


async def test_after_a_failed_save_others_wait_for_the_saver(
    sandbox: Sandbox, server: Server, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The used refresh token stays marked over the release. The saver repeats its save, and no process is signed out."""

    async def fail(*_: object) -> str:
        raise StoreUnusable("failed", "failed")

    broken = _store(server)
    settings = attrs.evolve(QUICK, deadline=30, refresh_timeout=0.3)
    async with open_session(sandbox, _store(server), settings=settings) as other:
        async with open_session(sandbox, broken, settings=settings) as saver:
            with monkeypatch.context() as patch:
                patch.setattr(broken, "_write", fail)
                await saver.accounts.me()
            assert await broken.load() == tokens
            with pytest.raises(TransientAuthError, match="has not stored the next one"):
                await other.accounts.me()
            assert sandbox.refresh_requests == 1
            # Its next refresh first stores the last one.
            await saver.oauth.refresh()
            assert (sandbox.refreshes, sandbox.refresh_requests) == (2, 2)
        await other.accounts.me()
        assert sandbox.refresh_requests == 2
