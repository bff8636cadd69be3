"""Presenting the refresh token to the server, with the store's lock held: when it is done, and when it is not.

A refresh token works once. It is not presented where the server has refused it before, and not while another holder of
the lock, whose lease ran out because it was suspended, may have presented it.
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
"""An earlier holder of the lock that began to refresh this very token set and has neither stored another nor given up:
whether it may still do so."""


@runtime_checkable
class LeasedStore(Protocol):
    """A store whose lock ends with a lease, also under a holder that lives on. Both are called with the lock held."""

    async def begin_refresh(self) -> EarlierHolder | None:
        """Note that the loaded token set is being refreshed, until it is stored or the lock is released.

        Nothing is noted while an earlier holder is suspended that has noted the same.
        """
        ...

    async def is_still_locked(self) -> bool:
        """Whether the lock is still held here."""
        ...


@attrs.frozen
class Presenter:
    """Presents the refresh tokens of one store."""

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
        """The token set that follows `current`, and whether it was issued here; else another holder stored it.

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
            theirs = await reload()
            if theirs is not None and theirs.refresh_token != current.refresh_token:
                # Another process refreshed it, past a lock that does not hold everywhere, or no longer.
                return theirs, False
            if isinstance(error, TransientAuthError):
                raise
            if earlier is not None and isinstance(error, ReauthorizationRequired):
                raise TransientAuthError(
                    f"the refresh token was refused ({error}), and another process had begun to refresh it before its "
                    "lock ended: if it stores the new token set, the next call works",
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
        """Wait until it has stored its token set, has given up, or is gone: for the time of one exchange."""
        self.log.warning(
            "another process began to refresh this token set, and lost its lock: it is suspended, it seems, and waited for"
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
            "works once, so it is not presented by two: try later, or end that process"
        )
