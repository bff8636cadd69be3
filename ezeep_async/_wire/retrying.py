"""Which failure is retried, and when. The loop is in `_http/sender.py`, the cool-down in `_http/limiter.py`.

Pure functions, except that a `Retry-After` date is compared with the clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ezeep_async.errors import ApiError, EzeepError, RateLimited, TransportError, UnexpectedResponse
from ezeep_async.settings import Settings


FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
FIRST_THROTTLE_DELAY_S = 0.05
LONGEST_THROTTLE_DELAY_S = 2.0
"""Short, because a 429 also halves the concurrency of the session."""
THROTTLES_PER_RETRY = 2
"""While the latest failure is a 429, a call may have `retries` times this many retries.

Attempts are counted together: after more than `retries` 429 responses, a following 500 is final.
"""
RETRY_CREDITS = 20.0
"""Credits of a session at its start, and at most. A retry takes one, except after a 429."""
CREDITS_PER_SUCCESS = 0.2

LONGEST_RETRY_AFTER_S = 1e9
"""31 years: `asyncio.sleep` and JSON still accept this number."""

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?([eE]\+?[0-9]+)?")
_RETRIED_IF_IDEMPOTENT = frozenset({408, 500, 502, 504})


def retry_after_of(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds of `Retry-After`, or None without it. Of several headers the largest value counts."""
    asked = [
        parse_retry_after(value, now) for name, value in headers.items() if name.title() == "Retry-After"
    ]
    return max((seconds for seconds in asked if seconds is not None), default=None)


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds from a `Retry-After` header: a number or one of the three HTTP dates (RFC 9110 sections 5.6.7, 10.2.3).

    A date in the past is 0, an invalid value None. At most `LONGEST_RETRY_AFTER_S`.
    """
    if value is None:
        return None
    value = value.strip()
    if _NUMBER.fullmatch(value):
        # 400 digits are infinity for `float`, which is limited here.
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError, TypeError):
        return None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    seconds = (when - (datetime.now(UTC) if now is None else now)).total_seconds()
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def backoff(
    attempt: int, random: Callable[[], float], first: float = FIRST_DELAY_S, longest: float = LONGEST_DELAY_S
) -> float:
    """Exponential backoff with full jitter: a random delay of up to 0.5 s, 1 s, 2 s, ..."""
    # From 1025 attempts on, such as a night of 429 responses, a float cannot hold the power.
    return random() * min(longest, first * 2.0 ** min(attempt - 1, 100))


def never_processed(failure: EzeepError) -> bool:
    """Whether the server certainly did nothing: not reached, 429 or 503."""
    if isinstance(failure, TransportError):
        return failure.request_sent is False
    return isinstance(failure, ApiError) and failure.status in {429, 503} and not failure.may_have_happened


def may_have_happened(failure: EzeepError) -> bool:
    """Whether the request may have been carried out: no readable response, a 408, or a 5xx other than 503."""
    if never_processed(failure):
        return False
    return (
        isinstance(failure, TransportError)
        or is_unreadable(failure)
        or (isinstance(failure, ApiError) and (failure.status == 408 or failure.status >= 500))
    )


def is_ambiguous(failure: ApiError) -> bool:
    """Whether an error response leaves open whether a request that is sent `once` was carried out."""
    if failure.status == 503:
        return failure.retry_after is None
    return failure.status == 408 or failure.status >= 500


def is_unreadable(failure: EzeepError) -> bool:
    """Whether the response says nothing about the request. A redirect does: it is not followed."""
    return isinstance(failure, UnexpectedResponse) and not 300 <= failure.status < 400


def is_response_lost(failure: EzeepError) -> bool:
    """Whether the request left, and the server's own response is missing: there is none, or a gateway's 502 or 504."""
    if isinstance(failure, TransportError):
        return failure.request_sent is not False
    return isinstance(failure, ApiError) and (failure.status in {502, 504} or failure.may_have_happened)


def may_be_repeated(failure: EzeepError, *, idempotent: bool) -> bool:
    """Whether a retry can help and is safe."""
    may_help = isinstance(failure, TransportError) or (
        isinstance(failure, ApiError) and failure.status in _RETRIED_IF_IDEMPOTENT
    )
    return never_processed(failure) or (idempotent and may_help)


def retry_delay(
    failure: EzeepError,
    *,
    attempt: int,
    idempotent: bool,
    spent: float,
    policy: Settings,
    random: Callable[[], float],
) -> float | None:
    """Seconds to wait before attempt number `attempt + 1`, or None to give up.

    `spent` is how many seconds the call has taken so far. Never less than `Retry-After`, and never past the deadline.
    """
    throttled = isinstance(failure, RateLimited)
    allowed = policy.retries * (THROTTLES_PER_RETRY if throttled else 1)
    if attempt > allowed or not may_be_repeated(failure, idempotent=idempotent):
        return None
    retry_after = failure.retry_after
    if retry_after is None:
        bounds = (FIRST_THROTTLE_DELAY_S, LONGEST_THROTTLE_DELAY_S) if throttled else ()
        delay = backoff(attempt, random, *bounds)
    elif retry_after > policy.max_retry_after:
        return None
    else:
        # Jitter on top of Retry-After, never below it: clients with the same value must not return at once.
        delay = retry_after + random() * min(1.0, 0.1 + retry_after / 10)
    return None if spent + delay >= policy.deadline else delay


class RetryBudget:
    """Limits retries against a failing server: a retry takes one credit, a success returns a part of one."""

    def __init__(self) -> None:
        self._credits = RETRY_CREDITS

    def take(self) -> bool:
        """Take a credit for a retry. Returns False if none is left."""
        if self._credits < 1:
            return False
        self._credits -= 1
        return True

    def success(self) -> None:
        if self._credits < RETRY_CREDITS:
            self._credits = min(RETRY_CREDITS, self._credits + CREDITS_PER_SUCCESS)
