"""Bytes to records and back: the only module that knows cattrs and msgspec.

msgspec decodes straight into the attrs classes. What it refuses is decoded once more by cattrs, which accepts what
the documents contradict each other on (counts as strings, null for a default) and names the JSON path of the rest.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Generic, TypeVar, cast, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
import msgspec
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from cattrs.strategies import configure_tagged_union

from ezeep_async.errors import UnexpectedResponse


T = TypeVar("T")

EXCERPT = 4096
"""How much of a body an error keeps, bytes."""
LARGEST_PLAIN = 2 * 1024 * 1024
"""Bytes of a body that is decoded into plain values. These may take 25 times as much memory, and a tenth of a second for
each megabyte, in which nothing else runs: the decoder holds the interpreter, so that a thread would not help."""


@attrs.frozen
class PageBody(Generic[T]):
    """The envelope of every listing. Source: API document, "Pages"."""

    results: list[T]
    count: int | None = None
    next: str | None = None


def _uuid(value: object, _: object) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise TypeError("expected a UUID")
    try:
        return UUID(value)
    except ValueError:
        raise ValueError("expected a UUID") from None


def _whole_number(value: object, _: object) -> int:
    # The parameter table of the API document calls the two counts strings, its examples show integers.
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("expected a whole number")
    return value


def _flag(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a string")
    return value


def _moment(value: object, _: object) -> datetime:
    if not isinstance(value, str):
        raise TypeError("expected a date and time")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a date and time") from None


def _mapping(value: object, _: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return cast("dict[str, object]", value)


def _structure_record(cls: type[T], converter: cattrs.Converter) -> Callable[[object, object], T]:
    """Structure an attrs class; null stands for the default where the field does not take null."""
    structure = make_dict_structure_fn(cls, converter)
    fields = attrs.fields(cast("type[attrs.AttrsInstance]", get_origin(cls) or cls))
    with_default = {
        field.name: field.default
        for field in fields
        if field.default is not attrs.NOTHING and field.default is not None
    }

    def convert(value: object, kind: object) -> T:
        if not isinstance(value, Mapping):
            raise TypeError("expected an object")
        given = cast("Mapping[str, object]", value)
        kept = {k: v for k, v in given.items() if v is not None or k not in with_default}
        return structure(kept, cast("type[T]", kind))

    return convert


def _is_record(kind: type) -> bool:
    return attrs.has(get_origin(kind) or kind)


def _is_sequence(kind: object) -> bool:
    return get_origin(kind) in {list, tuple}


def _structure_sequence(kind: type, converter: cattrs.Converter) -> Callable[[object, object], object]:
    """Lists from JSON arrays only: cattrs by itself would take a string or an object apart.

    Ends at the first element that does not fit: an error for each of a million elements would be gigabytes.
    """
    element = get_args(kind)[0]
    container = get_origin(kind)

    def convert(value: object, _: object) -> object:
        if not isinstance(value, list):
            raise TypeError("expected a list")
        items: list[object] = []
        for index, each in enumerate(cast("list[object]", value)):
            try:
                items.append(converter.structure(each, element))
            except Exception as error:
                error.add_note(IterableValidationNote(f"element {index}", index, element))
                raise IterableValidationError("a list", [error], kind) from error  # pyright: ignore[reportCallIssue]  # takes three
        return tuple(items) if container is tuple else items

    return convert


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(UUID, _uuid)
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook(bool, _flag)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(datetime, _moment)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, object], _mapping)

    def sequences(kind: type) -> Callable[[object, object], object]:
        return _structure_sequence(kind, converter)

    def records(kind: type[T]) -> Callable[[object, object], T]:
        return _structure_record(kind, converter)

    converter.register_structure_hook_factory(_is_sequence, sequences)
    converter.register_structure_hook_factory(_is_record, records)
    return converter


_converter = _make_converter()


@lru_cache(maxsize=64)
def _decoder(kind: Hashable) -> msgspec.json.Decoder[object]:
    return msgspec.json.Decoder(cast("type[object]", kind))


_any_decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder(object)


def decode(body: bytes, kind: type[T]) -> T:
    """A record from JSON. Raises `UnexpectedResponse` that names the JSON path of what does not fit."""
    try:
        return cast("T", _decoder(cast("Hashable", kind)).decode(body))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if len(body) > LARGEST_PLAIN:
            raise UnexpectedResponse(
                f"the answer does not have the documented shape: {str(error)[:300]}", excerpt=excerpt(body)
            ) from error
        return _decode_slowly(body, kind)


def _decode_slowly(body: bytes, kind: type[T]) -> T:
    value = decode_json(body)
    try:
        return structure(value, kind)
    except Misfit as error:
        raise UnexpectedResponse(
            f"the answer does not have the documented shape: {error}",
            path=error.path,
            excerpt=excerpt(body),
        ) from error


class Misfit(ValueError):
    """A value is not of the shape that it has to have. `path` is the JSON path of what does not fit."""

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


def structure(value: object, kind: type[T]) -> T:
    """A record from plain values. Raises `Misfit`."""
    try:
        return _converter.structure(value, kind)
    except Exception as error:  # cattrs collects whatever the hooks raise into a group of its own
        path, reason = _first_problem(error)
        raise Misfit(f"{reason} at {path}", path=path) from error


def unstructure(value: object) -> object:
    """Plain values from a record, as `encode` takes and `structure` reads them."""
    return _converter.unstructure(value)


def register_union(union: object, tag: str, kinds: Mapping[str, type]) -> None:
    """Tell the classes of a union apart by the word at `tag`."""
    names = {cls: name for name, cls in kinds.items()}
    configure_tagged_union(union, _converter, tag_generator=names.__getitem__, tag_name=tag)


def _first_problem(error: BaseException) -> tuple[str, str]:
    text = cattrs.transform_error(error, format_exception=_reason)[0]
    reason, _, path = text.rpartition(" @ ")
    return path, reason


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error).replace(" @ ", " ") or type(error).__name__


def decode_json(body: bytes) -> object:
    """Plain JSON as Python's own types; None for an empty body. Raises `UnexpectedResponse` for what is not JSON."""
    if not body.strip():
        return None
    try:
        # What some servers put in front of UTF-8 may be ignored (RFC 8259 section 8.1).
        return _any_decoder.decode(body.removeprefix(BOM_UTF8))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        kind = "an HTML page" if body.lstrip()[:1] == b"<" else "not JSON"
        raise UnexpectedResponse(f"expected JSON, the answer is {kind}", excerpt=excerpt(body)) from error


