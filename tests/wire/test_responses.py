"""Error responses: the class for the status, every shape of body, and nothing secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from ezeep_async import errors
from ezeep_async._wire.responses import RawResponse, error_from


SECRET = "s3cr3t-access-token-0123456789"
NAME = "PATCH /printing/v1/users/{id}/"


def failure(status: int, body: object = b"", headers: dict[str, str] | None = None) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from(RawResponse(status, CIMultiDict(headers or {}), raw, "our-id", (SECRET,)), NAME, 3)


CLASSES = {
    400: errors.BadRequest,
    402: errors.ApiError,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    405: errors.ApiError,
    408: errors.ApiError,
    409: errors.Conflict,
    412: errors.Conflict,
    422: errors.BadRequest,
    429: errors.RateLimited,
    500: errors.ServerError,
    501: errors.ServerError,
    502: errors.ServerError,
    503: errors.ServerError,
    504: errors.ServerError,
    599: errors.ServerError,
}


@pytest.mark.parametrize("status", CLASSES)
def test_3_8_one_class_per_decision(status: int) -> None:
    """3-8: the class says what a caller can do; status, attempts and request id are on it."""
    error = failure(status)
    assert type(error) is CLASSES[status]
    assert (error.status, error.attempts, error.request_id) == (status, 3, "our-id")
    assert str(status) in str(error)
    assert "PATCH /printing/v1/users/{id}/" in str(error)


@pytest.mark.parametrize(
    ("body", "message", "fields"),
    [
        ({"detail": "Not found."}, "Not found.", {}),
        ({"name": ["This field is required."]}, "This field is required.", {"name": ["This field is required."]}),
        ({"name": ["Too long.", "Odd."], "organization_id": ["Bad."]}, "Too long.",
         {"name": ["Too long.", "Odd."], "organization_id": ["Bad."]}),
        ({"message": "403 Forbidden"}, "403 Forbidden", {}),
        ({"message": {"name": ["has already been taken"]}}, "has already been taken",
         {"name": ["has already been taken"]}),
        (
            {"error": "invalid_grant", "error_description": "Token was used."},
            "invalid_grant: Token was used.",
            {},
        ),
        ({"error": "access_denied"}, "access_denied", {}),
        ({"error": "busy", "message": "Try later."}, "busy: Try later.", {}),
        ({"error": "", "message": "Try later."}, "Try later.", {}),
        ({"code": 87, "message": "The parameter is incorrect."}, "87: The parameter is incorrect.", {}),
        ({"code": "token_not_valid", "detail": "It has ended."}, "token_not_valid: It has ended.", {}),
        ({"code": "E7", "detail": "refused with E7 here"}, "refused with E7 here", {}),
        ({"code": 404, "error": True, "detail": "Not here."}, "Not here.", {}),
        ({"code": ["Required."], "name": ["Too long."]}, "code: Required.; name: Too long.", {"code": ["Required."], "name": ["Too long."]}),
        ({"error": "invalid_client"}, "invalid_client", {}),
        ({"groups": [{}, {"group_id": ["Must be a valid UUID."]}]}, "Must be a valid UUID.",
         {"groups[1].group_id": ["Must be a valid UUID."]}),
        ({"non_field_errors": ["No."]}, "No.", {"non_field_errors": ["No."]}),
        (["Wrong."], "Wrong.", {"non_field_errors": ["Wrong."]}),
        (b"<html><head><title>502 Bad Gateway</title></head><body>x</body></html>", "502 Bad Gateway", {}),
        (b"upstream\nis  away", "upstream is away", {}),
        (b"", "", {}),
        (b"null", "", {}),
        (b"17", "", {}),
    ],
)  # shorter than one item a line  # fmt: skip
def test_3_8_every_shape_of_error_becomes_a_sentence_and_field_errors(
    body: object, message: str, fields: dict[str, list[str]]
) -> None:
    """3-8: DRF's, GitLab's and OAuth's shapes, HTML, text and nothing: one sentence, fields as structured data."""
    error = failure(400, body)
    assert message in str(error)
    assert error.field_errors == fields
    assert "\n" not in str(error)


def test_3_8_the_body_is_kept_decoded() -> None:
    """3-8: the body of an error is there, decoded."""
    assert failure(400, {"name": ["bad"]}).body == {"name": ["bad"]}
    assert failure(400).body is None
    assert failure(502, b"<html>x</html>").body == "<html>x</html>"


