"""When the refresh token is sent to the server. All of this runs with the store's lock held.

A refresh token works once. It is not sent if the server refused it before. It is not sent either while an earlier holder
of the lock, which was suspended until its lease ran out, may have sent it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, runtime_checkable

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._runtime.signals import exchange_suspended
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.exchange import Exchanger
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.refusals import Refusals
from ezeep_async.auth.tasks import endable
from ezeep_async.auth.tokens import TokenSet, TokenStore, as_store_errors
from ezeep_async.errors import AuthenticationError, ReauthorizationRequired, TransientAuthError


POLL_S = 0.2
"""Seconds between two checks whether an earlier holder of the lock has stored its token set."""

EarlierHolder = Literal["suspended", "gone"]
"""State of an earlier holder of the lock that began to refresh this token set and has not stored a new one.

"suspended": it may still store one. "gone": it cannot.
"""


@runtime_checkable
class LeasedStore(Protocol):
    """A store whose lock has a lease, so a live holder can lose it. Both methods are called with the lock held."""

    async def begin_refresh(self) -> EarlierHolder | None:
        """Record that the loaded token set is being refreshed, until one is stored or the lock is released.

        Returns:
            The state of an earlier holder with such a record, None if there is none. While it is "suspended", nothing
            is recorded for the caller.
        """
        ...

    async def is_still_locked(self) -> bool:
        """Whether the caller still holds the lock."""
        ...


@attrs.frozen
class Presenter:
    """Sends the refresh tokens of one store."""

    store: TokenStore
    exchanger: Exchanger
    refusals: Refusals
    clock: Clock
    log: Log = logger

    def rejected_again(self, access_token: str) -> None:
        """See `Refusals`."""
        self.refusals.rejected_again(access_token, self.clock.monotonic())

    def is_useless(self, access_token: str) -> bool:
        """See `Refusals`."""
        return self.refusals.is_useless(access_token, self.clock.monotonic())

    async def next_tokens(
        self, current: TokenSet, reload: Callable[[], Awaitable[TokenSet | None]]
    ) -> tuple[TokenSet, bool]:
        """Return the successor of `current`, and whether this call refreshed it or another process did.

        Raises what `Exchanger.refresh` raises, `TransientAuthError` while an earlier holder of the lock is suspended, and
        `TokenStoreError`.
        """
        self.refusals.check(current, self.clock.monotonic())
        with as_store_errors():
            await self.store.check_writable()
        leased = self.store if isinstance(self.store, LeasedStore) else None
        earlier = None
        if leased is not None:
            earlier = await self._begun(leased)
            if earlier == "suspended":
                earlier, theirs = await self._wait_for_earlier(leased, current, reload)
                if theirs is not None:
                    return theirs, False
        try:
            if leased is None:
                return await self.exchanger.refresh(current), True
            return await self.exchanger.refresh(current, leased.is_still_locked), True
        except AuthenticationError as error:
            if isinstance(error, TransientAuthError) and leased is None:
                raise
            # A store with a lease: the lock may have been lost meanwhile, and another process may have refreshed.
            theirs = await reload()
            if theirs is not None and theirs.refresh_token != current.refresh_token:
                # Another process refreshed it: the lock does not reach it, or its lease ran out.
                return theirs, False
            if isinstance(error, TransientAuthError):
                raise
            if earlier is not None and isinstance(error, ReauthorizationRequired):
                raise TransientAuthError(
                    f"the server refused the refresh token ({error}), and another process had begun to refresh it before "
                    "that process lost its lock. Try again: if it stores the new token set, the next call works",
                    error=error.error,
                    status=error.status,
                    request_id=error.request_id,
                ) from error
            self.refusals.remember(current, error, self.clock.monotonic())
            raise

    async def _begun(self, leased: LeasedStore) -> EarlierHolder | None:
        with as_store_errors():
            return await leased.begin_refresh()

    async def _wait_for_earlier(
        self, leased: LeasedStore, current: TokenSet, reload: Callable[[], Awaitable[TokenSet | None]]
    ) -> tuple[EarlierHolder | None, TokenSet | None]:
        """Wait, for at most the time of one exchange, until it has stored a token set, has given up, or is gone.

        Returns its state, and the token set that it stored.
        """
        self.log.warning(
            "another process began to refresh this token set and lost its lock. It seems to be suspended: waiting for it"
        )
        limit = RunningLimit(self.exchanger.timeout)
        while limit.left > 0:
            with endable(), exchange_suspended():
                await limit.sleep(POLL_S)
            theirs = await reload()
            if theirs is not None and theirs.refresh_token != current.refresh_token:
                return None, theirs
            if (earlier := await self._begun(leased)) != "suspended":
                return earlier or "gone", None
        raise TransientAuthError(
            "another process began to refresh this token set and does not continue (is it suspended?). The refresh token "
            "works once, so it was not sent again: try later, or end that process"
        )
