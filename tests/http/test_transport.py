"""What goes over the wire and what does not, on real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import warnings
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from helpers.stub_servers import (
    ACCESS,
    REFRESH,
    RawServer,
    Seen,
    Stub,
    login,
    no_jitter,
    page,
    quick,
    respond_with,
    session_on,
    user,
)

from ezeep_async import (
    ConnectFailed,
    Disconnected,
    Endpoints,
    EzeepError,
    EzeepSession,
    InsecureEndpoint,
    NotFound,
    OAuthApp,
    OutcomeUnknown,
    RequestTimeout,
    SessionClosed,
    TransportError,
    UnexpectedRedirect,
    UnexpectedResponse,
)
from ezeep_async.sandbox import Sandbox


ID = "0050a068-cc7b-4490-951a-06920a610ee5"
ORG = "54e3a324-cc89-4722-8338-c285d26bef15"
GROUP = {"id": ID, "name": "g", "organization_id": ORG}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


# --- addresses and redirects


@pytest.mark.parametrize(
    "following",
    [
        "http://api2.ezeep.com/printing/v1/users/?limit=2&offset=2",
        "https://evil.example/printing/v1/users/?limit=2&offset=2",
        "http://127.0.0.1:{other}/printing/v1/users/?limit=2&offset=2",
        "http://user:pass@127.0.0.1:{other}/elsewhere/?limit=2&offset=2",
        "//127.0.0.1:{other}/?limit=2&offset=2",
        "/somewhere/else/?limit=2&offset=2",
        "?limit=2&offset=2",
        "limit=2&offset=2",
        "not an address",
        "http://[",
        "",
    ],
)
async def test_3_1_next_is_never_followed_as_it_stands(following: str) -> None:
    """3-1: whatever `next` says, the bearer is seen by our own origin and path only, and every row is read."""
    async with Stub(lambda seen: web.Response(status=418)) as foreign:
        link = following.format(other=foreign.url.rpartition(":")[2])

        def listing(seen: Seen) -> web.Response:
            offset = int(seen.query.get("offset", 0))
            rows = [user(n) for n in range(offset, min(offset + 2, 4))]
            return page(rows, 4, link if offset == 0 else None)

        async with Stub(listing) as stub, session_on(stub.url) as session:
            users = await session.users.list(page_size=2).collect()
            assert [u.id.int for u in users] == [0, 1, 2, 3]
            assert {seen.path for seen in stub.seen} == {"/printing/v1/users/"}
        assert foreign.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_3_2_redirects_are_not_followed(status: int, method: str) -> None:
    """3-2: one request, `UnexpectedRedirect`, nothing at the target, and the location shows no query."""
    async with Stub(lambda seen: web.json_response({})) as target:

        def redirect(seen: Seen) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{target.url}/x/?code=topsecret"})

        async with Stub(redirect) as stub, session_on(stub.url) as session:
            with pytest.raises(UnexpectedRedirect) as caught:
                await session.request(method, "/printing/v1/groups/", json=None if method == "GET" else {})
            assert len(stub.seen) == 1
            assert "topsecret" not in str(caught.value)
        assert target.seen == []


async def test_3_2_nor_at_the_token_endpoint() -> None:
    """3-2: a redirect of the token endpoint carries neither refresh token nor client secret away."""
    async with Stub(lambda seen: web.json_response({})) as target:

        def redirect(seen: Seen) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{target.url}/"})

        async with Stub(redirect) as stub, session_on(stub.url) as session:
            with pytest.raises(EzeepError):
                await session.oauth.refresh()
            assert target.seen == []
            assert len(stub.seen) == 1


@pytest.mark.parametrize("url", ["http://api2.ezeep.com", "http://10.0.0.1", "http://localhost.evil.com"])
def test_3_3_https_only(url: str) -> None:
    """3-3: http is refused off loopback, before there is a session."""
    with pytest.raises(InsecureEndpoint):
        Endpoints(api=url)
    with pytest.raises(InsecureEndpoint):
        Endpoints(account=url)


# --- hidden replays


def test_3_5_aiohttp_still_has_its_private_switch() -> None:
    """3-5: the guarded switch exists: the day it goes, the transport needs another way."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            assert session._retry_connection is True

    asyncio.run(main())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "POST"])
