"""`KeyringTokenStore`: requirements 2-1, 2-6, 2-7, 2-8, 2-11, 2-12."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


pytest.importorskip("keyring", reason="the extra keyring is not installed")

import keyring
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
from helpers.support import QUICK, expired, open_session, put
from keyring.backend import KeyringBackend

from ezeep_async import (
    EzeepSession,
    OAuthApp,
    TokenPersistError,
    TokenStoreCorrupt,
    TokenStoreError,
)
from ezeep_async.auth.stores.keyring import SERVICE, KeyringTokenStore
from ezeep_async.sandbox import Sandbox


class InMemory(KeyringBackend):
    """A working keyring; `limit` is the longest value that it accepts, `refuses` the error of every write."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.writes: list[str] = []
        self.threads: set[int] = set()
        self.limit: int | None = None
        self.refuses: Exception | None = None

    def get_password(self, service: str, username: str) -> str | None:
        self.threads.add(threading.get_ident())
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.threads.add(threading.get_ident())
        if self.refuses is not None:
            raise self.refuses
        if self.limit is not None and len(password) > self.limit:
            raise OSError(1783, "The stub received bad data", password)
        self.entries[service, username] = password
        self.writes.append(username)

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.entries:
            raise keyring.errors.PasswordDeleteError("not found")
        del self.entries[service, username]


@pytest.fixture(autouse=True)
def _restore_keyring() -> Iterator[None]:
    before = keyring.core._keyring_backend
    yield
    keyring.core._keyring_backend = before


@pytest.fixture
def backend() -> InMemory:
    backend = InMemory()
    keyring.set_keyring(backend)
    return backend


@pytest.fixture
def store(backend: InMemory, tmp_path: Path) -> KeyringTokenStore:
    return KeyringTokenStore(folder=tmp_path)


async def test_a_token_set_survives_its_session(
    sandbox: Sandbox, backend: InMemory, store: KeyringTokenStore, tmp_path: Path
) -> None:
    """It is saved, loaded unchanged by another store, and cleared twice, in worker threads."""
    tokens = sandbox.tokens()
    assert await store.load() is None
    await put(store, tokens)
    assert await KeyringTokenStore(folder=tmp_path).load() == tokens
    assert await KeyringTokenStore("other", folder=tmp_path).load() is None
    await store.clear()
    await store.clear()
    assert await store.load() is None
    assert backend.entries == {}
    assert threading.get_ident() not in backend.threads
    assert tokens.access_token not in repr(store)


async def test_a_session_refreshes_the_stored_token(sandbox: Sandbox, store: KeyringTokenStore) -> None:
    """2-2: it is refreshed once, and the next session does not refresh it again."""
    await put(store, expired(sandbox.tokens()))
    for _ in range(2):
        async with open_session(sandbox, store) as session:
            await asyncio.gather(*[session.accounts.me() for _ in range(5)])
    assert sandbox.refresh_requests == 1


async def test_2_1_stores_on_one_entry_contend_for_one_lock(
    sandbox: Sandbox, store: KeyringTokenStore, tmp_path: Path
) -> None:
    """2-1, 1-11: eight sessions with one store each at expiry: one refresh. Another name has another lock."""
    await put(store, expired(sandbox.tokens()))
    sessions = [open_session(sandbox, KeyringTokenStore(folder=tmp_path)) for _ in range(8)]
    await asyncio.gather(*[session.accounts.me() for session in sessions])
    for session in sessions:
        await session.aclose()
    assert sandbox.refresh_requests == 1
    async with store.lock(), KeyringTokenStore("other", folder=tmp_path, lock_timeout=0.0).lock():
        with pytest.raises(TokenStoreError, match="in use by another process"):
            async with KeyringTokenStore(folder=tmp_path, lock_timeout=0.0).lock():
                pass


