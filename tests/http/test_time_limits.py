"""The time limits of requests, which share one timer."""

from __future__ import annotations

import asyncio
import time

import pytest

from ezeep_async._http.time_limits import Attempt, TimeLimits
from ezeep_async._runtime.running_time import SLICE_S


async def test_3_7_each_attempt_ends_at_its_own_time() -> None:
    """3-7: the longest first, the shortest last: each raises `TimeoutError` in its order."""
    limits, ended = TimeLimits(), []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError), Attempt(limits, seconds, 60):
            await asyncio.Event().wait()
        ended.append(seconds)

    await asyncio.gather(wait(0.6), wait(0.4), wait(0.05), wait(0.2))
    assert ended == [0.05, 0.2, 0.4, 0.6]


async def test_3_7_the_read_timeout_begins_when_the_request_is_sent_and_with_each_part() -> None:
    """3-7: and it never extends the deadline."""
    limits = TimeLimits()
    with pytest.raises(TimeoutError), Attempt(limits, 60, 0.05) as attempt:
        assert not attempt.sent
        await asyncio.sleep(0.1)
        attempt.progressed()
        assert attempt.sent
        await asyncio.sleep(0.03)
        attempt.progressed()
        await asyncio.Event().wait()
    assert (attempt.limit, attempt.used >= 0.18) == ("read_timeout", True)
    with pytest.raises(TimeoutError), Attempt(limits, 0.05, 60) as attempt:
        attempt.progressed()
        await asyncio.Event().wait()
    assert attempt.limit == "deadline"


async def test_3_7_a_cancellation_from_outside_stays_one() -> None:
    """3-7: also when the time is over in the same moment."""
    limits = TimeLimits()

    async def wait() -> None:
        with Attempt(limits, 0.01, 60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    for attempt in limits._attempts:
        attempt.expire()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_3_7_a_stop_of_the_process_counts_as_one_slice() -> None:
    """3-7: time in which the event loop did not run is not counted, and what arrived meanwhile is read."""
    limits = TimeLimits()
    arrived = asyncio.Event()
    with Attempt(limits, 3 * SLICE_S, 60):
        asyncio.get_running_loop().call_later(4 * SLICE_S, arrived.set)
        await asyncio.sleep(0)
        time.sleep(5 * SLICE_S)
        await arrived.wait()


async def test_the_timer_ends_when_nothing_is_sent() -> None:
    """An idle session wakes up once, and no more."""
    limits = TimeLimits()
    with Attempt(limits, 60, 60):
        assert limits._handle is not None
    await asyncio.sleep(SLICE_S + 0.1)
    assert limits._handle is None
    with pytest.raises(TimeoutError), Attempt(limits, 0.01, 60):
        await asyncio.Event().wait()
