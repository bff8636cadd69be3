"""An empty file, secret or keyring entry is an empty store, not a damaged one: login, logout and first save work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import open_session, put

from ezeep_async import FileTokenStore, ReadOnlyTokens, ReauthorizationRequired
from ezeep_async.auth.stores.keyring import SERVICE, KeyringTokenStore
from ezeep_async.sandbox import Sandbox


EMPTY = [b"", b"\n", b" \t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b"{}"]


@pytest.mark.parametrize("content", EMPTY)
async def test_an_empty_token_file(sandbox: Sandbox, tmp_path: Path, content: bytes) -> None:
    """From mktemp, a placeholder or an editor: no token set is loaded, and a first one can be stored."""
    path = tmp_path / "login.json"
    path.write_bytes(content)
    async with open_session(sandbox, FileTokenStore(path)) as session:
        with pytest.raises(ReauthorizationRequired, match="not logged in"):
            await session.accounts.me()
        await session.oauth.revoke()
    path.write_bytes(content)
    tokens = sandbox.tokens()
    async with open_session(sandbox, FileTokenStore(path), tokens=tokens) as session:
        await session.accounts.me()
    assert await FileTokenStore(path).load() == tokens


async def test_a_token_set_of_a_killed_writer_replaces_an_empty_file(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The complete temporary file becomes the token file, because an empty file has no other owner."""
    path, tokens = tmp_path / "login.json", sandbox.tokens()
    await put(FileTokenStore(path), tokens)
    path.rename(tmp_path / ".login.json.0.tmp")
    path.touch(mode=0o600)
    async with open_session(sandbox, FileTokenStore(path)) as session:
        await session.accounts.me()
    assert await FileTokenStore(path).load() == tokens


@pytest.mark.parametrize("content", EMPTY)
async def test_an_empty_secret(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert await ReadOnlyTokens(path).load() is None


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, str], str]]:
    """A keyring in memory."""
    keyring = pytest.importorskip("keyring", reason="the extra keyring is not installed")
    from keyring.backend import KeyringBackend

    there: dict[tuple[str, str], str] = {}

    class Dictionary(KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return there.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            there[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del there[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Dictionary())
    yield there
    keyring.set_keyring(before)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "  \n", "\ufeff", "{}"])
async def test_an_empty_keyring_entry(
    sandbox: Sandbox, tmp_path: Path, entries: dict[tuple[str, str], str], text: str
) -> None:
    entries[SERVICE, "login"] = text
    store = KeyringTokenStore(folder=tmp_path / "state")
    async with open_session(sandbox, store) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
    assert not (tmp_path / "state").exists()
    tokens = sandbox.tokens()
    async with open_session(sandbox, store, tokens=tokens) as session:
        await session.accounts.me()
    assert await store.load() == tokens
    await store.clear()
    assert (SERVICE, "login") not in entries
