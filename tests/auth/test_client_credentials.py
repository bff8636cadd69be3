"""Partner apps: a token set without a person, requested again with the client's secret when it expires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.keeping_alive import LIFE, later, steps
from helpers.support import ME, QUICK, TOKEN, Clock, expired, open_session, put, settle, until

from ezeep_async import (
    AuthenticationError,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    OAuthApp,
    ReadOnlyTokens,
    ReauthorizationRequired,
    TokenPersistError,
    TokenSet,
    TransientAuthError,
)
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")

SECRET = "the-secret-of-a-partner-app"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(client_credentials_grant=True, client_secret=SECRET) as server:
        yield server


def session_on(sandbox: Sandbox, store: Any = None, **options: Any) -> EzeepSession:
    store = MemoryTokenStore() if store is None else store
    return open_session(sandbox, store, **options)


async def logged_in(sandbox: Sandbox, store: Any) -> TokenSet:
    async with session_on(sandbox, store) as session:
        return await session.oauth.login_with_client_credentials()


async def test_a_partner_app_logs_in_without_a_person(sandbox: Sandbox) -> None:
    """RFC 6749 section 4.4: no refresh token; the request has the scope and the secret in its header."""
    async with session_on(sandbox) as session:
        tokens = await session.oauth.login_with_client_credentials()
        assert (tokens.grant, tokens.refresh_token, tokens.scope) == ("client_credentials", "", "printing")
        await session.accounts.me()
    (request,) = [seen for seen in sandbox.requests if seen.key == TOKEN]
    assert request.body == b"grant_type=client_credentials&scope=printing"


async def test_an_app_without_a_secret_is_refused_unsent(sandbox: Sandbox) -> None:
    """Anyone could claim to be a client without a secret."""
    async with EzeepSession(OAuthApp("client"), endpoints=sandbox.endpoints) as session:
        with pytest.raises(ValueError, match="client_secret"):
            await session.oauth.login_with_client_credentials()
    assert sandbox.requests == []


async def test_a_client_that_may_not_do_this(sandbox: Sandbox) -> None:
    """The error of the server, and nothing is stored."""
    sandbox.behaviour.client_credentials_grant = False
    store = MemoryTokenStore()
    async with session_on(sandbox, store) as session:
        with pytest.raises(AuthenticationError) as caught:
            await session.oauth.login_with_client_credentials()
    assert caught.value.error == "unauthorized_client"
    assert await store.load() is None


@pytest.mark.parametrize("how", ["expired", "rejected"])
async def test_9_8_many_calls_request_one_new_token(sandbox: Sandbox, how: str) -> None:
    """9-8: single flight, when the token has expired and when the server rejects it."""
    store = MemoryTokenStore()
    tokens = await logged_in(sandbox, store)
    if how == "expired":
        await put(store, expired(tokens))
    else:
        sandbox.expire_access_tokens()
    sandbox.reset_counts()
    async with session_on(sandbox, store) as session:
        await asyncio.gather(*(session.accounts.me() for _ in range(20)))
    assert sandbox.count(TOKEN) == 1
    stored = await store.load()
    assert stored is not None
    assert (stored.grant, stored.refresh_token) == ("client_credentials", "")
    assert stored.access_token != tokens.access_token


async def test_other_processes_request_again_too(sandbox: Sandbox, tmp_path: Path) -> None:
    """The file says how the token was got: a session that never logged in does the same, and one request serves both."""
    path = tmp_path / "login.json"
    tokens = await logged_in(sandbox, FileTokenStore(path))
    assert json.loads(path.read_text())["token"]["grant"] == "client_credentials"
    await put(FileTokenStore(path), expired(tokens))
    sandbox.reset_counts()
    async with (
        session_on(sandbox, FileTokenStore(path)) as one,
        session_on(sandbox, FileTokenStore(path)) as two,
    ):
        await asyncio.gather(one.accounts.me(), two.accounts.me())
    assert sandbox.count(TOKEN) == 1


async def test_9_8_a_token_of_a_person_is_never_replaced_by_one_of_the_app(sandbox: Sandbox) -> None:
    """9-8: a token set without a refresh token that does not come from this grant: a person has to log in."""
    tokens = attrs.evolve(expired(sandbox.tokens()), refresh_token="")
    async with session_on(sandbox, MemoryTokenStore(tokens)) as session:
        with pytest.raises(ReauthorizationRequired, match="no refresh token"):
            await session.accounts.me()
        with pytest.raises(ReauthorizationRequired):
            await session.oauth.refresh()
    assert sandbox.count(TOKEN) == 0


async def test_a_login_of_a_person_replaces_it(sandbox: Sandbox) -> None:
    """From then on the refresh token of the person is used."""
    sandbox.behaviour.password_grant = True
    store = MemoryTokenStore()
    async with session_on(sandbox, store) as session:
        await session.oauth.login_with_client_credentials()
        tokens = await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        assert tokens.grant == ""
        await session.oauth.refresh()
    assert sandbox.refreshes == 1


async def test_a_refresh_token_that_the_server_sends_is_not_used(sandbox: Sandbox) -> None:
    """RFC 6749 section 4.4.3: there should be none. The secret gives the next token set all the same."""
    sandbox.faults.add(
        TOKEN,
        status=200,
        body='{"access_token": "first-of-two", "refresh_token": "unexpected", "expires_in": 3600}',
    )
    async with session_on(sandbox) as session:
        assert (await session.oauth.login_with_client_credentials()).refresh_token == ""
        assert (await session.oauth.refresh()).refresh_token == ""
    assert sandbox.refresh_requests == 0


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"drop": "before"}, {"status": 503}, {"status": 502}])
async def test_a_lost_response_is_requested_again(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    """Nothing is used up, so a repetition does no harm."""
    store = MemoryTokenStore()
    await put(store, expired(await logged_in(sandbox, store)))
    sandbox.faults.add(TOKEN, **fault)
    async with session_on(sandbox, store) as session:
        await session.accounts.me()
    assert sandbox.refresh_requests == 0


async def test_a_refusal_is_not_final_and_has_a_cool_down(sandbox: Sandbox) -> None:
    """A wrong secret: not one request for each call. The next login with the right one works at once."""
    store = MemoryTokenStore()
    tokens = await logged_in(sandbox, store)
    await put(store, expired(tokens))
    sandbox.behaviour.client_secret = "another-secret-of-the-app"
    sandbox.reset_counts()
    app = OAuthApp(sandbox.oauth_app.client_id, SECRET)
    async with EzeepSession(app, store, endpoints=sandbox.endpoints, settings=QUICK) as session:
        for _ in range(5):
            with pytest.raises(AuthenticationError) as caught:
                await session.accounts.me()
            assert not isinstance(caught.value, ReauthorizationRequired | TransientAuthError)
            assert caught.value.error == "invalid_client"
        assert sandbox.count(TOKEN) == 1
        sandbox.behaviour.client_secret = SECRET
        await session.oauth.login_with_client_credentials()
        await session.accounts.me()


async def test_a_store_that_cannot_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    """A read-only store: the login is refused before a request, and so is a new token when the stored one expires."""
    path = tmp_path / "login.json"
    tokens = await logged_in(sandbox, FileTokenStore(path))
    sandbox.reset_counts()
    async with session_on(sandbox, ReadOnlyTokens(path)) as session:
        await session.accounts.me()
        with pytest.raises(TokenPersistError, match="read-only"):
            await session.oauth.login_with_client_credentials()
    await put(FileTokenStore(path), expired(tokens))
    async with session_on(sandbox, ReadOnlyTokens(path)) as session:
        with pytest.raises(TokenPersistError, match="read-only"):
            await session.accounts.me()
    assert sandbox.count(TOKEN) == 0


class _FailsOnce(MemoryTokenStore):
    fails = False

    async def save(self, tokens: TokenSet, /) -> None:
        if self.fails:
            self.fails = False
            raise TokenPersistError("the disk is full")
        await super().save(tokens)


async def test_a_token_set_that_could_not_be_stored_is_used_and_stored_later(sandbox: Sandbox) -> None:
    """The same custody as after a refresh: in memory first, and in the store at the latest when the session closes."""
    store = _FailsOnce()
    await put(store, expired(await logged_in(sandbox, store)))
    sandbox.reset_counts()
    async with session_on(sandbox, store) as session:
        store.fails = True
        await session.accounts.me()
        current = session._core.refresher.tokens
        assert await store.load() != current
    assert await store.load() == current
    assert sandbox.count(TOKEN) == 1


async def test_a_cancelled_caller_does_not_stop_the_request(sandbox: Sandbox) -> None:
    """The same task as a refresh: it ends, and its token set is stored."""
    store = MemoryTokenStore()
    await put(store, expired(await logged_in(sandbox, store)))
    sandbox.reset_counts()
    async with session_on(sandbox, store) as session:
        hold = sandbox.faults.hold(TOKEN)
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        call.cancel()
        await settle()
        hold.release()
        await session.accounts.me()
    assert (sandbox.count(TOKEN), sandbox.count(ME)) == (1, 1)


@pytest.mark.usefixtures("quick")
async def test_an_idle_partner_app_is_kept_alive(sandbox: Sandbox, clock: Clock) -> None:
    """`keep_alive` requests the next token set before this one expires."""
    async with session_on(sandbox, clock=clock) as session:
        await session.oauth.login_with_client_credentials()
        handle = session.keep_alive()
        await steps(handle)
        sandbox.reset_counts()
        later(LIFE - 40, clock, sandbox)
        await until(lambda: sandbox.count(TOKEN) == 1)
        await steps(handle)
        assert (handle.state, sandbox.count(TOKEN)) == ("running", 1)


async def test_revoke_logs_out(sandbox: Sandbox) -> None:
    """The access token is revoked, and the store is empty: the next call needs a login."""
    store = MemoryTokenStore()
    async with session_on(sandbox, store) as session:
        await session.oauth.login_with_client_credentials()
        await session.oauth.revoke()
        assert await store.load() is None
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()


async def test_a_refusal_does_not_outlive_the_token_set(sandbox: Sandbox) -> None:
    """After a new login nothing waits for the cool-down of the old one."""
    app = OAuthApp(sandbox.oauth_app.client_id, SECRET)
    async with EzeepSession(app, MemoryTokenStore(), endpoints=sandbox.endpoints, settings=QUICK) as session:
        await session.oauth.login_with_client_credentials()
        sandbox.behaviour.client_secret = "another-secret-of-the-app"
        with pytest.raises(AuthenticationError, match="invalid_client"):
            await session.oauth.refresh()
        sandbox.behaviour.client_secret = SECRET
        await session.oauth.login_with_client_credentials()
        await session.oauth.refresh()
