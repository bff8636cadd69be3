"""`session.keep_alive()`: an idle login is renewed in time, once, and whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs
import pytest
from support import TOKEN, Clock, expired, open_session, put, sandbox_in_a_thread, settle, until

from ezeep_async import (
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    ReauthorizationRequired,
    SessionClosed,
    TokenPersistError,
    TokenSet,
    TokenStoreError,
)
from ezeep_async.auth import clock as clocks
from ezeep_async.auth import keep_alive
from ezeep_async.auth.keep_alive import KeepAlive
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")

PAUSES = {"LONGEST_SLEEP": 0.01, "SHORTEST_SLEEP": 0.005, "FIRST_PAUSE": 0.005, "LONGEST_PAUSE": 0.02}
LIFE = 3600.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pauses are short: what is to be seen are the steps, and time is the clock's that jumps."""
    for name, seconds in PAUSES.items():
        monkeypatch.setattr(keep_alive, name, seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def steps(handle: KeepAlive, number: int = 6) -> None:
    """Let it look around that many times: whatever it is about to do, it has done then."""
    done = 0
    real = handle._step

    async def counted(kept):
        nonlocal done
        pause = await real(kept)
        done += 1
        return pause

    handle._step = counted  # type: ignore[method-assign]
    await until(lambda: done >= number)
    del handle._step


def later(seconds: float, clock: Clock, sandbox: Sandbox) -> None:
    """Let time pass for client and server at once."""
    clock.steady += seconds
    sandbox.clock.advance(seconds)


def told(caplog: pytest.LogCaptureFixture, text: str = "not kept alive") -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and text in record.getMessage()
    ]


# --- in time, and once -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_an_idle_login_lives_on(sandbox: Sandbox, clock: Clock) -> None:
    """No call for five lifetimes: one refresh in each, and the call that comes at last works."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive()
        await steps(handle)
        assert sandbox.refresh_requests == 0
        for number in range(1, 6):
            later(LIFE - 40, clock, sandbox)
            await until(lambda number=number: sandbox.refreshes == number)
            await steps(handle)
        await session.accounts.me()
    assert (sandbox.refresh_requests, sandbox.refreshes) == (5, 5)


@pytest.mark.usefixtures("quick")
async def test_it_is_off_by_default(sandbox: Sandbox, clock: Clock) -> None:
    """Nothing runs that nobody asked for; an hour later a person has to log in."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        await session.accounts.me()
        later(LIFE - 40, clock, sandbox)
        await settle(50)
        assert sandbox.refresh_requests == 0
        assert [task for task in asyncio.all_tasks() if "keep-alive" in task.get_name()] == []
        later(LIFE, clock, sandbox)
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()


@pytest.mark.usefixtures("quick")
async def test_two_sessions_on_one_file_make_one_refresh(
    sandbox: Sandbox, clock: Clock, tmp_path: Path
) -> None:
    """Whoever comes second finds what the first one fetched."""
    path = tmp_path / "login.json"
    async with (
        open_session(sandbox, FileTokenStore(path), tokens=sandbox.tokens(), clock=clock) as one,
        open_session(sandbox, FileTokenStore(path), clock=clock) as two,
    ):
        handles = [one.keep_alive(), two.keep_alive()]
        for number in range(1, 4):
            later(LIFE - 40, clock, sandbox)
            await until(lambda: all(session._core.refresher.due_in() > 0 for session in (one, two)))
            for handle in handles:
                await steps(handle)
            assert (sandbox.refresh_requests, sandbox.refreshes) == (number, number)
        assert one._core.refresher.tokens == two._core.refresher.tokens


