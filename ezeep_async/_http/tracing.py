"""OpenTelemetry spans (extra `otel`): one for each call, and one for each of its requests.

Names and attributes follow the semantic conventions for HTTP client spans. No URL has a query; no span has a token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from yarl import URL

from ezeep_async._wire.requests import Request, origins
from ezeep_async.settings import Endpoints
from ezeep_async.version import __version__


if TYPE_CHECKING:
    from opentelemetry.trace import SpanKind


T = TypeVar("T")

SpanBlock = AbstractContextManager[Callable[[int], None]]

logger = logging.getLogger("ezeep_async.http")

CHECK_AGAIN_S = 0.5
"""Seconds between two checks for a tracer provider. A check reads the environment, which is 2 % of a request's time."""


class Tracing:
    """Makes the spans of one session. Raises `ImportError` where OpenTelemetry is not installed."""

    def __init__(self, endpoints: Endpoints) -> None:
        from opentelemetry import context, trace

        self._context, self._trace = context, trace
        self._tracer = trace.get_tracer("ezeep_async", __version__)
        self._has_failed = False
        self._was_active = False
        self._check_at = float("-inf")
        self._servers = origins(endpoints)

    @property
    def is_active(self) -> bool:
        """Whether the application has a tracer provider. Without one spans cost time and go nowhere."""
        return not (
            isinstance(self._tracer, self._trace.ProxyTracer)
            and isinstance(self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider)
        )

    def if_active(self) -> Tracing | None:
        """This object, or None while the application has no tracer provider. Checked once in `CHECK_AGAIN_S`."""
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + CHECK_AGAIN_S
            self._was_active = self.is_active
        return self if self._was_active else None

    def call(self, request: Request, request_id: str) -> SpanBlock:
        """A span around one call with all its attempts and delays."""
        attributes = {"url.template": request.route, "ezeep.request_id": request_id}
        return self._span(f"ezeep {request.name}", self._trace.SpanKind.INTERNAL, attributes)

    def attempt(self, request: Request, number: int) -> SpanBlock:
        """A span around one request. Call its result with the status of the response."""
        return self.exchange(request.name, request.method, request.route, self._servers[request.host], number)

    def exchange(self, name: str, method: str, route: str, server: URL, number: int) -> SpanBlock:
        """A span around one request to `server`, of whose URL only host and port are shown."""
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.template": route,
            "server.address": server.host or "",
            "server.port": server.port or 0,
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        return self._span(name, self._trace.SpanKind.CLIENT, attributes)

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]
    ) -> Generator[Callable[[int], None]]:
        trace = self._trace
        span = self._guarded(partial(self._tracer.start_span, name, kind=kind, attributes=attributes))
        if span is None:
            yield lambda _: None
            return

        def fail(error: str) -> None:
            span.set_attribute("error.type", error)
            span.set_status(trace.Status(trace.StatusCode.ERROR))

        def responded(status: int) -> None:
            self._guarded(lambda: span.set_attribute("http.response.status_code", status))
            if status >= 400:
                self._guarded(lambda: fail(str(status)))

        context = self._context.attach(trace.set_span_in_context(span))
        try:
            yield responded
        except BaseException as error:
            # Only the class of an exception: its text and traceback may hold personal data.
            kind_of_error = type(error).__name__
            self._guarded(lambda: fail(kind_of_error))
            raise
        finally:
            self._context.detach(context)
            self._guarded(span.end)

    def _guarded(self, act: Callable[[], T]) -> T | None:
        """Log exceptions of the application's tracer: they never fail a call."""
        try:
            return act()
        except BaseException:  # a span processor may even call `sys.exit`
            level = logging.DEBUG if self._has_failed else logging.ERROR
            self._has_failed = True
            logger.log(level, "the tracer failed; the request is not affected", exc_info=True)
            return None
