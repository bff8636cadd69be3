"""Faults and holds: which requests fail, when, and which are processed nevertheless."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from ezeep_async.sandbox import Sandbox


GROUPS = "/printing/v1/groups/"
ME = "/v1/users/me/"
ORGANIZATION = "54e3a324-cc89-4722-8338-c285d26bef15"
NEW_GROUP = {"name": "New", "organization_id": ORGANIZATION}


async def test_nth_and_times(server, client):
    """Counted from `add`; hits and removal."""
    await client("GET", ME)
    fault = server.faults.add("GET /v1/users/me/", nth=2, times=2, status=503)
    assert [(await client("GET", ME))[0] for _ in range(4)] == [200, 503, 503, 200]
    assert (fault.calls, fault.hits) == (4, 2)
    forever = server.faults.add("GET /v1/users/me/", times=None, status=500)
    assert [(await client("GET", ME))[0] for _ in range(3)] == [500] * 3
    forever.remove()
    forever.remove()
    assert (await client("GET", ME))[0] == 200
    assert server.count("GET /v1/users/me/") == 9


async def test_faults_and_holds_come_before_the_latency(server, client):
    server.behaviour.latency = 30.0
    fault = server.faults.add("GET /v1/users/me/", times=None, drop="before")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client("GET", ME)
    fault.remove()
    hold = server.faults.hold("GET /v1/users/me/")
    request = asyncio.create_task(client("GET", ME))
    await hold.arrived()
    request.cancel()
    await asyncio.wait([request])


async def test_first_of_two_due_faults_applies(server, client):
    first = server.faults.add("GET /v1/users/me/", status=500)
    second = server.faults.add("GET /v1/users/me/", nth=2, status=502)
    assert [(await client("GET", ME))[0] for _ in range(3)] == [500, 502, 200]
    assert (first.hits, second.hits) == (1, 1)


async def test_status_alone_processes_nothing(server, client):
    server.faults.add("POST /printing/v1/groups/", status=503)
    assert await client("POST", GROUPS, json=NEW_GROUP) == (503, {"detail": "Service Unavailable"})
    assert len(server.organization.groups) == 13
    server.faults.add("POST /printing/v1/groups/", status=503, processed=True)
    assert (await client("POST", GROUPS, json=NEW_GROUP))[0] == 503
    assert len(server.organization.groups) == 14


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.25, "0.25"), ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT")],
)
async def test_retry_after(server, client, value, text):
    server.faults.add("GET /v1/users/me/", status=429, retry_after=value)
    response = await client.raw("GET", ME)
    assert (response.status, response.headers["Retry-After"]) == (429, text)


async def test_other_bodies(server, client):
    """The page of a proxy, an empty body, or the real status with another body."""
    route = "GET /v1/users/me/"
    server.faults.add(
        route, status=502, body="<h1>Bad Gateway</h1>", content_type="text/html", headers={"Via": "1.1 x"}
    )
    response = await client.raw("GET", ME)
    assert (response.status, response.content_type, response.headers["Via"]) == (502, "text/html", "1.1 x")
    assert await response.text() == "<h1>Bad Gateway</h1>"
    server.faults.add(route, status=503, body=b"")
    assert await (await client.raw("GET", ME)).text() == ""
    server.faults.add(route, body=b'{"id": ', content_type="text/plain")
    response = await client.raw("GET", ME)
    assert (response.status, response.content_type, await response.text()) == (200, "text/plain", '{"id": ')
    server.faults.add(route, headers={"X-Extra": "1"})
    response = await client.raw("GET", ME)
    assert (response.headers["X-Extra"], (await response.json())["roles"]) == ("1", ["admin"])
    server.faults.add(route, status=599)
    assert await client("GET", ME) == (599, {"detail": "Error"})


@pytest.mark.parametrize(("drop", "processed"), [("before", 0), ("after", 1)])
async def test_dropped_connections(server, client, caplog, drop, processed):
    """3-5: one copy arrives, and it is processed or not."""
    server.faults.add("POST /printing/v1/groups/", drop=drop)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client("POST", GROUPS, json=NEW_GROUP)
    assert len(server.organization.groups) == 13 + processed
    assert server.count("POST /printing/v1/groups/") == 1
    assert server.requests[-1].status is None
    assert (await client("POST", GROUPS, json=NEW_GROUP))[0] == 201
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


async def test_dropped_refresh(server, client):
    """A dropped request is counted; a rotation only if it happened."""
    tokens = server.tokens()
    server.faults.add("POST /oauth/access_token/", drop="before")
    server.faults.add("POST /oauth/access_token/", nth=2, drop="after")
    for _ in range(2):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.refresh(tokens.refresh_token)
    assert (server.refresh_requests, server.refreshes) == (2, 1)


async def test_when(server, client):
    fault = server.faults.add(
        "GET /v1/users/{id}/", when=lambda request: request.path.endswith("e5/"), status=500
    )
    users = server.organization.listed_users()
    assert (await client("GET", f"/v1/users/{users[1].id}/"))[0] == 200
    assert (await client("GET", f"/v1/users/{users[0].id}/"))[0] == 500
    assert fault.hits == 1


async def test_delays(server, client):
    """Before the processing, or after it."""
    server.faults.add("POST /printing/v1/groups/", delay=0.1)
    task = asyncio.create_task(client("POST", GROUPS, json=NEW_GROUP))
    await asyncio.sleep(0.05)
    assert len(server.organization.groups) == 13
    assert (await task)[0] == 201
    server.faults.add("POST /printing/v1/groups/", delay_after=0.1)
    task = asyncio.create_task(client("POST", GROUPS, json=NEW_GROUP))
    await asyncio.sleep(0.05)
    assert len(server.organization.groups) == 15
    assert not task.done()
    assert (await task)[0] == 201


async def test_routes_that_do_not_exist(server):
    for wrong in ("GET /v1/user/", "/v1/users/", "get /v1/users/", "GET /v1/users", ""):
        with pytest.raises(ValueError, match="no route"):
            server.faults.add(wrong, status=500)
        with pytest.raises(ValueError, match="no route"):
            server.faults.hold(wrong)
        with pytest.raises(ValueError, match="no route"):
            server.count(wrong)


@pytest.mark.parametrize("after", [False, True])
async def test_hold(server, client, after):
    hold = server.faults.hold("POST /printing/v1/groups/", after=after)
    tasks = [asyncio.create_task(client("POST", GROUPS, json=NEW_GROUP)) for _ in range(3)]
    await hold.arrived(3)
    await hold.arrived()
    assert len(server.organization.groups) == (16 if after else 13)
    assert not any(task.done() for task in tasks)
    hold.release(1)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.02)
    assert sum(task.done() for task in tasks) == 1
    hold.release()
    assert [status for status, _ in await asyncio.gather(*tasks)] == [201] * 3
    assert (await client("POST", GROUPS, json=NEW_GROUP))[0] == 201
    assert hold.count == 3


async def test_hold_catches_some(server, client):
    hold = server.faults.hold("GET /v1/users/me/", times=1, when=lambda request: "x" in request.query)
    assert (await client("GET", ME))[0] == 200
    task = asyncio.create_task(client("GET", ME, params={"x": "1"}))
    await hold.arrived()
    assert (await client("GET", ME, params={"x": "2"}))[0] == 200
    assert not task.done()
    server.faults.add("GET /v1/users/me/", status=500, times=None)
    server.faults.clear()
    assert (await task)[0] == 200
    assert (await client("GET", ME))[0] == 200


@pytest.mark.parametrize("after", [False, True])
async def test_requests_of_disconnected_clients_are_processed(server, client, caplog, after):
    """The handler is not interrupted, logs nothing, and leaves no task."""
    hold = server.faults.hold("POST /printing/v1/groups/", after=after)
    task = asyncio.create_task(client("POST", GROUPS, json=NEW_GROUP))
    await hold.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.02)
    hold.release()
    await asyncio.sleep(0.02)
    assert len(server.organization.groups) == 14
    assert server.requests[-1].status is None
    assert not server._tasks
    assert not caplog.records


async def test_closing_with_unfinished_requests(client_for, caplog):
    """Held and delayed requests, of waiting and disconnected clients: closing is prompt, and none is processed."""
    before = asyncio.all_tasks()
    async with Sandbox() as server:
        client = client_for(server)
        held = server.faults.hold("POST /printing/v1/groups/")
        left = server.faults.hold("GET /printing/v1/groups/")
        server.faults.add("GET /v1/users/me/", delay=3600)
        tasks = [
            asyncio.create_task(client("POST", GROUPS, json=NEW_GROUP)),
            asyncio.create_task(client("GET", ME)),
        ]
        leaving = asyncio.create_task(client("GET", GROUPS))
        await asyncio.gather(held.arrived(), left.arrived())
        while not server.count("GET /v1/users/me/"):
            await asyncio.sleep(0.001)
        leaving.cancel()
        await asyncio.sleep(0.02)
        started = time.perf_counter()
    assert time.perf_counter() - started < 2.5
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, aiohttp.ClientError)
    assert len(server.organization.groups) == 13
    assert asyncio.all_tasks() - {leaving} == before
    assert not caplog.records