async def test_3_5_a_stale_connection_gets_one_copy(method: str) -> None:
    """3-5, 6-11: a kept connection that the server closes: one copy on the wire for one attempt, of every method."""
    async with RawServer(lambda number: "close" if number == 2 else "ok") as server:
        async with session_on(server.url, retries=0) as session:
            await session.request("GET", "/warm/")
            with pytest.raises((Disconnected, OutcomeUnknown)):
                await session.request(method, "/x/", json={} if method in {"PUT", "PATCH", "POST"} else None)
            assert server.copies == ["GET", method]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_3_5_repeats_are_the_sdks_own_and_counted(method: str) -> None:
    """3-5: with retries every copy is an attempt of ours, and shows in `attempts`."""
    async with RawServer(lambda number: "ok" if number == 1 else "close") as server:
        async with session_on(server.url, retries=2) as session:
            await session.request("GET", "/warm/")
            with pytest.raises(Disconnected) as caught:
                await session.request(method, "/x/", json={}, idempotent=True)
            assert server.copies == ["GET", method, method, method]
            assert caught.value.attempts == 3


async def test_3_5_the_switch_is_off_on_borrowed_connections_too() -> None:
    """3-5: a borrowed session does not bring the replay back."""
    async with (
        RawServer(lambda number: "close" if number == 2 else "ok") as server,
        aiohttp.ClientSession() as http,
    ):
        async with session_on(server.url, retries=0, http=http) as session:
            await session.request("GET", "/warm/")
            with pytest.raises(OutcomeUnknown):
                await session.request("DELETE", "/x/")
            assert server.copies == ["GET", "DELETE"]


# --- deletions


