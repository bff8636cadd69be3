"""What the tests of token stores are made of: token sets, locks that are taken in time, and another process."""
# ruff: noqa: S101  # checks are assertions

from __future__ import annotations

import asyncio
import inspect
import math
import multiprocessing
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from inspect import Parameter
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, ClassVar, TypeVar, cast

import anyio
import attrs
import pytest

from ezeep_async.auth.shared_locks import SharedLocks
from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import EzeepError, TokenStoreError
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.session import EzeepSession


T = TypeVar("T")
MakeStore = Callable[[], TokenStore]
Lock = Callable[[], AbstractAsyncContextManager[object]]
Scenario = Callable[[], Coroutine[Any, Any, T]]

CANCEL_AFTER_LOOP_ROUNDS = (0, 1, 2, 3, 6, 12)
PROCESS_START_TIMEOUT_S = 30.0
PROCESS_ATTEMPT_S = 0.5
"""How long another process, or another session, may try to acquire a lock that is held."""
_TRYING, _ACQUIRED = "trying", "acquired"


def token_set(number: int = 1) -> TokenSet:
    """A token set that no server knows, different for every number."""
    return TokenSet(
        f"access-{number}-{'a' * 24}",
        f"refresh-{number}-{'r' * 24}",
        datetime(2031, 5, 6, 7, 8, number, tzinfo=UTC),
        expires_in=3600.0 + number,
    )


def expired(tokens: TokenSet) -> TokenSet:
    """The same token set with an access token that expired a minute ago."""
    return attrs.evolve(tokens, expires_at=datetime.now(UTC) - timedelta(minutes=1))


async def loop_rounds(number: int) -> None:
    """Let the event loop run that many rounds."""
    for _ in range(number):
        await asyncio.sleep(0)


async def longest_pause(act: Scenario[object]) -> float:
    """The longest time, in seconds, for which the event loop was blocked during the call."""
    loop = asyncio.get_running_loop()
    ticks = [loop.time()]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.005)
            ticks.append(loop.time())

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        await act()
    finally:
        ticking.cancel()
    ticks.append(loop.time())
    return max(after - before for before, after in pairwise(ticks))


def assert_no_token(text: str, token_sets: Iterable[TokenSet], where: str) -> None:
    """Fail if the text contains a token."""
    for tokens in token_sets:
        for secret in (tokens.access_token, tokens.refresh_token):
            assert not secret or secret not in text, f"{where} contains a token"


@contextmanager
def raises(kind: type[EzeepError], what: str, *token_sets: TokenSet) -> Generator[None, None, None]:
    """Fail unless the block raises that error, with no token in it or in its causes."""
    try:
        yield
    except kind as error:
        link: BaseException | None = error
        while link is not None:
            assert_no_token(f"{link!r} {link}", token_sets, f"the error of {what}")
            link = link.__cause__ or link.__context__
    else:
        raise AssertionError(f"{what}: nothing was raised, {kind.__name__} was expected")


@contextmanager
def explain_bound_locks(what: str) -> Generator[None, None, None]:
    """Turn the RuntimeError of an asyncio primitive in a second event loop into words that name the cause."""
    try:
        yield
    except RuntimeError as error:
        raise AssertionError(
            f"{what}: {error}. An asyncio.Lock belongs to the first event loop in which a task waited for it"
        ) from error


def with_stores(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in its own event loop, with stores on one token set and a sandbox, as far as it has such parameters."""

    signature = inspect.signature(test)
    shown = [each for name, each in signature.parameters.items() if name not in {"store", "other", "sandbox"}]
    shown.insert(1, Parameter("make_store", Parameter.POSITIONAL_OR_KEYWORD))

    @wraps(test)
    def run(self: StoreChecks, make_store: MakeStore, **fixtures: object) -> None:
        store, other = self._pair(make_store)  # pyright: ignore[reportPrivateUsage]
        given: dict[str, object] = {"store": store, "other": other, "sandbox": Sandbox(users=3, groups=1)}

        async def scenario() -> None:
            async with AsyncExitStack() as stack:
                if "sandbox" in signature.parameters:
                    await stack.enter_async_context(cast("Sandbox", given["sandbox"]))
                used = {name: value for name, value in given.items() if name in signature.parameters}
                await test(self, **used, **fixtures)

        self._run(scenario)  # pyright: ignore[reportPrivateUsage]

    cast("Any", run).__signature__ = inspect.Signature(shown)  # pytest finds the names of fixtures there
    return run


class LockingProcess:
    """A spawned process that acquires the store's lock, or the shared lock `name`, once."""

    def __init__(self, make_store: MakeStore, name: str | None = None) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_acquire, args=(make_store, name, theirs), daemon=True)

    async def start(self) -> None:
        """Start it, and wait until it tries to acquire the lock."""
        await asyncio.to_thread(self._process.start)
        state = await self._state(PROCESS_START_TIMEOUT_S)
        assert state == _TRYING, f"another process could not make its store: {state}"

    async def assert_excluded(self) -> None:
        """Fail if it acquires the lock."""
        state = await self._state(PROCESS_ATTEMPT_S)
        assert state != _ACQUIRED, "the lock was acquired in another process while it was held in this one"
        assert state is None, f"another process waited for the lock, and {state}"

    async def assert_acquires(self, seconds: float) -> None:
        """Fail if it does not acquire the lock in that time."""
        state = await self._state(seconds)
        assert state == _ACQUIRED, f"the released lock was not acquired in another process: {state}"

    async def _state(self, seconds: float) -> object:
        return await asyncio.to_thread(lambda: self._ours.recv() if self._ours.poll(seconds) else None)

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.pid is not None:
            self._process.kill()
            self._process.join()


