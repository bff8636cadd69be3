"""One refresh at a time, which survives cancellation of its waiters: requirements 1-1 to 1-20."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import warnings
from collections.abc import AsyncGenerator

import anyio
import attrs
import pytest
from helpers.evidence import survives
from helpers.support import ME, QUICK, TOKEN, Clock, expired, open_session, sandbox_in_a_thread, settle

from ezeep_async import (
    AuthenticationError,
    Endpoints,
    EzeepSession,
    MemoryTokenStore,
    OutcomeUnknown,
    ReauthorizationRequired,
    Settings,
    TokenPersistError,
    TokenSet,
    TransientAuthError,
)
from ezeep_async.sandbox import Sandbox


GROUP = "GET /printing/v1/groups/{id}/"
USERS = "GET /printing/v1/users/"


pytestmark = pytest.mark.usefixtures("debug_mode")


@pytest.mark.slow
@pytest.mark.parametrize("callers", [200, 1000])
async def test_1_1_many_callers_over_an_expired_token_make_one_refresh(
    sandbox: Sandbox, callers: int
) -> None:
    """1-1: one POST to the token endpoint, whatever the number of callers, and all of them succeed."""
    async with open_session(sandbox) as session:
        tokens = await asyncio.gather(*[session._core.refresher.access_token() for _ in range(callers)])
    assert len(set(tokens)) == 1
    assert sandbox.refresh_requests == 1


async def test_1_1_a_good_token_is_there_at_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """1-1: no lock, no task and no iteration of the event loop."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        refresher = session._core.refresher
        token = await refresher.access_token()
        monkeypatch.setattr(refresher, "_store", None)
        tasks, iterations = len(asyncio.all_tasks()), list[int]()
        asyncio.get_running_loop().call_soon(iterations.append, 1)
        assert await refresher.access_token() == token
        assert (len(asyncio.all_tasks()), iterations) == (tasks, [])


@pytest.mark.slow
async def test_1_1_two_hundred_real_calls_make_one_refresh(sandbox: Sandbox) -> None:
    """1-1: the same with requests on the wire."""
    async with open_session(sandbox) as session:
        people = await asyncio.gather(*[session.accounts.me() for _ in range(200)])
    assert len({person.id for person in people}) == 1
    assert (sandbox.refresh_requests, sandbox.refreshes) == (1, 1)


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_1_2_a_herd_of_401_makes_one_refresh(sandbox: Sandbox) -> None:
    """1-2: 200 calls refused for the same token: one refresh, each replayed once."""
    # The first of them waits for all the others to connect, which takes its time on a busy machine.
    settings = attrs.evolve(QUICK, connect_timeout=60.0, read_timeout=60.0, deadline=80.0, concurrency=200)
    async with open_session(sandbox, stored=sandbox.tokens(), settings=settings) as session:
        await session.accounts.me()
        sandbox.reset_counts()
        hold = sandbox.faults.hold(ME)
        calls = [asyncio.create_task(session.accounts.me()) for _ in range(200)]
        await hold.arrived(200)
        sandbox.expire_access_tokens()
        hold.release()
        await asyncio.gather(*calls)
    assert sandbox.refresh_requests == 1
    assert sandbox.count(ME) == 400


