"""`ezeep provision` and `ezeep export` with printers, as processes against a sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.organizations import people, write, writes

from ezeep_async.provisioning import Plan
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.printers import SandboxPrinter


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # several processes one after the other


def groups_of(sandbox: Sandbox, printer: SandboxPrinter) -> set[str]:
    return {sandbox.organization.groups[group_id].name for group_id in printer.groups}


@pytest.fixture
def laser(sandbox: Sandbox) -> SandboxPrinter:
    """A printer of two groups."""
    ids = [sandbox.organization.add_group(name).id for name in ("A", "B")]
    return sandbox.printing.add_printer("Laser", groups=ids)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Laser stays in A, leaves B in mode exact, and gets a new group."""
    path = tmp_path / "printers.csv"
    path.write_text("group,printer\nA,Laser\nB,Front desk laser\nNew,Laser\n", "utf-8")
    return path


async def test_plan_apply_and_undo(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, laser: SandboxPrinter, table: Path
) -> None:
    """Printers alone: the file is the input."""
    before = list(laser.groups)
    ran = await ezeep("provision", "plan", str(table), "--mode", "exact", env=login)
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.splitlines() == [
        "+ group New",
        "~ printer Front desk laser",
        "  + B",
        "~ printer Laser",
        "  + New",
        "  - B",
        "create 1 group, change 2 printers, add 2 printer assignments, remove 1 printer assignment",
    ]
    assert writes(sandbox) == 0
    arguments = ("--mode", "exact", "--yes", "--audit-log", "log.jsonl", "--json")
    ran = await ezeep("provision", "apply", str(table), *arguments, env=login, folder=tmp_path)
    assert ran.code == 0, ran
    result = json.loads(ran.out)
    assert (result["assignments_added"], result["assignments_removed"], result["ok"]) == (2, 1, True)
    assert groups_of(sandbox, laser) == {"A", "New"}
    again = await ezeep("provision", "plan", str(table), "--mode", "exact", env=login)
    assert (again.code, again.out) == (0, "nothing to change: 3 printer assignments as they should be\n")
    undo = ("provision", "undo", "log.jsonl", "--delete-groups", "--yes")
    ran = await ezeep(*undo, env=login, folder=tmp_path)
    assert ran.code == 0, ran
    assert "printers changed: 2" in ran.out
    assert "To undo it, without the deleted groups: ezeep provision undo " in ran.out
    assert sorted(laser.groups) == sorted(before)


async def test_members_and_printers_in_two_files(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, laser: SandboxPrinter, table: Path
) -> None:
    write(tmp_path / "people.csv", {"New": people(sandbox, 2)})
    files = ("people.csv", "--printers", "printers.csv")
    ran = await ezeep("provision", "apply", *files, "--yes", env=login, folder=tmp_path)
    assert ran.code == 0, ran
    assert "memberships added: 2" in ran.out
    assert "printer assignments added: 2" in ran.out
    assert groups_of(sandbox, laser) == {"A", "B", "New"}
    ran = await ezeep("provision", "plan", *files, env=login, folder=tmp_path)
    assert ran.out == "nothing to change: 2 memberships and 3 printer assignments as they should be\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["people.csv", "--printers", "people.csv"], "people.csv is a file with members"),
        (["people.csv", "--printers", "plan.json"], "plan.json is a saved plan"),
        (
            ["plan.json", "--printers", "printers.csv"],
            "plan.json is a saved plan: --printers cannot change it",
        ),
        (["people.csv", "--printers", "empty.csv", "--mode", "exact"], "empty.csv contains no groups"),
        (["people.csv", "--printers", "bad.csv"], "bad.csv, line 2: the printer is blank"),
        (["people.csv", "--printers", "absent.csv"], "absent.csv: No such file or directory"),
        (["strange.csv"], "no printer has the name 'Lasr' (for 'A'); similar: 'Laser'"),
        (["people.csv", "--printers", "printers.csv", "--html", "printers.csv"], "are one file"),
        (["people.csv", "--out", "a.txt", "--html", "a.txt"], "are one file"),
    ],
)
async def test_what_cannot_be_planned_is_one_sentence_and_1(
    login: dict[str, str],
    sandbox: Sandbox,
    tmp_path: Path,
    laser: SandboxPrinter,
    table: Path,
    arguments: list[str],
    says: str,
) -> None:
    write(tmp_path / "people.csv", {"New": people(sandbox, 2)})
    (tmp_path / "plan.json").write_text(Plan().to_json(), "utf-8")
    (tmp_path / "empty.csv").write_text("group,printer\n", "utf-8")
    (tmp_path / "bad.csv").write_text("group,printer\nA,\n", "utf-8")
    (tmp_path / "strange.csv").write_text("group,printer\nA,Lasr\n", "utf-8")
    before = table.read_bytes()
    ran = await ezeep("provision", "plan", *arguments, env=login, folder=tmp_path)
    assert says in ran.refused()
    assert table.read_bytes() == before