@pytest.mark.usefixtures("quick")
async def test_calls_at_the_same_instant_join_it(sandbox: Sandbox, clock: Clock) -> None:
    """Its refresh is anybody's refresh."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        hold = sandbox.faults.hold(TOKEN)
        session.keep_alive()
        later(LIFE - 40, clock, sandbox)
        await hold.arrived()
        calls = [asyncio.create_task(session.accounts.me()) for _ in range(20)]
        await settle(20)
        hold.release()
        await asyncio.gather(*calls)
    assert sandbox.refresh_requests == 1


@pytest.mark.usefixtures("quick")
async def test_a_login_of_half_a_second_is_kept_alive() -> None:
    """In real time: the leeway is a fifth of the life, and so is what else is waited for."""
    async with Sandbox(expires_in=0.5) as sandbox:
        async with open_session(sandbox, stored=sandbox.tokens()) as session:
            session.keep_alive()
            await until(lambda: sandbox.refreshes >= 4)
        assert sandbox.refresh_requests == sandbox.refreshes


@pytest.mark.usefixtures("quick")
async def test_what_is_stored_is_looked_at_once_at_the_start(sandbox: Sandbox) -> None:
    """An expired login is renewed at once; a good one is only read."""
    async with open_session(sandbox) as session:
        session.keep_alive()
        await until(lambda: sandbox.refreshes == 1)
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        handle = session.keep_alive()
        await until(lambda: session._core.refresher.due_in() > 0)
        await steps(handle)
    assert sandbox.refresh_requests == 1


@pytest.mark.usefixtures("quick")
async def test_workers_spread_over_a_quarter_of_the_leeway(sandbox: Sandbox, clock: Clock) -> None:
    """With the largest share: not at 3540 seconds, and at 3555."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive()
        await steps(handle)
        assert 0 <= handle._share <= 0.25
        handle._share = 0.25
        later(LIFE - 50, clock, sandbox)
        await steps(handle)
        assert sandbox.refresh_requests == 0
        later(6, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)


@pytest.mark.usefixtures("quick")
async def test_a_wall_clock_that_jumps_makes_no_refresh(sandbox: Sandbox, clock: Clock) -> None:
    """1-16: days forward and back; and what is due is due."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        handle = session.keep_alive()
        await steps(handle)
        for jump in (3600.0, -3600.0, 86400.0, 0.0):
            clock.wall = jump
            await steps(handle, 3)
        assert sandbox.refresh_requests == 0
        clock.wall = -86400.0
        later(LIFE - 40, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)


@pytest.mark.parametrize(
    ("platform", "clock_id"), [("linux", "CLOCK_BOOTTIME"), ("darwin", "CLOCK_MONOTONIC"), ("win32", None)]
)
def test_steady_time_goes_on_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch, platform: str, clock_id: str | None
) -> None:
    """1-16: by the clock that does so on each system; time.monotonic() where there is none."""
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "CLOCK_MONOTONIC", 1, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda number: asked.append(number) or 5.0, raising=False)
    read = clocks.steady_time()
    if clock_id is None:
        assert read is time.monotonic
    else:
        assert read() == 5.0
        assert set(asked) == {getattr(time, clock_id)}


def test_steady_time_where_the_kernel_does_not_know_that_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the ordinary one has to do; and the real one of this machine runs."""

    def fail(number: int) -> float:
        raise OSError(22, "Invalid argument")

    before = clocks.SYSTEM_CLOCK.monotonic()
    assert clocks.SYSTEM_CLOCK.monotonic() >= before
    monkeypatch.setattr(time, "clock_gettime", fail, raising=False)
    assert clocks.steady_time() is time.monotonic


# --- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "trouble", [{"status": 503, "retry_after": 3600.0}, {"status": 500}, {"drop": "before"}], ids=str
)
async def test_a_server_that_is_down_is_asked_again_until_it_is_back(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture, trouble: dict[str, object]
) -> None:
    """Told once, by each of the two that notice; and in the end the login lives."""
    caplog.set_level(logging.INFO, logger="ezeep_async.auth")
    fault = sandbox.faults.add(TOKEN, times=None, **trouble)
    async with open_session(sandbox, clock=clock) as session:
        handle = session.keep_alive()
        await until(lambda: fault.hits >= 6)
        assert handle.state == "trying again"
        fault.remove()
        await until(lambda: sandbox.refreshes == 1)
        await until(lambda: handle.state == "running")
        await session.accounts.me()
    assert len(told(caplog)) == 1
    assert len(told(caplog, "renewing the login failed")) == 1
    assert caplog.text.count("kept alive again") == 1


class _Breaks(MemoryTokenStore):
    """A store that fails in one of its methods, as long as there is something to raise."""

    where = ""
    error: Exception | None = None
    failures = 0

    def _fail(self, where: str) -> None:
        if where == self.where and self.error is not None:
            self.failures += 1
            raise self.error

    async def load(self) -> TokenSet | None:
        self._fail("load")
        return await super().load()

    async def save(self, tokens: TokenSet, /) -> None:
        self._fail("save")
        await super().save(tokens)

    async def check_writable(self) -> None:
        self._fail("check_writable")

    def lock(self) -> AbstractAsyncContextManager[object]:
        self._fail("lock")
        return super().lock()

    def bind(self, client_id: str, account: str) -> None:
        self._fail("bind")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["load", "check_writable", "lock", "bind"])
