"""Certificates, proxies and ceilings of `Settings`, at both hosts: requirement 3-13."""

from __future__ import annotations

import ssl

import aiohttp
import pytest
import trustme
from aiohttp import web
from helpers.stub_servers import Stub, quick, respond_with
from helpers.support import ME, expired, open_session
from helpers.tls import behind_tls

from ezeep_async import ConnectFailed, EzeepError, EzeepSession, Settings, TransientAuthError
from ezeep_async._http.limiter import Limiter
from ezeep_async._wire.requests import Host
from ezeep_async.sandbox import Sandbox


@pytest.mark.parametrize("borrowed", [False, True])
async def test_3_13_an_own_authority_is_trusted_at_both_hosts(sandbox: Sandbox, borrowed: bool) -> None:
    """3-13: `ssl_context` is used for API and token endpoint, over own and over borrowed connections."""
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with behind_tls(sandbox, authority) as endpoints, aiohttp.ClientSession() as http:
        async with EzeepSession(
            sandbox.oauth_app,
            tokens=expired(sandbox.tokens()),
            endpoints=endpoints,
            settings=quick(ssl_context=context),
            http=http if borrowed else None,
        ) as session:
            assert (await session.groups.list().first()) is not None
    assert sandbox.refreshes == 1


@pytest.mark.slow
async def test_3_13_an_unknown_authority_is_refused_at_both_hosts(sandbox: Sandbox) -> None:
    """3-13: without it nothing is sent, and the token set is not lost."""
    async with behind_tls(sandbox, trustme.CA()) as endpoints:
        settings = quick(retries=0, refresh_timeout=2.0)
        for tokens, expected in (
            (sandbox.tokens(), ConnectFailed),
            (expired(sandbox.tokens()), TransientAuthError),
        ):
            async with EzeepSession(
                sandbox.oauth_app, tokens=tokens, endpoints=endpoints, settings=settings
            ) as session:
                with pytest.raises(expected, match="certificate"):
                    await session.accounts.me()
    assert not sandbox.requests


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_3_13_the_environment_names_the_proxy_of_both_hosts(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """3-13: `trust_env` takes HTTP_PROXY, with or without its scheme; without the setting the environment is not read."""
    async with Stub(respond_with(lambda: web.json_response({"detail": "proxied"}, status=403))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", scheme))
        async with open_session(sandbox, stored=sandbox.tokens(), settings=quick(trust_env=True)) as session:
            with pytest.raises(EzeepError):
                await session.accounts.me()
            with pytest.raises(EzeepError):
                await session.oauth.refresh()
        assert len(proxy.seen) == 2
        async with open_session(sandbox, stored=sandbox.tokens()) as session:
            await session.accounts.me()
        assert len(proxy.seen) == 2


async def test_3_13_no_proxy_is_honoured(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """3-13: a host named in NO_PROXY is reached directly."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with open_session(sandbox, settings=quick(trust_env=True)) as session:
        await session.accounts.me()
    assert sandbox.count(ME) == 1


async def test_the_ceiling_on_requests_reaches_both_hosts(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`requests_per_second` and `concurrency` make the limiter of each host."""
    made: list[tuple[int, float | None]] = []
    real = Limiter.__init__

    def spy(self: Limiter, limit: int, per_second: float | None = None) -> None:
        made.append((limit, per_second))
        real(self, limit, per_second)

    monkeypatch.setattr(Limiter, "__init__", spy)
    async with open_session(sandbox, settings=Settings(concurrency=7, requests_per_second=500.0)) as session:
        await session.accounts.me()
    assert made == [(7, 500.0)] * len(Host)
