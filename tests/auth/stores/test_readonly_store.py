"""`ReadOnlyTokens`: requirement 2-13."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers.support import expired, open_session

from ezeep_async import (
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    OAuthApp,
    ReauthorizationRequired,
    TokenPersistError,
    TokenSet,
    TokenStore,
    TokenStoreCorrupt,
    TokenStoreError,
)
from ezeep_async.auth.stores.readonly import ReadOnlyTokens
from ezeep_async.sandbox import Sandbox


WARNING = "rotation cannot be persisted"


def _values(tokens: TokenSet) -> dict[str, object]:
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "expires_at": tokens.expires_at.timestamp(),
    }


def _write(path: Path, tokens: TokenSet) -> Path:
    path.write_text(json.dumps(_values(tokens)))
    return path


async def test_2_13_accepted_with_a_warning_at_the_start(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """2-13: the access token works; one warning is logged when the session opens, without a secret."""
    tokens = sandbox.tokens()
    store = ReadOnlyTokens(_values(tokens))
    assert isinstance(store, TokenStore)
    assert WARNING not in caplog.text
    with caplog.at_level(logging.WARNING):
        async with open_session(sandbox, store) as session:
            assert WARNING in caplog.text
            await session.accounts.me()
        async with open_session(sandbox, store) as session:
            await session.accounts.me()
    assert caplog.text.count(WARNING) == 1
    assert sandbox.refresh_requests == 0
    for secret in (tokens.access_token, tokens.refresh_token):
        assert secret not in caplog.text + repr(store)


@pytest.mark.parametrize("how", ["ended", "refused"])
async def test_2_13_the_token_is_never_refreshed(sandbox: Sandbox, how: str) -> None:
    """2-13: when the access token expires, the error says why; no request is sent, and the refresh token still works
    in a store that can be written.
    """
    tokens = sandbox.tokens()
    if how == "ended":
        tokens = expired(tokens)
    else:
        sandbox.expire_access_tokens()
    async with open_session(sandbox, ReadOnlyTokens(_values(tokens))) as session:
        with pytest.raises(TokenPersistError, match="read-only and is not refreshed"):
            await session.accounts.me()
    assert sandbox.refresh_requests == 0
    async with open_session(sandbox, MemoryTokenStore(expired(tokens))) as owner:
        await owner.accounts.me()
    assert sandbox.refreshes == 1


async def test_2_13_loaded_into_memory_it_is_refreshed(sandbox: Sandbox) -> None:
    """2-13: the recipe of the docstring."""
    source = ReadOnlyTokens(_values(expired(sandbox.tokens())))
    async with open_session(sandbox, MemoryTokenStore(await source.load())) as session:
        await session.accounts.me()
    assert sandbox.refreshes == 1


async def test_2_13_an_updated_mounted_secret_is_used(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-13: the file is read again when the token in memory has expired. Its mode is not checked and not changed."""
    path = _write(tmp_path / "login.json", sandbox.tokens())
    path.chmod(0o444)
    async with open_session(sandbox, ReadOnlyTokens(path)) as session:
        await session.accounts.me()
        sandbox.expire_access_tokens()
        path.chmod(0o644)
        _write(path, sandbox.tokens())
        path.chmod(0o444)
        await session.accounts.me()
    assert sandbox.refresh_requests == 0
    assert path.stat().st_mode & 0o777 == 0o444
    assert [each.name for each in tmp_path.iterdir()] == ["login.json"]


