"""`export --excel`, and `plan` with files that a spreadsheet program has saved."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from helpers.command_line import ezeep

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.timeout(120), pytest.mark.may_block]


def as_saved(content: bytes, encoding: str, delimiter: str) -> bytes:
    """What a spreadsheet program saves: another column, and a blank row."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=";", strict=True))
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow([*rows[0], "Notes", ""])
    writer.writerows(
        [*row, "seen\nby Ann" if number % 7 == 0 else "", ""] for number, row in enumerate(rows[1:])
    )
    writer.writerow([""] * 4)
    return file.getvalue().encode(encoding)


@pytest.mark.slow
async def test_what_is_exported_for_excel_changes_nothing(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """Members and printers; as written, and as a spreadsheet program saves them."""
    organization = sandbox.organization
    for name in ("=Formeln", "Büro; Süd", '"Zitat", 2. Stock', "@alle"):
        group = organization.add_group(name)
        organization.listed_users()[0].groups.add(group.id)
    ids = [group.id for group in organization.groups.values()][-4:]
    sandbox.printing.add_printer("+Laser; Büro", groups=ids)
    people, printers = tmp_path / "people.csv", tmp_path / "printers.csv"
    ran = await ezeep("export", "--excel", "--out", str(people), "--printers", str(printers), env=login)
    assert ran.code == 0, ran
    for path, column in ((people, b"member"), (printers, b"printer")):
        assert path.read_bytes().startswith(b"\xef\xbb\xbfgroup;" + column + b"\r\n")
    plan = ("provision", "plan", str(people), "--printers", str(printers), "--mode", "exact")
    assert (await ezeep(*plan, env=login)).code == 0
    for encoding, delimiter in (("utf-8-sig", ";"), ("cp1252", ";"), ("utf-16", "\t")):
        for path in (people, printers):
            path.with_suffix(".saved.csv").write_bytes(as_saved(path.read_bytes(), encoding, delimiter))
        arguments = [each.replace(".csv", ".saved.csv") for each in plan]
        ran = await ezeep(*arguments, "--ignore-columns", "notes", "--encoding", encoding, env=login)
        assert (ran.code, ran.err) == (0, ""), (encoding, ran)
        refused = await ezeep(*arguments, "--encoding", encoding, env=login)
        assert refused.code == 1
        assert "--ignore-columns 'notes'" in refused.err


async def test_standard_output_is_for_excel_too(login: dict[str, str]) -> None:
    ran = await ezeep("export", "--excel", env=login)
    assert ran.code == 0
    assert ran.out.startswith("\ufeffgroup;member")


async def test_each_problem_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(
        "dept;group;member\nIT;Sales;nomail\nIT;;a@example.com\nIT;Sales;a@example.com;x\n", "utf-8"
    )
    ran = await ezeep(
        "provision", "plan", "people.csv", "--sandbox", "--ignore-columns", "Dept", folder=tmp_path
    )
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "ezeep: the input has 3 problems:",
        "  people.csv, line 2: the member 'nomail' is neither an e-mail address nor a user id (column C)",
        "  people.csv, line 3: the group name is blank (column B)",
        "  people.csv, line 4: the header has 3 columns, and this row has 4 columns",
    ]


async def test_what_to_do_about_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes("group;member\nBüro;a@example.com\n".encode("cp1252"))
    ran = await ezeep("provision", "plan", "people.csv", "--sandbox", folder=tmp_path)
    assert ran.code == 1
    first, advice = ran.err.splitlines()
    assert first == "ezeep: people.csv, line 2: byte 2 is not UTF-8: save it as UTF-8"
    assert "CSV UTF-8" in advice
    assert "--encoding cp1252" in advice


async def test_a_header_without_the_columns_names_them(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("Name;E-Mail;Department;Offices;Phone;Title;Cost centre\n", "utf-8")
    ran = await ezeep("provision", "plan", "people.csv", "--sandbox", folder=tmp_path)
    assert ran.code == 1
    _, advice = ran.err.splitlines()
    assert advice == (
        "  The header has no column group or groups and no column member: rename the columns, and skip the others with "
        "--ignore-columns (in Python: ignore_columns)"
    )


async def test_of_many_problems_the_first_are_shown_and_the_advice(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(("group;member\n" + "Büro;a@example.com\n" * 263).encode("cp1252"))
    ran = await ezeep("provision", "plan", "people.csv", "--sandbox", folder=tmp_path)
    lines = ran.err.splitlines()
    assert lines[0] == "ezeep: the input has 263 problems:"
    assert lines[-2] == "  and 243 more problems"
    assert "--encoding cp1252" in lines[-1]
    assert len(lines) == 23


async def test_a_workbook_gets_a_sentence(tmp_path: Path) -> None:
    for name in ("people.xlsx", "people.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04\x14\x00\x06\x00")
        ran = await ezeep("provision", "plan", name, "--sandbox", folder=tmp_path)
        assert ran.code == 1
        assert "this is a workbook" in ran.err or f"{name} is a workbook" in ran.err
        assert "CSV UTF-8" in ran.err


async def test_a_saved_plan_takes_no_option_of_reading(few: Path, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    assert (await ezeep("provision", "plan", str(few), "--sandbox", "--out", plan)).code == 2
    ran = await ezeep("provision", "plan", plan, "--sandbox", "--encoding", "cp1252", "--ignore-columns", "x")
    assert ran.refused().endswith(
        "is a saved plan: --ignore-columns, --encoding cannot change it. Plan again"
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--ignore-columns", '"x'), "--ignore-columns takes names between commas, not '\"x'"),
        (
            ("--encoding", "zip"),
            "encoding must be an encoding that Python has, such as 'utf-8' or 'cp1252', not 'zip'",
        ),
    ],
)
async def test_options_that_cannot_be_used(few: Path, option: tuple[str, str], says: str) -> None:
    ran = await ezeep("provision", "plan", str(few), "--sandbox", *option)
    assert ran.refused() == says
