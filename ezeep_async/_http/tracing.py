"""OpenTelemetry spans (extra `otel`): one for each call, and one for each of its requests.

Names and attributes follow the semantic conventions for HTTP client spans. No URL has a query; no span has a token.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from yarl import URL

from ezeep_async._wire.requests import Host, Request
from ezeep_async._wire.responses import RawResponse
from ezeep_async.settings import Endpoints
from ezeep_async.version import __version__


if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanKind, Tracer


logger = logging.getLogger("ezeep_async.http")


class Tracing:
    """Makes the spans of one session. Exceptions of the tracer are logged and never fail a call."""

    def __init__(self, tracer: Tracer, endpoints: Endpoints) -> None:
        self._tracer = tracer
        self._failed = False
        self._servers = {Host.ACCOUNT: URL(endpoints.account), Host.API: URL(endpoints.api)}

    @contextmanager
    def call(self, request: Request, request_id: str) -> Generator[None]:
        """A span around one call with all its attempts and delays."""
        from opentelemetry.trace import SpanKind

        attributes = {"url.template": request.route, "ezeep.request_id": request_id}
        with self._span(f"ezeep {request.method} {request.route}", SpanKind.INTERNAL, attributes):
            yield

    @contextmanager
    def attempt(self, request: Request, number: int) -> Generator[OnResponse]:
        """A span around one request. Call its result with the response."""
        from opentelemetry.trace import SpanKind

        server = self._servers[request.host]
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "url.template": request.route,
            "server.address": server.host or "",
            "server.port": server.port or 0,
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        with self._span(f"{request.method} {request.route}", SpanKind.CLIENT, attributes) as span:
            yield OnResponse(span, self._guarded)

    @contextmanager
    def _span(self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Generator[Span]:
        from opentelemetry.trace import INVALID_SPAN, Status, StatusCode

        span: Span = INVALID_SPAN
        end: Callable[..., object] | None = None
        with self._guarded():
            # Only the class of an exception: its text and traceback may hold personal data.
            manager = self._tracer.start_as_current_span(
                name,
                kind=kind,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            )
            span = manager.__enter__()
            end = manager.__exit__
        try:
            yield span
        except BaseException as error:
            with self._guarded():
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            if end is not None:
                raised = sys.exc_info()
                try:
                    with self._guarded(raised[1]):
                        end(*raised)
                finally:
                    del raised  # this frame is in its traceback: a cycle, and the session in it, would stay

    @contextmanager
    def _guarded(self, under_way: BaseException | None = None) -> Generator[None]:
        """Log exceptions of the application's tracer, except `under_way`, which propagates by itself."""
        try:
            yield
        except BaseException as error:  # a span processor may even call `sys.exit`
            if error is not under_way:
                level = logging.DEBUG if self._failed else logging.ERROR
                self._failed = True
                logger.log(level, "the tracer failed; the request is not affected", exc_info=True)


class OnResponse:
    """Records the response in a span."""

    def __init__(self, span: Span, guarded: Callable[[], AbstractContextManager[None]]) -> None:
        self._span = span
        self._guarded = guarded

    def __call__(self, response: RawResponse) -> None:
        """Record the status of the response."""
        from opentelemetry.trace import Status, StatusCode

        with self._guarded():
            self._span.set_attribute("http.response.status_code", response.status)
            if response.status >= 400:
                self._span.set_attribute("error.type", str(response.status))
                self._span.set_status(Status(StatusCode.ERROR))


def tracing_of(endpoints: Endpoints) -> Tracing | None:
    """None if OpenTelemetry is not installed."""
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return Tracing(trace.get_tracer("ezeep_async", __version__), endpoints)
