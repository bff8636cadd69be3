"""Plans as JSON. A damaged plan is refused, never repaired with defaults."""

from __future__ import annotations

from typing import TypeVar, cast

from ezeep_async._text.text_files import NotText, is_blank, text_of
from ezeep_async._wire.converter import decode_json, encode
from ezeep_async._wire.structuring import structure, unstructure
from ezeep_async.errors import UnexpectedResponse


T = TypeVar("T")

FORMAT = "ezeep provisioning plan"
VERSION = 2
_ADDED: dict[str, object] = {"members": {}}
"""Fields that version 1 does not have, with their values."""


def to_json(plan: object) -> str:
    """Return the plan as JSON, with its format and version."""
    return encode(_document(plan), indent=2).decode()


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read a plan that `to_json` wrote. Raises `ValueError` with the JSON path of the fault."""
    if is_blank(text):
        raise ValueError("this is not a plan: it is empty")
    try:
        document = decode_json(text_of(text).encode())
    except NotText as error:
        raise ValueError(str(error)) from None
    except (UnexpectedResponse, UnicodeError):
        raise ValueError("this is not JSON") from None
    plain = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    if plain.get("format") != FORMAT:
        raise ValueError("this is not a plan")
    if plain.get("version") == 1:
        plain = {**_ADDED, **plain, "version": VERSION}
    if plain.get("version") != VERSION:
        raise ValueError(
            f"this plan has version {plain.get('version')!r}; this release reads versions 1 and {VERSION}"
        )
    plan = structure(plain, kind)
    _check_round_trip(plain, decode_json(encode(_document(plan))), "$")
    return plan


def _document(plan: object) -> dict[str, object]:
    return {"format": FORMAT, "version": VERSION, **cast("dict[str, object]", unstructure(plan))}


def _check_round_trip(given: object, read: object, path: str) -> None:
    """Raise `ValueError` where the plan, encoded again, differs from its document.

    The converter fills in defaults and ignores unknown fields, as is right for responses. In a plan both are damage.
    """
    if _kind(given) is not _kind(read):
        raise ValueError(f"unexpected value {given!r} at {path}")
    if isinstance(given, dict) and isinstance(read, dict):
        given_fields, wanted = cast("dict[str, object]", given), cast("dict[str, object]", read)
        for key in given_fields.keys() ^ wanted.keys():
            raise ValueError(f"{key} is {'missing' if key in wanted else 'unknown'} at {path}")
        for key, value in wanted.items():
            _check_round_trip(given_fields[key], value, f"{path}.{key}")
    elif isinstance(given, list) and isinstance(read, list):
        items, others = cast("list[object]", given), cast("list[object]", read)
        if len(items) != len(others):
            raise ValueError(f"duplicate entry at {path}")
        for number, (item, other) in enumerate(zip(items, others, strict=True)):
            _check_round_trip(item, other, f"{path}[{number}]")


def _kind(value: object) -> type:
    """Class of a JSON value. All numbers have one class."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
