"""`DesiredState.from_csv` with a row per member, its header, and `write_csv`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ezeep_async.provisioning import DesiredState, InvalidInput, write_csv
from ezeep_async.provisioning.csv_cells import protected


def parse(text: str | bytes) -> DesiredState:
    content = text.encode() if isinstance(text, str) else text
    return DesiredState.from_bytes(content, "csv", source="people.csv")


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "member,groups\na@example.com,Sales;Finance\nb@example.com,Finance\n",
        'Groups;MEMBER\r\n" Sales ; Finance ";a@example.com\r\nFinance;B@example.com\r\n',
        '\ufeffmember;groups\ra@example.com;"Sales;Finance"\rb@example.com;"Finance"',
    ],
)
def test_a_row_per_member_with_its_groups(text: str) -> None:
    """`;` separates the groups, whatever separates the columns."""
    state = parse(text)
    assert list(state.groups.items()) == [
        ("Sales", ("a@example.com",)),
        ("Finance", ("a@example.com", "b@example.com")),
    ]
    assert (state.rows, state.duplicates) == (3, 0)


def test_the_same_group_twice_in_a_cell_is_a_duplicate_7_10() -> None:
    state = parse("member,groups\na@example.com,Sales;Sales\nA@example.com,Sales\n")
    assert (state.groups, state.rows, state.duplicates) == ({"Sales": ("a@example.com",)}, 3, 2)


def test_a_member_in_no_group_adds_no_row() -> None:
    state = parse('member,groups\na@example.com,\nb@example.com," "\nc@example.com,Sales\n')
    assert (state.groups, state.rows) == ({"Sales": ("c@example.com",)}, 1)


def test_every_bad_row_per_member_is_reported_with_its_line() -> None:
    found = problems(
        "member,groups\n"
        "nomail,\n"  # 2: checked although it is in no group
        "a@example.com,Sales;;Finance\n"  # 3
        "a@example.com,Sales;\n"  # 4: what comes after the last one may have been a group
        ",Sales\n"  # 5
        f"nomail,{'S' * 256};Sa\x01les\n"  # 6: three
        "a@example.com\n"  # 7
        "a@example.com,Sales\n"
    )
    assert found == [
        "people.csv, line 2: the member 'nomail' is neither an e-mail address nor a user id",
        "people.csv, line 3: the group name is blank",
        "people.csv, line 4: the group name is blank",
        "people.csv, line 5: the member is blank",
        "people.csv, line 6: the member 'nomail' is neither an e-mail address nor a user id",
        "people.csv, line 6: the group name has 256 characters, at most 255 are allowed",
        "people.csv, line 6: the group name 'Sa\\x01les' has a control character",
        "people.csv, line 7: the header has 2 columns, and this row has 1 column",
    ]


def test_unquoted_groups_get_a_hint() -> None:
    """In a file separated by `;`, unquoted groups are separate columns."""
    (found,) = problems("member;groups\na@example.com;Sales;Finance\n")
    assert found == (
        "people.csv, line 2: the header has 2 columns, and this row has 3 columns: "
        'quote a cell that has several groups: "A;B"'
    )


@pytest.mark.parametrize(
    "header",
    [
        "group,member,Note, dept,note",
        "group;member;note",
        "group,groups,member",
        "member,Member,groups",
        "group,mail",
        "member,department",
    ],
)
def test_a_header_with_other_columns_is_repeated_in_the_problem(header: str) -> None:
    (found,) = problems(header + "\n")
    assert found == (
        "people.csv, line 1: the first line must be the header group,member or member,groups without other columns, "
        f"not '{header}'"
    )


def test_unknown_columns_and_invalid_rows_are_reported_together() -> None:
    found = problems("group,member,note\nSales,nomail,x\n,a@example.com,y\nSales,a@example.com,z\n")
    assert [line.partition(": ")[0] for line in found] == [f"people.csv, line {n}" for n in (1, 2, 3)]


def test_a_header_of_any_length_makes_a_short_message() -> None:
    (found,) = problems("group,member," + ",".join(f"{n:0100}" for n in range(1000)))
    assert len(found) < 300


# -- what spreadsheets write --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "group,member\n,\nSales,a@example.com\n,\n , \n\t,\n",
        ",\n,,\ngroup,member\nSales,a@example.com\n",
        '"",""\ngroup,member\n"",""\nSales,a@example.com\n" ","\u00a0"\n',
        "group;member\r\n;\r\nSales;a@example.com\r\n;;;;\r\n",
        "group,member,,\nSales,a@example.com,,\n,,,\n",
        "group,member,,\nSales,a@example.com\n,\n",
        "group,member\nSales,a@example.com,, ,\n",
        ",group,,member\n,Sales,,a@example.com\n,,,\n",
        "member,groups,\na@example.com,Sales,\n,,\n",
        "member;groups;\na@example.com;Sales;\n;;\n",
        "group,member\n,\r,\r\nSales,a@example.com",
    ],
)
def test_blank_rows_and_blank_columns_without_a_name_are_skipped(text: str) -> None:
    state = parse(text)
    assert (state.groups, state.rows) == ({"Sales": ("a@example.com",)}, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("group,member\nSales,\n", "line 2: the member is blank"),
        ("group,member\n,a@example.com\n", "line 2: the group name is blank"),
        ("group,member,,\n,a@example.com,,\n", "line 2: the group name is blank"),
        ("group,member\nSales\n", "line 2: the header has 2 columns, and this row has 1 column"),
        (
            "group,member,\nSales,a@example.com,x\n",
            "line 2: column 3 has no name in the header, but this row has 'x' in it",
        ),
        (
            "group,,member\nSales,x,a@example.com\n",
            "line 2: column 2 has no name in the header, but this row has 'x' in it",
        ),
        (
            "group,member\nSales,a@example.com,,x,,\n",
            "line 2: the header has 2 columns, and this row has 4 columns",
        ),
        (
            "member;groups\na@example.com;Sales;\n",
            "this row has 3 columns: quote a cell that has several groups",
        ),
        ("group,member,\nSales\n", "line 2: the header has 3 columns, and this row has 1 column"),
    ],
)
def test_partly_filled_rows_are_problems(text: str, expected: str) -> None:
    (found,) = problems(text)
    assert expected in found


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("cell", ["Sales{}East", "Sales{}", "{}", "A{}{}B", "a b{}c"])
def test_a_line_break_inside_a_cell_is_named(cell: str, line_end: str) -> None:
    """One problem, at the line where the row begins; the rows after it are read."""
    rows = ["group,member", f'"{cell.format(line_end, line_end)}",a@example.com', "Sales,nomail"]
    found = problems(line_end.join(rows))
    number = 3 + cell.count("{}")
    broken = "this row has a line break inside a quoted cell: names and addresses have none, so remove it"
    assert found == [
        f"people.csv, line 2: {broken}",
        f"people.csv, line {number}: the member 'nomail' is neither an e-mail address nor a user id",
    ]


def test_a_line_break_in_the_header_is_named() -> None:
    (found,) = problems('"group\n",member\nSales,a@example.com\n')
    assert "line 1" in found
    assert "a line break inside a quoted cell" in found


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('Sales,a@example.com\n"Sal', "line 3: a quote is not closed: is the file cut off?"),
        ('Sales,a@example.com\n"', "line 3: a quote is not closed: is the file cut off?"),
        ('"Sales,a@example.com\n\n,\n', "line 2: a quote is not closed: is the file cut off?"),
        ('"Sales,a@example.com\nSales,b@example.com\n', "line 2: a quote is not closed"),
        ('"Sales,a@example.com\n"Sales",b@example.com\n', "line 2: a quote is not closed"),
    ],
)
def test_a_quote_that_is_not_closed(rows: str, expected: str) -> None:
    """The hint about truncation appears only at the end of the file. Later lines are read."""
    assert problems("group,member\n" + rows) == [f"people.csv, {expected}"]


@pytest.mark.parametrize(
    "header", ["group,member", "\ufeffgroup,member", '\ufeff"Group", MEMBER', "member,group"]
)
@pytest.mark.parametrize("end", ["", "\r\n\r\n"])
def test_files_that_were_joined_repeat_the_header(header: str, end: str) -> None:
    """Each file may begin with a BOM. A header with other columns, or in another order, is a problem."""
    text = f"\ufeffgroup,member\r\nSales,a@example.com\r\n{header}\r\nSales,b@example.com{end}"
    if header == "member,group":
        assert problems(text)[0].startswith("people.csv, line 3: the member 'group' is neither")
    else:
        assert (parse(text).groups, parse(text).rows) == ({"Sales": ("a@example.com", "b@example.com")}, 2)


@pytest.mark.parametrize(
    "header", ["Sales,a@example.comgroup,member", '\ufeff"group"x,member', "\ufeffgroup"]
)
def test_files_that_were_joined_badly_are_refused(header: str) -> None:
    (found,) = problems(f"group,member\n{header}\nSales,b@example.com\n")
    assert found.startswith("people.csv, line 2: ")


@pytest.mark.parametrize("encoding", ["cp1252", "mac-roman", "cp850"])
def test_another_encoding_has_the_advice_that_utf16_has(encoding: str) -> None:
    (found,) = problems("group,member\nBüro,a@example.com\n".encode(encoding))
    assert found == "people.csv, line 2: byte 2 is not UTF-8: save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(encoding: str) -> None:
    (found,) = problems("group,member\nSales,a@example.com\n".encode(encoding))
    assert found == "people.csv: this is UTF-16: save it as UTF-8"


@pytest.mark.parametrize(
    "member",
    [
        "{54e3a324-cc89-4722-8338-c285d26bef15}",
        "urn:uuid:54e3a324-cc89-4722-8338-c285d26bef15",
        "54e3a324cc8947228338c285d26bef15",
        "54e3a324-cc89-4722-8338-c285d26bef1",
    ],
)
def test_a_user_id_has_one_form(member: str) -> None:
    assert len(problems(f"group,member\nSales,{member}\n")) == 1


# -- write_csv ----------------------------------------------------------------------------------------------------


def written(groups: dict[str, list[str]]) -> str:
    file = io.StringIO(newline="")
    write_csv(groups, file)
    return file.getvalue()


def test_write_csv_round_trips() -> None:
    groups = {"Sales, North": ["b@example.com", "a@example.com"], 'The "A" team': ["a@example.com"]}
    text = written(groups)
    assert text == (
        "group,member\n"
        '"Sales, North",b@example.com\n'
        '"Sales, North",a@example.com\n'
        '"The ""A"" team",a@example.com\n'
    )
    assert {name: list(members) for name, members in parse(text).groups.items()} == groups


def test_names_like_formulas_round_trip() -> None:
    names = ["=1+1", "+49", "-", "@all", "'=1", '=HYPERLINK("http://example.com","x")']
    assert list(parse(written({name: ["+a@example.com"] for name in names})).groups) == names


def test_a_group_with_no_members_is_left_out() -> None:
    assert written({"Sales": []}) == "group,member\n"


def test_write_csv_writes_nothing_if_a_name_is_invalid() -> None:
    file = io.StringIO()
    with pytest.raises(InvalidInput) as caught:
        write_csv({"Sales": ["a@example.com"], "Two\nlines": ["a@example.com"], "": ["nomail"]}, file)
    assert caught.value.count == 3
    assert file.getvalue() == ""


def test_write_csv_to_a_file(tmp_path: Path) -> None:
    """In both documented encodings."""
    path = tmp_path / "export.csv"
    for encoding in ("utf-8", "utf-8-sig"):
        with path.open("w", newline="", encoding=encoding) as file:
            write_csv({"Größe": ["zoë@example.com"]}, file)
        assert DesiredState.from_csv(path).groups == {"Größe": ("zoë@example.com",)}


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60).filter(str.strip)
MEMBERS = st.emails(domains=st.just("example.com")) | st.uuids().map(str)
GROUPS = st.dictionaries(NAMES, st.lists(MEMBERS.filter(lambda text: not set(text) & set(',;"<>'))))


@pytest.mark.slow
@given(GROUPS)
@example(
    {
        "\ufeff": ["a@example.com"],
        "\u2028x": ["a@example.com"],
        '"': ["a@example.com"],
        ";": ["b@example.com"],
    }
)
def test_write_csv_round_trips_any_names(groups: dict[str, list[str]]) -> None:
    wanted = DesiredState.from_mapping(groups).groups
    read = parse(written(groups)).groups
    assert read == {name: members for name, members in wanted.items() if members}
    assert parse(written({name: list(members) for name, members in read.items()})).groups == read


@pytest.mark.slow
@given(
    st.lists(st.tuples(MEMBERS, st.lists(NAMES.filter(lambda name: ";" not in name))), min_size=1),
    st.sampled_from(",;"),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_a_row_per_member_in_every_dialect(
    rows: list[tuple[str, list[str]]], delimiter: str, quoting: int, line_end: str, bom: bool
) -> None:
    """A file of the standard library means the same as the mapping."""
    rows = [(member, groups) for member, groups in rows if not set(member) & set(',;"<>')]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerow(("member", "groups"))
    writer.writerows((protected(member), protected(";".join(groups))) for member, groups in rows)
    wanted: dict[str, list[str]] = {}
    for member, groups in rows:
        for group in groups:
            wanted.setdefault(group, []).append(member)
    read = parse(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    assert read.rows == sum(len(groups) for _, groups in rows)
    assert read == DesiredState.from_mapping(wanted)


@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for prefix in (
        b"member,groups\n",
        b"\xef\xbb\xbfGROUPS;member\r\n",
        b"member,groups\na@example.com,Sales;",
    ):
        try:
            state = parse(prefix + content)
        except InvalidInput as error:
            assert error.count == len(error.problems) > 0
        else:
            assert state.rows == state.duplicates + sum(len(members) for members in state.groups.values())
