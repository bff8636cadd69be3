"""The send loop (limiter, token, transport, retry), and requests to the OAuth endpoints."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import attrs

from ezeep_async import errors
from ezeep_async._http.in_flight import InFlight
from ezeep_async._http.limiter import Limiter
from ezeep_async._http.stats import Stats
from ezeep_async._http.storage import Storage
from ezeep_async._http.time_limits import Attempt
from ezeep_async._http.tracing import Tracing
from ezeep_async._http.transport import Transport
from ezeep_async._text.redaction import Secret
from ezeep_async._wire.requests import SAFE_METHODS, Host, Phase, Request, origins
from ezeep_async._wire.responses import RawResponse, error_from, is_success
from ezeep_async._wire.retrying import (
    RetryBudget,
    is_ambiguous,
    is_response_lost,
    is_unreadable,
    may_be_repeated,
    may_have_happened,
    retry_delay,
)
from ezeep_async.settings import Endpoints, Settings


if TYPE_CHECKING:
    from ezeep_async._http.shared_limits import Link

logger = logging.getLogger("ezeep_async.http")


_in_background: ContextVar[bool] = ContextVar("ezeep_in_background", default=False)


@contextmanager
def background() -> Generator[None]:
    """Give calls made inside, and in tasks started inside, background priority."""
    before = _in_background.set(True)
    try:
        yield
    finally:
        _in_background.reset(before)


class TokenSource(Protocol):
    """Provides access tokens to the send loop."""

    async def access_token(self) -> str:
        """Return a token that is currently valid."""
        ...

    async def replacement_for(self, rejected: str) -> str:
        """Return the token for the replay after a 401 to `rejected`, or `rejected` itself if a replay is pointless."""
        ...

    def rejected_again(self, access_token: str) -> bool:
        """Record a 401 to a token that `replacement_for` returned. Return whether another replay is pointless."""
        ...


@attrs.frozen(eq=False)
class Limiters:
    """The limiters of one session, or of all sessions of a pool."""

    hosts: dict[Host, Limiter]
    _settings: Settings

    @classmethod
    def of(cls, settings: Settings) -> Limiters:
        return cls(
            {host: Limiter(settings.concurrency, settings.requests_per_second) for host in Host}, settings
        )

    @cached_property
    def storage(self) -> Limiter:
        """The limiter of all hosts of the storage."""
        return Limiter(self._settings.concurrency, self._settings.requests_per_second)

    @property
    def active(self) -> int:
        """Requests to the hosts that are under way."""
        return sum(limiter.active for limiter in self.hosts.values())

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return sum(limiter.waiting for limiter in self.hosts.values())

    @property
    def busy_hosts(self) -> tuple[str, ...]:
        """Hosts with requests that are under way or wait."""
        return tuple(host.value for host, limiter in self.hosts.items() if limiter.active or limiter.waiting)


@attrs.define(eq=False)
class _Call:
    """The state of one call. All its attempts share one request id, one deadline, and the replays after a 401."""

    request: Request
    request_id: str
    settings: Settings = attrs.field(repr=False)
    attempt: int = 0
    spent: float = 0.0
    """Seconds of the deadline that are used up."""
    token: str = attrs.field(default="", repr=False)
    replays: int = 0
    """Replays after a 401 that have begun."""
    max_replays: int = 1
    """2 if the first one had a token that another process stored, which was rejected too."""
    ambiguous: bool = False
    """Whether an attempt that failed may have been carried out."""
    sending: Attempt | None = None

    def may_have_happened(self, *, interrupted: bool = False) -> bool:
        """Whether any attempt may have changed something on the server."""
        left = interrupted and self.sending is not None and self.sending.sent
        return self.request.method not in SAFE_METHODS and (self.ambiguous or left)

    def is_already_deleted(self, failure: errors.EzeepError) -> bool:
        """Whether a 404 to DELETE means success, because an earlier attempt may have deleted the record."""
        return self.request.method == "DELETE" and self.ambiguous and isinstance(failure, errors.NotFound)


class Sender:
    """Sends authenticated requests until there is a response to return or an error to raise."""

    def __init__(
        self,
        transport: Transport,
        tokens: TokenSource,
        settings: Settings,
        *,
        limiters: Limiters | None = None,
        tracing: Tracing | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self.settings = settings
        self._budget = RetryBudget()
        self._link: Link | None = None
        self._limiters = limiters or Limiters.of(settings)
        self._random = rng
        self._tracing = tracing
        self._counts = Stats()
        self._in_flight = InFlight()
        self._id_prefix = uuid.uuid4().hex[:20]

    def stats(self) -> Stats:
        limiters = self._limiters
        return attrs.evolve(
            self._counts, in_flight=limiters.active, waiting=limiters.waiting, hosts=limiters.busy_hosts
        )

    @property
    def is_busy(self) -> bool:
        """Whether a call of this sender is in progress."""
        return self._in_flight.is_busy

    def join(self, endpoints: Endpoints) -> None:
        """Share limiters and cool-downs, if `Settings.shared_pace` says where. Once, on the event loop."""
        if (channel := self.settings.shared_pace) is not None and self._link is None:
            from ezeep_async._http.shared_limits import link_of  # most programs do not use it

            self._link = link_of(channel)
            self._limiters.hosts.update(self._link.join(origins(endpoints), self.settings))

    async def leave(self) -> None:
        """Stop sharing. Call it after `close`."""
        link, self._link = self._link, None
        if link is not None:
            await link.leave()

    def close(self) -> None:
        """Refuse new calls, and end those in flight with `SessionClosed`."""
        self._in_flight.close()

    @cached_property
    def storage(self) -> Storage:
        """A client for uploads, with the same settings. Its uploads end with the calls of this sender."""
        return Storage(
            self._transport,
            self.settings,
            self._in_flight,
            self._tracing,
            self._random,
            self._limiters.storage,
        )

    async def send(self, request: Request, settings: Settings | None = None) -> RawResponse:
        """Return the 2xx response to `request`. Raises an `EzeepError` for everything else.

        `settings` has the time limits and retries of this call, if they are not those of the session.
        """
        task, cancelled_before = self._in_flight.enter()
        self._counts.calls += 1
        settings = self.settings if settings is None else settings
        call = _Call(request, f"{self._id_prefix}{self._counts.calls:012x}", settings)
        tracing = None if self._tracing is None else self._tracing.if_active()
        try:
            if tracing is None:
                return await self._run(call, None)
            with tracing.call(request, call.request_id):
                return await self._run(call, tracing)
        except errors.EzeepError as error:
            self._counts.failed += 1
            if call.may_have_happened():
                error.may_have_happened = True
            raise
        except asyncio.CancelledError:
            if self._in_flight.was_closed(task, cancelled_before):
                self._counts.failed += 1
                closed = errors.SessionClosed("the EzeepSession was closed during the call")
                closed.may_have_happened = call.may_have_happened(interrupted=True)
                raise closed from None
            raise
        finally:
            self._in_flight.leave(task)

    async def _run(self, call: _Call, tracing: Tracing | None) -> RawResponse:
        """The send loop: take a slot, try once, then return, raise, or back off and repeat."""
        limiter = self._limiters.hosts[call.request.host]
        is_background = _in_background.get()
        rejected: errors.AuthenticationError | None = None
        while True:
            call.attempt += 1
            if not limiter.acquire_at_once():
                await limiter.acquire(at_head=call.attempt > 1, background=is_background)
            try:
                started = asyncio.get_running_loop().time()
                outcome = await self._try_once(call, rejected, tracing)
                rejected = None
                if isinstance(outcome, RawResponse):
                    limiter.not_refused()
                    self._budget.success()
                    if logger.isEnabledFor(logging.DEBUG):
                        took = asyncio.get_running_loop().time() - started
                        logger.debug(
                            "%s: %d in %.3f s, attempt %d, request %s",
                            call.request.name,
                            outcome.status,
                            took,
                            call.attempt,
                            call.request_id,
                        )
                    return outcome if call.attempt == 1 else attrs.evolve(outcome, attempts=call.attempt)
                if call.sending is not None:
                    call.spent += call.sending.used
                if isinstance(outcome, errors.AuthenticationError) and call.replays < call.max_replays:
                    call.replays += 1
                    rejected = outcome
                    continue
                if call.is_already_deleted(outcome):
                    logger.info("%s: already absent: an earlier attempt deleted it", call.request.name)
                    return RawResponse(204, {}, b"", call.request_id, attempts=call.attempt)
                call.ambiguous = call.ambiguous or may_have_happened(outcome)
                # Before the slot is released: a 429 stops the next waiter, and counts this request as active.
                delay = self._delay_after(call, outcome, limiter, started)
            finally:
                limiter.release()
            call.spent += delay
            if not isinstance(outcome, errors.RateLimited):  # after a 429 `acquire` waits
                await asyncio.sleep(delay)

    async def _try_once(
        self, call: _Call, rejected: errors.AuthenticationError | None, tracing: Tracing | None
    ) -> RawResponse | errors.EzeepError:
        """One attempt within the rest of the deadline: the 2xx response, or the failure.

        `rejected` is the 401 of the attempt before, whose token is replaced. Errors of the token source and of the store
        are raised, neither returned nor retried.
        """
        request, settings = call.request, call.settings
        call.sending = attempt = Attempt(settings.deadline - call.spent, settings.read_timeout)
        if settings is not self.settings:
            attempt.connect_timeout = settings.connect_timeout
        try:
            with attempt:
                if rejected is None:
                    call.token = await self._tokens.access_token()
                else:
                    before = call.token
                    call.token = await self._tokens.replacement_for(before)
                    if call.token == before:
                        return rejected
                self._counts.requests += 1
                self._counts.retries += call.attempt > 1
                headers = {"Authorization": Secret(f"Bearer {call.token}"), "X-Request-ID": call.request_id}
                if request.body is not None:
                    headers["Content-Type"] = request.content_type
                if request.sink is not None:
                    headers["Accept"] = "*/*"
                if tracing is None:
                    response = await self._transport.send(request, headers, phase=attempt)
                else:
                    with tracing.attempt(request, call.attempt) as responded:
                        response = await self._transport.send(request, headers, phase=attempt)
                        responded(response.status)
        except TimeoutError:
            limit = attempt.limit
            return errors.RequestTimeout(
                f"{request.name}: no response within the {limit} of {getattr(settings, limit):g} s",
                request_sent=attempt.sent,
            )
        except (errors.TransportError, errors.UnexpectedResponse) as error:
            return error
        return response if is_success(response.status) else self._error_for(call, response)

    def _error_for(self, call: _Call, response: RawResponse) -> errors.EzeepError:
        request = call.request
        refused = error_from(response, f"{request.method} {request.path}", call.attempt)
        if response.status != 401:
            if request.once and isinstance(refused, errors.ApiError):
                refused.may_have_happened = is_ambiguous(refused)
            return refused
        message = str(refused)
        if call.replays and not self._tokens.rejected_again(call.token):
            call.max_replays = 2
        if call.replays == call.max_replays:
            message += ": the server rejected a new token too"
        error = errors.AuthenticationError(message, status=401, request_id=refused.request_id)
        error.attempts = call.attempt
        error.__cause__ = refused
        return error

    def _delay_after(
        self, call: _Call, failure: errors.EzeepError, limiter: Limiter, started: float
    ) -> float:
        """Adapt the limiter, and return the seconds until the next attempt. Raises the final error if there is none."""
        delay = retry_delay(
            failure,
            attempt=call.attempt - call.replays,
            idempotent=call.request.idempotent,
            spent=call.spent,
            policy=call.settings,
            random=self._random,
        )
        throttled = isinstance(failure, errors.RateLimited)
        if throttled:
            self._counts.throttled += 1
            # All calls to the host wait: for as long as the session's settings say, not those of a view.
            asked = min(failure.retry_after or 0.0, self.settings.max_retry_after)
            limiter.throttled(asked if delay is None else delay, started)
            if failure.retry_after is not None and asked < failure.retry_after:
                logger.warning(
                    "%s: the server asked for %g s (Retry-After), more than max_retry_after: other calls wait %g s",
                    call.request.name,
                    failure.retry_after,
                    asked,
                )
        elif isinstance(failure, errors.ApiError) and failure.status < 500:
            limiter.not_refused()
        if delay is None or not (throttled or self._budget.take()):
            raise self._final(call, failure)
        logger.info(
            "%s: attempt %d failed (%s), next in %.2f s, request %s",
            call.request.name,
            call.attempt,
            failure,
            delay,
            call.request_id,
        )
        return delay

    def _final(self, call: _Call, failure: errors.EzeepError) -> errors.EzeepError:
        idempotent = call.request.idempotent
        if isinstance(failure, errors.ApiError | errors.UnexpectedResponse | errors.TransportError):
            failure.attempts = call.attempt
            failure.request_id = failure.request_id or call.request_id
        if isinstance(failure, errors.TransportError) and call.ambiguous and failure.request_sent is False:
            failure.request_sent = None  # this attempt did not leave; an earlier one may have
        if not idempotent and (is_response_lost(failure) or is_unreadable(failure)):
            unknown = errors.OutcomeUnknown(
                f"{call.request.name}: the response was lost, so it may or may not have been carried out: {failure}",
                request_id=getattr(failure, "request_id", None) or call.request_id,
                attempts=call.attempt,
            )
            unknown.__cause__ = failure
            return unknown
        failure.retryable = may_be_repeated(failure, idempotent=idempotent)
        return failure


async def send_oauth(
    transport: Transport,
    authorization: Callable[[], str],
    tracing: Tracing | None,
    request: Request,
    phase: Phase,
    /,
) -> RawResponse:
    """Send one request to an OAuth endpoint once, and return the response, whatever its status."""
    headers = {
        "Authorization": Secret(authorization()),
        "Content-Type": request.content_type,
        "X-Request-ID": uuid.uuid4().hex,
    }
    try:
        if tracing is None:
            return await transport.send(request, headers, phase=phase, timed=False)
        with tracing.attempt(request, 1) as responded:
            response = await transport.send(request, headers, phase=phase, timed=False)
            responded(response.status)
            return response
    except (errors.TransportError, errors.UnexpectedResponse) as error:
        error.request_id = headers["X-Request-ID"]
        raise