def decode_plain(body: bytes) -> object:
    """`decode_json` for what a server sends. Raises `UnexpectedResponse` above `LARGEST_PLAIN` bytes, too."""
    if len(body) > LARGEST_PLAIN:
        raise UnexpectedResponse(
            f"the response has {len(body)} bytes of JSON, and at most {LARGEST_PLAIN} are decoded: request less at once, "
            "such as a smaller page"
        )
    return decode_json(body)


_token_fields = msgspec.json.Decoder(
    msgspec.defstruct(
        "TokenFields",
        [
            (name, str | int | float | None, None)
            for name in ("access_token", "refresh_token", "expires_in", "scope", "token_type")
        ],
    )
)


def decode_token_fields(body: bytes) -> dict[str, object]:
    """The fields of a token response. All else in it is skipped, whatever its size.

    Raises:
        UnexpectedResponse: The body is not such an object.
    """
    try:
        return {
            name: value
            for name, value in msgspec.structs.asdict(_token_fields.decode(body)).items()
            if value is not None
        }
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnexpectedResponse("expected a token response") from error


def encode(value: object, *, indent: int = 0) -> bytes:
    """JSON bytes from plain values, UUIDs and datetimes. `False`, `""`, `[]` and `0` are kept. Raises `TypeError`."""
    body = msgspec.json.encode(value)
    return msgspec.json.format(body, indent=indent) if indent else body


def excerpt(body: bytes) -> str:
    """The beginning of a body as text, for errors."""
    return body[:EXCERPT].decode("utf-8", "replace")
