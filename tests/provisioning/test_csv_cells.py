"""CSV for spreadsheets: no cell is a formula, and names round-trip."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ezeep_async import EzeepError
from ezeep_async.provisioning import (
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    InvitePerson,
    Report,
    Row,
    TargetGroup,
    write_csv,
)
from ezeep_async.provisioning.csv_cells import csv_line, protected, unprotected


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\tx",
    " =1",
    "\u00a0=1",
    "\ufeff=1",
    "\u200b@x",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "\ufe66x",
    "'=1",
    "''\uff1d1",
    '=HYPERLINK("http://x";"y")',
]
TEXTS = ["Sales", "a@example.com", "'quoted'", "R&D = 1", "o'neil", "3-2", "'", "", "\u2013 dash", "\u3164"]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_a_formula_gets_a_single_quote_in_front(text: str) -> None:
    assert protected(text) == "'" + text
    assert unprotected("'" + text) == text


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_other_texts_are_written_as_they_are(text: str) -> None:
    assert protected(text) == unprotected(text) == text


@given(st.text(st.sampled_from("'=+-@\uff1d \t\ra;,\"\u200b")))
def test_every_text_survives(text: str) -> None:
    assert unprotected(protected(text)) == text
    (row,) = (
        csv.reader([csv_line([text, "x"], "\n")], strict=True)
        if "\r" not in text
        else [[protected(text), "x"]]
    )
    assert row == [protected(text), "x"]


NAMES = st.text(
    st.sampled_from("'=+-@\uff1d\uff0d\uff20;,\"a\u00e9 \u00a0\u200b\ufeff"), min_size=1, max_size=8
).filter(lambda name: name.strip())
MEMBERS = st.text(st.sampled_from("'=+-a.\uff1d"), min_size=1, max_size=6).map(
    lambda name: name + "@example.com"
)


@given(st.dictionaries(NAMES, st.lists(MEMBERS, min_size=1, max_size=3), min_size=1, max_size=4))
@example({"=1+1": ["+tag@example.com"], "'=1+1": ["'+tag@example.com"], "''@x": ["-@example.com"]})
def test_groups_that_are_written_are_read_with_the_same_names(groups: dict[str, list[str]]) -> None:
    file = io.StringIO(newline="")
    write_csv(groups, file)
    written = file.getvalue()
    read = DesiredState.from_bytes(written.encode(), "csv", source="groups.csv")
    assert read.groups == DesiredState.from_mapping(groups).groups
    for row in csv.reader(io.StringIO(written), strict=True):
        for cell in row:
            assert not cell.lstrip(" \u00a0\u200b\ufeff").startswith(("=", "+", "-", "@", "\uff1d", "\uff0d"))


def test_files_from_elsewhere_are_read_with_and_without_the_quote() -> None:
    assert DesiredState.from_bytes(b"group,member\nA,'@example.com\n", "csv", source="x").groups == {
        "A": ("'@example.com",)
    }
    content = b"member;groups\n'+a@example.com;\"'=A;B\"\n+a@example.com;'C'\nb@example.com; '=A \n"
    read = DesiredState.from_bytes(content, "csv", source="people.csv")
    assert read.groups == {
        "=A": ("+a@example.com", "b@example.com"),
        "B": ("+a@example.com",),
        "'C'": ("+a@example.com",),
    }


def test_a_report_has_no_formulas() -> None:
    rows = (
        Row(change=InvitePerson("=a@example.com"), outcome="invited"),
        Row(
            change=ChangeMemberships(UUID(int=1), "+a@example.com", (TargetGroup("=A;B", UUID(int=2)),)),
            outcome="failed",
            error=EzeepError('@SUM("x")\nsecond line'),
            request_id="-1",
            seconds=0.5,
        ),
        Row(change=CreateGroup("=A", UUID(int=3)), outcome="created", attempts=1, group_id=UUID(int=2)),
    )
    file = io.StringIO(newline="")
    Report(rows).write_csv(file)
    header, *lines = csv.reader(io.StringIO(file.getvalue(), newline=""), strict=True)
    assert header == [
        "change",
        "outcome",
        "user_id",
        "group_id",
        "attempts",
        "request_id",
        "seconds",
        "error",
    ]
    assert lines[0][:2] == ["invite =a@example.com", "invited"]
    assert lines[1] == [
        "'+a@example.com: add to '=A;B'",
        "failed",
        str(UUID(int=1)),
        "",
        "0",
        "'-1",
        "0.5",
        '\'@SUM("x")\nsecond line',
    ]
    assert lines[2][:5] == ["create group '=A'", "created", "", str(UUID(int=2)), "1"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line)


@pytest.mark.may_block
def test_a_report_is_written_to_a_path_as_to_an_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8-3: a new file is readable by its owner only. It contains addresses."""
    monkeypatch.chdir(tmp_path)
    row = Row(change=InvitePerson("jos\u00e9@example.com"), outcome="invited")
    text, lines = io.StringIO(newline=""), io.BytesIO()
    Report((row,)).write_csv(text)
    Report((row,)).write_jsonl(lines)
    for _ in range(2):  # an existing file is replaced
        Report((row,)).write_csv("report.csv")
        Report((row,)).write_jsonl(tmp_path / "report.jsonl")
    assert Path("report.csv").read_bytes() == text.getvalue().encode()
    assert Path("report.jsonl").read_bytes() == lines.getvalue()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