async def test_1_3_a_401_for_a_token_that_was_replaced_refreshes_nothing(sandbox: Sandbox) -> None:
    """1-3: the old access token dies at rotation; a call in flight with it is replayed with the new one."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        await session.accounts.me()
        hold = sandbox.faults.hold(ME)
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        await session.oauth.refresh()
        sandbox.reset_counts()
        hold.release()
        await call
    assert sandbox.refresh_requests == 0
    assert sandbox.count(ME) == 1


async def test_1_3_a_401_adopts_what_another_process_stored(sandbox: Sandbox) -> None:
    """1-3: the store already has another token: replay with that one, refresh nothing."""
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store) as session, open_session(sandbox, store) as other:
        await session.accounts.me()
        await other.oauth.refresh()
        sandbox.reset_counts()
        await session.accounts.me()
    assert sandbox.refresh_requests == 0


class SlowToRelease(MemoryTokenStore):
    """Its lock is released when `gate` is done."""

    def __init__(self, tokens: TokenSet) -> None:
        super().__init__(tokens)
        self.gate = asyncio.get_running_loop().create_future()
        self.releasing = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncGenerator[None]:
        async with super().lock():
            yield
            self.releasing.set()
            await self.gate


async def test_1_2_a_401_while_a_refresh_ends_starts_another_one(sandbox: Sandbox) -> None:
    """1-2, 1-6: the task has ended, its callbacks have not run, and its token set has the rejected token."""
    tokens = sandbox.tokens()
    store = SlowToRelease(tokens)
    async with open_session(sandbox, store) as session:
        refresher = session._core.refresher
        loading = asyncio.create_task(refresher.access_token())
        await store.releasing.wait()
        store.gate.set_result(None)
        # Runs in the same iteration of the event loop as the last step of the refresh, and after it.
        replacing = asyncio.create_task(refresher.replacement_for(tokens.access_token))
        assert await loading == tokens.access_token
        assert await replacing != tokens.access_token
    assert sandbox.refreshes == 1


async def test_1_4_a_second_401_is_final(sandbox: Sandbox) -> None:
    """1-4: a second 401 after a refresh: an error at once, two requests in all, one refresh."""
    sandbox.faults.add(ME, times=None, status=401)
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        with pytest.raises(AuthenticationError) as caught:
            await session.accounts.me()
    assert caught.value.status == 401
    assert caught.value.attempts == sandbox.count(ME) == 2
    assert sandbox.refresh_requests == 1


async def _by_task_cancel(call) -> None:
    task = asyncio.create_task(call)
    await settle(20)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _by_wait_for(call) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(call, 0.05)


async def _by_timeout(call) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await call


async def _by_failing_sibling(call) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise LookupError

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(call)
            group.create_task(fail())


async def _by_anyio_scope(call) -> None:
    with anyio.move_on_after(0.05):
        await call


async def _by_anyio_group(call) -> None:
    async def run() -> None:
        await call

    async def fail() -> None:
        await anyio.sleep(0.05)
        raise LookupError

    with contextlib.suppress(ExceptionGroup):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            group.start_soon(fail)


CANCELLERS = [
    _by_task_cancel,
    _by_wait_for,
    _by_timeout,
    _by_failing_sibling,
    _by_anyio_scope,
    _by_anyio_group,
]


@pytest.mark.slow
@pytest.mark.parametrize("cancel", CANCELLERS, ids=lambda function: function.__name__[4:])
@pytest.mark.parametrize("after", [False, True], ids=["before_the_server_rotates", "after_it_rotated"])
@pytest.mark.parametrize(("grace", "protection"), [(0.0, True), (0.0, False), (120.0, True), (120.0, False)])
async def test_1_5_no_canceller_stops_a_refresh(cancel, after: bool, grace: float, protection: bool) -> None:
    """1-5, 9-1: the caller is released promptly, the refresh completes, the new login is stored, no second refresh."""
    async with Sandbox(grace_window=grace, reuse_protection=protection) as sandbox:
        store = MemoryTokenStore(expired(sandbox.tokens()))
        old = await store.load()
        async with open_session(sandbox, store) as session:
            hold = sandbox.faults.hold(TOKEN, after=after)
            arrived = asyncio.create_task(hold.arrived())
            await cancel(session.accounts.me())
            await arrived
            assert await store.load() == old
            hold.release()
            await session.accounts.me()
            stored = await store.load()
            assert stored is not None
            assert stored.refresh_token != old.refresh_token
            assert sandbox.refresh_requests == 1
            fault = f"{cancel.__name__[4:]}, {'after' if after else 'before'} the rotation"
            assert await survives(fault, sandbox, session)


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize("inside_the_session", [True, False])
def test_1_5_keyboard_interrupt_ends_the_loop_and_not_the_refresh(inside_the_session: bool) -> None:
    """1-5: asyncio.run() winds up after Ctrl-C, cancelling every task: the refresh is waited for all the same."""
    if os.environ.get("EVENT_LOOP") == "uvloop" and not inside_the_session:
        pytest.skip("uvloop never closes when its own ResourceWarning is raised as an error")
    kept: list[EzeepSession] = []

    async def main() -> None:
        session = open_session(sandbox, store)
        kept.append(session)
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)
        if inside_the_session:
            async with session:
                await session.accounts.me()
        else:
            await session.accounts.me()

    with sandbox_in_a_thread() as sandbox:
        store = MemoryTokenStore(expired(sandbox.tokens()))
        old = store._tokens
        sandbox.faults.add(TOKEN, delay_after=0.4)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
        assert sandbox.refreshes == 1
        assert store._tokens.refresh_token != old.refresh_token
    if not inside_the_session:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept.clear()
            gc.collect()
        messages = [str(warning.message) for warning in caught]
        assert any("EzeepSession was not closed" in message for message in messages), messages
        assert not any("client session" in message or "connector" in message for message in messages), (
            messages
        )


async def test_1_5_cancel_all_tasks_of_the_loop(sandbox: Sandbox) -> None:
    """1-5: the customary "cancel everything" of a shutdown handler does not stop a refresh either."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    old = await store.load()
    session = open_session(sandbox, store)
    hold = sandbox.faults.hold(TOKEN, after=True)
    call = asyncio.create_task(session.accounts.me())
    await hold.arrived()
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and "ezeep" in repr(task) and "Sandbox" not in repr(task):
            task.cancel()
    asyncio.get_running_loop().call_soon(
        lambda: [task.cancel() for task in asyncio.all_tasks() if task.get_name() == "ezeep-refresh"]
    )
    await settle()
    hold.release()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    await session.aclose()
    stored = await store.load()
    assert stored is not None
    assert stored.refresh_token != old.refresh_token


