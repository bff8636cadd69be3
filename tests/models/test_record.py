"""`Record`: every record becomes plain JSON values, and is a type for json, msgspec, pandas and pydantic."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from datetime import UTC, date, datetime
from importlib import import_module

import attrs
import msgspec
import pandas as pd
import pytest
from models.samples import GROUP, INVITATION, JOB, SAMPLES, A
from pydantic import BaseModel, TypeAdapter, ValidationError

from ezeep_async import (
    EzeepSession,
    Group,
    PrinterAssignment,
    PrintJob,
    PrintOptions,
    Record,
    User,
    models,
)


def _names(record: Record) -> list[str]:
    return [field.name for field in attrs.fields(type(record)) if not field.name.startswith("_")]


def test_every_model_is_a_record_with_a_sample() -> None:
    """A new class of `models/` has the base class, and is in `SAMPLES`."""
    modules = [
        import_module(f"ezeep_async.models.{each.name}") for each in pkgutil.iter_modules(models.__path__)
    ]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and attrs.has(value) and value.__module__ == module.__name__
    }
    assert len(classes) > 20
    assert [each.__name__ for each in classes if not issubclass(each, Record)] == []
    assert classes <= {type(sample) for sample in SAMPLES}


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_the_fields_are_plain_values(record: Record) -> None:
    """The names of the attributes in their order, and values that `json` returns as they are."""
    values = record.to_dict()
    assert list(values) == _names(record)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert json.loads(json.dumps([record], default=Record.to_dict)) == [values]


def test_values_of_each_kind() -> None:
    """Ids and times are texts, tuples are lists, nested records are objects."""
    assert GROUP.to_dict() == {
        "id": str(GROUP.id),
        "name": "Sales",
        "description": "",
        "local_printing_enabled": False,
        "myprinters_enabled": False,
        "origin": {"provider": "Azure", "foreign_id": str(GROUP.organization_id)},
        "organization_id": str(GROUP.organization_id),
        "num_members": 3,
        "num_printers": 0,
    }
    assert PrintOptions(paper=(210.0, 297.0)).to_dict()["paper"] == [210.0, 297.0]
    assert PrintJob("7", A, printing=None).to_dict() == {"id": "7", "printer_id": str(A), "is_queue": False}


def test_times_have_their_zone() -> None:
    """A time without a zone is in UTC, as the API documents."""
    assert INVITATION.to_dict()["updated"] == "2026-07-22T15:15:33.000005Z"
    assert INVITATION.to_dict()["expire_date"] == "2026-07-22T15:15:00Z"
    assert JOB.to_dict()["created"] == "2026-07-22T17:15:00+02:00"
    assert datetime.fromisoformat(str(INVITATION.to_dict()["expire_date"])).tzinfo == UTC


def test_what_has_no_form_in_json_is_refused() -> None:
    """Not written as text that another program would take for a value."""

    @attrs.frozen
    class Odd(Record):
        value: object

    for odd in (1j, b"x", iter([1]), date(2026, 7, 22)):
        with pytest.raises(TypeError, match=f"{type(odd).__name__} has no form in JSON"):
            Odd(odd).to_dict()


def test_group_is_external() -> None:
    """As its origin says."""
    assert GROUP.is_external
    assert not attrs.evolve(GROUP, origin=attrs.evolve(GROUP.origin, provider="ezeep")).is_external


# --- msgspec and pandas ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_msgspec_encodes_the_same_fields(record: Record) -> None:
    """Directly, and whether or not a property was read before."""
    if isinstance(record, User | PrinterAssignment):
        assert record.group_ids
    assert msgspec.json.decode(msgspec.json.encode(record)).keys() == record.to_dict().keys()
    assert json.loads(msgspec.json.encode(record.to_dict())) == record.to_dict()


async def test_pandas_makes_a_table_of_records(session: EzeepSession) -> None:
    """A row for each record and a column for each field; nested fields with `json_normalize`."""
    groups = await session.groups.list().collect()
    table = pd.DataFrame(group.to_dict() for group in groups)
    assert list(table.columns) == _names(groups[0])
    assert list(table["name"]) == [group.name for group in groups]
    assert table["num_members"].sum() == sum(group.num_members for group in groups)
    flat = pd.json_normalize([group.to_dict() for group in groups])
    assert list(flat["origin.provider"]) == [group.origin.provider for group in groups]


# --- pydantic ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_pydantic_serializes_as_to_dict(record: Record) -> None:
    """As Python values in the mode of JSON, and as JSON."""
    adapter = TypeAdapter(type(record))
    assert adapter.dump_python(record, mode="json", warnings="error") == record.to_dict()
    assert json.loads(adapter.dump_json(record, warnings="error")) == record.to_dict()
    assert adapter.validate_python(record) is record


@pytest.mark.parametrize(
    "record",
    [each for each in SAMPLES if not isinstance(each, PrintJob)],
    ids=lambda record: type(record).__name__,
)
def test_pydantic_reads_what_it_wrote(record: Record) -> None:
    """The same record, but for times without a zone. Also in the strict mode, where JSON has no tuples, ids and times."""
    for strict in (False, True):
        read = TypeAdapter(type(record)).validate_json(json.dumps(record.to_dict()), strict=strict)
        assert type(read) is type(record)
        assert read.to_dict() == record.to_dict()
    assert TypeAdapter(type(record)).validate_python(record.to_dict()) == read


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_the_schema_has_the_fields(record: Record) -> None:
    """A response has all of them, a request those without a default."""
    sent = TypeAdapter(type(record)).json_schema(mode="serialization")
    assert list(sent["properties"]) == sent["required"] == _names(record)
    assert sent["title"] == type(record).__name__
    assert sent["description"].startswith(str(type(record).__doc__).splitlines()[0])
    given = TypeAdapter(type(record)).json_schema()
    required = [each.name for each in attrs.fields(type(record)) if each.default is attrs.NOTHING]
    assert [*given.get("required", [])] == [name for name in required if not name.startswith("_")]


def test_pydantic_checks_as_the_constructor_does() -> None:
    """Values of options, missing fields, and records that only the SDK makes."""
    with pytest.raises(ValidationError, match="copies must be an integer from 1 to 32767"):
        TypeAdapter(PrintOptions).validate_python({"copies": 0})
    with pytest.raises(ValidationError, match=r"Group[^\n]*\norganization_id"):
        TypeAdapter(Group).validate_python({"id": str(A), "name": "Sales"})
    with pytest.raises(ValidationError, match=r"Group[^\n]*\norganization_id"):
        TypeAdapter(Group).validate_json(json.dumps({"id": str(A), "name": "Sales"}))
    with pytest.raises(ValidationError, match="a PrintJob cannot be made from its fields"):
        TypeAdapter(PrintJob).validate_python({"id": "7", "printer_id": str(A)})


def test_a_model_of_pydantic_has_records() -> None:
    """As fields, with what pydantic can leave out."""

    class Answer(BaseModel):
        groups: list[Group]
        note: str = ""

    answer = Answer(groups=[GROUP])
    assert answer.groups[0] is GROUP
    assert answer.model_dump(mode="json") == {"groups": [GROUP.to_dict()], "note": ""}
    assert Answer.model_validate_json(answer.model_dump_json()) == answer
    assert answer.model_dump(mode="json", include={"groups": {0: {"name", "origin"}}}) == {
        "groups": [
            {"name": "Sales", "origin": {"provider": "Azure", "foreign_id": str(GROUP.organization_id)}}
        ]
    }
    assert answer.model_dump(exclude={"groups": {"__all__": {"origin": {"foreign_id"}}}})["groups"][0][
        "origin"
    ] == {"provider": "Azure"}
    assert TypeAdapter(PrintOptions).dump_python(PrintOptions(copies=2), exclude_none=True) == {"copies": 2}


@pytest.mark.slow
def test_records_need_no_pydantic() -> None:
    """It is imported by programs that use it, not by the SDK."""
    script = (
        "import sys; from ezeep_async import *; JobStatus(0).to_dict(); "
        "print({'pydantic', 'pydantic_core'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"
