"""`Sandbox.approve` and `Sandbox.confirm`: what people do in a browser, without one."""

from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from ezeep_async import AuthorizationDenied, EzeepSession, OAuthApp, run_sync
from ezeep_async.sandbox import Sandbox
from ezeep_async.testing import ThreadedSandbox


def session_in(sandbox: Sandbox, **options) -> EzeepSession:
    return EzeepSession(sandbox.oauth_app, endpoints=sandbox.endpoints, **options)


async def test_approve(server):
    """The admin logs in by default; the state and the code verifier are checked as always."""
    async with session_in(server) as session:
        request = session.oauth.authorization_request()
        await session.oauth.complete(server.approve(request.url), request)
        assert (await session.accounts.me()).id == server.organization.admin_id


async def test_another_person(server):
    person = server.organization.listed_people()[0]
    for user in (person.id, person.email.upper()):
        async with session_in(server) as session:
            request = session.oauth.authorization_request()
            await session.oauth.complete(server.approve(request.url, user=user), request)
            assert (await session.accounts.me()).id == person.id
    with pytest.raises(KeyError):
        server.approve(request.url, user="absent@example.com")


async def test_decline(server):
    async with session_in(server) as session:
        request = session.oauth.authorization_request()
        location = server.approve(request.url, allow=False)
        assert URL(location).query["state"] == request.state
        with pytest.raises(AuthorizationDenied):
            await session.oauth.complete(location, request)


async def test_requests_that_the_page_refuses(server):
    """Without a redirect there is an error; other errors go to the application."""
    app = OAuthApp("unknown", redirect_uri=server.oauth_app.redirect_uri)
    async with EzeepSession(app, endpoints=server.endpoints) as session:
        with pytest.raises(ValueError, match="client id is not registered"):
            server.approve(session.oauth.authorization_request().url)
    async with session_in(server) as session:
        url = URL(session.oauth.authorization_request(scope="other").url)
    assert URL(server.approve(str(url))).query["error"] == "invalid_scope"


@pytest.mark.parametrize("by_url", [False, True])
async def test_confirm(server, by_url):
    person = server.organization.listed_people()[0]
    async with session_in(server) as session:
        pairing = await session.oauth.pair()
        waiting = asyncio.create_task(session.oauth.wait_for_pairing(pairing, interval=0.01))
        server.confirm(pairing.auth_url if by_url else pairing, user=person.id)
        await waiting
        assert (await session.accounts.me()).id == person.id
    with pytest.raises(ValueError, match="unknown, or it was used"):
        server.confirm(pairing)


async def test_decline_a_pairing(server):
    async with session_in(server) as session:
        pairing = await session.oauth.pair()
        server.confirm(pairing, allow=False)
        with pytest.raises(AuthorizationDenied):
            await session.oauth.wait_for_pairing(pairing, interval=0.01)


def test_blocking():
    with ThreadedSandbox(users=1) as server, run_sync(session_in(server)) as session:
        request = session.oauth.authorization_request()
        session.oauth.complete(server.approve(request.url), request)
        assert session.users.get(session.accounts.me().id).id == server.organization.admin_id
