"""Any refusal, built from anything: a readable error of the SDK without secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.fuzzing import SECRETS, bodies, headers, leaks, response, shown, spelled, statuses
from hypothesis import example, given
from hypothesis import strategies as st

from ezeep_async import errors
from ezeep_async._wire.responses import error_from
from ezeep_async._wire.retrying import parse_retry_after


NAME = "PATCH /printing/v1/users/{id}/"
SHAPES: list[Any] = [
    {"detail": "Not found."},
    {"name": ["Too long.", "Odd."], "organization_id": ["Bad."]},
    {"message": {"name": ["has already been taken"]}},
    {"error": "invalid_grant", "error_description": "Token was used."},
    {"groups": [{}, {"group_id": ["Must be a valid UUID."]}]},
    ["Wrong."],
    {"message": {"error": {"detail": {"message": {"x": ["deep"]}}}}},
]
CLASSES = {
    errors.ApiError, errors.BadRequest, errors.PermissionDenied, errors.NotFound, errors.Conflict, errors.RateLimited,
    errors.ServerError, errors.UnexpectedResponse, errors.UnexpectedRedirect,
}  # shorter than one item a line  # fmt: skip


@given(status=statuses, given=headers, body=bodies(*SHAPES))
def test_3_8_fuzz_any_response_is_an_error_of_the_sdk(
    status: int, given: dict[str, str], body: bytes
) -> None:
    """3-8, 8-1: any status, headers and body: one class of the SDK, one line, fields that are lists of strings."""
    error = error_from(response(status, given, body, SECRETS), NAME, 3)
    assert type(error) in CLASSES
    assert "\n" not in str(error)
    assert len(str(error)) < 600
    text = shown(error)
    assert leaks(text) == []
    assert not {"set-cookie", "location"} & {name.lower() for name in getattr(error, "headers", {})}
    for name, texts in getattr(error, "field_errors", {}).items():
        assert isinstance(name, str)
        assert all(isinstance(text, str) for text in texts)
    if isinstance(error, errors.RateLimited):
        assert error.retry_after is None or error.retry_after >= 0


@given(data=st.data(), padding=st.integers(0, 4200))
@example(data=None, padding=0)
def test_8_3_fuzz_an_error_that_repeats_a_secret_does_not_show_it(data: Any, padding: int) -> None:
    """8-3: in any place of any body, with any of its letters escaped, and wherever the body is truncated."""
    if data is None:
        secret, text, shape = SECRETS[0], SECRETS[0].replace("/", "\\/"), '{"detail":"you sent %s"}'
    else:
        secret = data.draw(st.sampled_from(SECRETS))
        text = data.draw(spelled(secret))
        shape = data.draw(
            st.sampled_from(
                ['{"detail":"you sent %s"}', '{"%s":["bad"]}', '{"error":"%s"}', '{"x":[{"y":["%s"]}]}', '["%s"]',
                 '"%s"', '{"message":{"%s":0}}', '{"detail":"%s"}']
            )
        )  # shorter than one item a line  # fmt: skip
    body = b" " * padding + (shape % text).encode()
    text = shown(error_from(response(400, {"X-Debug": f"Bearer {secret}"}, body, SECRETS), NAME, 3))
    assert leaks(text) == []
    plain = b"x" * padding + f"<title>you sent {secret}</title>".encode()
    text = shown(error_from(response(502, {}, plain, SECRETS), NAME, 3))
    assert leaks(text) == []
    assert secret[:12] not in text


@pytest.mark.parametrize("depth", [300, 900, 5_000])
@pytest.mark.parametrize("word", ["message", "error", "x"])
def test_3_8_nesting_gives_the_same_error_at_any_stack_depth(word: str, depth: int) -> None:
    """3-8: deeply nested bodies, decoded deep in the stack."""
    body = b'{"%s":' % word.encode() * depth + b'["z"]' + b"}" * depth

    def call(levels: int) -> Any:
        return call(levels - 1) if levels else error_from(response(400, {}, body), NAME, 3)

    for levels in (0, 300, 600):
        assert type(call(levels)) is errors.BadRequest


@given(
    value=st.text(max_size=60)
    | st.from_regex(r"(Mon|Wed|Sunday)?,? ?\d{0,4}[ -][A-Z][a-z]{2}[ -]\d{0,6} \d\d?:\d\d?(:\d\d?)? ?[+-]?\w{0,5}", fullmatch=True)
    | st.floats().map(str)
    | st.integers().map(str),
    now=st.datetimes(timezones=st.just(UTC)),
)  # shorter than one item a line  # fmt: skip
@example(value="Mon, 01 Jan 0001 00:00:00 +2359", now=datetime.max.replace(tzinfo=UTC))
@example(value="1_0", now=datetime.min.replace(tzinfo=UTC))
def test_6_1_fuzz_retry_after_is_seconds_or_nothing(value: str, now: datetime) -> None:
    """6-1: any `Retry-After`: seconds from 0 on, or None."""
    seconds = parse_retry_after(value, now)
    assert seconds is None or 0 <= seconds < float("inf")
