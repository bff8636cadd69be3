"""The send loop: limiter, token, transport, decode, retry."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

import attrs

from ezeep_async._http.limiter import Limiter
from ezeep_async._http.stats import Stats
from ezeep_async._http.tracing import Tracing
from ezeep_async._http.transport import Transport
from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._text.redaction import Secret
from ezeep_async._wire.requests import Host, Phase, Request
from ezeep_async._wire.responses import Context, RawResponse, error_from, is_success
from ezeep_async._wire.retrying import (
    RetryBudget,
    RetryPolicy,
    may_be_repeated,
    may_have_happened,
    never_processed,
    retry_delay,
)
from ezeep_async.errors import (
    ApiError,
    AuthenticationError,
    EzeepError,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    RequestTimeout,
    SessionClosed,
    TransportError,
    UnexpectedResponse,
)
from ezeep_async.settings import Settings


T = TypeVar("T")

logger = logging.getLogger("ezeep_async.http")


_in_background: ContextVar[bool] = ContextVar("ezeep_in_background", default=False)


@contextmanager
def background() -> Generator[None]:
    """Calls made inside, and by tasks that are started inside, let all others go first."""
    before = _in_background.set(True)
    try:
        yield
    finally:
        _in_background.reset(before)


class TokenSource(Protocol):
    """Where the send loop gets access tokens from."""

    async def access_token(self) -> str:
        """A token that is good for now."""
        ...

    async def replacement_for(self, rejected: str) -> str:
        """The token to use after a 401 to `rejected`; `rejected` itself where another one would be of no use."""
        ...

    def rejected_again(self, access_token: str) -> None:
        """Note a 401 to what `replacement_for` returned."""
        ...


class Sender:
    """Sends authenticated requests until there is an answer to give back, or an error to raise."""

    def __init__(
        self,
        transport: Transport,
        tokens: TokenSource,
        settings: Settings,
        *,
        tracing: Tracing | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.transport = transport
        self.tokens = tokens
        self.settings = settings
        self.policy = RetryPolicy(settings.retries, settings.max_retry_after, settings.deadline)
        self.budget = RetryBudget()
        self._limiters = {host: Limiter(settings.concurrency, settings.requests_per_second) for host in Host}
        self.random = rng
        self.tracing = tracing
        self.counts = Stats()
        self._calls: dict[asyncio.Task[object], int] = {}
        self._closed = False

    def limiter(self, host: Host) -> Limiter:
        """The limiter of one host."""
        return self._limiters[host]

    def stats(self) -> Stats:
        """What was done so far."""
        limiters = self._limiters.values()
        return attrs.evolve(
            self.counts,
            in_flight=sum(limiter.active for limiter in limiters),
            waiting=sum(limiter.waiting for limiter in limiters),
        )

    async def send(self, request: Request) -> RawResponse:
        """The 2xx answer to `request`. Raises an `EzeepError` for everything else."""
        if self._closed:
            raise SessionClosed("this EzeepSession is closed")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine of aiohttp runs in a task
        self._calls[task] = self._calls.get(task, 0) + 1
        cancelled_before = task.cancelling()
        self.counts.calls += 1
        call = _Call(self, request)
        try:
            return await self._run(call)
        except EzeepError as error:
            self.counts.failed += 1
            if call.may_have_happened():
                error.may_have_happened = True
            raise
        except asyncio.CancelledError:
            # close() cancels the calls in flight; to their callers that is an error, not a cancellation.
            if self._closed and task not in self._calls and task.uncancel() <= cancelled_before:
                self.counts.failed += 1
                closed = SessionClosed("the EzeepSession was closed during the call")
                closed.may_have_happened = call.may_have_happened(broken_off=True)
                raise closed from None
            raise
        finally:
            if task in self._calls:
                self._calls[task] -= 1
                if not self._calls[task]:
                    del self._calls[task]

    async def _run(self, call: _Call) -> RawResponse:
        if self.tracing is None:
            return await call.run()
        with self.tracing.call(call.request, call.request_id):
            return await call.run()

    def close(self) -> None:
        """Refuse new calls, and end those in flight with `SessionClosed`."""
        self._closed = True
        calls, self._calls = self._calls, {}
        for task in calls:
            task.cancel()


class _Call:
    """One logical call with all its attempts. They share one request id, one deadline, and one replay after a 401."""

    def __init__(self, sender: Sender, request: Request) -> None:
        self._sender = sender
        self.request = request
        self._limiter = sender.limiter(request.host)
        self._transport = sender.transport
        self._settings = sender.settings
        self.request_id = uuid.uuid4().hex
        self._background = _in_background.get()
        self._attempt = 0
        self._token = ""
        self._refusal: AuthenticationError | None = None
        self._replayed = False
        self._unclear = False
        self._exchanging = False
        self._phase: Phase | None = None
        self._spent = 0.0

    async def run(self) -> RawResponse:
        """Attempts until one of them settles it."""
        while True:
            self._attempt += 1
            await self._limiter.acquire(first=self._attempt > 1, background=self._background)
            try:
                started = asyncio.get_running_loop().time()
                outcome = await self._try_once(started)
                if not isinstance(outcome, EzeepError):
                    return outcome if self._attempt == 1 else attrs.evolve(outcome, attempts=self._attempt)
                if isinstance(outcome, AuthenticationError) and not self._replayed:
                    self._replayed, self._refusal = True, outcome
                    continue
                if self._is_done_already(outcome):
                    return RawResponse(204, {}, b"", self.request_id, attempts=self._attempt)
                # Before the slot is given back: a refusal has to reach whoever would take it.
                delay = self._delay_after(outcome, started)
            finally:
                self._limiter.release()
            await self._pause(delay, outcome)

    def may_have_happened(self, *, broken_off: bool = False) -> bool:
        """Whether it was perhaps carried out, by any attempt. Reading changes nothing."""
        return self.request.method != "GET" and (self._unclear or (broken_off and self._sent() is not False))

    async def _try_once(self, started: float) -> RawResponse | EzeepError:
        """One attempt, within what is left of the deadline: the 2xx answer, or what went wrong."""
        self._exchanging = False
        limit = RunningTimeout(self._settings.deadline - self._spent)
        try:
            with limit:
                tokens = self._sender.tokens
                refusal, self._refusal = self._refusal, None
                if refusal is None:
                    self._token = Secret(await tokens.access_token())
                else:
                    rejected = self._token
                    self._token = Secret(await tokens.replacement_for(rejected))
                    if self._token == rejected:
                        return refusal
                response = await self._exchange(self._token)
        except TimeoutError:
            return RequestTimeout(
                f"{self._name}: not done within the deadline of {self._settings.deadline:g} s",
                request_sent=self._sent(),
            )
        except (TransportError, UnexpectedResponse) as error:
            return error
        finally:
            self._spent += limit.used
        if is_success(response.status):
            self._succeeded(started, response)
            return response
        return self._error_for(response, self._token)

    @property
    def _name(self) -> str:
        return f"{self.request.method} {self.request.route}"

    async def _exchange(self, token: str) -> RawResponse:
        headers = {"Authorization": Secret(f"Bearer {token}"), "X-Request-ID": self.request_id}
        if self.request.body is not None:
            headers["Content-Type"] = self.request.content_type
        self._exchanging = True
        self._phase = None if self.request.idempotent else Phase()
        counts = self._sender.counts
        counts.requests += 1
        counts.retries += self._attempt > 1
        tracing = self._sender.tracing
        if tracing is None:
            return await self._transport.send(self.request, headers, phase=self._phase)
        with tracing.attempt(self.request, self._attempt) as answered:
            response = await self._transport.send(self.request, headers, phase=self._phase)
            answered(response)
            return response

    def _sent(self) -> bool | None:
        """Whether the attempt that was broken off had left: certainly not while it waited for a token."""
        if not self._exchanging:
            return False
        return None if self._phase is None else self._phase.sent

    def _succeeded(self, started: float, response: RawResponse) -> None:
        self._limiter.succeeded()
        self._sender.budget.success()
        if logger.isEnabledFor(logging.DEBUG):
            took = asyncio.get_running_loop().time() - started
            logger.debug(
                "%s: %d in %.3f s, attempt %d, request %s",
                self._name,
                response.status,
                took,
                self._attempt,
                self.request_id,
            )

    def _error_for(self, response: RawResponse, token: str) -> EzeepError:
        context = Context(
            self.request.method, self.request.path, self.request_id, self._attempt, secrets=(token,)
        )
        answer = error_from(response, context)
        if response.status != 401:
            return answer
        if self._replayed:
            self._sender.tokens.rejected_again(token)
        error = AuthenticationError(
            f"{answer} (with a token that was renewed for it)", status=401, request_id=answer.request_id
        )
        error.__cause__ = answer
        return error

    def _is_done_already(self, failure: EzeepError) -> bool:
        """A deletion that finds nothing, after an attempt that may have been carried out, was carried out."""
        if self.request.deletes and self._unclear and isinstance(failure, NotFound):
            logger.info("%s: already absent: an earlier attempt deleted it", self._name)
            return True
        harmless = self.request.idempotent and may_be_repeated(failure, idempotent=True)
        self._unclear = (
            self._unclear or may_have_happened(failure) or (harmless and not never_processed(failure))
        )
        return False

    def _delay_after(self, failure: EzeepError, started: float) -> float:
        """Seconds to wait before the next attempt. Raises `failure` when there is none."""
        delay = retry_delay(
            failure,
            attempt=self._attempt - self._replayed,
            idempotent=self.request.idempotent,
            spent=self._spent,
            policy=self._sender.policy,
            random=self._sender.random,
        )
        throttled = isinstance(failure, RateLimited)
        if throttled:
            self._sender.counts.throttled += 1
            asked = min(failure.retry_after or 0.0, self._settings.max_retry_after)
            self._limiter.throttled(asked if delay is None else delay, started)
            if failure.retry_after is not None and asked < failure.retry_after:
                logger.warning(
                    "%s: the server asked for %g s without calls, more than max_retry_after: the others wait %g s",
                    self._name,
                    failure.retry_after,
                    asked,
                )
        elif isinstance(failure, ApiError) and failure.status < 500:
            self._limiter.succeeded()
        if delay is None:
            raise self._final(failure)
        if not throttled and not self._sender.budget.take():
            raise self._final(failure)
        return delay

    def _final(self, failure: EzeepError) -> EzeepError:
        if isinstance(failure, ApiError | UnexpectedResponse | TransportError):
            failure.attempts = self._attempt
            failure.request_id = failure.request_id or self.request_id
        if isinstance(failure, TransportError) and self._unclear and failure.request_sent is False:
            failure.request_sent = None  # this attempt did not leave; one before it may have
        if not self.request.idempotent and (self._unclear or _unreadable_success(failure)):
            unknown = OutcomeUnknown(
                f"{self._name}: the answer was lost, so it may or may not have been carried out: {failure}",
                request_id=getattr(failure, "request_id", None) or self.request_id,
                attempts=self._attempt,
            )
            unknown.__cause__ = failure
            return unknown
        failure.retryable = may_be_repeated(failure, idempotent=self.request.idempotent)
        return failure

    async def _pause(self, delay: float, failure: EzeepError) -> None:
        logger.info(
            "%s: attempt %d failed (%s), next in %.2f s, request %s",
            self._name,
            self._attempt,
            failure,
            delay,
            self.request_id,
        )
        self._spent += delay
        if not isinstance(failure, RateLimited):  # the limiter itself keeps everyone waiting after a 429
            await asyncio.sleep(delay)


def _unreadable_success(failure: EzeepError) -> bool:
    return isinstance(failure, UnexpectedResponse) and not 300 <= failure.status < 400
