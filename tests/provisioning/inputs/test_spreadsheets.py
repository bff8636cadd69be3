"""What Excel and its like write: `sep=;`, tabs, other encodings, more columns, comments with line breaks, workbooks."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async.provisioning import DesiredState, InvalidInput, write_csv
from ezeep_async.provisioning.inputs.spreadsheets import SAVE_AS


SALES = {"Sales": ("a@example.com",)}
OFFICE = {"Büro": ("zoë@example.com",)}


def parse(content: str | bytes, *ignored: str, encoding: str = "utf-8") -> DesiredState:
    body = content.encode() if isinstance(content, str) else content
    return DesiredState.from_bytes(
        body, "csv", source="people.csv", encoding=encoding, ignore_columns=ignored
    )


def refusal(content: str | bytes, *ignored: str, encoding: str = "utf-8") -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse(content, *ignored, encoding=encoding)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\ngroup;member\r\nSales;a@example.com\r\n",
        "\ufeffSEP=,\ngroup,member\nSales,a@example.com\n",
        '"sep=;"\n\ngroup;member\nSales;a@example.com\n',
        "sep=\t\ngroup\tmember\nSales\ta@example.com\n",
        "sep=|\ngroup|member\nSales|a@example.com\n||\n",
        "\n;;\nsep=;;;\nmember;groups;\na@example.com;Sales;\n",
        "group\tmember\r\n\t\r\nSales\ta@example.com\t\t\r\n",
        "member\tgroups\na@example.com\tSales\n",
    ],
)
def test_the_delimiter_is_named_or_found(text: str) -> None:
    assert parse(text).groups == SALES


def test_only_the_first_line_names_the_delimiter() -> None:
    assert refusal("group;member\nsep=;\n").count == 1
    assert str(refusal("sep=;\n")).endswith("the file is empty: add the header group,member or member,groups")
    assert "not 'sep=x'" in str(refusal("sep=x\ngroup;member\n"))
    # The delimiter that is named is the only one.
    assert "not 'group,member'" in str(refusal("sep=;\ngroup,member\nSales,a@example.com\n"))


# --- more columns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["Department;group;Cost  Center;member", "department;GROUP;cost center;Member"]
)
def test_columns_are_ignored_on_request(header: str) -> None:
    text = f"{header}\nIT;Sales;4711;a@example.com\n;Sales;;\n"
    error = refusal(text, "Department", "cost center")
    assert [str(problem) for problem in error.problems] == ["people.csv, line 3: the member is blank"]
    assert parse(text.replace(";Sales;;\n", ";;;\n"), "Department", "cost center").groups == SALES


def test_without_the_request_the_error_names_the_columns_and_the_option() -> None:
    error = refusal('group,Full name,member,"last, first"\nSales,x,a@example.com,y\n')
    assert error.count == 1
    (advice,) = error.advice
    assert advice == (
        "Remove the other columns, or skip them with --ignore-columns 'full name,\"last, first\"' "
        "(in Python: ignore_columns)"
    )
    assert str(error).endswith(advice)
    (renaming,) = refusal("group,mail,dept\n").advice  # it does not have the columns that it needs
    assert renaming.startswith("The header has no column member: rename the columns")
    assert "mail" not in renaming


def test_columns_of_groups_and_members_can_be_ignored_too() -> None:
    text = "group,member,printer\nSales,a@example.com,Laser\n"
    assert parse(text, "printer").groups == SALES
    assert parse(text, "MEMBER").printers == {"Sales": ("Laser",)}
    assert "put members and printers into two files" in str(refusal(text))


def test_ignored_cells_may_be_missing_at_the_end_and_have_line_breaks() -> None:
    text = (
        'member,groups,"Notes\r\nof HR",dept\r\n'
        'a@example.com,Sales,"first\r\n\r\nsecond, ""third""\r\n",IT\r\n'
        "b@example.com,Sales\r\n"
        'nomail,Sales,"x\r\ny"\r\n'
        '"c@example.com\r\n",Sales,"x\r\ny"\r\n'
        'd@example.com,"A;B","x\r\n'
    )
    error = refusal(text, "dept", "notes of HR")
    assert [str(problem) for problem in error.problems] == [
        "people.csv, line 8: the member 'nomail' is neither an e-mail address nor a user id",
        "people.csv, line 10: this row has a line break inside a quoted cell: names and addresses have none, so remove it",
        "people.csv, line 13: a quote is not closed: is the file cut off?",
    ]
    good = "".join(text.splitlines(keepends=True)[:7])
    assert parse(good, "dept", "notes of HR").groups == {"Sales": ("a@example.com", "b@example.com")}


def test_a_repeated_header_with_other_columns_is_skipped() -> None:
    text = 'group,"No\nte",member\nSales,"a\nb",a@example.com\n'
    assert parse(text + text, "no te").groups == SALES


def test_a_single_text_is_no_list_of_columns() -> None:
    with pytest.raises(ValueError, match="ignore_columns must be a list of names, not 'note'"):
        DesiredState.from_bytes(b"", "csv", source="x", ignore_columns="note")
    with pytest.raises(ValueError, match=r"ignore_columns must be a list of names, not \(3,\)"):
        DesiredState.from_bytes(b"", "csv", source="x", ignore_columns=[3])  # type: ignore[list-item]  # wrong on purpose


def test_problems_have_their_columns() -> None:
    error = refusal("note;member;group\n;nomail;\n;a@example.com;Sales;x\n", "note")
    assert [(problem.line, problem.column) for problem in error.problems] == [(2, 3), (2, 2), (3, None)]
    error = refusal("member,groups\nnomail,Sales;;A\n")
    assert [(problem.line, problem.column) for problem in error.problems] == [(2, 1), (2, 2)]


@given(st.text(st.sampled_from('a;,\t\n"\r\ufeff| @'), max_size=40), st.booleans())
def test_any_rows_are_read_or_refused(rows: str, named: bool) -> None:
    header = 'member;"no\nte";groups\n' if named else "sep=;\nnote;group;member\n"
    try:
        state = parse(header + rows, "no te", "note")
    except InvalidInput as error:
        assert error.count == len(error.problems) > 0
    else:
        assert state.rows == state.duplicates + sum(map(len, state.groups.values()))


# --- encodings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "encoding"),
    [
        ("cp1252", "cp1252"),
        ("cp1252", "Windows-1252"),
        ("mac-roman", "mac_roman"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-8-sig", "utf-8"),
        ("utf-8-sig", "cp1252"),  # a byte order mark leaves no doubt
        ("utf-8", "utf-8-sig"),
    ],
)
def test_an_encoding_is_used_on_request(codec: str, encoding: str) -> None:
    content = "group\tmember\r\nBüro\tzoë@example.com\r\n".encode(codec)
    assert parse(content, encoding=encoding).groups == OFFICE


@pytest.mark.parametrize("codec", ["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_without_the_request_the_error_has_advice(codec: str) -> None:
    """The encoding that it names can be taken as it stands."""
    content = "group;member\nBüro;a@example.com\nSüd;a@example.com\n".encode(codec)
    (advice,) = refusal(content).advice
    assert SAVE_AS in advice
    (named,) = re.findall(r"--encoding (\S+)", advice)
    assert named == ("cp1252" if codec == "latin-1" else codec)
    assert parse(content, encoding=named) == parse(content, encoding=codec)


@pytest.mark.parametrize("header", ["Gruppe;member", "Büro;member", "group;member;Note", "group|member"])
def test_a_wrong_header_hides_no_wrong_encoding(header: str) -> None:
    """The lines and their bytes are in the first error already."""
    error = refusal(f"{header}\nSales;a@example.com\nSüd;a@example.com\n".encode("cp1252"))
    assert [problem.line for problem in error.problems] == [1, 3]
    assert str(error.problems[1]) == "people.csv, line 3: byte 2 is not UTF-8: save it as UTF-8"
    assert "--encoding cp1252" in error.advice[-1]


@pytest.mark.parametrize(
    ("codec", "encoding", "says"),
    [
        ("cp1252", "utf-16", "this is not utf-16: leave out the encoding"),
        ("utf-8", "utf-16", "this is UTF-8, not utf-16: leave out the encoding"),
        ("utf-16-be", "utf-16", "this is utf-16-be, not utf-16: it has no byte order mark"),
        ("utf-16-le", "cp1252", "this is UTF-16: save it as UTF-8"),
    ],
)
def test_another_encoding_than_the_requested_one(codec: str, encoding: str, says: str) -> None:
    error = refusal("group;member\nBüro;a@example.com\n".encode(codec), encoding=encoding)
    assert [str(problem) for problem in error.problems] == [f"people.csv: {says}"]
    assert [f"--encoding {codec}" in advice for advice in error.advice] == [True] * codec.startswith("utf-16")


@pytest.mark.parametrize("delimiter", ["|", ":", " "])
def test_another_delimiter_is_named(delimiter: str) -> None:
    error = refusal(f"group{delimiter}member\nSales{delimiter}a@example.com\n")
    (problem,) = error.problems
    assert problem.message.endswith(f"not 'group{delimiter}member': separate the columns with , ; or a tab")


def test_another_delimiter_than_the_first_line_says() -> None:
    error = refusal("sep=;\ngroup,member\nSales,a@example.com\n")
    (problem,) = error.problems
    assert problem.message.endswith("'group,member': the line before it says that ';' separates the columns")


def test_each_line_that_is_not_in_the_encoding_is_a_problem() -> None:
    content = b"group;member\nB\x81;a@example.com\nSales;nomail\n\x8d;a@example.com\n"
    error = refusal(content, encoding="cp1252")
    assert [problem.line for problem in error.problems] == [2, 4, 3]
    assert error.problems[0].message == "some of its bytes are not cp1252: save it as UTF-8"


def test_utf_8_is_not_read_as_something_else() -> None:
    """Each letter would become two."""
    content = "group;member\nBüro;a@example.com\n".encode()
    error = refusal(content, encoding="cp1252")
    assert [str(problem) for problem in error.problems] == [
        "people.csv: this is UTF-8, not cp1252: leave out the encoding"
    ]
    utf16 = "group;member\nBüro;a@example.com\n".encode("utf-16")
    assert "this is UTF-16" in str(refusal(utf16, encoding="cp1252"))


@pytest.mark.parametrize("name", ["", "x", "zip", "hex", "undefined", "a\0b", "ü"])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="encoding must be an encoding that Python has"):
        parse("group,member\n", encoding=name)


# --- workbooks -----------------------------------------------------------------------------------------------------


@pytest.mark.may_block
@pytest.mark.parametrize("name", ["people.xlsx", "people.XLS", "people.ods"])
def test_a_workbook_is_named_by_its_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04\x14\x00")
    with pytest.raises(ValueError, match=r"is a workbook: save it as CSV in UTF-8\. In Excel: File, Save As"):
        DesiredState.from_file(tmp_path / name)


@pytest.mark.parametrize("start", [b"PK\x03\x04\x14\x00\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00"])
def test_a_workbook_is_recognized_whatever_its_name(start: bytes) -> None:
    error = refusal(start)
    assert [str(problem) for problem in error.problems] == [
        "people.csv: this is a workbook, not text: save it as CSV in UTF-8"
    ]
    assert error.advice == (SAVE_AS,)


# --- what is written for Excel -------------------------------------------------------------------------------------


def for_excel(groups: dict[str, list[str]], column: str = "member") -> str:
    file = io.StringIO(newline="")
    write_csv(groups, file, "printer" if column == "printer" else "member", excel=True)
    return file.getvalue()


def test_for_excel_means_semicolons_crlf_and_a_byte_order_mark() -> None:
    assert for_excel({"A;B": ["+a@example.com"], "Büro": ["b@example.com"]}) == (
        '\ufeffgroup;member\r\n"A;B";\'+a@example.com\r\nBüro;b@example.com\r\n'
    )
    assert for_excel({"group": ["Printer", "printer"]}, "printer").splitlines()[1:] == [
        "group;Printer",
        '"group";"printer"',
    ]


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=30).filter(str.strip)
TRICKY = st.text(st.sampled_from("'=+-@;,\"\ufeff \u00e9a"), min_size=1, max_size=6).filter(str.strip)
GROUPS = st.dictionaries(NAMES | TRICKY, st.lists(NAMES | TRICKY, min_size=1, max_size=4), max_size=5)


@pytest.mark.slow
@given(GROUPS, st.sampled_from("\t;,"), st.booleans())
def test_what_is_written_for_excel_is_read_again(
    groups: dict[str, list[str]], delimiter: str, saved: bool
) -> None:
    """Also after a spreadsheet program has saved it, with another delimiter and more blank cells."""
    wanted = DesiredState.from_mapping({}, groups)
    text = for_excel(groups, "printer")
    if saved:
        rows = [
            [*row, ""]
            for row in csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=";", strict=True)
        ]
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([[""] * 3, *rows, [""] * 3])
        text = "\ufeff" + file.getvalue()
    assert parse(text).printers == wanted.printers