HOLD = """
import asyncio, sys
from ezeep_async.auth.stores.keyring import KeyringTokenStore
async def main():
    async with KeyringTokenStore("a/b", folder=sys.argv[1]).lock():
        print("held", "keyring" in sys.modules, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.may_block
def test_2_8_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    """2-8: the lock works between processes and ends with its process. 2-11: it does not import keyring."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held False\n"

        async def take() -> None:
            with pytest.raises(TokenStoreError, match="in use by another process"):
                async with KeyringTokenStore("a/b", folder=tmp_path, lock_timeout=0.1).lock():
                    pass
            holder.kill()
            async with KeyringTokenStore("a/b", folder=tmp_path, lock_timeout=5).lock():
                pass

        asyncio.run(take())
    assert {each.parent for each in tmp_path.rglob("*")} == {tmp_path}


async def test_2_11_a_keyring_that_works_passes_the_probe(
    backend: InMemory, store: KeyringTokenStore
) -> None:
    """2-11: the probe leaves no entry, and twenty concurrent probes do not disturb each other."""
    await asyncio.gather(*[store.probe() for _ in range(20)])
    assert backend.entries == {}
    assert len(set(backend.writes)) == 20
    assert all(name.startswith("probe-") for name in backend.writes)


def _no_dbus() -> KeyringBackend:
    broken = InMemory()
    broken.refuses = keyring.errors.KeyringLocked("Failed to unlock the collection!")
    return broken


def _odd() -> KeyringBackend:
    broken = InMemory()
    broken.refuses = OSError("no such D-Bus address")
    return broken


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (keyring.backends.fail.Keyring, "NoKeyringError: No recommended backend"),
        (keyring.backends.null.Keyring, "does not keep or remove entries"),
        (_no_dbus, "KeyringLocked: Failed to unlock"),
        (_odd, "OSError: no such D-Bus address"),
    ],
    ids=["fail", "null", "locked", "no D-Bus"],
)
async def test_2_11_a_machine_without_a_usable_keyring(make, why: str, tmp_path: Path) -> None:
    """2-11: the error of the probe has the reason and what to do; no refresh is started."""
    keyring.set_keyring(make())
    store = KeyringTokenStore(folder=tmp_path)
    with pytest.raises(TokenStoreError, match=why) as caught:
        await store.probe()
    assert "Secret Service" in str(caught.value)
    assert "FileTokenStore(path)" in str(caught.value)
    with pytest.raises(TokenStoreError):
        await store.check_writable()


@pytest.mark.parametrize("work", ["load", "clear", "check_writable"])
async def test_2_11_no_backend_is_one_clear_error_everywhere(tmp_path: Path, work: str) -> None:
    """2-11: a `TokenStoreError`, not a RuntimeError of the library."""
    keyring.set_keyring(keyring.backends.fail.Keyring())
    with pytest.raises(TokenStoreError, match="cannot be used"):
        await getattr(KeyringTokenStore(folder=tmp_path), work)()