def _acquire(make_store: MakeStore, name: str | None, connection: Connection) -> None:
    async def scenario() -> None:
        store = make_store()
        async with AsyncExitStack() as stack:
            lock: Lock = store.lock
            if name is not None:
                locks = cast("SharedLocks", store.shared_locks())  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
                stack.push_async_callback(locks.aclose)
                lock = partial(locks.hold, name)
            connection.send(_TRYING)
            async with lock():
                connection.send(_ACQUIRED)

    try:
        anyio.run(scenario)
    except Exception as error:  # noqa: BLE001  # the test reports it
        connection.send(f"failed with {type(error).__name__}: {error}")


class StoreChecks:
    """The properties of a store that subclasses of the contracts set, and the checks that the tests share."""

    shared: ClassVar[bool] = True
    """Whether all stores of `make_store` have one token set and one lock, as in several processes. False: each
    has its own, and the tests use one store in all roles."""
    precision: ClassVar[timedelta] = timedelta(milliseconds=1)
    """How far a loaded `expires_at` may differ from the saved one."""
    patience: ClassVar[float] = 10.0
    """Seconds after which a lock that should be free counts as lost. No passing test waits that long."""
    longest_pause: ClassVar[float] = 0.1
    """Seconds for which a call may block the event loop."""

    def _pair(self, make_store: MakeStore) -> tuple[TokenStore, TokenStore]:
        """Two stores with one token set, as two processes have."""
        store = make_store()
        return store, make_store() if self.shared else store

    def _hook_of(self, store: TokenStore, name: str) -> Callable[..., Any]:
        hook = getattr(store, name, None)
        if hook is None:
            pytest.skip(f"this store has no {name}()")
        return cast("Callable[..., Any]", hook)

    # --- time limits

    def _run(self, scenario: Scenario[T]) -> T:
        """Run it in its own event loop, in debug mode, with a time limit."""
        return anyio.run(self._limited, scenario, backend_options={"debug": True})

    async def _limited(self, scenario: Scenario[T]) -> T:
        # Debug mode logs the arguments of slow callbacks: tokens.
        asyncio.get_running_loop().slow_callback_duration = math.inf
        limit = asyncio.timeout(4 * self.patience)
        try:
            async with limit:
                return await scenario()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise AssertionError(self._stuck) from error

    @property
    def _stuck(self) -> str:
        return f"no progress for {4 * self.patience:g} s: the store or its lock never wakes a waiter"

    async def _within(self, waiting: Coroutine[Any, Any, object] | asyncio.Task[None], failure: str) -> None:
        """Wait for it in time. It is not cancelled at the limit: a faulty lock may not end then either."""
        task = asyncio.ensure_future(waiting)
        await asyncio.wait({task}, timeout=self.patience)
        assert task.done(), failure
        await task

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a task that holds the lock or waits for it, and check that it ends cancelled."""
        task.cancel()
        await asyncio.wait({task}, timeout=self.patience)
        assert task.done(), "a task that holds the lock, or waits for it, was cancelled and did not end"
        if not task.cancelled() and (error := task.exception()) is not None:
            raise AssertionError(f"a task at the lock was cancelled, and ended with {error!r}") from error
        assert task.cancelled(), "a task at the lock was cancelled, and continued"

    # --- locks

    @asynccontextmanager
    async def _acquired(self, lock: Lock, when: str) -> AsyncGenerator[None, None]:
        """The lock, acquired in time; `when` completes the message of the failure."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.patience):
                    await stack.enter_async_context(lock())
            except (TimeoutError, TokenStoreError) as error:
                raise AssertionError(f"the lock was not acquired {when}") from error
            yield

    async def _hold(self, lock: Lock, held: asyncio.Event | None = None) -> None:
        """Hold the lock until cancelled."""
        async with lock():
            if held is not None:
                held.set()
            await asyncio.Event().wait()

    async def _enter(self, lock: Lock, order: list[str]) -> None:
        async with lock():
            order.append("in")

    async def _yield_to_others(self, store: TokenStore) -> None:
        """With the lock held, give other tasks opportunities to acquire it too, at the speed of the store."""
        for _ in range(3):
            await loop_rounds(3)
            with suppress(TokenStoreError):  # a read-only source may be empty
                await store.load()

    async def _assert_excludes(self, lock: Lock, other: Lock, opportunity: Scenario[object]) -> None:
        order: list[str] = []
        async with self._acquired(lock, "though it was free"):
            entering = asyncio.create_task(self._enter(other, order))
            await opportunity()
            order.append("out")
        await self._within(entering, "the lock was not acquired after its release")
        assert order == ["out", "in"], "the lock was acquired while another task held it"

    async def _assert_freed_by_exception(self, lock: Lock, other: Lock) -> None:
        raised = False
        try:
            async with self._acquired(lock, "though it was free"):
                raise LookupError
        except LookupError:
            raised = True
        assert raised, "the lock suppressed an exception that was raised inside"
        async with self._acquired(other, "after an exception inside"):
            pass

    async def _assert_freed_by_cancellation(self, lock: Lock, other: Lock) -> None:
        held = asyncio.Event()
        holder = asyncio.create_task(self._hold(lock, held))
        await self._within(held.wait(), "a free lock was not acquired")
        await self._cancel(holder)
        async with self._acquired(other, "after its holder was cancelled"):
            pass

    def _assert_excludes_process(
        self,
        lock: Callable[[], AbstractAsyncContextManager[Lock]],
        make_store: MakeStore | None,
        name: str | None = None,
    ) -> None:
        if make_store is None:
            pytest.skip("no fixture make_store_elsewhere: the lock between processes is not tested")
        process = LockingProcess(make_store, name)

        async def scenario() -> None:
            async with lock() as here:
                async with self._acquired(here, "though it was free"):
                    await process.start()
                    await process.assert_excluded()
                await process.assert_acquires(self.patience)

        try:
            anyio.run(scenario)
        finally:
            process.kill()

    async def _crowd(
        self, stores: list[TokenStore], inside: list[TokenStore], *, exclusive: bool = True
    ) -> None:
        """One task per store acquires its lock twice. `inside` lists those that hold it."""

        async def work(store: TokenStore) -> None:
            for _ in range(2):
                async with self._acquired(store.lock, "while others use it in turn"):
                    inside.append(store)
                    alone = len(inside) == 1
                    await self._yield_to_others(store)
                    alone = alone and len(inside) == 1
                    inside.remove(store)
                assert alone or not exclusive, "two tasks held the lock at the same time"

        await asyncio.gather(*[work(store) for store in stores])

    # --- token sets, as a session loads and saves them: with the lock held

    async def _locked(self, store: TokenStore, call: Scenario[T]) -> T:
        async with self._acquired(store.lock, "before a call of the store"):
            return await call()

    async def _saved(self, store: TokenStore, tokens: TokenSet) -> None:
        async with self._acquired(store.lock, "before save()"):
            await store.load()
            await store.check_writable()
            await store.save(tokens)
        async with self._acquired(store.lock, "after save()"):
            pass

    async def _assert_loads(self, store: TokenStore, expected: TokenSet, what: str) -> None:
        found = await self._locked(store, store.load)
        assert found is not None, f"load() gives None for {what}"
        for name in ("access_token", "refresh_token", "scope", "token_type", "expires_in"):
            value, wanted = getattr(found, name), getattr(expected, name)
            assert value == wanted, (
                f"{what}: {name} was {str(wanted)[:40]!r}, load() gives {str(value)[:40]!r}"
            )
        away = abs(found.expires_at - expected.expires_at)
        assert away <= self.precision, f"{what}: expires_at is {away} away from what was saved"

    # --- sessions

    def _session(self, sandbox: Sandbox, store: TokenStore) -> EzeepSession:
        return EzeepSession(sandbox.oauth_app, store=store, endpoints=sandbox.endpoints)