@pytest.mark.parametrize(
    "error",
    [TokenStoreError("the store is away"), RuntimeError("the store is away")],
    ids=lambda error: type(error).__name__,
)
async def test_a_store_that_fails_is_asked_again_until_it_works(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, where: str, error: Exception
) -> None:
    """Whatever it raises, and wherever: told once, nothing is sent, and in the end the login lives."""
    store = _Breaks(expired(sandbox.tokens()))
    store.where, store.error = where, error
    session = open_session(sandbox, store)
    async with contextlib.aclosing(session):  # not opened: that may be what fails
        handle = session.keep_alive()
        await until(lambda: store.failures >= 6)
        assert handle.state == "trying again"
        assert sandbox.refresh_requests == 0
        store.error = None
        await until(lambda: sandbox.refreshes == 1)
    assert len(told(caplog)) == 1
    assert "the store is away" in told(caplog)[0]
    assert [record.exc_info for record in caplog.records if "not kept alive" in record.getMessage()] == [None]


@pytest.mark.parametrize("where", ["load", "lock", "bind"])
async def test_a_look_into_a_store_that_fails_is_a_token_store_error(sandbox: Sandbox, where: str) -> None:
    """Whatever it raises: its callers cannot know every library behind a store."""
    store = _Breaks(sandbox.tokens())
    store.where, store.error = where, LookupError("the store is away")
    async with contextlib.aclosing(open_session(sandbox, store)) as session:
        with pytest.raises(TokenStoreError, match="the token store failed: the store is away"):
            await session._core.stored()


async def test_the_pauses_grow(sandbox: Sandbox) -> None:
    """Five seconds, twice that with each failure, and a minute at most; a second after a renewal, and no storm."""
    store = _Breaks(sandbox.tokens())
    store.where, store.error = "load", TokenStoreError("the store is away")
    async with open_session(sandbox, store) as session:
        handle = session.keep_alive()
        handle._task.cancel()
        pauses = [await handle._step(session._core) for _ in range(1000)]
        assert pauses[:6] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
        assert pauses[-1] == 60.0
        store.error = None
        store._tokens = expired(sandbox.tokens())
        assert await handle._step(session._core) == 1.0
        assert sandbox.refreshes == 1
        assert (
            await handle._step(session._core) == 30.0
        )  # no longer: a suspended machine is to be noticed soon


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("whose", ["this session", "another process"])
async def test_after_a_logout_a_new_login_is_kept_alive(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture, whose: str
) -> None:
    """Told once; nothing is sent meanwhile; whoever logs in."""
    sandbox.behaviour.password_grant = True
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store, clock=clock) as session:
        handle = session.keep_alive()
        await session.oauth.revoke()
        await until(lambda: handle.state == "waiting for a login")
        await steps(handle, 10)
        assert sandbox.count(TOKEN) == 0
        if whose == "this session":
            await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        else:
            await put(store, sandbox.tokens())
        await until(lambda: handle.state == "running")
        later(LIFE - 40, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)
        await session.accounts.me()
    assert len(told(caplog)) == 1
    assert "a new login is waited for" in told(caplog)[0]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["ended", "without a refresh token", "nobody"])