async def test_1_6_one_cancelled_waiter_leaves_the_others(sandbox: Sandbox) -> None:
    """1-6: of fifty waiters one is cancelled: 49 succeed."""
    async with open_session(sandbox) as session:
        hold = sandbox.faults.hold(TOKEN)
        waiters = [asyncio.create_task(session._core.refresher.access_token()) for _ in range(50)]
        await hold.arrived()
        waiters[7].cancel()
        hold.release()
        results = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(results[7], asyncio.CancelledError)
    assert len({token for token in results if isinstance(token, str)}) == 1
    assert sum(isinstance(token, str) for token in results) == 49


async def test_1_6_a_failed_refresh_is_not_kept(sandbox: Sandbox) -> None:
    """1-6: after a failure the next call tries again; each waiter got an exception of its own."""
    fault = sandbox.faults.add(
        TOKEN, times=None, status=403, body="<html>blocked</html>", content_type="text/html"
    )
    async with open_session(sandbox) as session:
        results = await asyncio.gather(*[session.accounts.me() for _ in range(5)], return_exceptions=True)
        assert all(isinstance(error, TransientAuthError) for error in results)
        assert len({id(error) for error in results}) == 5
        assert fault.hits == 1
        fault.remove()
        await session.accounts.me()
    assert sandbox.refreshes == 1


@pytest.mark.slow
async def test_1_7_the_task_is_held_and_closing_waits_for_it(sandbox: Sandbox) -> None:
    """1-7: with no waiter left and a garbage collection, the refresh goes on; aclose() ends after it has stored."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    session = open_session(sandbox, store)
    hold = sandbox.faults.hold(TOKEN)
    call = asyncio.create_task(session.accounts.me())
    await hold.arrived()
    call.cancel()
    await asyncio.wait({call})
    gc.collect()
    closing = asyncio.create_task(session.aclose())
    await settle(50)
    assert not closing.done()
    hold.release()
    await closing
    stored = await store.load()
    assert stored is not None
    assert sandbox.refreshes == 1
    async with open_session(sandbox, store) as again:
        await again.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_1_7_a_cancelled_close_goes_on(sandbox: Sandbox) -> None:
    """1-7: a waiter of the close may be cancelled; the close is not."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    session = open_session(sandbox, store)
    hold = sandbox.faults.hold(TOKEN)
    call = asyncio.create_task(session.accounts.me())
    await hold.arrived()
    closing = asyncio.create_task(session.aclose())
    await settle()
    closing.cancel()
    await asyncio.wait({closing})
    hold.release()
    await session.aclose()
    await asyncio.wait({call})
    assert call.exception() is not None
    assert sandbox.refreshes == 1


