"""Status, headers and body to a record or an error. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TypeVar, cast
from urllib.parse import quote, quote_plus

import attrs
from multidict import CIMultiDict
from yarl import URL

from ezeep_async import errors
from ezeep_async._wire.converter import EXCERPT, decode_json, excerpt
from ezeep_async._wire.requests import SAFE_METHODS, Request
from ezeep_async._wire.retrying import retry_after_of


T = TypeVar("T")


NON_FIELD = "non_field_errors"
LARGEST_ERROR = 256 * 1024
"""Bytes of an error's body that are parsed. Of a larger one, the beginning is kept as text."""
DEEPEST_ERROR = 32
"""Levels of an error's body: deeper ones could not be pickled or shown."""
MOST_FIELDS = 1000
"""Fields in `field_errors` of one error."""
LONGEST_FIELD = 200
"""Characters of a field's name, those of the fields around it included. Some bytes of a nested body can repeat a long
name very often."""
LONGEST_CODE = 100
"""Characters of an error's code: the text after it is to be seen too."""
_ENVELOPES = ("detail", "message", "error")
_TEXTS = ("error_description", "detail", "message")
_WINDOW = 8 * EXCERPT
"""Bytes of a body that are searched for what was secret, to keep an excerpt: six may make one letter."""
_LONGEST_ESCAPE = len(r"\u0041")
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_SIGNATURE = re.compile(r"(?<=\bsig=)[^&\"'\s<>]+")
"""The signature in an address of the storage, which the server sends in responses, and which gives access to a document."""
_SIGNATURE_BYTES = re.compile(_SIGNATURE.pattern.encode())
_SECRET_HEADERS = ("Set-Cookie", "Location", "Authorization", "Proxy-Authorization")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_CLASSES: dict[int, type[errors.ApiError]] = {
    400: errors.BadRequest,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.NotFound,
    412: errors.Conflict,
    422: errors.BadRequest,
    429: errors.RateLimited,
}


@attrs.define  # not frozen: that takes three times as long to create
class RawResponse:
    """A response that was read completely, never changed."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names without regard to case. A cookie in them may be a token."""
    body: bytes = attrs.field(repr=False)
    sent_id: str = ""
    """The `X-Request-ID` of the request."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """All secrets that were sent. Redacted wherever the server repeats them."""
    attempts: int = 1
    """Requests that the call took."""

    @property
    def request_id(self) -> str:
        """The `X-Request-ID` of the response, or of the request."""
        return self.redact(self.headers.get("X-Request-ID") or self.sent_id)

    def redact(self, text: str) -> str:
        """`text`, which is from the server, without the secrets that were sent."""
        return redact(text, self.secrets)

    def redacted_body(self) -> object:
        """The body for an error, without secrets: decoded JSON, or the beginning of its text, or None."""
        if len(self.body) > LARGEST_ERROR:
            return self.redacted_excerpt()
        body = _redact_bytes(self.body, self.secrets)
        if not body.strip():
            return None
        try:
            value = decode_json(body)
        except errors.UnexpectedResponse:
            return excerpt(body)
        return excerpt(body) if _is_deep(value, DEEPEST_ERROR) else value

    def redacted_excerpt(self) -> str:
        """The beginning of the body without secrets. Only that part of the body is searched."""
        window = _redact_bytes(self.body[:_WINDOW], self.secrets)
        if len(self.body) > _WINDOW:
            # The end of the window may split a secret: leave out as much as the longest one takes.
            longest = max(
                (len(form.encode()) for secret in self.secrets for form in _spellings(secret)), default=0
            )
            window = window[: max(0, len(window) - longest - _LONGEST_ESCAPE)]
        return excerpt(window)


def is_success(status: int) -> bool:
    return 200 <= status < 300


def error_from(
    response: RawResponse, name: str, attempts: int = 1
) -> errors.ApiError | errors.UnexpectedResponse:
    """The error for a response that is not 2xx. `name` is the method and path of the request."""
    status, request_id = response.status, response.request_id
    if not 400 <= status < 600:
        kind, problem = errors.UnexpectedResponse, f"unexpected status {status}"
        if 300 <= status < 400:
            kind = errors.UnexpectedRedirect
            problem = f"{status} redirect to {_safe_location(response)}, not followed"
        return kind(f"{name}: {problem}", status=status, request_id=request_id, attempts=attempts)
    body = response.redacted_body()
    message, field_errors = explain(body)
    phrase = _PHRASES.get(status, "error")
    text = f"{name}: {status} {phrase}"
    if message and message.rstrip(".").casefold() != phrase.casefold():
        text += f": {message}"
    error = _CLASSES.get(status, errors.ServerError if status >= 500 else errors.ApiError)(
        text,
        status=status,
        headers=CIMultiDict(
            (response.redact(header), response.redact(value))
            for header, value in response.headers.items()
            if header.title() not in _SECRET_HEADERS
        ),
        body=body,
        field_errors=field_errors,
        request_id=request_id,
        attempts=attempts,
    )
    if status in {429, 503}:
        error.retry_after = retry_after_of(response.headers)
    return error


def _is_deep(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(cast("dict[str, object]", value).values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_is_deep(each, levels - 1) for each in cast("list[object]", value))


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, as they are or as JSON and URLs write them, in characters that any log takes."""
    for secret in secrets:
        for form in _spellings(secret):
            text = text.replace(form, "***")
    if "sig=" in text:
        text = _SIGNATURE.sub("***", text)
    # Bytes of a header that are not UTF-8 come as surrogates, which no encoding takes.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _redact_bytes(body: bytes, secrets: Iterable[str]) -> bytes:
    """The body without the secrets, also where JSON escapes some of their letters."""
    if secrets and b"\\" in body:
        body = _ESCAPE.sub(_without_escape, body)
    for secret in secrets:
        for form in _spellings(secret):
            body = body.replace(form.encode(), b"***")
    return _SIGNATURE_BYTES.sub(b"***", body) if b"sig=" in body else body


