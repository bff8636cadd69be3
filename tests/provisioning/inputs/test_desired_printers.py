"""`DesiredState` with printers: CSV `group,printer`, the long form of JSON and YAML, and two states combined."""

from __future__ import annotations

import io
import json
from typing import Literal
from uuid import UUID

import pytest

from ezeep_async.provisioning import DesiredState, InvalidInput, write_csv


Format = Literal["csv", "json", "yaml"]
PRINTER_ID = "0f9e3f5c-3c1d-4f0e-9a51-2f6f6f0c0a01"


def parse(text: str, form: Format = "csv") -> DesiredState:
    return DesiredState.from_bytes(text.encode(), form, source="printers")


def problems(text: str, form: Format = "csv") -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse(text, form)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "group,printer\nFinance,Front desk\nFinance,Label\nSales,Front desk\n",
        '\ufeffPrinter;Groups\r\nFront desk;"Finance;Sales"\r\nLabel;Finance\r\n',
    ],
)
def test_tables_of_printers(text: str) -> None:
    state = parse(text)
    assert state.printers == {"Finance": ("Front desk", "Label"), "Sales": ("Front desk",)}
    assert (state.groups, state.rows, state.duplicates) == ({}, 3, 0)


def test_printers_are_normalized_and_duplicates_counted() -> None:
    """Names are case-sensitive; ids are not."""
    state = parse(
        f"group,printer\nFinance, Caf\u00e9 \nFinance,Cafe\u0301\nFinance,{PRINTER_ID.upper()}\nFinance,cafe\n"
    )
    assert state.printers == {"Finance": ("Caf\u00e9", PRINTER_ID, "cafe")}
    assert state.duplicates == 1
    assert DesiredState.from_mapping({}, {"Finance": UUID(PRINTER_ID).hex.splitlines()}).printers == {
        "Finance": (UUID(PRINTER_ID).hex,)
    }
    assert DesiredState.from_mapping({}, {"Finance": [UUID(PRINTER_ID)]}).printers == {
        "Finance": (PRINTER_ID,)
    }


def test_every_invalid_row_is_reported_with_its_line() -> None:
    assert problems(
        "group,printer\nFinance,\n,Label\nFinance,La\x01bel\nFinance,Label,x\ngroup,printer\n"
    ) == [
        "printers, line 2: the printer is blank",
        "printers, line 3: the group name is blank",
        "printers, line 4: the printer 'La\\x01bel' has a control character",
        "printers, line 5: the header has 2 columns, and this row has 3 columns",
    ]
    (other,) = problems("group,printer,note\nFinance,Label,x\n")
    assert other.endswith(
        "must be the header group,printer or printer,groups without other columns, not 'group,printer,note'"
    )
    (both,) = problems("group,member,printer\n")
    assert both.endswith("put members and printers into two files")


LONG = {
    "groups": {
        "Finance": {"members": ["a@example.com"], "printers": ["Front desk", PRINTER_ID]},
        "Sales": {"members": []},
        "Guests": {"printers": []},
        "groups": {"members": ["b@example.com"], "printers": "Label"},
    }
}


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_long_form_has_members_and_printers(form: Format) -> None:
    """A part that is left out is not in the state."""
    state = parse(json.dumps(LONG), form)
    assert state.groups == {"Finance": ("a@example.com",), "Sales": (), "groups": ("b@example.com",)}
    assert state.printers == {"Finance": ("Front desk", PRINTER_ID), "Guests": (), "groups": ("Label",)}
    assert list(state.names) == ["Finance", "Sales", "groups", "Guests"]
    assert state.rows == 5


