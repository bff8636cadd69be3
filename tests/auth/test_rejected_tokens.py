"""A 401 to the token set that another process stored: one refresh, and never a refresh for each call (1-3, 1-4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers.support import ME, open_session, put

from ezeep_async import AuthenticationError, FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


async def shared_file(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A login in a file. A store object for each session: as in two processes, they share nothing in memory."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    return path


async def test_1_3_a_stored_token_that_is_rejected_too_is_refreshed(sandbox: Sandbox, tmp_path: Path) -> None:
    """Three requests: the own token, that of the other process, and a new one."""
    path = await shared_file(sandbox, tmp_path)
    async with (
        open_session(sandbox, FileTokenStore(path)) as session,
        open_session(sandbox, FileTokenStore(path)) as other,
    ):
        await session.accounts.me()
        await other.oauth.refresh()
        sandbox.expire_access_tokens()
        sandbox.reset_counts()
        await session.accounts.me()
        assert (sandbox.count(ME), sandbox.refresh_requests) == (3, 1)
        await session.accounts.me()
        await other.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_1_2_so_do_many_calls_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """One refresh for all of them."""
    path = await shared_file(sandbox, tmp_path)
    async with (
        open_session(sandbox, FileTokenStore(path)) as session,
        open_session(sandbox, FileTokenStore(path)) as other,
    ):
        await session.accounts.me()
        await other.oauth.refresh()
        sandbox.expire_access_tokens()
        sandbox.reset_counts()
        await asyncio.gather(*[session.accounts.me() for _ in range(20)])
    assert sandbox.refresh_requests == 1


async def test_1_4_a_server_that_rejects_all_tokens_causes_one_refresh_in_each_process(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process adopts what the other one stored: that does not begin another refresh during the cool-down."""
    monkeypatch.setattr("ezeep_async.auth.exchange.FIRST_COOL_DOWN_S", 60.0)
    path = await shared_file(sandbox, tmp_path)
    sandbox.faults.add(ME, times=None, status=401)
    async with (
        open_session(sandbox, FileTokenStore(path)) as one,
        open_session(sandbox, FileTokenStore(path)) as other,
    ):
        for session in [one, other] * 5:
            with pytest.raises(AuthenticationError) as caught:
                await session.accounts.me()
            assert caught.value.status == 401
            assert caught.value.attempts <= 3
    assert sandbox.refreshes == 2
