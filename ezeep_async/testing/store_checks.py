"""What the contracts of token stores share: checks of locks, of token sets and of sessions."""
# ruff: noqa: S101  # checks are assertions

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from multiprocessing import synchronize
from typing import Any, ClassVar, TypeVar

import anyio
import attrs
import pytest

from ezeep_async.auth.shared_locks import SharedLocks
from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import EzeepError, TokenStoreError
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.session import EzeepSession


C = TypeVar("C", bound="type[StoreChecks]")
MakeStore = Callable[[], TokenStore]
Event = threading.Event | synchronize.Event
Lock = Callable[[], AbstractAsyncContextManager[object]]
Scenario = Callable[[], Coroutine[Any, Any, object]]

CLIENT, ACCOUNT = "a-client", "https://account.example.com"
OTHER_OWNERS = [("another", ACCOUNT), (CLIENT, "https://account.example.net")]
NAMES = [f"user {number}" for number in range(9)]
"""Names of shared locks. Two names may share a lock, but not all of them."""
CANCEL_AFTER_LOOP_ROUNDS = (0, 1, 2, 3, 6, 12)
CALLS = 10
START_TIMEOUT_S = 30.0
LOCK_ATTEMPT_S = 0.5
"""How long another process or thread may try to acquire a lock that is held. A task has a fifth of it."""

either_lock = pytest.mark.parametrize("name", [None, NAMES[0]], ids=["the lock", "a shared lock"])


def token_set(number: int = 1) -> TokenSet:
    """A token set that no server knows, different for every number."""
    expires_at = datetime(2031, 5, 6, 7, 8, number, tzinfo=UTC)
    access, refresh = f"access-{number}-{'a' * 24}", f"refresh-{number}-{'r' * 24}"
    return TokenSet(access, refresh, expires_at, expires_in=3600.0 + number)


def expired(tokens: TokenSet) -> TokenSet:
    """The same token set with an access token that expired a minute ago."""
    return attrs.evolve(tokens, expires_at=datetime.now(UTC) - timedelta(minutes=1))


def assert_no_token(text: str, where: str, *token_sets: TokenSet) -> None:
    """Fail if the text contains a token."""
    secrets = [secret for tokens in token_sets for secret in (tokens.access_token, tokens.refresh_token)]
    assert not any(secret and secret in text for secret in secrets), f"{where} contains a token"


@contextmanager
def raises(kind: type[EzeepError], what: str, *token_sets: TokenSet) -> Generator[None]:
    """Fail unless the block raises that error, with no token in it or in its causes."""
    try:
        yield
    except kind as error:
        link: BaseException | None = error
        while link is not None:
            assert_no_token(f"{link!r} {link}", f"the error of {what}", *token_sets)
            link = link.__cause__ or link.__context__
    else:
        raise AssertionError(f"{what}: nothing was raised, {kind.__name__} was expected")


async def loop_rounds(number: int) -> None:
    """Let the event loop run that many rounds."""
    for _ in range(number):
        await asyncio.sleep(0)


def optional(store: TokenStore, name: str) -> Callable[..., object]:
    """Return the method. Skips the test of a store without it."""
    method: Callable[..., object] | None = getattr(store, name, None)
    return method if method is not None else pytest.skip(f"this store has no {name}()")


@asynccontextmanager
async def lock_of(store: TokenStore, name: str | None) -> AsyncGenerator[Lock]:
    """The store's lock, or its shared lock `name`. Skips the test of a store without shared locks."""
    if name is None:
        yield store.lock
    else:
        locks: object = optional(store, "shared_locks")()
        assert isinstance(locks, SharedLocks), "shared_locks() returns an object without hold() and aclose()"
        try:
            yield partial(locks.hold, name)
        finally:
            await locks.aclose()


async def enter(lock: Lock, order: list[str], *, stay: bool = False) -> None:
    """Acquire the lock, and release it at once or when the task is cancelled."""
    async with lock():
        order.append("in")
        if stay:
            await asyncio.Event().wait()


async def yield_to_others(store: TokenStore) -> None:
    """Give other tasks opportunities to acquire a lock too, at the speed of the store."""
    for _ in range(3):
        await loop_rounds(3)
        with suppress(TokenStoreError):  # a read-only source may be empty
            await store.load()


async def enter_elsewhere(make_store: MakeStore, name: str | None, trying: Event, entered: Event) -> None:
    """In another process or thread: acquire the lock, and report it."""
    async with lock_of(make_store(), name) as lock:
        trying.set()
        async with lock():
            entered.set()


def run_elsewhere(*arguments: Any) -> None:
    """Run `enter_elsewhere` as the program of a process."""
    anyio.run(enter_elsewhere, *arguments)


