"""Limiters that follow the cool-downs of other processes: here two channels of one hub stand for two processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import pytest
from helpers.stub_servers import no_jitter, quick
from helpers.support import sandbox_in_a_thread, until

from ezeep_async import EzeepSession, MemoryTokenStore, RateLimited, SessionPool, Settings
from ezeep_async._http.limiter import PROBE_AFTER_SUCCESSES
from ezeep_async._http.shared_limits import LONGEST_GAP_S, Link, SharedWindow, link_of
from ezeep_async.sandbox import Sandbox


USER = "GET /printing/v1/users/{id}/"


class Hub:
    """Cool-downs in the memory of this process, and which of them were announced."""

    def __init__(self) -> None:
        self.announced: list[tuple[str, float]] = []
        self.ends: dict[str, float] = {}
        self.queues: set[asyncio.Queue[dict[str, float]]] = set()
        self.broken: Exception | None = None


class Channel:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def announce(self, host: str, seconds: float, /) -> None:
        if self.hub.broken is not None:
            raise self.hub.broken
        self.hub.announced.append((host, seconds))
        self.hub.ends[host] = now() + seconds
        for queue in self.hub.queues:
            queue.put_nowait({host: seconds})

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[Mapping[str, float]]]:
        if self.hub.broken is not None:
            raise self.hub.broken
        queue: asyncio.Queue[dict[str, float]] = asyncio.Queue()
        queue.put_nowait({host: end - now() for host, end in self.hub.ends.items() if end > now()})
        self.hub.queues.add(queue)

        async def received() -> AsyncIterator[Mapping[str, float]]:
            while True:
                yield await queue.get()

        try:
            yield received()
        finally:
            self.hub.queues.discard(queue)


def now() -> float:
    return asyncio.get_running_loop().time()


def session_in(sandbox: Sandbox, channel: Channel | None, **settings: object) -> EzeepSession:
    given = quick(shared_pace=channel, **settings)
    return EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=given
    )


@pytest.fixture
def hub() -> Hub:
    return Hub()


# --- the window ---------------------------------------------------------------------------------------------------


def succeed(window: SharedWindow, times: int) -> None:
    """So many successes, with some time between them."""
    for _ in range(times):
        window._raised_at = float("-inf")
        window.not_refused()


async def test_6_7_a_window_begins_with_one_and_grows_by_one_with_each_window_of_successes() -> None:
    window = SharedWindow(5)
    limits = [window.limit]
    for successes in (1, 2, 3, 4):
        succeed(window, successes - 1)
        assert window.limit == limits[-1]
        succeed(window, 1)
        limits.append(window.limit)
    succeed(window, 100)
    assert [*limits, window.limit] == [1, 2, 3, 4, 5, 5]


async def test_6_7_a_window_grows_slowly() -> None:
    """A server that limits the rate would refuse many requests at once."""
    window = SharedWindow(32)
    for _ in range(1000):
        window.not_refused()
    assert window.limit == 2


async def test_6_7_a_window_that_is_not_used_does_not_grow() -> None:
    window = SharedWindow(32)
    for _ in range(100):
        window.not_refused(is_full=False)
    assert window.limit == 1


async def test_6_7_after_a_refusal_a_window_returns_to_what_succeeded() -> None:
    """And not beyond it, until some time has passed."""
    window = SharedWindow(32, lambda: 0.0)
    succeed(window, sum(range(1, 8)))
    assert window.limit == 8
    window.throttled(now(), now(), active=8, cool_down=1.0)
    assert window.limit == 1
    succeed(window, 1000)
    assert window.limit == 7


async def test_6_7_the_cool_down_of_another_process_takes_the_last_raise_back() -> None:
    """Which may be one too many for the server. A straggler that is refused all the same is that one."""
    window = SharedWindow(32, lambda: 0.0)
    succeed(window, sum(range(1, 8)))
    heard = now()
    window.begin_cool_down(heard, 8, 1.0)
    assert window.limit == 1
    succeed(window, 1000)
    assert window.limit == 7
    window.throttled(heard, heard - 1, active=7, cool_down=1.0)
    window.limit = 1
    succeed(window, 1000)
    assert window.limit == 7


async def test_6_7_a_raise_that_is_confirmed_is_not_taken_back() -> None:
    """A full window of successes after it: the server had room for it, and refused the raise of another process."""
    window = SharedWindow(32, lambda: 0.0)
    succeed(window, sum(range(1, 8)))
    assert window.limit == 8
    for _ in range(8):
        window.not_refused()
    window.begin_cool_down(now(), 8, 1.0)
    succeed(window, 1000)
    assert window.limit == 8


async def test_6_7_on_the_way_back_each_success_allows_one_more() -> None:
    window = SharedWindow(32, lambda: 0.0)
    succeed(window, sum(range(1, 8)))
    window.begin_cool_down(now(), 8, 1.0)
    succeed(window, 6)
    assert window.limit == 7


async def test_6_7_later_one_more_is_tried() -> None:
    window = SharedWindow(32, lambda: 0.0)
    succeed(window, sum(range(1, 8)))
    window.begin_cool_down(now(), 8, 0.0)
    succeed(window, 6 + PROBE_AFTER_SUCCESSES - 1)
    assert window.limit == 7
    succeed(window, 1)
    assert window.limit == 8


async def test_6_7_a_window_whose_requests_were_all_refused_is_halved() -> None:
    window = SharedWindow(32, lambda: 0.0)
    succeed(window, sum(range(1, 9)))
    started = now()
    for active in range(9, 0, -1):
        window.throttled(started + 1, started, active, 1.0)
    succeed(window, 1000)
    assert window.limit == 4


# --- the limiter --------------------------------------------------------------------------------------------------


async def test_6_7_requests_start_one_after_the_other(hub: Hub) -> None:
    """A burst would be refused as a whole. One slow response does not delay the next calls, and a fixed rate is kept."""
    limiter = Link(Channel(hub))._limiter("https://api", Settings())
    fixed = Link(Channel(hub))._limiter("https://api", Settings(requests_per_second=10))
    for each, limit, duration, expected in (
        (limiter, 5, 0.1, 0.01),
        (limiter, 1, 60.0, LONGEST_GAP_S),
        (fixed, 5, 0.1, 0.1),
    ):
        each._shared_window.limit = limit
        each.active = 0
        each.not_refused(now() - duration)
        assert each._interval == pytest.approx(expected, rel=0.2)


# --- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_6_7_a_429_that_one_process_gets_stops_the_other(
    sandbox: Sandbox, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_jitter(monkeypatch)
    user = next(iter(sandbox.organization.users))
    async with session_in(sandbox, Channel(hub)) as one, session_in(sandbox, Channel(hub)) as two:
        await asyncio.gather(one.users.get(user), two.users.get(user))
        sandbox.faults.add(USER, status=429, retry_after=1)
        first = asyncio.create_task(one.users.get(user))
        await until(lambda: hub.announced)
        begun, before = now(), len(sandbox.requests)
        second = asyncio.create_task(two.users.get(user))
        await asyncio.sleep(0.3)
        assert len(sandbox.requests) == before
        await asyncio.gather(first, second)
        assert now() - begun >= 0.95
        assert (one.stats.throttled, two.stats.throttled) == (1, 0)
    assert hub.announced == [(sandbox.endpoints.api, 1.0)]
    assert not hub.queues


@pytest.mark.slow
async def test_6_7_a_process_that_starts_later_joins_the_cool_down(sandbox: Sandbox, hub: Hub) -> None:
    user = next(iter(sandbox.organization.users))
    hub.ends[sandbox.endpoints.api] = now() + 0.5
    begun = now()
    async with session_in(sandbox, Channel(hub)) as session:
        await session.accounts.me()  # another host
        assert now() - begun < 0.5
        await session.users.get(user)
        assert now() - begun >= 0.5


async def test_6_7_refusals_of_one_moment_are_announced_once(
    sandbox: Sandbox, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_jitter(monkeypatch)
    user = next(iter(sandbox.organization.users))
    channel = Channel(hub)
    async with session_in(sandbox, channel) as session:
        await session.users.get(user)
        for limiter in link_of(channel)._limiters.values():
            limiter._window.limit = 8
        sandbox.faults.add(USER, status=429, retry_after=60, times=8)  # longer than the deadline of a call
        hold = sandbox.faults.hold(USER)
        calls = [asyncio.create_task(session.users.get(user)) for _ in range(8)]
        await hold.arrived(8)
        hold.release()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in outcomes] == [RateLimited] * 8
    assert len(hub.announced) == 1


async def test_sessions_of_one_channel_share_their_limiter(sandbox: Sandbox, hub: Hub) -> None:
    channel = Channel(hub)
    user = next(iter(sandbox.organization.users))
    async with session_in(sandbox, channel) as one, session_in(sandbox, channel) as two:
        hold = sandbox.faults.hold(USER)
        calls = [asyncio.create_task(each.users.get(user)) for each in (one, two, one, two)]
        await hold.arrived(1)
        await asyncio.sleep(0.05)
        assert hold.count == 1
        assert one.stats.waiting == two.stats.waiting == 3
        hold.release()
        await asyncio.gather(*calls)
        assert len(hub.queues) == 1
        await one.aclose()
        assert len(hub.queues) == 1
    assert not hub.queues


async def test_the_sessions_of_a_pool_follow_it_too(
    sandbox: Sandbox, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_jitter(monkeypatch)
    user, me = next(iter(sandbox.organization.users)), sandbox.tokens()
    pool = SessionPool(
        sandbox.oauth_app,
        lambda _: MemoryTokenStore(me),
        endpoints=sandbox.endpoints,
        settings=quick(shared_pace=Channel(hub)),
        max_open=1,
    )
    async with pool:
        for key in ("one", "two"):
            async with pool.session(key) as session:
                hold = sandbox.faults.hold(USER)
                calls = [asyncio.create_task(session.users.get(user)) for _ in range(3)]
                await hold.arrived(1)
                assert (pool.stats.in_flight, pool.stats.waiting) == (1, 2)
                hold.release()
                await asyncio.gather(*calls)
                for limiter in link_of(pool._sessions.blueprint.settings.shared_pace)._limiters.values():
                    limiter._window.limit = 1
        sandbox.faults.add(USER, status=429, retry_after=0.05)
        async with pool.session("three") as session:
            await session.users.get(user)
    assert len(hub.announced) == 1
    assert not hub.queues


@pytest.mark.may_block
def test_the_next_event_loop_begins_with_what_was_learnt(hub: Hub) -> None:
    """As in a worker that runs `asyncio.run` for each task."""
    channel, limits = Channel(hub), []

    async def task() -> None:
        limiter = link_of(channel)._limiter("https://api2.ezeep.com", Settings())
        limits.append(limiter.limit)
        await limiter.acquire()
        limiter.not_refused(0.0)
        limiter.release()

    for _ in range(2):
        asyncio.run(task())
    assert limits == [1, 2]


@pytest.mark.may_block
def test_event_loops_of_one_process_have_a_window_each(hub: Hub) -> None:
    """It begins with what the others learnt. They may run in several threads, and a window has no lock."""
    channel, limits = Channel(hub), []

    async def task(thread: int) -> None:
        link = link_of(channel)
        limiter = link._limiter("https://api2.ezeep.com", Settings())
        assert limiter is link._limiter("https://api2.ezeep.com", Settings())
        if not thread:
            succeed(limiter._shared_window, 6)
            await asyncio.to_thread(asyncio.run, task(1))
            limits.append(limiter.limit)
            await asyncio.to_thread(asyncio.run, task(2))
            return
        limits.append(limiter.limit)
        limiter.throttled(1.0, now())
        limits.append(limiter.limit)

    asyncio.run(task(0))
    assert limits == [4, 1, 4, 1, 1]


@pytest.mark.may_block
def test_a_session_is_closed_after_its_event_loop_has_ended(hub: Hub) -> None:
    async def task() -> None:
        await session.accounts.me()

    with sandbox_in_a_thread() as server:
        session = session_in(server, Channel(hub))
        asyncio.run(task())
        asyncio.run(session.aclose())
    assert not hub.queues


@pytest.mark.parametrize("broken", ["announce", "listen"])
async def test_a_channel_that_fails_is_one_warning(
    sandbox: Sandbox, hub: Hub, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    user = next(iter(sandbox.organization.users))
    caplog.set_level(logging.WARNING, "ezeep_async.http")
    if broken == "listen":
        hub.broken = ConnectionError("no server")
    async with session_in(sandbox, Channel(hub)) as session:
        await session.users.get(user)
        hub.broken = ConnectionError("no server")
        sandbox.faults.add(USER, status=429, retry_after=0.05, times=2)
        await session.users.get(user)
        assert session.stats.throttled == 2
    assert [record.message for record in caplog.records] == [
        "cool-downs are not shared with other processes now: no server. Calls go on without that"
    ]


@pytest.mark.may_block
def test_a_channel_that_fails_is_one_warning_for_all_event_loops(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a worker that runs `asyncio.run` for each task. The next calls do not wait for it either."""
    channel = Channel(hub)
    hub.broken = ConnectionError("no server")

    async def task() -> bool:
        async with session_in(server, channel) as session:
            was_ready = link_of(channel).is_ready
            await session.accounts.me()
            return was_ready

    with sandbox_in_a_thread() as server:
        assert [asyncio.run(task()) for _ in range(3)] == [False, True, True]
    assert len([record for record in caplog.records if record.name == "ezeep_async.http"]) == 1