async def test_3_6_a_deletion_whose_response_was_lost_ends_well(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """3-6: first attempt carried out without a response, second finds nothing: success."""
    group = next(iter(sandbox.organization.groups))
    sandbox.faults.add("DELETE /printing/v1/groups/{id}/", drop="after")
    await session.groups.delete(group)
    assert group not in sandbox.organization.groups
    assert [seen.status for seen in sandbox.requests if seen.method == "DELETE"] == [None, 404]


@pytest.mark.parametrize("status", [502, 504])
async def test_3_6_so_does_one_that_a_proxy_gave_up_on(
    session: EzeepSession, sandbox: Sandbox, status: int
) -> None:
    """3-6: 502 and 504 may have been carried out."""
    group = next(iter(sandbox.organization.groups))
    sandbox.faults.add("DELETE /printing/v1/groups/{id}/", status=status, processed=True)
    await session.groups.delete(group)
    assert group not in sandbox.organization.groups


async def test_3_6_a_first_404_is_not_found(session: EzeepSession) -> None:
    """3-6: what was not there to begin with is `NotFound`."""
    with pytest.raises(NotFound):
        await session.groups.delete(ID)


async def test_3_6_a_503_does_not_make_a_404_a_success(session: EzeepSession, sandbox: Sandbox) -> None:
    """3-6: after an attempt that was certainly not carried out a 404 is `NotFound`."""
    sandbox.faults.add("DELETE /printing/v1/groups/{id}/", status=503, retry_after=0)
    with pytest.raises(NotFound):
        await session.groups.delete(ID)


# --- errors


async def test_3_7_no_connection_means_not_sent() -> None:
    """3-7: `ConnectFailed`, `request_sent=False`, with its cause, for reads and for creations."""
    async with session_on(f"http://127.0.0.1:{free_port()}", retries=0) as session:
        for call in (lambda: session.groups.get(ID), lambda: session.groups.create("x", ORG)):
            with pytest.raises(ConnectFailed) as caught:
                await call()
            assert caught.value.request_sent is False
            assert caught.value.__cause__ is not None
            assert caught.value.request_id


async def test_3_7_a_name_that_does_not_resolve_is_connect_failed() -> None:
    """3-7: DNS is part of connecting."""
    async with session_on("https://no-such-host.invalid", retries=0) as session:
        with pytest.raises(ConnectFailed) as caught:
            await session.groups.get(ID)
        assert caught.value.request_sent is False


@pytest.mark.slow
async def test_3_7_tls_that_fails_is_connect_failed() -> None:
    """3-7: so is TLS."""
    async with RawServer(lambda number: "ok") as server:
        async with session_on(
            server.url.replace("http:", "https:"), retries=0, connect_timeout=0.3
        ) as session:
            with pytest.raises(ConnectFailed):
                await session.groups.get(ID)


async def test_3_7_a_lost_response_is_disconnected(session: EzeepSession, sandbox: Sandbox) -> None:
    """3-7: a lost connection is `Disconnected`, and never said to be unsent."""
    sandbox.faults.add("GET /printing/v1/groups/{id}/", drop="after", times=None)
    with pytest.raises(Disconnected) as caught:
        await session.groups.get(ID)
    assert caught.value.request_sent is not False
    assert isinstance(caught.value.__cause__, aiohttp.ClientError | OSError)


async def test_3_7_a_slow_response_is_a_timeout() -> None:
    """3-7: no response in time is `RequestTimeout`."""
    release = asyncio.Event()

    async def wait(seen: Seen) -> web.Response:
        await release.wait()
        return web.json_response(GROUP)

    async with Stub(wait) as stub, session_on(stub.url, retries=0, read_timeout=0.1) as session:
        with pytest.raises(RequestTimeout) as caught:
            await session.groups.get(ID)
        assert caught.value.request_sent is not False
        release.set()


CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"
BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nnotgz"


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/9.9 what\r\n\r\n", CUT, CHUNKED, BAD_CHUNK, GZIP, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000]
)  # shorter than one item a line  # fmt: skip
async def test_3_7_no_aiohttp_error_gets_out(answer: bytes) -> None:
    """3-7, 3-15: whatever a server does to HTTP, an `EzeepError` comes out, and no group of them."""
    async with RawServer(lambda number: answer or "close") as server:
        async with session_on(server.url, retries=0) as session:
            with pytest.raises((TransportError, UnexpectedResponse)) as caught:
                await session.groups.get(ID)
            assert caught.value.request_id
            with pytest.raises(OutcomeUnknown) as lost:
                await session.groups.create("x", ORG)
            assert lost.value.__cause__ is not None


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000])
async def test_8_3_the_causes_of_an_error_show_no_secret(answer: bytes) -> None:
    """8-3: nor do the errors underneath: neither the bearer nor the client's credentials are in their reprs."""
    async with RawServer(lambda number: answer) as server, session_on(server.url, retries=0) as session:
        for call in (lambda: session.groups.get(ID), session.oauth.refresh):
            with pytest.raises(EzeepError) as caught:
                await call()
            error: BaseException | None = caught.value
            while error is not None:
                shown = f"{error} {error!r} {vars(error)}"
                assert ACCESS not in shown
                assert REFRESH not in shown
                assert OAuthApp("client").basic_authorization() not in shown
                error = error.__cause__ or error.__context__


async def test_3_7_a_host_name_that_cannot_be_is_no_raw_error() -> None:
    """3-7: a host that no name service would take is refused when it is given, or is `ConnectFailed`."""
    with pytest.raises((ConnectFailed, InsecureEndpoint)):
        async with session_on("https://exa..mple", retries=0) as session:
            await session.groups.get(ID)


