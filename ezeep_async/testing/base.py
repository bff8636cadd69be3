"""What every token store promises, and what the tests of stores are made of."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar, TypeVar, cast

import anyio
import attrs
import pytest

from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import EzeepError, TokenStoreError
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.session import EzeepSession


T = TypeVar("T")
MakeStore = Callable[[], TokenStore]
Bind = Callable[[str, str], None]

CLIENT, ACCOUNT = "a-client", "https://account.example.com"
MOMENTS = (0, 1, 2, 3, 6, 12)
"""Rounds of the event loop after which something is cancelled."""


def login(number: int = 1) -> TokenSet:
    """A login that no server knows. Every number is another one."""
    return TokenSet(
        f"access-{number}-{'a' * 24}",
        f"refresh-{number}-{'r' * 24}",
        datetime(2031, 5, 6, 7, 8, number, tzinfo=UTC),
        expires_in=3600.0 + number,
    )


def ended(tokens: TokenSet) -> TokenSet:
    """The same login with an access token that ended a minute ago."""
    return attrs.evolve(tokens, expires_at=datetime.now(UTC) - timedelta(minutes=1))


async def longest_pause(act: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Do it, and tell for how many seconds the event loop could do nothing else meanwhile."""
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


async def rounds(number: int) -> None:
    """Let everything that is ready run, that many times."""
    for _ in range(number):
        await asyncio.sleep(0)


def assert_shows_none(shown: str, logins: Iterable[TokenSet], where: str) -> None:
    """Fail where a token can be read."""
    for tokens in logins:
        for secret in (tokens.access_token, tokens.refresh_token):
            assert not secret or secret not in shown, f"{where} shows a token"


@contextmanager
def refused(kind: type[EzeepError], what: str, *logins: TokenSet) -> Generator[None, None, None]:
    """Fail unless the block raises an error of that kind, with no token in it or in what led to it."""
    try:
        yield
    except kind as error:
        link: BaseException | None = error
        while link is not None:
            assert_shows_none(f"{link!r} {link}", logins, f"the error when {what}")
            link = link.__cause__ or link.__context__
    else:
        raise AssertionError(f"{what}: nothing was raised, where a {kind.__name__} says so")