async def test_a_listener_that_was_lost_listens_again(
    sandbox: Sandbox, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ezeep_async._http.shared_limits.FIRST_RETRY_S", 0.01)
    channel = Channel(hub)
    hub.broken = ConnectionError("no server")
    async with session_in(sandbox, channel) as session:
        await session.users.get(next(iter(sandbox.organization.users)))
        hub.broken = None
        await until(lambda: hub.queues)
        hub.ends[sandbox.endpoints.api] = now() + 60
        for queue in hub.queues:
            queue.put_nowait({sandbox.endpoints.api: 60.0})
        await until(lambda: any(each._not_before for each in link_of(channel)._limiters.values()))


async def test_a_listener_that_is_cancelled_starts_again_with_the_next_session(
    sandbox: Sandbox, hub: Hub
) -> None:
    channel = Channel(hub)
    async with session_in(sandbox, channel) as one:
        listener = link_of(channel)._listener
        assert listener is not None
        listener.cancel()
        await asyncio.wait({listener})
        async with session_in(sandbox, channel):
            await until(lambda: hub.queues)
        await one.accounts.me()
    assert not hub.queues


async def test_a_channel_that_does_not_respond_delays_the_first_call_only(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ezeep_async._http.shared_limits.JOIN_TIMEOUT_S", 0.05)

    class Silent:
        async def announce(self, host: str, seconds: float, /) -> None:
            await asyncio.sleep(3600)

        @contextlib.asynccontextmanager
        async def listen(self) -> AsyncIterator[AsyncIterator[Mapping[str, float]]]:
            await asyncio.sleep(3600)
            yield received()

    async def received() -> AsyncIterator[Mapping[str, float]]:
        yield {}

    async with session_in(sandbox, Silent()) as session:  # type: ignore[arg-type]  # a channel with a fault
        await asyncio.gather(*(session.accounts.me() for _ in range(5)))
        assert session.stats.failed == 0


async def test_a_channel_that_never_ends_does_not_keep_a_session_open(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an announcement without an end nor a listener that swallows a cancellation, as redis does."""
    monkeypatch.setattr("ezeep_async._http.shared_limits.LAST_ANNOUNCEMENT_S", 0.01)
    monkeypatch.setattr("ezeep_async._http.shared_limits.CANCEL_AGAIN_S", 0.01)
    swallowed = 0

    class Stubborn:
        async def announce(self, host: str, seconds: float, /) -> None:
            await asyncio.sleep(3600)

        @contextlib.asynccontextmanager
        async def listen(self) -> AsyncIterator[AsyncIterator[Mapping[str, float]]]:
            yield received()

    async def received() -> AsyncIterator[Mapping[str, float]]:
        nonlocal swallowed
        yield {}
        while swallowed < 3:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            swallowed += 1
        await asyncio.sleep(3600)

    before = asyncio.all_tasks()
    async with session_in(sandbox, Stubborn()) as session:  # type: ignore[arg-type]  # a channel with a fault
        sandbox.faults.add(USER, status=429, retry_after=0.01)
        await session.users.get(next(iter(sandbox.organization.users)))
    assert swallowed == 3
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("seconds", [float("nan"), float("-inf"), -1e9, -1.0, 0.0])
async def test_a_channel_that_announces_no_cool_down_changes_nothing(hub: Hub, seconds: float) -> None:
    link = Link(Channel(hub))
    limiter = link._limiter("https://api", Settings())
    limiter._shared_window.limit = 5
    link._follow("https://api", seconds)
    assert limiter.limit == 5
    assert not limiter._seconds_to_wait()


async def test_an_endless_cool_down_from_elsewhere_hides_none(hub: Hub) -> None:
    """This process announces its own ones when that of `max_retry_after` seconds is over."""
    link = Link(Channel(hub), lambda: 0.0)
    limiter = link._limiter("https://api", Settings(max_retry_after=0.01))
    link._follow("https://api", float("inf"))
    await asyncio.sleep(0.02)
    assert await asyncio.wait_for(limiter.acquire(), 5) is None
    limiter.throttled(0.01, now())
    await until(lambda: hub.announced == [("https://api", 0.01)])


async def test_6_1_a_cool_down_from_elsewhere_is_limited_by_max_retry_after(hub: Hub) -> None:
    link = Link(Channel(hub), lambda: 0.0)
    limiter = link._limiter("https://api", Settings(max_retry_after=5.0))
    limiter.follow_cool_down(1e9)
    assert 4.9 < limiter._seconds_to_wait() <= 5.0


async def test_a_cancelled_wait_for_the_channel_leaves_nothing(sandbox: Sandbox, hub: Hub) -> None:
    channel = Channel(hub)
    session = session_in(sandbox, channel)
    call = asyncio.create_task(session.accounts.me())
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    await session.aclose()
    assert not hub.queues
    assert session.stats.in_flight == session.stats.waiting == 0


def test_something_else_is_no_channel() -> None:
    for wrong in ("redis://localhost", Channel, object()):
        with pytest.raises(ValueError, match="shared_pace must be a SharedPace"):
            Settings(shared_pace=wrong)  # type: ignore[arg-type]  # wrong on purpose
