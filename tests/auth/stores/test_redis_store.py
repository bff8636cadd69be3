"""`RedisTokenStore` on a real Redis server: requirements 2-1, 2-2, 2-6 to 2-10, 2-12."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.children import call_at_expiry
from helpers.evidence import survives
from helpers.redis_servers import Server
from helpers.support import expired, open_session, put, reserved_port, sandbox_in_a_thread, until

from ezeep_async import (
    EzeepSession,
    OAuthApp,
    Settings,
    TokenPersistError,
    TokenSet,
    TokenStore,
    TokenStoreCorrupt,
    TokenStoreError,
)
from ezeep_async.auth.stores.redis import LEASE_S, LOCK_TIMEOUT_S, RedisTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow


redis = pytest.importorskip("redis", reason="the extra redis is not installed")
redis_asyncio = pytest.importorskip("redis.asyncio", reason="the extra redis is not installed")

REFRESH_TOKEN = "POST /oauth/access_token/"


UNNAMED = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis_asyncio.Redis).parameters
    else {"lib_name": None, "lib_version": None}
)
"""Options of borrowed clients: without them redis reads its version from the disk, on the event loop."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("redis"))
    yield started
    started.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which persists its data."""
    started = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield started
    started.close()


@pytest.fixture
def unused_port() -> Iterator[int]:
    with reserved_port() as port:
        yield port


@pytest.fixture
def store(server: Server) -> Iterator[RedisTokenStore]:
    server.admin.flushall()
    yield RedisTokenStore(server.address)
    server.admin.flushall()


def _document(server: Server) -> dict:
    return json.loads(server.admin.hget("ezeep:login", "login"))


def _connections(server: Server) -> int:
    return len(server.admin.client_list()) - 1


# --- the contract ----------------------------------------------------------------------------------------------------


async def test_a_token_set_survives_its_session(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """It is saved, loaded unchanged by another store on the same key, and cleared."""
    assert isinstance(store, TokenStore)
    assert await store.load() is None
    tokens = sandbox.tokens()
    await put(store, tokens)
    other = RedisTokenStore(server.address)
    assert await other.load() == tokens
    async with other.lock():
        await other.clear()
    assert await store.load() is None
    assert await RedisTokenStore(server.address, "another").load() is None


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", " \n"])
@pytest.mark.parametrize("kind", ["hash", "text"])
async def test_an_empty_value_is_an_empty_store(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, kind: str, text: str
) -> None:
    """A placeholder of a deployment: no token set is loaded, a first one can be stored, and reading changes nothing."""
    if kind == "hash":
        server.admin.hset("ezeep:login", "login", text)
    else:
        server.admin.set("ezeep:login", text)
    assert await store.load() is None
    assert server.admin.exists("ezeep:login") == 1
    tokens = sandbox.tokens()
    async with open_session(sandbox, store, tokens=tokens) as session:
        await session.accounts.me()
    assert await store.load() == tokens


@pytest.mark.parametrize("command", [("set", "theirs"), ("hset", "field", "theirs"), ("rpush", "theirs")])
async def test_a_key_of_another_program_is_not_removed(
    server: Server, store: RedisTokenStore, command: tuple[str, ...]
) -> None:
    """A logout reads the key first."""
    name, *values = command
    server.admin.execute_command(name, "ezeep:login", *values)
    with pytest.raises(TokenStoreCorrupt):
        await store.clear()
    assert server.admin.exists("ezeep:login") == 1


async def test_save_and_clear_acquire_the_lock_if_it_is_not_held(
    sandbox: Sandbox, store: RedisTokenStore
) -> None:
    """Called without the lock, they wait for it."""
    tokens = sandbox.tokens()
    await store.save(tokens)
    assert await store.load() == tokens
    await store.check_writable()
    async with store.lock():
        clearing = asyncio.create_task(RedisTokenStore.clear(_same(store)))
        await asyncio.sleep(0.1)
        assert await store.load() == tokens
    await clearing
    assert await store.load() is None


def _same(store: RedisTokenStore) -> RedisTokenStore:
    return RedisTokenStore(store._server._address)


async def test_2_9_no_connection_and_no_lock_key_remain(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """2-9: the store is connected only while it is used and needs no close. The key of the lock is removed."""
    async with open_session(sandbox, store, tokens=expired(sandbox.tokens())) as session:
        await session.accounts.me()
        await until(lambda: _connections(server) == 0)  # the server hears of it a moment later
        assert server.admin.keys() == [b"ezeep:login"]
    async with store.lock():
        assert _connections(server) == 1
        assert server.admin.pttl("{ezeep:login}:lock") > 1000
    assert store._server._links == {}
    await store.aclose()
    await store.aclose()


async def test_2_2_the_steps_of_a_refresh_are_in_order(
    sandbox: Sandbox, store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-2: lock, load, check_writable, begin_refresh, save, unlock; all on one connection."""
    await put(store, expired(sandbox.tokens()))
    scripts: list[str] = []
    real = store._server.run

    async def spy(script: str, *arguments: str, **options):
        scripts.append(script)
        return await real(script, *arguments, **options)

    monkeypatch.setattr(store._server, "run", spy)
    async with open_session(sandbox, store) as session:
        await session.accounts.me()
    from ezeep_async.auth.stores import redis as module

    assert scripts == [
        module._ACQUIRE,
        module._LOAD,
        module._PROBE,
        module._BEGIN,
        module._LOAD,
        module._SAVE,
        module._RELEASE,
    ]


