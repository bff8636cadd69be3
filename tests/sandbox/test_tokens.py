"""The token endpoint: single-use refresh tokens in four modes (9-1), codes, pairing, passwords, revocation."""

from __future__ import annotations

import base64
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from yarl import URL

from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD


TOKEN = "/oauth/access_token/"


async def test_refresh_rotates(server, client):
    """The response has an empty scope. The old access token is invalid with the old refresh token."""
    old = server.tokens()
    assert await client.works(old.access_token)
    status, granted = await client.refresh(old.refresh_token)
    assert status == 200
    assert set(granted) == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert (granted["token_type"], granted["expires_in"], granted["scope"]) == ("Bearer", 3600, "")
    assert not await client.works(old.access_token)
    assert await client.works(granted["access_token"])
    assert (server.refreshes, server.refresh_requests) == (1, 1)


async def test_issued_tokens_have_their_expiry(server):
    server.behaviour.expires_in = 90.0
    tokens = server.tokens()
    left = tokens.expires_at - server.clock.now()
    assert timedelta(seconds=89) < left <= timedelta(seconds=90)
    assert (tokens.expires_in, tokens.scope) == (90.0, "printing")
    with pytest.raises(KeyError):
        server.tokens(server.organization.organization_id)


@pytest.mark.parametrize("grace", [0.0, 120.0])
@pytest.mark.parametrize("protection", [True, False])
async def test_9_1_used_refresh_token(server, client, grace, protection):
    """9-1: within the window the same pair again; after it the family is revoked, or only the replay fails."""
    server.behaviour.grace_window, server.behaviour.reuse_protection = grace, protection
    first = server.tokens()
    _, winner = await client.refresh(first.refresh_token)
    if grace:
        server.clock.advance(60)
        status, again = await client.refresh(first.refresh_token)
        assert (status, again) == (200, winner)
        server.clock.advance(61)
    status, error = await client.refresh(first.refresh_token)
    assert (status, error["error"]) == (400, "invalid_grant")
    assert server.refreshes == 1
    assert server.refresh_requests == (3 if grace else 2)
    assert await client.works(winner["access_token"]) is not protection
    assert (await client.refresh(winner["refresh_token"]))[0] == (400 if protection else 200)


async def test_reuse_revokes_the_newest_tokens_of_a_long_family(server, client):
    """Other families stay valid."""
    other, first = server.tokens(), server.tokens()
    refresh_token = first.refresh_token
    for _ in range(3):
        _, granted = await client.refresh(refresh_token)
        refresh_token = granted["refresh_token"]
    await client.refresh(first.refresh_token)
    assert (await client.refresh(refresh_token))[1]["error"] == "invalid_grant"
    assert not await client.works(granted["access_token"])
    assert (await client.refresh(other.refresh_token))[0] == 200


async def test_tokens_expire_with_the_clock(server, client):
    server.behaviour.expires_in = 100.0
    tokens = server.tokens()
    server.clock.advance(99)
    assert await client.works(tokens.access_token)
    server.clock.advance(2)
    assert not await client.works(tokens.access_token)
    _, granted = await client.refresh(tokens.refresh_token)
    assert granted["expires_in"] == 100
    server.clock.advance(3601)
    status, error = await client.refresh(granted["refresh_token"])
    assert (status, error["error"]) == (400, "invalid_grant")
    server.behaviour.expires_in = 0.5
    assert (await client.refresh(server.tokens().refresh_token))[1]["expires_in"] == 0.5


async def test_expire_access_tokens(server, client):
    """All that were issued so far, and none that is issued later; refresh tokens stay valid."""
    tokens = server.tokens()
    server.expire_access_tokens()
    assert not await client.works(tokens.access_token)
    assert await client.works(server.tokens().access_token)
    _, granted = await client.refresh(tokens.refresh_token)
    assert await client.works(granted["access_token"])


