"""`FileTokenStore`: requirements 2-1, 2-4 to 2-8, 2-12."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.children import call_at_expiry
from helpers.evidence import survives
from helpers.support import expired, open_session, put, sandbox_in_a_thread

from ezeep_async import (
    EzeepSession,
    FileTokenStore,
    OAuthApp,
    ReauthorizationRequired,
    TokenPersistError,
    TokenSet,
    TokenStoreCorrupt,
    TokenStoreError,
    is_retryable,
)
from ezeep_async.auth.current import CurrentTokens
from ezeep_async.auth.exchange import Exchanger
from ezeep_async.sandbox import Sandbox


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _others(path: Path) -> list[str]:
    """Return the files in the folder without the token file and its lock."""
    return [each.name for each in path.parent.iterdir() if each.name not in {path.name, path.name + ".lock"}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "login.json"


async def test_a_token_set_survives_its_session(sandbox: Sandbox, path: Path) -> None:
    """It is saved, loaded unchanged by another store on the same path, and cleared."""
    tokens = sandbox.tokens()
    await put(FileTokenStore(path), tokens)
    assert await FileTokenStore(path).load() == tokens
    await FileTokenStore(path).clear()
    assert await FileTokenStore(path).load() is None


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(90)
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_2_1_eight_processes_make_one_refresh(path: Path, method: str) -> None:
    """2-1: eight processes with twenty calls each at the moment of expiry: one refresh in all, no failure."""
    context = multiprocessing.get_context(method)
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(FileTokenStore(path), expired(sandbox.tokens())))
        results, barrier = context.Queue(), context.Barrier(8)
        where = sandbox.endpoints
        arguments = (results, str(path), sandbox.oauth_app.client_id, where.account, where.api, barrier)
        processes = [context.Process(target=call_at_expiry, args=arguments) for _ in range(8)]
        for process in processes:
            process.start()
        outcomes = [results.get(timeout=60) for _ in processes]
        for process in processes:
            process.join(30)
        assert [len(outcome) for outcome in outcomes] == [20] * 8, outcomes
        assert sandbox.refresh_requests == 1


async def test_2_4_the_file_is_created_with_mode_0600(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-4: also with umask 000, every file that is opened has mode 0600 at once."""
    modes: list[int] = []
    real = os.open

    def spy(name, flags, mode=0o777, **options):
        descriptor = real(name, flags, mode, **options)
        if str(name).endswith((".tmp", ".try")):
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    umask = os.umask(0)
    try:
        await put(FileTokenStore(path), sandbox.tokens())
    finally:
        os.umask(umask)
    assert modes == [0o600]
    assert _mode(path) == 0o600


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
async def test_2_4_a_failing_write_leaves_the_old_file_and_nothing_else(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """2-4: without space at any step, the old file is unchanged and there is no other file."""
    store = FileTokenStore(path)
    await put(store, sandbox.tokens())
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "open":
        real = os.open
        monkeypatch.setattr(
            os, "open", lambda name, *rest: full() if ".tmp" in str(name) else real(name, *rest)
        )
    elif where == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(TokenPersistError, match="No space left"):
        await store.save(sandbox.tokens())
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert _others(path) == []


async def test_2_4_temporary_files_of_killed_processes_are_removed(sandbox: Sandbox, path: Path) -> None:
    """2-4: such a file may contain a token, so the next save removes it."""
    leftover = path.with_name(f".{path.name}.0.tmp")
    leftover.write_text("{")
    await put(FileTokenStore(path), sandbox.tokens())
    assert _others(path) == []


async def test_2_5_a_file_that_others_can_read_is_repaired(
    sandbox: Sandbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """2-5: one warning is logged. A read changes nothing; `check_writable` and `save` set mode 0600."""
    store = FileTokenStore(path)
    await put(store, sandbox.tokens())
    for write in (store.check_writable, lambda: put(store, sandbox.tokens())):
        path.chmod(0o644)
        await store.load()
        assert _mode(path) == 0o644
        await write()
        assert _mode(path) == 0o600
    assert caplog.text.count("can be read by other users (mode 644)") == 1


async def test_2_5_a_created_folder_is_private(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-5: its mode is 0700."""
    path = tmp_path / "new" / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    assert _mode(path.parent) == 0o700


async def test_2_5_a_symbolic_link_stays_and_its_target_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-5: the link still is one, and the token set is in its target."""
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(target)
    tokens = sandbox.tokens()
    await put(FileTokenStore(link), tokens)
    assert link.is_symlink()
    assert await FileTokenStore(target).load() == tokens
    assert _mode(target) == 0o600


@pytest.mark.parametrize(
    "content",
    [b"{", b"plain-token", b"[]", b"\xff\xfe", b'{"version": 1}', b'{"version": 2, "token": {}}', b"null",
     b'{"version": 1, "token": {"access_token": "a", "refresh_token": "r", "expires_at": "x"}}',
     b'{"version": 1, "token": {"access_token": "a", "refresh_token": "r", "expires_at": 1e300}}', b"[" * 50000],
    ids=lambda content: repr(content[:30]),
)  # shorter than one item a line  # fmt: skip
async def test_2_6_a_corrupt_file_is_named_and_kept(sandbox: Sandbox, path: Path, content: bytes) -> None:
    """2-6: it is never used as a token and never overwritten, neither by a refresh nor by a login."""
    path.write_bytes(content)
    path.chmod(0o600)
    async with open_session(sandbox, FileTokenStore(path)) as session:
        with pytest.raises(TokenStoreCorrupt, match=r"login\.json") as caught:
            await session.accounts.me()
        assert "plain-token" not in str(caught.value)
        with pytest.raises(TokenStoreCorrupt):
            await session.oauth.exchange_code("code")
    assert path.read_bytes() == content
    assert sandbox.count("POST /oauth/access_token/") == 0


async def test_2_7_a_disk_that_fills_up_during_the_refresh(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7: the call succeeds, the old file is complete, and the token set is stored when there is space again."""
    store = FileTokenStore(path)
    await put(store, expired(sandbox.tokens()))
    before = path.read_bytes()
    real = store._save

    def full(tokens: TokenSet) -> None:
        raise TokenPersistError("no room")

    monkeypatch.setattr(store, "_save", full)
    session = open_session(sandbox, store)
    await session.accounts.me()
    assert path.read_bytes() == before
    assert "no room" in caplog.text
    monkeypatch.setattr(store, "_save", real)
    await session.aclose()
    async with open_session(sandbox, FileTokenStore(path)) as again:
        await again.accounts.me()
        assert sandbox.refresh_requests == 1
        assert await survives("disk full", sandbox, again)


async def test_2_2_the_steps_of_a_refresh_are_in_order(
    sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-2: the refresh token is sent under the lock, after `check_writable`. The new token set and its file name are on
    the disk before a caller uses it and before the lock is released.
    """
    tokens = expired(sandbox.tokens())
    await put(FileTokenStore(path), tokens)
    done: list[str] = []
    began: list[str] = []

    def watched(owner: object, name: str, word: str, when: Callable[..., bool] = lambda *args: True) -> None:
        real = getattr(owner, name)

        @functools.wraps(real)
        def spy(*args, **options):
            if not when(*args):
                return real(*args, **options)
            began.append(word)
            result = real(*args, **options)
            done.append(word)
            return result

        monkeypatch.setattr(owner, name, spy)

    def is_folder(descriptor: int) -> bool:
        return stat.S_ISDIR(os.fstat(descriptor).st_mode)

    watched(FileLock, "_acquire", "lock")
    watched(FileTokenStore, "_load", "re-read")
    watched(FileTokenStore, "_check_writable", "prove writable")
    watched(FileTokenStore, "_save", "persist")
    watched(os, "fsync", "flush", lambda number: began[-1] == "persist" and not is_folder(number))
    watched(Path, "replace", "replace", lambda *args: "persist" in began)
    watched(os, "fsync", "flush the folder", is_folder)
    watched(CurrentTokens, "put", "publish")
    watched(FileLock, "_release", "unlock")
    real_exchange = Exchanger.refresh

    async def exchange(exchanger: Exchanger, current: TokenSet, *more: object) -> tuple[TokenSet, bool]:
        assert current == tokens
        new = await real_exchange(exchanger, current, *more)
        assert sandbox.refreshes == 1
        done.append("exchange")
        return new

    monkeypatch.setattr(Exchanger, "refresh", exchange)
    called = asyncio.Event()

    def hook(old: TokenSet | None, new: TokenSet) -> None:
        done.append("call the hook")
        called.set()

    async with open_session(sandbox, FileTokenStore(path), on_token_rotated=hook) as session:
        await session.accounts.me()
        await called.wait()
    assert done == [
        "lock",
        "re-read",
        "prove writable",
        "exchange",
        "flush",
        "replace",
        "flush the folder",
        "persist",
        "publish",
        "unlock",
        "call the hook",
    ]


HOLD = """
import asyncio, sys
from ezeep_async import FileTokenStore
async def main():
    async with FileTokenStore(sys.argv[1]).lock():
        print("held", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.may_block
def test_2_8_a_killed_holder_frees_the_lock(path: Path) -> None:
    """2-8: after SIGKILL of its holder, the next process gets the lock without a clean-up."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        async def take() -> bool:
            with pytest.raises(TokenStoreError, match="in use by another process") as caught:
                async with FileTokenStore(path, lock_timeout=0.2).lock():
                    pass
            assert is_retryable(caught.value)
            holder.kill()
            async with FileTokenStore(path, lock_timeout=5).lock():
                return True

        assert asyncio.run(take())


async def test_2_8_waiting_for_the_lock_is_cancellable_and_leaks_nothing(path: Path) -> None:
    """2-8: cancelled at any moment of the wait, the lock is free for the next waiter."""
    store = FileTokenStore(path)
    for pause in [0.0, 0.001, 0.002, 0.005, 0.01, 0.02]:

        async def take() -> None:
            async with store.lock():
                await asyncio.sleep(10)

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
        async with asyncio.timeout(2), store.lock():
            pass


async def test_2_8_waiting_does_not_block_the_loop(path: Path) -> None:
    """2-8: while one task waits for the lock, others run."""
    store = FileTokenStore(path)
    ticks = 0
    async with store.lock():
        waiter = asyncio.create_task(_take_and_release(store))
        for _ in range(20):
            await asyncio.sleep(0.005)
            ticks += 1
        assert not waiter.done()
    await waiter
    assert ticks == 20


async def _take_and_release(store: FileTokenStore) -> None:
    async with store.lock():
        pass


def test_2_8_the_wait_is_longer_than_a_refresh_and_its_replay() -> None:
    """2-8: a waiter does not time out while the holder works."""
    from ezeep_async import Settings
    from ezeep_async.auth.stores.file import LOCK_TIMEOUT_S

    assert LOCK_TIMEOUT_S > 2 * Settings().refresh_timeout


async def test_2_12_a_file_of_another_client_or_host_is_refused(sandbox: Sandbox, path: Path) -> None:
    """2-12: reading and writing fail, and the file is not changed."""
    async with open_session(sandbox, FileTokenStore(path), tokens=sandbox.tokens()) as session:
        await session.accounts.me()
    content = path.read_bytes()
    assert sandbox.oauth_app.client_id.encode() not in content
    async with EzeepSession(
        OAuthApp("another"), FileTokenStore(path), endpoints=sandbox.endpoints
    ) as session:
        with pytest.raises(TokenStoreError, match="another client id"):
            await session.accounts.me()
        with pytest.raises(TokenStoreError, match="another client id"):
            await session.oauth.exchange_code("code")
    async with EzeepSession(sandbox.oauth_app, FileTokenStore(path)) as session:
        with pytest.raises(TokenStoreError, match=r"not of https://account\.ezeep\.com"):
            await session.accounts.me()
    assert path.read_bytes() == content


async def test_2_12_unknown_keys_stay_on_rewriting(sandbox: Sandbox, path: Path) -> None:
    """2-12: keys of a later version are kept."""
    await put(FileTokenStore(path), sandbox.tokens())
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"note": {"kept": True}}))
    await put(FileTokenStore(path), sandbox.tokens())
    document = json.loads(path.read_text())
    assert document["note"] == {"kept": True}
    assert document["version"] == 1
    assert isinstance(document["token"]["expires_at"], float)


async def test_one_store_serves_one_client(sandbox: Sandbox, path: Path) -> None:
    """A second session with another client id on the same store object raises an error."""
    store = FileTokenStore(path)
    async with open_session(sandbox, store):
        with pytest.raises(TokenStoreError, match="another client id"):
            await EzeepSession(OAuthApp("another"), store, endpoints=sandbox.endpoints).__aenter__()


@pytest.mark.may_block
def test_a_file_cannot_be_read(path: Path) -> None:
    """A folder in place of the file and an unusable folder raise `TokenStoreError`."""
    path.mkdir()
    with pytest.raises(TokenStoreError, match=r"login\.json cannot be read"):
        asyncio.run(FileTokenStore(path).load())
    with pytest.raises(TokenStoreError):
        asyncio.run(put(FileTokenStore(path / "x" / ".." / ".." / "login.json"), None))
    blocked = path.with_name("file")
    blocked.write_text("")
    with pytest.raises(TokenStoreError, match=r"cannot be"):
        asyncio.run(_take_and_release(FileTokenStore(blocked / "below" / "login.json")))
    with pytest.raises(TokenPersistError, match="not refreshed"):
        asyncio.run(FileTokenStore(blocked / "login.json").check_writable())


@pytest.mark.may_block
def test_one_lock_for_two_loops_in_two_threads(path: Path) -> None:
    """The event loop of the application and that of run_sync exclude each other."""
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            async with FileTokenStore(path).lock():
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert most == 1


async def test_a_refused_token_set_stays_in_the_file(sandbox: Sandbox, path: Path) -> None:
    """The SDK never deletes a stored token set, also if its refresh token is refused."""
    spent = expired(sandbox.tokens())
    async with open_session(sandbox, stored=spent) as other:
        await other.accounts.me()
    await put(FileTokenStore(path), spent)
    async with open_session(sandbox, FileTokenStore(path)) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
    assert await FileTokenStore(path).load() == spent
