"""Counters, log lines and OpenTelemetry spans of a session: 6-10, 8-4, 8-5."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers.stub_servers import quick
from helpers.support import open_session
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ezeep_async import BadRequest, Endpoints, ServerError, SessionClosed, run_sync
from ezeep_async._http.tracing import CHECK_AGAIN_S, Tracing
from ezeep_async.sandbox import Sandbox
from ezeep_async.testing import ThreadedSandbox


GROUP = "GET /printing/v1/groups/{id}/"
GROUPS = "GET /printing/v1/groups/"


# --- counts ----------------------------------------------------------------------------------------------------------


async def test_6_10_the_counts_agree_with_the_server(sandbox: Sandbox) -> None:
    """6-10: calls, requests, retries, refusals and token refreshes, as the server saw them."""
    sandbox.faults.add(GROUP, status=503, retry_after=0)
    sandbox.faults.add(GROUP, nth=2, status=429, retry_after=0)
    group = next(iter(sandbox.organization.groups))
    async with open_session(sandbox) as session:
        assert session.stats.calls == 0
        await session.groups.get(group)
        await session.groups.list().collect()
        with pytest.raises(BadRequest):
            await session.request("POST", "/printing/v1/groups/", json={})
        stats = session.stats
    sent = [seen for seen in sandbox.requests if seen.host == "api"]
    assert stats.requests == len(sent) == 5
    assert (stats.calls, stats.failed, stats.retries, stats.throttled) == (3, 1, 2, 1)
    assert stats.refreshes == sandbox.refreshes == 1
    assert (stats.in_flight, stats.waiting) == (0, 0)


async def test_6_10_what_is_under_way_and_what_waits(sandbox: Sandbox) -> None:
    hold = sandbox.faults.hold(GROUP)
    group = next(iter(sandbox.organization.groups))
    session = open_session(sandbox, settings=quick(concurrency=2))
    async with session:
        calls = [asyncio.create_task(session.groups.get(group)) for _ in range(5)]
        await hold.arrived(2)
        assert (session.stats.in_flight, session.stats.waiting) == (2, 3)
        assert session.stats.hosts == ("api",)
        kept = session.stats
        hold.release()
        await asyncio.gather(*calls)
        assert (session.stats.in_flight, session.stats.waiting, session.stats.hosts) == (0, 0, ())
        assert kept.in_flight == 2  # a snapshot


async def test_6_10_calls_that_a_close_ends_have_failed(sandbox: Sandbox) -> None:
    hold = sandbox.faults.hold(GROUP)
    session = open_session(sandbox)
    call = asyncio.create_task(session.groups.get(next(iter(sandbox.organization.groups))))
    await hold.arrived()
    await session.aclose()
    with pytest.raises(SessionClosed):
        await call
    assert (session.stats.calls, session.stats.failed) == (1, 1)


@pytest.mark.may_block
def test_6_10_the_blocking_twin_counts_too() -> None:
    with ThreadedSandbox(users=3, groups=2) as sandbox, run_sync(open_session(sandbox)) as session:
        session.groups.list().collect()
        assert session.stats.calls == 1


# --- the log ---------------------------------------------------------------------------------------------------------


async def test_8_4_a_line_for_each_call_and_each_retry(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """6-10, 8-4: one line at DEBUG for a call, one at INFO for a retry, with the same request id, and no token."""
    caplog.set_level(logging.DEBUG, "ezeep_async.http")
    sandbox.faults.add(GROUP, status=503, retry_after=0)
    async with open_session(sandbox) as session:
        await session.groups.get(next(iter(sandbox.organization.groups)))
    lines = [record for record in caplog.records if record.name == "ezeep_async.http"]
    assert [record.levelname for record in lines] == ["INFO", "DEBUG"]
    (request_id,) = {seen.headers["X-Request-ID"] for seen in sandbox.requests if seen.key == GROUP}
    assert all(request_id in record.getMessage() for record in lines)
    assert "503" in lines[0].getMessage()
    assert "attempt 2" in lines[1].getMessage()


# --- spans -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def spans(exporter: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.kind is kind]


async def test_8_5_a_span_for_the_call_and_one_for_each_attempt(
    sandbox: Sandbox, exported: InMemorySpanExporter
) -> None:
    """8-5: the attempts are children of the call; names are routes, and nothing carries an id, a query or a token."""
    sandbox.faults.add(GROUP, status=503, retry_after=0)
    group = next(iter(sandbox.organization.groups))
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        await session.groups.get(group)
    (call,) = spans(exported, SpanKind.INTERNAL)
    first, second = spans(exported, SpanKind.CLIENT)
    assert call.name == "ezeep GET /printing/v1/groups/{id}/"
    assert {first.name, second.name} == {GROUP}
    assert call.context is not None
    for attempt in (first, second):
        assert attempt.parent is not None
        assert attempt.parent.span_id == call.context.span_id
    assert (first.attributes["http.response.status_code"], first.status.status_code) == (
        503,
        StatusCode.ERROR,
    )
    assert (second.attributes["http.response.status_code"], second.status.status_code) == (
        200,
        StatusCode.UNSET,
    )
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["server.address"] == "127.0.0.1"
    exports = "".join(span.to_json() for span in exported.get_finished_spans())
    assert str(group) not in exports
    tokens = await session._core._store.load()
    assert tokens.access_token not in exports


async def test_8_5_errors_are_named_and_not_quoted(sandbox: Sandbox, exported: InMemorySpanExporter) -> None:
    sandbox.faults.add(GROUP, status=500, body=b"secret of the server", times=None)
    async with open_session(sandbox, stored=sandbox.tokens(), settings=quick(retries=0)) as session:
        with pytest.raises(ServerError):
            await session.groups.get(next(iter(sandbox.organization.groups)))
    (call,) = spans(exported, SpanKind.INTERNAL)
    assert call.attributes["error.type"] == "ServerError"
    assert call.status.status_code is StatusCode.ERROR
    assert call.events == ()
    assert "secret" not in "".join(span.to_json() for span in exported.get_finished_spans())


async def test_8_5_token_refreshes_have_spans(sandbox: Sandbox, exported: InMemorySpanExporter) -> None:
    async with open_session(sandbox) as session:
        await session.accounts.me()
    assert "POST /oauth/access_token/" in {span.name for span in spans(exported, SpanKind.CLIENT)}
    exports = "".join(span.to_json() for span in exported.get_finished_spans())
    assert "refresh_token" not in exports


async def test_8_5_without_opentelemetry(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """8-5: where it is not installed there are no spans, and nothing else is different."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    async with open_session(sandbox) as session:
        assert session._core._sender._tracing is None
        await session.accounts.me()


