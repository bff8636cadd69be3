"""Responses to a login that are lost, or that are hard to decode."""

from __future__ import annotations

import asyncio
import json

import attrs
import pytest
from helpers.browser import decide
from helpers.support import QUICK, TOKEN, open_session

from ezeep_async import AuthorizationDenied, MemoryTokenStore, OutcomeUnknown, TransientAuthError
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


async def test_an_empty_state_is_refused(sandbox: Sandbox) -> None:
    async with open_session(sandbox, MemoryTokenStore()) as session:
        with pytest.raises(ValueError, match="state"):
            session.oauth.authorization_request(state="")


async def test_1_5_a_cancelled_pair_is_released(sandbox: Sandbox) -> None:
    """1-5: before there is a code, nothing is lost by a cancellation."""
    hold = sandbox.faults.hold("POST /oauth/pair/", times=1)
    settings = attrs.evolve(QUICK, refresh_timeout=60.0)
    async with open_session(sandbox, MemoryTokenStore(), settings=settings) as session:
        pairing = asyncio.create_task(session.oauth.pair())
        await hold.arrived()
        pairing.cancel()
        done, _ = await asyncio.wait({pairing}, timeout=20.0)
        hold.release()
        assert done
        assert pairing.cancelled()
        assert (await session.oauth.pair()).pairing_code


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": "after"},
        {"status": 502, "processed": True},
        {"status": 200, "body": "<html>", "processed": True},
    ],
)
async def test_1_12_a_lost_pairing_response_is_reported(sandbox: Sandbox, fault: dict[str, object]) -> None:
    """1-12: confirmed, and the response with the token set was lost: not "the code is not valid"."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        pairing = await session.oauth.pair()
        await decide(pairing.auth_url)
        sandbox.faults.add(TOKEN, **fault)
        with pytest.raises(OutcomeUnknown, match="start again"):
            await session.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)


async def test_1_12_a_pairing_response_that_cannot_be_decoded_is_reported_at_once(sandbox: Sandbox) -> None:
    """1-12: a success ends the polling, whatever its body is."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        pairing = await session.oauth.pair()
        before = sandbox.count(TOKEN)
        sandbox.faults.add(TOKEN, status=200, body="<html>", times=10)
        with pytest.raises(OutcomeUnknown, match="start again"):
            await session.oauth.wait_for_pairing(pairing, interval=0.01, timeout=0.05)
        assert sandbox.count(TOKEN) == before + 1


async def test_1_12_a_declined_pairing_is_declined_after_a_lost_response(sandbox: Sandbox) -> None:
    """1-12: the server's `access_denied` is final."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        pairing = await session.oauth.pair()
        await decide(pairing.auth_url, "deny")
        sandbox.faults.add(TOKEN, drop="before")
        with pytest.raises(AuthorizationDenied):
            await session.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)


LOST = [
    {"status": 502, "processed": True},
    {"status": 200, "body": "<html>", "processed": True},
    {"status": 200, "body": "[]", "processed": True},
    {"status": 200, "body": "", "processed": True},
    {"drop": "after"},
]


@pytest.mark.parametrize("fault", LOST)
async def test_9_4_a_lost_response_to_a_code_is_an_unknown_outcome(
    sandbox: Sandbox, fault: dict[str, object]
) -> None:
    """9-4: the code is used up, and the server may have issued a token set."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        request = session.oauth.authorization_request()
        _, came_back = await decide(request.url)
        sandbox.faults.add(TOKEN, **fault)
        with pytest.raises(OutcomeUnknown, match="start again"):
            await session.oauth.complete(came_back, request)
    assert sandbox.count(TOKEN) == 1


async def test_9_4_a_code_that_was_not_used_works_later(sandbox: Sandbox) -> None:
    """9-4: the server reports that it did nothing. The same code works."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        request = session.oauth.authorization_request()
        _, came_back = await decide(request.url)
        sandbox.faults.add(TOKEN, status=503)
        with pytest.raises(TransientAuthError):
            await session.oauth.complete(came_back, request)
        await session.oauth.complete(came_back, request)


@pytest.mark.parametrize("fault", LOST)
async def test_a_password_login_is_transient_after_a_lost_response(
    sandbox: Sandbox, fault: dict[str, object]
) -> None:
    sandbox.behaviour.password_grant = True
    async with open_session(sandbox, MemoryTokenStore()) as session:
        sandbox.faults.add(TOKEN, **fault)
        with pytest.raises(TransientAuthError):
            await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
async def test_a_token_response_in_another_encoding_is_decoded(sandbox: Sandbox, encoding: str) -> None:
    """The refresh token is used up for it."""
    text = '{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": NaN}'
    sandbox.faults.add(TOKEN, status=200, body=text.encode(encoding))
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()
    kept = await store.load()
    assert kept is not None
    assert (kept.access_token, kept.refresh_token) == ("new-access", "new-refresh")
    assert sandbox.count(TOKEN) == 1


@pytest.mark.parametrize("in_body", [False, True])
async def test_9_5_a_refresh_token_that_only_a_cookie_has_is_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, in_body: bool
) -> None:
    """9-5: cookies are not kept. The log says so at once, not when the access token has expired."""
    body = {"access_token": "new-access"} | ({"refresh_token": "new-refresh"} if in_body else {})
    headers = {"Set-Cookie": "Refresh_Token=from-a-cookie; Path=/"}
    sandbox.faults.add(TOKEN, status=200, body=json.dumps(body), headers=headers)
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()
    assert ("as a cookie" in caplog.text) is not in_body
    assert "from-a-cookie" not in caplog.text
