"""Bytes to records and back, by msgspec. For plans and audit records see `_wire/structuring.py`."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Hashable
from functools import lru_cache
from typing import Generic, TypeVar, cast

import attrs
import msgspec
from msgspec import inspect as types

from ezeep_async.errors import UnexpectedResponse


T = TypeVar("T")

EXCERPT = 4096
"""Bytes of a body that an error keeps."""
LARGEST_PLAIN = 2 * 1024 * 1024
"""Bytes of a body that is decoded into plain values. Those take up to 25 times the memory and 0.1 s per megabyte. The
decoder holds the GIL meanwhile, so a thread would not help."""
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


@attrs.frozen
class PageBody(Generic[T]):
    """The envelope of every listing (docs/ezeep-api.md#pages)."""

    results: list[T]
    count: int | None = None
    next: str | None = None


@lru_cache(maxsize=64)
def _decoder(kind: Hashable) -> msgspec.json.Decoder[object]:
    return msgspec.json.Decoder(cast("type[object]", kind))


_type_info = lru_cache(maxsize=64)(types.type_info)


def decode(body: bytes, kind: type[T]) -> T:
    """Decode JSON into a record. Raises `UnexpectedResponse` that names the JSON path of the wrong value."""
    try:
        return cast("T", _decoder(cast("Hashable", kind)).decode(body))
    except _UNREADABLE as error:
        problem = error
    try:
        if len(body) <= LARGEST_PLAIN:
            return msgspec.convert(_tolerant(decode_json(body), _type_info(cast("Hashable", kind))), kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        problem = error
    reason, _, path = str(problem)[:300].partition(" - at `")
    path = path.rstrip("`") or "$"
    raise UnexpectedResponse(
        f"the response does not have the documented shape: {reason} at {path}",
        path=path,
        excerpt=excerpt(body),
    ) from problem


def _tolerant(value: object, kind: types.Type) -> object:
    """Accept, in place, where the API contradicts its document: counts as strings, null in place of a default."""
    result: object = value
    if isinstance(kind, types.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, types.NoneType))
    if isinstance(value, list) and isinstance(kind, types.ListType | types.VarTupleType):
        items = cast("list[object]", value)
        for index, item in enumerate(items):
            items[index] = _tolerant(item, kind.item_type)
    elif isinstance(value, dict) and isinstance(kind, types.DataclassType):
        values = cast("dict[str, object]", value)
        for field in kind.fields:
            if (given := values.get(field.name)) is not None:
                values[field.name] = _tolerant(given, field.type)
            elif not field.required:
                values.pop(field.name, None)
    elif isinstance(value, str) and isinstance(kind, types.IntType):
        return int(value) if len(value) < 20 and value.strip().isdecimal() else value
    return result


def decode_json(body: bytes) -> object:
    """Decode JSON into plain values, or None for an empty body. Raises `UnexpectedResponse` if it is not JSON."""
    if not body.strip():
        return None
    try:
        # A parser may ignore a byte order mark (RFC 8259 section 8.1).
        return msgspec.json.decode(body.removeprefix(BOM_UTF8))
    except _UNREADABLE as error:
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "not JSON"
        raise UnexpectedResponse(
            f"expected JSON, but the response is {kind}", excerpt=excerpt(body)
        ) from error


def decode_plain(body: bytes) -> object:
    """`decode_json` with a limit: raises `UnexpectedResponse` for more than `LARGEST_PLAIN` bytes."""
    if len(body) > LARGEST_PLAIN:
        raise UnexpectedResponse(
            f"the response has {len(body)} bytes of JSON, and at most {LARGEST_PLAIN} are decoded: request less at once"
        )
    return decode_json(body)


class _TokenFields(msgspec.Struct, omit_defaults=True):
    access_token: str | int | float | None = None
    refresh_token: str | int | float | None = None
    expires_in: str | int | float | None = None
    scope: str | int | float | None = None
    token_type: str | int | float | None = None


def decode_token_fields(body: bytes) -> dict[str, object]:
    """The fields of a token response; other fields are skipped. Raises `UnexpectedResponse` for any other shape."""
    try:
        return cast("dict[str, object]", to_plain(msgspec.json.decode(body, type=_TokenFields)))
    except _UNREADABLE as error:
        raise UnexpectedResponse("expected a token response") from error


def encode(value: object, *, indent: int = 0) -> bytes:
    """Encode plain values, UUIDs and datetimes as JSON. Raises `TypeError` for other values."""
    body = msgspec.json.encode(value)
    return msgspec.json.format(body, indent=indent) if indent else body


def to_plain(value: object) -> object:
    """Make plain values of what `encode` takes. Raises `TypeError` for other values."""
    return msgspec.to_builtins(value)


def excerpt(body: bytes) -> str:
    return body[:EXCERPT].decode("utf-8", "replace")
