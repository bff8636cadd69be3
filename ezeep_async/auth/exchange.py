"""Trading a refresh token for the next login: what is tried again, what once more, and what is final."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Literal

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._wire.requests import Phase, Request, oauth_form
from ezeep_async._wire.responses import RawResponse, is_success
from ezeep_async._wire.retrying import backoff, retry_after_of
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.grants import TOKEN_PATH, SendOnce, failure_from, refresh_form, tokens_from
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.tasks import insist, start_uncancellable, wait_through
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import (
    ConnectFailed,
    EzeepError,
    ReauthorizationRequired,
    RequestTimeout,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)


ATTEMPTS = 12
"""How often one renewal is sent at most, whatever the time limit and the jitter say."""
_UNPROCESSED = frozenset({429, 503})
_MAYBE_PROCESSED = frozenset({500, 502, 504})
SHORTEST_ATTEMPT = 0.1
"""Seconds; an attempt that had less would end for that alone, and hide what was wrong with the ones before."""


@attrs.frozen
class _Failed:
    """One attempt that brought no tokens, and what may come after it."""

    error: EzeepError
    then: Literal["try again", "replay", "give up"]
    delay: float = 0.0


class Exchanger:
    """Trades refresh tokens at the token endpoint.

    `timeout` is the time for one exchange, `connect_timeout` the part of it for reaching the server; seconds.
    """

    def __init__(
        self,
        send: SendOnce,
        clock: Clock,
        *,
        timeout: float,
        connect_timeout: float,
        random: Callable[[], float] = random.random,
        log: Log = logger,
    ) -> None:
        self._log = log
        self._send = send
        self._clock = clock
        self.timeout = timeout
        """Seconds for one exchange."""
        self._connect_timeout = connect_timeout
        self._random = random
        self.refreshes = 0
        """How many renewals went well."""

    @property
    def longest(self) -> float:
        """Seconds that `refresh` takes at most: one exchange, and one replay of it."""
        return 2 * self.timeout

    async def refresh(
        self, current: TokenSet, may_repeat: Callable[[], Awaitable[bool]] | None = None
    ) -> TokenSet:
        """The next login.

        A server that was not reached, a 429 and a 503 are tried again within the time limit. An answer that was lost,
        and 500, 502 and 504, are replayed once: the token may be spent, so presenting it again can only help. But not
        where `may_repeat` is false: the lock was lost, and another holder may have the next token set.
        Raises `ReauthorizationRequired`, `TransientAuthError`, or `AuthenticationError`.
        """
        limit = RunningLimit(self.timeout)
        attempt = 0
        lost: EzeepError | None = None
        while True:
            attempt += 1
            outcome = await self._attempt(current, attempt, limit)
            if isinstance(outcome, TokenSet):
                self.refreshes += 1
                return outcome
            if isinstance(outcome.error, ReauthorizationRequired) and lost is not None:
                raise _lost_and_refused(outcome.error, lost)
            if outcome.then == "replay" and lost is None:
                lost, limit = outcome.error, RunningLimit(self.timeout)
                self._log.warning(
                    "the answer to a token refresh was lost; presenting the refresh token once more"
                )
            elif (
                outcome.then != "try again"
                or attempt >= ATTEMPTS
                or outcome.delay > limit.left - SHORTEST_ATTEMPT
            ):
                raise outcome.error
            if lost is None:
                loop = asyncio.get_running_loop()
                begun = loop.time()
                await asyncio.sleep(outcome.delay)  # nothing is spent yet: who cancels here, ends it
                limit.left -= min(outcome.delay, loop.time() - begun)
            else:
                await wait_through(asyncio.get_running_loop().create_future(), limit, outcome.delay)
            if may_repeat is not None and not await may_repeat():
                raise outcome.error

    async def _attempt(self, current: TokenSet, attempt: int, limit: RunningLimit) -> TokenSet | _Failed:
        """One copy on the wire."""
        form = refresh_form(current.refresh_token, current.scope)
        try:
            response = await self.send_through(oauth_form(TOKEN_PATH, form), limit)
            if is_success(response.status):
                return tokens_from(response, self._clock.now(), current, log=self._log)
        except (TransportError, UnexpectedResponse) as error:
            failure = TransientAuthError(
                f"the login could not be renewed just now: {error}", request_id=error.request_id
            )
            failure.__cause__ = error
            if isinstance(error, TransportError) and error.request_sent is False:
                return _Failed(failure, "try again", backoff(attempt, self._random))
            return _Failed(failure, "replay")
        refused = failure_from(response, TOKEN_PATH, form)
        if response.status in _UNPROCESSED:
            asked = retry_after_of(response.headers, self._clock.now())
            refused.retry_after = asked
            # Zero, or a date that has passed, is no reason to hammer a server in trouble.
            return _Failed(refused, "try again", max(asked or 0.0, backoff(attempt, self._random)))
        return _Failed(refused, "replay" if response.status in _MAYBE_PROCESSED else "give up")

    async def send_through(self, request: Request, limit: RunningLimit | None = None) -> RawResponse:
        """Send a request of the OAuth endpoints; from a task of `auth.tasks` so that nobody can cancel it.

        Raises a `TransportError`: `ConnectFailed` when the server was not reached in time, `RequestTimeout` when it did
        not respond within what is left of `limit` (or the time limit). Limits count running time: a response that arrived
        while the process was suspended is read.
        """
        limit = RunningLimit(self.timeout) if limit is None else limit
        seconds = limit.left
        phase = Phase()
        task = start_uncancellable(self._send_once(request, phase))
        to_connect = min(self._connect_timeout, seconds)
        try:
            if not await wait_through(task, limit, to_connect) and phase.sent:
                await wait_through(task, limit)
        except asyncio.CancelledError:  # a caller with nothing at stake
            task.abort()
            raise
        if not task.done():
            task.abort()
            await insist(lambda: asyncio.wait({task}))
        if not task.cancelled():
            return task.result()
        # Given up on here, or broken off by whoever cancelled a task that the HTTP library keeps for its connection.
        if phase.sent:
            raise RequestTimeout(
                f"no answer from the account service within {seconds:g} s", request_sent=True
            )
        raise ConnectFailed(
            f"no connection to the account service within {to_connect:g} s", request_sent=False
        )

    async def _send_once(self, request: Request, phase: Phase) -> RawResponse:
        return await self._send(request, phase)


def _lost_and_refused(refused: ReauthorizationRequired, lost: EzeepError) -> ReauthorizationRequired:
    error = ReauthorizationRequired(
        "the answer to a token refresh was lost, and the server does not accept the refresh token a second time: "
        "log in again",
        error=refused.error,
        status=refused.status,
        request_id=refused.request_id,
    )
    error.__cause__ = lost
    return error
