"""Requests to the storage: connections, proxies, TLS, time limits, limits and spans."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import trustme
from aiohttp import web
from helpers.stub_servers import ACCESS, Seen, Stub, login, no_jitter, quick, session_on
from helpers.support import open_session
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from ezeep_async import (
    ConnectFailed,
    Endpoints,
    EzeepSession,
    OAuthApp,
    Printer,
    RateLimited,
    RequestTimeout,
    ServerError,
    Settings,
)
from ezeep_async.sandbox import Sandbox


LASER = Printer(UUID(int=1), "Laser")
PUT = "PUT /userstorage/{id}"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


async def upload(session: EzeepSession, size: int = 3) -> str:
    return (await session.printing.print_file(bytes(size), LASER, type="pdf", check=False)).id


def responding(storage: str, status: int = 201) -> Any:
    """Print API and storage in one, also as a proxy."""

    def serve(seen: Seen) -> web.Response:
        if seen.path.endswith("/sfapi/PrepareUpload/"):
            return web.json_response({"fileid": "ERI_1", "sasUri": f"{storage}/blob?sig=AAAABBBBCCCC"})
        if seen.path.endswith("/sfapi/Print/"):
            return web.json_response({"jobid": "j"})
        return web.Response(status=status)

    return serve


async def test_a_proxy_gets_its_credentials_and_the_storage_no_token() -> None:
    """3-13: `proxy` and `proxy_auth` hold for the storage too."""
    async with Stub(responding("http://127.0.0.1:9")) as proxy:
        settings = quick(proxy=proxy.url, proxy_auth=("me", "proxy-password"))
        endpoints = Endpoints(print="http://127.0.0.1:10")
        async with EzeepSession(
            OAuthApp("c"), tokens=login(), endpoints=endpoints, settings=settings
        ) as session:
            assert await upload(session) == "j"
    (blob,) = [seen for seen in proxy.seen if seen.method == "PUT"]
    assert blob.path == "http://127.0.0.1:9/blob"
    assert blob.headers["Proxy-Authorization"].startswith("Basic ")
    assert "Authorization" not in blob.headers
    assert all("Authorization" in seen.headers for seen in proxy.seen if seen is not blob)


async def test_trust_env_names_the_proxy_of_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is read for each host."""
    async with Stub(responding("http://storage.localhost:9")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with session_on(proxy.url, trust_env=True) as session:
            await upload(session)
    assert [seen.path for seen in proxy.seen if seen.method == "PUT"] == ["http://storage.localhost:9/blob"]


@pytest.mark.parametrize("borrowed", [False, True])
async def test_tls_of_the_storage(borrowed: bool) -> None:
    """`ssl_context` holds for the storage; an unknown authority is refused. Over own and over borrowed connections."""
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    seen: list[str] = []

    async def store(request: web.BaseRequest) -> web.Response:
        seen.append(str(request.headers.get("Authorization")))
        await request.read()
        return web.Response(status=201)

    runner = web.ServerRunner(web.Server(store))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context).start()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    storage = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Stub(responding(storage)) as stub, aiohttp.ClientSession() as http:
            options: dict[str, Any] = {"http": http if borrowed else None}
            async with session_on(stub.url, ssl_context=trusting, **options) as session:
                assert await upload(session) == "j"
            async with session_on(stub.url, retries=0, **options) as session:
                with pytest.raises(ConnectFailed, match="certificate"):
                    await upload(session)
        assert seen == ["None"]
    finally:
        await runner.cleanup()


async def test_a_borrowed_session_lends_connections_only(sandbox: Sandbox) -> None:
    """Its headers and credentials do not reach the storage."""
    async with aiohttp.ClientSession(
        headers={"Authorization": "Basic abc", "X-Mine": "1"}, cookies={"a": "b"}
    ) as http:
        async with open_session(sandbox, stored=sandbox.tokens(), http=http) as session:
            printer = await session.printers.find("Front desk laser")
            await session.printing.print_file(b"abc", printer, type="pdf")
        assert not http.closed
    (blob,) = [each for each in sandbox.requests if each.host == "blobs"]
    assert not {"authorization", "x-mine", "cookie"} & {name.lower() for name in blob.headers}


@pytest.mark.slow
async def test_the_time_limit_depends_on_the_size() -> None:
    """A slow upload takes longer than `read_timeout`; one that stalls does not."""
    stalls = False

    async def store(request: web.BaseRequest) -> web.Response:
        async for _ in request.content.iter_chunked(256 * 1024):
            await asyncio.sleep(5.0 if stalls else 0.1)
        return web.Response(status=201)

    runner = web.ServerRunner(web.Server(store), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    storage = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Stub(responding(storage)) as stub:
            async with session_on(stub.url, read_timeout=1.0, retries=0) as session:
                assert await upload(session, 8 * 2**20) == "j"
                stalls = True
                with pytest.raises(RequestTimeout, match="read_timeout"):
                    await upload(session)
    finally:
        await runner.cleanup()


async def test_the_deadline_holds_for_one_request_with_its_retries(sandbox: Sandbox) -> None:
    """Not for the whole upload."""
    sandbox.faults.add(PUT, times=None, status=503, retry_after=30)
    async with open_session(sandbox, stored=sandbox.tokens(), settings=quick(deadline=5.0)) as session:
        printer = await session.printers.find("Front desk laser")
        with pytest.raises(ServerError) as caught:
            await session.printing.print_file(b"abc", printer, type="pdf")
    assert caught.value.retry_after == 30
    assert sandbox.count(PUT) == 1


async def test_the_storage_throttles(sandbox: Sandbox) -> None:
    """429 with a `Retry-After` that is too long is raised; a short one is waited for."""
    sandbox.faults.add(PUT, status=429, retry_after=0.01)
    async with open_session(
        sandbox, stored=sandbox.tokens(), settings=Settings(max_retry_after=1)
    ) as session:
        printer = await session.printers.find("Front desk laser")
        await session.printing.print_file(b"abc", printer, type="pdf")
        sandbox.faults.add(PUT, status=429, retry_after=100)
        with pytest.raises(RateLimited):
            await session.printing.print_file(b"abc", printer, type="pdf")
    assert sandbox.count(PUT) == 3


async def test_requests_to_the_storage_wait_for_a_slot(sandbox: Sandbox) -> None:
    """`Settings.concurrency` holds for the storage as for every host."""
    hold = sandbox.faults.hold(PUT)
    async with open_session(sandbox, stored=sandbox.tokens(), settings=quick(concurrency=2)) as session:
        printer = await session.printers.find("Front desk laser")
        prints = [session.printing.print_file(b"abc", printer, type="pdf") for _ in range(5)]
        task = asyncio.gather(*prints)
        await hold.arrived(2)
        await asyncio.sleep(0.05)
        assert hold.count == 2
        hold.release()
        await task
    assert sandbox.peaks["blobs"] == 2


async def test_the_spans_of_an_upload(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """8-5: one for each request, with the host and without the address."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    sandbox.faults.add(PUT, status=500)
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        printer = await session.printers.find("Front desk laser")
        await session.printing.print_file(b"abc", printer, type="pdf")
    spans = [span for span in exporter.get_finished_spans() if span.name == "PUT blob"]
    assert [dict(span.attributes or {}).get("http.response.status_code") for span in spans] == [500, 201]
    assert all(span.kind is SpanKind.CLIENT for span in spans)
    assert dict(spans[1].attributes or {})["http.request.resend_count"] == 1
    assert dict(spans[1].attributes or {})["server.address"] == "127.0.0.1"
    text = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "sig=" not in text
    assert "ERI_" not in text
    assert ACCESS not in text