def without_plugin(cls: C) -> C:
    """Run each asynchronous test of the class in an event loop of its own."""

    def in_event_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        @wraps(test)
        def run(self: StoreChecks, **fixtures: object) -> None:
            anyio.run(self.limited, partial(test, self, **fixtures))

        return run

    for name, test in [*vars(cls).items()]:
        if name.startswith("test_") and inspect.iscoroutinefunction(test):
            setattr(cls, name, in_event_loop(test))
    return cls


class StoreChecks:
    """The stores of a test, and the checks that tests share."""

    shared: ClassVar[bool] = True
    precision: ClassVar[timedelta] = timedelta(milliseconds=1)
    patience: ClassVar[float] = 10.0
    longest_pause: ClassVar[float] = 0.1

    @pytest.fixture(autouse=True)
    def _stores(self, make_store: MakeStore) -> None:
        self.use_stores(make_store)

    def use_stores(self, make_store: MakeStore) -> None:
        """Make two stores with one token set, as in two processes."""
        self.make_store = make_store
        self.store = make_store()
        self.other = make_store() if self.shared else self.store
        self.sandbox = Sandbox(users=3, groups=1)

    async def limited(self, scenario: Scenario) -> None:
        """Run it in asyncio's debug mode, with a time limit."""
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = math.inf  # the log of slow callbacks contains arguments: tokens
        async with asyncio.timeout(4 * self.patience):
            await scenario()

    @asynccontextmanager
    async def acquired(self, lock: Lock, when: str = "though it was free") -> AsyncGenerator[None]:
        """The lock, acquired in time. `when` completes the message of the failure."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.patience):
                    await stack.enter_async_context(lock())
            except (TimeoutError, TokenStoreError) as error:
                raise AssertionError(f"the lock was not acquired {when}") from error
            yield

    async def assert_free(self, lock: Lock, when: str) -> None:
        """Fail unless the lock can be acquired in time."""
        async with self.acquired(lock, when):
            pass

    async def assert_excludes(self, lock: Lock, other: Lock, whose: str = "another task") -> None:
        """Fail unless `other` can be acquired only after the release of `lock`."""
        order: list[str] = []
        async with self.acquired(lock):
            entering = asyncio.create_task(enter(other, order))
            await yield_to_others(self.store)
            if lock != self.store.lock:  # a shared lock may need other requests than `load`
                await asyncio.sleep(LOCK_ATTEMPT_S / 5)
            order.append("out")
        await self.assert_ends(entering, "the lock was not acquired after its release")
        assert order == ["out", "in"], f"the lock was acquired while {whose} held it"

    async def use_in_turn(
        self, stores: list[TokenStore], holders: list[TokenStore], *, exclusive: bool = True
    ) -> None:
        """A task for each store acquires its lock twice. Fail if `exclusive` and `holders` has two at once."""

        async def hold_twice(store: TokenStore) -> None:
            for _ in range(2):
                async with self.acquired(store.lock, "while others use it in turn"):
                    holders.append(store)
                    alone = len(holders) == 1
                    await yield_to_others(store)
                    alone = alone and len(holders) == 1
                    holders.remove(store)
                assert alone or not exclusive, "two tasks held the lock at the same time"

        await asyncio.gather(*[hold_twice(store) for store in stores])

    async def assert_excludes_elsewhere(
        self, name: str | None, start: Callable[[], object], trying: Event, entered: Event, where: str
    ) -> None:
        """`assert_excludes` for another thread or process that runs `enter_elsewhere`."""
        async with lock_of(self.store, name) as lock:
            async with self.acquired(lock):
                await asyncio.to_thread(start)
                trying_there = await asyncio.to_thread(trying.wait, START_TIMEOUT_S)
                assert trying_there, f"{where} could not make its store"
                acquired = await asyncio.to_thread(entered.wait, LOCK_ATTEMPT_S)
                assert not acquired, f"the lock was acquired in {where} while it was held here"
            acquired = await asyncio.to_thread(entered.wait, self.patience)
            assert acquired, f"the released lock was not acquired in {where}"

    async def assert_ends(self, task: asyncio.Task[None], failure: str) -> None:
        """Wait for it in time. It is not cancelled at the limit: a faulty lock may not end then either."""
        await asyncio.wait({task}, timeout=self.patience)
        assert task.done(), failure
        await task

    async def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a task that holds the lock or waits for it, and check that it ends cancelled."""
        task.cancel()
        await asyncio.wait({task}, timeout=self.patience)
        assert task.done(), "a task that holds the lock, or waits for it, was cancelled and did not end"
        assert task.cancelled(), f"a task at the lock was cancelled, and continued: {task!r}"

    async def saved(self, store: TokenStore, tokens: TokenSet) -> TokenSet:
        """Save a token set as a session does."""
        async with self.acquired(store.lock):
            await store.load()
            await store.check_writable()
            await store.save(tokens)
        await self.assert_free(store.lock, "after save()")
        assert_no_token(f"{store!r} {store}", "repr or str of the store", tokens)
        return tokens

    async def assert_loads(self, store: TokenStore, expected: TokenSet | None, what: str) -> None:
        """Fail unless the store loads this token set, or None."""
        async with self.acquired(store.lock):
            found = await store.load()
        if found is None or expected is None:
            assert found is expected, f"load() gives {found!r} for {what}"
            return
        assert_no_token(f"{store!r} {store}", "repr or str of the store", found)
        for name in ("access_token", "refresh_token", "scope", "token_type", "expires_in", "grant"):
            value, wanted = getattr(found, name), getattr(expected, name)
            assert value == wanted, (
                f"{what}: {name} was {str(wanted)[:40]!r}, load() gives {str(value)[:40]!r}"
            )
        away = abs(found.expires_at - expected.expires_at)
        assert away <= self.precision, f"{what}: expires_at is {away} away from what was saved"

    # --- sessions

    def session_with(self, store: TokenStore, tokens: TokenSet | None = None) -> EzeepSession:
        """A session of the sandbox with this store."""
        app = self.sandbox.oauth_app
        return EzeepSession(app, store=store, tokens=tokens, endpoints=self.sandbox.endpoints)

    async def make_calls(self, *sessions: EzeepSession) -> None:
        """Make concurrent calls of each session, all of which succeed."""
        calls = [session.accounts.me() for session in sessions for _ in range(CALLS)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert not errors, f"{len(errors)} of {len(calls)} calls failed: {errors[0]!r}"

    async def refreshed(self, old: TokenSet, times: int) -> TokenSet:
        """Fail unless that many refreshes were sent, and the store has a token set that replaced `old`."""
        sent = self.sandbox.refresh_requests
        assert sent == times, f"{sent} refreshes of {times} token sets: a refresh token works once"
        async with self.acquired(self.other.lock):
            found = await self.other.load()
        assert found is not None, "the store is empty after a refresh"
        assert found.refresh_token != old.refresh_token, "the refreshed token set was not saved"
        return found


@without_plugin
class CommonContract(StoreChecks):
    """What writable and read-only stores owe."""

    def test_it_satisfies_the_protocol(self) -> None:
        """It has all methods of `TokenStore`, and `lock()` returns an asynchronous context manager."""
        store: object = self.store
        methods = "load, save, clear, lock, check_writable"
        assert isinstance(store, TokenStore), f"the store lacks a method of ezeep_async.TokenStore: {methods}"
        manager: object = store.lock()
        if asyncio.iscoroutine(manager):
            manager.close()
        assert isinstance(manager, AbstractAsyncContextManager), (
            "lock() has to be a plain `def` that returns an asynchronous context manager"
        )

    @pytest.mark.parametrize(("client", "account"), OTHER_OWNERS)
    def test_it_is_bound_to_one_client_and_host(self, client: str, account: str) -> None:
        """Two sessions of one client may share a store object. Those of two clients or account hosts may not."""
        bind = optional(self.store, "bind")
        bind(CLIENT, ACCOUNT)
        try:
            bind(CLIENT, ACCOUNT)
        except TokenStoreError as error:
            raise AssertionError("bind() refused the client and host that the store is bound to") from error
        with raises(TokenStoreError, "bind() of a bound store to another client id or host"):
            bind(client, account)

    @either_lock
    async def test_the_lock_is_free_after_use(self, name: str | None) -> None:
        """It can be acquired after its release, and after an exception inside, which propagates."""
        async with lock_of(self.store, name) as one, lock_of(self.other, name) as two:
            for lock in (one, two, one):
                await self.assert_free(lock, "after its release")
            raised = False
            try:
                async with self.acquired(one):
                    raise LookupError
            except LookupError:
                raised = True
            assert raised, "the lock suppressed an exception that was raised inside"
            await self.assert_free(two, "after an exception inside")

    @either_lock
    async def test_the_lock_is_free_after_a_cancellation(self, name: str | None) -> None:
        """A task that is cancelled while it acquires the lock, or while it holds it, leaves it free."""
        async with lock_of(self.store, name) as one, lock_of(self.other, name) as two:
            held = asyncio.Event()

            async def hold() -> None:
                async with one():
                    held.set()
                    await asyncio.Event().wait()

            for rounds in (*CANCEL_AFTER_LOOP_ROUNDS, None):
                held.clear()
                task = asyncio.create_task(hold())
                await (held.wait() if rounds is None else loop_rounds(rounds))
                await self.cancel(task)
                await self.assert_free(two, "after its holder was cancelled, or a task that acquired it")

    def test_it_works_in_one_event_loop_after_another(self) -> None:
        """Three tasks use a store in each of two `asyncio.run`. An `asyncio.Lock` belongs to the first one."""
        for _ in range(2):
            anyio.run(self.limited, partial(self.use_in_turn, [self.store] * 3, [], exclusive=False))
