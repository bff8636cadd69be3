"""What a token store owes its sessions, as tests: `TokenStoreContract`."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, cast

import anyio
import attrs
import pytest

from ezeep_async.auth.tokens import LeasedStore
from ezeep_async.errors import TokenStoreError
from ezeep_async.testing.store_checks import (
    ACCOUNT,
    CALLS,
    CANCEL_AFTER_LOOP_ROUNDS,
    CLIENT,
    NAMES,
    OTHER_OWNERS,
    CommonContract,
    MakeStore,
    assert_no_token,
    either_lock,
    enter,
    enter_elsewhere,
    expired,
    lock_of,
    loop_rounds,
    optional,
    raises,
    run_elsewhere,
    token_set,
    without_plugin,
    yield_to_others,
)
from ezeep_async.testing.threaded import LoopThread


TOKEN_CHARACTERS = "".join(map(chr, range(0x20, 0x7F)))
"""All characters that RFC 6749 appendix A allows in a token."""
TOKEN_SETS: dict[str, dict[str, Any]] = {
    "no expires_in": {"expires_in": None},
    "expires_in with a fraction": {"expires_in": 3599.25},
    "an unusual scope": {"scope": "printing urn:example:a/b?c=1&d='2' ~!", "token_type": "urn:example:mac"},
    "no scope": {"scope": ""},
    "no refresh token": {"refresh_token": ""},
    "client credentials": {"refresh_token": "", "grant": "client_credentials"},
    "tokens of 8 kB": {"access_token": "a" * 8192, "refresh_token": "r" * 8192},
    "every character": {"access_token": TOKEN_CHARACTERS, "refresh_token": TOKEN_CHARACTERS[::-1]},
    "microseconds": {"expires_at": datetime(2031, 5, 6, 7, 8, 9, 999999, UTC)},
    "another time zone": {"expires_at": datetime(2031, 5, 6, tzinfo=timezone(timedelta(hours=5.5)))},
    "expired": {"expires_at": datetime(2001, 2, 3, tzinfo=UTC)},
    "the far future": {"expires_at": datetime(9999, 1, 1, tzinfo=UTC)},
}


@without_plugin
class TokenStoreContract(CommonContract):
    """Test a `TokenStore` that sessions write to. No plugin for asynchronous tests is needed.

    Derive a class whose name begins with `Test`, with a fixture `make_store`: a callable that returns another store
    object with the same token set each time, as another process would. It is empty at the start of each test:

        from ezeep_async.testing import TokenStoreContract

        class TestMyStore(TokenStoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MyStore(tmp_path / "tokens")

    Each test runs the store in its own event loops, in asyncio's debug mode.

    Three more fixtures are optional; without them the tests that need them are skipped. `make_store_elsewhere` is
    a `make_store` that can be pickled, such as `functools.partial(MyStore, path)`: another process calls it.
    `make_unwritable` is a callable after which saving to these stores fails. `make_response_lost`, for a store on a
    server, is a callable after which the server does the next write, and the store gets an error.

    Three properties are left to your own tests: a save survives a crash, a killed process frees the lock, and no
    call blocks the event loop for less than `longest_pause`.

    Attributes:
        shared: Whether all stores of `make_store` have one token set and one lock, as in several processes. False: each
            has its own, and the tests use one store in all roles. Default: True.
        precision: How far a loaded `expires_at` may differ from the saved one. Default: 1 ms.
        patience: Seconds after which a lock that should be free counts as lost. No passing test waits that long.
            Default: 10.
        longest_pause: Seconds for which a call may block the event loop. Default: 0.1.
    """

    @pytest.fixture
    def make_store_elsewhere(self) -> MakeStore | None:
        """A `make_store` that can be pickled, for another process; None skips its tests."""
        return None

    @pytest.fixture
    def make_unwritable(self) -> Callable[[], object] | None:
        """A callable that makes saving fail; None skips its test."""
        return None

    @pytest.fixture
    def make_response_lost(self) -> Callable[[], object] | None:
        """A callable. After it, the server does the next write of a store, and the store gets an error. None skips its test.

        For example, the client library sends the request, and raises `ConnectionError` when it should return.
        """
        return None

    # --- the lock: a refresh token works once, so one task at a time may refresh
    # --- shared locks: a session that changes a user reads it first, so two at once would undo each other

    @either_lock
    async def test_the_lock_excludes_another_task(self, name: str | None) -> None:
        """Two sessions may share a store object, or have two with one token set."""
        async with lock_of(self.store, name) as one, lock_of(self.other, name) as two:
            await self.assert_excludes(one, one)
            await self.assert_excludes(one, two, "another task with another store object")

    @either_lock
    def test_the_lock_excludes_another_process(
        self, name: str | None, make_store_elsewhere: MakeStore | None
    ) -> None:
        """A spawned process acquires the lock only after its release here."""
        if make_store_elsewhere is None:
            pytest.skip("no fixture make_store_elsewhere: the lock between processes is not tested")
        spawn = multiprocessing.get_context("spawn")
        reports = spawn.Event(), spawn.Event()
        arguments = (make_store_elsewhere, name, *reports)
        process = spawn.Process(target=run_elsewhere, args=arguments, daemon=True)
        try:
            anyio.run(self.assert_excludes_elsewhere, name, process.start, *reports, "another process")
            process.join(
                self.patience
            )  # killed before its release, it would keep a shared lock from the next tests
        finally:
            if process.pid is not None:
                process.kill()
                process.join()

    def test_the_lock_excludes_event_loops_in_other_threads(self) -> None:
        """An asynchronous session and a `run_sync` session of one process may share a store object."""
        reports = threading.Event(), threading.Event()
        with LoopThread() as one, LoopThread() as two:
            start = partial(one.begin, partial(enter_elsewhere, lambda: self.store, None, *reports))
            anyio.run(self.assert_excludes_elsewhere, None, start, *reports, "another thread")
            use = partial(self.limited, partial(self.use_in_turn, [self.store] * 2, []))
            for call in [thread.begin(use) for thread in (one, two)]:
                assert call.done.acquire(timeout=5 * self.patience), "the lock never wakes a waiter"
                call.outcome()

    async def test_one_task_at_a_time_holds_the_lock(self) -> None:
        """Six tasks on two store objects acquire it twice each."""
        await self.use_in_turn([self.store, self.other] * 3, [])

    @either_lock
    async def test_a_cancelled_waiter_does_not_release_the_lock(self, name: str | None) -> None:
        """The holder keeps the lock, and the next waiter acquires it afterwards."""
        async with lock_of(self.store, name) as one, lock_of(self.other, name) as two:
            for rounds in (*CANCEL_AFTER_LOOP_ROUNDS, None):
                order: list[str] = []
                async with self.acquired(one, "after a waiter was cancelled"):
                    waiting = asyncio.create_task(enter(two, [], stay=True))
                    await (yield_to_others(self.store) if rounds is None else loop_rounds(rounds))
                    await self.cancel(waiting)
                    later = asyncio.create_task(enter(two, order))
                    await yield_to_others(self.store)
                    order.append("out")
                await self.assert_ends(
                    later, "the lock is not acquired any more after a waiter was cancelled"
                )
                assert order == ["out", "in"], "a cancelled waiter released the lock of another task"

    @either_lock
    async def test_a_waiter_cancelled_on_its_turn_passes_the_lock_on(self, name: str | None) -> None:
        """The lock is released and its waiter cancelled right after: the next waiter acquires it."""
        async with lock_of(self.store, name) as one, lock_of(self.other, name) as two:
            for rounds in CANCEL_AFTER_LOOP_ROUNDS:
                async with self.acquired(one, "after a waiter was cancelled on its turn"):
                    waiting = asyncio.create_task(enter(two, [], stay=True))
                    await yield_to_others(self.store)
                await loop_rounds(rounds)
                await self.cancel(waiting)
                await self.assert_free(two, "after a waiter was cancelled on its turn")

    async def test_a_shared_lock_leaves_other_names_and_the_lock_free(self) -> None:
        """While one is held, the store's own lock and those of most other names can be acquired."""
        async with AsyncExitStack() as stack:
            first, *others = [await stack.enter_async_context(lock_of(self.store, name)) for name in NAMES]
            await stack.enter_async_context(first())
            await self.assert_free(self.store.lock, "while a shared lock was held: a refresh would deadlock")
            tasks = [asyncio.create_task(enter(lock, [])) for lock in others]
            first_completed = asyncio.FIRST_COMPLETED
            done, pending = await asyncio.wait(tasks, timeout=self.patience, return_when=first_completed)
            assert done, "a shared lock excludes waiters for every other name"
            for task in pending:
                task.cancel()
            await asyncio.wait(tasks)

    async def test_a_shared_lock_can_be_released_by_another_task(self) -> None:
        """A write that has begun continues without its caller, and then releases the lock."""
        async with lock_of(self.store, NAMES[0]) as one, lock_of(self.other, NAMES[0]) as two:
            manager = one()
            await asyncio.gather(manager.__aenter__())  # in a task of its own
            try:
                await asyncio.gather(manager.__aexit__(None, None, None))
            except Exception as error:
                raise AssertionError("a shared lock cannot be released by another task") from error
            await self.assert_free(two, "after another task released it")

    # --- token sets

    @pytest.mark.parametrize("changes", TOKEN_SETS.values(), ids=TOKEN_SETS)
    async def test_a_token_set_is_loaded_as_it_was_saved(self, changes: dict[str, Any]) -> None:
        """Every field, by the same store object and by another one."""
        tokens = await self.saved(self.store, attrs.evolve(token_set(), **changes))
        await self.assert_loads(self.store, tokens, "what was saved")
        await self.assert_loads(self.other, tokens, "what another store object saved")

    async def test_every_load_sees_what_was_saved_last(self) -> None:
        """A store that caches its token set makes its session send a used refresh token. No earlier field is left."""
        one, two = self.store, self.other
        for store in (one, two):
            await self.assert_loads(store, None, "an empty store")
        full = attrs.evolve(token_set(1), scope="first", token_type="First")  # noqa: S106  # no token
        less = attrs.evolve(token_set(2), refresh_token="", scope="", expires_in=None)
        more, last = token_set(3), token_set(4)
        for writer, reader, tokens in (
            (one, two, full),
            (one, two, less),
            (two, one, more),
            (one, two, last),
        ):
            await self.saved(writer, tokens)
            await self.assert_loads(reader, tokens, "what another store object saved")

    async def test_clear_removes_the_token_set(self) -> None:
        """No store object loads it afterwards, and another one can be saved. A logout may be repeated."""
        for tokens in (None, token_set(1), token_set(2)):
            if tokens is not None:
                await self.saved(self.store, tokens)
                await self.assert_loads(self.other, tokens, "a token set that was saved after clear()")
            for _ in range(2):
                try:
                    async with self.acquired(self.store.lock):
                        await self.store.clear()
                except Exception as error:
                    raise AssertionError(f"clear() raises {error!r}") from error
                for store in (self.store, self.other):
                    await self.assert_loads(store, None, "an empty store after clear()")

    async def test_it_does_not_block_the_event_loop(self) -> None:
        """No call blocks it longer than `longest_pause`. The best of five counts, because a busy machine pauses too."""
        loop = asyncio.get_running_loop()
        save = partial(self.store.save, token_set())
        for call in (save, self.store.load, self.store.check_writable, self.store.clear):
            pauses = [0.0] * 5
            for number in range(5):
                async with self.acquired(self.store.lock):
                    calling = asyncio.create_task(call())
                    while not calling.done():
                        before = loop.time()
                        await asyncio.sleep(0.001)
                        pauses[number] = max(pauses[number], loop.time() - before)
                    await calling
            name = getattr(call, "__name__", "save")
            assert min(pauses) <= self.longest_pause, (
                f"{name}() blocks the event loop for at least {min(pauses):.2f} s: move the work to a thread"
            )

    async def test_check_writable_raises_when_saving_is_impossible(
        self, make_unwritable: Callable[[], object] | None
    ) -> None:
        """It raises before a refresh token is used. The stores become unwritable while the lock is held."""
        if make_unwritable is None:
            pytest.skip("no fixture make_unwritable: what check_writable() detects is not tested")
        tokens = await self.saved(self.store, token_set())
        async with self.acquired(self.store.lock):
            await asyncio.to_thread(make_unwritable)
            with raises(TokenStoreError, "check_writable() of an unwritable store", tokens):
                await self.store.check_writable()

    async def test_check_writable_changes_nothing(self) -> None:
        """A session calls it before every refresh: it neither creates, changes nor removes a token set."""
        async with self.acquired(self.store.lock):
            await self.store.check_writable()
        await self.assert_loads(self.other, None, "an empty store after check_writable()")
        tokens = await self.saved(self.store, token_set())
        async with self.acquired(self.store.lock):
            await self.store.check_writable()
        await self.assert_loads(self.other, tokens, "the token set after check_writable()")

    async def test_a_write_whose_response_is_lost_is_not_taken_for_that_of_another_process(
        self, make_response_lost: Callable[[], object] | None
    ) -> None:
        """The call whose response is lost may raise `TokenStoreError`. After that the same call, a save and the next lock work."""
        if make_response_lost is None:
            pytest.skip("no fixture make_response_lost: writes whose response is lost are not tested")

        async def lose() -> None:
            await asyncio.to_thread(make_response_lost)

        when = "after the response to a write of {} was lost"
        for name in (None, NAMES[0]) if hasattr(self.store, "shared_locks") else (None,):
            lock = "lock()" if name is None else "hold()"
            async with lock_of(self.store, name) as one, lock_of(self.other, name) as two:
                await lose()
                with suppress(TokenStoreError):
                    async with asyncio.timeout(self.patience), one():
                        pass
                await self.assert_free(two, when.format(lock))
                with suppress(TokenStoreError):
                    async with self.acquired(one):
                        await lose()
                await self.assert_free(two, when.format(f"the end of {lock}"))
        names = ["check_writable", "save", "clear"]
        if hasattr(self.store, "begin_refresh"):
            names.append("begin_refresh")
        for number, name in enumerate(names):
            tokens, step = token_set(number), when.format(f"{name}()")
            save = partial(self.store.save, tokens)
            call = save if name == "save" else getattr(self.store, name)
            async with self.acquired(self.store.lock):
                await self.store.load()
                await lose()
                # Twice: a store may have hidden the loss in the first call, and not know its own write in the second one.
                await self.assert_works(step, call, call, save)
            await self.assert_free(self.other.lock, step)
            await self.assert_loads(self.other, tokens, f"what was saved {step}")
        if (begin_refresh := getattr(self.other, "begin_refresh", None)) is not None:
            async with self.acquired(self.other.lock):
                await self.other.load()
                await self.assert_works("under the next lock", begin_refresh)

    async def assert_works(self, when: str, *calls: Callable[..., Any]) -> None:
        """Make these calls, which return None. One of them may raise `TokenStoreError` once, and is repeated."""
        is_lost = False
        for call in calls:
            for _ in range(2):
                try:
                    found = await call()
                except TokenStoreError as error:
                    if is_lost:
                        raise AssertionError(f"a call of the holder raises {error!r} {when}") from error
                    is_lost = True
                else:
                    assert found is None, f"{found!r} was returned {when}, and there is no earlier holder"
                    break

    async def test_the_release_keeps_the_mark_of_a_refresh_that_was_not_saved(self) -> None:
        """As after a `save` that failed: the stored refresh token is used up. `end_refresh` and a save remove the mark."""
        optional(self.store, "begin_refresh")
        one, two = (cast("LeasedStore", store) for store in (self.store, self.other))
        assert hasattr(one, "end_refresh"), "begin_refresh() needs end_refresh(), which removes its mark"
        first, second = await self.saved(self.store, token_set(1)), token_set(2)
        for is_failed in (True, False):
            async with self.acquired(self.store.lock):
                await self.store.load()
                assert await one.begin_refresh() is None, "begin_refresh() finds a mark, and there is none"
                if is_failed:
                    await one.end_refresh()
            async with self.acquired(self.other.lock):
                await self.other.load()
                found = await two.begin_refresh()
                if is_failed:
                    assert found is None, "begin_refresh() finds a mark after end_refresh()"
                    await two.end_refresh()
        assert found == "suspended", (
            f"begin_refresh() gives {found!r} after a release without save(): if save() has failed, the stored refresh "
            "token is used up, and sending it loses the login"
        )
        await self.assert_loads(self.other, first, "the token set with a mark")
        await self.saved(self.store, second)
        async with self.acquired(self.other.lock):
            await self.other.load()
            assert await two.begin_refresh() is None, "begin_refresh() finds a mark after save()"
            await two.end_refresh()

    @pytest.mark.parametrize(("client", "account"), OTHER_OWNERS)
    async def test_the_token_set_of_another_client_or_host_is_refused(
        self, client: str, account: str
    ) -> None:
        """A bound store raises when the stored token set is not of its client, and does not change it."""
        what = "of the token set of another client id or host"
        optional(self.store, "bind")(CLIENT, ACCOUNT)
        tokens = await self.saved(self.store, token_set(1))
        with raises(TokenStoreError, f"load() {what}", tokens):
            optional(self.other, "bind")(client, account)
            async with self.acquired(self.other.lock):
                await self.other.load()
        with raises(TokenStoreError, f"replacement {what}", tokens, token_set(2)):
            optional(self.other, "bind")(client, account)
            async with self.acquired(self.other.lock):
                await self.other.save(token_set(2))
        await self.assert_loads(self.store, tokens, "the token set that another client was refused")

    # --- sessions

    async def test_two_sessions_share_the_token_set(self, caplog: pytest.LogCaptureFixture) -> None:
        """Ten calls of each session cause one refresh of an expired or refused token. No logger logs a token."""
        caplog.set_level(logging.DEBUG)
        first = expired(self.sandbox.tokens())
        async with self.sandbox, self.session_with(self.store, first) as one:
            await self.assert_loads(self.other, first, "the first token set of a session")
            async with self.session_with(self.other) as two:
                await self.make_calls(one, two)
                second = await self.refreshed(first, 1)
                await two.oauth.refresh()
                await self.make_calls(one, two)
                third = await self.refreshed(second, 2)
                self.sandbox.expire_access_tokens()
                before = self.sandbox.count("GET /v1/users/me/")
                await self.make_calls(one, two)
                sent = self.sandbox.count("GET /v1/users/me/") - before
                assert sent <= 2 * 2 * CALLS, "a call was sent more than twice"
                fourth = await self.refreshed(third, 3)
                await two.oauth.revoke()
            await self.assert_loads(self.other, None, "an empty store after revoke()")
        assert_no_token(caplog.text, "the log", first, second, third, fourth)

    async def test_a_refresh_with_all_callers_cancelled_is_saved(self) -> None:
        """All callers are cancelled while the server responds: the new token set is saved, and works."""
        old = await self.saved(self.store, expired(self.sandbox.tokens()))
        hold = self.sandbox.faults.hold("POST /oauth/access_token/", times=1)
        async with self.sandbox:
            async with self.session_with(self.store) as session:
                calls = [asyncio.create_task(session.accounts.me()) for _ in range(CALLS)]
                await asyncio.wait_for(hold.arrived(), self.patience)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                hold.release()
            await self.refreshed(old, 1)
            async with self.session_with(self.other) as session:
                await self.make_calls(session)
            await self.refreshed(old, 1)