def test_1_8_the_time_for_a_refresh_is_at_least_thirty_seconds() -> None:
    """1-8: a reply that is late is not a login that is lost."""
    assert Settings().refresh_timeout >= 30


@pytest.mark.slow
async def test_1_8_a_waiters_limit_does_not_shorten_the_refresh(sandbox: Sandbox) -> None:
    """1-8: the deadline of a call ends the call; the refresh has its own."""
    settings = attrs.evolve(QUICK, deadline=0.2)
    async with open_session(sandbox, settings=settings) as session:
        sandbox.faults.add(TOKEN, delay_after=0.5)
        with pytest.raises(Exception, match="deadline"):
            await session.accounts.me()
        await session._core.refresher.access_token()
    assert sandbox.refresh_requests == 1


@pytest.mark.slow
async def test_1_8_an_exchange_that_never_ends_is_given_up_inside(sandbox: Sandbox) -> None:
    """1-8: the limit is on the exchange itself: one replay, then an error, for all waiters alike."""
    settings = attrs.evolve(QUICK, refresh_timeout=0.3, connect_timeout=0.2)
    hold = sandbox.faults.hold(TOKEN)
    async with open_session(sandbox, settings=settings) as session:
        with pytest.raises(TransientAuthError, match="no response from the account service"):
            await session.accounts.me()
        hold.release()
    assert sandbox.refresh_requests == 2


async def test_1_9_storing_follows_the_value_of_the_token(sandbox: Sandbox) -> None:
    """1-9: the hook and the store see each new token once, and no old one."""
    seen: list[tuple[TokenSet | None, TokenSet]] = []
    store = MemoryTokenStore(sandbox.tokens())
    first = await store.load()
    async with open_session(
        sandbox, store, on_token_rotated=lambda old, new: seen.append((old, new))
    ) as session:
        await session.accounts.me()
        assert seen == []
        second = await session.oauth.refresh()
        await settle()
        assert seen == [(first, second)]
        assert await store.load() == second


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_1_10_a_hook_may_use_the_session(sandbox: Sandbox, kind: str) -> None:
    """1-10: it is called with the lock released, and may call and even refresh without a deadlock."""
    done = asyncio.Event()
    results: list[object] = []

    async def work() -> None:
        results.append(await session.accounts.me())
        if len(results) == 1:
            results.append(await session.oauth.refresh())
        done.set()

    def sync_hook(old: TokenSet | None, new: TokenSet) -> None:
        results.append(asyncio.ensure_future(work()))

    async def async_hook(old: TokenSet | None, new: TokenSet) -> None:
        await work()

    hook = sync_hook if kind == "sync" else async_hook
    async with open_session(sandbox, on_token_rotated=hook) as session:
        await session.accounts.me()
        await asyncio.wait_for(done.wait(), 5)


