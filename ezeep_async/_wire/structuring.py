"""Records to plain values and back, by cattrs: for plans and audit records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar, cast
from uuid import UUID

import cattrs
from cattrs.strategies import configure_tagged_union


T = TypeVar("T")


class Misfit(ValueError):
    """A value does not have the required shape. `path` is its JSON path."""

    def __init__(self, message: str, *, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


def _checked(value: object, kind: type) -> object:
    # cattrs would convert: 5 to "5", "abc" to ("a", "b", "c").
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"expected {kind.__name__}")
    return value


def _uuid(value: object, _: object) -> UUID:
    return UUID(cast("str", _checked(value, str)))


def _moment(value: object, _: object) -> datetime:
    return datetime.fromisoformat(cast("str", _checked(value, str)))


_converter = cattrs.Converter()
for _kind in (int, bool, str):
    _converter.register_structure_hook(_kind, _checked)
_converter.register_structure_hook(UUID, _uuid)
_converter.register_structure_hook(datetime, _moment)


def structure(value: object, kind: type[T]) -> T:
    """Make a record from plain values. Raises `Misfit`."""
    try:
        return _converter.structure(value, kind)
    except Exception as error:  # cattrs groups all exceptions of its hooks
        text = cattrs.transform_error(error, format_exception=_reason)[0]
        reason, _, path = text.rpartition(" @ ")
        raise Misfit(f"{reason} at {path}", path=path) from error


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error).replace(" @ ", " ") or type(error).__name__


def unstructure(value: object) -> object:
    """Make plain values from a record, as `encode` and `structure` accept them."""
    return _converter.unstructure(value)


def register_union(union: object, tag: str, kinds: Mapping[str, type]) -> None:
    """Distinguish the classes of a union by the string at key `tag`."""
    names = {cls: name for name, cls in kinds.items()}
    configure_tagged_union(union, _converter, tag_generator=names.__getitem__, tag_name=tag)