async def test_8_5_without_a_tracer_provider_no_span_is_made(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8-5: an application that sets up OpenTelemetry later gets spans from then on."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        tracing = session._core._sender._tracing
        assert tracing is not None
        assert not tracing.is_active
        await session.accounts.me()
        monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
        assert tracing.is_active


async def test_8_5_the_provider_is_looked_up_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """8-5: the look-up reads the environment, so calls share it. A provider that is set meanwhile is found soon."""
    looked_up = 0

    def provider() -> trace.TracerProvider:
        nonlocal looked_up
        looked_up += 1
        return trace.NoOpTracerProvider() if looked_up > 1 else trace.ProxyTracerProvider()

    tracing = Tracing(Endpoints())
    monkeypatch.setattr(tracing, "_tracer", trace.ProxyTracer("x"))
    monkeypatch.setattr(trace, "get_tracer_provider", provider)
    times = iter([0.0, 0.01, CHECK_AGAIN_S - 0.01, CHECK_AGAIN_S, CHECK_AGAIN_S + 0.01])
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("ezeep_async._http.tracing.time", clock)
    assert [tracing.if_active() for _ in range(3)] == [None, None, None]
    assert [tracing.if_active() for _ in range(2)] == [tracing, tracing]
    assert looked_up == 2


@pytest.mark.slow
@pytest.mark.may_block
def test_8_5_importing_the_package_does_not_import_it() -> None:
    code = "import sys, ezeep_async; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