async def test_2_13_a_file_of_the_file_store_can_be_read(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-13, 2-12: another client id or account host is refused."""
    path, tokens = tmp_path / "login.json", sandbox.tokens()
    async with open_session(sandbox, FileTokenStore(path), tokens=tokens):
        pass
    async with open_session(sandbox, ReadOnlyTokens(path)) as session:
        await session.accounts.me()
    assert await ReadOnlyTokens(path).load() == tokens
    async with EzeepSession(
        OAuthApp("another"), ReadOnlyTokens(path), endpoints=sandbox.endpoints
    ) as session:
        with pytest.raises(TokenStoreError, match="another client id"):
            await session.accounts.me()
    store = ReadOnlyTokens(path)
    store.bind("one", sandbox.endpoints.account)
    with pytest.raises(TokenStoreError, match="already serves"):
        store.bind("another", sandbox.endpoints.account)


async def test_2_13_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """2-13: the variables are read when the store is created; without them it is empty."""
    assert await ReadOnlyTokens.from_env().load() is None
    tokens = sandbox.tokens()
    monkeypatch.setenv("EZEEP_ACCESS_TOKEN", tokens.access_token + "\n")
    monkeypatch.setenv("EZEEP_REFRESH_TOKEN", tokens.refresh_token)
    monkeypatch.setenv("EZEEP_TOKEN_EXPIRES_AT", tokens.expires_at.isoformat())
    store = ReadOnlyTokens.from_env()
    monkeypatch.setenv("EZEEP_ACCESS_TOKEN", "another")
    loaded = await store.load()
    assert loaded is not None
    assert (loaded.access_token, loaded.expires_at) == (tokens.access_token, tokens.expires_at)
    async with open_session(sandbox, store) as session:
        await session.accounts.me()
    assert tokens.access_token not in repr(store)


async def test_2_13_an_access_token_alone_is_enough(sandbox: Sandbox) -> None:
    """2-13: without an expiry it is used until the server refuses it; then the error asks for a new login."""
    store = ReadOnlyTokens({"access_token": sandbox.tokens().access_token, "expires_in": 1})
    async with open_session(sandbox, store) as session:
        await session.accounts.me()
        sandbox.expire_access_tokens()
        with pytest.raises(ReauthorizationRequired, match="no refresh token"):
            await session.accounts.me()
    assert sandbox.count("GET /v1/users/me/") == 2


@pytest.mark.slow
async def test_2_13_nothing_is_stored_and_a_code_is_refused_before_it_is_spent(
    sandbox: Sandbox,
) -> None:
    """2-13: save, a first token set, and the exchange of a code raise `TokenPersistError` without a request."""
    tokens = sandbox.tokens()
    with pytest.raises(TokenPersistError, match="the environment is read-only"):
        await ReadOnlyTokens.from_env({}).save(tokens)
    with pytest.raises(TokenPersistError):
        await open_session(sandbox, ReadOnlyTokens({}), tokens=tokens).__aenter__()
    async with open_session(sandbox, ReadOnlyTokens(_values(tokens))) as session:
        with pytest.raises(TokenPersistError):
            await session.oauth.exchange_code("code")
    assert not sandbox.requests


async def test_2_13_logout_reports_that_the_source_keeps_the_token(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """2-13: the token is revoked and not used any more; a warning names the source; a new token there is used."""
    values = _values(sandbox.tokens())
    store = ReadOnlyTokens(values)
    async with open_session(sandbox, store) as session:
        await session.oauth.revoke()
        assert "still in the given mapping" in caplog.text
        with pytest.raises(ReauthorizationRequired, match="not logged in"):
            await session.accounts.me()
        await store.clear()
        assert caplog.text.count("still in") == 1
        values.update(_values(sandbox.tokens()))
        await session.accounts.me()


async def test_the_lock_is_exclusive(sandbox: Sandbox) -> None:
    """Five tasks hold it one after another."""
    store, inside = ReadOnlyTokens({}), 0
    import asyncio

    async def work() -> None:
        nonlocal inside
        async with store.lock():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*[work() for _ in range(5)])


@pytest.mark.parametrize(
    ("end", "seconds"),
    [(1800000000, 0), (1800000000.5, 0.5), ("1800000000", 0), ("2027-01-15T08:00:00Z", 0),
     ("2027-01-15T09:00:00+01:00", 0)],
)  # shorter than one item a line  # fmt: skip
async def test_2_13_formats_of_the_expiry(end: object, seconds: float) -> None:
    """2-13: seconds, or ISO 8601 with a zone."""
    tokens = await ReadOnlyTokens({"access_token": "a", "expires_at": end, "expires_in": 3600}).load()
    assert tokens is not None
    assert tokens.expires_at == datetime.fromtimestamp(1800000000, UTC) + timedelta(seconds=seconds)
    assert tokens.expires_in == 3600.0
    assert tokens.scope == "printing"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"refresh_token": "plain-token"}, "without an access_token"),
        ({"access_token": ["plain-token"]}, "without an access_token"),
        ({"access_token": "plain-token", "refresh_token": 5}, "refresh_token that is not text"),
        ({"access_token": "plain-token", "expires_at": "soon"}, "expires_at"),
        ({"access_token": "plain-token", "expires_at": "2027-01-15T08:00:00"}, "with a zone"),
        ({"access_token": "plain-token", "expires_at": 1e300}, "expires_at"),
        ({"access_token": "plain-token", "expires_at": True}, "expires_at"),
    ],
)
async def test_2_6_a_source_that_is_not_a_token_set(values: dict[str, object], why: str) -> None:
    """2-6: the error names the source, without its content."""
    with pytest.raises(TokenStoreCorrupt, match=why) as caught:
        await ReadOnlyTokens(values).load()
    assert "plain-token" not in str(caught.value)


async def test_2_6_a_file_that_is_missing_empty_or_corrupt(tmp_path: Path) -> None:
    """2-6: a missing file is named, an empty one is an empty store, a bare token is corrupt."""
    path = tmp_path / "login.json"
    with pytest.raises(TokenStoreError, match=r"login\.json cannot be read: No such file"):
        await ReadOnlyTokens(path).load()
    path.write_text("\n")
    assert await ReadOnlyTokens(path).load() is None
    path.write_text("plain-token")
    with pytest.raises(TokenStoreCorrupt, match=r"login\.json") as caught:
        await ReadOnlyTokens(path).load()
    assert "plain-token" not in str(caught.value)