async def test_revoke(server, client):
    """200 and an empty body, for known and unknown tokens; the whole family is revoked."""
    tokens = server.tokens()
    _, granted = await client.refresh(tokens.refresh_token)
    for auth, token in (("basic", granted["refresh_token"]), ("basic", "unknown"), (None, "unknown")):
        response = await client.raw("POST", "/oauth/revoke/", auth=auth, data={"token": token})
        assert (response.status, await response.text()) == (200, "")
    assert not await client.works(granted["access_token"])
    assert (await client.refresh(granted["refresh_token"]))[0] == 400
    other = server.tokens()
    await client("POST", "/oauth/revoke/", auth="basic", data={"token": other.access_token})
    assert (await client.refresh(other.refresh_token))[0] == 400
    assert (await client("POST", "/oauth/revoke/", auth="basic", data={}))[0] == 400


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Basic",
        "Basic !!!",
        "Bearer abc",
        "Basic " + base64.b64encode(b"78KYzeX5wS8r0FYz9KdvNt9xHMRA61PJK80IHwNj").decode(),
        "Basic " + base64.b64encode(b"other:").decode(),
    ],
)
async def test_clients_authenticate(server, client, header):
    """The colon is required, also without a secret after it."""
    headers = {} if header is None else {"Authorization": header}
    refresh_token = server.tokens().refresh_token
    data = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    for path in (TOKEN, "/oauth/pair/"):
        response = await client.raw("POST", path, auth=None, data=data, headers=headers)
        assert (response.status, (await response.json())["error"]) == (401, "invalid_client")
        assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert (await client.refresh(refresh_token))[0] == 200


async def test_client_secret(server, client):
    server.behaviour.client_secret = "s3cret"
    assert server.oauth_app.client_secret == "s3cret"
    assert (await client.refresh(server.tokens().refresh_token))[0] == 200


async def test_only_forms(server, client):
    """JSON is refused, declared as JSON or as a form; so is a duplicate field."""
    body = {"grant_type": "refresh_token", "refresh_token": server.tokens().refresh_token}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for options in (
        {"json": body},
        {"data": b'{"grant_type": "refresh_token"}', "headers": form},
        {"data": f"{urlencode(body)}&scope=printing&scope=printing".encode(), "headers": form},
        {"data": b"\xff\xfe", "headers": form},
    ):
        status, error = await client("POST", TOKEN, auth="basic", **options)
        assert (status, error["error"]) == (400, "invalid_request")
    assert server.refreshes == 0


async def test_wrong_token_requests(client):
    for fields, expected in (
        ({}, "invalid_request"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unauthorized_client"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "nonsense"}, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "nonsense"}, "invalid_grant"),
        ({"grant_type": "pairing_code", "pairing_code": "nonsense"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "scope": "everything"}, "invalid_scope"),
        ({"grant_type": "password", "username": SANDBOX_ADMIN, "password": "x"}, "unauthorized_client"),
    ):
        status, error = await client.grant(**fields)
        assert (status, error["error"]) == (400, expected)
        assert "error_description" in error


async def test_password_grant(server, client):
    server.behaviour.password_grant = True
    fields = {"grant_type": "password", "username": SANDBOX_ADMIN}
    status, granted = await client.grant(**fields, password=SANDBOX_PASSWORD)
    assert (status, granted["scope"]) == (200, "printing")
    assert await client.works(granted["access_token"])
    for wrong in ({"password": "x"}, {"username": "unknown@example.com", "password": SANDBOX_PASSWORD}):
        assert (await client.grant(**{**fields, **wrong}))[1]["error"] == "invalid_grant"


async def test_token_responses_are_not_cached(server, client):
    data = {"grant_type": "refresh_token", "refresh_token": server.tokens().refresh_token}
    response = await client.raw("POST", TOKEN, auth="basic", data=data)
    assert response.headers["Cache-Control"] == "no-store"
    assert not response.cookies


async def test_pairing_begins(server, client):
    status, granted = await client(
        "POST", "/oauth/pair/", auth="basic", data={"mode": "device", "hardware_id": "x"}
    )
    assert (status, set(granted)) == (200, {"pairing_code", "auth_url"})
    url = URL(granted["auth_url"])
    assert str(url.origin()) == server.endpoints.account
    assert url.query == {"pairing_code": granted["pairing_code"]}
    for wrong, expected in (({"mode": "other"}, "invalid_request"), ({"scope": "x"}, "invalid_scope")):
        assert (await client("POST", "/oauth/pair/", auth="basic", data=wrong))[1]["error"] == expected


async def test_pairing_interval(server, client):
    server.behaviour.pairing_interval = 5.0
    _, begun = await client("POST", "/oauth/pair/", auth="basic", data={})
    fields = {"grant_type": "pairing_code", "pairing_code": begun["pairing_code"]}
    assert (await client.grant(**fields))[1]["error"] == "authorization_pending"
    assert (await client.grant(**fields))[1]["error"] == "slow_down"
    server.clock.advance(5.1)
    assert (await client.grant(**fields))[1]["error"] == "authorization_pending"