async def test_where_a_person_is_needed_it_waits(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The server is asked once at most, the log tells it once, and a login by somebody else is taken up."""
    spent = sandbox.tokens()
    async with open_session(sandbox, stored=expired(spent)) as other:
        await other.accounts.me()
    sandbox.reset_counts()
    ended = attrs.evolve(expired(spent), refresh_token="") if "without" in kind else expired(spent)
    store = MemoryTokenStore(None if kind == "nobody" else ended)
    async with open_session(sandbox, store) as session:
        handle = session.keep_alive()
        await until(lambda: handle.state == "waiting for a login")
        await steps(handle, 20)
        assert sandbox.refresh_requests == (1 if kind == "ended" else 0)
        await put(store, expired(sandbox.tokens()))
        await until(lambda: sandbox.refreshes == 1)
        await session.accounts.me()
    assert len(told(caplog)) == 1


@pytest.mark.usefixtures("quick")
async def test_a_login_made_while_the_old_one_is_refused_is_not_missed(sandbox: Sandbox) -> None:
    """It was looked at before it was refused: what is found afterwards is new, whenever it came."""
    spent = sandbox.tokens()
    async with open_session(sandbox, stored=expired(spent)) as other:
        await other.accounts.me()

    class Late(MemoryTokenStore):
        loads = 0

        async def load(self) -> TokenSet | None:
            self.loads += 1
            found = await super().load()
            if self.loads == 3:  # the one after the refusal
                self._tokens = sandbox.tokens()
            return found

    async with open_session(sandbox, Late(expired(spent))) as session:
        handle = session.keep_alive()
        await until(lambda: handle.state == "waiting for a login")
        await until(lambda: handle.state == "running")
        await session.accounts.me()


@pytest.mark.usefixtures("quick")
async def test_a_login_that_could_not_be_stored_is_stored_without_a_call(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7: an idle session has no next call that would try it again."""
    store = _Breaks(expired(sandbox.tokens()))
    store.where, store.error = "save", TokenPersistError("no room")
    async with open_session(sandbox, store, clock=clock) as session:
        handle = session.keep_alive()
        await until(lambda: store.failures == 1)
        store.error = None
        await steps(handle)
        clock.steady += 2
        await until(lambda: store._tokens == session._core.refresher.tokens)
    assert sandbox.refreshes == 1


# --- its end -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_closing_ends_it_and_waits_for_its_refresh(sandbox: Sandbox) -> None:
    """1-7: the new login is stored before the close is over; nothing is left running."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    old = await store.load()
    session = open_session(sandbox, store)
    hold = sandbox.faults.hold(TOKEN)
    handle = session.keep_alive()
    await hold.arrived()
    closing = asyncio.create_task(session.aclose())
    await settle(50)
    assert not closing.done()
    assert not handle.is_running
    hold.release()
    await closing
    assert (await store.load()).refresh_token != old.refresh_token
    assert sandbox.refreshes == 1
    assert handle._task.done()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("ezeep")] == []
    assert repr(handle) == "<KeepAlive stopped>"


async def test_closed_before_it_began(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Its first step comes after the close has begun: nothing is said, and nothing done."""
    session = open_session(sandbox)
    handle = session.keep_alive()
    await session.aclose()
    await until(handle._task.done)
    assert caplog.text == ""
    assert sandbox.refresh_requests == 0


async def test_it_is_stopped_from_any_thread(sandbox: Sandbox) -> None:
    """In the middle of a sleep of half a minute."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        handle = session.keep_alive()
        await until(lambda: session._core.refresher.due_in() > 0)
        await settle()
        await asyncio.to_thread(handle.stop)
        await until(handle._task.done)


async def test_closing_does_not_wait_for_its_sleep(sandbox: Sandbox) -> None:
    """It sleeps for half a minute, and is ended at once."""
    session = open_session(sandbox, stored=sandbox.tokens())
    handle = session.keep_alive()
    await until(lambda: session._core.refresher.due_in() > 0)
    async with asyncio.timeout(5):
        await session.aclose()
    assert handle._task.done()


@pytest.mark.usefixtures("quick")
async def test_stopping_ends_it_and_not_its_refresh(sandbox: Sandbox) -> None:
    """The renewal belongs to nobody who can be cancelled."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    old = await store.load()
    async with open_session(sandbox, store) as session:
        hold = sandbox.faults.hold(TOKEN)
        handle = session.keep_alive()
        await hold.arrived()
        handle.stop()
        handle.stop()
        await until(handle._task.done)
        hold.release()
        await until(lambda: store._tokens != old)
    assert sandbox.refreshes == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("way", ["stop", "async with", "with"])
async def test_stopped_it_renews_nothing(sandbox: Sandbox, clock: Clock, way: str) -> None:
    """By hand, and at the end of a block."""
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        if way == "stop":
            handle = session.keep_alive()
            await steps(handle)
            handle.stop()
        elif way == "with":
            with session.keep_alive() as handle:
                await steps(handle)
        else:
            async with session.keep_alive() as handle:
                await steps(handle)
                assert repr(handle) == "<KeepAlive running>"
            assert handle._task.done()
        assert not handle.is_running
        later(LIFE - 40, clock, sandbox)
        await until(handle._task.done)
    assert sandbox.refresh_requests == 0


async def test_there_is_one_for_each_session(sandbox: Sandbox) -> None:
    """Asked for again it is the same one, and another one after it was stopped."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        first = session.keep_alive()
        assert session.keep_alive() is first
        first.stop()
        second = session.keep_alive()
        assert second is not first
        assert second.is_running
        await until(first._task.done)
        first._task.cancel()
        second._task.cancel()  # as a shutdown handler does that cancels everything
        await until(second._task.done)
        assert session.keep_alive() is not second


async def test_it_has_a_context_of_its_own(sandbox: Sandbox) -> None:
    """It outlives the request that it was started in, and must not run under that one's name."""
    from contextvars import ContextVar

    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []
    request.set("the first one")
    async with open_session(sandbox, on_token_rotated=lambda old, new: seen.append(request.get())) as session:
        session.keep_alive()
        await until(lambda: seen)
    assert seen == ["none"]


def _unclosed(caught: list[warnings.WarningMessage]) -> bool:
    return any("EzeepSession was not closed" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("with_handle", [True, False])
async def test_a_session_that_nobody_closed_is_noticed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, with_handle: bool
) -> None:
    """It does not keep its session alive, not even one that a hook refers to; and it ends, asleep as it is."""
    pauses: list[float] = []
    real = KeepAlive._step

    async def noted(self: KeepAlive, kept) -> float:
        pauses.append(await real(self, kept))
        return pauses[-1]

    monkeypatch.setattr(KeepAlive, "_step", noted)
    monkeypatch.setattr(keep_alive, "SHORTEST_SLEEP", 0.005)

    class App:
        """Its session refers to it, and it to the session."""

        def __init__(self) -> None:
            self.session = open_session(sandbox, on_token_rotated=self.hook)

        def hook(self, old: TokenSet | None, new: TokenSet) -> None:
            pass

    app = App()
    handle = app.session.keep_alive()
    task = handle._task
    if not with_handle:
        del handle
    await until(lambda: 30.0 in pauses)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del app
        await until(lambda: (gc.collect(), _unclosed(caught))[1])
    await until(task.done)


# --- where it may be called --------------------------------------------------------------------------------------------


async def test_after_the_close_it_is_refused(sandbox: Sandbox) -> None:
    """As every call is."""
    session = open_session(sandbox)
    await session.aclose()
    with pytest.raises(SessionClosed):
        session.keep_alive()


async def test_on_another_loop_it_is_refused(sandbox: Sandbox) -> None:
    """In a thread without a loop, and in one with another loop: a sentence, and nothing is started."""
    messages: list[str] = []

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError) as caught:
            session.keep_alive()
        messages.append(str(caught.value))

    def thread() -> None:
        with pytest.raises(RuntimeError) as caught:
            session.keep_alive()
        messages.append(str(caught.value))
        asyncio.run(elsewhere())

    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        running = threading.Thread(target=thread)
        running.start()
        await until(lambda: not running.is_alive())
    assert "in a coroutine, on the event loop of the session" in messages[0]
    assert "another event loop" in messages[1]