async def test_3_8_field_errors_come_through(session: EzeepSession, sandbox: Sandbox) -> None:
    """3-8: a DRF field error arrives as structured data, with the status and the server's request id."""
    body = json.dumps({"name": ["No vowels."]})
    fault = sandbox.faults.add("POST /printing/v1/groups/", status=400, body=body, headers={"X-Extra": "1"})
    with pytest.raises(EzeepError) as caught:
        await session.groups.create("x", ORG)
    error: Any = caught.value
    assert error.status == 400
    assert error.field_errors == {"name": ["No vowels."]}
    assert error.headers["x-extra"] == "1"
    assert error.attempts == 1
    assert error.request_id == sandbox.requests[-1].headers["X-Request-ID"]
    assert fault.hits == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "json", "text/html", None])
async def test_3_9_json_is_known_by_its_content(content_type: str | None) -> None:
    """3-9: the media type does not matter."""

    def answer(seen: Seen) -> web.Response:
        headers = {} if content_type is None else {"Content-Type": content_type}
        return web.Response(body=json.dumps(GROUP).encode(), headers=headers)

    async with Stub(answer) as stub, session_on(stub.url) as session:
        assert (await session.groups.get(ID)).name == "g"


async def test_3_9_html_with_200_is_unexpected_with_an_excerpt() -> None:
    """3-9: a login page instead of a response is an `UnexpectedResponse` that shows its beginning."""
    async with (
        Stub(
            respond_with(lambda: web.Response(text="<html>Please log in</html>", content_type="text/html"))
        ) as stub,
        session_on(stub.url) as session,
    ):
        with pytest.raises(UnexpectedResponse) as caught:
            await session.groups.get(ID)
        assert "Please log in" in caught.value.excerpt
        assert caught.value.status == 200
        assert len(stub.seen) == 1


async def test_8_4_an_unexpected_response_names_the_request_that_it_belongs_to() -> None:
    """8-4: where the server sends no id, the error has the one that we sent."""
    async with (
        Stub(respond_with(lambda: web.Response(text="<html>"))) as stub,
        session_on(stub.url) as session,
    ):
        with pytest.raises(UnexpectedResponse) as caught:
            await session.groups.get(ID)
        assert caught.value.request_id == stub.seen[0].headers["X-Request-ID"]


async def test_8_3_a_page_that_repeats_the_bearer_does_not_get_it_into_the_error() -> None:
    """8-3: the excerpt of a response that is no JSON shows no token."""

    def echo(seen: Seen) -> web.Response:
        return web.Response(text=f"<html>You sent {seen.headers['Authorization']}</html>")

    async with Stub(echo) as stub, session_on(stub.url) as session:
        for call in (lambda: session.groups.get(ID), lambda: session.request("GET", "/x/")):
            with pytest.raises(UnexpectedResponse) as caught:
                await call()
            assert ACCESS not in f"{caught.value} {caught.value!r} {vars(caught.value)}"


@pytest.mark.parametrize("status", [200, 204, 205])
async def test_3_9_empty_is_none(status: int) -> None:
    """3-9: 204, and a 200 with nothing in it, are None."""
    async with (
        Stub(respond_with(lambda: web.Response(status=status))) as stub,
        session_on(stub.url) as session,
    ):
        assert await session.request("GET", "/x/") is None


async def test_3_7_a_response_without_end_is_refused() -> None:
    """3-7: a body beyond every measure is not read to its end."""

    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    async with (
        RawServer(lambda number: head + b" " * 1000) as server,
        session_on(server.url, retries=0) as session,
    ):
        with pytest.raises(UnexpectedResponse):
            await session.groups.get(ID)


# --- the session's life


