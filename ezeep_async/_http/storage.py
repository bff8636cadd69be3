"""Uploads to the storage of the print service: another origin, which gets no token.

A request has two time limits: one for each wait without progress, and `deadline` for all its attempts. There is no limit for
the whole upload, which consists of many requests and depends on the size of the document.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable, Sequence
from typing import NoReturn

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from ezeep_async import errors
from ezeep_async._http.in_flight import InFlight
from ezeep_async._http.limiter import Limiter
from ezeep_async._http.time_limits import Attempt
from ezeep_async._http.tracing import Tracing
from ezeep_async._http.transport import Transport
from ezeep_async._text.redaction import Clearing
from ezeep_async._wire.responses import RawResponse, error_from, is_success
from ezeep_async._wire.retrying import RetryBudget, retry_delay
from ezeep_async._wire.uploads import Part, StoragePut
from ezeep_async.settings import Settings


CHUNK = 64 * 1024
"""Bytes that are written at once: the limit of aiohttp's write buffer, so that memory is bounded and progress is seen."""
SLOWEST = 32 * 1024
"""Bytes per second that a request may be as slow as. The system takes megabytes at once for sending, so there is no progress
to be seen while they are on their way: this time is added to `read_timeout`."""

logger = logging.getLogger("ezeep_async.http")


class _Body(aiohttp.Payload):
    """The pieces of a body, written without a copy. aiohttp's own payload copies a body before it sends it."""

    def __init__(self, parts: Sequence[Part], progressed: Callable[[], None]) -> None:
        super().__init__(parts, content_type="application/octet-stream")
        self._parts = [memoryview(part) for part in parts]
        self._size = sum(part.nbytes for part in self._parts)
        self._progressed = progressed

    async def write(self, writer: AbstractStreamWriter) -> None:
        for part in self._parts:
            for start in range(0, part.nbytes, CHUNK):
                await writer.write(part[start : start + CHUNK])
                self._progressed()

    def decode(self, encoding: str = "", errors: str = "") -> NoReturn:  # noqa: ARG002  # an abstract method of aiohttp
        raise TypeError("the body of an upload is not text")


class Storage:
    """Sends requests to the storage until they succeed, or raises an `EzeepError`.

    No redirect is followed, and no token or cookie is sent. All hosts of the storage share one limiter.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        in_flight: InFlight,
        tracing: Tracing | None,
        rng: Callable[[], float],
        limiter: Limiter,
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._policy = settings
        """The time limits and retries: those of the session, or of a view."""
        self._in_flight = in_flight
        self._tracing = tracing
        self._random = rng
        self._budget = RetryBudget()
        self._limiter = limiter

    def with_settings(self, settings: Settings) -> Storage:
        """The same client with other time limits and retries."""
        other = copy.copy(self)
        other._policy = settings
        return other

    async def put(self, request: StoragePut) -> None:
        """Send the request, and again after a failure that a retry can help against."""
        task, cancelled_before = self._in_flight.enter()
        try:
            with Clearing():  # frames of aiohttp hold the address, which gives access to the document
                await self._run(request)
        except asyncio.CancelledError:
            if self._in_flight.was_closed(task, cancelled_before):
                raise errors.SessionClosed("the EzeepSession was closed during the upload") from None
            raise
        finally:
            self._in_flight.leave(task)

    async def _run(self, request: StoragePut) -> None:
        limiter, spent, attempt = self._limiter, 0.0, 0
        while True:
            attempt += 1
            await limiter.acquire(at_head=attempt > 1)
            try:
                started = asyncio.get_running_loop().time()
                patience = self._policy.read_timeout + request.size / SLOWEST
                limits = Attempt(self._policy.deadline - spent, patience)
                if self._policy is not self._settings:
                    limits.connect_timeout = self._policy.connect_timeout
                outcome = await self._try_once(request, limits, attempt)
                spent += limits.used
                if isinstance(outcome, RawResponse):
                    limiter.not_refused(started)
                    self._budget.success()
                    logger.debug("%s: %d, attempt %d", request.name, outcome.status, attempt)
                    return
                delay = self._delay_after(outcome, attempt, spent, started)
            finally:
                limiter.release()
            logger.info("%s: attempt %d failed (%s), next in %.2f s", request.name, attempt, outcome, delay)
            spent += delay
            if not isinstance(outcome, errors.RateLimited):  # after a 429 `acquire` waits
                await asyncio.sleep(delay)

    async def _try_once(
        self, request: StoragePut, limits: Attempt, number: int
    ) -> RawResponse | errors.EzeepError:
        try:
            with limits:
                response = await self._exchange(request, limits, number)
        except TimeoutError:
            return errors.RequestTimeout(
                f"{request.name}: no progress within the {limits.limit} of {getattr(self._policy, limits.limit):g} s "
                f"for {request.size} bytes",
                request_sent=limits.sent,
            )
        except (errors.TransportError, errors.UnexpectedResponse) as error:
            return error
        return (
            response
            if is_success(response.status)
            else error_from(response, f"{request.name}: storage", number)
        )

    async def _exchange(self, request: StoragePut, limits: Attempt, number: int) -> RawResponse:
        url = URL(request.url, encoded=True)
        body = _Body(request.parts, limits.progressed)
        tracing = self._tracing
        if tracing is None or not tracing.is_active:
            return await self._transport.put(
                url, body, request.headers, name=request.name, secrets=request.secrets, phase=limits
            )
        with tracing.exchange(request.name, "PUT", "/{upload}", url, number) as responded:
            response = await self._transport.put(
                url, body, request.headers, name=request.name, secrets=request.secrets, phase=limits
            )
            responded(response.status)
            return response

    def _delay_after(self, failure: errors.EzeepError, attempt: int, spent: float, started: float) -> float:
        """Seconds until the next attempt. Raises the failure if there is none."""
        delay = retry_delay(
            failure,
            attempt=attempt,
            idempotent=True,
            spent=spent,
            policy=self._policy,
            random=self._random,
        )
        throttled = isinstance(failure, errors.RateLimited)
        if throttled:
            asked = min(failure.retry_after or 0.0, self._settings.max_retry_after)
            self._limiter.throttled(asked if delay is None else delay, started)
        if delay is None or not (throttled or self._budget.take()):
            failure.attempts = attempt
            raise failure
        return delay
