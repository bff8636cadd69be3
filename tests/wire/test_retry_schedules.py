"""Whole schedules of retries, with injected time and randomness: what holds for every one of them (6-1 to 6-5)."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from ezeep_async._wire.responses import RawResponse, error_from
from ezeep_async._wire.retrying import may_have_happened, retry_delay
from ezeep_async.errors import ConnectFailed, Disconnected, EzeepError, RequestTimeout, UnexpectedResponse
from ezeep_async.settings import Settings


STATUSES = [400, 403, 404, 405, 408, 409, 410, 412, 422, 429, 500, 501, 502, 503, 504]


@attrs.frozen
class Attempt:
    """One request: how long it takes, and how it fails."""

    seconds: float
    failure: EzeepError
    sent: bool
    """Whether it left this machine."""


def answered(status: int, retry_after: float | None) -> EzeepError:
    headers = CIMultiDict({} if retry_after is None else {"Retry-After": str(retry_after)})
    return error_from(RawResponse(status, headers, b""), "POST /x/")


failures = st.one_of(
    st.builds(answered, st.sampled_from(STATUSES), st.none() | st.floats(0, 200)),
    st.builds(Disconnected, st.just("gone"), request_sent=st.sampled_from([True, False, None])),
    st.builds(RequestTimeout, st.just("late"), request_sent=st.sampled_from([True, False, None])),
    st.builds(ConnectFailed, st.just("refused"), request_sent=st.just(False)),
    st.builds(UnexpectedResponse, st.just("odd"), status=st.just(200)),
)
attempts = st.lists(st.builds(Attempt, st.floats(0, 40), failures, st.booleans()), min_size=1, max_size=30)
policies = st.builds(
    Settings, retries=st.integers(0, 6), max_retry_after=st.floats(0, 150), deadline=st.floats(1, 400)
)


@attrs.define
class Schedule:
    """What a call would have done."""

    begun: list[float] = attrs.field(factory=list[float])
    pauses: list[tuple[EzeepError, float]] = attrs.field(factory=list[tuple[EzeepError, float]])
    repeated: list[EzeepError] = attrs.field(factory=list[EzeepError])


def play(script: list[Attempt], policy: Settings, *, idempotent: bool, random: float) -> Schedule:
    schedule, now = Schedule(), 0.0
    for number, attempt in enumerate(script, 1):
        schedule.begun.append(now)
        now += min(attempt.seconds, policy.deadline - now)
        delay = retry_delay(
            attempt.failure,
            attempt=number,
            idempotent=idempotent,
            spent=now,
            policy=policy,
            random=lambda: random,
        )
        if delay is None:
            break
        schedule.pauses.append((attempt.failure, delay))
        schedule.repeated.append(attempt.failure)
        now += delay
    return schedule


@given(attempts, policies, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_6_2_no_schedule_begins_before_what_the_server_asked_for(
    script: list[Attempt], policy: Settings, idempotent: bool, random: float
) -> None:
    """6-2: never earlier than `Retry-After`, and not at all where that is longer than is allowed."""
    for failure, delay in play(script, policy, idempotent=idempotent, random=random).pauses:
        asked = failure.retry_after
        assert asked is None or asked <= delay <= asked + 1
        assert asked is None or asked <= policy.max_retry_after


@given(attempts, policies, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_6_5_no_schedule_passes_the_deadline(
    script: list[Attempt], policy: Settings, idempotent: bool, random: float
) -> None:
    """6-5: every attempt begins before the deadline."""
    begun = play(script, policy, idempotent=idempotent, random=random).begun
    assert all(moment < policy.deadline for moment in begun)
    assert begun == sorted(begun)


@given(attempts, policies, st.floats(0, 1, exclude_max=True))
def test_6_4_no_schedule_repeats_an_unsafe_write_that_may_have_happened(
    script: list[Attempt], policy: Settings, random: float
) -> None:
    """6-4: a request that must not be sent twice is retried only where the server certainly did nothing."""
    for failure in play(script, policy, idempotent=False, random=random).repeated:
        assert not may_have_happened(failure)
        assert getattr(failure, "status", 429) in {429, 503}


@given(attempts, policies, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_6_11_no_schedule_has_more_attempts_than_are_allowed(
    script: list[Attempt], policy: Settings, idempotent: bool, random: float
) -> None:
    """6-11: with `retries=0` there is one; a 429 may be waited out twice as often."""
    schedule = play(script, policy, idempotent=idempotent, random=random)
    assert len(schedule.begun) <= 2 * policy.retries + 1
    if all(getattr(attempt.failure, "status", 0) != 429 for attempt in script):
        assert len(schedule.begun) <= policy.retries + 1


@given(attempts, policies, st.floats(0, 1, exclude_max=True))
def test_6_13_what_the_server_refuses_for_good_is_not_sent_again(
    script: list[Attempt], policy: Settings, random: float
) -> None:
    """6-13: 400, 403, 404, 409, 422 and responses that are none of this API."""
    for failure in play(script, policy, idempotent=True, random=random).repeated:
        assert getattr(failure, "status", 429) not in {400, 403, 404, 405, 409, 410, 412, 422, 501, 200}