async def test_a_limit_on_printers_is_3(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, laser: SandboxPrinter
) -> None:
    """7-6: the message has the option that would allow it."""
    for number in range(7):
        sandbox.printing.add_printer(f"P{number}", groups=laser.groups[:1])
    path = tmp_path / "printers.json"
    path.write_text(json.dumps({"groups": {"A": {"printers": ["Laser"]}}}), "utf-8")
    ran = await ezeep("provision", "apply", str(path), "--mode", "exact", "--yes", env=login)
    assert ran.code == 3
    assert ran.err == (
        "ezeep: nothing was changed: the plan removes 7 assignments of printers, and the limit is 5: 7 from 'A'. If this "
        "is intended, plan with --max-removals 7\n"
    )
    assert writes(sandbox) == 0
    page = tmp_path / "plan.html"
    ran = await ezeep("provision", "plan", str(path), "--mode", "exact", "--html", str(page), env=login)
    assert ran.code == 2
    assert "apply refuses this plan" in page.read_text("utf-8")
    assert page.stat().st_mode & 0o777 == 0o600


async def test_a_saved_plan_is_written_as_a_page_too(
    login: dict[str, str], tmp_path: Path, laser: SandboxPrinter, table: Path
) -> None:
    await ezeep("provision", "plan", str(table), "--out", "plan.json", env=login, folder=tmp_path)
    ran = await ezeep("provision", "plan", "plan.json", "--html", "plan.html", env=login, folder=tmp_path)
    assert ran.code == 2
    plan = Plan.from_json((tmp_path / "plan.json").read_text("utf-8"))
    assert (tmp_path / "plan.html").read_text("utf-8") == plan.to_html()


@pytest.mark.parametrize("mode", ["add", "exact"])
async def test_an_export_of_both_files_is_an_empty_plan(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, laser: SandboxPrinter, mode: str
) -> None:
    """Names that are not unique, or look like ids, are written as ids. Groups of other directories have printers."""
    organization = sandbox.organization
    azure = next(group for group in organization.groups.values() if group.origin["provider"] == "Azure")
    for name in ("Twin", "Twin", "=1+1", str(azure.id), "  "):
        sandbox.printing.add_printer(name, groups=[azure.id, laser.groups[0]])
    ran = await ezeep(
        "export", "--out", "people.csv", "--printers", "printers.csv", env=login, folder=tmp_path
    )
    assert (ran.code, ran.out) == (0, "")
    text = (tmp_path / "printers.csv").read_text("utf-8")
    assert text.startswith("group,printer\nA,")
    assert "\nA,'=1+1\n" in text
    assert text.count(f"\n{azure.name},") == 5
    assert "\nB,Laser\n" in text
    assert (tmp_path / "people.csv").read_text("utf-8").startswith("group,member\n")
    files = ("people.csv", "--printers", "printers.csv", "--mode", mode)
    ran = await ezeep("provision", "plan", *files, env=login, folder=tmp_path)
    assert (ran.code, ran.err) == (0, ""), ran
    alone = await ezeep("provision", "plan", "printers.csv", "--mode", mode, env=login, folder=tmp_path)
    assert alone.out == "nothing to change: 12 printer assignments as they should be\n"
    refused = await ezeep("export", "--out", "x.csv", "--printers", "x.csv", env=login, folder=tmp_path)
    assert "are one file" in refused.refused()
