"""`DesiredState.from_csv` with a row per membership, `from_mapping`, and normalization."""

from __future__ import annotations

import csv
import io
import pickle
import unicodedata
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import AccountUser, EzeepError, Person, Printer, PrinterAssignment, User
from ezeep_async.provisioning import DesiredState, InvalidInput
from ezeep_async.provisioning.csv_cells import protected
from ezeep_async.provisioning.names import normalize_email, normalize_group_name


def parse(text: str | bytes) -> DesiredState:
    content = text.encode() if isinstance(text, str) else text
    return DesiredState.from_bytes(content, "csv", source="people.csv")


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


async def test_members_and_printers_may_be_records() -> None:
    """As in `session.users.set_groups`. Records of other kinds are problems."""
    one, two = UUID(int=1), UUID(int=2)
    user, account = User(id=one, groups=()), AccountUser(two, "a@example.com")
    expected = {"Sales": (str(one), str(two)), "Support": (str(one),)}
    printers = {"Sales": [Printer(one, "P"), PrinterAssignment(printer_id=two, assignments=())]}
    state = DesiredState.from_mapping({"Sales": [user, account], "Support": [Person(user, None)]}, printers)
    assert state.groups == expected
    assert state.printers == {"Sales": (str(one), str(two))}
    rows = [("Sales", user), ("Sales", account), ("Support", Person(user, None))]
    assert DesiredState.from_pairs(rows).groups == (await DesiredState.from_rows(rows)).groups == expected
    wrong: Any = {"Sales": [Printer(one, "P")]}, {"Sales": [user]}
    with pytest.raises(InvalidInput, match="the member must be text, not Printer"):
        DesiredState.from_mapping(*wrong)


def test_reads_groups_and_members_in_their_order() -> None:
    state = parse("group,member\nSales,b@example.com\nFinance,c@example.com\nSales,a@example.com\n")
    assert list(state.groups.items()) == [
        ("Sales", ("b@example.com", "a@example.com")),
        ("Finance", ("c@example.com",)),
    ]
    assert (state.rows, state.duplicates) == (3, 0)


@pytest.mark.parametrize(
    "text",
    [
        "group,member\nSales,a@example.com\n",
        "group;member\r\nSales;a@example.com\r\n",
        "\ufeffgroup,member\nSales,a@example.com",
        "Member , GROUP\ra@example.com,Sales\r",
        '"group","member"\n\n"Sales", "a@example.com"\n   \n',
    ],
)
def test_csv_dialects_have_the_same_meaning(text: str) -> None:
    """BOM or none, comma or semicolon, any line end, columns in either order, blank lines."""
    assert parse(text).groups == {"Sales": ("a@example.com",)}


def test_duplicates_merge_and_are_counted_7_10() -> None:
    """7-10: addresses are compared without regard to case and composition."""
    state = parse(
        "group,member\nSales,Zoë@Example.com\nSales, ZOE\u0308@example.COM \nFinance,zoë@example.com\n"
    )
    assert state.groups == {"Sales": ("zoë@example.com",), "Finance": ("zoë@example.com",)}
    assert (state.rows, state.duplicates) == (3, 1)


def test_user_ids_are_members_too() -> None:
    state = parse("group,member\nSales,54E3A324-CC89-4722-8338-C285D26BEF15\n")
    assert state.groups == {"Sales": ("54e3a324-cc89-4722-8338-c285d26bef15",)}


def test_every_bad_row_is_reported_at_once_with_file_and_line() -> None:
    found = problems(
        b"group,member\n"
        b" ,a@example.com\n"
        b"Sales,\n"
        b"Sales,a@example.com,x\n"
        b"Sales\n"
        b"Sales,nomail\n"
        b"Sales,a@b@example.com\n"
        b"Sales,54e3a324-cc89-4722-8338\n"
        b"Sa\xffles,a@example.com\n"
        b'"Sales,a@example.com\n'
        b'"Sales"x,a@example.com\n'
        + b"S" * 256
        + b",a@example.com\n"
        + b"Sa\x00les,a@example.com\n"
        + b"Sales,a b@example.com\n"
        + b"Sales,a@example.com\n"
        + b'Sales,"a@exam'
    )
    assert [line.partition(": ")[0] for line in found] == [
        f"people.csv, line {number}" for number in (*range(2, 15), 16)
    ]
    assert "group name is blank" in found[0]
    assert "member is blank" in found[1]
    assert "this row has 3 columns" in found[2]
    assert "this row has 1 column" in found[3]
    assert all("neither an e-mail address nor a user id" in line for line in (*found[4:7], found[12]))
    assert "byte 3 is not UTF-8" in found[7]
    assert "a quote is not closed" in found[8]
    assert "not CSV" in found[9]
    assert "256 characters" in found[10]
    assert "control character" in found[11]
    assert "a quote is not closed" in found[13]


