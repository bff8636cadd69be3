"""Reading a token file changes nothing, and a write checks the file that it replaces."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.support import expired, open_session, put

from ezeep_async import (
    FileTokenStore,
    ReauthorizationRequired,
    TokenStoreCorrupt,
    TokenStoreError,
    run_sync,
)
from ezeep_async.sandbox import Sandbox


OTHER_UID = 65534
as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root: only root can change the owner of a file"
)


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Return mode, owner, group, modification time and content of everything in the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content
        )  # shorter than one item a line  # fmt: skip
    return found


async def _take(store: FileTokenStore) -> None:
    async with store.lock():
        pass


async def _call(store: FileTokenStore, sandbox: Sandbox) -> None:
    async with open_session(sandbox, store) as session:
        await session.accounts.me()


async def _log_in(store: FileTokenStore, sandbox: Sandbox) -> None:
    async with open_session(sandbox, store) as session:
        await session.oauth.exchange_code("code")


async def _revoke(store: FileTokenStore, sandbox: Sandbox) -> None:
    async with open_session(sandbox, store) as session:
        await session.oauth.revoke()


async def _open_with_tokens(store: FileTokenStore, sandbox: Sandbox) -> None:
    async with open_session(sandbox, store, tokens=sandbox.tokens()):
        pass


OPERATIONS: dict[str, Callable[[FileTokenStore, Sandbox], Awaitable[object]]] = {
    "load": lambda store, _: store.load(),
    "save": lambda store, sandbox: store.save(sandbox.tokens()),
    "clear": lambda store, _: store.clear(),
    "check": lambda store, _: store.check_writable(),
    "lock": lambda store, _: _take(store),
    "call": _call,
    "login": _log_in,
    "revoke": _revoke,
    "tokens": _open_with_tokens,
}


@pytest.mark.may_block
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("content", [b"a,b\n", b'{"version": 7}', b"\x7fELF\0\1"])
async def test_a_file_that_is_no_token_file_stays_as_it_is(
    sandbox: Sandbox, tmp_path: Path, operation: str, content: bytes
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    path.chmod(0o664)
    before = snapshot(tmp_path)
    with pytest.raises(TokenStoreCorrupt, match=r"list\.csv"):
        await OPERATIONS[operation](FileTokenStore(path), sandbox)
    assert snapshot(tmp_path) == before
    assert not sandbox.requests


@pytest.mark.may_block
@pytest.mark.parametrize("operation", ["clear", "save", "check"])
async def test_the_token_set_of_another_client_stays_as_it_is(
    sandbox: Sandbox, tmp_path: Path, operation: str
) -> None:
    theirs = FileTokenStore(tmp_path / "login.json")
    theirs.bind("theirs", "https://account.example.com")
    await put(theirs, sandbox.tokens())
    before = snapshot(tmp_path)
    ours = FileTokenStore(tmp_path / "login.json")
    ours.bind("ours", "https://account.example.com")
    with pytest.raises(TokenStoreError, match="another client id"):
        await OPERATIONS[operation](ours, sandbox)
    assert snapshot(tmp_path) == before


@pytest.mark.may_block
@pytest.mark.parametrize("name", ["typo/dir/login.json", "login.json"])
async def test_an_empty_store_creates_no_files(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    """No folder and no lock file: after a call, a logout, keep-alive, a blocking session."""
    store = FileTokenStore(tmp_path / name)
    assert await store.load() is None
    async with open_session(sandbox, store) as session:
        with pytest.raises(ReauthorizationRequired, match="not logged in"):
            await session.accounts.me()
        await session.oauth.revoke()
        session.keep_alive()
        await asyncio.sleep(0)
    await store.clear()

    def blocking() -> None:
        with run_sync(open_session(sandbox, FileTokenStore(tmp_path / name))) as twin:
            with pytest.raises(ReauthorizationRequired):
                twin.accounts.me()

    await asyncio.to_thread(blocking)
    assert snapshot(tmp_path) == {}


@pytest.mark.may_block
async def test_a_good_token_set_is_used_without_a_change(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    path.chmod(0o640)
    before = snapshot(tmp_path)
    await _call(FileTokenStore(path), sandbox)
    after = snapshot(tmp_path)
    assert after["login.json"] == before["login.json"]
    assert after.keys() == before.keys()


@pytest.mark.may_block
async def test_the_first_token_set_of_a_killed_process_is_found(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without token file and lock file, the complete temporary file of a killed writer becomes the token file."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    path.rename(tmp_path / ".login.json.0.tmp")
    (tmp_path / "login.json.lock").unlink(missing_ok=True)
    await _call(FileTokenStore(path), sandbox)
    assert path.exists()


@as_root
@pytest.mark.may_block
async def test_root_leaves_a_token_file_to_its_owner(sandbox: Sandbox, tmp_path: Path) -> None:
    """After a refresh by root, the file and its lock still belong to the user, who can use them."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    path = home / "login.json"
    await put(FileTokenStore(path), expired(sandbox.tokens()))
    for each in (home, *home.iterdir()):
        os.chown(each, OTHER_UID, OTHER_UID)
    (home / "login.json.lock").unlink(missing_ok=True)
    await _call(FileTokenStore(path), sandbox)
    assert sandbox.refreshes == 1
    assert {each.name: each.stat().st_uid for each in home.iterdir()} == dict.fromkeys(
        ["login.json", "login.json.lock"], OTHER_UID
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@as_root
@pytest.mark.may_block
async def test_root_gives_no_file_away_in_a_world_writable_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    """In a folder such as /tmp, any user can be the owner of an empty token file."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    path = shared / "login.json"
    path.touch()
    os.chown(path, OTHER_UID, OTHER_UID)
    await put(FileTokenStore(path), sandbox.tokens())
    assert path.stat().st_uid == 0


AS_ANOTHER_USER = """
import asyncio, os, sys
from ezeep_async import FileTokenStore, TokenStoreError
import ezeep_async.auth.stores.file, pwd, filelock
async def main():
    try:
        async with FileTokenStore(sys.argv[1]).lock():
            print("locked")
    except TokenStoreError as error:
        print(error)
os.seteuid(65534)
asyncio.run(main())
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users reach. Each start of pytest makes the parents of `tmp_path` private again."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _locked_by_another_user(path: Path) -> str:
    """Return the error that another user than root gets from `lock()`."""
    ran = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ran.stdout


@pytest.mark.slow
@as_root
@pytest.mark.may_block
def test_a_lock_file_of_another_user_is_named(reachable: Path) -> None:
    """The error names the lock file, not the token file."""
    os.chown(reachable, OTHER_UID, OTHER_UID)
    lock = reachable / "login.json.lock"
    lock.touch(mode=0o600)
    message = _locked_by_another_user(reachable / "login.json")
    assert message.startswith(
        f"the lock file {lock} of the token file cannot be created or opened: Permission denied"
    )
    assert "it belongs to the user root" in message
    assert f"Remove {lock}" in message


@pytest.mark.slow
@as_root
@pytest.mark.may_block
def test_a_folder_without_write_permission_is_named(reachable: Path) -> None:
    message = _locked_by_another_user(reachable / "below" / "login.json")
    assert message.startswith(
        f"the folder {reachable / 'below'} of the token file cannot be created or opened: Permission"
    )


@pytest.mark.may_block
async def test_a_read_only_file_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error recommends `ReadOnlyTokens`."""

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", read_only)
    with pytest.raises(TokenStoreError, match=r"on a read-only file system, .* ReadOnlyTokens\(path\)"):
        await _take(FileTokenStore(tmp_path / "login.json"))