async def test_2_11_without_the_library(
    store: KeyringTokenStore, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-11: the error names the extra."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(TokenStoreError, match=r"pip install 'ezeep_async\[keyring\]'"):
        await store.probe()
    with pytest.raises(TokenStoreError, match="not installed"):
        await store.save(sandbox.tokens())


@pytest.mark.slow
@pytest.mark.may_block
def test_2_11_the_package_never_imports_keyring() -> None:
    """2-11: neither the package nor the module of the store."""
    script = (
        "import sys, ezeep_async, ezeep_async.auth.stores.keyring as k; k.KeyringTokenStore(); "
        "assert 'keyring' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "text",
    ["{", "plain-token", "[]", "null", '{"version": 1}', '{"version": 2, "token": {}}', "[" * 50000,
     '{"version": 1, "token": {"access_token": "a", "refresh_token": "r", "expires_at": 1e300}}'],
    ids=lambda text: repr(text[:30]),
)  # shorter than one item a line  # fmt: skip
async def test_2_6_a_corrupt_entry_is_named_and_kept(
    sandbox: Sandbox, backend: InMemory, store: KeyringTokenStore, text: str
) -> None:
    """2-6: it is never used as a token and never overwritten, neither by a refresh nor by a login."""
    backend.entries[SERVICE, "login"] = text
    async with open_session(sandbox, store) as session:
        with pytest.raises(TokenStoreCorrupt, match="ezeep_async/login") as caught:
            await session.accounts.me()
        assert "plain-token" not in str(caught.value)
        with pytest.raises(TokenStoreCorrupt):
            await session.oauth.exchange_code("code")
    with pytest.raises(TokenStoreCorrupt):
        await store.save(sandbox.tokens())
    assert backend.entries == {(SERVICE, "login"): text}
    assert sandbox.count("POST /oauth/access_token/") == 0


async def test_2_7_a_token_set_that_is_too_long_for_the_keyring(
    sandbox: Sandbox, backend: InMemory, store: KeyringTokenStore
) -> None:
    """2-7: `check_writable` fails before the refresh token is spent; no secret is shown; the old token set stays."""
    tokens = expired(sandbox.tokens())
    await put(store, tokens)
    backend.limit = 100
    async with open_session(sandbox, store) as session:
        with pytest.raises(TokenPersistError, match="not refreshed"):
            await session.accounts.me()
    assert sandbox.refresh_requests == 0
    new = sandbox.tokens()
    with pytest.raises(TokenPersistError, match="OSError") as caught:
        await put(store, new)
    error: BaseException | None = caught.value
    while error is not None:
        assert new.refresh_token not in str(error)
        error = error.__cause__
    assert await store.load() == tokens


async def test_2_7_a_keyring_that_does_not_store_is_detected(
    sandbox: Sandbox, backend: InMemory, store: KeyringTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-7: `save` reads the entry again."""
    monkeypatch.setattr(backend, "set_password", lambda *args: None)
    with pytest.raises(TokenPersistError, match="is not the value that was written"):
        await put(store, sandbox.tokens())


async def test_2_12_an_entry_of_another_client_or_host_is_refused(
    sandbox: Sandbox, backend: InMemory, store: KeyringTokenStore, tmp_path: Path
) -> None:
    """2-12: reading and writing fail; the entry is not changed, and does not contain the client id."""
    async with open_session(sandbox, store, tokens=sandbox.tokens()) as session:
        await session.accounts.me()
    text = backend.entries[SERVICE, "login"]
    assert sandbox.oauth_app.client_id not in text
    other = KeyringTokenStore(folder=tmp_path)
    async with EzeepSession(OAuthApp("another"), other, endpoints=sandbox.endpoints) as session:
        with pytest.raises(TokenStoreError, match="another client id"):
            await session.accounts.me()
        with pytest.raises(TokenStoreError, match="another client id"):
            await other.save(sandbox.tokens())
    async with EzeepSession(sandbox.oauth_app, KeyringTokenStore(folder=tmp_path), settings=QUICK) as session:
        with pytest.raises(TokenStoreError, match=r"not of https://account\.ezeep\.com"):
            await session.accounts.me()
    assert backend.entries[SERVICE, "login"] == text
    with pytest.raises(TokenStoreError, match="already serves another client id"):
        store.bind("another", sandbox.endpoints.account)


async def test_2_12_unknown_keys_stay_on_rewriting(
    sandbox: Sandbox, backend: InMemory, store: KeyringTokenStore
) -> None:
    """2-12: keys of a later version are kept."""
    await put(store, sandbox.tokens())
    document = json.loads(backend.entries[SERVICE, "login"])
    backend.entries[SERVICE, "login"] = json.dumps(document | {"note": {"kept": True}})
    await put(store, sandbox.tokens())
    document = json.loads(backend.entries[SERVICE, "login"])
    assert document["note"] == {"kept": True}
    assert document["version"] == 1


def test_the_default_folder_is_the_same_for_every_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It depends neither on installed packages nor on XDG variables, which a cron job does not have."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    path = KeyringTokenStore()._guard.path
    assert path == tmp_path / ".local" / "state" / "ezeep_async" / "keyring-login"
    with pytest.raises(ValueError, match="must not be empty"):
        KeyringTokenStore("")