@pytest.mark.parametrize(
    "content",
    [b"{", b"plain-token", b"[]", b"\xff\xfe", b'{"version": 1}', b'{"version": 2, "token": {}}', b"null",
     b'{"version": 1, "token": {"access_token": "a", "refresh_token": "plain-token", "expires_at": "x"}}'],
    ids=lambda content: repr(content[:30]),
)  # shorter than one item a line  # fmt: skip
async def test_2_6_a_corrupt_value_is_named_and_kept(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, content: bytes
) -> None:
    """2-6: it is never used as a token, never overwritten by a refresh or a login, and never shown."""
    server.admin.hset("ezeep:login", mapping={"generation": "g", "login": content})
    async with open_session(sandbox, store) as session:
        with pytest.raises(TokenStoreCorrupt, match="'ezeep:login' in Redis at 127") as caught:
            await session.accounts.me()
        assert "plain-token" not in str(caught.value)
        with pytest.raises(TokenStoreCorrupt):
            await session.oauth.exchange_code("code")
    with pytest.raises(TokenStoreCorrupt):
        await store.save(
            sandbox.tokens()
        ) if b"version" not in content or b"2" in content else await store.load()
    assert server.admin.hget("ezeep:login", "login") == content
    assert sandbox.count(REFRESH_TOKEN) == 0


@pytest.mark.parametrize("kind", ["string", "list", "hash"])
async def test_2_6_another_type_at_the_key(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, kind: str
) -> None:
    """2-6: a key of another program is reported as no token set, and is not changed."""
    if kind == "string":
        server.admin.set("ezeep:login", "plain")
    elif kind == "list":
        server.admin.rpush("ezeep:login", "plain")
    else:
        server.admin.hset("ezeep:login", "name", "plain")
    before = server.admin.dump("ezeep:login")
    with pytest.raises(TokenStoreCorrupt, match="not a stored token set") as caught:
        await store.load()
    with pytest.raises(TokenStoreCorrupt, match="not a stored token set"):
        await store.save(sandbox.tokens())
    assert "plain" not in str(caught.value)
    assert server.admin.dump("ezeep:login") == before


async def test_2_8_another_type_at_the_key_of_the_lock(server: Server, store: RedisTokenStore) -> None:
    """2-8: the error names the lock, not the token set, which is fine."""
    server.admin.rpush("{ezeep:login}:lock", "plain")
    with pytest.raises(
        TokenStoreError, match=r"its lock '\{ezeep:login\}:lock' is a key of another type"
    ) as caught:
        async with store.lock():
            pass
    assert not isinstance(caught.value, TokenStoreCorrupt)
    assert server.admin.lrange("{ezeep:login}:lock", 0, -1) == [b"plain"]


