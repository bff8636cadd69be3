"""Proxies and certificates, with a proxy in a process of its own and real TLS, at the API and at the token endpoint: 3-13."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

import aiohttp
import pytest
import trustme
from helpers.proxy_process import proxy_process
from helpers.raw_server import ID, Exchange, PlayServer, http
from helpers.stub_servers import login, no_jitter, quick, session_on

from ezeep_async import (
    ConnectFailed,
    Endpoints,
    EzeepError,
    EzeepSession,
    OAuthApp,
    Settings,
    TransientAuthError,
)


PASSWORD = "proxy-password-topsecret"
BOTH = [f"GET /printing/v1/groups/{ID}/", "POST /oauth/access_token/"]


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def call_both(session: EzeepSession) -> None:
    """The API, and the token endpoint."""
    assert (await session.groups.get(ID)).name == "g"
    assert (await session.oauth.refresh()).access_token == "access-2"


def shown(error: BaseException | None) -> str:
    """An error with everything behind it."""
    parts: list[str] = []
    while error is not None:
        parts += [str(error), repr(error), repr(vars(error)), repr(error.args)]
        error = error.__cause__ or error.__context__
    return " ".join(parts)


# --- proxies


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("where", "borrowed"),
    [("in the address", True), ("in the address", False), ("apart", True), ("none", False)],
)
async def test_3_13_both_hosts_are_reached_through_the_proxy(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    tls: bool,
    where: str,
    borrowed: bool,
) -> None:
    """3-13: http asks the proxy for each address, https for a tunnel; with credentials in the address, apart, or none.
    The servers never see them, and the log does not either."""
    credentials = "" if where == "none" else f"who:{PASSWORD}"
    caplog.set_level(logging.DEBUG)
    async with (
        proxy_process(credentials) as proxy,
        PlayServer(tls=server_tls if tls else None) as server,
        aiohttp.ClientSession() as own,
    ):
        address = proxy.url.replace("//", f"//{credentials}@") if where == "in the address" else proxy.url
        auth = ("who", PASSWORD) if where == "apart" else None
        options: dict[str, Any] = {"proxy": address, "proxy_auth": auth}
        if tls:
            options["ssl_context"] = client_tls
        async with session_on(server.url, http=own if borrowed else None, **options) as session:
            await call_both(session)
            shown = f"{session!r} {quick(**options)!r} {quick(**options)}"
    assert server.lines == BOTH
    assert not [exchange for exchange in server.requests if "roxy-" in exchange.head]
    origin = server.url.partition("//")[2]
    if tls:
        assert set(proxy.seen) == {f"CONNECT {origin} through"}
    else:
        assert proxy.seen == [f"{line.replace(' ', f' {server.url}')} through" for line in BOTH]
    assert PASSWORD not in shown + caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_3_13_a_proxy_that_refuses_us_is_an_error_without_the_password(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture, tls: bool
) -> None:
    """3-13: 407 at the API and at the token endpoint; nothing reaches the server, and the token set is not lost."""
    caplog.set_level(logging.DEBUG)
    async with proxy_process("who:other") as proxy, PlayServer(tls=server_tls if tls else None) as server:
        options: dict[str, Any] = {"proxy": proxy.url.replace("//", f"//who:{PASSWORD}@"), "retries": 0}
        async with session_on(
            server.url, ssl_context=client_tls if tls else None, refresh_timeout=2.0, **options
        ) as session:
            with pytest.raises(ConnectFailed if tls else EzeepError, match="407") as caught:
                await session.groups.get(ID)
            with pytest.raises(TransientAuthError, match="407") as refused:
                await session.oauth.refresh()
        assert server.connections == 0
    assert PASSWORD not in shown(caught.value) + shown(refused.value) + caplog.text


@pytest.mark.slow
async def test_3_13_a_proxy_that_is_not_there_is_an_error_without_the_password() -> None:
    """3-13: `ConnectFailed`, nothing sent."""
    async with PlayServer() as server:
        proxy = f"http://who:{PASSWORD}@127.0.0.1:9"
        async with session_on(server.url, proxy=proxy, retries=0, refresh_timeout=2.0) as session:
            with pytest.raises(ConnectFailed) as caught:
                await session.groups.get(ID)
            with pytest.raises(TransientAuthError) as refused:
                await session.oauth.refresh()
        assert caught.value.request_sent is False
        assert PASSWORD not in shown(caught.value) + shown(refused.value)
        assert server.connections == 0


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("bypass", ["127.0.0.1", "example.com"])
async def test_3_13_the_environment_is_honoured(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    tls: bool,
    bypass: str,
) -> None:
    """3-13: HTTP_PROXY and HTTPS_PROXY with credentials in them, and NO_PROXY, for both hosts."""
    async with (
        proxy_process(f"who:{PASSWORD}") as proxy,
        PlayServer(tls=server_tls if tls else None) as server,
    ):
        address = proxy.url.replace("//", f"//who:{PASSWORD}@")
        monkeypatch.setenv("HTTPS_PROXY" if tls else "HTTP_PROXY", address)
        monkeypatch.setenv("NO_PROXY", bypass)
        async with session_on(server.url, trust_env=True, ssl_context=client_tls if tls else None) as session:
            await call_both(session)
        assert server.lines == BOTH
    assert bool(proxy.seen) == (bypass == "example.com")


@pytest.mark.parametrize(
    "address", [f"http://who:{PASSWORD}@[bad", f"socks5://who:{PASSWORD}@127.0.0.1:9", f"who:{PASSWORD}@:x"]
)
async def test_3_13_an_invalid_address_in_the_environment_is_reported_without_the_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """3-13: as with `Settings(proxy=...)`: a `ValueError` that says what would do."""
    monkeypatch.setenv("HTTP_PROXY", address)
    async with PlayServer() as server:
        async with session_on(server.url, trust_env=True) as session:
            for call in (lambda: session.groups.get(ID), session.oauth.refresh):
                with pytest.raises(ValueError, match="http://proxy") as caught:
                    await call()
                assert PASSWORD not in shown(caught.value)
    with pytest.raises(ValueError, match="http://proxy"):
        Settings(proxy=address)


# --- certificates


@pytest.mark.slow
@pytest.mark.parametrize("through", [False, True], ids=["direct", "proxied"])
async def test_3_13_a_self_signed_server_is_refused_at_both_hosts(through: bool) -> None:
    """3-13: nothing is sent, and the token set is not lost; there is no switch that turns the check off."""
    stranger = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    async with proxy_process() as proxy, PlayServer(tls=stranger) as server:
        async with session_on(
            server.url, proxy=proxy.url if through else None, retries=0, refresh_timeout=2.0
        ) as session:
            with pytest.raises(ConnectFailed, match="certificate") as caught:
                await session.groups.get(ID)
            assert caught.value.request_sent is False
            with pytest.raises(TransientAuthError, match="certificate"):
                await session.oauth.refresh()
        assert server.requests == []


async def test_3_13_a_certificate_for_another_name_is_refused(authority: trustme.CA, client_tls: Any) -> None:
    """3-13: a trusted authority is not enough."""
    other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("other.example").configure_cert(other)
    async with PlayServer(tls=other) as server:
        async with session_on(server.url, ssl_context=client_tls, retries=0) as session:
            with pytest.raises(ConnectFailed, match="certificate"):
                await session.groups.get(ID)
        assert server.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("through", [False, True], ids=["direct", "proxied"])
@pytest.mark.parametrize("given", [False, True], ids=["without", "with"])
async def test_3_13_a_client_certificate_reaches_both_hosts(
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    through: bool,
    given: bool,
) -> None:
    """3-13: a server that demands one is satisfied by `ssl_context`, and without is an error of ours."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    if given:
        authority.issue_cert("client@example.com").configure_cert(client_tls)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's failed handshakes
    async with proxy_process() as proxy, PlayServer(tls=server_tls) as server:
        async with session_on(
            server.url,
            ssl_context=client_tls,
            proxy=proxy.url if through else None,
            retries=0,
            refresh_timeout=2.0,
        ) as session:
            if given:
                await call_both(session)
                assert server.lines == BOTH
                return
            with pytest.raises(EzeepError):
                await session.groups.get(ID)
            with pytest.raises(TransientAuthError):
                await session.oauth.refresh()
        assert server.requests == []


async def test_3_2_3_13_a_redirecting_proxy_gets_nothing_more() -> None:
    """3-2: a proxy that redirects CONNECT is an error, and sees no bearer."""

    async def redirect(exchange: Exchange) -> None:
        await exchange.send(http(b"", "Location: http://127.0.0.1:9/", status="302 Found"))

    async with PlayServer(redirect, redirect) as proxy:
        async with EzeepSession(
            OAuthApp("client"),
            tokens=login(),
            endpoints=Endpoints(account="https://127.0.0.1:9", api="https://127.0.0.1:9"),
            settings=quick(proxy=proxy.url, retries=0),
        ) as session:
            with pytest.raises(ConnectFailed, match="302"):
                await session.groups.get(ID)
        assert len(proxy.requests) == 1
        assert "\r\nAuthorization:" not in proxy.requests[0].head
