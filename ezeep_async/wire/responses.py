"""From status, headers and body to a record or an error. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TypeVar, cast

import attrs
from multidict import CIMultiDict
from yarl import URL

from ezeep_async import errors
from ezeep_async.wire.converter import EXCERPT, decode_json, excerpt
from ezeep_async.wire.requests import Request
from ezeep_async.wire.retrying import parse_retry_after


T = TypeVar("T")


NON_FIELD = "non_field_errors"
_SECRET_HEADERS = ("Set-Cookie", "Location", "Authorization", "Proxy-Authorization")
_CLASSES: dict[int, type[errors.ApiError]] = {
    400: errors.BadRequest,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.NotFound,
    412: errors.Conflict,
    422: errors.BadRequest,
}


@attrs.frozen
class RawResponse:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names without regard to case."""
    body: bytes = attrs.field(repr=False)
    request_id: str = ""
    """Ours, for an answer that has none of its own."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """What was sent in confidence: a server that repeats it must not get it into an error."""
    attempts: int = 1
    """How many requests it took."""


@attrs.frozen
class Context:
    """What an error says about the call that it belongs to."""

    method: str
    path: str
    request_id: str
    attempts: int = 1
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """What was sent in confidence: a server that repeats it in an error must not get it into a log."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def is_success(status: int) -> bool:
    """Whether the status is 2xx."""
    return 200 <= status < 300


def error_from(response: RawResponse, context: Context) -> errors.ApiError | errors.UnexpectedResponse:
    """The error for an answer that is not 2xx."""
    status = response.status
    request_id = black_out(response.headers.get("X-Request-ID", context.request_id), context.secrets)
    if 300 <= status < 400:
        return errors.UnexpectedRedirect(
            f"{context.name}: {status} redirect to {_safe_location(response, context)}, not followed",
            status=status,
            request_id=request_id,
            attempts=context.attempts,
        )
    if not 400 <= status < 600:
        return errors.UnexpectedResponse(
            f"{context.name}: unexpected status {status}",
            status=status,
            request_id=request_id,
            attempts=context.attempts,
        )
    body = parse_body(response.body, context.secrets)
    message, field_errors = explain(body)
    headers = CIMultiDict(
        (name, black_out(value, context.secrets))
        for name, value in response.headers.items()
        if name.title() not in _SECRET_HEADERS
    )
    text = f"{context.name}: {status} {_phrase(status)}"
    if message and message.rstrip(".").casefold() != _phrase(status).casefold():
        text += f": {message}"
    details: dict[str, object] = {
        "status": status,
        "headers": headers,
        "body": body,
        "field_errors": field_errors,
        "request_id": request_id,
        "attempts": context.attempts,
    }
    if status == 429:
        return errors.RateLimited(text, retry_after=parse_retry_after(headers.get("Retry-After")), **details)
    cls = _CLASSES.get(status, errors.ServerError if status >= 500 else errors.ApiError)
    return cls(text, **details)  # type: ignore[arg-type]  # the same keywords for every class


def parse_body(body: bytes, secrets: Iterable[str] = ()) -> object:
    """The body of an error: decoded JSON, or the beginning of its text, or None. What was secret is blacked out."""
    if not body.strip():
        return None
    for secret in secrets:
        if secret:
            body = body.replace(secret.encode(), b"***")
    try:
        return decode_json(body)
    except errors.UnexpectedResponse:
        return excerpt(body)


def black_out(text: str, secrets: Iterable[str]) -> str:
    """The text without what was secret."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def decode_answer(request: Request, response: RawResponse, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the body. Raises `UnexpectedResponse` that names the call, and shows nothing secret."""
    try:
        return read(response.body)
    except errors.UnexpectedResponse as error:
        # The cause is left out: the decoder's errors quote the value that they do not like.
        problem = errors.UnexpectedResponse(
            f"{request.method} {request.route}: {black_out(str(error), response.secrets)}",
            status=response.status,
            path=error.path,
            excerpt=black_out(error.excerpt, response.secrets),
            request_id=black_out(response.headers.get("X-Request-ID", response.request_id), response.secrets),
        )
    raise problem


def explain(body: object) -> tuple[str, dict[str, list[str]]]:
    """One sentence, and what is wrong with which field, from any of the shapes that the API is known to answer with.

    Source: API document, "Errors": DRF's `detail` and field lists, `message` as a text or an object, OAuth's `error`
    (RFC 6749 section 5.2), an HTML page, nothing.
    """
    if isinstance(body, str):
        return _title_of(body), {}
    fields: dict[str, list[str]] = {}
    if isinstance(body, list):
        _collect(NON_FIELD, cast("list[object]", body), fields)
        return _sentence(fields), fields
    values = cast("dict[str, object]", body) if isinstance(body, dict) else {}
    if isinstance(values.get("error"), str):
        return _one_line(str(values.get("error_description") or values["error"])), {}
    for key in ("detail", "message", "error"):
        inner = values.get(key)
        if isinstance(inner, str):
            return _one_line(inner), {}
        if isinstance(inner, dict | list) and len(values) == 1:
            return explain(cast("object", inner))
    for name, value in values.items():
        _collect(name, value, fields)
    return _sentence(fields), fields


def _title_of(text: str) -> str:
    """What a page from a proxy says in its title; a plain text as it is."""
    if title := re.search(r"<title>([^<]{1,200})</title>", text, re.IGNORECASE):
        return title[1].strip()
    return "" if text.lstrip().startswith("<") else _one_line(text)


def _collect(name: str, value: object, into: dict[str, list[str]], depth: int = 0) -> None:
    """Flatten DRF's nested errors: `{"groups": [{"group_id": ["bad"]}]}` becomes `groups[0].group_id`."""
    if depth > 8 or value is None:
        return
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            _collect(f"{name}.{key}", inner, into, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            nested = isinstance(inner, dict | list)
            _collect(f"{name}[{index}]" if nested else name, inner, into, depth + 1)
    else:
        into.setdefault(name, []).append(_one_line(str(value)))


def _sentence(fields: Mapping[str, list[str]]) -> str:
    parts = [
        " ".join(texts) if name == NON_FIELD else f"{name}: {' '.join(texts)}"
        for name, texts in fields.items()
    ]
    return _one_line("; ".join(parts))


def _one_line(text: str) -> str:
    text = " ".join(text[:EXCERPT].split())
    return text if len(text) <= 300 else text[:299] + "…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "error"


def _safe_location(response: RawResponse, context: Context) -> str:
    """Where a redirect leads, without the parts that may carry a code or a token."""
    try:
        url = URL(response.headers.get("Location", ""))
        return black_out(f"{url.host or ''}{url.raw_path}", context.secrets) or "nowhere"
    except ValueError:
        return "an unreadable address"