def test_a_row_with_two_faults_has_two_problems() -> None:
    assert len(problems("group,member\n,nomail\n")) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("name,mail\nSales,a@example.com\n", "must be the header"),
        ("Sales,a@example.com\n", "must be the header"),
        ('group,"member\n', "must be the header"),
        ("group,group\n", "must be the header"),
        ("group,member,note\n", "must be the header"),
        (b"gro\xffup,member\nSales,\n", "not UTF-8"),
        ("group,member\nSales,a@example.com".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_without_a_valid_header_is_one_problem(text: str | bytes, expected: str) -> None:
    (found,) = problems(text)
    assert expected in found


def test_the_message_shows_twenty_problems_and_the_attribute_all() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse("group,member\n" + "Sales,\n" * 30)
    assert len(caught.value.problems) == 30
    assert str(caught.value).endswith("; and 10 more")


def test_8_6_the_error_derives_from_ezeep_error_and_pickles() -> None:
    """8-6: `InvalidInput` is an `EzeepError`, and a `ValueError` like other invalid arguments."""
    with pytest.raises(EzeepError) as caught:
        parse("group,member\nSales," + "x" * 200 + "\n")
    error = caught.value
    assert isinstance(error, InvalidInput)
    assert isinstance(error, ValueError)
    error.count = 7
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (InvalidInput, str(error), vars(error))
    assert "..." in str(copy)


def test_from_csv_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"\xef\xbb\xbfgroup,member\nSales,a@example.com\n")
    assert DesiredState.from_csv(path).groups == {"Sales": ("a@example.com",)}
    path.write_text("group,member\nSales,\n", "utf-8")
    with pytest.raises(InvalidInput, match=r"people\.csv, line 2"):
        DesiredState.from_csv(str(path))
    with pytest.raises(FileNotFoundError):
        DesiredState.from_csv(tmp_path / "absent.csv")


def test_from_mapping_checks_and_normalizes_the_same_way() -> None:
    someone = UUID("54e3a324-cc89-4722-8338-c285d26bef15")
    state = DesiredState.from_mapping({" Sales ": ["A@example.com", "a@example.com", someone], "Empty": []})
    assert state.groups == {"Sales": ("a@example.com", str(someone)), "Empty": ()}
    assert (state.rows, state.duplicates) == (3, 1)
    with pytest.raises(InvalidInput) as caught:
        DesiredState.from_mapping({"": ["a@example.com"], "Sales": ["nomail", " "]})
    assert [str(problem) for problem in caught.value.problems] == [
        "mapping: the group name is blank",
        "mapping, group 'Sales': the member 'nomail' is neither an e-mail address nor a user id",
        "mapping, group 'Sales': the member is blank",
    ]


def test_a_single_text_is_one_member() -> None:
    assert DesiredState.from_mapping({"Sales": "a@example.com"}).groups == {"Sales": ("a@example.com",)}


def test_states_compare_and_hash() -> None:
    one, two = (DesiredState.from_mapping({"Sales": [member]}) for member in ("a@x.example", "A@x.example "))
    assert one == two
    assert hash(one) == hash(two)


@given(st.text())
def test_normalization_is_idempotent(text: str) -> None:
    assert normalize_email(normalize_email(text)) == normalize_email(text)
    assert normalize_group_name(normalize_group_name(text)) == normalize_group_name(text)


@given(st.text(), st.sampled_from(["NFC", "NFD"]))
def test_composition_makes_no_difference(text: str, form: str) -> None:
    other = unicodedata.normalize(form, text)
    assert normalize_email(other) == normalize_email(text)
    assert normalize_group_name(other) == normalize_group_name(text)


@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Only `InvalidInput` is raised, with at least one problem."""
    for prefix in (b"", b"group,member\n", b"\xef\xbb\xbfgroup;member\r\n"):
        try:
            state = parse(prefix + content)
        except InvalidInput as error:
            assert error.problems
        else:
            assert state.rows == state.duplicates + sum(len(members) for members in state.groups.values())


_NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60)
_MEMBERS = st.emails(domains=st.just("example.com")).filter(lambda text: not set(text) & set(',;"<>'))


@given(st.lists(st.tuples(_NAMES, _MEMBERS), min_size=1), st.sampled_from(",;"), st.booleans())
def test_csv_of_the_standard_library_round_trips(
    rows: list[tuple[str, str]], delimiter: str, quoted: bool
) -> None:
    """A file and a mapping of the same rows are equal in every dialect."""
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n"
    )
    # As in a file for spreadsheets: the reader takes the quote off that keeps a cell from being a formula.
    writer.writerows([("group", "member"), *(map(protected, row) for row in rows)])
    wanted: dict[str, list[str]] = {}
    for group, member in rows:
        wanted.setdefault(group, []).append(member)
    read = parse(text.getvalue())
    assert read.rows == len(rows)
    assert {name: set(members) for name, members in read.groups.items()} == {
        name: set(members) for name, members in DesiredState.from_mapping(wanted).groups.items()
    }


@given(st.integers(min_value=0, max_value=10_000))
def test_a_truncated_file_is_refused_or_contains_no_other_members(length: int) -> None:
    """Each group has a prefix of its members, or the file is refused."""
    whole = "group,member\n" + "".join(f'"Größe {n % 7}","person.{n}@example.com"\n' for n in range(60))
    content = whole.encode()
    try:
        part = parse(content[: length % len(content)])
    except InvalidInput:
        return
    complete = parse(content)
    for name, members in part.groups.items():
        assert members == complete.groups[name][: len(members)]
