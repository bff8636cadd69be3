"""Stores whose lock ends with its process: after a failed save, others do not send the used refresh token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import attrs
import pytest
from helpers.support import QUICK, TOKEN, expired, open_session, put

from ezeep_async import FileTokenStore, TokenPersistError, TokenStoreError
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(60)]


async def test_the_lock_is_held_until_the_token_set_is_stored(sandbox: Sandbox, tmp_path: Path) -> None:
    """The folder is gone during the save, and is repaired: the used refresh token is not sent."""
    folder, away = tmp_path / "login", tmp_path / "away"
    path = folder / "login.json"
    await put(FileTokenStore(path), expired(sandbox.tokens()))
    settings = attrs.evolve(QUICK, deadline=30)
    other_store = FileTokenStore(path, lock_timeout=0.1)
    hold = sandbox.faults.hold(TOKEN, after=True, times=1)
    async with open_session(sandbox, FileTokenStore(path), settings=settings) as saver:
        call = asyncio.ensure_future(saver.accounts.me())
        await hold.arrived()
        folder.rename(away)
        folder.touch()
        hold.release()
        await call
        folder.unlink()
        away.rename(folder)
        async with open_session(sandbox, other_store, settings=settings) as other:
            with pytest.raises(TokenStoreError, match="in use by another process"):
                await other.accounts.me()
            assert sandbox.refresh_requests == 1
            await saver.oauth.refresh()  # stores it, and releases the lock
            await other.accounts.me()
    assert sandbox.refresh_requests == 2
    assert path.exists()


async def test_a_session_that_closes_without_its_save_releases_the_lock(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person can log in again."""
    store = FileTokenStore(tmp_path / "login.json")
    await put(store, expired(sandbox.tokens()))

    def fail(_: object) -> None:
        raise TokenPersistError("failed")

    monkeypatch.setattr(store, "_save", fail)
    with pytest.raises(TokenPersistError, match="could not be stored"):
        async with open_session(sandbox, store) as session:
            await session.accounts.me()
    async with FileTokenStore(tmp_path / "login.json", lock_timeout=0.1).lock():
        pass
