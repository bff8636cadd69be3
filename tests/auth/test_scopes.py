"""OAuth scopes: how an app asks for several, and what keeps them."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest
from helpers.browser import decide
from helpers.support import TOKEN, expired, open_session
from yarl import URL

from ezeep_async import (
    AuthorizationDenied,
    EzeepSession,
    MemoryTokenStore,
    OAuthApp,
    PermissionDenied,
    TokenSet,
)
from ezeep_async.sandbox import Sandbox


BOTH = "printing webhooks"


@pytest.mark.parametrize(
    "given",
    [
        BOTH,
        "  printing   webhooks ",
        "printing webhooks printing",
        ["printing", "webhooks"],
        ("printing", "webhooks", "printing"),
        {"webhooks", "printing"},
        (each for each in ("printing", " webhooks ")),
    ],
)
def test_scopes_are_text_or_an_iterable(given: Any) -> None:
    """Separated by one space, each once (RFC 6749 section 3.3). A set is sorted: its order differs from run to run."""
    assert OAuthApp("id", scope=given).scope == BOTH


@pytest.mark.parametrize("given", [5, None, b"printing", ["printing webhooks"], ["printing", 5], [""]])
def test_other_scopes_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="scope"):
        OAuthApp("id", scope=given)


def test_an_authorization_request_takes_several_scopes() -> None:
    """As the app does; without any it asks for those of the app."""
    session = EzeepSession(
        OAuthApp("id", redirect_uri="https://app.example/", scope=["printing", "reporting"])
    )
    for scope, sent in ((None, "printing reporting"), (BOTH, BOTH), (["webhooks"], "webhooks")):
        request = session.oauth.authorization_request(scope=scope)
        assert URL(request.url).query["scope"] == sent


def session_of(sandbox: Sandbox, scope: str, **options: Any) -> EzeepSession:
    app = attrs.evolve(sandbox.oauth_app, scope=scope)
    return EzeepSession(app, endpoints=sandbox.endpoints, **options)


@pytest.mark.parametrize("blank", [False, True])
async def test_a_refresh_keeps_all_scopes(sandbox: Sandbox, blank: bool) -> None:
    """Also if the server leaves `scope` empty in its response: those that were asked for are sent with a refresh.

    Sending fewer would be a request for a token with fewer (RFC 6749 section 6)."""
    sandbox.behaviour.blank_scopes = blank
    async with session_of(sandbox, BOTH) as session:
        request = session.oauth.authorization_request()
        _, location = await decide(request.url)
        tokens = await session.oauth.complete(location, request)
        assert tokens.scope == BOTH
        assert (await session.oauth.refresh()).scope == BOTH
        assert await session.webhooks.list().collect() == []


async def test_a_scope_that_the_client_may_not_ask_for(sandbox: Sandbox) -> None:
    """The message names the argument to correct."""
    sandbox.behaviour.scopes = ("printing",)
    async with session_of(sandbox, BOTH) as session:
        request = session.oauth.authorization_request()
        with pytest.raises(AuthorizationDenied, match=r"invalid_scope.*OAuthApp\(scope=") as caught:
            await session.oauth.complete(sandbox.approve(request.url), request)
    assert caught.value.error == "invalid_scope"


async def test_a_pairing_asks_for_all_scopes(sandbox: Sandbox) -> None:
    """The pairing code stands for the scopes of its request."""
    async with session_of(sandbox, BOTH) as session:
        pairing = await session.oauth.pair()
        code = sandbox._grants.pairings[pairing.pairing_code]
        code.state, code.user_id = "approved", sandbox.organization.admin_id
        assert (await session.oauth.wait_for_pairing(pairing)).scope == BOTH


async def test_a_stored_token_set_keeps_its_scope(sandbox: Sandbox) -> None:
    """An app that asks for more later has to log in again: a refresh cannot add scopes."""
    tokens = expired(sandbox.tokens())
    async with session_of(sandbox, BOTH, store=MemoryTokenStore(tokens)) as session:
        with pytest.raises(PermissionDenied) as caught:
            await session.webhooks.list().collect()
    assert caught.value.scope == "webhooks.readonly"
    assert sandbox.refreshes == 1


async def test_an_old_refresh_token_is_always_tried(sandbox: Sandbox) -> None:
    """How long a refresh token lives depends on the configuration of the server: no age is too old to try."""
    sandbox.behaviour.refresh_expires_in = None
    tokens = expired(sandbox.tokens())
    sandbox.clock.advance(400 * 86400)
    old = TokenSet.from_response(
        {"access_token": "gone", "refresh_token": tokens.refresh_token, "expires_in": 3600},
        now=tokens.expires_at.replace(year=2001),
    )
    async with open_session(sandbox, MemoryTokenStore(old)) as session:
        await asyncio.gather(session.accounts.me(), session.accounts.me())
    assert sandbox.count(TOKEN) == sandbox.refreshes == 1


def test_scopes_from_the_environment() -> None:
    """`EZEEP_SCOPE`; without it, or empty, `printing`."""
    for text, scope in ((None, "printing"), ("", "printing"), (' "printing  webhooks"\n', BOTH)):
        environ = {"EZEEP_CLIENT_ID": "id"} | ({} if text is None else {"EZEEP_SCOPE": text})
        assert EzeepSession.from_env(environ)._core.app.scope == scope
