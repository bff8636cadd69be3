"""A store that is rolled back to a replaced token set: a replica without the last write, a restored backup."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from helpers.support import TOKEN, Clock, expired, open_session, put

from ezeep_async import (
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    ReauthorizationRequired,
    TokenPersistError,
    TokenSet,
)
from ezeep_async.sandbox import Sandbox


async def _works(session: EzeepSession) -> None:
    assert (await session.accounts.me()).email


@pytest.mark.parametrize("writes", [1, 3])
async def test_2_9_a_rolled_back_store_loses_no_token_set(
    sandbox: Sandbox, tmp_path: Path, writes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """2-9: the token set of this process replaced the stored one: it is used, and stored again."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    old = path.read_bytes()
    async with open_session(sandbox, FileTokenStore(path)) as session:
        for _ in range(writes):
            await session.oauth.refresh()
        newest = path.read_bytes()
        path.write_bytes(old)
        with caplog.at_level(logging.WARNING):
            sandbox.expire_access_tokens()
            await _works(session)
        assert "the token store went back" in caplog.text
        assert path.read_bytes() not in {old, newest}
    async with open_session(sandbox, FileTokenStore(path)) as another:
        await _works(another)
    assert sandbox.refresh_requests == writes + 1


async def test_2_9_a_token_that_is_still_good_is_stored_again_too(sandbox: Sandbox) -> None:
    """2-9: a late 401 for the token set that the store was rolled back to: the call is replayed with the newer one, without a refresh."""
    store, clock = MemoryTokenStore(old := sandbox.tokens()), Clock()
    async with open_session(sandbox, store, clock=clock) as session:
        new = await session.oauth.refresh()
        store._tokens = old
        clock.steady = 3570.0  # within the leeway: due, and good for half a minute
        assert await session._core.refresher.replacement_for(old.access_token) == new.access_token
        assert store._tokens == new
    assert sandbox.count(TOKEN) == 1


async def test_2_9_another_token_set_is_not_one_that_was_replaced(sandbox: Sandbox) -> None:
    """2-9: a token set that another process stores takes effect, after any number of refreshes here."""
    store, clock = MemoryTokenStore(sandbox.tokens()), Clock()
    async with open_session(sandbox, store, clock=clock) as session:
        for _ in range(3):
            await session.oauth.refresh()
        clock.steady = 3600.0
        store._tokens = theirs = attrs.evolve(sandbox.tokens(), expires_at=clock.now() + timedelta(hours=1))
        assert await session._core.refresher.access_token() == theirs.access_token
        assert store._tokens == theirs
    assert sandbox.count(TOKEN) == 3


async def test_1_18_where_the_refresh_token_stays_nothing_is_old(sandbox: Sandbox) -> None:
    """1-18: the newer access token of another process comes with a refresh token that was used here, and is taken up."""
    first, second, third = (sandbox.tokens().access_token for _ in range(3))
    sandbox.faults.add(TOKEN, status=200, body=f'{{"access_token": "{second}", "expires_in": 3600}}')
    store, clock = MemoryTokenStore(attrs.evolve(sandbox.tokens(), access_token=first)), Clock()
    async with open_session(sandbox, store, clock=clock) as session:
        assert (await session.oauth.refresh()).access_token == second
        clock.steady = 3600.0
        store._tokens = theirs = attrs.evolve(
            store._tokens, access_token=third, expires_at=clock.now() + timedelta(hours=1)
        )
        assert await session._core.refresher.access_token() == third
        assert store._tokens == theirs
    assert sandbox.count(TOKEN) == 1


class _Full(MemoryTokenStore):
    full = True

    async def save(self, tokens: TokenSet, /) -> None:
        if self.full:
            raise TokenPersistError("no room")
        await super().save(tokens)


async def test_1_14_invalid_grant_never_restores_the_spent_token_set(sandbox: Sandbox) -> None:
    """1-14, 2-7: ours is refused, and could not be stored: the one in the store is the spent one, and no way out."""
    store = _Full(expired(sandbox.tokens()))
    session = open_session(sandbox, store)
    await session.accounts.me()
    sandbox.expire_access_tokens()
    sandbox.faults.add(TOKEN, status=400, body='{"error": "invalid_grant"}')
    with pytest.raises(ReauthorizationRequired):
        await session.oauth.refresh()
    assert session._core.refresher.tokens != store._tokens
    store.full = False
    await session.aclose()
