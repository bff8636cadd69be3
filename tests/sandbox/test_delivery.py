"""Webhook events: delivered once when a job has ended, to the endpoints that ask for them."""

from __future__ import annotations

import asyncio
import base64
import json
from uuid import UUID

import pytest
from aiohttp import web

from ezeep_async.sandbox import Sandbox, WebhookEndpoint
from ezeep_async.testing import ThreadedSandbox


BOTH = ["printjob_succeeded", "printjob_failed"]


class Receiver:
    """A plain server, which keeps the events that it gets."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[web.BaseRequest, dict]] = asyncio.Queue()
        self.status = 204
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.events.put_nowait((request, json.loads(await request.read())))
        return web.Response(status=self.status)

    async def event(self) -> tuple[web.BaseRequest, dict]:
        """The next event: its request and the job in it."""
        async with asyncio.timeout(10):
            request, body = await self.events.get()
        return request, body["content"]["printjob"]


@pytest.fixture
async def receiver():
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


def endpoint(server: Sandbox, url: str, **fields: object) -> WebhookEndpoint:
    made = WebhookEndpoint(
        **{"endpoint_id": server.printing.new_id(), "name": "x", "url": url, "topics": BOTH, **fields}
    )
    server.webhooks.endpoints[made.endpoint_id] = made
    return made


async def print_one(client, printer=0, **fields):
    printer_id = str([*client.sandbox.printing.printers][printer])
    url = "https://files.example.com/a.pdf"
    body = {"type": "pdf", "printerid": printer_id, "fileurl": url, **fields}
    _, answer = await client("POST", "/sfapi/Print/", json=body)
    return client.sandbox.printing.jobs[answer["jobid"]]


async def settled(server: Sandbox, deliveries: int) -> list[int | None]:
    """The statuses of that many deliveries."""
    async with asyncio.timeout(10):
        while len(server.webhooks.deliveries) < deliveries:
            await asyncio.sleep(0.005)
    return [each.status for each in server.webhooks.deliveries]


async def test_a_job_that_was_printed(server, client, receiver):
    server.behaviour.job_seconds = 600
    own = endpoint(server, receiver.url)
    job = await print_one(client, alias="invoice 7.pdf", properties={"copies": 2, "color": False})
    await asyncio.sleep(0.02)
    assert receiver.events.empty()
    server.clock.advance(600)
    request, event = await receiver.event()
    assert (request.method, request.path, request.content_type) == ("POST", "/hook", "application/json")
    assert "Authorization" not in request.headers
    assert event["filename"] == "invoice 7.pdf"
    assert (event["status"], event["copies"], event["color"], event["duplex"]) == (
        "succeeded",
        2,
        False,
        False,
    )
    assert (event["printer_id"], event["printer_name"]) == (str(job.printed.printer.id), "Front desk laser")
    assert (event["user_id"], event["total_printed_pages"]) == (str(server.organization.admin_id), 2)
    assert UUID(event["printjob_id"])
    assert await settled(server, 1) == [204]
    assert server.webhooks.deliveries[0].endpoint_id == own.endpoint_id


async def test_topics_and_disabled_endpoints(server, client, receiver):
    server.behaviour.job_seconds = 0
    endpoint(server, f"{receiver.url}/failed", topics=["printjob_failed"])
    endpoint(server, f"{receiver.url}/succeeded", topics=["printjob_succeeded"])
    endpoint(server, receiver.url, disabled=True)
    endpoint(server, receiver.url, topics=[])
    server.printing.script(3011)
    await print_one(client)
    request, event = await receiver.event()
    assert (request.path, event["status"], event["total_printed_pages"]) == ("/hook/failed", "failed", 0)
    await print_one(client)
    request, event = await receiver.event()
    assert (request.path, event["status"]) == ("/hook/succeeded", "succeeded")
    await settled(server, 2)
    assert [each.topic for each in server.webhooks.deliveries] == ["printjob_failed", "printjob_succeeded"]


async def test_basic_authentication(server, client, receiver):
    server.behaviour.job_seconds = 0
    own = endpoint(
        server,
        receiver.url,
        authentication_scheme="basic",
        basic_username="höok",
        basic_password="päss-word",
    )
    await print_one(client)
    request, _ = await receiver.event()
    scheme, _, pair = request.headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair).decode()) == ("Basic", "höok:päss-word")
    assert "päss-word" not in repr(own)


async def test_a_job_in_a_queue_is_reported_when_it_has_ended(server, client, receiver):
    server.behaviour.job_seconds = 0
    endpoint(server, receiver.url)
    job, expired = await print_one(client, 1), await print_one(client, 1)
    server.clock.advance(1000)
    await asyncio.sleep(0.02)
    assert receiver.events.empty()
    expired.expire()
    job.release()
    assert (await receiver.event())[1]["status"] == "succeeded"
    assert await settled(server, 1) == [204]
    assert receiver.events.empty()


async def test_deliveries_that_fail_are_kept(server, client, receiver):
    """They are not repeated."""
    server.behaviour.job_seconds = 0
    endpoint(server, receiver.url)
    endpoint(server, "http://127.0.0.1:9/")
    endpoint(server, "https://hooks.example.com/ezeep")
    receiver.status = 500
    await print_one(client)
    assert await settled(server, 3) == [500, None, None]
    assert receiver.events.qsize() == 1


async def test_closing_with_unfinished_jobs(client_for, receiver):
    before = asyncio.all_tasks()
    async with Sandbox(users=1, job_seconds=float("inf")) as server:
        endpoint(server, receiver.url)
        await print_one(client_for(server))
        assert asyncio.all_tasks() != before
    assert asyncio.all_tasks() == before


@pytest.mark.may_block
async def test_a_sandbox_in_another_thread(receiver, client_for):
    """Its clock, and the end of a job, may be controlled from any thread."""
    with ThreadedSandbox(users=1, job_seconds=500) as server:
        endpoint(server, receiver.url)
        job = await print_one(client_for(server))
        job.finish(3011)
        assert (await receiver.event())[1]["status"] == "failed"
        await print_one(client_for(server))
        server.clock.advance(500)
        assert (await receiver.event())[1]["status"] == "succeeded"
