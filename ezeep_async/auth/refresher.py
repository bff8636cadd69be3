"""The refresher: one token refresh at a time, in a task that survives the cancellation of its waiters.

A refresh locks the store, loads it again, adopts a token set that another process stored meanwhile, checks that the store
is writable, sends the request, saves, publishes, releases the lock, and then calls the hooks. All callers that need the
new token wait for the one task through `asyncio.shield`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.current import CurrentTokens, Succession
from ezeep_async.auth.exchange import Exchanger
from ezeep_async.auth.hooks import Hooks, TokenHook
from ezeep_async.auth.identity import check_same_identity
from ezeep_async.auth.locking import locked
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.presenting import Presenter
from ezeep_async.auth.refusals import refusals_of
from ezeep_async.auth.tasks import SelfTimed, insist, result_of, shared_result_of, start_self_timed
from ezeep_async.auth.tokens import TokenSet, TokenStore, as_store_errors
from ezeep_async.errors import (
    OPENED_BEFORE_FORK,
    ReauthorizationRequired,
    SessionClosed,
    TokenPersistError,
    TokenStoreError,
)


T = TypeVar("T")

STORE_MARGIN_S = 10.0
"""Seconds for the token store that closing adds to the longest time of an exchange."""
REPORT_CLOSING_AFTER_S = 2.0
"""Seconds after which closing logs what it waits for."""
NOT_LOGGED_IN = (
    "nobody is logged in: the token store is empty. session.oauth.authorization_request() begins a login"
)


class Refresher:
    """Gives access tokens to callers, and refreshes the token set when necessary."""

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
        self._hooks = Hooks(on_rotated, log)
        self._current = CurrentTokens(clock, leeway)
        self._succession = Succession(clock)
        self._refresh: SelfTimed[TokenSet] | None = None
        self._background: set[SelfTimed[Any]] = set()
        self._presenter = Presenter(store, exchanger, refusals_of(store), clock, log)
        self.is_inherited = False  # set in a forked child, which stores nothing
        self._failing_with: type[BaseException | None] = type(None)

    @property
    def tokens(self) -> TokenSet | None:
        """The token set in memory."""
        return self._current.tokens

    def due_in(self, share: float = 0.0) -> float:
        """See `CurrentTokens.due_in`."""
        return self._current.due_in(share)

    def under_way(self) -> set[SelfTimed[Any]]:
        """The tasks that would lose a token set if their connection were closed."""
        return {task for task in (self._refresh, *self._background) if task is not None and not task.done()}

    # --- what callers use ------------------------------------------------------------------------------------------

    async def access_token(self) -> str:
        """Return a valid access token: at once and without a lock while the one in memory is fresh."""
        tokens = self._current.tokens
        if tokens is not None and self._current.is_fresh:
            if self._succession.is_unsaved and self._succession.may_save_again():
                self._own(self._save_again(), "ezeep-save-again")
            return tokens.access_token
        return (await self._join(rejected=None)).access_token

    async def replacement_for(self, rejected: str) -> str:
        """Return the token to use after a 401 to `rejected`; `rejected` itself during the cool-down of replacements."""
        tokens = self._current.tokens
        if tokens is not None and tokens.access_token != rejected and self._current.is_fresh:
            return tokens.access_token
        new = await self._join(rejected=rejected)
        if new.access_token == rejected and not self._presenter.is_useless(rejected):
            # It joined a refresh that began before the 401 arrived.
            new = await self._join(rejected=rejected)
        return new.access_token

    def rejected_again(self, access_token: str) -> None:
        """Record a 401 to the replacement of a rejected token. The next replacement waits for a cool-down."""
        self._presenter.rejected_again(access_token)

    async def refresh(self) -> TokenSet:
        """Refresh now, even if the token is fresh. Joins a refresh that is under way."""
        return await self._join(rejected=None, force=True)

    async def log_in(self, get_tokens: Callable[[], Coroutine[Any, Any, TokenSet]]) -> TokenSet:
        """Run a login to its end, even if the caller is cancelled, and keep its token set: a code works once."""
        return await result_of(self._own(self._log_in(get_tokens), "ezeep-login"))

    async def log_out(self, revoke: Callable[[TokenSet], Coroutine[Any, Any, None]]) -> None:
        """Wait for a refresh that is under way, then revoke the token set and delete it here and in the store."""
        await result_of(self._own(self._log_out(revoke), "ezeep-logout"))

    async def put_if_empty(self, tokens: TokenSet) -> None:
        """Store a first token set, unless there is one. Raises `TokenStoreError` if that belongs to another user."""
        await result_of(self._own(self._put_if_empty(tokens), "ezeep-first-tokens"))

    async def stored(self) -> TokenSet | None:
        """Load the stored token set with the lock held, without adopting it. Raises `TokenStoreError`."""
        if await self._is_unused():
            return None
        async with locked(self._store, self.log):
            return await self._load()

    async def aclose(self, caller: asyncio.Task[object] | None = None) -> None:
        """Wait for a refresh that is under way, and for hooks except `caller`, which may be one of them.

        A refresh that still waits for the lock of the store is cancelled.

        Raises `TokenPersistError` if the token set in memory could not be stored.
        """
        limit = self._exchanger.longest + STORE_MARGIN_S
        loop = asyncio.get_running_loop()  # tasks of a closed loop never end
        while pending := {task for task in self.under_way() if task.get_loop() is loop}:
            for task in pending:
                if task.is_endable:
                    task.cancel()
            done, _ = await asyncio.wait(pending, timeout=REPORT_CLOSING_AFTER_S)
            if not done:
                self.log.warning(
                    "closing waits for a token refresh that is under way, for at most %g s: cancelling it would lose the "
                    "token set",
                    limit,
                )
                patience = RunningLimit(limit)
                done = {task for task in pending if await patience.wait(task)}
            if not done:
                self.log.error("closing: %d token tasks did not end within %g s", len(pending), limit)
                break
        await self._hooks.aclose(caller)
        if self._succession.is_unsaved and self._current.tokens is not None:
            await asyncio.wait({self._own(self._save_again(), "ezeep-last-save")})
            if self._succession.is_unsaved:
                raise TokenPersistError(
                    "the session closes with a token set that could not be stored. The stored refresh token is used up: "
                    "a person has to log in again"
                )

    # --- the one refresh -------------------------------------------------------------------------------------------

    async def _join(self, *, rejected: str | None, force: bool = False) -> TokenSet:
        task = self._refresh
        if task is None:
            task = start_self_timed(self._run_refresh(rejected, force=force), "ezeep-refresh")
            self._refresh = task
            task.add_done_callback(self._refresh_ended)
        return await shared_result_of(task)

    def _refresh_ended(self, task: asyncio.Task[TokenSet]) -> None:
        if self._refresh is task:
            self._refresh = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # One warning for repeated failures of one kind: during an outage every call may fail.
            level = logging.DEBUG if type(error) is self._failing_with else logging.WARNING
            self.log.log(level, "the token refresh failed: %s", error)
        self._failing_with = type(error)

    async def _run_refresh(self, rejected: str | None, *, force: bool) -> TokenSet:
        if await self._is_unused():
            raise ReauthorizationRequired(NOT_LOGGED_IN)
        async with locked(self._store, self.log):
            stored = await self._load()
            current = self._newest(stored)
            if current is None:
                raise ReauthorizationRequired(NOT_LOGGED_IN)
            if not force and self._may_adopt(current, rejected):
                self._current.put(current)
                if self._succession.is_unsaved:
                    await self._save_or_mark(current)
                return current
            is_alive = rejected is not None and self._current.life_left(current) > 0
            if is_alive and self._presenter.is_useless(current.access_token):
                return current
            if not current.refresh_token:
                raise ReauthorizationRequired(
                    "the access token has expired and there is no refresh token: log in again"
                )
            new, is_ours = await self._presenter.next_tokens(current, self._reloaded)
            if not is_ours:
                self._current.put(new)
                return new
            await self._keep(new, stored)
        # After the release of the lock: the hook may use the session.
        self._hooks.call(current, new)
        return new

    async def _reloaded(self) -> TokenSet | None:
        return self._newest(await self._load())

    def _newest(self, stored: TokenSet | None) -> TokenSet | None:
        return self._succession.newest(stored, self._current.tokens, self.log)

    def _may_adopt(self, current: TokenSet, rejected: str | None) -> bool:
        if current.access_token in ("", rejected):
            return False
        enough = 0.0 if rejected is not None else self._current.leeway_of(current)
        return self._current.life_left(current) > enough

    # --- saving ----------------------------------------------------------------------------------------------------

    async def _keep(self, new: TokenSet, stored: TokenSet | None) -> None:
        """Save the new token set, and use it even if it cannot be saved: the old one is used up."""
        self._succession.replace(new, stored, self._current.tokens)
        try:
            await self._save_or_mark(new)
        finally:
            self._current.put(new, issued_now=True)

    async def _save_or_mark(self, tokens: TokenSet) -> None:
        try:
            await self._save(tokens)
        except TokenStoreError as error:
            self._mark_unsaved(error)
        except BaseException as error:  # a store may raise SystemExit: the waiters get it
            self._mark_unsaved(error)
            raise

    async def _save(self, tokens: TokenSet) -> None:
        if self.is_inherited:
            raise SessionClosed(OPENED_BEFORE_FORK)
        try:
            await insist(lambda: self._store.save(tokens))  # the old refresh token is used up
        except TokenStoreError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise TokenPersistError(f"the new token set could not be stored: {error}") from error
        self._succession.is_unsaved = False

    def _mark_unsaved(self, error: BaseException) -> None:
        self._succession.save_failed()
        self.log.critical(
            "TokenPersistError: a new token set was issued but could not be stored. It works in this process only, and the "
            "next call tries to store it again: %s",
            error,
        )

    async def _save_again(self) -> None:
        try:
            await insist(self._save_if_newest)
        except (TokenStoreError, SystemExit, KeyboardInterrupt) as error:
            self._mark_unsaved(error)

    async def _save_if_newest(self) -> None:
        async with locked(self._store, self.log):
            stored = await self._load()
            ours = self._newest(stored)
            if self._succession.is_unsaved and ours is not None:
                await self._save(ours)
                self.log.warning("the token set that could not be stored before is stored now")
            elif stored is None:
                self._forget()
            else:
                self._current.put(stored)

    def _forget(self) -> None:
        self._current.clear()
        self._succession.is_unsaved = False

    # --- logging in and out ----------------------------------------------------------------------------------------

    async def _log_in(self, get_tokens: Callable[[], Coroutine[Any, Any, TokenSet]]) -> TokenSet:
        await self._wait_for_refresh()
        async with locked(self._store, self.log):
            # Check the store before the exchange: a code works once.
            old = await self._load()
            await self._check_writable()
            new = await get_tokens()
            await self._keep(new, old)
        self._hooks.call(old, new)
        return new

    async def _log_out(self, revoke: Callable[[TokenSet], Coroutine[Any, Any, None]]) -> None:
        await self._wait_for_refresh()
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

    async def _wait_for_refresh(self) -> None:
        if self._refresh is not None:
            await asyncio.wait({self._refresh})

    # --- the store -------------------------------------------------------------------------------------------------

    async def _is_unused(self) -> bool:
        """Whether the store is empty and can say so without creating files (see `TokenStore`)."""
        ask: Callable[[], Awaitable[bool]] | None = getattr(self._store, "is_unused", None)
        if ask is None or self._current.tokens is not None:
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
            task.exception()  # retrieved: a cancelled caller does not
