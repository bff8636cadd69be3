"""Plans as JSON, read so strictly that a damaged one is no plan."""

from __future__ import annotations

from typing import TypeVar, cast

from ezeep_async._text.text_files import NotText, is_blank, text_of
from ezeep_async._wire.converter import decode_json, encode, structure, unstructure
from ezeep_async.errors import UnexpectedResponse


T = TypeVar("T")

FORMAT = "ezeep provisioning plan"
VERSION = 2
_ADDED: dict[str, object] = {"members": {}}
"""What plans of version 1 do not have, and what that means."""


def to_json(plan: object) -> str:
    """The plan as JSON, with a header that says what it is."""
    return encode(_document(plan), indent=2).decode()


def from_json(text: str | bytes, kind: type[T]) -> T:
    """The plan, of that class, that `to_json` wrote. Raises `ValueError` that says what does not fit, and where."""
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
        raise ValueError(f"this plan has version {plain.get('version')!r}, and {VERSION} can be read")
    plan = structure(plain, kind)
    _refuse_guesses(plain, decode_json(encode(_document(plan))), "$")
    return plan


def _document(plan: object) -> dict[str, object]:
    return {"format": FORMAT, "version": VERSION, **cast("dict[str, object]", unstructure(plan))}


def _refuse_guesses(given: object, read: object, path: str) -> None:
    """Raise `ValueError` where what was read is not what was given: something is missing, unknown, or of another kind.

    Reading fills in defaults, which is good for a server's answers. A plan that lost half of what it says, and would be
    applied as if it had never said it, is a damaged one.
    """
    if _kind(given) is not _kind(read):
        raise ValueError(f"{given!r} does not belong at {path}")
    if isinstance(given, dict) and isinstance(read, dict):
        there, wanted = cast("dict[str, object]", given), cast("dict[str, object]", read)
        for key in there.keys() ^ wanted.keys():
            raise ValueError(f"{key} is {'missing' if key in wanted else 'unknown'} at {path}")
        for key, value in wanted.items():
            _refuse_guesses(there[key], value, f"{path}.{key}")
    elif isinstance(given, list) and isinstance(read, list):
        items, others = cast("list[object]", given), cast("list[object]", read)
        if len(items) != len(others):
            raise ValueError(f"something is there twice at {path}")
        for number, (item, other) in enumerate(zip(items, others, strict=True)):
            _refuse_guesses(item, other, f"{path}[{number}]")


def _kind(value: object) -> type:
    """Its class, for which whole numbers and fractions are one."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
