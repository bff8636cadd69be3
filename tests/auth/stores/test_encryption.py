"""`encryption_key` of the stores in files and databases. `test_redis_store.py` has the same for Redis."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.support import expired, open_session, put

from ezeep_async import FileTokenStore, OAuthApp, SQLTokenStore, TokenSet, TokenStoreCorrupt, TokenStoreError
from ezeep_async.sandbox import Sandbox


fernet = pytest.importorskip("cryptography.fernet", reason="the extras redis and sql are not installed")
KEY, NEW = fernet.Fernet.generate_key(), fernet.Fernet.generate_key().decode()


@attrs.frozen
class Place:
    """Where the token set is, and what is stored there."""

    store: Callable[..., Any]
    content: Callable[[], Awaitable[bytes]]
    plant: Callable[[bytes], Awaitable[object]]


@pytest.fixture(params=["file", pytest.param("sql", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        path = tmp_path / "login.json"

        async def read() -> bytes:
            return path.read_bytes()

        async def plant(content: bytes) -> None:
            path.write_bytes(content)

        return Place(lambda key=None: FileTokenStore(path, encryption_key=key), read, plant)
    from helpers.sql_databases import Database, prepared

    database = prepared(Database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"))
    engine = database.unpooled()

    async def document() -> bytes:
        return (await database.row("login")).document.encode()

    async def update(content: bytes) -> None:
        await database.rows("UPDATE ezeep_tokens SET document = :document", document=content.decode())

    return Place(lambda key=None: SQLTokenStore(engine, "login", encryption_key=key), document, update)


@pytest.mark.may_block
async def test_nothing_can_be_read_where_it_is_stored(sandbox: Sandbox, place: Place) -> None:
    """No token, host or field name. A refresh works as without encryption."""
    store = place.store(KEY)
    async with open_session(sandbox, store, tokens=expired(sandbox.tokens())) as session:
        await session.accounts.me()
    tokens = await store.load()
    assert tokens is not None
    content = await place.content()
    for word in (tokens.access_token, tokens.refresh_token, "127.0.0.1", "token", "account", "version"):
        assert word.encode() not in content
    assert sandbox.refreshes == 1


@pytest.mark.may_block
@pytest.mark.parametrize("wrong", [None, NEW], ids=["none", "another"])
async def test_another_key_or_none_is_an_error_and_never_an_overwrite(
    sandbox: Sandbox, place: Place, wrong: str | None
) -> None:
    """Each method names the reason, and no request is sent."""
    await put(place.store(KEY), expired(sandbox.tokens()))
    before = await place.content()
    other, says = place.store(wrong), "cannot be decrypted" if wrong else "without its encryption_key"
    with pytest.raises(TokenStoreCorrupt, match=says):
        await other.load()
    with pytest.raises(TokenStoreCorrupt, match=says):
        await other.save(sandbox.tokens())
    with pytest.raises(TokenStoreCorrupt, match=says):
        await other.clear()
    async with open_session(sandbox, other) as session:
        with pytest.raises(TokenStoreError, match=says):
            await session.accounts.me()
    assert await place.content() == before
    assert sandbox.refresh_requests == 0


@pytest.mark.may_block
async def test_a_token_set_that_is_not_encrypted_is_refused_with_a_key(
    sandbox: Sandbox, place: Place
) -> None:
    """A program that can write there cannot plant a token set."""
    await put(place.store(), sandbox.tokens())
    with pytest.raises(TokenStoreCorrupt, match="without one"):
        await place.store(KEY).load()


@pytest.mark.may_block
async def test_a_new_key_takes_over(sandbox: Sandbox, place: Place) -> None:
    """The first key encrypts, all of them decrypt."""
    tokens = sandbox.tokens()
    await put(place.store(KEY), tokens)
    both = place.store([NEW, KEY])
    assert await both.load() == tokens
    await put(both, tokens)
    assert await place.store(NEW).load() == tokens
    with pytest.raises(TokenStoreCorrupt):
        await place.store(KEY).load()


@pytest.mark.may_block
async def test_damaged_content_is_named_and_kept(sandbox: Sandbox, place: Place) -> None:
    await put(place.store(KEY), sandbox.tokens())
    damaged = (await place.content())[:-20]
    await place.plant(damaged)
    with pytest.raises(TokenStoreCorrupt, match="or is damaged"):
        await place.store(KEY).save(sandbox.tokens())
    assert await place.content() == damaged


@pytest.mark.parametrize("key", ["my-hidden-key", [KEY, "my-hidden-key"]], ids=["one", "in a list"])
def test_an_invalid_key_is_refused_and_not_shown(tmp_path: Path, key: Any) -> None:
    for make in (
        lambda: FileTokenStore(tmp_path / "login", encryption_key=key),
        lambda: FileTokenStore.for_app(OAuthApp("app"), encryption_key=key),
    ):
        with pytest.raises(ValueError, match="generate_key") as caught:
            make()
        assert "hidden" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with pytest.raises(
        ImportError, match=r"needs the package cryptography: pip install 'ezeep_async\[sql\]'"
    ):
        FileTokenStore(tmp_path / "login", encryption_key=KEY)


# --- temporary files of a process that was killed


async def _leftover(path: Path, store: FileTokenStore, tokens: TokenSet) -> Path:
    """The file that a process left that was killed before it could rename it."""
    before = path.read_bytes()
    await put(store, tokens)
    left = path.with_name(f".{path.name}.0.tmp")
    path.rename(left)
    path.write_bytes(before)
    return left


@pytest.mark.may_block
async def test_an_encrypted_leftover_is_adopted(sandbox: Sandbox, tmp_path: Path) -> None:
    path, old, new = tmp_path / "login.json", sandbox.tokens(), sandbox.tokens()
    store = FileTokenStore(path, encryption_key=KEY)
    await put(store, old)
    left = await _leftover(path, store, new)
    async with store.lock():
        assert await store.load() == new
    assert not left.exists()


@pytest.mark.may_block
async def test_a_half_written_leftover_is_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    path, old = tmp_path / "login.json", sandbox.tokens()
    store = FileTokenStore(path, encryption_key=KEY)
    await put(store, old)
    left = await _leftover(path, store, sandbox.tokens())
    left.write_bytes(left.read_bytes()[:100])
    async with store.lock():
        assert await store.load() == old
    assert not left.exists()


@pytest.mark.may_block
@pytest.mark.parametrize("wrong", [None, NEW], ids=["none", "another"])
@pytest.mark.parametrize("written_with", [None, KEY], ids=["unencrypted", "encrypted"])
async def test_a_leftover_of_another_key_is_an_error_and_is_kept(
    sandbox: Sandbox, tmp_path: Path, wrong: str | None, written_with: bytes | None
) -> None:
    """It may be the only copy of the newest token set."""
    if wrong is written_with:
        return
    path, new = tmp_path / "login.json", sandbox.tokens()
    store = FileTokenStore(path, encryption_key=written_with)
    await put(store, sandbox.tokens())
    left = await _leftover(path, store, new)
    with pytest.raises(TokenStoreCorrupt):
        async with FileTokenStore(path, encryption_key=wrong).lock():
            pass
    assert left.exists()
    async with store.lock():
        assert await store.load() == new


@pytest.mark.parametrize("wrong", [5, [5], [None]])
def test_a_key_of_another_type_is_named(wrong: object) -> None:
    with pytest.raises(
        TypeError, match="encryption_key must be a Fernet key, a str or bytes, or a list of them"
    ):
        FileTokenStore("tokens.json", encryption_key=wrong)  # type: ignore[arg-type]  # wrong on purpose