@pytest.fixture
def kept() -> Iterator[list[EzeepSession]]:
    """Sessions that outlive their loop, and the warning that they are not closed."""
    sessions: list[EzeepSession] = []
    yield sessions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sessions.clear()
        gc.collect()


@pytest.mark.may_block
@pytest.mark.parametrize("in_a_renewal", [False, True])
def test_the_end_of_the_loop_ends_it_quietly(
    caplog: pytest.LogCaptureFixture, kept: list[EzeepSession], in_a_renewal: bool
) -> None:
    """asyncio.run() winds up with the session still open: no task is destroyed, and a renewal comes to its end."""
    with sandbox_in_a_thread() as sandbox:
        store = MemoryTokenStore(expired(sandbox.tokens()))
        if in_a_renewal:
            sandbox.faults.add(TOKEN, delay_after=0.3)

        async def main() -> None:
            session = open_session(sandbox, store)
            kept.append(session)
            session.keep_alive()
            await until(lambda: sandbox.refresh_requests == 1)
            if not in_a_renewal:
                await until(lambda: session._core.refresher.due_in() > 0)

        asyncio.run(main(), debug=True)
        gc.collect()
        assert sandbox.refreshes == 1
        assert store._tokens is not None
        assert store._tokens.expires_in == LIFE
        assert not kept[0]._core._keep_alive.is_running
    assert "destroyed" not in caplog.text
    assert told(caplog) == []