class StoreTests:
    """What stores that can be written and stores that cannot have in common."""

    shared: ClassVar[bool] = True
    """Whether all stores that `make_store` gives have one login and one lock, as stores in several processes have. It
    may give the same object again. False: each has a login of its own, and the tests take one for all parts.
    """
    precision: ClassVar[timedelta] = timedelta(milliseconds=1)
    """How far `expires_at` may be from what was saved."""
    patience: ClassVar[float] = 10.0
    """Seconds after which a lock that should be free counts as lost. Nothing ever waits for them to pass."""
    longest_pause: ClassVar[float] = 0.1
    """Seconds for which the store may keep the event loop to itself."""

    # --- tests -----------------------------------------------------------------------------------------------------

    def test_it_satisfies_the_protocol(self, make_store: MakeStore) -> None:
        """It has all methods of `TokenStore`, and `lock()` gives an asynchronous context manager."""
        store: object = make_store()
        assert isinstance(store, TokenStore), (
            f"{type(store).__name__} lacks a method of ezeep_async.TokenStore: load, save, clear, lock, check_writable"
        )

        async def look() -> None:
            manager: object = store.lock()
            if isinstance(manager, Coroutine):
                cast("Coroutine[Any, Any, object]", manager).close()
            assert isinstance(manager, AbstractAsyncContextManager), (
                "lock() is a plain `def` whose result is used with `async with`: an asynchronous context manager"
            )

        self._run(look)

    def test_the_lock_is_free_again_after_use(self, make_store: MakeStore) -> None:
        """Taken and given back, it can be taken again, by this store and by another one."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            for each in (store, other, store):
                async with self._taken(each, "after it was given back"):
                    pass

        self._run(scenario)

    def test_an_exception_inside_frees_the_lock_and_comes_out(self, make_store: MakeStore) -> None:
        """What is raised with the lock held is raised to the caller, and the lock is free."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            came_out = False
            try:
                async with self._taken(store, "at first"):
                    raise LookupError
            except LookupError:
                came_out = True
            assert came_out, "the lock swallowed an exception that was raised inside it"
            async with self._taken(other, "after an exception inside it"):
                pass

        self._run(scenario)

    def test_a_cancellation_inside_frees_the_lock(self, make_store: MakeStore) -> None:
        """A task that is cancelled while it holds the lock, or while it takes a free one, leaves it free."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            inside = asyncio.Event()
            holder = asyncio.create_task(self._stay(store, inside))
            await self._within(inside.wait(), "a free lock could not be had")
            await self._cancel(holder)
            async with self._taken(other, "after its holder was cancelled"):
                pass
            for moment in MOMENTS:
                taking = asyncio.create_task(self._stay(store))
                await rounds(moment)
                await self._cancel(taking)
                async with self._taken(other, "after a task was cancelled while it took the lock"):
                    pass

        self._run(scenario)

    def test_one_store_serves_two_event_loops_one_after_the_other(self, make_store: MakeStore) -> None:
        """A module's store is used by one `asyncio.run` after the other, by several tasks at once in each."""
        store = make_store()
        with belongs_to_no_loop("a second event loop cannot use the store"):
            for _ in range(2):
                self._run(lambda: self._crowd([store] * 3, [], exclusive=False))

    def test_it_is_bound_again_to_the_same_client(self, make_store: MakeStore) -> None:
        """Two sessions of one client may share a store: `bind` with the same values changes nothing."""
        store = make_store()
        bind = self._bind_of(store)
        bind(CLIENT, ACCOUNT)
        try:
            bind(CLIENT, ACCOUNT)
        except TokenStoreError as error:
            raise AssertionError("binding a store again to its own client and host was refused") from error

    @pytest.mark.parametrize(
        ("client", "account"), [("another", ACCOUNT), (CLIENT, "https://account.example.net")]
    )
    def test_it_refuses_to_be_bound_to_another_client_or_host(
        self, make_store: MakeStore, client: str, account: str
    ) -> None:
        """One store object never serves two clients, nor two account hosts."""
        bind = self._bind_of(make_store())
        bind(CLIENT, ACCOUNT)
        with refused(TokenStoreError, "a store that is bound is bound to another client id or host"):
            bind(client, account)

    # --- what the tests are made of --------------------------------------------------------------------------------

    def _pair(self, make_store: MakeStore) -> tuple[TokenStore, TokenStore]:
        """Two stores on one login, as two processes would have."""
        store = make_store()
        return store, make_store() if self.shared else store

    def _bind_of(self, store: TokenStore) -> Bind:
        bind = getattr(store, "bind", None)
        if bind is None:
            pytest.skip("this store has no bind()")
        return cast("Bind", bind)

    def _run(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it in an event loop of its own, in debug mode, and not for ever."""
        return anyio.run(self._limited, scenario, backend_options={"debug": True})

    async def _limited(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # What the debug mode logs of a slow callback carries what that was called with: tokens, on a busy machine.
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
        return f"nothing went on for {4 * self.patience:g} s: the store, or its lock, keeps somebody waiting for ever"

    async def _within(
        self, waiting: Coroutine[Any, Any, object] | asyncio.Task[None], otherwise: str
    ) -> None:
        """Wait for it, but not for ever. What does not come may not be cancelled either, so nobody waits for that."""
        task = asyncio.ensure_future(waiting)
        await asyncio.wait({task}, timeout=self.patience)
        assert task.done(), otherwise
        await task

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a task that holds the lock or waits for it, and see that it ends, and ends cancelled."""
        task.cancel()
        await asyncio.wait({task}, timeout=self.patience)
        assert task.done(), "a task that holds the lock, or waits for it, was cancelled and did not end"
        if not task.cancelled() and (error := task.exception()) is not None:
            raise AssertionError(f"a task at the lock was cancelled, and ended with {error!r}") from error
        assert task.cancelled(), "a task at the lock was cancelled, and went on as if it had not been"

    @asynccontextmanager
    async def _taken(self, store: TokenStore, when: str) -> AsyncGenerator[None, None]:
        """The store's lock, had in time. `when` ends the sentence that says that it was not."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.patience):
                    await stack.enter_async_context(store.lock())
            except (TimeoutError, TokenStoreError) as error:
                raise AssertionError(f"the lock could not be had {when}") from error
            yield

    async def _stay(self, store: TokenStore, inside: asyncio.Event | None = None) -> None:
        """Take the lock and keep it until cancelled."""
        async with store.lock():
            if inside is not None:
                inside.set()
            await asyncio.Event().wait()

    async def _crowd(
        self, stores: list[TokenStore], inside: list[TokenStore], *, exclusive: bool = True
    ) -> None:
        """Everybody takes the lock of a store, twice. `inside` is who has it."""

        async def work(store: TokenStore) -> None:
            for _ in range(2):
                async with self._taken(store, "while others use it in turn"):
                    inside.append(store)
                    alone = len(inside) == 1
                    await self._look_around(store)
                    alone = alone and len(inside) == 1
                    inside.remove(store)
                assert alone or not exclusive, "two were inside the lock at the same time"

        await asyncio.gather(*[work(store) for store in stores])

    async def _look_around(self, store: TokenStore) -> None:
        """With the lock held: give others every opportunity to break in, at the pace of the store."""
        for _ in range(3):
            await rounds(3)
            with suppress(TokenStoreError):  # a read-only source may be empty
                await store.load()

    async def _loaded(self, store: TokenStore) -> TokenSet | None:
        """Loaded as a session does it: with the lock held."""
        async with self._taken(store, "to load the login"):
            return await store.load()

    async def _saved(self, store: TokenStore, tokens: TokenSet) -> None:
        """Saved as a session does it; the lock is free again when this returns, or the test ends here."""
        async with self._taken(store, "to save a login"):
            await store.load()
            await store.check_writable()
            await store.save(tokens)
        async with self._taken(store, "after a login was saved"):
            pass

    def _in_sandbox(self, scenario: Callable[[Sandbox], Coroutine[Any, Any, T]]) -> T:
        async def opened() -> T:
            async with Sandbox(users=3, groups=1) as sandbox:
                return await scenario(sandbox)

        return self._run(opened)

    def _session(self, sandbox: Sandbox, store: TokenStore) -> EzeepSession:
        return EzeepSession(sandbox.oauth_app, store=store, endpoints=sandbox.endpoints)


@contextmanager
def belongs_to_no_loop(otherwise: str) -> Generator[None, None, None]:
    """What an asyncio primitive raises in a second event loop, in words that name the cause."""
    try:
        yield
    except RuntimeError as error:
        raise AssertionError(
            f"{otherwise}: {error}. An asyncio.Lock belongs to the first event loop that had to wait for it"
        ) from error
