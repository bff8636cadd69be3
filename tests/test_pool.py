"""`SessionPool` against the sandbox: which sessions are open, and what closes them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import pickle
import warnings

import aiohttp
import pytest
from helpers.pools import Stores, logged_in, pool_in, use
from helpers.support import ME, TOKEN, Clock, bounded, expired, settle, until

from ezeep_async import (
    MemoryTokenStore,
    OAuthApp,
    ReauthorizationRequired,
    ServerError,
    SessionClosed,
    SessionPool,
    TokenPersistError,
    TokenStoreError,
    run_sync,
)
from ezeep_async._core import Core
from ezeep_async._open_sessions import EXAMINED_PER_USE
from ezeep_async.sandbox import Sandbox


# --- opening ---------------------------------------------------------------------------------------------------------


async def test_sessions_are_opened_on_demand_and_shared(sandbox: Sandbox) -> None:
    """One session for each key, also for tasks that ask at the same time."""
    async with pool_in(sandbox, logged_in(sandbox, "a", "b")) as pool:
        assert pool.stats.open == 0
        sessions = await asyncio.gather(*[use(pool, key) for key in "aabb"])
        assert sessions[0] is sessions[1]
        assert sessions[2] is sessions[3]
        assert sessions[0] is not sessions[2]
        assert await use(pool, "a") is sessions[0]
        stats = pool.stats
        assert (stats.open, stats.in_use, stats.opened, stats.hits, stats.closed) == (2, 0, 2, 3, 0)
    assert sandbox.count(TOKEN) == 2


async def test_all_sessions_share_one_connector(sandbox: Sandbox) -> None:
    """One idle connection serves the calls of three logins, one after another."""
    async with pool_in(sandbox, logged_in(sandbox, "a", "b", "c")) as pool:
        sessions = [await use(pool, key) for key in "abc"]
        transports = {session._core._transport for session in sessions}
        assert len(transports) == 1
        assert len({session._core.storage()._limiter for session in sessions}) == 1
        client = transports.pop()._session
        assert (
            sum(len(kept) for kept in client.connector._conns.values()) <= 2
        )  # the account host, the api host


@pytest.mark.parametrize("lent", [False, True])
async def test_a_borrowed_aiohttp_session_is_not_closed(sandbox: Sandbox, lent: bool) -> None:
    async with aiohttp.ClientSession() as http:
        async with pool_in(sandbox, logged_in(sandbox, "a"), http=http if lent else None) as pool:
            await use(pool, "a")
            if lent:
                with pytest.raises(ValueError, match="borrows"):
                    pool.again()
        assert not http.closed


async def test_a_429_of_one_login_slows_all(sandbox: Sandbox) -> None:
    """One limiter for each host: the cool-down after a 429 to one login is one of all."""
    async with pool_in(sandbox, logged_in(sandbox, "a", "b")) as pool:
        await asyncio.gather(use(pool, "a"), use(pool, "b"))
        before = sandbox.count(ME)
        sandbox.faults.add(ME, status=429, retry_after=0.3)
        one = asyncio.create_task(use(pool, "a"))
        await until(lambda: sandbox.count(ME) == before + 1)
        await until(lambda: pool.stats.waiting == 1)
        others = [asyncio.create_task(use(pool, "b")) for _ in range(3)]
        await until(lambda: pool.stats.waiting == 4)
        assert sandbox.count(ME) == before + 1
        await asyncio.gather(one, *others)
        assert sandbox.count(ME) == before + 5


async def test_a_token_set_is_never_that_of_another_key(sandbox: Sandbox) -> None:
    """A hundred calls of ten people at the same time: each gets their own record."""
    people = [person.id for person in sandbox.organization.people.values()][:10]
    stores = Stores((str(each), MemoryTokenStore(expired(sandbox.tokens(each)))) for each in people)
    async with pool_in(sandbox, stores, max_open=3) as pool:

        async def who(key: str) -> None:
            async with pool.session(key) as session:
                assert str((await session.accounts.me()).id) == key

        await asyncio.gather(*[who(str(each)) for each in people * 10])
        await until(lambda: pool.stats.open == 3)
    assert sandbox.refreshes == 10


@pytest.mark.parametrize(
    ("key", "error"), [("", ValueError), (7, TypeError), (None, TypeError), (b"a", TypeError)]
)
async def test_keys_are_text(sandbox: Sandbox, key, error: type[Exception]) -> None:
    async with pool_in(sandbox) as pool:
        with pytest.raises(error, match="key of a login"):
            pool.session(key)
        with pytest.raises(error):
            pool.keep_alive(key)
        with pytest.raises(error):
            await pool.drop(key)
        with pytest.raises(error):
            await pool.adopt(key, sandbox.tokens())
        assert pool.stats.opened == 0


async def test_errors_of_the_store_function_reach_the_caller(sandbox: Sandbox) -> None:
    """Nothing is kept of the attempt: the next one calls it again."""
    stores = logged_in(sandbox, "a")
    broken = True

    def store(key: str):
        if broken:
            raise LookupError(key)
        return stores(key)

    async with pool_in(sandbox, store) as pool:
        with pytest.raises(LookupError):
            async with pool.session("a"):
                pass
        with pytest.raises(LookupError):
            pool.keep_alive("a")
        with pytest.raises(LookupError):
            await pool.drop("a")
        assert pool.stats.open == 0
        broken = False
        await use(pool, "a")


@pytest.mark.parametrize("made", [None, "login.json", MemoryTokenStore])
async def test_what_is_no_store_is_refused(sandbox: Sandbox, made) -> None:
    async with pool_in(sandbox, lambda _: made) as pool:
        with pytest.raises(TypeError, match="token store"):
            async with pool.session("a"):
                pass
        assert pool.stats.open == 0


async def test_an_async_store_function_is_refused(sandbox: Sandbox) -> None:
    async def store(key: str) -> MemoryTokenStore:
        return MemoryTokenStore()

    async with pool_in(sandbox, store) as pool:
        with pytest.raises(TypeError, match="plain function"):
            async with pool.session("a"):
                pass


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_open": 0}, ValueError),
        ({"max_open": True}, TypeError),
        ({"max_open": "5"}, TypeError),
        ({"store": MemoryTokenStore()}, TypeError),
        ({"store": None}, TypeError),
        ({"on_token_rotated": 5}, TypeError),
        ({"on_token_rotated": lambda old, new: None}, TypeError),
        ({"settings": 5}, TypeError),
        ({"http": 5}, TypeError),
        ({"app": "client"}, TypeError),
    ],
)
def test_arguments_are_checked(options: dict[str, object], error: type[Exception]) -> None:
    given = {"app": OAuthApp("client"), "store": Stores(), **options}
    app, store = given.pop("app"), given.pop("store")
    with pytest.raises(error):
        SessionPool(app, store, **given)


async def test_a_store_of_another_client_is_an_error(sandbox: Sandbox) -> None:
    """It is raised by the block, and the session is not counted as in use."""
    stores = logged_in(sandbox, "a")
    stores["a"].bind("another", "https://account.example")
    async with pool_in(sandbox, stores) as pool:
        for _ in range(2):
            with pytest.raises(TokenStoreError, match="another client id"):
                async with pool.session("a"):
                    pass
        assert pool.stats.in_use == 0


# --- closing what is idle --------------------------------------------------------------------------------------------


async def test_the_least_recently_used_session_is_closed(sandbox: Sandbox) -> None:
    async with pool_in(sandbox, logged_in(sandbox, *"abcd"), max_open=2) as pool:
        a, b = await use(pool, "a"), await use(pool, "b")
        assert await use(pool, "a") is a
        await use(pool, "c")
        await until(lambda: b._core.state == "closed")
        assert (pool.stats.open, pool.stats.closed) == (2, 1)
        assert await use(pool, "a") is a
        with pytest.raises(SessionClosed):
            await b.accounts.me()
        assert await use(pool, "b") is not b
        assert pool.stats.open == 2
    assert sandbox.refreshes == 3  # the second session of "b" found the stored token set


async def test_sessions_in_use_exceed_the_limit_and_never_wait(sandbox: Sandbox) -> None:
    """Blocks within blocks cannot deadlock."""
    async with pool_in(sandbox, logged_in(sandbox, *"abc"), max_open=1) as pool:
        async with pool.session("a") as a, pool.session("b") as b, pool.session("c") as c:
            assert pool.stats.open == pool.stats.in_use == 3
            await asyncio.gather(*[each.accounts.me() for each in (a, b, c)])
        assert pool.stats.open == 1
        assert pool.stats.in_use == 0


async def test_a_session_in_mid_call_is_not_closed(sandbox: Sandbox) -> None:
    """Also if its block has ended, and the call runs in a task."""
    async with pool_in(sandbox, logged_in(sandbox, *"abc"), max_open=1) as pool:
        await use(pool, "a")
        hold = sandbox.faults.hold(ME, times=1)
        async with pool.session("a") as session:
            call = asyncio.create_task(session.accounts.me())
            await hold.arrived()
        await use(pool, "b")
        await use(pool, "c")
        hold.release()
        await call
        assert pool.stats.open == 1
        assert await use(pool, "a") is session


async def test_a_session_in_mid_refresh_is_not_closed(sandbox: Sandbox) -> None:
    """Its caller was cancelled, and its block has ended."""
    async with pool_in(sandbox, logged_in(sandbox, *"ab"), max_open=1) as pool:
        hold = sandbox.faults.hold(TOKEN, times=1)
        task = asyncio.create_task(use(pool, "a"))
        await hold.arrived()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats.in_use == 0
        await use(pool, "b")
        assert "a" in pool._sessions.entries
        hold.release()
        await until(lambda: not pool._sessions.entries["a"].core.is_busy)
        await use(pool, "b")
        assert "a" not in pool._sessions.entries
    assert sandbox.refreshes == 2


async def test_an_unsaved_token_set_is_not_closed(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """It would be lost. The pool tries to save it when it needs the room."""
    stores = logged_in(sandbox, *"ab")
    stores["a"] = Full(stores["a"]._tokens)
    clock = Clock()
    async with pool_in(sandbox, stores, max_open=1, clock=clock) as pool:
        await use(pool, "a")
        assert "could not be stored" in caplog.text
        unsaved = pool._sessions.entries["a"].core.refresher.tokens
        await use(pool, "b")
        assert "a" in pool._sessions.entries
        stores["a"].is_full = False
        clock.steady += 5
        await use(pool, "b")
        await until(lambda: stores["a"]._tokens == unsaved)
        await use(pool, "b")
        assert "a" not in pool._sessions.entries


class Full(MemoryTokenStore):
    is_full = True

    async def save(self, tokens) -> None:
        if self.is_full:
            raise TokenPersistError("the disk is full")
        await super().save(tokens)


async def test_closing_what_is_idle_blocks_no_caller(sandbox: Sandbox) -> None:
    """The shared locks of the closed session's store never end their close; the pool's callers go on."""
    release = asyncio.Event()

    class Locks:
        def hold(self, name: str):
            raise OSError("no locks here")

        async def aclose(self) -> None:
            await release.wait()

    class Slow(MemoryTokenStore):
        def shared_locks(self) -> Locks:
            return Locks()

    stores = logged_in(sandbox, *"ab")
    stores["a"] = Slow(stores["a"]._tokens)
    async with pool_in(sandbox, stores, max_open=1) as pool:
        async with pool.session("a") as session:
            user = await session.users.list().first()
            assert user is not None
            await session.users.set_groups(user.id, [])
        await use(pool, "b")
        assert pool.stats.open == 1
        again = asyncio.create_task(use(pool, "a"))  # another session, while the first one closes
        await again
        assert again.result() is not session
        release.set()


async def test_a_session_that_was_busy_is_closed_when_it_is_idle(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool is not used again. The sessions were kept open by: a call, a refresh, a `KeepAlive`, a hook, an unsaved token set."""
    monkeypatch.setattr("ezeep_async._open_sessions.CHECK_BUSY_S", 0.01)
    stores, clock, hook_may_end = logged_in(sandbox, *"abcdef"), Clock(), asyncio.Event()
    for key in "acf":
        await stores[key].save(sandbox.tokens())
    stores["e"] = Full(stores["e"]._tokens)

    async def hook(key: str, old: object, new: object) -> None:
        if key == "d":
            await hook_may_end.wait()

    async with pool_in(sandbox, stores, max_open=1, clock=clock, on_token_rotated=hook) as pool:
        async with pool.session("f"), pool.session("a") as a:
            call = sandbox.faults.hold(ME, times=1)
            calling = asyncio.create_task(a.accounts.me())
            await call.arrived()
            refresh = sandbox.faults.hold(TOKEN, times=1)
            abandoned = asyncio.create_task(use(pool, "b"))
            await refresh.arrived()
            abandoned.cancel()
            kept = pool.keep_alive("c")
            await use(pool, "d")
            await use(pool, "e")
        await until(lambda: pool._sessions.entries.keys() == set("abcde"))
        await asyncio.sleep(0.05)
        assert pool.stats.open == 5
        for key, end in (
            ("a", call.release),
            ("b", refresh.release),
            ("c", kept.stop),
            ("d", hook_may_end.set),
        ):
            assert key in pool._sessions.entries
            end()
            await until(lambda key=key: key not in pool._sessions.entries)
        await calling
        assert pool.stats.open == 1
        unsaved = pool._sessions.entries["e"].core.refresher.tokens
        pool.keep_alive("c")
        assert pool.stats.open == 2
        stores["e"].is_full = False
        clock.steady += 5
        await until(lambda: pool.stats.open == 1)
        assert stores["e"]._tokens == unsaved