async def test_1_10_a_raising_hook_loses_nothing(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """1-10: it is logged; the token is there and the next refresh works."""

    def hook(old: TokenSet | None, new: TokenSet) -> None:
        raise LookupError("from the hook")

    async with open_session(sandbox, on_token_rotated=hook) as session:
        await session.accounts.me()
        await session.oauth.refresh()
        await session.accounts.me()
        await settle()
    assert sandbox.refreshes == 2
    assert "on_token_rotated raised" in caplog.text


async def test_1_11_two_sessions_on_one_store_share_one_refresh(sandbox: Sandbox) -> None:
    """1-11: a session for each request does not make a refresh for each request."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(open_session(sandbox, store)) for _ in range(20)]
        await asyncio.gather(*[session.accounts.me() for session in sessions])
    assert sandbox.refresh_requests == 1


class _ForgetfulLock(MemoryTokenStore):
    """A store whose lock does not hold, as on some network file systems."""

    @contextlib.asynccontextmanager
    async def lock(self):
        yield


async def test_1_14_invalid_grant_looks_into_the_store_first() -> None:
    """1-14: another process refreshed meanwhile: its token set is used, and the caller sees no error."""
    async with Sandbox(reuse_protection=False) as sandbox:
        store = _ForgetfulLock(expired(sandbox.tokens()))
        async with open_session(sandbox, store) as slow, open_session(sandbox, store) as fast:
            hold = sandbox.faults.hold(TOKEN, times=1)
            call = asyncio.create_task(slow.accounts.me())
            await hold.arrived()
            await fast.accounts.me()
            hold.release()
            await call
        assert (sandbox.refresh_requests, sandbox.refreshes) == (2, 1)


async def test_1_14_invalid_grant_with_nothing_new_needs_a_person(sandbox: Sandbox) -> None:
    """1-14: the same token is still stored: ReauthorizationRequired, and the store keeps what it has."""
    spent = sandbox.tokens()
    async with open_session(sandbox, stored=expired(spent)) as first:
        await first.accounts.me()
    store = MemoryTokenStore(expired(spent))
    async with open_session(sandbox, store) as session:
        with pytest.raises(ReauthorizationRequired, match="log in again") as caught:
            await session.accounts.me()
    assert caught.value.error == "invalid_grant"
    assert await store.load() == expired(spent) or (await store.load()).refresh_token == spent.refresh_token
    assert spent.refresh_token not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "response",
    [
        {"status": 403, "body": "<html><title>Blocked</title></html>", "content_type": "text/html"},
        {"status": 400, "body": "", "content_type": None},
        {"status": 401, "body": '{"detail": "no"}'},
        {"status": 404, "body": "nothing"},
        {"status": 500},
        {"status": 502, "body": "<html></html>"},
        {"status": 504},
        {"status": 429, "retry_after": 3600.0},
        {"status": 503, "retry_after": 3600.0},
        {"status": 302, "headers": {"Location": "http://example.com/?code=secret"}},
        {"status": 200, "body": "<html>maintenance</html>"},
        {"status": 200, "body": "{}"},
        {"status": 400, "body": '{"error": "temporarily_unavailable"}'},
    ],
    ids=lambda response: f"{response['status']}-{str(response.get('body'))[:16]}",
)
async def test_1_15_only_an_oauth_error_ends_a_login(sandbox: Sandbox, response: dict[str, object]) -> None:
    """1-15: everything else is a passing trouble; the stored login stays, and works when the trouble is over."""
    fault = sandbox.faults.add(TOKEN, times=None, **response)
    store = MemoryTokenStore(expired(sandbox.tokens()))
    before = await store.load()
    async with open_session(sandbox, store) as session:
        with pytest.raises(TransientAuthError) as caught:
            await session.accounts.me()
        assert await store.load() == before
        assert fault.hits in {1, 2}
        assert before.refresh_token not in repr(caught.value) + str(caught.value.__cause__)
        fault.remove()
        await session.accounts.me()


async def test_1_15_a_refused_client_is_no_lost_login(sandbox: Sandbox) -> None:
    """1-15: invalid_client is final, and no log-in would mend it: AuthenticationError, and nothing more."""
    sandbox.faults.add(TOKEN, status=401, body='{"error": "invalid_client", "error_description": "who?"}')
    async with open_session(sandbox) as session:
        with pytest.raises(AuthenticationError, match="invalid_client") as caught:
            await session.accounts.me()
    assert type(caught.value) is AuthenticationError


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
async def test_a_refused_refresh_is_tried_again_within_its_time(sandbox: Sandbox, status: int) -> None:
    """A 429 and a 503 were not processed: asked again as the server says, with the same token."""
    sandbox.faults.add(TOKEN, times=2, status=status, retry_after=0)
    async with open_session(sandbox) as session:
        await session.accounts.me()
    assert (sandbox.refresh_requests, sandbox.refreshes) == (3, 1)


@pytest.mark.slow
async def test_a_server_that_cannot_be_reached_keeps_the_login(
    sandbox: Sandbox, unused_tcp_port: int
) -> None:
    """Nothing was sent, so nothing is lost: TransientAuthError after the time limit, the token untouched."""
    endpoints = Endpoints(account=f"http://127.0.0.1:{unused_tcp_port}", api=sandbox.endpoints.api)
    store = MemoryTokenStore(expired(sandbox.tokens()))
    settings = attrs.evolve(QUICK, refresh_timeout=0.5)
    async with EzeepSession(
        sandbox.oauth_app, store=store, endpoints=endpoints, settings=settings
    ) as session:
        with pytest.raises(TransientAuthError, match="cannot connect"):
            await session.accounts.me()
    async with EzeepSession(
        sandbox.oauth_app, store=MemoryTokenStore(await store.load()), endpoints=sandbox.endpoints
    ) as session:
        await session.accounts.me()


@pytest.mark.parametrize("protection", [True, False])
@pytest.mark.parametrize("grace", [120.0, 0.0])
async def test_a_lost_answer_is_replayed_once(grace: float, protection: bool) -> None:
    """With a grace window the replay brings the login back; without one the error says plainly what happened."""
    async with Sandbox(grace_window=grace, reuse_protection=protection) as sandbox:
        sandbox.faults.add(TOKEN, drop="after")
        async with open_session(sandbox) as session:
            if grace:
                await session.accounts.me()
            else:
                with pytest.raises(ReauthorizationRequired, match="response to a token refresh was lost"):
                    await session.accounts.me()
            assert sandbox.refresh_requests == 2
            assert await survives("response lost", sandbox, session) == bool(grace)


async def test_a_request_that_was_not_processed_survives_a_dropped_connection(sandbox: Sandbox) -> None:
    """The connection broke before the server did anything: the replay is the first use of the token."""
    sandbox.faults.add(TOKEN, drop="before")
    async with open_session(sandbox) as session:
        await session.accounts.me()
    assert (sandbox.refresh_requests, sandbox.refreshes) == (2, 1)


async def test_1_16_a_wall_clock_that_jumps_makes_no_storm(sandbox: Sandbox) -> None:
    """1-16: the life of a token in this process is measured by steady time."""
    clock = Clock()
    async with open_session(sandbox, clock=clock) as session:
        await session.accounts.me()
        for jump in (3600.0, -3600.0, 86400.0, 0.0):
            clock.wall = jump
            await session.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_1_16_a_login_stored_by_a_clock_that_is_off_works(sandbox: Sandbox) -> None:
    """1-16: an hour behind, a stored token is not believed to live longer than it was issued for; 401 does the rest."""
    store = MemoryTokenStore(attrs.evolve(sandbox.tokens(), expires_in=3600.0))
    clock = Clock(wall=-3600.0)
    async with open_session(sandbox, store, clock=clock) as session:
        await session.accounts.me()
        clock.steady = 3601.0
        sandbox.clock.advance(3601)
        store._tokens = expired(sandbox.tokens())
        await session.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_1_16_the_leeway_is_at_most_a_fifth_of_the_life() -> None:
    """1-16: a token of ten seconds is used for eight of them, and not refreshed at every call."""
    async with Sandbox(expires_in=10.0) as sandbox:
        clock = Clock()
        async with open_session(sandbox, clock=clock) as session:
            await session.accounts.me()
            clock.steady = 7.5
            await session.accounts.me()
            assert sandbox.refresh_requests == 1
            clock.steady = 8.5
            await session.accounts.me()
        assert sandbox.refresh_requests == 2


async def test_1_16_a_token_that_expired_unnoticed_is_refreshed_after_its_401(sandbox: Sandbox) -> None:
    """1-16: after a suspend the steady clock has not moved; the 401 does what the clock did not."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        await session.accounts.me()
        sandbox.expire_access_tokens()
        await session.accounts.me()
    assert sandbox.refresh_requests == 1


@pytest.mark.slow
@pytest.mark.may_block
def test_1_17_one_store_in_two_loops_under_contention() -> None:
    """1-17: the same store in two successive asyncio.run(), each with fifty sessions that contend for its lock."""
    store = MemoryTokenStore()

    async def use() -> int:
        async with Sandbox() as sandbox:
            store._owner = None
            await store.save(expired(sandbox.tokens()))
            async with contextlib.AsyncExitStack() as stack:
                sessions = [await stack.enter_async_context(open_session(sandbox, store)) for _ in range(50)]
                await asyncio.gather(*[session._core.refresher.access_token() for session in sessions])
            return sandbox.refresh_requests

    assert [asyncio.run(use(), debug=True), asyncio.run(use(), debug=True)] == [1, 1]


@pytest.mark.parametrize("expires_in", [None, "3600", 3600.5, "soon", -1, True])
async def test_1_18_incomplete_responses_of_the_token_endpoint(sandbox: Sandbox, expires_in: object) -> None:
    """1-18: no refresh token keeps the old one; expires_in may be absent, text, a fraction or nonsense."""
    body = {"access_token": sandbox.tokens().access_token, "expires_in": expires_in, "scope": ""}
    import json

    sandbox.faults.add(TOKEN, status=200, body=json.dumps({k: v for k, v in body.items() if v is not None}))
    store = MemoryTokenStore(expired(sandbox.tokens()))
    before = await store.load()
    async with open_session(sandbox, store) as session:
        await session.accounts.me()
    after = await store.load()
    assert after.refresh_token == before.refresh_token
    assert after.scope == before.scope == "printing"
    assert after.expires_at > before.expires_at


async def test_1_19_a_creation_refused_for_its_token_is_sent_again_once(sandbox: Sandbox) -> None:
    """1-19: a 401 comes before processing, so even a POST may be replayed: one group in the end."""
    async with open_session(sandbox, stored=sandbox.tokens()) as session:
        await session.accounts.me()
        sandbox.expire_access_tokens()
        await session.groups.create("Rotated", sandbox.organization.organization_id)
    assert sandbox.count("POST /printing/v1/groups/") == 2
    assert [group.name for group in sandbox.organization.groups.values()].count("Rotated") == 1


@pytest.mark.slow
async def test_1_20_two_tenants_never_see_each_others_tokens() -> None:
    """1-20: interleaved, refreshed and expired: each server only ever gets its own bearer."""
    async with Sandbox(seed=1) as one, Sandbox(seed=2) as two:
        async with open_session(one) as first, open_session(two) as second:
            for _ in range(3):
                await asyncio.gather(*[session.accounts.me() for session in (first, second) * 20])
                one.expire_access_tokens()
                two.expire_access_tokens()
            bearers = [
                {
                    r.headers["Authorization"]
                    for r in server.requests
                    if r.headers.get("Authorization", "").startswith("B")
                }
                for server in (one, two)
            ]
    assert not {value for value in bearers[0] & bearers[1] if value.startswith("Bearer")}


class _FullDisk(MemoryTokenStore):
    """A store that can be made to fail."""

    full = False
    saves = 0

    async def save(self, tokens: TokenSet, /) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.saves += 1
        await super().save(tokens)


async def test_2_7_a_token_set_that_cannot_be_stored_is_used_and_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7: the call succeeds, a critical line is logged, and storing is retried."""
    store = _FullDisk(expired(sandbox.tokens()))
    store.full = True
    clock = Clock()
    session = open_session(sandbox, store, clock=clock)
    with caplog.at_level(logging.CRITICAL):
        await session.accounts.me()
    assert "TokenPersistError" in caplog.text
    await session.accounts.me()
    assert sandbox.refresh_requests == 1
    store.full = False
    clock.steady = 2.0
    await session.accounts.me()
    await session.aclose()
    assert store.saves == 1
    async with open_session(sandbox, store) as again:
        await again.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_2_7_closing_with_a_login_that_was_never_stored_raises(sandbox: Sandbox) -> None:
    """2-7: the last chance to learn of it; with another error under way that one is not hidden."""
    store = _FullDisk(expired(sandbox.tokens()))
    store.full = True
    session = open_session(sandbox, store)
    await session.accounts.me()
    with pytest.raises(TokenPersistError, match="could not be stored"):
        await session.aclose()
    store = _FullDisk(expired(sandbox.tokens()))
    store.full = True
    with pytest.raises(LookupError):
        async with open_session(sandbox, store) as session:
            await session.accounts.me()
            raise LookupError


async def test_2_7_the_newer_token_set_in_memory_is_refreshed_not_the_used_one_in_the_store(
    sandbox: Sandbox,
) -> None:
    """2-7: the store still has the spent token: the next refresh uses the one in memory."""
    store = _FullDisk(expired(sandbox.tokens()))
    store.full = True
    async with open_session(sandbox, store) as session:
        await session.accounts.me()
        sandbox.expire_access_tokens()
        await session.accounts.me()
        store.full = False
        sandbox.expire_access_tokens()
        await session.accounts.me()
    assert sandbox.refreshes == 3
    assert (await store.load()) is not None


async def test_the_store_is_proven_writable_before_the_old_token_is_spent(sandbox: Sandbox) -> None:
    """A full disk is found out while the old token still lives: nothing is sent."""

    class Full(MemoryTokenStore):
        async def check_writable(self) -> None:
            raise TokenPersistError("the disk is full")

    async with open_session(sandbox, Full(expired(sandbox.tokens()))) as session:
        with pytest.raises(TokenPersistError, match="disk is full"):
            await session.accounts.me()
    assert sandbox.refresh_requests == 0


async def test_2_2_the_order_of_a_refresh(sandbox: Sandbox) -> None:
    """2-2: lock, read again, prove writable, exchange, persist, publish, unlock, and then the hook."""
    steps: list[str] = []

    class Recording(MemoryTokenStore):
        async def load(self):
            steps.append("load")
            return await super().load()

        async def save(self, tokens, /):
            steps.append("save" if session._core.refresher.tokens is None else "published before saving")
            await super().save(tokens)

        async def check_writable(self):
            steps.append("check_writable")

        @contextlib.asynccontextmanager
        async def lock(self):
            async with super().lock():
                steps.append("lock")
                yield
                steps.append("published" if session._core.refresher.tokens is not None else "not published")
            steps.append("unlock")

    store = Recording(expired(sandbox.tokens()))
    sandbox.faults.add(TOKEN, when=lambda request: steps.append("exchange") is not None)
    session = open_session(sandbox, store, on_token_rotated=lambda old, new: steps.append("hook"))
    async with session:
        await session.accounts.me()
        await settle()
    assert steps == ["lock", "load", "check_writable", "exchange", "save", "published", "unlock", "hook"]


async def test_tokens_go_into_an_empty_store_only(sandbox: Sandbox) -> None:
    """`tokens=` is a first login, and replaces none."""
    store, mine, other = MemoryTokenStore(), sandbox.tokens(), sandbox.tokens()
    async with open_session(sandbox, store, tokens=mine):
        assert await store.load() == mine
    async with open_session(sandbox, store, tokens=other):
        assert await store.load() == mine


async def test_an_empty_store_raises_reauthorization_required(sandbox: Sandbox) -> None:
    """An empty store: ReauthorizationRequired, and no request."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        with pytest.raises(ReauthorizationRequired, match="not logged in"):
            await session.accounts.me()
    assert not sandbox.requests


async def test_a_code_exchange_is_never_repeated(sandbox: Sandbox) -> None:
    """9-4: after bytes were sent the response is lost: OutcomeUnknown, one request."""
    sandbox.faults.add(TOKEN, drop="after")
    async with open_session(sandbox, MemoryTokenStore()) as session:
        with pytest.raises(OutcomeUnknown, match="start again"):
            await session.oauth.exchange_code("some-code")
    assert sandbox.count(TOKEN) == 1


async def test_9_2_a_refresh_happens_when_a_call_needs_it(sandbox: Sandbox) -> None:
    """9-2: an idle session does not refresh, however old its token set is; the next call does."""
    async with open_session(sandbox, stored=expired(sandbox.tokens())) as session:
        await session.accounts.me()
        assert sandbox.refreshes == 1
        sandbox.expire_access_tokens()
        await settle(20)
        assert sandbox.refreshes == 1
        await session.accounts.me()
        assert sandbox.refreshes == 2
