"""The limiter: never too many, never a slot lost, and the server decides the rate."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from types import NoneType

import pytest
from helpers.stub_servers import quick
from helpers.support import until

from ezeep_async import EzeepSession
from ezeep_async._http.limiter import Limiter
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


GROUPS = "GET /printing/v1/groups/"
USER = "PATCH /printing/v1/users/{id}/"


def now() -> float:
    return asyncio.get_running_loop().time()


async def full(limiter: Limiter) -> None:
    for _ in range(limiter.limit):
        await limiter.acquire()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_6_7_never_more_than_the_limit_at_once() -> None:
    """6-7: however many call, at most `limit` are under way."""
    limiter = Limiter(3)
    under_way = most = 0

    async def call() -> None:
        nonlocal under_way, most
        await limiter.acquire()
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        limiter.release()

    await asyncio.gather(*(call() for _ in range(100)))
    assert most == 3
    assert limiter.active == 0


async def test_6_7_a_slot_at_once_is_not_taken_before_a_waiter() -> None:
    """6-7: not above the limit, not before a waiter, and not during a cool-down."""
    limiter = Limiter(1)
    assert limiter.acquire_at_once()
    assert not limiter.acquire_at_once()
    waiter = asyncio.create_task(limiter.acquire())
    await settle()
    limiter.release()
    assert not limiter.acquire_at_once()
    await waiter
    limiter.throttled(30.0, now())
    limiter.release()
    assert (limiter.active, limiter.acquire_at_once()) == (0, False)


async def test_6_7_first_come_first_served_but_for_every_fourth() -> None:
    """6-7: slots are given in the order in which they were asked for, and every fourth to the one that asked last."""
    limiter = Limiter(1)
    order: list[int] = []

    async def call(number: int) -> None:
        await limiter.acquire()
        order.append(number)
        limiter.release()

    await limiter.acquire()
    calls = [asyncio.create_task(call(number)) for number in range(20)]
    await settle()
    limiter.release()
    await asyncio.gather(*calls)
    assert order[3::4] == [19, 18, 17, 16, 15]
    assert [number for number in order if number < 15] == list(range(15))


async def test_6_7_a_retry_goes_ahead_of_those_that_never_went() -> None:
    """6-7: `first` is served before those that wait already."""
    limiter = Limiter(1)
    await limiter.acquire()
    late = asyncio.create_task(limiter.acquire())
    await settle()
    early = asyncio.create_task(limiter.acquire(at_head=True))
    await settle()
    limiter.release()
    await settle()
    assert early.done()
    assert not late.done()
    limiter.release()
    await late


async def test_6_7_a_429_halves_the_concurrency_down_to_one() -> None:
    """6-7: halved once per window, floor 1; where nothing at all is let in, by no more than half."""
    limiter = Limiter(32)
    seen: list[int] = []
    await limiter.acquire()
    for _ in range(7):
        limiter.throttled(0.0, now())
        seen.append(limiter.limit)
        await asyncio.sleep(0.001)
    assert seen == [16, 8, 4, 2, 1, 1, 1]


async def test_6_7_one_burst_of_429_halves_once() -> None:
    """6-7: requests that were under way together count as one refusal."""
    limiter = Limiter(32)
    await full(limiter)
    started = now()
    await asyncio.sleep(0.001)
    for _ in range(16):
        limiter.throttled(0.0, started)
    assert limiter.limit == 16


async def refused(limiter: Limiter, number: int, pause: float = 0.0) -> None:
    """As many requests as may be are under way; so many of them are refused, and the others done."""
    await full(limiter)
    started = now()
    await asyncio.sleep(0.001)
    total = limiter.active
    for _ in range(number):
        limiter.throttled(pause, started)
        limiter.release()
    for _ in range(total - number):
        limiter.not_refused(0.0)
        limiter.release()


async def test_6_7_what_was_let_in_shows_how_many_the_server_takes() -> None:
    """6-7: 27 of 32 refused: five are taken. That many come back with each success, without a further refusal."""
    limiter = Limiter(32)
    await full(limiter)
    started = now()
    await asyncio.sleep(0.001)
    for _ in range(27):
        limiter.throttled(0.0, started)
        limiter.release()
    assert limiter.limit == 5
    assert limiter.active == 5


async def test_6_7_all_refused_says_nothing_about_how_many() -> None:
    """6-7: a storm of refusals (a rate was exceeded, not a number at once) halves once, and no more."""
    limiter = Limiter(32)
    await refused(limiter, 32)
    assert limiter.limit == 16


def successes_until_raised(limiter: Limiter) -> int:
    before, count = limiter.limit, 0
    while limiter.limit == before:
        limiter.not_refused(0.0)
        count += 1
    return count


async def test_6_7_back_to_what_is_known_with_each_success_and_on_from_there_with_care() -> None:
    """6-7: at 6 one is refused: halved to 3, back to 5 within two successes, and only after twenty one more."""
    limiter = Limiter(6)
    await full(limiter)
    started = now()
    await asyncio.sleep(0.001)
    limiter.throttled(0.0, started)
    assert limiter.limit == 3
    assert [successes_until_raised(limiter) for _ in range(3)] == [1, 1, 20]
    assert limiter.limit == 6


async def test_6_7_a_refusal_is_risked_once_in_twenty_successes() -> None:
    """6-7: a server that takes five is asked for a sixth once in twenty successes, however often it refuses."""
    limiter = Limiter(8)
    await refused(limiter, 3)
    for _ in range(7):
        assert limiter.limit == 5
        assert successes_until_raised(limiter) + 5 >= 20  # five are in `refused`
        assert limiter.limit == 6
        await refused(limiter, 1)


async def test_6_7_a_server_that_takes_more_is_followed_fast() -> None:
    """6-7: one more, and then twice as many after each window that goes well: from 3 to 32 in 48 successes."""
    limiter = Limiter(32)
    await full(limiter)
    started = now()
    await asyncio.sleep(0.001)
    for _ in range(29):
        limiter.throttled(0.0, started)
    assert limiter.limit == 3
    seen = []
    while limiter.limit < 32:
        seen.append((limiter.limit, successes_until_raised(limiter)))
    assert seen == [(3, 20), (4, 4), (8, 8), (16, 16)]


async def test_6_7_a_costly_refusal_is_not_risked_soon() -> None:
    """6-7: after a cool-down of half a second nothing is risked for ten times as long, however many successes come."""
    limiter = Limiter(8)
    await refused(limiter, 3, pause=0.5)
    for _ in range(1000):
        limiter.not_refused(0.0)
    assert limiter.limit == 5


async def test_calls_of_the_background_let_the_others_go_first() -> None:
    """Fairness: a single call passes a long queue of the background, which is slowed down and never stopped."""
    limiter = Limiter(1)
    await limiter.acquire()
    order: list[str] = []

    async def call(name: str, *, background: bool) -> None:
        await limiter.acquire(background=background)
        order.append(name)
        limiter.release()

    bulk = [asyncio.create_task(call("bulk", background=True)) for _ in range(30)]
    await settle()
    single = [asyncio.create_task(call("single", background=False)) for _ in range(20)]
    await settle()
    limiter.release()
    await asyncio.gather(*bulk, *single)
    assert order[:7] == ["single"] * 7
    assert 1 <= order[:20].count("bulk") <= 3
    assert order.index("bulk") == 7


async def test_6_7_no_request_starts_during_the_cool_down() -> None:
    """6-7: a 429 keeps everyone waiting, those that come later too."""
    limiter = Limiter(4)
    begun = now()
    await refused(limiter, 4, pause=0.05)
    await asyncio.gather(*(limiter.acquire() for _ in range(2)))
    assert now() - begun >= 0.049


async def test_6_7_a_longer_pause_that_comes_later_counts() -> None:
    """6-7: a second 429 during the cool-down makes it longer, not shorter."""
    limiter = Limiter(4)
    begun = now()
    limiter.throttled(0.03, begun)
    waiter = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    limiter.throttled(0.08, begun)
    limiter.throttled(0.01, begun)
    await waiter
    assert now() - begun >= 0.079


async def test_6_7_the_rate_is_kept() -> None:
    """6-7: `requests_per_second` spaces the starts."""
    limiter = Limiter(100, per_second=100.0)
    begun = now()
    await asyncio.gather(*(limiter.acquire() for _ in range(11)))
    assert now() - begun >= 0.099


async def test_6_7_the_ceiling_knows_no_bursts_and_no_lost_turns() -> None:
    """6-7: after a time of rest, and with waiters that give up, no two start closer together than the ceiling says, and
    those that stayed all start."""
    limiter = Limiter(100, per_second=100.0)
    starts: list[float] = []
    start = limiter._start

    def recorded() -> None:  # when the slot is given: its owner may run later on a busy machine
        starts.append(now())
        start()

    limiter._start = recorded

    async def call() -> None:
        await limiter.acquire()
        limiter.release()

    await call()
    await asyncio.sleep(0.1)  # time for ten unused starts: they are not saved up
    calls = [asyncio.create_task(call()) for _ in range(12)]
    await settle()
    for each in calls[1::3]:
        each.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait(calls)
    assert len(starts) >= 1 + 8
    assert limiter.active == limiter.waiting == 0
    assert min(after - before for before, after in itertools.pairwise(starts)) >= 0.01 - 1e-6


async def test_6_7_growth_lets_waiters_in_at_once() -> None:
    """6-7: a limit that grows wakes those that wait for it."""
    limiter = Limiter(2)
    await refused(limiter, 2)
    await limiter.acquire()
    waiter = asyncio.create_task(limiter.acquire())
    await settle()
    assert not waiter.done()
    for _ in range(20):
        limiter.not_refused(0.0)
    await settle()
    assert waiter.done()


async def test_6_7_a_cancelled_waiter_leaves_the_queue() -> None:
    """6-7: the next in line gets the slot of one that gave up."""
    limiter = Limiter(1)
    await limiter.acquire()
    gone, next_one = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
    await settle()
    gone.cancel()
    await asyncio.wait({gone})
    assert gone.cancelled()
    limiter.release()
    await asyncio.wait_for(next_one, 10)
    assert limiter.active == 1


async def test_6_7_cancelled_and_released_in_the_same_moment() -> None:
    """6-7: a slot that comes free between the cancellation of a waiter and its wake-up is not lost, and the waiter
    is cancelled and nothing else."""
    limiter = Limiter(1)
    await limiter.acquire()
    gone, next_one = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
    await settle()
    gone.cancel()
    limiter.release()
    await asyncio.wait({gone})
    assert gone.cancelled(), gone
    await asyncio.wait_for(next_one, 10)
    assert limiter.active == 1


async def test_6_7_released_and_cancelled_in_the_same_moment() -> None:
    """6-7: a slot that was given to a waiter just before it was cancelled goes on to the next."""
    limiter = Limiter(1)
    await limiter.acquire()
    gone, next_one = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
    await settle()
    limiter.release()
    gone.cancel()
    await asyncio.wait({gone})
    assert gone.cancelled(), gone
    await asyncio.wait_for(next_one, 10)
    assert limiter.active == 1


async def test_6_7_waiters_cancelled_during_a_pause_leave_nothing() -> None:
    """6-7: giving up during a cool-down leaves no slot taken and no waiter stuck."""
    limiter = Limiter(2)
    limiter.throttled(0.03, now())
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(5)]
    await settle()
    for task in tasks[:4]:
        task.cancel()
    await asyncio.wait(tasks, timeout=10)
    assert [task.cancelled() for task in tasks] == [True] * 4 + [False]
    assert limiter.active == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
async def test_6_7_stress_no_slot_is_lost(seed: int) -> None:
    """6-7: under random cancellations, refusals and successes all that live are served, all slots come back, nothing
    but a cancellation comes out, and the limit is never exceeded."""
    rng = random.Random(seed)
    limit, calls = rng.randint(1, 6), rng.randint(1, 60)
    limiter = Limiter(limit)
    under_way = 0

    async def call() -> None:
        nonlocal under_way
        await limiter.acquire(at_head=rng.random() < 0.2)
        try:
            under_way += 1
            assert under_way <= limit
            started = now()
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                limiter.throttled(rng.choice([0.0, 0.0005]), started)
            else:
                limiter.not_refused(0.0)
        finally:
            under_way -= 1
            limiter.release()

    tasks = [asyncio.create_task(call()) for _ in range(calls)]
    async with asyncio.timeout(10):
        while not all(task.done() for task in tasks):
            await asyncio.sleep(rng.choice([0, 0, 0.0005]))
            for task in rng.sample(tasks, k=min(2, len(tasks))):
                if rng.random() < 0.3:
                    task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in results if not isinstance(each, asyncio.CancelledError | NoneType)] == []
    assert limiter.active == 0
    await asyncio.wait_for(asyncio.gather(*(limiter.acquire() for _ in range(limiter.limit))), 10)


async def test_6_7_a_slot_is_free_while_its_call_backs_off(sandbox: Sandbox) -> None:
    """6-7: with one slot, a call that waits for its next attempt does not stop another."""
    sandbox.faults.add("GET /printing/v1/groups/{id}/", status=503, retry_after=30)
    group = next(iter(sandbox.organization.groups))
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(concurrency=1, deadline=60.0),
    ) as session:
        waits = asyncio.create_task(session.groups.get(group))
        await until(lambda: sandbox.count("GET /printing/v1/groups/{id}/"))
        assert await asyncio.wait_for(session.groups.list().first(), 10) is not None
        assert not waits.done()
        waits.cancel()


async def test_6_7_the_two_hosts_do_not_hold_each_other_up(sandbox: Sandbox) -> None:
    """6-7: the limiter is keyed by host: a 429 of one does not throttle the other."""
    sandbox.faults.add(GROUPS, status=429, retry_after=30)
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(deadline=60.0),
    ) as session:
        waits = asyncio.create_task(session.groups.list().collect())
        await until(lambda: session.stats.throttled)
        assert (await asyncio.wait_for(session.accounts.me(), 10)).is_admin
        assert not waits.done()
        waits.cancel()


@pytest.mark.slow
async def test_6_7_a_429_pauses_the_others_of_its_host(sandbox: Sandbox) -> None:
    """6-7: after a 429 with `Retry-After: 1` nothing reaches that host for a second."""
    sandbox.faults.add(GROUPS, status=429, retry_after=1)
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=quick()
    ) as session:
        begun = now()
        first = asyncio.create_task(session.groups.list().first())
        await until(lambda: session.stats.throttled)
        await session.users.list().first()
        assert now() - begun >= 1
        await first


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 4])
async def test_6_7_settings_concurrency_is_kept_on_the_wire(sandbox: Sandbox, limit: int) -> None:
    """6-7: the server never sees more at once than `Settings.concurrency`."""
    sandbox.behaviour.latency = 0.002
    users = list(sandbox.organization.users)[:40]
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(concurrency=limit),
    ) as session:
        await asyncio.gather(*(session.users.get(user) for user in users))
    assert sandbox.peak_parallel == limit


@pytest.mark.slow
@pytest.mark.parametrize("in_background", [True, False])
async def test_a_single_call_does_not_wait_behind_a_job(sandbox: Sandbox, in_background: bool) -> None:
    """Fairness: of 100 writes that wait when the single call comes, few go first, with `background()` or without."""
    sandbox.behaviour.latency = 0.002
    users, group = list(sandbox.organization.users), next(iter(sandbox.organization.groups))
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(concurrency=2),
    ) as session:
        with session.background() if in_background else contextlib.nullcontext():
            job = [asyncio.create_task(session.users.set_groups(user, [group])) for user in users[:100]]
        while sandbox.count(USER) < 10:
            await asyncio.sleep(0.001)
        await session.groups.get(group)
        done_before = sandbox.count(USER)
        await asyncio.gather(*job)
    assert sandbox.count(USER) == 100
    assert done_before < 20


class Compared(asyncio.Future[None]):
    """A future that counts comparisons: a search in a queue compares."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Compared.comparisons += 1
        return self is other

    __hash__ = asyncio.Future.__hash__


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True])
async def test_6_7_cancelling_many_waiters_is_not_quadratic(
    background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6-7: thousands of waiters are cancelled without a search in the queue, few stay in it, and the last one gets the
    slot."""
    limiter = Limiter(1)
    await limiter.acquire()
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "create_future", lambda: Compared(loop=loop))
        calls = [asyncio.create_task(limiter.acquire(background=background)) for _ in range(3000)]
        await asyncio.sleep(0)
        assert limiter.waiting == 3000
    Compared.comparisons = 0
    for call in reversed(calls[:1500] + calls[1501:]):
        call.cancel()
    await asyncio.wait(calls[:1500] + calls[1501:])
    assert Compared.comparisons < 3000
    assert limiter.waiting == 1
    kept = len(limiter._waiters) + len(limiter._background)
    assert kept <= 200
    limiter.release()
    await calls[1500]
    assert limiter.waiting == 0
    assert limiter.active == 1