def test_3_8_a_long_body_is_cut_to_4_kib() -> None:
    """3-8: at most 4 KiB of a body that is no JSON, and a short message."""
    error = failure(500, b"x" * 50_000)
    assert len(error.body) <= 4096
    assert len(str(error)) < 600


def test_6_10_headers_are_visible_without_regard_to_case() -> None:
    """6-10, 3-8: rate-limit headers can be read off the error."""
    error = failure(429, headers={"X-RateLimit-Remaining": "0", "Retry-After": "7"})
    assert error.headers["x-ratelimit-remaining"] == "0"
    assert error.retry_after == 7.0


def test_9_5_cookies_are_left_out_of_the_headers() -> None:
    """9-5: a cookie, which may be a token, is not kept in an error."""
    headers = CIMultiDict([("Set-Cookie", "refresh=abc"), ("set-cookie", "b=c"), ("X-A", "1")])
    error: Any = error_from(RawResponse(403, headers, b""), NAME, 3)
    assert {name.lower() for name in error.headers} == {"x-a"}


@pytest.mark.parametrize(
    "body",
    [
        {"detail": f"no such token: {SECRET}"},
        {"token": [f"Bearer {SECRET} is odd"]},
        {"error": "x", "error_description": SECRET},
        f"<html><title>{SECRET}</title></html>".encode(),
        f"you sent {SECRET}".encode(),
        {SECRET: ["bad"]},
    ],
)
def test_8_3_secrets_that_the_server_repeats_are_redacted(body: object) -> None:
    """8-3: a server that echoes the bearer does not get it into message, body or field errors."""
    error = failure(400, body)
    shown = f"{error} {error!r} {error.body} {error.field_errors} {error.args} {vars(error)}"
    assert SECRET not in shown


def test_8_3_secrets_in_the_headers_of_the_response_are_redacted() -> None:
    """8-3: a server that echoes the bearer in a header does not get it into the error either."""
    error = failure(403, headers={"X-Debug": f"auth=Bearer {SECRET}", "X-Plain": "1"})
    assert SECRET not in str(dict(error.headers))
    assert error.headers["X-Plain"] == "1"


def test_8_4_the_servers_request_id_wins() -> None:
    """8-4: errors carry the server's id if it sent one, else ours."""
    assert failure(500, headers={"X-Request-Id": "theirs"}).request_id == "theirs"
    assert failure(500).request_id == "our-id"
    assert failure(302, headers={"X-Request-ID": "theirs"}).request_id == "theirs"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_3_2_redirects_are_unexpected(status: int) -> None:
    """3-2: every 3xx is an `UnexpectedRedirect`."""
    error = failure(status, headers={"Location": "https://elsewhere.example/path/"})
    assert type(error) is errors.UnexpectedRedirect
    assert (error.status, error.attempts) == (status, 3)
    assert "elsewhere.example" in str(error)


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/?code=topsecret&state=topsecret",
        "https://user:topsecret@elsewhere.example/",
        "https://elsewhere.example/#access_token=topsecret",
        "/path/?token=topsecret",
    ],
)
def test_3_2_the_location_is_redacted(location: str) -> None:
    """3-2: query, fragment and user information of a redirect are not shown."""
    error = failure(302, headers={"Location": location})
    assert "topsecret" not in f"{error} {error!r} {vars(error)}"


@pytest.mark.parametrize("location", ["", "http://[", "::::", "http://\x00"])
def test_3_2_an_unreadable_location_is_no_other_error(location: str) -> None:
    """3-2: a redirect to nonsense is still an `UnexpectedRedirect`."""
    assert type(failure(302, headers={"Location": location})) is errors.UnexpectedRedirect


@pytest.mark.parametrize("status", [100, 199, 600, 999])
def test_3_8_statuses_beyond_http_are_unexpected(status: int) -> None:
    """3-8: a status that HTTP does not have is an `UnexpectedResponse`."""
    assert type(failure(status)) is errors.UnexpectedResponse


def test_3_8_deeply_nested_errors_end() -> None:
    """3-8: absurd nesting ends in an error like any other."""
    body: object = "deep"
    for _ in range(200):
        body = {"x": body}
    assert type(failure(400, body)) is errors.BadRequest


@pytest.mark.parametrize("value", ["soon", "", "-1", "nan"])
def test_6_1_a_retry_after_that_is_garbage_is_none(value: str) -> None:
    """6-1: what cannot be understood is as if it were absent."""
    assert failure(429, headers={"Retry-After": value}).retry_after is None
