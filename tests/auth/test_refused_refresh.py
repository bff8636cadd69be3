"""What the server refuses for good is not presented to it by every call."""

from __future__ import annotations

import asyncio

import pytest
from helpers.keeping_alive import steps
from helpers.support import ME, TOKEN, Clock, expired, open_session, put

from ezeep_async import (
    AuthenticationError,
    FileTokenStore,
    MemoryTokenStore,
    ReauthorizationRequired,
    run_sync,
)
from ezeep_async.auth import exchange
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


@pytest.fixture
def dead(sandbox: Sandbox) -> MemoryTokenStore:
    """A store whose token set the server has ended."""
    tokens = expired(sandbox.tokens())
    sandbox._grants.revoke(tokens.refresh_token)
    return MemoryTokenStore(tokens)


async def test_a_dead_refresh_token_is_presented_once(sandbox: Sandbox, dead: MemoryTokenStore) -> None:
    """By any number of calls, explicit refreshes, and sessions that share the store."""
    async with open_session(sandbox, dead) as session, open_session(sandbox, dead) as other:
        for _ in range(20):
            with pytest.raises(ReauthorizationRequired) as caught:
                await session.accounts.me()
            assert caught.value.error == "invalid_grant"
            with pytest.raises(ReauthorizationRequired):
                await session.oauth.refresh()
            with pytest.raises(ReauthorizationRequired):
                await other.accounts.me()
        results = await asyncio.gather(*[other.accounts.me() for _ in range(20)], return_exceptions=True)
        assert {type(error) for error in results} == {ReauthorizationRequired}
    assert sandbox.refresh_requests == 1
    assert sandbox.count(ME) == 0


async def test_a_new_token_set_is_used_at_once(sandbox: Sandbox, dead: MemoryTokenStore) -> None:
    """Another process stores it, or this session after a log-in."""
    sandbox.behaviour.password_grant = True
    async with open_session(sandbox, dead) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
        await put(dead, expired(sandbox.tokens()))
        await session.accounts.me()
        current = await dead.load()
        assert current is not None
        sandbox._grants.revoke(current.refresh_token)
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
        requests = sandbox.refresh_requests
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
        assert sandbox.refresh_requests == requests
        await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        await session.accounts.me()


async def test_a_good_access_token_is_used_to_its_end(sandbox: Sandbox) -> None:
    """A refused refresh says nothing about the access token."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        sandbox.faults.add(TOKEN, status=400, body='{"error": "invalid_grant"}')
        with pytest.raises(ReauthorizationRequired):
            await session.oauth.refresh()
        await session.accounts.me()


async def test_the_keep_alive_asks_nothing_of_a_dead_token_set(
    sandbox: Sandbox, dead: MemoryTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for another token set."""
    monkeypatch.setattr("ezeep_async.auth.keep_alive.LONGEST_SLEEP_S", 0.005)
    async with open_session(sandbox, dead) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
        handle = session.keep_alive()
        await steps(handle)
        assert handle.state == "waiting for a login"
    assert sandbox.refresh_requests == 1


@pytest.mark.may_block
def test_blocking_sessions(tmp_path) -> None:
    """In blocking code too."""
    from ezeep_async.testing import ThreadedSandbox

    with ThreadedSandbox() as sandbox:
        tokens = expired(sandbox.tokens())
        sandbox._grants.revoke(tokens.refresh_token)
        store = FileTokenStore(tmp_path / "tokens.json")
        asyncio.run(put(store, tokens))
        with run_sync(open_session(sandbox, store)) as session:
            for _ in range(5):
                with pytest.raises(ReauthorizationRequired):
                    session.accounts.me()
        assert sandbox.refresh_requests == 1


async def test_refused_credentials_are_tried_again_after_a_pause(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`invalid_client` may be mended at the server: one request, then the next after a minute here."""
    monkeypatch.setattr(exchange, "FIRST_COOL_DOWN_S", 60.0)
    clock = Clock()
    fault = sandbox.faults.add(TOKEN, times=None, status=401, body='{"error": "invalid_client"}')
    async with open_session(sandbox, clock=clock) as session:
        for _ in range(10):
            with pytest.raises(AuthenticationError, match="invalid_client"):
                await session.accounts.me()
        assert fault.hits == 1
        clock.steady += 61
        with pytest.raises(AuthenticationError, match="invalid_client"):
            await session.accounts.me()
        assert fault.hits == 2
        fault.remove()
        clock.steady += 61
        await session.accounts.me()


async def test_401_to_everything_makes_few_refreshes(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was issued because of a 401 and is refused too: the next one is asked for after a pause."""
    monkeypatch.setattr(exchange, "FIRST_COOL_DOWN_S", 60.0)
    clock = Clock()
    fault = sandbox.faults.add(ME, times=None, status=401)
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        for _ in range(20):
            with pytest.raises(AuthenticationError) as caught:
                await session.accounts.me()
            assert caught.value.status == 401
        results = await asyncio.gather(*[session.accounts.me() for _ in range(20)], return_exceptions=True)
        assert {type(error) for error in results} == {AuthenticationError}
        assert sandbox.refresh_requests == 1
        clock.steady += 61
        with pytest.raises(AuthenticationError):
            await session.accounts.me()
        assert sandbox.refresh_requests == 2
        fault.remove()
        await session.accounts.me()
        assert sandbox.refresh_requests == 2


async def test_an_access_token_that_ends_early_is_replaced_each_time(sandbox: Sandbox) -> None:
    """A replacement that works is no reason to wait, however soon the next one is needed."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        for number in range(5):
            sandbox.expire_access_tokens()
            await session.accounts.me()
            assert sandbox.refresh_requests == number + 1


async def test_another_token_set_is_adopted_during_the_pause(sandbox: Sandbox) -> None:
    """What another process stores is tried at once."""
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store) as session:
        fault = sandbox.faults.add(ME, times=3, status=401)
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await session.accounts.me()
        assert fault.hits == 3
        await put(store, sandbox.tokens())
        sandbox.faults.add(ME, status=401)
        await session.accounts.me()
    assert sandbox.refresh_requests == 1
