"""The refresher: one renewal of the login at a time, owned by nobody who can be cancelled.

The order inside it is: lock the store, read it again, adopt what somebody else already fetched, prove that the store
can be written, exchange, persist, publish, unlock, and only then tell the hooks. Everyone who needs the new token
waits for the one task through a shield, so that cancelling any or all of them changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.redaction import Secret
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.exchange import Exchanger
from ezeep_async.auth.hooks import Hooks, TokenHook
from ezeep_async.auth.identity import check_same_identity
from ezeep_async.auth.locking import locked
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.presenting import Presenter
from ezeep_async.auth.refusals import refusals_of
from ezeep_async.auth.tasks import SelfTimed, insist, result_of, shared_result_of, start_self_timed
from ezeep_async.auth.tokens import DEFAULT_LIFETIME, TokenSet, TokenStore, as_store_errors
from ezeep_async.errors import (
    OPENED_BEFORE_FORK,
    ReauthorizationRequired,
    SessionClosed,
    TokenPersistError,
    TokenStoreError,
)


T = TypeVar("T")

DRAIN_MARGIN = 10.0
"""Seconds that closing waits longer than an exchange may take: for the store."""
SILENCE = 2.0
"""Seconds after which closing says what it waits for."""
REMEMBERED = 32
"""How many replaced refresh tokens are remembered."""
SAVE_AGAIN_AFTER = 1.0
"""Seconds between two attempts to store a login that could not be stored."""
NOT_LOGGED_IN = (
    "nobody is logged in: the token store is empty. session.oauth.authorization_request() begins a login"
)


class Refresher:
    """Hands out access tokens, and renews the login when it has to."""

    def __init__(
        self,
        store: TokenStore,
        exchanger: Exchanger,
        clock: Clock,
        *,
        leeway: float,
        on_rotated: TokenHook | None = None,
        log: Log = logger,
    ) -> None:
        self.log = log
        self._store = store
        self._exchanger = exchanger
        self._clock = clock
        self._leeway = leeway
        self._hooks = Hooks(on_rotated, log)
        self._tokens: TokenSet | None = None
        self._good_until = float("-inf")
        self._refresh: SelfTimed[TokenSet] | None = None
        self._background: set[SelfTimed[Any]] = set()
        self._unsaved = False
        # The refresh token that the store still has, while the newer one is unsaved.
        self._replaced: str | None = None
        # What was replaced here. A store that has one of them has gone back: a replica without the last write, a backup.
        self._behind: deque[str] = deque(maxlen=REMEMBERED)
        self._save_not_before = 0.0
        self._presenter = Presenter(store, exchanger, refusals_of(store), clock, log)
        self.is_inherited = False  # set in a forked child, which stores nothing
        self._failing_with: type[BaseException | None] = type(None)

    @property
    def tokens(self) -> TokenSet | None:
        """The login as it is known in memory."""
        return self._tokens

    def due_in(self, share: float = 0.0) -> float:
        """Seconds until `share` (0 to 1) of the leeway of the login in memory is over; minus infinity without one."""
        leeway = 0.0 if self._tokens is None else self._leeway_of(self._tokens)
        return self._good_until + share * leeway - self._clock.monotonic()

    def under_way(self) -> set[SelfTimed[Any]]:
        """The tasks that would lose a token set if their connection were closed."""
        return {task for task in (self._refresh, *self._background) if task is not None and not task.done()}

    # --- what callers use ------------------------------------------------------------------------------------------

    async def access_token(self) -> str:
        """A token that is good for now. Returns at once, without a lock, while the one in memory is."""
        tokens = self._tokens
        if tokens is not None and self._clock.monotonic() < self._good_until:
            if self._unsaved:
                self._save_in_background()
            return tokens.access_token
        return (await self._join(rejected=None)).access_token

    async def replacement_for(self, rejected: str) -> str:
        """The token to use after a 401 to `rejected`; `rejected` itself where another one is of no use just now."""
        tokens = self._tokens
        is_good = self._clock.monotonic() < self._good_until
        if tokens is not None and tokens.access_token != rejected and is_good:
            return tokens.access_token
        renewed = await self._join(rejected=rejected)
        if renewed.access_token == rejected and not self._presenter.is_useless(rejected):
            # joined a renewal that had begun before the 401 was known
            renewed = await self._join(rejected=rejected)
        return renewed.access_token

    def rejected_again(self, access_token: str) -> None:
        """Note a 401 to the replacement for a rejected token. Another one is asked for after a pause."""
        self._presenter.rejected_again(access_token)

    async def refresh(self) -> TokenSet:
        """Renew now, whatever the clock says. Joins a renewal that is under way."""
        return await self._join(rejected=None, force=True)

    async def log_in(self, get_tokens: Callable[[], Coroutine[Any, Any, TokenSet]]) -> TokenSet:
        """Run a login to its end, even if the caller is cancelled, and keep what it brings: a code works once."""
        return await result_of(self._own(self._log_in(get_tokens), "ezeep-login"))

    async def log_out(self, revoke: Callable[[TokenSet], Coroutine[Any, Any, None]]) -> None:
        """Revoke at the server and forget, here and in the store. A renewal that is under way comes first."""
        await result_of(self._own(self._log_out(revoke), "ezeep-logout"))

    async def put_if_empty(self, tokens: TokenSet) -> None:
        """Give the store a first login, unless it has one. Raises `TokenStoreError` if that is of another user."""
        await result_of(self._own(self._put_if_empty(tokens), "ezeep-first-tokens"))

    async def stored(self) -> TokenSet | None:
        """The login as the store has it now, looked at under its lock. Nothing is adopted. Raises `TokenStoreError`."""
        if await self._is_unused():
            return None
        async with locked(self._store, self.log):
            return await self._load()

    async def aclose(self, caller: asyncio.Task[object] | None = None) -> None:
        """Wait for a renewal that is under way, and a moment for hooks (but for `caller`, which may be one of them).

        One that still waits for the lock of the store has not begun, and is ended.

        Raises `TokenPersistError` if a new login could not be stored until now: this is the last chance to learn of it.
        """
        limit = self._exchanger.longest + DRAIN_MARGIN
        loop = asyncio.get_running_loop()  # the tasks of one that was closed never end
        while pending := {task for task in self.under_way() if task.get_loop() is loop}:
            for task in pending:
                if task.is_endable:
                    task.cancel()
            done, _ = await asyncio.wait(pending, timeout=SILENCE)
            if not done:
                self.log.warning(
                    "closing waits for a renewal of the login that is under way, %g s at most: cut short, it would be lost",
                    limit,
                )
                patience = RunningLimit(limit)
                done = {task for task in pending if await patience.wait(task)}
            if not done:
                self.log.error("closing: %d token tasks did not end within %g s", len(pending), limit)
                break
        await self._hooks.aclose(caller)
        if self._unsaved and self._tokens is not None:
            await asyncio.wait({self._own(self._save_again(), "ezeep-last-save")})
            if self._unsaved:
                raise TokenPersistError(
                    "the session closes with a login that could not be stored: the stored one is spent, and a person "
                    "will have to log in again"
                )

    # --- the one renewal -------------------------------------------------------------------------------------------

    async def _join(self, *, rejected: str | None, force: bool = False) -> TokenSet:
        task = self._refresh
        if task is None:
            task = start_self_timed(self._renew(rejected, force=force), "ezeep-refresh")
            self._refresh = task
            task.add_done_callback(self._renewed)
        return await shared_result_of(task)

    def _renewed(self, task: asyncio.Task[TokenSet]) -> None:
        if self._refresh is task:
            self._refresh = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Told once in a row: an outage may last, and be noticed by everybody again and again.
            level = logging.DEBUG if type(error) is self._failing_with else logging.WARNING
            self.log.log(level, "renewing the login failed: %s", error)
        self._failing_with = type(error)

    async def _renew(self, rejected: str | None, *, force: bool) -> TokenSet:
        if await self._is_unused():
            raise ReauthorizationRequired(NOT_LOGGED_IN)
        async with locked(self._store, self.log):
            stored = await self._load()
            current = self._newest(stored)
            if current is None:
                raise ReauthorizationRequired(NOT_LOGGED_IN)
            if not force and self._may_adopt(current, rejected):
                self._publish(current)
                if self._unsaved:
                    await self._save_or_mark(current)
                return current
            is_alive = rejected is not None and self._life_left(current) > 0
            if is_alive and self._presenter.is_useless(current.access_token):
                return current
            if not current.refresh_token:
                raise ReauthorizationRequired(
                    "the access token has ended and there is no refresh token: log in again"
                )
            new, is_ours = await self._presenter.next_tokens(current, self._reloaded)
            if not is_ours:
                self._publish(new)
                return new
            await self._keep(new, stored)
        # From here on waiters that come find the new token; the hook may use the session like anybody else.
        self._hooks.tell(current, new)
        return new

    async def _reloaded(self) -> TokenSet | None:
        return self._newest(await self._load())

    def _newest(self, stored: TokenSet | None) -> TokenSet | None:
        """The stored login decides, unless ours is the one that replaced it: could not be stored, or was lost there."""
        ours, token = self._tokens, None if stored is None else Secret(stored.refresh_token)
        if ours is None:
            return stored
        if self._unsaved and self._replaced == token:
            return ours
        if token and token != ours.refresh_token and token in self._behind:
            if not self._unsaved:
                self.log.warning(
                    "the token store has gone back to a login that was replaced: the newer one is stored again"
                )
            self._unsaved, self._replaced = True, token
            return ours
        self._unsaved = False  # somebody logged in anew, or out, meanwhile: ours is history
        return stored

    def _may_adopt(self, current: TokenSet, rejected: str | None) -> bool:
        if current.access_token in ("", rejected):
            return False
        enough = 0.0 if rejected is not None else self._leeway_of(current)
        return self._life_left(current) > enough

    # --- keeping ---------------------------------------------------------------------------------------------------

    async def _keep(self, new: TokenSet, stored: TokenSet | None) -> None:
        """Persist, then publish. A login that cannot be stored is published all the same: it is the only one there is."""
        self._replaced = None if stored is None else stored.refresh_token
        for old in (stored, self._tokens):
            if (
                old is not None
                and old.refresh_token != new.refresh_token
                and old.refresh_token not in self._behind
            ):
                self._behind.append(old.refresh_token)
        try:
            await self._save_or_mark(new)
        finally:
            self._publish(new, issued_now=True)

    async def _save_or_mark(self, tokens: TokenSet) -> None:
        try:
            await self._save(tokens)
        except TokenStoreError as error:
            self._mark_unsaved(error)
        except BaseException as error:  # as of a store that exits: the waiters learn of it
            self._mark_unsaved(error)
            raise

    async def _save(self, tokens: TokenSet) -> None:
        if self.is_inherited:
            raise SessionClosed(OPENED_BEFORE_FORK)
        try:
            await insist(lambda: self._store.save(tokens))  # the old login is dead at the server
        except TokenStoreError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise TokenPersistError(f"the new login could not be stored: {error}") from error
        self._unsaved = False

    def _mark_unsaved(self, error: BaseException) -> None:
        self._unsaved = True
        self._save_not_before = self._clock.monotonic() + SAVE_AGAIN_AFTER
        self.log.critical(
            "TokenPersistError: a new login was issued but could not be stored; it works in this process only, and "
            "storing it is tried again with the next call: %s",
            error,
        )

    def _save_in_background(self) -> None:
        if self._clock.monotonic() >= self._save_not_before:
            self._save_not_before = self._clock.monotonic() + SAVE_AGAIN_AFTER
            self._own(self._save_again(), "ezeep-save-again")

    async def _save_again(self) -> None:
        try:
            await insist(self._save_if_newest)
        except (TokenStoreError, SystemExit, KeyboardInterrupt) as error:
            self._mark_unsaved(error)

    async def _save_if_newest(self) -> None:
        async with locked(self._store, self.log):
            stored = await self._load()
            ours = self._newest(stored)
            if self._unsaved and ours is not None:
                await self._save(ours)
                self.log.warning("the login that could not be stored before is stored now")
            elif stored is None:
                self._forget()
            else:
                self._publish(stored)

    def _publish(self, tokens: TokenSet, *, issued_now: bool = False) -> None:
        lifetime = tokens.expires_in or DEFAULT_LIFETIME
        left = lifetime if issued_now else self._life_left(tokens)
        self._tokens = tokens
        # Measured by steady time from here on: a wall clock that jumps makes no token old, and none young.
        self._good_until = self._clock.monotonic() + left - self._leeway_of(tokens)

    def _life_left(self, tokens: TokenSet) -> float:
        if tokens == self._tokens:
            return self._good_until + self._leeway_of(tokens) - self._clock.monotonic()
        left = (tokens.expires_at - self._clock.now()).total_seconds()
        # A wall clock that was set back must not lend a token a longer life than it was issued with.
        return left if tokens.expires_in is None else min(left, tokens.expires_in)

    def _leeway_of(self, tokens: TokenSet) -> float:
        return min(self._leeway, (tokens.expires_in or DEFAULT_LIFETIME) / 5)

    def _forget(self) -> None:
        self._tokens = None
        self._good_until = float("-inf")
        self._unsaved = False

    # --- logging in and out ----------------------------------------------------------------------------------------

    async def _log_in(self, get_tokens: Callable[[], Coroutine[Any, Any, TokenSet]]) -> TokenSet:
        await self._quiet()
        async with locked(self._store, self.log):
            # What would be in the way of keeping the login is found out before a code, which works once, is spent.
            old = await self._load()
            await self._check_writable()
            new = await get_tokens()
            await self._keep(new, old)
        self._hooks.tell(old, new)
        return new

    async def _log_out(self, revoke: Callable[[TokenSet], Coroutine[Any, Any, None]]) -> None:
        await self._quiet()
        if await self._is_unused():
            return
        async with locked(self._store, self.log):
            current = self._newest(await self._load())
            if current is not None:
                await revoke(current)
            with as_store_errors():
                await self._store.clear()
            self._forget()

    async def _put_if_empty(self, tokens: TokenSet) -> None:
        async with locked(self._store, self.log):
            stored = await self._load()
            if stored is None:
                await self._save(tokens)
            else:
                check_same_identity(self._store, stored, tokens, self.log)

    async def _quiet(self) -> None:
        if self._refresh is not None:
            await asyncio.wait({self._refresh})

    # --- the store -------------------------------------------------------------------------------------------------

    async def _is_unused(self) -> bool:
        """Whether nobody is logged in, where the store can say so without making anything, such as a lock file."""
        ask: Callable[[], Awaitable[bool]] | None = getattr(self._store, "is_unused", None)
        if ask is None or self._tokens is not None:
            return False
        with as_store_errors():
            return await ask()

    async def _load(self) -> TokenSet | None:
        with as_store_errors():
            return await self._store.load()

    async def _check_writable(self) -> None:
        with as_store_errors():
            await self._store.check_writable()

    # --- tasks -------------------------------------------------------------------------------------------------

    def _own(self, coroutine: Coroutine[Any, Any, T], name: str) -> SelfTimed[T]:
        task = start_self_timed(coroutine, name)
        self._background.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: with its caller gone, nobody else does