def _without_escape(escape: re.Match[bytes]) -> bytes:
    """The letter itself where JSON can have it, else its shortest escape."""
    name = escape[1]
    letter = chr(int(name[1:], 16)) if len(name) == 5 else name.decode("latin-1")
    if letter in {'"', "\\"}:
        return b"\\" + letter.encode()
    return letter.encode() if letter == "/" or (len(name) == 5 and letter.isprintable()) else escape[0]


def _spellings(secret: str) -> set[str]:
    """How a text may stand in JSON, with all that must be escaped, or all that may be, and in a URL."""
    in_json = (json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))
    in_url = quote(secret, safe=""), quote_plus(secret)
    in_lower_case = (_PERCENT.sub(lambda escape: escape[0].lower(), text) for text in in_url)
    return {secret, *in_json, *in_url, *in_lower_case} - {""}


def decode_response(request: Request, response: RawResponse, read: Callable[[bytes], T]) -> T:
    """What `read` makes of the body. Raises `UnexpectedResponse` that names the call, and shows nothing secret."""
    try:
        return read(response.body)
    except errors.UnexpectedResponse as error:
        # Without the cause: errors of the decoder may quote the value.
        problem = errors.UnexpectedResponse(
            f"{request.name}: {response.redact(str(error))}",
            status=response.status,
            path=error.path,
            excerpt=response.redacted_excerpt(),
            request_id=response.request_id,
            attempts=response.attempts,
        )
        problem.may_have_happened = request.method not in SAFE_METHODS
    raise problem


def explain(body: object) -> tuple[str, dict[str, list[str]]]:
    """One sentence, and what is wrong with which field, from any of the shapes that the API is known to answer with.

    Source: API document, "Errors": DRF's `detail` and field lists, `message` as a text or an object, OAuth's `error`
    (RFC 6749 section 5.2), an HTML page, nothing.
    """
    while isinstance(body, dict) and len(cast("dict[str, object]", body)) == 1:
        # A loop, not recursion: the server decides how deep it is.
        ((name, inner),) = cast("dict[str, object]", body).items()
        if name not in _ENVELOPES or not isinstance(inner, dict | list):
            break
        body = cast("object", inner)
    if isinstance(body, str):
        return _title_of(body), {}
    if isinstance(body, list):
        body = cast("object", {NON_FIELD: body})
    values = cast("dict[str, object]", body) if isinstance(body, dict) else {}
    code = next(
        (str(values[key])[:LONGEST_CODE] for key in ("error", "code") if _is_code(values.get(key))), ""
    )
    for key in _TEXTS:
        if (text := values.get(key)) and isinstance(text, str):
            return one_line(text if code in text.split() else with_code(code, text)), {}
    if isinstance(values.get("error"), str):
        return one_line(code), {}
    fields: dict[str, list[str]] = {}
    for name, value in values.items():
        _collect(name, value, fields)
    parts = (f"{'' if name == NON_FIELD else f'{name}: '}{' '.join(texts)}" for name, texts in fields.items())
    return one_line("; ".join(parts)), fields


def with_code(code: str, text: str) -> str:
    """`code: text`, or the one of them that is not empty."""
    return f"{code}: {text}" if code and text else code or text


def _is_code(value: object) -> bool:
    """Whether it is the code of an error: a word, or a number other than the HTTP status once more."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value in range(2**32) and value not in range(400, 600)
    return isinstance(value, str) and bool(value)


def _title_of(text: str) -> str:
    """The title of an HTML page of a proxy, the code of an XML error of the storage, or else the text without changes."""
    if code := re.search(r"<Code>(\w{1,60})</Code>", text, re.ASCII):
        return code[1]
    if title := re.search(r"<title>([^<]{1,200})</title>", text, re.IGNORECASE):
        return one_line(title[1])
    return "" if text.lstrip().startswith("<") else one_line(text)


def _collect(name: str, value: object, into: dict[str, list[str]], depth: int = 0) -> None:
    """Flatten DRF's nested errors: `{"groups": [{"group_id": ["bad"]}]}` becomes `groups[0].group_id`."""
    if depth > 8 or value is None or len(into) >= MOST_FIELDS:
        return
    name = name[:LONGEST_FIELD]
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            _collect(f"{name}.{key}", inner, into, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            nested = isinstance(inner, dict | list)
            _collect(f"{name}[{index}]" if nested else name, inner, into, depth + 1)
    else:
        into.setdefault(name, []).append(one_line(str(value)))


def one_line(text: str) -> str:
    """Short enough for a message, on one line, and nothing in it that moves the cursor of a terminal."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[:EXCERPT])
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:299] + "…"


def _safe_location(response: RawResponse) -> str:
    """Where a redirect leads, without the parts that may carry a code or a token."""
    try:
        # Redacted before parsing too: parsing changes the spelling.
        url = URL(response.redact(response.headers.get("Location", "")))
        return response.redact(f"{url.host or ''}{url.raw_path}") or "nowhere"
    except ValueError:
        return "an unreadable address"
