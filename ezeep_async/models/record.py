"""`Record`: the base class of the records, with their forms for JSON and for pydantic."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args, get_type_hints
from uuid import UUID

import attrs


if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core.core_schema import (
        CoreSchema,
        SerializerFunctionWrapHandler,
        ValidatorFunctionWrapHandler,
    )


class Record:
    """Base class of the records of the API. Each is an attrs class, and a type for pydantic 2 and FastAPI."""

    __slots__ = ()

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values, for `json.dumps` and the like.

        The keys are the names of the attributes. All fields are there: one that the server did not send has its default.
        A field that this release does not know is in `raw`, if the record has it. Properties, such as `group_ids` and
        `is_external`, are not fields.

        Returns:
            Values of the types str, int, float, bool, None, list and dict. Ids are strings. Times are strings of ISO 8601
            with their zone, which is "Z" for UTC; a time that was sent without a zone is in UTC.
        """
        return {
            field.name: _plain(getattr(self, field.name))
            for field in _public_fields(cast("Hashable", type(self)))
        }

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Not a dataclass for pydantic, whose serializer refuses classes of attrs.
        from pydantic_core import core_schema

        fields, kinds = _public_fields(cast("Hashable", cls)), get_type_hints(cls)
        values: dict[str, core_schema.TypedDictField] = {}
        for field in fields:
            kind = kinds[field.name]
            schema = handler.generate_schema(kind)
            if datetime in {kind, *get_args(kind)}:
                zoned = core_schema.plain_serializer_function_ser_schema(_zoned, return_schema=schema)
                schema = cast("CoreSchema", {**schema, "serialization": zoned})
            is_required = field.default is attrs.NOTHING
            values[field.name] = core_schema.typed_dict_field(schema, required=is_required)
        record = core_schema.typed_dict_schema(values, cls=cls)

        def made(values: dict[str, Any]) -> Record:
            try:
                return cls(**values)
            except TypeError as error:  # it has private fields
                raise ValueError(f"a {cls.__name__} cannot be made from its fields") from error

        def read(value: object, read_fields: ValidatorFunctionWrapHandler) -> object:
            return value if isinstance(value, cls) else made(read_fields(value))

        def write(record: Record, write_fields: SerializerFunctionWrapHandler) -> object:
            return write_fields({field.name: getattr(record, field.name) for field in fields})

        return core_schema.json_or_python_schema(
            # Not `read` for both: the fields would be read as Python values, of which the strict mode takes no lists for tuples.
            core_schema.no_info_after_validator_function(made, record),
            core_schema.no_info_wrap_validator_function(read, record),
            ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
            serialization=core_schema.wrap_serializer_function_ser_schema(write, schema=record),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        described = handler(schema)
        if handler.mode == "serialization":
            resolved = handler.resolve_ref_schema(described)
            resolved["required"] = [*resolved["properties"]]  # also those with a default
        return described


class _HasGroupId(Protocol):
    @property
    def group_id(self) -> UUID: ...


class _HasGroups(Protocol):
    @property
    def groups(self) -> tuple[_HasGroupId, ...]: ...


class WithGroupIds(Record):
    """A record with groups.

    `cached_property` would make all attributes of a class with slots slower to read, and msgspec would encode its value.
    """

    __slots__ = ("_group_ids",)
    _group_ids: frozenset[UUID]

    @property
    def group_ids(self) -> frozenset[UUID]:
        """Ids of the `groups`."""
        try:
            return self._group_ids
        except AttributeError:
            ids = frozenset(group.group_id for group in cast("_HasGroups", self).groups)
            object.__setattr__(self, "_group_ids", ids)
            return ids


@cache
def _public_fields(kind: Hashable) -> list[attrs.Attribute[object]]:
    fields = attrs.fields(cast("type[attrs.AttrsInstance]", kind))
    return [field for field in fields if not field.name.startswith("_")]


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):  # most values
        return value
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return cast("datetime", _zoned(value)).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in cast("Iterable[object]", value)]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _zoned(time: datetime | None) -> datetime | None:
    """The API documents and sends UTC."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
