"""What the fuzz tests feed to decoders, and all the text that an error can show."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from hypothesis import strategies as st

from ezeep_async._wire.responses import RawResponse
from ezeep_async.auth.token_endpoint import PAIR_PATH, REVOKE_PATH, TOKEN_PATH


ID = "0050a068-cc7b-4490-951a-06920a610ee5"
WORDS = st.text(min_size=1, max_size=30).filter(str.strip)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([ID, "3", "2021-05-21T11:32:27Z", 10**30, -1, "\U0001f600", "\x00", "\\", '"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON, with what Python writes beyond it: NaN and the infinities."""

junk = st.binary(max_size=200) | st.sampled_from(
    [b"", b" \r\n", b"null", b"{}", b"[]", b"[" * 5000, b'{"a":' * 900 + b"1" + b"}" * 900, b"\xef\xbb\xbf{}",
     b"1" * 5000, b"<html><title>Bad Gateway</title>", "{}".encode("utf-16"), b'"\\ud800"', b"1e999", b'{"a":1,"a":2}']
)  # shorter than one item a line  # fmt: skip
"""Any bytes, and some that decoders are known to stumble over."""


def fixture(name: str) -> Any:
    """An example of the document."""
    return json.loads((files("ezeep_async.sandbox") / "data" / f"{name}.json").read_text())


def places(value: object, path: str = "$") -> Iterator[tuple[str, Any, Any]]:
    """Every place in a JSON value: its path, its container, and its key there."""
    if isinstance(value, dict):
        for key in value:
            yield f"{path}.{key}", value, key
            yield from places(value[key], f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield f"{path}[{index}]", value, index
            yield from places(item, f"{path}[{index}]")


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """A valid value with something wrong, missing, or new in one to three places."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        spots = list(places(value))
        if not spots:
            break
        _, container, key = draw(st.sampled_from(spots))
        how = draw(st.sampled_from(["replace", "remove", "add", "wrap"]))
        if how == "replace":
            container[key] = draw(json_values)
        elif how == "remove":
            del container[key]
        elif how == "wrap":
            container[key] = [container[key]]
        elif isinstance(container, dict):
            container[draw(st.text(max_size=8))] = draw(json_values)
        else:
            container.append(draw(json_values))
    return value


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Valid bytes that were cut off, overwritten, or prolonged."""
    at = draw(st.integers(0, len(body)))
    put = draw(st.binary(max_size=4))
    return draw(
        st.sampled_from([body[:at], body[:at] + put + body[at + len(put) :], body[:at] + put + body[at:]])
    )


def bodies(*valid: Any) -> st.SearchStrategy[bytes]:
    """Response bodies: valid ones with faults, any JSON, any bytes."""
    written = st.sampled_from([json.dumps(each).encode() for each in valid])
    return (
        junk
        | json_values.map(lambda value: json.dumps(value).encode())
        | st.sampled_from(valid).flatmap(mutated).map(lambda value: json.dumps(value).encode())
        | written.flatmap(damaged)
    )


# --- secrets

SECRETS = ("ab/cd+ef==.PLANTED-1234567890", 'p"ä\\ss wörd-PLANTED', "%41PLANTED~_-.%2F")
"""Such as are written differently in JSON and in addresses."""


@st.composite
def spelled(draw: st.DrawFn, secret: str) -> str:
    """A secret as it may stand in a JSON text: any of its letters escaped."""
    letters: list[str] = []
    for letter in secret:
        short = {"/": "\\/", '"': '\\"', "\\": "\\\\"}.get(letter)
        escaped = f"\\u{ord(letter):04x}"
        plain = letter if letter not in '"\\' else short or escaped
        letters.append(draw(st.sampled_from([plain, plain, plain, short or plain, escaped])))
    return "".join(letters)


def shown(error: BaseException) -> str:
    """Everything that an error shows, with what it came from: texts, attributes, the traceback, and its pickle."""
    parts: list[str] = traceback.format_exception(error)
    current: BaseException | None = error
    while current is not None:
        parts += [str(current), repr(current), repr(current.args), repr(vars(current))]
        parts += [repr(dict(each)) for each in vars(current).values() if hasattr(each, "keys")]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    return "\n".join([*parts, str(vars(copied))])


def leaks(text: str, secrets: tuple[str, ...] = SECRETS) -> list[str]:
    """The secrets that are in a text, as they are, or as repr and JSON write them."""
    return [
        secret
        for secret in secrets
        if any(form in text for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]))
    ]


headers = st.dictionaries(
    st.sampled_from(["Retry-After", "X-Request-ID", "Location", "Set-Cookie", "Content-Type", "X-Debug"]),
    st.text(max_size=40)
    | st.sampled_from(["7", "1e5", "nan", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359",
                       "https://x.example/a?code=1", "http://[", *SECRETS]),
)  # shorter than one item a line  # fmt: skip
statuses = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 405, 409, 412, 422, 429, 500, 502, 503, 504]) | (
    st.integers(0, 999)
)  # shorter than one item a line  # fmt: skip
oauth_paths = st.sampled_from([TOKEN_PATH, PAIR_PATH, REVOKE_PATH])


def response(status: int, given: dict[str, str], body: bytes, secrets: tuple[str, ...] = ()) -> RawResponse:
    """An answer, read to its end."""
    from multidict import CIMultiDict

    return RawResponse(status, CIMultiDict(given), body, "our-id", secrets)
