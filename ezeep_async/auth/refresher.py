"""One token refresh at a time, in a task that survives the cancellation of its waiters.

The steps of a refresh, in this order (docs/requirements.md, 2-2):

1. `_join` starts the task, or joins the one that runs.
2. `_replace` locks the store and loads. `CurrentTokens.newest` chooses between the stored token set and ours.
3. `_run_refresh` keeps that one if its access token can be used: another process has refreshed it meanwhile. Otherwise
   `Exchanger.refresh` checks that the store can be written, and sends the refresh token.
4. `_replace` records which token sets the new one replaces, and saves it.
5. `_replace` puts it into memory, whether it was saved or not.
6. The lock is released. Then the hook is called, in a task of its own.

A login and a repeated save run the same `_replace`; a logout holds the same lock. Two rules keep the token set:

- From the request until the new token set is in memory, no cancellation takes effect. Those of waiters and of the end
  of the event loop are ignored (`ShieldedTask`). A step that a signal handler cancels is repeated
  (`retry_if_cancelled`). The waits for the lock and for another process are `cancellable`, and a signal handler may end
  the wait before a retry of an unused token.
- An issued token set is in memory before a caller sees it, or an error of its save. `is_unsaved` is True until the
  store has it, or a newer one.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.current import CurrentTokens, check_adopted, check_same_identity
from ezeep_async.auth.exchange import Exchanger
from ezeep_async.auth.logs import Log, logger, name_user
from ezeep_async.auth.tasks import (
    KeptLock,
    ShieldedTask,
    locked,
    retry_if_cancelled,
    start_self_timed,
    wait_shielded,
)
from ezeep_async.auth.token_endpoint import TokenEndpoint
from ezeep_async.auth.tokens import CLIENT_CREDENTIALS, TokenSet, TokenStore, as_store_errors
from ezeep_async.errors import (
    OPENED_BEFORE_FORK,
    ReauthorizationRequired,
    SessionClosed,
    TokenPersistError,
    TokenStoreError,
)


T = TypeVar("T")

TokenHook = Callable[[TokenSet | None, TokenSet], Awaitable[None] | None]
"""Called as `hook(old, new)` after each rotation, with the lock released."""

STORE_MARGIN_S = 10.0
"""Seconds for the token store that closing adds to the longest time of an exchange."""
REPORT_CLOSING_AFTER_S = 2.0
"""Seconds after which closing logs what it waits for."""
HOOK_TIMEOUT_S = 5.0
"""Seconds that closing waits for hooks."""
NOT_LOGGED_IN = (
    "not logged in: the token store is empty. Begin a login with session.oauth.authorization_request()"
)


class Refresher:
    """Gives access tokens to callers, and refreshes the token set when necessary."""

    def __init__(
        self,
        store: TokenStore,
        endpoint: TokenEndpoint,
        clock: Clock,
        *,
        leeway: float,
        on_rotated: TokenHook | None = None,
        log: Log = logger,
    ) -> None:
        self.log = log
        self.is_inherited = False  # set in a forked child, which stores nothing
        self.exchanger = Exchanger(store, endpoint, clock, log)
        self.logins = 0
        """Logins and logouts: what was read for a user before is not for the next one."""
        self._store = store
        self._current = current = CurrentTokens(clock, leeway)
        keeps = getattr(store, "is_lock_kept", False)
        self._kept = KeptLock(lambda: keeps and current.is_unsaved)
        self._refresh: ShieldedTask[TokenSet] | None = None
        self._background: set[ShieldedTask[Any]] = set()
        self._failing_with: type[BaseException | None] = type(None)
        self._hook = on_rotated
        self._hook_tasks: set[asyncio.Task[None]] = set()

    @property
    def tokens(self) -> TokenSet | None:
        """The token set in memory."""
        return self._current.tokens

    def due_in(self, share: float = 0.0, max_age: float | None = None) -> float:
        """See `CurrentTokens.due_in`. With `max_age` no later than at that age of the token set, in seconds."""
        left, tokens = self._current.due_in(share), self._current.tokens
        return (
            left if tokens is None or max_age is None else min(left, max_age - self._current.age_of(tokens))
        )

    @property
    def is_busy(self) -> bool:
        """Whether a task or a hook is under way, or the token set in memory is not stored."""
        return bool(self._background or self._hook_tasks or self._current.is_unsaved)

    def under_way(self) -> set[ShieldedTask[Any]]:
        """The tasks that would lose a token set if their connection were closed."""
        return {task for task in self._background if not task.done()}

    # --- what callers use ------------------------------------------------------------------------------------------

    async def access_token(self) -> str:
        """Return a valid access token: at once and without a lock while the one in memory is fresh."""
        tokens = self._current.tokens
        if tokens is not None and self._current.is_fresh:
            if self._current.is_unsaved:  # checked here: a call of a method for each request
                self.save_if_due()
            return tokens.access_token
        return (await self._join(rejected=None)).access_token

    async def replacement_for(self, rejected: str) -> str:
        """Return the token to use after a 401 to `rejected`; `rejected` itself during the cool-down of replacements."""
        tokens = self._current.tokens
        if tokens is not None and tokens.access_token != rejected and self._current.is_fresh:
            return tokens.access_token
        new = await self._join(rejected=rejected)
        if new.access_token == rejected and not self.exchanger.is_refresh_useless(rejected):
            # It joined a refresh that began before the 401 arrived.
            new = await self._join(rejected=rejected)
        return new.access_token

    def rejected_again(self, access_token: str) -> bool:
        """Record a 401 to the replacement of a rejected token. If True, the next replacement waits for a cool-down."""
        return self.exchanger.rejected_again(access_token)

    async def refresh(self, max_age: float = 0.0) -> TokenSet:
        """Refresh now, even if the token is fresh, unless it was issued less than `max_age` seconds ago.

        If a refresh is under way, returns its result, which may be a token set that another process stored.
        """
        tokens = self._current.tokens
        if tokens is not None and self._current.is_fresh and self._current.age_of(tokens) < max_age:
            await self.access_token()  # at once; saves a token set that could not be stored before
            return tokens
        return await self._join(rejected=None, max_age=max_age)

    async def log_in(self, get_tokens: Callable[[], Awaitable[TokenSet]]) -> TokenSet:
        """Run a login to its end, even if the caller is cancelled, and keep its token set: a code works once."""
        return await wait_shielded(self._start(self._log_in(get_tokens), "ezeep-login"))

    async def log_out(self, revoke: Callable[[TokenSet], Awaitable[object]]) -> None:
        """Revoke the token set, and delete it here and in the store."""
        await wait_shielded(self._start(self._log_out(revoke), "ezeep-logout"))

    async def put_if_empty(self, tokens: TokenSet) -> None:
        """Store a first token set, unless there is one whose login has not ended.

        Raises `TokenStoreError` if that belongs to another user.
        """
        await wait_shielded(self._start(self._put_if_empty(tokens), "ezeep-first-tokens"))

    async def adopt(self, tokens: TokenSet) -> None:
        """Store a token set that was issued elsewhere, and use it. Raises `TokenStoreError`; nothing changes then."""
        await wait_shielded(self._start(self._adopt(tokens), "ezeep-adopt"))

    async def forget(self) -> None:
        """Delete the token set here and in the store. Raises `TokenStoreError`."""
        await wait_shielded(self._start(self._forget(), "ezeep-forget"))

    async def stored(self) -> TokenSet | None:
        """Load the stored token set with the lock held, without adopting it. Raises `TokenStoreError`."""
        if await self._is_unused():
            return None
        async with locked(self._store, self.log, self._kept):
            return await self._load()

    async def aclose(self, caller: asyncio.Task[object] | None = None) -> None:
        """Wait for what is under way, except for `caller`, which may be a hook. Raises `TokenPersistError`."""
        limit = self.exchanger.longest + STORE_MARGIN_S
        loop = asyncio.get_running_loop()  # tasks of a closed loop never end
        while pending := {task for task in self.under_way() if task.get_loop() is loop}:
            for task in pending:
                if task.is_cancellable:  # it waits for the lock of the store
                    task.cancel()
            done, _ = await asyncio.wait(pending, timeout=REPORT_CLOSING_AFTER_S)
            if done:
                continue
            self.log.warning(
                "closing waits for a token refresh that is under way, for at most %g s: cancelling it would lose the "
                "token set",
                limit,
            )
            if not await RunningLimit(limit).wait_for_progress(pending):
                self.log.error("closing: %d token tasks did not end within %g s", len(pending), limit)
                break
        if hooks := {task for task in self._hook_tasks - {caller} if task.get_loop() is loop}:
            await asyncio.wait(hooks, timeout=HOOK_TIMEOUT_S)
        if self._current.is_unsaved:
            await asyncio.wait({self._start(self._save_again(), "ezeep-last-save")})
            if self._current.is_unsaved:
                await self._kept.release(self.log)
                raise TokenPersistError(
                    "the session closes with a token set that could not be stored. The stored refresh token is used up: "
                    "a person has to log in again"
                )

    # --- the one refresh -------------------------------------------------------------------------------------------

    async def _join(self, *, rejected: str | None, max_age: float | None = None) -> TokenSet:
        """Wait for the refresh that is under way, whatever it was started for. Start one if there is none.

        `rejected` and `max_age` count only for the caller that starts it.
        """
        task = self._refresh
        if task is None or task.done():  # done: its callbacks have not run yet
            task = self._refresh = self._start(self._run_refresh(rejected, max_age), "ezeep-refresh")
            task.add_done_callback(self._refresh_ended)
        return await wait_shielded(task)

    def _refresh_ended(self, task: asyncio.Task[TokenSet]) -> None:
        if self._refresh is task:
            self._refresh = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # One warning for repeated failures of one kind: during an outage every call may fail.
            level = logging.DEBUG if type(error) is self._failing_with else logging.WARNING
            self.log.log(level, "the token refresh failed: %s", error)
        self._failing_with = type(error)

    async def _run_refresh(self, rejected: str | None, max_age: float | None) -> TokenSet:
        async def next_tokens(current: TokenSet | None) -> tuple[TokenSet, bool]:
            current = _logged_in(current)
            left = self._current.life_left(current)
            if rejected is None:
                is_young = max_age is None or self._current.age_of(current) < max_age
                may_use = is_young and left > self._current.leeway_of(current)
            else:
                is_other = current.access_token != rejected
                may_use = left > 0 and (is_other or self.exchanger.is_refresh_useless(rejected))
            if may_use and current.access_token:
                return current, False
            if not current.refresh_token and current.grant != CLIENT_CREDENTIALS:
                expired = "the access token has expired and " if left <= 0 else ""
                raise ReauthorizationRequired(f"{expired}there is no refresh token: log in again")
            if self._current.is_unsaved and self.exchanger.leaves_marks:  # until the last one is stored
                await self._save(current)
            return await self.exchanger.refresh(current, self._reloaded)

        if await self._is_unused():
            raise ReauthorizationRequired(NOT_LOGGED_IN)
        return await self._replace(next_tokens)

    async def _replace(
        self, get_tokens: Callable[[TokenSet | None], Awaitable[tuple[TokenSet, bool]]]
    ) -> TokenSet:
        """With the store locked, load, pass the newest token set to `get_tokens`, and put its result into memory.

        `get_tokens` returns a token set, and whether the server issued it now. The token set is saved if it was, or if
        it is still unsaved. A `TokenStoreError` of the save is logged and not raised: the old refresh token is used up,
        so the new token set is used, and saved again later.

        The order matters. `will_replace` reads the old token set from memory, so it precedes `put`. `put` runs even if
        the save fails.
        """
        async with locked(self._store, self.log, self._kept):
            stored = await self._load()
            old = self._current.newest(stored, self.log)
            name_user(self.log, old)
            new, is_issued_now = await get_tokens(old)
            if is_issued_now:
                self._current.will_replace(new, stored)
            try:
                if is_issued_now or self._current.is_unsaved:
                    await self._save(new)
            except BaseException as error:
                self._mark_unsaved(error)
                if not isinstance(error, TokenStoreError):  # a store may raise SystemExit: the waiters get it
                    raise
            finally:
                self._current.put(new, issued_now=is_issued_now)
                name_user(self.log, new)
        # After the release of the lock: the hook may use the session.
        if is_issued_now and (old is None or old.access_token != new.access_token):
            self._call_hook(old, new)
        return new

    async def _reloaded(self) -> TokenSet | None:
        return self._current.newest(await self._load(), self.log)

    # --- saving ----------------------------------------------------------------------------------------------------

    def save_if_due(self) -> None:
        """Start another attempt to store a token set that could not be stored, if it is time for it."""
        if self._current.must_save_again():
            self._start(self._save_again(), "ezeep-save-again")

    async def _save(self, tokens: TokenSet) -> None:
        if self.is_inherited:
            raise SessionClosed(OPENED_BEFORE_FORK)
        try:
            await retry_if_cancelled(lambda: self._store.save(tokens))  # the old refresh token is used up
        except TokenStoreError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            raise TokenPersistError(f"the new token set could not be stored: {error}") from error
        if self._current.is_unsaved:
            self._current.is_unsaved = False
            self.log.warning("the token set that was not stored before is stored now")

    def _mark_unsaved(self, error: BaseException) -> None:
        self._current.save_failed()
        self.log.critical(
            "TokenPersistError: a new token set was issued but could not be stored. It works in this process only, and the "
            "next call tries to store it again: %s",
            error,
        )

    async def _save_again(self) -> None:
        async def unchanged(newest: TokenSet | None) -> tuple[TokenSet, bool]:
            return _logged_in(newest), False

        try:
            await retry_if_cancelled(lambda: self._replace(unchanged))
        except ReauthorizationRequired:
            self._current.clear()  # another process logged out
        except (TokenStoreError, SystemExit, KeyboardInterrupt) as error:
            self._mark_unsaved(error)

    # --- logging in and out ----------------------------------------------------------------------------------------

    async def _log_in(self, get_tokens: Callable[[], Awaitable[TokenSet]]) -> TokenSet:
        async def new_tokens(_: TokenSet | None) -> tuple[TokenSet, bool]:
            # Check the store before the exchange: a code works once.
            with as_store_errors():
                await self._store.check_writable()
            return await get_tokens(), True

        tokens = await self._replace(new_tokens)
        self.logins += 1
        return tokens

    async def _log_out(self, revoke: Callable[[TokenSet], Awaitable[object]]) -> None:
        if await self._is_unused():
            return
        async with locked(self._store, self.log, self._kept):
            current = await self._reloaded()
            if current is not None:
                await revoke(current)
            await self._clear()

    async def _forget(self) -> None:
        if await self._is_unused():
            return
        async with locked(self._store, self.log, self._kept):
            await self._clear()  # without a load: the stored token set may be corrupt

    async def _clear(self) -> None:
        with as_store_errors():
            await self._store.clear()
        self._current.clear()
        self.logins += 1

    async def _adopt(self, tokens: TokenSet) -> None:
        async with locked(self._store, self.log, self._kept):
            stored = self._current.newest(await self._load(), self.log)
            newest, may_be_another = check_adopted(self._store, stored, tokens)
            if newest is tokens:
                await self._save(tokens)  # first: if it fails, nothing has changed
                self._current.will_replace(tokens, stored)
            self._current.put(newest)
            self.logins += 1
        if may_be_another:
            self.log.warning(
                "the login in the token store was replaced, perhaps by that of another user: opaque tokens do not name theirs"
            )
        if newest is tokens:
            self._call_hook(stored, tokens)

    async def _put_if_empty(self, tokens: TokenSet) -> None:
        async with locked(self._store, self.log, self._kept):
            stored = await self._load()
            if stored is None or check_same_identity(self._store, stored, tokens, self.log):
                await self._save(tokens)

    # --- the store, tasks and the hook -----------------------------------------------------------------------------

    async def _is_unused(self) -> bool:
        """Whether the store is empty and can say so without creating files (see `TokenStore`)."""
        is_unused: Callable[[], Awaitable[bool]] | None = getattr(self._store, "is_unused", None)
        if is_unused is None or self._current.tokens is not None:
            return False
        with as_store_errors():
            return await is_unused()

    async def _load(self) -> TokenSet | None:
        with as_store_errors():
            return await self._store.load()

    def _start(self, coroutine: Coroutine[Any, Any, T], name: str) -> ShieldedTask[T]:
        task = start_self_timed(coroutine, name)
        self._background.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: a cancelled caller does not

    def _call_hook(self, old: TokenSet | None, new: TokenSet) -> None:
        async def call(hook: TokenHook) -> None:
            try:
                result = hook(old, new)
                if inspect.isawaitable(result):
                    await result
            except asyncio.CancelledError:
                raise
            except BaseException:  # the hook is the caller's code, which may call `sys.exit`
                self.log.exception("on_token_rotated raised. The token set is not affected")

        if self._hook is not None:
            # Cancellable, as the hook is the caller's code. Not from the loop's task factory: an eager task would call the
            # hook in the middle of the refresh.
            task = ContainedTask(call(self._hook), name="ezeep-token-hook")
            self._hook_tasks.add(task)
            task.add_done_callback(self._hook_tasks.discard)


def _logged_in(tokens: TokenSet | None) -> TokenSet:
    if tokens is None:
        raise ReauthorizationRequired(NOT_LOGGED_IN)
    return tokens
