"""The servers: two origins, recorded requests, redirects, limits, and closing."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import aiohttp
import attrs
import pytest

from ezeep_async.sandbox import Behaviour, Sandbox
from ezeep_async.sandbox.behaviour import BehaviourOptions


USERS = "/printing/v1/users/"
USER = "0050a068-cc7b-4490-951a-06920a610ee5"


def test_every_behaviour_is_an_option():
    assert set(BehaviourOptions.__annotations__) == {field.name for field in attrs.fields(Behaviour)}


async def test_options(client_for):
    async with Sandbox(users=3, groups=2, max_page_size=2, redirect_uris=("https://x.example/cb",)) as server:
        assert server.oauth_app.redirect_uri == "https://x.example/cb"
        _, page = await client_for(server)("GET", USERS)
        assert (page["count"], len(page["results"])) == (3, 2)
        server.behaviour.redirect_uris = ()
        assert server.oauth_app.redirect_uri is None
    with pytest.raises(TypeError):
        Sandbox(no_such_option=1)


async def test_two_origins(server):
    account, api = urlsplit(server.endpoints.account), urlsplit(server.endpoints.api)
    assert account.hostname == api.hostname == "127.0.0.1"
    assert account.port != api.port


async def test_unopened_and_opened_twice():
    server = Sandbox(users=1)
    with pytest.raises(RuntimeError, match="not open"):
        _ = server.endpoints
    async with server:
        with pytest.raises(RuntimeError, match="once"):
            await server.__aenter__()
    await server.aclose()


async def test_requests_are_recorded(server, client):
    await client("GET", f"{USERS}?limit=1", json={"groups": []}, headers={"x-own": "1"})
    await client("PATCH", f"{USERS}{USER}/", json={"groups": []})
    await client.refresh(server.tokens().refresh_token)
    first, second, third = server.requests
    assert (first.method, first.host, first.path, first.query) == ("GET", "api", USERS, {"limit": "1"})
    assert (first.body, first.headers["X-Own"], first.status) == (b'{"groups": []}', "1", 200)
    assert (second.route, second.key) == ("/printing/v1/users/{id}/", "PATCH /printing/v1/users/{id}/")
    assert (third.host, third.grant_type, third.status) == ("account", "refresh_token", 200)
    assert server.count("PATCH /printing/v1/users/{id}/") == 1
    assert server.counts == {
        "GET /printing/v1/users/": 1,
        "PATCH /printing/v1/users/{id}/": 1,
        "POST /oauth/access_token/": 1,
    }
    for secret in (client.token, third.headers["Authorization"]):
        assert secret not in repr(server.requests)
    assert (server.peak_parallel, server.refreshes, server.refresh_requests) == (1, 1, 1)
    server.reset_counts()
    assert (server.requests, server.counts) == ([], {})
    assert (server.peak_parallel, server.refreshes, server.refresh_requests) == (0, 0, 0)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/printing/v1/users", "/printing/v1/users/"),
        ("PATCH", f"/printing/v1/users/{USER}", "/printing/v1/users/{id}/"),
        ("POST", "/oauth/access_token", "/oauth/access_token/"),
        ("GET", "/v1/users/me", "/v1/users/me/"),
    ],
)
async def test_missing_slash_is_a_redirect(server, client, method, path, route):
    """3-4: counted at its route; the redirect is to http."""
    response = await client.raw(method, path, params={"limit": "1"})
    host = server.endpoints.api if path.startswith("/printing") else server.endpoints.account
    assert (response.status, response.headers["Location"]) == (301, f"{host}{path}/?limit=1")
    assert response.headers["Location"].startswith("http://")
    assert server.count(f"{method} {route}") == 1
    assert server.requests[-1].status == 301


async def test_8_9_unknown_routes(client_for):
    """8-9: 404, and counted; each host serves its own paths only."""
    async with Sandbox(users=1) as server:
        client = client_for(server)
        for path in ("/", "/v1/", "/v1/users/x/y/", "/printing/v1/queues/", "/v1/users/{id}/"):
            status, _ = await client("GET", path)
            assert status == 404
        async with client.session.post(server.endpoints.api + "/oauth/access_token/") as response:
            assert response.status == 404
        assert server.unknown_routes == {
            "GET /": 1,
            "GET /v1/": 1,
            "GET /v1/users/x/y/": 1,
            "GET /printing/v1/queues/": 1,
            "POST /oauth/access_token/": 1,
        }
        assert server.counts == {"GET /v1/users/{id}/": 1}
        assert server.requests[0].route is None


async def test_request_ids(client):
    response = await client.raw("GET", USERS, headers={"X-Request-ID": "mine"})
    assert response.headers["X-Request-ID"] == "mine"
    ids = {(await client.raw("GET", USERS)).headers["X-Request-ID"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("retry_after", [None, 1.0])
async def test_too_many_at_once(server, client, retry_after):
    """Requests above the limit are refused at once; the others continue."""
    server.behaviour.max_parallel = 2
    server.behaviour.retry_after = retry_after
    hold = server.faults.hold("GET /printing/v1/users/")
    tasks = [asyncio.create_task(client("GET", USERS)) for _ in range(2)]
    await hold.arrived(2)
    response = await client.raw("GET", USERS)
    assert (response.status, await response.json()) == (429, {"detail": "Request was throttled."})
    assert response.headers.get("Retry-After") == (None if retry_after is None else "1")
    assert (await client("GET", "/v1/users/me/"))[0] == 200
    hold.release()
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200, 200]
    assert (await client("GET", USERS))[0] == 200
    assert server.peak_parallel == 2


@pytest.mark.slow
async def test_too_many_in_a_second(server, client):
    """Requests above the limit are refused until earlier ones are a second old."""
    server.behaviour.max_per_second = 3
    server.behaviour.retry_after = 1
    statuses = [(await client.raw("GET", USERS)).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert (await client("GET", "/v1/users/me/"))[0] == 200
    await asyncio.sleep(1.05)
    assert (await client("GET", USERS))[0] == 200


async def test_peak_and_latency(server, client):
    """Requests overlap; only those with a bearer token are slow."""
    server.behaviour.latency = 30.0
    client.token = server.tokens().access_token
    slow = [asyncio.create_task(client("GET", USERS)) for _ in range(50)]
    async with asyncio.timeout(15):
        while server.peak_parallel < 50:
            await asyncio.sleep(0.01)
        await client.refresh(server.tokens().refresh_token)
    assert not any(task.done() for task in slow)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_clock(server):
    before = server.clock.now()
    server.clock.advance(3600)
    assert 3600 <= (server.clock.now() - before).total_seconds() < 3605
    assert before.tzinfo is not None


async def test_a_clock_that_stands(server):
    """Only the test moves it."""
    server.clock.stop()
    before = server.clock.now()
    await asyncio.sleep(0.01)
    assert server.clock.now() == before
    server.clock.advance(90)
    server.clock.stop()
    assert (server.clock.now() - before).total_seconds() == 90


async def test_waiting_for_the_clock(server):
    """It ends when the time has come, by itself or by a test."""
    start = server.clock.now()

    def left(seconds: float) -> float:
        return seconds - (server.clock.now() - start).total_seconds()

    await server.clock.wait_for(lambda: left(0.01))
    waiting = asyncio.create_task(server.clock.wait_for(lambda: left(1000)))
    server.clock.advance(500)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    server.clock.advance(500)
    await waiting


async def test_closing_leaves_nothing(caplog):
    """Idle connections do not keep it open; no tasks, sockets or log records are left; its ports are free."""
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with Sandbox() as server:
            url = server.endpoints.api
            for _ in range(5):
                async with session.get(url + USERS) as response:
                    assert response.status == 401
                    await response.read()
            started = time.perf_counter()
        assert time.perf_counter() - started < 2.5
        assert asyncio.all_tasks() == before
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + USERS)
    assert not caplog.records


async def test_half_a_body(server, caplog):
    """A client that disconnects before the end of its body is not recorded."""
    port = urlsplit(server.endpoints.api).port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /printing/v1/groups/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.02)
    assert (server.requests, server._tasks, caplog.records) == ([], set(), [])


async def test_closing_with_half_a_body(caplog):
    before = asyncio.all_tasks()
    async with Sandbox(users=1) as server:
        port = urlsplit(server.endpoints.account).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /oauth/revoke/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.02)
        started = time.perf_counter()
    assert time.perf_counter() - started < 1.5
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert asyncio.all_tasks() == before
    assert not caplog.records


@pytest.mark.slow
async def test_many_connections_at_once(server, client):
    client.token = server.tokens().access_token
    responses = await asyncio.gather(*(client("GET", f"{USERS}{USER}/") for _ in range(500)))
    assert {status for status, _ in responses} == {200}


async def test_nothing_blocks_the_loop(client_for):
    """From creation to closing."""
    blockbuster = pytest.importorskip(
        "blockbuster", reason="blockbuster, which finds blocking calls, is not installed"
    )
    with blockbuster.blockbuster_ctx("ezeep_async"):
        async with Sandbox() as server:
            client = client_for(server)
            await client("GET", USERS)
            await client.refresh(server.tokens().refresh_token)
