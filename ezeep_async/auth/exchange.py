"""The exchange of a refresh token: whether it is sent, what is retried, and what is final.

A refresh token works once. It is not sent if the server refused it before, if the store cannot be written, or while an
earlier holder of the lock, which was suspended until its lease ran out, may have sent it.

A refusal is remembered in two places: for this process in `_Refusals`, and, if a person has to log in again, in the store as
`TokenSet.ended`. So other processes and later ones do not send the token either. They use the access token until it expires, and
raise `ReauthorizationRequired` then. A login replaces a token set that has ended (`check_same_identity`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import weakref
from collections.abc import Awaitable, Callable
from typing import cast

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._runtime.signals import exchange_suspended
from ezeep_async._text.redaction import Secret
from ezeep_async._wire.retrying import backoff
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.logs import Log
from ezeep_async.auth.tasks import cancellable, retry_if_cancelled, sleep_through
from ezeep_async.auth.token_endpoint import TokenEndpoint, is_ambiguous, is_unprocessed, restated
from ezeep_async.auth.tokens import (
    CLIENT_CREDENTIALS,
    EarlierHolder,
    LeasedStore,
    TokenSet,
    TokenStore,
    as_store_errors,
)
from ezeep_async.errors import AuthenticationError, ReauthorizationRequired, TransientAuthError


ATTEMPTS = 12
"""Requests for one refresh, at most, whatever the time limit."""
SHORTEST_ATTEMPT_S = 0.1
"""Seconds. An attempt with less time would fail for that reason, and hide why the attempts before it failed."""
POLL_S = 0.2
"""Seconds between two checks whether an earlier holder of the lock has stored its token set."""
MAX_REFUSED_TOKENS = 32
"""Refused refresh tokens that are remembered for one store."""
FIRST_COOL_DOWN_S = 1.0
"""Seconds without another request after the first refusal that is not final, such as `invalid_client`, and after the
first rejected replacement of an access token. Each further one doubles it."""
LONGEST_COOL_DOWN_S = 60.0
"""Limit of that doubling, in seconds. After as many seconds without a refusal it starts again."""

ENDED = "the login has ended: the server refused its refresh token, which is not sent again. Log in again"

Reload = Callable[[], Awaitable[TokenSet | None]]


@attrs.define
class _CoolDown:
    """The token that was refused last, and the time until which it is not used again."""

    digest: str = ""
    until: float = float("-inf")
    count: int = 0

    def begin(self, token: str, now: float) -> None:
        self.digest = _digest(token)
        self.count = 0 if now > self.until + LONGEST_COOL_DOWN_S else self.count + 1
        self.until = now + min(FIRST_COOL_DOWN_S * 2.0 ** min(self.count, 10), LONGEST_COOL_DOWN_S)

    def covers(self, token: str, now: float) -> bool:
        return now < self.until and self.digest == _digest(token)


@attrs.define(eq=False, repr=False)
class _Refusals:
    """The tokens of one store that the server refused, shared by its sessions in this process. Times are monotonic."""

    errors: dict[str, AuthenticationError] = attrs.field(factory=dict[str, AuthenticationError])
    """By the digest of the refresh token."""
    refresh_tokens: _CoolDown = attrs.field(factory=_CoolDown)
    access_tokens: _CoolDown = attrs.field(factory=_CoolDown)

    def check(self, tokens: TokenSet, now: float) -> None:
        """Raise the earlier refusal of this refresh token, if it is final or its cool-down is not over."""
        error = self.errors.get(_digest(_sent(tokens)))
        if error is None and tokens.ended:
            raise ReauthorizationRequired(ENDED, error="invalid_grant")
        if isinstance(error, ReauthorizationRequired):
            why = "The server refused it before. It is not used while the token store holds this token set"
        elif error is not None and self.refresh_tokens.covers(_sent(tokens), now):
            why = f"It is not used for {self.refresh_tokens.until - now:.0f} s"
        else:
            return
        raise restated(error, f"{error}. {why}", type(error))

    def remember(self, tokens: TokenSet, error: AuthenticationError, now: float) -> None:
        # A copy, without the traceback.
        self.errors[_digest(_sent(tokens))] = restated(error, str(error), type(error))
        while len(self.errors) > MAX_REFUSED_TOKENS:
            del self.errors[next(iter(self.errors))]
        if not isinstance(error, ReauthorizationRequired):
            self.refresh_tokens.begin(_sent(tokens), now)


def _sent(tokens: TokenSet) -> str:
    """What a refusal is remembered by. A partner app has no refresh token, and each of its logins another access token."""
    return tokens.refresh_token or tokens.access_token


def _digest(token: str) -> str:
    """A hash is kept instead of the token, because this lives longer than the session."""
    return hashlib.sha256(token.encode()).hexdigest()


_of_stores: weakref.WeakKeyDictionary[TokenStore, _Refusals] = weakref.WeakKeyDictionary()


def _refusals_of(store: TokenStore) -> _Refusals:
    try:
        return _of_stores.setdefault(store, _Refusals())
    except TypeError:  # the store has no hash or no weak references
        return _Refusals()


@attrs.define(eq=False, repr=False)
class Exchanger:
    """Exchanges the refresh tokens of one store. All of it runs with the store's lock held."""

    _store: TokenStore
    _endpoint: TokenEndpoint
    _clock: Clock
    _log: Log
    _random: Callable[[], float] = random.random
    refreshes: int = 0
    """Refreshes that succeeded."""
    _issued: str = ""
    """The digest of the access token that the last of them issued."""
    _refusals: _Refusals = attrs.field(init=False)
    _leased: LeasedStore | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._refusals = _refusals_of(self._store)
        has_lease = callable(getattr(self._store, "begin_refresh", None))
        self._leased = cast("LeasedStore", self._store) if has_lease else None

    @property
    def leaves_marks(self) -> bool:
        """Whether the store marks a token set that is being refreshed, until the next one is stored."""
        return self._leased is not None

    @property
    def longest(self) -> float:
        """Seconds that the requests of one refresh take at most: one exchange, and one replay of it."""
        return 2 * self._endpoint.timeout

    def is_refresh_useless(self, access_token: str) -> bool:
        """Whether this access token replaced a rejected one, its own 401 was final, and the cool-down is not over.

        Its caller then gets it back, and raises the 401. Otherwise a server that rejects every access token would use
        up one refresh token for each call.
        """
        return self._refusals.access_tokens.covers(access_token, self._clock.monotonic())

    def rejected_again(self, access_token: str) -> bool:
        """Record a 401 for the replacement of a rejected token. Return whether it is final.

        It is not if another process stored the replacement: that may be as old as the rejected token, so one refresh
        follows. During the cool-down it is final. Otherwise two processes would refresh each other's tokens in turn.
        """
        now, digest, cool_down = self._clock.monotonic(), _digest(access_token), self._refusals.access_tokens
        if cool_down.digest == digest:  # once, however many calls used it
            return True
        if digest != self._issued and now >= cool_down.until:
            return False
        cool_down.begin(access_token, now)
        return True

    async def refresh(self, current: TokenSet, reload: Reload) -> tuple[TokenSet, bool]:
        """Return the next token set, and whether this process got it from the server, or another one stored it.

        Raises `ReauthorizationRequired`, `TransientAuthError` or another `AuthenticationError`, and `TokenStoreError`.
        """
        self._refusals.check(current, self._clock.monotonic())
        with as_store_errors():
            await self._store.check_writable()
        if current.grant == CLIENT_CREDENTIALS:
            return await self._request_again(current), True
        earlier = await self._begin_refresh()
        if earlier == "suspended" and (theirs := await self._wait_for_earlier(current, reload)):
            return theirs, False
        try:
            return await self._exchange(current), True
        except (Exception, asyncio.CancelledError) as error:
            # Not after a success: if the save fails then, the mark has to keep others from the used token.
            await retry_if_cancelled(self._end_refresh)
            if not isinstance(error, AuthenticationError):
                raise
            if isinstance(error, TransientAuthError) and self._leased is None:
                raise
            # Another process may have refreshed it: the lock does not reach that process, or its lease ran out.
            if theirs := await _stored_by_others(current, reload):
                return theirs, False
            if isinstance(error, TransientAuthError):
                raise
            if earlier is not None and isinstance(error, ReauthorizationRequired):
                raise restated(
                    error,
                    "the server refused the refresh token, and another process had begun to refresh it before that process "
                    "lost its lock. Try again: if it stores the new token set, the next call works",
                    TransientAuthError,
                ) from error
            self._refusals.remember(current, error, self._clock.monotonic())
            if isinstance(error, ReauthorizationRequired):
                await retry_if_cancelled(lambda: self._store_end(current))
            raise

    async def _store_end(self, current: TokenSet) -> None:
        """Mark the stored token set as ended, for other processes and later ones. An error of the store is logged."""
        try:
            stored = await self._store.load()
            if stored is not None and stored.refresh_token == current.refresh_token:
                await self._store.save(attrs.evolve(stored, ended=True))
        except Exception as error:  # noqa: BLE001  # of any library behind a store; the refusal matters more
            self._log.info("that the login has ended could not be stored: %s", error)

    async def _request_again(self, current: TokenSet) -> TokenSet:
        """The next token set of a partner app. Nothing is used up, so another process cannot be in the way."""
        try:
            tokens = await self._exchange(current)
        except AuthenticationError as error:
            if not isinstance(error, TransientAuthError):
                self._refusals.remember(current, error, self._clock.monotonic())
            raise
        return attrs.evolve(tokens, refresh_token="")

    async def _begin_refresh(self) -> EarlierHolder | None:
        """Mark this refresh as begun. Return the state of an earlier holder; if "suspended", nothing is marked."""
        if self._leased is None:
            return None
        try:
            with as_store_errors():
                return await self._leased.begin_refresh()
        except (Exception, asyncio.CancelledError):
            await retry_if_cancelled(self._end_refresh)  # it may have been marked: only the response is lost
            raise

    async def _end_refresh(self) -> None:
        """Let others try: remove the mark of `_begin_refresh`. An error of the store is logged; the mark ends by itself."""
        end_refresh = getattr(self._leased, "end_refresh", None)
        if end_refresh is not None:
            try:
                await end_refresh()
            except Exception as error:  # noqa: BLE001  # of any library behind a store; the refusal matters more
                self._log.info("the mark of a refresh that failed was not removed: %s", error)

    async def _wait_for_earlier(self, current: TokenSet, reload: Reload) -> TokenSet | None:
        """Wait, for at most the time of one exchange, until the earlier holder has stored a token set or is gone.

        It may have stored one just now: then there is nothing to wait for, and nothing to log.
        """
        limit, is_logged = RunningLimit(self._endpoint.timeout), False
        while True:
            theirs = await reload()
            if theirs is not None:
                if theirs.refresh_token != current.refresh_token:
                    return theirs
                # The earlier holder may have marked it as ended.
                self._refusals.check(theirs, self._clock.monotonic())
            if await self._begin_refresh() != "suspended":
                return None
            if not is_logged:
                is_logged = True
                self._log.warning(
                    "another process began to refresh this token set and lost its lock. It seems to be suspended: waiting for it"
                )
            if limit.left <= 0:
                break
            with cancellable(), exchange_suspended():
                await limit.sleep(POLL_S)
        raise TransientAuthError(
            "another process began to refresh this token set and has not stored the next one (is it suspended?). The refresh "
            "token works once, so it was not sent again: try later"
        )

    async def _exchange(self, current: TokenSet) -> TokenSet:
        """Send the refresh token, or for a partner app the grant that needs none.

        Failures before the request was sent, 429 and 503 are retried within the time limit. A lost response, and 500, 502
        and 504, are replayed once: the token may be used up, so that can only help. Nothing is repeated after the lock
        was lost: another holder may have the next token set.
        """
        form = {"grant_type": "refresh_token", "scope": current.scope}
        if current.grant == CLIENT_CREDENTIALS:
            form["grant_type"] = CLIENT_CREDENTIALS
        else:
            form["refresh_token"] = Secret(current.refresh_token)
        limit = RunningLimit(self._endpoint.timeout)
        attempt = 0
        lost: AuthenticationError | None = None
        while True:
            attempt += 1
            try:
                tokens = await self._endpoint.tokens(form, current, limit)
            except AuthenticationError as error:
                failure = error
            else:
                self.refreshes += 1
                self._issued = _digest(tokens.access_token)
                return tokens
            if isinstance(failure, ReauthorizationRequired) and lost is not None:
                message = (
                    "the response to a token refresh was lost, and the server does not accept the refresh token a second "
                    "time. Log in again"
                )
                raise restated(failure, message, ReauthorizationRequired) from lost
            delay = 0.0
            if is_ambiguous(failure) and lost is None:
                lost, limit = failure, RunningLimit(self._endpoint.timeout)
                self._log.warning(
                    "the response to a token refresh was lost: sending the refresh token once more"
                )
            else:
                # A server in trouble may say `Retry-After: 0`.
                delay = max(failure.retry_after or 0.0, backoff(attempt, self._random))
                left = limit.left - SHORTEST_ATTEMPT_S
                if not is_unprocessed(failure) or attempt >= ATTEMPTS or delay > left:
                    raise failure
                # Before an ambiguous attempt the token is unused, and a signal handler may end the wait. Afterwards not.
                await (limit.sleep(delay) if lost is None else sleep_through(limit, delay))
            if self._leased is not None and not await retry_if_cancelled(self._leased.is_still_locked):
                raise failure


async def _stored_by_others(current: TokenSet, reload: Reload) -> TokenSet | None:
    theirs = await reload()
    return theirs if theirs is not None and theirs.refresh_token != current.refresh_token else None
