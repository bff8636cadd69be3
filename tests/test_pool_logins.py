"""Logging in with a pool: `pool.oauth`, and what `adopt` knows of the user of a token set."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from helpers.browser import decide
from helpers.pools import Stores, pool_in, use
from helpers.support import TOKEN, Clock, expired, settle, until

from ezeep_async import (
    AuthorizationDenied,
    EzeepSession,
    MemoryTokenStore,
    OutcomeUnknown,
    SessionClosed,
    StateMismatch,
    TokenSet,
    TokenStoreError,
    TransientAuthError,
)
from ezeep_async.sandbox import Sandbox


async def test_a_login_before_the_key_is_known(sandbox: Sandbox) -> None:
    """The token set is stored nowhere until it is adopted."""
    stores = Stores()
    async with pool_in(sandbox, stores) as pool:
        request = pool.oauth.authorization_request()
        status, location = await decide(request.url)
        assert status == 302
        tokens = await pool.oauth.complete(location, request)
        assert stores == {}
        assert pool.stats.opened == 0
        async with EzeepSession(sandbox.oauth_app, tokens=tokens, endpoints=sandbox.endpoints) as session:
            key = str((await session.accounts.me()).id)
        await pool.adopt(key, tokens)
        await use(pool, key)
        assert not hasattr(pool.oauth, "refresh")
        assert not hasattr(pool.oauth, "revoke")


async def test_a_session_without_a_store_returns_the_token_set(sandbox: Sandbox) -> None:
    """`EzeepSession(app).oauth` has it in memory only."""
    async with EzeepSession(sandbox.oauth_app, endpoints=sandbox.endpoints) as session:
        request = session.oauth.authorization_request()
        tokens = await session.oauth.complete((await decide(request.url))[1], request)
    stores = Stores()
    async with pool_in(sandbox, stores) as pool:
        await pool.adopt("a", tokens)
        await use(pool, "a")
    assert await stores["a"].load() == tokens


async def test_concurrent_logins_do_not_mix(sandbox: Sandbox) -> None:
    people = [person.email for person in sandbox.organization.people.values()][:5]
    async with pool_in(sandbox) as pool:

        async def log_in(email: str) -> None:
            request = pool.oauth.authorization_request()
            _, location = await decide(request.url, username=email)
            await pool.adopt(email, await pool.oauth.complete(location, request))
            async with pool.session(email) as session:
                assert (await session.accounts.me()).email == email

        await asyncio.gather(*map(log_in, people))


async def test_logins_that_fail(sandbox: Sandbox) -> None:
    """A forged state, a used code, a lost response, and a server that is not ready: as with `session.oauth`."""
    async with pool_in(sandbox) as pool:
        request, other = (pool.oauth.authorization_request() for _ in range(2))
        location = (await decide(request.url))[1]
        with pytest.raises(StateMismatch):
            await pool.oauth.complete(location, other)
        sandbox.faults.add(TOKEN, status=503)
        with pytest.raises(TransientAuthError):
            await pool.oauth.complete(location, request)
        sandbox.faults.add(TOKEN, drop="after")
        with pytest.raises(OutcomeUnknown):
            await pool.oauth.complete(location, request)
        with pytest.raises(AuthorizationDenied):
            await pool.oauth.complete(location, request)
    with pytest.raises(SessionClosed):
        await pool.oauth.complete(location, request)


async def test_a_cancelled_login(sandbox: Sandbox) -> None:
    """It ends at once, and the pool is closed as usual."""
    async with pool_in(sandbox) as pool:
        request = pool.oauth.authorization_request()
        location = (await decide(request.url))[1]
        hold = sandbox.faults.hold(TOKEN)
        login = asyncio.create_task(pool.oauth.complete(location, request))
        await hold.arrived()
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        hold.release()


def jwt(subject: str, number: int = 0) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return (
        f"{part({'alg': 'RS256'})}.{part({'iss': 'https://a.example', 'sub': subject, 'jti': number})}.c2ln"
    )


def issued(access_token: str, refresh_token: str, **fields) -> TokenSet:
    return TokenSet(access_token, refresh_token, datetime.now(UTC) + timedelta(hours=1), **fields)


async def test_the_login_of_another_user_is_refused(sandbox: Sandbox) -> None:
    """JWTs of two subjects. After `drop` the key can have another one."""
    first = issued(jwt("alice"), "refresh-a")
    stores = Stores(a=MemoryTokenStore(first))
    async with pool_in(sandbox, stores) as pool:
        with pytest.raises(TokenStoreError, match="to another user") as caught:
            await pool.adopt("a", issued(jwt("bob"), "refresh-b"))
        assert "refresh-" not in str(caught.value)
        assert await stores["a"].load() == first
        await pool.drop("a")
        await pool.adopt("a", second := issued(jwt("bob"), "refresh-b"))
        assert await stores["a"].load() == second


@pytest.mark.parametrize(
    ("stored", "given", "is_stored", "is_reported"),
    [
        (issued(jwt("alice", 1), "r1"), issued(jwt("alice", 2), "r2"), True, False),
        (issued("opaque", "r1"), issued("another", "r2"), True, True),
        (issued(jwt("alice"), "r1"), issued("opaque", "r2"), True, True),
        (issued("opaque", "r1"), attrs.evolve(issued("later", "r1"), expires_at=datetime.now(UTC) + timedelta(hours=2)),
         True, False),
        (issued("opaque", "r1"), expired(issued("earlier", "r1")), False, False),
        (issued("opaque", "r2", lineage=(issued("", "r1").mark,)), issued("older", "r1"), False, False),
        (issued("older", "r1"), issued("opaque", "r2", lineage=(issued("", "r1").mark,)), True, False),
    ],
)  # shorter than one item a line  # fmt: skip
async def test_which_token_set_is_kept(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    stored: TokenSet,
    given: TokenSet,
    is_stored: bool,
    is_reported: bool,
) -> None:
    """The newer one of one login; another login of the same user. If the user is not known, a warning says so."""
    stores = Stores(a=MemoryTokenStore(stored))
    async with pool_in(sandbox, stores) as pool:
        await pool.adopt("a", given)
        assert await stores["a"].load() == (given if is_stored else stored)
        assert pool._sessions.entries["a"].core.refresher.tokens == (given if is_stored else stored)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bool(warnings) == is_reported


async def test_a_login_after_the_end_of_the_one_before(sandbox: Sandbox) -> None:
    """The refresh token was refused; the session that is open uses the new login, without another request for it."""
    stores = Stores(a=MemoryTokenStore(expired(sandbox.tokens())))
    async with pool_in(sandbox, stores) as pool, pool.session("a") as session:
        sandbox.faults.add(TOKEN, status=400, body='{"error": "invalid_grant"}')
        with pytest.raises(Exception, match="log in again"):
            await session.accounts.me()
        await pool.adopt("a", sandbox.tokens())
        await session.accounts.me()
    assert sandbox.count(TOKEN) == 1


async def test_adopt_waits_for_a_refresh(sandbox: Sandbox) -> None:
    """The refresh of the earlier login does not replace the new one."""
    stores = Stores(a=MemoryTokenStore(expired(sandbox.tokens())))
    async with pool_in(sandbox, stores) as pool:
        hold = sandbox.faults.hold(TOKEN, times=1)
        call = asyncio.create_task(use(pool, "a"))
        await hold.arrived()
        adopting = asyncio.create_task(pool.adopt("a", tokens := sandbox.tokens()))
        await settle()
        assert not adopting.done()
        hold.release()
        await adopting
        await call
        assert await stores["a"].load() == tokens
        await until(lambda: pool.stats.in_use == 0)


@pytest.mark.parametrize("subject", ["alice", "bob"])
async def test_another_user_in_the_store_is_reported(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, subject: str
) -> None:
    """Another process dropped the login of the key and adopted one of another user."""
    stores = Stores(a=MemoryTokenStore(issued(jwt("alice", 1), "r1")))
    clock = Clock()
    async with pool_in(sandbox, stores, clock=clock) as pool, pool.session("a") as session:
        await session._core.refresher.access_token()
        clock.steady += 3590
        theirs = attrs.evolve(issued(jwt(subject, 2), "r2"), expires_at=clock.now() + timedelta(hours=1))
        await stores["a"].save(theirs)
        assert await session._core.refresher.access_token() == theirs.access_token
    assert ("another user has logged in" in caplog.text) == (subject == "bob")