async def test_a_session_whose_call_waits_for_a_lock_is_not_closed(sandbox: Sandbox) -> None:
    """The call has no request under way meanwhile, and its block has ended."""
    async with pool_in(sandbox, logged_in(sandbox, *"abc"), max_open=1) as pool:
        async with pool.session("a") as a, pool.session("b") as b:
            user = await a.users.list().first()
            held = await a._core.exclusive("user", str(user.id))
            changing = asyncio.create_task(b.users.set_groups(user.id, []))
            await until(lambda: b._core.is_busy)
        for _ in range(3):
            await use(pool, "c")
        assert {"a", "b"} <= pool._sessions.entries.keys()
        await held.release()
        await changing
        await use(pool, "c")
        assert pool._sessions.entries.keys() == {"c"}


async def test_a_busy_pool_examines_few_sessions_a_step(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that are kept alive are passed over, not all of them at each use, and the others are closed all the same."""
    monkeypatch.setattr("ezeep_async._open_sessions.CHECK_BUSY_S", 0.05)
    examined = []
    is_busy = Core.is_busy.fget
    monkeypatch.setattr(Core, "is_busy", property(lambda core: examined.append(core) or is_busy(core)))
    async with pool_in(sandbox, max_open=1) as pool:
        kept = [pool.keep_alive(f"kept{number}") for number in range(100)]
        examined.clear()
        for number in range(100):
            entry = pool._sessions.take(f"other{number}")
            pool._sessions.release(entry)
        assert len(examined) <= 200 * EXAMINED_PER_USE
        await until(lambda: pool.stats.open == 100)
        assert pool.stats.kept_alive == 100
        assert all(each.is_running for each in kept)


# --- keep_alive ------------------------------------------------------------------------------------------------------


async def test_a_kept_session_is_not_closed(sandbox: Sandbox) -> None:
    """Until its handle is stopped."""
    async with pool_in(sandbox, logged_in(sandbox, *"abc"), max_open=1) as pool:
        handle = pool.keep_alive("a")
        assert pool.keep_alive("a") is handle
        await until(lambda: sandbox.refreshes == 1)
        for key in "bcbc":
            await use(pool, key)
        assert handle.is_running
        assert pool.stats.kept_alive == 1
        handle.stop()
        await use(pool, "b")
        await use(pool, "c")
        await until(lambda: "a" not in pool._sessions.entries)
        assert pool.stats.kept_alive == 0
    assert handle.state == "stopped"


async def test_the_end_of_the_pool_ends_what_is_kept(sandbox: Sandbox) -> None:
    async with pool_in(sandbox, logged_in(sandbox, "a")) as pool:
        handle = pool.keep_alive("a")
    assert handle.state == "stopped"
    with pytest.raises(SessionClosed):
        pool.keep_alive("a")


# --- adopt and drop --------------------------------------------------------------------------------------------------


async def test_drop_deletes_the_login(sandbox: Sandbox) -> None:
    """The next session of the key has no login; the one before is closed."""
    stores = logged_in(sandbox, "a")
    async with pool_in(sandbox, stores) as pool:
        before = await use(pool, "a")
        await pool.drop("a")
        assert await stores["a"].load() is None
        assert pool.stats.open == 0
        with pytest.raises(SessionClosed):
            await before.accounts.me()
        with pytest.raises(ReauthorizationRequired):
            await use(pool, "a")
        await pool.drop("a")
        await pool.drop("never used")


async def test_drop_ends_the_calls_of_the_login(sandbox: Sandbox) -> None:
    """No call is under way when it returns, and no new session has the old token set."""
    stores = logged_in(sandbox, "a", "b")
    async with pool_in(sandbox, stores) as pool:
        await asyncio.gather(use(pool, "a"), use(pool, "b"))
        hold = sandbox.faults.hold(ME)
        call = asyncio.create_task(use(pool, "a"))
        other = asyncio.create_task(use(pool, "b"))
        await hold.arrived(2)
        async with asyncio.timeout(5):
            await pool.drop("a")
        with pytest.raises(SessionClosed):
            await call
        hold.release()
        await other
        assert pool.stats.in_flight == 0


async def test_who_asks_during_a_drop_gets_no_old_login(sandbox: Sandbox) -> None:
    """They wait until the store is empty. A second drop joins the first."""
    stores = logged_in(sandbox, "a")
    async with pool_in(sandbox, stores) as pool:
        await use(pool, "a")
        async with stores["a"].lock():
            drops = [asyncio.create_task(pool.drop("a")) for _ in range(2)]
            await settle()
            asking = asyncio.create_task(use(pool, "a"))
            adopting = asyncio.create_task(pool.adopt("a", tokens := sandbox.tokens()))
            with pytest.raises(SessionClosed, match="being dropped"):
                pool.keep_alive("a")
            await settle()
            assert not asking.done()
        await asyncio.gather(*drops, adopting)
        assert await stores["a"].load() == tokens
        try:
            await asking
        except ReauthorizationRequired:
            pass
        assert pool.stats.opened == 2


async def test_a_drop_that_is_cancelled_is_completed(sandbox: Sandbox) -> None:
    stores = logged_in(sandbox, "a")
    async with pool_in(sandbox, stores) as pool:
        await use(pool, "a")
        async with stores["a"].lock():
            drop = asyncio.create_task(pool.drop("a"))
            await settle()
            drop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await drop
        await until(lambda: pool.stats.open == 0)
        assert await stores["a"].load() is None
        assert pool.stats.in_use == 0


async def test_drop_waits_for_a_refresh(sandbox: Sandbox) -> None:
    """Otherwise the refresh would store a new login after it."""
    stores = logged_in(sandbox, "a")
    async with pool_in(sandbox, stores) as pool:
        hold = sandbox.faults.hold(TOKEN)
        call = asyncio.create_task(use(pool, "a"))
        await hold.arrived()
        drop = asyncio.create_task(pool.drop("a"))
        await settle()
        assert not drop.done()
        hold.release()
        await drop
        await asyncio.wait({call})  # it may have ended before
        assert await stores["a"].load() is None
        assert sandbox.refreshes == 1


async def test_a_login_that_cannot_be_deleted_stays(sandbox: Sandbox) -> None:
    class Stuck(MemoryTokenStore):
        async def clear(self) -> None:
            raise TokenStoreError("the disk is read-only")

    store = Stuck(expired(sandbox.tokens()))
    async with pool_in(sandbox, lambda _: store) as pool:
        session = await use(pool, "a")
        with pytest.raises(TokenStoreError, match="read-only"):
            await pool.drop("a")
        assert await use(pool, "a") is session


async def test_drop_inside_of_its_own_block(sandbox: Sandbox) -> None:
    """Log out at ezeep, then delete: as a handler does it."""
    stores = logged_in(sandbox, "a")
    async with pool_in(sandbox, stores) as pool:
        async with pool.session("a") as session:
            await session.oauth.revoke()
            await pool.drop("a")
            with pytest.raises(SessionClosed):
                await session.accounts.me()
        assert pool.stats.open == pool.stats.in_use == 0


async def test_adopt_stores_a_login(sandbox: Sandbox) -> None:
    """An open session of the key, which had none, uses it."""
    stores = Stores()
    async with pool_in(sandbox, stores) as pool:
        with pytest.raises(ReauthorizationRequired):
            await use(pool, "a")
        async with pool.session("a") as session:
            await pool.adopt("a", tokens := sandbox.tokens())
            await session.accounts.me()
        assert await stores["a"].load() == tokens
    assert sandbox.count(TOKEN) == 0


async def test_a_later_login_of_the_same_key_is_reported(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Opaque tokens: it replaces the earlier one, in the store and in the open session, with a warning."""
    stores = logged_in(sandbox, "a")
    one, other = [person.id for person in sandbox.organization.people.values()][:2]
    stores["a"] = MemoryTokenStore(sandbox.tokens(one))
    async with pool_in(sandbox, stores) as pool, pool.session("a") as session:
        assert (await session.accounts.me()).id == one
        await pool.adopt("a", sandbox.tokens(other))
        assert (await session.accounts.me()).id == other
    [warning] = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert "perhaps by that of another user" in warning


async def test_a_token_set_is_not_replaced_by_one_that_it_replaced(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Its refresh token is used up. The same holds for the same token set."""
    stores = Stores()
    async with pool_in(sandbox, stores) as pool:
        first = expired(sandbox.tokens())
        await pool.adopt("a", first)
        await use(pool, "a")
        second = await stores["a"].load()
        assert second != first
        await pool.adopt("a", first)
        await pool.adopt("a", second)
        assert await stores["a"].load() == second
        await use(pool, "a")
    assert sandbox.refreshes == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_adopt_changes_nothing_if_the_store_fails(sandbox: Sandbox) -> None:
    stores = logged_in(sandbox, "a")
    stores["a"] = Full(sandbox.tokens())
    async with pool_in(sandbox, stores) as pool:
        await use(pool, "a")
        before = pool._sessions.entries["a"].core.refresher.tokens
        with pytest.raises(TokenPersistError):
            await pool.adopt("a", sandbox.tokens())
        assert pool._sessions.entries["a"].core.refresher.tokens is before
        assert not pool._sessions.entries["a"].core.is_busy
        with pytest.raises(TypeError):
            await pool.adopt("a", {"access_token": "x"})


async def test_the_hook_gets_the_key(sandbox: Sandbox) -> None:
    """Called as `hook(key, old, new)`, also by `adopt`."""
    calls = []
    stores = logged_in(sandbox, "a", "b")
    async with pool_in(sandbox, stores, on_token_rotated=lambda *args: calls.append(args)) as pool:
        olds = {key: stores[key]._tokens for key in "ab"}
        await asyncio.gather(use(pool, "a"), use(pool, "b"))
        await until(lambda: len(calls) == 2)
        assert {key: old for key, old, _ in calls} == olds
        assert {key: new for key, _, new in calls} == {key: stores[key]._tokens for key in "ab"}
        await pool.adopt("c", tokens := sandbox.tokens())
        await until(lambda: len(calls) == 3)
        assert calls[2] == ("c", None, tokens)


async def test_a_hook_may_use_the_pool(sandbox: Sandbox) -> None:
    """Its session is not closed while it runs."""
    done = []

    async def hook(key: str, old: object, new: object) -> None:
        if key == "a":
            await use(pool, "b")
            async with pool.session(key) as session:
                await session.accounts.me()
            done.append(key)

    async with pool_in(sandbox, logged_in(sandbox, "a", "b"), max_open=1, on_token_rotated=hook) as pool:
        await use(pool, "a")
        await until(lambda: done)


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_aclose_waits_for_refreshes(sandbox: Sandbox) -> None:
    """The new token set is stored; the calls raise `SessionClosed`."""
    stores = logged_in(sandbox, "a", "b")
    pool = pool_in(sandbox, stores)
    before = {key: stores[key]._tokens for key in "ab"}
    hold = sandbox.faults.hold(TOKEN)
    calls = [asyncio.create_task(use(pool, key)) for key in "ab"]
    await hold.arrived(2)
    closing = asyncio.create_task(pool.aclose())
    await settle()
    assert not closing.done()
    with pytest.raises(SessionClosed, match="SessionPool is closed"):
        await use(pool, "c")
    hold.release()
    await closing
    await pool.aclose()
    for call in calls:
        with pytest.raises(SessionClosed):
            await call
    assert all(stores[key]._tokens != before[key] for key in "ab")
    assert pool.stats.open == pool.stats.in_use == 0
    for act in (pool.drop("a"), pool.adopt("a", sandbox.tokens()), pool.__aenter__()):
        with pytest.raises(SessionClosed):
            await act


async def test_a_cancelled_aclose_goes_on(sandbox: Sandbox) -> None:
    stores = logged_in(sandbox, "a")
    pool = pool_in(sandbox, stores)
    hold = sandbox.faults.hold(TOKEN)
    call = asyncio.create_task(use(pool, "a"))
    await hold.arrived()
    closing = asyncio.create_task(pool.aclose())
    await settle()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    hold.release()
    await pool.aclose()
    assert not pool._sessions.connections.transport.is_open
    with pytest.raises(SessionClosed):
        await call


async def test_aclose_reports_a_lost_token_set(sandbox: Sandbox) -> None:
    """All sessions are closed all the same. An error of the block takes precedence."""
    stores = logged_in(sandbox, "a", "b")
    stores["a"] = Full(stores["a"]._tokens)
    with pytest.raises(TokenPersistError):
        async with pool_in(sandbox, stores) as pool:
            b = await use(pool, "b")
            await use(pool, "a")
    assert b._core.state == "closed"
    assert not pool._sessions.connections.transport.is_open
    stores["a"]._tokens
    with pytest.raises(ZeroDivisionError):
        async with pool_in(sandbox, Stores(a=Full(expired(sandbox.tokens())))) as pool:
            await use(pool, "a")
            raise ZeroDivisionError


async def test_a_session_of_a_pool_is_closed_by_the_pool_alone(sandbox: Sandbox) -> None:
    """A function that closes the session that it was given does not end the calls of others."""
    async with pool_in(sandbox, logged_in(sandbox, "a")) as pool:
        async with pool.session("a") as session:
            async with session:
                await session.accounts.me()
            await session.aclose()
            await session.accounts.me()
            with pytest.raises(ValueError, match="SessionPool"):
                session.again()
            with pytest.raises(TypeError):
                pickle.dumps(session)
            assert "open" in repr(session)


async def test_a_session_after_its_block(sandbox: Sandbox) -> None:
    """The error says that the pool has closed it, whatever it did that for."""
    async with pool_in(sandbox, logged_in(sandbox, "a", "b"), max_open=1) as pool:
        session = await use(pool, "a")
        await session.accounts.me()
        await use(pool, "b")
        await until(lambda: pool.stats.open == 1)
        with pytest.raises(SessionClosed, match=r"the SessionPool has closed .* block of pool.session"):
            await session.accounts.me()


async def test_a_block_is_entered_once(sandbox: Sandbox) -> None:
    async with pool_in(sandbox, logged_in(sandbox, "a")) as pool:
        block = pool.session("a")
        async with block:
            with pytest.raises(RuntimeError, match="entered already"):
                async with block:
                    pass
        async with block as session:
            await session.accounts.me()
        assert pool.stats.in_use == 0
        assert pool.stats.open == 1


async def test_cancellation_while_a_session_opens(sandbox: Sandbox) -> None:
    """No use is left over."""
    async with pool_in(sandbox, logged_in(sandbox, "a")) as pool:
        async with pool.session("a") as session:
            pass
        lock = asyncio.Lock()
        session._core._to_open = (lock, None)
        await lock.acquire()
        task = asyncio.create_task(use(pool, "a"))
        await until(lambda: pool.stats.in_use == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        lock.release()
        assert pool.stats.in_use == 0
        await use(pool, "a")


@pytest.mark.parametrize("steps", range(1, 14))
async def test_cancellation_at_each_step(sandbox: Sandbox, steps: int) -> None:
    """Of a call, with a refresh, beside another pool key that makes room: nothing stays in use, nothing is lost."""
    stores = logged_in(sandbox, "a", "b")
    async with pool_in(sandbox, stores, max_open=1) as pool:
        task = asyncio.create_task(use(pool, "a"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats.in_use == 0
        await use(pool, "b")
        await use(pool, "a")
        assert pool.stats.in_use == 0


@pytest.mark.slow
@pytest.mark.parametrize("act", ["adopt", "drop", "drop in its block", "both at once", "room"])
async def test_cancellation_at_each_step_of_a_change(sandbox: Sandbox, act: str) -> None:
    """No use and no task is left over, the pool works, and a login is either there or gone."""

    async def change(pool: SessionPool) -> None:
        if act == "adopt":
            await pool.adopt("a", sandbox.tokens())
        elif act == "drop":
            await pool.drop("a")
        elif act == "drop in its block":
            async with pool.session("a"):
                await pool.drop("a")
        elif act == "both at once":
            await asyncio.gather(pool.drop("a"), pool.adopt("a", sandbox.tokens()), use(pool, "a"))
        else:
            for key in "bca":
                await use(pool, key)

    others = asyncio.all_tasks()
    for steps in range(60):
        stores = Stores((key, MemoryTokenStore(sandbox.tokens())) for key in "abc")
        async with pool_in(sandbox, stores, max_open=2) as pool:
            task = asyncio.create_task(change(pool))
            for _ in range(steps):
                await asyncio.sleep(0)
            was_done = task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await until(lambda: pool.stats.in_use == 0 and pool.stats.open <= 2 and not pool._sessions._tasks)
            assert pool._sessions.idle.keys() == pool._sessions.entries.keys()
            await use(pool, "b")
            if await stores["a"].load() is None:
                assert "drop" in act or act == "both at once"
                with pytest.raises(ReauthorizationRequired):
                    await use(pool, "a")
            else:
                await use(pool, "a")
        assert asyncio.all_tasks() <= others
        if was_done:
            return


def test_a_pool_belongs_to_one_event_loop() -> None:
    """And can be made outside of any."""
    pool = SessionPool(OAuthApp("client"), Stores())
    assert "0 open" in repr(pool)

    async def enter() -> None:
        async with pool.session("a"):
            pass

    asyncio.run(enter())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(enter())
    other = pool.again()
    asyncio.run(other.aclose())
    asyncio.run(pool.aclose())
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(pool)


async def test_a_pool_that_was_not_closed_warns(sandbox: Sandbox) -> None:
    """Once, not for each of its sessions; the connections are dropped."""
    pool = pool_in(sandbox, logged_in(sandbox, "a", "b"))
    await asyncio.gather(use(pool, "a"), use(pool, "b"))
    transport = pool._sessions.connections.transport
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del pool
        gc.collect()
        await settle()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == [
        "a SessionPool was not closed: use `async with`, or await its aclose()"
    ]
    assert not transport.is_open


async def test_views_of_a_session_of_a_pool(sandbox: Sandbox) -> None:
    """`with_options` works as everywhere, and closing a view closes nothing."""
    async with pool_in(sandbox, logged_in(sandbox, "a")) as pool, pool.session("a") as session:
        view = session.with_options(retries=0)
        async with view:
            await view.accounts.me()
        sandbox.faults.add(ME, status=503)
        with pytest.raises(ServerError):
            await view.accounts.me()
        await session.accounts.me()


@pytest.mark.slow
async def test_sessions_are_small(sandbox: Sandbox) -> None:
    """A few kilobytes for each that is open, and nothing for those that were closed (benchmarks/bench_logins.py)."""

    async def touch(pool: SessionPool, keys: range) -> None:
        for number in keys:
            async with pool.session(str(number)) as session:
                assert session.users is not None
            await settle()  # sessions are closed in the background
        gc.collect()

    async with pool_in(sandbox, max_open=10_000) as pool:
        await touch(pool, range(10))
        with bounded(300 * 10_000):
            await touch(pool, range(10, 310))
        assert pool.stats.open == 310
    store = MemoryTokenStore()
    async with pool_in(sandbox, lambda _: store, max_open=10) as pool:
        await touch(pool, range(100))
        with bounded(300_000):
            await touch(pool, range(100, 400))
        assert pool.stats.open == 10


async def test_a_wrong_with_names_the_right_one(sandbox: Sandbox) -> None:
    """`with` for the pool and its blocks, and `async with` for those of `run_sync`."""
    pool = pool_in(sandbox)
    for wrong in (pool, pool.session("a")):
        with pytest.raises(TypeError, match="async with"):
            with wrong:
                pass
    with pytest.raises(TypeError, match="without `async`"):
        async with run_sync(pool):
            pass
    await pool.aclose()
