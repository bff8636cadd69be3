"""OpenTelemetry spans (extra `otel`): one for each call, and one for each of its requests.

Names and attributes follow the semantic conventions for HTTP client spans. No URL has a query; no span has a token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from yarl import URL

from ezeep_async._wire.requests import Host, Request
from ezeep_async.settings import Endpoints
from ezeep_async.version import __version__


logger = logging.getLogger("ezeep_async.http")


class Tracing:
    """Makes the spans of one session. Raises `ImportError` where OpenTelemetry is not installed."""

    def __init__(self, endpoints: Endpoints) -> None:
        from opentelemetry import context, trace

        self.context, self.trace = context, trace
        self.tracer = trace.get_tracer("ezeep_async", __version__)
        self.has_failed = False
        self._servers = {Host.ACCOUNT: URL(endpoints.account), Host.API: URL(endpoints.api)}

    @property
    def is_active(self) -> bool:
        """Whether the application has a tracer provider. Without one spans cost time and go nowhere."""
        return not (
            isinstance(self.tracer, self.trace.ProxyTracer)
            and isinstance(self.trace.get_tracer_provider(), self.trace.ProxyTracerProvider)
        )

    def call(self, request: Request, request_id: str) -> Span:
        """A span around one call with all its attempts and delays."""
        attributes = {"url.template": request.route, "ezeep.request_id": request_id}
        return Span(self, f"ezeep {request.name}", "INTERNAL", attributes)

    def attempt(self, request: Request, number: int) -> Span:
        """A span around one request."""
        server = self._servers[request.host]
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "url.template": request.route,
            "server.address": server.host or "",
            "server.port": server.port or 0,
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        return Span(self, request.name, "CLIENT", attributes)


class Span:
    """A span around a block of code. Exceptions of the application's tracer are logged and never fail a call."""

    def __init__(self, tracing: Tracing, name: str, kind: str, attributes: Mapping[str, str | int]) -> None:
        self._tracing = tracing
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._span: Any = None
        self._context: Any = None

    def __enter__(self) -> Self:
        self._guarded(self._start)
        return self

    def _start(self) -> None:
        trace = self._tracing.trace
        kind = trace.SpanKind[self._kind]
        self._span = self._tracing.tracer.start_span(self._name, kind=kind, attributes=self._attributes)
        self._context = self._tracing.context.attach(trace.set_span_in_context(self._span))

    def responded(self, status: int) -> None:
        self._guarded(lambda: self._span.set_attribute("http.response.status_code", status))
        if status >= 400:
            self._guarded(lambda: self._fail(str(status)))

    def _fail(self, error: str) -> None:
        trace = self._tracing.trace
        self._span.set_attribute("error.type", error)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # Only the class of an exception: its text and traceback may hold personal data.
            self._guarded(lambda: self._fail(kind.__name__))
        self._guarded(self._end)

    def _end(self) -> None:
        self._tracing.context.detach(self._context)
        self._span.end()

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            if self._span is not None or act == self._start:
                act()
        except BaseException:  # a span processor may even call `sys.exit`
            level = logging.DEBUG if self._tracing.has_failed else logging.ERROR
            self._tracing.has_failed = True
            logger.log(level, "the tracer failed; the request is not affected", exc_info=True)
