"""Records to plain values and back, by cattrs: for plans and audit records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import GenericAlias
from typing import Any, TypeVar, cast, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.strategies import configure_tagged_union


T = TypeVar("T")

_converter = cattrs.Converter(forbid_extra_keys=True)


def structure(value: object, kind: type[T]) -> T:
    """Make a record from plain values. Raises `ValueError` with the JSON path of the first fault.

    Converts nothing but ids, times and collections. A missing field is a fault, also one that has a default.
    """
    try:
        return _converter.structure(value, kind)
    except Exception as error:  # cattrs groups all exceptions of its hooks
        text = cattrs.transform_error(error, format_exception=_reason)[0]
        raise ValueError(" at ".join(text.rsplit(" @ ", 1))) from error


def unstructure(value: object) -> object:
    """Make plain values from a record, as `encode` and `structure` accept them."""
    return _converter.unstructure(value)


def register_union(union: object, tag: str, kinds: Mapping[str, type]) -> None:
    """Distinguish the classes of a union by the string at key `tag`."""
    names = {cls: name for name, cls in kinds.items()}
    configure_tagged_union(union, _converter, tag_generator=names.__getitem__, tag_name=tag)


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, ForbiddenExtraKeysError):
        return f"{', '.join(sorted(error.extra_fields))} is unknown"
    return str(error).replace(" @ ", " ") or type(error).__name__


def _checked(value: object, kind: type[T]) -> T:
    # cattrs would convert: 5 to "5", "abc" to ("a", "b", "c").
    wanted = (float, int) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"expected {kind.__name__}")
    return cast("T", value)


def _record_hook(kind: type[T]) -> Callable[[object, object], T]:
    structure_fields = _converter.gen_structure_attrs_fromdict(kind)
    names = [field.name for field in attrs.fields(cast("type[attrs.AttrsInstance]", kind))]

    def hook(value: object, _: object) -> T:
        fields = cast("dict[str, object]", _checked(value, dict))
        for name in names:
            if name not in fields:
                raise KeyError(name)
        return structure_fields(fields, kind)

    return hook


def _is_collection(kind: object) -> bool:
    origin: Any = get_origin(kind)
    return origin in {tuple, frozenset}


def _collection_hook(kind: Any) -> Callable[[object, object], object]:
    make, items = get_origin(kind), cast("type[list[object]]", GenericAlias(list, get_args(kind)[:1]))

    def hook(value: object, _: object) -> object:
        collection = make(_converter.structure(_checked(value, list), items))
        if len(collection) != len(cast("list[object]", value)):
            raise ValueError("duplicate entry")
        return collection

    return hook


for _kind in (int, float, bool, str):
    _converter.register_structure_hook(_kind, _checked)
_converter.register_structure_hook(UUID, lambda value, _: UUID(_checked(value, str)))
_converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(_checked(value, str)))
_converter.register_structure_hook_factory(attrs.has, _record_hook)
_converter.register_structure_hook_factory(_is_collection, _collection_hook)