async def test_2_12_a_token_set_of_another_client_or_host_is_refused(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """2-12: reading and writing fail; the value is not changed, and does not contain the client id."""
    async with open_session(sandbox, store, tokens=sandbox.tokens()) as session:
        await session.accounts.me()
    content = server.admin.hgetall("ezeep:login")
    assert sandbox.oauth_app.client_id.encode() not in content[b"login"]
    async with EzeepSession(OAuthApp("another"), _same(store), endpoints=sandbox.endpoints) as session:
        with pytest.raises(TokenStoreError, match="another client id"):
            await session.accounts.me()
        with pytest.raises(TokenStoreError, match="another client id"):
            await session.oauth.exchange_code("code")
    async with EzeepSession(sandbox.oauth_app, _same(store)) as session:
        with pytest.raises(TokenStoreError, match=r"not of https://account\.ezeep\.com"):
            await session.accounts.me()
    with pytest.raises(TokenStoreError, match="already serves another client id"):
        store.bind("another", "https://account.ezeep.com")
    assert server.admin.hgetall("ezeep:login") == content


async def test_2_12_unknown_keys_stay_on_rewriting(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """2-12: keys and hash fields of a later version are kept."""
    await put(store, sandbox.tokens())
    server.admin.hset("ezeep:login", "later", "kept")
    server.admin.hset("ezeep:login", "login", json.dumps(_document(server) | {"note": {"kept": True}}))
    await put(store, sandbox.tokens())
    assert _document(server)["note"] == {"kept": True}
    assert _document(server)["version"] == 1
    assert isinstance(_document(server)["token"]["expires_at"], float)
    assert server.admin.hget("ezeep:login", "later") == b"kept"


# --- processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_2_1_eight_processes_make_one_refresh(server: Server, store: RedisTokenStore, method: str) -> None:
    """2-1: eight processes with twenty calls each at the moment of expiry: one refresh in all, no failure."""
    context = multiprocessing.get_context(method)
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(store, expired(sandbox.tokens())))
        results, barrier = context.Queue(), context.Barrier(8)
        where = sandbox.endpoints
        arguments = (results, server.address, sandbox.oauth_app.client_id, where.account, where.api, barrier)
        processes = [context.Process(target=call_at_expiry, args=arguments) for _ in range(8)]
        for process in processes:
            process.start()
        outcomes = [results.get(timeout=50) for _ in processes]
        for process in processes:
            process.join(30)
        results.close()
        assert [len(outcome) for outcome in outcomes] == [20] * 8, outcomes
        assert sandbox.refresh_requests == 1


HOLD = """
import asyncio, sys
from datetime import datetime, UTC
from ezeep_async import TokenPersistError, TokenSet
from ezeep_async.auth.stores.redis import RedisTokenStore
async def main():
    store = RedisTokenStore(sys.argv[1], lease=float(sys.argv[2]))
    async with store.lock():
        await store.load()
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await store.save(TokenSet("late", "late", datetime.now(UTC)))
        except TokenPersistError as error:
            print(error, flush=True)
        else:
            print("saved", flush=True)
asyncio.run(main())
"""


@contextlib.contextmanager
def _holder(server: Server, lease: float) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, server.address, str(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.may_block
@pytest.mark.timeout(60)
def test_2_8_a_killed_holder_frees_the_lock_with_its_lease(server: Server, store: RedisTokenStore) -> None:
    """2-8: after SIGKILL of its holder the lock is busy until the lease expires; then the next process gets it."""

    async def take() -> None:
        with pytest.raises(TokenStoreError, match=r"busy: in use by another process for more than 0\.2 s"):
            async with RedisTokenStore(server.address, lock_timeout=0.2).lock():
                pass
        holder.kill()
        holder.wait()
        now, left = milliseconds(), server.admin.pttl("{ezeep:login}:lock")
        assert left > 0, "the lease ended with its holder"
        async with RedisTokenStore(server.address, lock_timeout=30).lock():
            assert milliseconds() >= now + left

    def milliseconds() -> int:
        """Return the time of the server, by which leases expire."""
        seconds, micro = server.admin.time()
        return seconds * 1000 + micro // 1000

    with _holder(server, lease=3.0) as holder:
        asyncio.run(take())


@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_2_9_a_suspended_holder_cannot_overwrite(
    server: Server, store: RedisTokenStore, sandbox_tokens: TokenSet
) -> None:
    """2-9: resumed after its lease lapsed and another holder stored a token set, its save raises an error."""
    with _holder(server, lease=0.5) as holder:
        holder.send_signal(signal.SIGSTOP)
        asyncio.run(put(store, sandbox_tokens))
        holder.send_signal(signal.SIGCONT)
        said, _ = holder.communicate("go\n", timeout=20)
    assert "the lock was lost" in said
    assert asyncio.run(store.load()) == sandbox_tokens


@pytest.fixture
def sandbox_tokens() -> TokenSet:
    return Sandbox().tokens()


@pytest.mark.may_block
def test_one_store_for_two_loops_in_two_threads(store: RedisTokenStore) -> None:
    """The event loop of the application and that of run_sync exclude each other on one store object."""
    inside, most, errors = 0, 0, []

    async def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            async with store.lock():
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert errors == []
    assert most == 1


@pytest.mark.may_block
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_2_9_a_forked_child_holds_nothing_of_its_parents(
    server: Server, store: RedisTokenStore, sandbox_tokens: TokenSet
) -> None:
    """2-9: forked while the parent holds the lock, the child waits for it, and can use the store."""
    store._lock_timeout = 0.3

    def child() -> bytes:
        try:
            asyncio._set_running_loop(None)
            asyncio.run(store.save(sandbox_tokens))
        except TokenStoreError as error:
            return b"busy" if "busy" in str(error) else b"another"
        return b"saved"

    async def parent() -> bytes:
        read, write = os.pipe()
        async with store.lock():
            if (pid := os.fork()) == 0:
                try:
                    os.write(write, child())
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            answer = os.read(read, 100)
            await store.save(sandbox_tokens)
        os.close(read)
        os.close(write)
        return answer

    assert asyncio.run(parent()) == b"busy"


# --- the lock and its lease --------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_2_9_the_lease_is_extended_while_it_is_held(server: Server, store: RedisTokenStore) -> None:
    """2-9: held for three times the lease, the lock is still held; it is free after its release."""
    short = RedisTokenStore(server.address, lease=1.0)
    async with short.lock():
        await asyncio.sleep(3)
        with pytest.raises(TokenStoreError, match="busy"):
            async with RedisTokenStore(server.address, lock_timeout=0.05).lock():
                pass
        await short.check_writable()
    async with RedisTokenStore(server.address, lock_timeout=0).lock():
        pass


def test_2_9_the_lease_is_longer_than_the_longest_exchange() -> None:
    """2-8, 2-9: a refresh and its retry fit into the lease, and a waiter outlasts the lease of a dead holder."""
    assert LEASE_S > 2 * Settings().refresh_timeout
    assert LOCK_TIMEOUT_S > LEASE_S
    with pytest.raises(ValueError, match="lease"):
        RedisTokenStore("redis://127.0.0.1", lease=0)


async def test_2_9_a_lapsed_holder_cannot_write(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """2-9: save, clear and check_writable fail; the lock of the next holder is not released."""
    theirs = sandbox.tokens()
    other = _same(store)
    async with store.lock():
        await store.load()
        server.admin.delete("{ezeep:login}:lock")
        async with other.lock():
            with pytest.raises(TokenPersistError, match="not refreshed: the lock was lost"):
                await store.check_writable()
            with pytest.raises(TokenPersistError, match="not written: the lock was lost"):
                await store.save(sandbox.tokens())
            with pytest.raises(TokenStoreError, match="not removed: the lock was lost"):
                await store.clear()
            await other.save(theirs)
    assert await store.load() == theirs


@pytest.mark.slow
async def test_2_9_a_lapsed_holder_in_one_store_object(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """2-9: two sessions share the object: the lapsed hold is distinguished from the current one."""
    lapsed = asyncio.Event()

    async def first() -> None:
        async with store.lock():
            await store.load()
            server.admin.delete("{ezeep:login}:lock")
            lapsed.set()
            await asyncio.sleep(0.2)
            with pytest.raises(TokenPersistError, match="lock was lost"):
                await store.save(sandbox.tokens())

    async def second() -> None:
        await lapsed.wait()
        async with store.lock():
            await asyncio.sleep(0.4)
            await store.save(sandbox.tokens())

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second())


async def test_2_9_a_lapsed_lease_is_logged(
    server: Server, store: RedisTokenStore, caplog: pytest.LogCaptureFixture
) -> None:
    """2-9: the extension of the lease detects it."""
    short = RedisTokenStore(server.address, lease=0.3)
    async with short.lock():
        server.admin.delete("{ezeep:login}:lock")
        await until(lambda: "the lock was lost" in caplog.text)
    assert caplog.text.count("the lock was lost while it was held") == 1


@pytest.mark.parametrize("meanwhile", ["nothing", "forgotten", "saved", "cleared"])
async def test_2_7_an_unsaved_token_set_replaces_only_its_predecessor(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, meanwhile: str
) -> None:
    """2-7, 2-9: it is stored under a later lock, unless another process stored or removed a token set since."""
    await put(store, sandbox.tokens())
    ours, theirs = sandbox.tokens(), sandbox.tokens()
    async with store.lock():
        await store.load()
        server.admin.delete("{ezeep:login}:lock")
        with pytest.raises(TokenPersistError):
            await store.save(ours)
    if meanwhile == "saved":
        await put(_same(store), theirs)
    elif meanwhile == "cleared":
        await _same(store).clear()
    elif meanwhile == "forgotten":  # by a server that was restarted and does not persist
        server.admin.flushall()
    async with store.lock():
        if meanwhile in {"nothing", "forgotten"}:
            await store.save(ours)
        else:
            with pytest.raises(TokenPersistError, match="stored or removed a token set in the meantime"):
                await store.save(ours)
    assert (
        await store.load()
        == {"nothing": ours, "forgotten": ours, "saved": theirs, "cleared": None}[meanwhile]
    )


async def test_2_7_a_lapse_during_the_refresh_keeps_the_token_set(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7, 2-9: the call succeeds, a critical line is logged, and the session stores the token set before it closes."""
    await put(store, expired(sandbox.tokens()))

    class Lapses(RedisTokenStore):
        lapses = True

        async def save(self, tokens: TokenSet, /) -> None:
            if self.lapses:
                self.lapses = False
                await asyncio.to_thread(server.admin.delete, "{ezeep:login}:lock", "{ezeep:login}:refresh")
            await super().save(tokens)

    session = open_session(sandbox, Lapses(server.address))
    async with session:
        await session.accounts.me()
        assert "the lock was lost" in caplog.text
        assert "CRITICAL" in caplog.text
    async with open_session(sandbox, store) as again:
        await again.accounts.me()
        assert sandbox.refresh_requests == 1
        assert await survives("Redis: the lease lapses", sandbox, again)


async def test_2_8_waiting_for_the_lock_is_cancellable_and_leaks_nothing(
    server: Server, store: RedisTokenStore
) -> None:
    """2-8: cancelled at any moment of waiting and holding, the lock is free for the next waiter."""

    async def take() -> None:
        async with store.lock():
            await asyncio.sleep(10)

    for pause in [0.0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02]:
        async with store.lock():
            task = asyncio.create_task(take())
            await asyncio.sleep(pause)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        free = asyncio.create_task(take())
        await asyncio.sleep(pause)
        free.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await free
        assert server.admin.keys() == []
        async with asyncio.timeout(2), store.lock():
            pass
    assert store._server._links == {}
    await until(lambda: _connections(server) == 0)  # it notices in its own time
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


# --- a server in trouble -----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_2_9_unreachable_is_not_busy(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, unused_port: int
) -> None:
    """2-9: every method soon raises an error that differs from a busy lock."""
    store = RedisTokenStore(f"redis://:hidden@127.0.0.1:{unused_port}/3", lock_timeout=60)
    with pytest.raises(TokenStoreError, match="Redis cannot be reached") as caught:
        async with store.lock():
            pass
    assert "busy" not in str(caught.value)
    assert "/3" in str(caught.value)
    with pytest.raises(TokenStoreError, match="cannot be reached"):
        await store.load()
    with pytest.raises(TokenPersistError, match="not refreshed: Redis cannot be reached"):
        await store.check_writable()
    with pytest.raises(TokenStoreError, match="cannot be reached"):
        await store.save(sandbox.tokens())
    assert "hidden" not in str(caught.value) + repr(store) + caplog.text


@pytest.mark.slow
async def test_2_9_a_server_that_does_not_respond() -> None:
    """2-9: it accepts the connection and sends nothing: it is unreachable."""
    silent = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(TokenStoreError, match="cannot be reached"):
            await RedisTokenStore(f"redis://127.0.0.1:{port}?socket_timeout=0.1").load()


@pytest.mark.parametrize("trouble", ["replica", "full"])
async def test_2_9_a_server_that_cannot_be_written(
    sandbox: Sandbox, own_server: Server, unused_port: int, trouble: str
) -> None:
    """2-2, 2-9: a read-only replica and a full server are detected before the refresh token is spent."""
    store = RedisTokenStore(own_server.address)
    tokens = expired(sandbox.tokens())
    await put(store, tokens)
    if trouble == "replica":
        own_server.admin.replicaof("127.0.0.1", str(unused_port))
    else:
        own_server.admin.config_set("maxmemory-policy", "noeviction")
        own_server.admin.config_set("maxmemory", "1")
    with pytest.raises(TokenPersistError, match=r"not refreshed: Redis refuses: .*(READONLY|OOM|read only)"):
        await store.check_writable()
    assert await store.load() == tokens
    async with open_session(sandbox, store) as session:
        with pytest.raises(TokenStoreError, match="Redis refuses"):
            await session.accounts.me()
    assert sandbox.refresh_requests == 0


async def test_2_9_the_server_restarts_during_a_refresh(
    sandbox: Sandbox, own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """2-9: between request and save, on a server that persists: token set and lock survive, nothing is logged."""
    await put(RedisTokenStore(own_server.address), expired(sandbox.tokens()))

    class Restarts(RedisTokenStore):
        async def save(self, tokens: TokenSet, /) -> None:
            await asyncio.to_thread(own_server.restart)
            await super().save(tokens)

    async with open_session(sandbox, Restarts(own_server.address)) as session:
        await session.accounts.me()
        assert caplog.text == ""
    async with open_session(sandbox, RedisTokenStore(own_server.address)) as again:
        await again.accounts.me()
        assert sandbox.refresh_requests == 1
        assert await survives("Redis: restart with its data", sandbox, again)


async def test_2_7_the_server_stops_during_a_refresh(
    sandbox: Sandbox, own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7: the call succeeds; loads raise one error; when Redis is back, the token set is stored."""
    await put(RedisTokenStore(own_server.address), expired(sandbox.tokens()))

    class GoesDown(RedisTokenStore):
        async def save(self, tokens: TokenSet, /) -> None:
            if own_server.process.poll() is None and not caplog.text:
                await asyncio.to_thread(own_server.stop)
            await super().save(tokens)

    async with open_session(sandbox, GoesDown(own_server.address)) as session:
        await session.accounts.me()
        assert "Redis cannot be reached" in caplog.text
        with pytest.raises(TokenStoreError, match="cannot be reached"):
            await RedisTokenStore(own_server.address).load()
        await asyncio.to_thread(own_server.start)
        own_server.admin.delete("{ezeep:login}:lock")  # which would end by itself, after its lease
    async with open_session(sandbox, RedisTokenStore(own_server.address)) as again:
        await again.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_a_password_is_needed_and_never_shown(tmp_path: Path, sandbox: Sandbox) -> None:
    """A wrong one, none, and the right one. No message and no repr contains it."""
    guarded = await asyncio.to_thread(Server, tmp_path, "--requirepass", "correct-horse")
    try:
        right = RedisTokenStore(f"redis://:correct-horse@127.0.0.1:{guarded.port}")
        await put(right, sandbox.tokens())
        for address in [f"redis://:hidden@127.0.0.1:{guarded.port}", f"redis://127.0.0.1:{guarded.port}"]:
            with pytest.raises(TokenStoreError, match="Redis refuses the credentials") as caught:
                await RedisTokenStore(address).load()
            assert "hidden" not in str(caught.value)
        assert "correct-horse" not in repr(right)
    finally:
        await asyncio.to_thread(guarded.close)


@pytest.mark.parametrize(
    "address",
    ["redis://:hid/den@host:1", "http://u:hidden@host", "redis://u:hidden@host:port", "hidden", "redis://h?nonsense=hidden"],
)  # shorter than one item a line  # fmt: skip
def test_an_invalid_address_is_refused_by_the_constructor(address: str) -> None:
    """The error does not show it: it may contain a password."""
    with pytest.raises(TokenStoreError, match="address of the Redis server") as caught:
        RedisTokenStore(address)
    assert "hid" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- lost responses ---------------------------------------------------------------------------------------------


async def test_2_9_every_command_may_be_repeated(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-9: the client retries a command whose response was lost: its own writes are recognized."""
    real = store._server.run

    async def twice(script: str, *arguments: str, **options):
        await real(script, *arguments, **options)
        return await real(script, *arguments, **options)

    monkeypatch.setattr(store._server, "run", twice)
    tokens = sandbox.tokens()
    async with store.lock():
        await store.check_writable()
        await store.load()
        await store.save(tokens)
        assert await store.load() == tokens
        await store.clear()
    assert server.admin.keys() == [b"ezeep:login"]
    assert server.admin.hkeys("ezeep:login") == [b"generation"]
    assert 0 < server.admin.ttl("ezeep:login") <= 86400
    await store.save(tokens)
    assert server.admin.ttl("ezeep:login") == -1


async def test_2_9_a_save_whose_response_is_lost_may_be_repeated(
    sandbox: Sandbox, store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-7, 2-9: cancelled after Redis stored it and saved again, it does not conflict with itself."""
    real = store._server.run
    lost = True

    async def lose(script: str, *arguments: str, **options):
        nonlocal lost
        answer = await real(script, *arguments, **options)
        if len(arguments) == 4 and lost:
            lost = False
            raise asyncio.CancelledError
        return answer

    monkeypatch.setattr(store._server, "run", lose)
    tokens, later = sandbox.tokens(), sandbox.tokens()
    async with store.lock():
        await store.load()
        with pytest.raises(asyncio.CancelledError):
            await store.save(tokens)
        await store.save(tokens)
        await store.save(later)
    assert await store.load() == later


# --- encryption --------------------------------------------------------------------------------------------------------


async def test_nothing_can_be_read_in_redis_with_an_encryption_key(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """No token, host or field name is readable. Another key, or none, raises an error; the value is not changed."""
    fernet = pytest.importorskip("cryptography.fernet", reason="the extra redis is not installed").Fernet
    key, new = fernet.generate_key(), fernet.generate_key().decode()
    tokens = sandbox.tokens()
    sealed = RedisTokenStore(server.address, encryption_key=key)
    async with open_session(sandbox, sealed, tokens=tokens) as session:
        await session.accounts.me()
    content = server.admin.hgetall("ezeep:login")
    for word in [tokens.access_token, tokens.refresh_token, "127.0.0.1", "token", "account", "version"]:
        assert word.encode() not in content[b"login"]
    for other in [RedisTokenStore(server.address, encryption_key=new), store]:
        with pytest.raises(TokenStoreCorrupt, match=r"with another encryption_key|not a stored token set"):
            await other.load()
        with pytest.raises(TokenStoreCorrupt):
            await other.save(sandbox.tokens())
    assert server.admin.hgetall("ezeep:login") == content
    # A new key takes over: the first one encrypts, all of them decrypt.
    changing = RedisTokenStore(server.address, encryption_key=[new, key])
    assert await changing.load() == tokens
    await changing.save(tokens)
    assert await RedisTokenStore(server.address, encryption_key=new).load() == tokens
    assert (
        repr(changing)
        == f"<RedisTokenStore: the token set 'ezeep:login' in Redis at 127.0.0.1:{server.port}/0>"
    )


async def test_an_unencrypted_token_set_is_refused_with_an_encryption_key(
    sandbox: Sandbox, server: Server, store: RedisTokenStore
) -> None:
    """A program that can write to Redis cannot plant a token set."""
    fernet = pytest.importorskip("cryptography.fernet", reason="the extra redis is not installed").Fernet
    await store.save(sandbox.tokens())
    with pytest.raises(TokenStoreCorrupt, match="without one"):
        await RedisTokenStore(server.address, encryption_key=fernet.generate_key()).load()


def test_an_invalid_encryption_key_is_refused_and_not_shown() -> None:
    """The constructor raises the error."""
    pytest.importorskip("cryptography.fernet", reason="the extra redis is not installed")
    with pytest.raises(ValueError, match="generate_key") as caught:
        RedisTokenStore("redis://127.0.0.1", encryption_key="my-hidden-key")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "name"), [("redis.asyncio", "redis"), ("cryptography.fernet", "cryptography")]
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    """The error has the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs the package {name}: pip install 'ezeep_async\[redis\]'"):
        RedisTokenStore("redis://127.0.0.1", encryption_key="x" * 44)


# --- a borrowed client -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decodes", [False, True])
async def test_a_borrowed_client_is_used_and_not_closed(
    sandbox: Sandbox, server: Server, store: RedisTokenStore, decodes: bool
) -> None:
    """Whether or not it decodes responses."""
    tokens = sandbox.tokens()
    async with redis_asyncio.Redis.from_url(server.address, decode_responses=decodes, **UNNAMED) as client:
        borrowing = RedisTokenStore(client)
        await put(borrowing, tokens)
        assert await borrowing.load() == tokens
        await borrowing.aclose()
        assert await client.ping()
        server.admin.hset("ezeep:login", "login", b"\xff")
        with pytest.raises(TokenStoreCorrupt, match="not a stored token set"):
            await borrowing.load()
        assert str(server.port) in repr(borrowing)


@pytest.mark.may_block
def test_a_borrowed_client_belongs_to_its_loop(server: Server, store: RedisTokenStore) -> None:
    """Another event loop gets a clear error."""
    client = redis_asyncio.Redis.from_url(server.address, **UNNAMED)
    borrowing = RedisTokenStore(client)

    async def use() -> None:
        await borrowing.load()
        await client.aclose()

    asyncio.run(use())
    with pytest.raises(TokenStoreError, match="belongs to another event loop or process"):
        asyncio.run(borrowing.load())


async def test_arguments_that_redis_repeats_are_not_shown(
    server: Server, store: RedisTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old servers repeat the arguments of an unknown command, which may include a password."""
    client = redis_asyncio.Redis.from_url("redis://:hidden@127.0.0.1")
    said = ["unknown command `HELLO`, with args beginning with: `3` `AUTH` `u` `other`", "no hidden here"]

    async def refuse(*arguments):
        raise redis.ResponseError(said.pop())

    monkeypatch.setattr(client, "execute_command", refuse)
    for message in ["Redis refuses: no \\*\\*\\* here$", "Redis refuses: unknown command `HELLO`$"]:
        with pytest.raises(TokenStoreError, match=message) as caught:
            await RedisTokenStore(client).load()
        assert caught.value.__cause__ is None
