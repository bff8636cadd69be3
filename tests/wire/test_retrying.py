"""Whether to send again, and when."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from ezeep_async._wire.responses import RawResponse, error_from
from ezeep_async._wire.retrying import RetryBudget, parse_retry_after, retry_delay
from ezeep_async.errors import (
    ConnectFailed,
    Disconnected,
    EzeepError,
    RequestTimeout,
    UnexpectedRedirect,
    UnexpectedResponse,
)
from ezeep_async.settings import Settings


NOW = datetime(1994, 11, 6, 8, 49, 0, tzinfo=UTC)
STATUSES = [400, 403, 404, 405, 408, 409, 410, 412, 422, 429, 500, 501, 502, 503, 504]


def answered(status: int, retry_after: str | None = None) -> EzeepError:
    headers = CIMultiDict({} if retry_after is None else {"Retry-After": retry_after})
    return error_from(RawResponse(status, headers, b""), "GET /x/")


def delay(
    failure: EzeepError,
    *,
    attempt: int = 1,
    idempotent: bool = True,
    retries: int = 4,
    longest: float = 120.0,
    rng: Callable[[], float] = lambda: 0.0,
) -> float | None:
    policy = Settings(retries=retries, max_retry_after=longest, deadline=300.0)
    return retry_delay(failure, attempt=attempt, idempotent=idempotent, spent=0.0, policy=policy, random=rng)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("Wed, 21 Oct", None),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("\u0663", None),
        ("9" * 400, 1e9),
        ("1e400", 1e9),
        ("9" * 5000, 1e9),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9),
        (None, None),
    ],
)
def test_6_1_retry_after_is_a_number_a_date_or_nothing(text: str | None, seconds: float | None) -> None:
    """6-1: integers, fractions, the three dates; a past date is 0; garbage is ignored."""
    assert parse_retry_after(text, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,9} \d\d:\d\d:\d\d( GMT)?"))
def test_6_1_no_header_ever_raises(text: str) -> None:
    """6-1: any text gives seconds that can be waited, or None."""
    seconds = parse_retry_after(text)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["0", "7", "1.5"])
def test_6_1_honoured_for_429_and_503(status: int, value: str) -> None:
    """6-1: the header counts for 429 and for 503, and 0 is valid."""
    assert delay(answered(status, value)) == pytest.approx(float(value))


@pytest.mark.parametrize("status", [429, 503])
def test_6_2_a_retry_after_beyond_the_limit_is_not_waited_for(status: int) -> None:
    """6-2: up to `max_retry_after` is honoured, above it the error is raised at once."""
    assert delay(answered(status, "120")) is not None
    assert delay(answered(status, "121")) is None
    assert delay(answered(status, "86400"), idempotent=False) is None


@given(
    status=st.sampled_from([429, 503]),
    seconds=st.floats(0, 500),
    attempt=st.integers(1, 20),
    idempotent=st.booleans(),
    rng=st.floats(0, 1, exclude_max=True),
)
def test_6_2_never_before_retry_after(
    status: int, seconds: float, attempt: int, idempotent: bool, rng: float
) -> None:
    """6-2: property: whatever else is true, no retry is earlier than Retry-After."""
    text = f"{seconds:.6f}"
    wait = delay(answered(status, text), attempt=attempt, idempotent=idempotent, rng=lambda: rng)
    assert wait is None or wait >= float(text)


@given(
    when=st.integers(2, 100),
    rng=st.floats(0, 1, exclude_max=True),
)
def test_6_2_never_before_a_date_either(when: int, rng: float) -> None:
    """6-2: property: a date is kept like a number of seconds."""
    begin = datetime.now(UTC)
    date = (begin + timedelta(seconds=when)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    wait = delay(answered(503, date), rng=lambda: rng)
    took = (datetime.now(UTC) - begin).total_seconds()
    assert wait is not None
    assert wait > when - 1 - took  # a date has whole seconds


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["0", "5", None])
def test_6_3_callers_with_the_same_retry_after_wake_at_different_times(
    status: int, value: str | None
) -> None:
    """6-3: 100 wake times, all different, none early, no tenth of the range crowded or empty."""
    rng = random.Random(7)
    failure = answered(status, value)
    waits = [delay(failure, rng=rng.random) for _ in range(100)]
    least = float(value or 0)
    times = sorted(wait - least for wait in waits if wait is not None)
    assert len(set(times)) == 100
    assert times[0] >= 0
    width = times[-1] - times[0]
    assert width > 0.04
    bins = [
        sum(1 for t in times if int(10 * (t - times[0]) / (width * 1.0001)) == tenth) for tenth in range(10)
    ]
    assert sum((n - 10) ** 2 / 10 for n in bins) < 27.9, bins  # chi-square, 9 degrees of freedom, p = 0.001


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_6_3_back_off_grows_and_is_fully_jittered(attempt: int) -> None:
    """6-3: from nothing to a ceiling that doubles."""
    failure = answered(502)
    assert delay(failure, attempt=attempt, rng=lambda: 0.0) == 0.0
    ceiling = delay(failure, attempt=attempt, rng=lambda: 1.0)
    assert ceiling is not None
    following = delay(failure, attempt=attempt + 1, rng=lambda: 1.0, retries=9)
    assert following is not None
    assert ceiling < following <= 2 * ceiling


def test_6_3_back_off_after_more_attempts_than_a_power_can_count() -> None:
    """A night of 429 responses with `Settings(retries=1000)`: as long as before, and no `OverflowError`."""
    policy = Settings(retries=1000, deadline=1e6)
    throttled = error_from(RawResponse(429, {}, b""), "GET /x/")
    delays = [
        retry_delay(throttled, attempt=n, idempotent=True, spent=0.0, policy=policy, random=lambda: 1.0)
        for n in (20, 1025, 2000)
    ]
    assert len(set(delays)) == 1
    assert delays[0] is not None


@pytest.mark.parametrize("status", [429, 503])
def test_6_4_a_creation_is_repeated_when_it_was_certainly_not_processed(status: int) -> None:
    """6-4: 429 and 503 say that nothing was done."""
    assert delay(answered(status), idempotent=False) is not None


def test_6_4_a_creation_is_repeated_when_nothing_left_this_machine() -> None:
    """6-4: no connection, or no byte sent: repeated."""
    assert delay(ConnectFailed("x", request_sent=False), idempotent=False) is not None
    assert delay(Disconnected("x", request_sent=False), idempotent=False) is not None


@given(
    failure=st.sampled_from(
        [answered(s) for s in STATUSES if s not in {429, 503}]
        + [kind("x", request_sent=sent) for kind in (Disconnected, RequestTimeout) for sent in (True, None)]
        + [UnexpectedResponse("x", status=200), UnexpectedRedirect("x", status=302)]
    ),
    attempt=st.integers(1, 10),
    retries=st.integers(0, 10),
    rng=st.floats(0, 1, exclude_max=True),
)
def test_6_4_never_an_unsafe_repeat(failure: EzeepError, attempt: int, retries: int, rng: float) -> None:
    """6-4: property: what may have been carried out, and must not be twice, is never retried."""
    assert delay(failure, attempt=attempt, retries=retries, idempotent=False, rng=lambda: rng) is None


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 412, 422])
@pytest.mark.parametrize("idempotent", [True, False])
def test_6_13_not_retried(status: int, idempotent: bool) -> None:
    """6-13: what will be refused again is not tried again, whatever headers say."""
    assert delay(answered(status, "0"), idempotent=idempotent) is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_6_13_retried(status: int) -> None:
    """6-13: what may pass is tried again, 500 because this call is idempotent."""
    assert delay(answered(status)) is not None


def test_6_13_connect_errors_are_retried() -> None:
    """6-13: so is a server that was not reached, or that hung up on an idempotent call."""
    for failure in (
        ConnectFailed("x", request_sent=False),
        Disconnected("x"),
        RequestTimeout("x", request_sent=True),
    ):
        assert delay(failure) is not None


def test_6_13_a_500_is_retried_only_where_that_is_harmless() -> None:
    """6-13: 500 only for idempotent calls."""
    assert delay(answered(500)) is not None
    assert delay(answered(500), idempotent=False) is None


@pytest.mark.parametrize(
    "failure",
    [
        UnexpectedResponse("x", status=200),
        UnexpectedResponse("x", status=502),
        UnexpectedRedirect("x", status=301),
    ],
)
def test_6_13_responses_that_make_no_sense_are_not_retried(failure: EzeepError) -> None:
    """6-13: a redirect and a page of HTML are not retried."""
    assert delay(failure) is None


@given(
    st.sampled_from([answered(s) for s in STATUSES] + [ConnectFailed("x", request_sent=False)]), st.booleans()
)
def test_6_11_no_retries_means_none(failure: EzeepError, idempotent: bool) -> None:
    """6-11: with `retries=0` nothing is sent twice."""
    assert delay(failure, retries=0, idempotent=idempotent) is None


@given(
    st.sampled_from([answered(s) for s in STATUSES] + [ConnectFailed("x", request_sent=False)]),
    st.integers(0, 8),
)
def test_6_retries_end(failure: EzeepError, retries: int) -> None:
    """6-13: property: every failure is given up on at last."""
    assert delay(failure, attempt=2 * retries + 1, retries=retries) is None


def test_6_6_the_budget_runs_dry_and_refills() -> None:
    """6-6: 20 retries at once, then none; five successes buy one more."""
    budget = RetryBudget()
    assert sum(budget.take() for _ in range(100)) == 20
    for _ in range(5):
        assert not budget.take()
        budget.success()
    assert budget.take()
    assert not budget.take()


def test_6_6_the_budget_does_not_grow_beyond_its_size() -> None:
    """6-6: a long good time is not saved up for a storm."""
    budget = RetryBudget()
    for _ in range(10_000):
        budget.success()
    assert sum(budget.take() for _ in range(100)) == 20


@pytest.mark.slow
@given(st.lists(st.booleans(), max_size=500))
def test_6_6_retries_are_a_fifth_of_the_successes_at_most(calls: list[bool]) -> None:
    """6-6: property: over any history, retries <= 20 + a fifth of the successes."""
    budget = RetryBudget()
    retries = successes = 0
    for good in calls:
        if good:
            budget.success()
            successes += 1
        else:
            retries += budget.take()
    assert retries <= 20 + 0.2 * successes + 1e-6
