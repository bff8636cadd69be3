"""Requests to the OAuth endpoints."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from ezeep_async._http.tracing import Tracing
from ezeep_async._http.transport import Transport
from ezeep_async._text.redaction import Secret
from ezeep_async._wire.requests import Phase, Request
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import TransportError, UnexpectedResponse


class OAuthSender:
    """Sends requests to the OAuth endpoints with HTTP Basic authentication. No limiter, no retries."""

    def __init__(
        self, transport: Transport, authorization: Callable[[], str], tracing: Tracing | None
    ) -> None:
        self._transport = transport
        self._authorization = authorization
        self._tracing = tracing

    async def __call__(self, request: Request, phase: Phase, /) -> RawResponse:
        """Send `request` once and return the response, whatever its status."""
        request_id = uuid.uuid4().hex
        headers = {
            "Authorization": Secret(self._authorization()),
            "Content-Type": request.content_type,
            "X-Request-ID": request_id,
        }
        try:
            if self._tracing is None:
                return await self._transport.send(request, headers, phase=phase, timed=False)
            with self._tracing.attempt(request, 1) as on_response:
                response = await self._transport.send(request, headers, phase=phase, timed=False)
                on_response(response)
                return response
        except (TransportError, UnexpectedResponse) as error:
            error.request_id = request_id
            raise