def test_the_long_form_in_yaml_as_people_write_it() -> None:
    state = parse(
        "Groups:\n  Finance:\n    Members: [a@example.com]\n    printers:\n    - Front desk\n", "yaml"
    )
    assert (state.groups, state.printers) == ({"Finance": ("a@example.com",)}, {"Finance": ("Front desk",)})


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_group_with_the_name_groups_in_the_short_form(form: Format) -> None:
    state = parse('{"groups": ["a@example.com"], "Finance": []}', form)
    assert (state.groups, state.printers) == ({"groups": ("a@example.com",), "Finance": ()}, {})


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_all_problems_of_the_long_form_are_reported_with_lines(form: Format) -> None:
    text = """{
  "groups": {
    "Finance": {"members": ["nomail"], "printers": [5, ""]},
    "Sales": ["a@example.com"],
    "Guests": {"printer": ["Label"]},
    "Empty": {},
    "": {"printers": [
      "Label"]},
    "None": {"printers": null}
  },
  "Other": ["a@example.com"],
  "More": []
}"""
    found = problems(text, form)
    read_as = "null: YAML reads it as null, so put it in quotes" if form == "yaml" else "null"
    five = "5: YAML reads it as int, so put it in quotes" if form == "yaml" else "5"
    wanted = "members and printers (lists)"
    assert found == [
        "printers, line 3: the member 'nomail' is neither an e-mail address nor a user id",
        f"printers, line 3: the printer must be text, not {five}",
        "printers, line 3: the printer is blank",
        f"printers, line 4: the group 'Sales' must be a mapping with {wanted}, not a list",
        f"printers, line 5: the group 'Guests' has the field 'printer'; it may have {wanted}",
        "printers, line 6: the group 'Empty' has neither members nor printers",
        "printers, line 7: the group name is blank",
        f"printers, line 9: the printers of 'None' must be a list ([] for none), not {read_as}",
        "printers, line 11: a document with 'groups' has no other fields: put 'Other' below 'groups'",
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_long_group_outside_of_groups_gets_a_hint(form: Format) -> None:
    (found,) = problems('{"Finance": {"printers": ["Label"]}}', form)
    assert found.endswith("not a mapping; members and printers of groups stand below 'groups'")


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_syntax_error_in_the_long_form_comes_after_the_problems_before_it(form: Format) -> None:
    found = problems('{"groups": {\n"Finance": {"printers": [""],\n"Sales": {"printers": ["Label"', form)
    assert "line 2: the printer is blank" in found[0]
    assert "not JSON" in found[-1] or "not YAML" in found[-1]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_records_of_printers(form: Format) -> None:
    text = (
        '[{"group": "Finance", "printer": "Label"}, {"printer": "Front desk", "groups": ["Finance", "Sales"]},'
        ' {"group": "Finance", "member": "a@example.com"}]'
    )
    state = parse(text, form)
    assert state.printers == {"Finance": ("Label", "Front desk"), "Sales": ("Front desk",)}
    assert state.groups == {"Finance": ("a@example.com",)}
    (found,) = problems('[{"printer": "Label"}]', form)
    assert "either group and printer, or printer and groups; this one has printer" in found


def test_a_mapping_of_printers() -> None:
    state = DesiredState.from_mapping({"Finance": ["a@example.com"]}, {"Finance": "Label", "Sales": []})
    assert (state.groups, state.printers) == (
        {"Finance": ("a@example.com",)},
        {"Finance": ("Label",), "Sales": ()},
    )
    with pytest.raises(InvalidInput, match="the printers of 'Finance' must be a list, not 5"):
        DesiredState.from_mapping({}, {"Finance": 5})  # type: ignore[dict-item]  # wrong on purpose
    with pytest.raises(TypeError, match="printers"):
        DesiredState.from_mapping({}, ["Label"])  # type: ignore[arg-type]  # wrong on purpose


def test_two_states_are_combined() -> None:
    people = DesiredState.from_mapping({"Finance": ["a@example.com"], "Sales": []})
    printers = parse("group,printer\nFinance,Label\nGuests,Label\n")
    both = people.combined(printers)
    assert both.groups == people.groups
    assert both.printers == printers.printers
    assert (both.rows, both.duplicates) == (3, 0)
    again = both.combined(both)
    assert (again.groups, again.printers) == (both.groups, both.printers)
    assert (again.rows, again.duplicates) == (6, 3)


def test_written_tables_are_read_again() -> None:
    """Cells that a spreadsheet would calculate are protected."""
    printers = {"Finance": ("=1+1", "'@home", 'Front desk; left, "new"'), "-Sales": (PRINTER_ID,)}
    file = io.StringIO(newline="")
    write_csv(printers, file, column="printer")
    assert file.getvalue().startswith("group,printer\nFinance,'=1+1\n")
    assert parse(file.getvalue()).printers == printers


def test_a_group_and_its_printer_that_are_named_like_the_header() -> None:
    """Only the same line is the header of a joined file: a row that is lost would take a printer away in mode exact."""
    printers = {"Group": ("Printer", "Laser"), "group": ("printer",)}
    file = io.StringIO(newline="")
    write_csv(printers, file, column="printer")
    text = file.getvalue()
    assert parse(text).printers == printers
    joined = parse(f"{text}\ufeffgroup,printer\nSales,Label\n")
    assert joined.printers == {**printers, "Sales": ("Label",)}
    assert parse("Printer,Groups\nprinter,groups\n").printers == {"groups": ("printer",)}
