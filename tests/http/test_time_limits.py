"""The time limits of requests, which share one timer."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from ezeep_async._http.time_limits import Attempt
from ezeep_async._runtime.running_time import SLICE_S


pytestmark = pytest.mark.slow


async def test_3_7_each_attempt_ends_at_its_own_time() -> None:
    """3-7: the longest first, the shortest last: each raises `TimeoutError` in its order."""
    ended: list[float] = []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError), Attempt(seconds, 60):
            await asyncio.Event().wait()
        ended.append(seconds)

    await asyncio.gather(wait(0.6), wait(0.4), wait(0.05), wait(0.2))
    assert ended == [0.05, 0.2, 0.4, 0.6]


async def test_3_7_the_read_timeout_begins_when_the_request_is_sent_and_with_each_part() -> None:
    """3-7: and it never extends the deadline."""
    with pytest.raises(TimeoutError), Attempt(60, 0.05) as attempt:
        assert not attempt.sent
        await asyncio.sleep(0.1)
        attempt.progressed()
        assert attempt.sent
        await asyncio.sleep(0.03)
        attempt.progressed()
        await asyncio.Event().wait()
    assert (attempt.limit, attempt.used >= 0.18) == ("read_timeout", True)
    with pytest.raises(TimeoutError), Attempt(0.05, 60) as attempt:
        attempt.progressed()
        await asyncio.Event().wait()
    assert attempt.limit == "deadline"


async def test_3_7_a_cancellation_from_outside_stays_one() -> None:
    """3-7: also when the time is over in the same moment."""

    attempt = Attempt(0.01, 60)

    async def wait() -> None:
        with attempt:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    attempt.expire()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_3_7_a_stop_of_the_process_counts_as_one_slice() -> None:
    """3-7: time in which the event loop did not run is not counted, and what arrived meanwhile is read."""
    arrived = asyncio.Event()
    with Attempt(3 * SLICE_S, 60):
        asyncio.get_running_loop().call_later(4 * SLICE_S, arrived.set)
        await asyncio.sleep(0)
        time.sleep(5 * SLICE_S)
        await arrived.wait()


async def test_the_timer_ends_when_nothing_is_sent() -> None:
    """An idle session does not wake up."""
    with Attempt(60, 60) as attempt:
        assert attempt._clock.next_tick <= attempt._clock.now() + SLICE_S
    await asyncio.sleep(2 * SLICE_S + 0.1)
    assert attempt._clock.next_tick == math.inf
    assert all(timer.when() < asyncio.get_running_loop().time() for timer in attempt._clock._timers)
    with pytest.raises(TimeoutError), Attempt(0.01, 60):
        await asyncio.Event().wait()