@pytest.mark.slow
def test_3_11_a_session_can_be_made_without_a_loop() -> None:
    """3-11: the constructor needs no loop, and what was never used says nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session = EzeepSession(OAuthApp("client"))
        del session
        gc.collect()
    assert caught == []


async def test_3_11_aclose_may_be_called_twice() -> None:
    """3-11: closing is idempotent, at once and together, and without ever having been open."""
    async with Stub(respond_with(lambda: web.json_response(GROUP))) as stub:
        session = session_on(stub.url)
        async with session:
            await session.groups.get(ID)
        await session.aclose()
        await asyncio.gather(session.aclose(), session.aclose())
    never = session_on("http://127.0.0.1:1")
    await never.aclose()
    await never.aclose()


async def test_3_11_after_the_close_calls_raise_session_closed() -> None:
    """3-11: every kind of call, and entering again."""
    async with Stub(respond_with(lambda: web.json_response(GROUP))) as stub:
        async with session_on(stub.url) as session:
            await session.groups.get(ID)
        for call in (
            lambda: session.groups.get(ID),
            lambda: session.request("GET", "/x/"),
            lambda: session.users.list().collect(),
            session.__aenter__,
        ):
            with pytest.raises(SessionClosed):
                await call()
        assert len(stub.seen) == 1


async def test_3_11_a_session_opens_with_its_first_call() -> None:
    """3-11: lazily: `async with` is not needed for a call."""
    async with Stub(respond_with(lambda: web.json_response(GROUP))) as stub:
        session = session_on(stub.url)
        assert (await session.groups.get(ID)).name == "g"
        await session.aclose()


@pytest.mark.slow
@pytest.mark.may_block
def test_3_11_forgetting_to_close_is_one_warning_that_names_us(caplog: pytest.LogCaptureFixture) -> None:
    """3-11: one `ResourceWarning` with our class's name, no noise of aiohttp's."""

    async def main() -> None:
        async with Stub(respond_with(lambda: web.json_response(GROUP))) as stub:
            session = session_on(stub.url)
            await session.groups.get(ID)
            del session
            gc.collect()
            await asyncio.sleep(0.01)

    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    assert "EzeepSession" in str(caught[0].message)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_3_11_a_borrowed_session_is_used_and_never_closed() -> None:
    """3-11: its connections are used; it stays open, and works after ours is closed."""
    async with Stub(respond_with(lambda: web.json_response(GROUP))) as stub, aiohttp.ClientSession() as http:
        async with session_on(stub.url, http=http) as session:
            await session.groups.get(ID)
            await session.groups.create("x", ORG)
            assert http.connector is not None
            assert len(http.connector._conns) == 1
        assert not http.closed
        async with http.get(stub.url) as response:
            assert response.status == 200


async def test_9_5_a_borrowed_sessions_cookies_and_headers_do_not_mix() -> None:
    """9-5: neither its cookies nor its default headers are sent, and ours leave none behind in it."""

    def answer(seen: Seen) -> web.Response:
        return web.json_response(GROUP, headers={"Set-Cookie": "refresh=topsecret; Path=/"})

    jar = aiohttp.CookieJar(unsafe=True)
    headers = {"Authorization": "Basic other", "X-Theirs": "1"}
    async with Stub(answer) as stub, aiohttp.ClientSession(cookie_jar=jar, headers=headers) as http:
        jar.update_cookies({"theirs": "yes"})
        async with session_on(stub.url, http=http) as session:
            await session.groups.get(ID)
            await session.groups.get(ID)
        for seen in stub.seen:
            assert "Cookie" not in seen.headers
            assert "X-Theirs" not in seen.headers
            assert seen.headers.getall("Authorization") == [f"Bearer {ACCESS}"]
        assert {cookie.key for cookie in jar} == {"theirs"}


async def test_9_5_cookies_are_neither_kept_nor_sent() -> None:
    """9-5: one tenant's cookie never authenticates another's call, at the API and at the token endpoint."""

    def answer(seen: Seen) -> web.Response:
        body: dict[str, Any] = GROUP
        if seen.path.startswith("/oauth/"):
            body = {"access_token": "a2", "refresh_token": "r2", "expires_in": 3600}
        return web.json_response(body, headers={"Set-Cookie": "refresh=topsecret; Path=/"})

    async with Stub(answer) as stub, session_on(stub.url) as session:
        await session.groups.get(ID)
        await session.oauth.refresh()
        await session.groups.get(ID)
        assert len(stub.seen) == 3
        assert [seen for seen in stub.seen if "Cookie" in seen.headers] == []


@pytest.mark.may_block
def test_3_12_another_loop_is_a_clear_error() -> None:
    """3-12: a session that was opened on another loop says so."""

    async def start() -> tuple[EzeepSession, Stub]:
        stub = await Stub(respond_with(lambda: web.json_response(GROUP))).__aenter__()
        session = session_on(stub.url)
        await session.groups.get(ID)
        return session, stub

    async def again(session: EzeepSession) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await session.groups.get(ID)

    first = asyncio.new_event_loop()
    try:
        session, stub = first.run_until_complete(start())
        asyncio.run(again(session))
        first.run_until_complete(session.aclose())
        first.run_until_complete(stub.__aexit__(None, None, None))
    finally:
        first.close()


async def test_3_15_no_group_of_exceptions_comes_out_of_single_calls(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """3-15: a listing and a write fail with one plain error each."""
    sandbox.faults.add("GET /printing/v1/users/", status=403, times=None)
    sandbox.faults.add("PATCH /printing/v1/users/{id}/", status=403, times=None)
    for call in (
        lambda: session.users.list().collect(),
        lambda: session.users.list(concurrency=4).collect(),
        lambda: session.users.set_groups(ID, []),
    ):
        with pytest.raises(EzeepError) as caught:
            await call()
        assert not isinstance(caught.value, BaseExceptionGroup)


async def test_3_16_9_3_what_is_false_arrives(session: EzeepSession, sandbox: Sandbox) -> None:
    """3-16, 9-3: `groups: []`, `false` and an empty text arrive as what they are."""
    group, member = next(iter(sandbox.organization.groups)), next(iter(sandbox.organization.users))
    await session.users.set_groups(member, [])
    assert json.loads(sandbox.requests[-1].body) == {"groups": []}
    await session.groups.update(group, local_printing_enabled=False, description="")
    assert json.loads(sandbox.requests[-1].body) == {"local_printing_enabled": False, "description": ""}


async def test_8_3_no_secret_in_logs_or_reprs(caplog: pytest.LogCaptureFixture) -> None:
    """8-3: at DEBUG, with failures, neither token is in the log, nor in the repr of the session."""
    replies = respond_with(
        lambda: web.Response(status=503, headers={"Retry-After": "0"}), lambda: web.json_response(GROUP)
    )
    with caplog.at_level(logging.DEBUG):
        async with Stub(replies) as stub, session_on(stub.url) as session:
            await session.groups.get(ID)
            shown = f"{session!r} {session!s} {login()!r} {quick()!r}"
    assert ACCESS not in caplog.text + shown
    assert REFRESH not in caplog.text + shown


async def test_3_13_a_proxy_is_used_for_both_hosts(sandbox: Sandbox) -> None:
    """3-13: `proxy` and `proxy_auth` are used for API and token endpoint, and the password is shown nowhere."""
    async with Stub(respond_with(lambda: web.json_response({"detail": "proxied"}, status=403))) as proxy:
        settings = quick(proxy=proxy.url.replace("http://", "http://who:topsecret@"), retries=0)
        assert "topsecret" not in repr(settings)
        async with EzeepSession(
            OAuthApp("client"), tokens=login(), endpoints=sandbox.endpoints, settings=settings
        ) as session:
            with pytest.raises(EzeepError):
                await session.groups.get(ID)
            with pytest.raises(EzeepError):
                await session.oauth.refresh()
        assert len(proxy.seen) == 2
        assert all("Proxy-Authorization" in seen.headers for seen in proxy.seen)
    assert sandbox.requests == []
