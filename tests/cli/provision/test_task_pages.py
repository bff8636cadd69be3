"""The commands, files and outputs of the pages on provisioning in docs/how-to, in the order of each page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.command_line import Ran, environment, ezeep
from helpers.documents import marked

from ezeep_async.cli.provision.log import show_log


PROVISIONING = "docs/how-to/provisioning.md"
SPREADSHEETS = "docs/how-to/spreadsheets.md"
APPROVAL = "docs/how-to/approve-a-plan.md"
UNDO = "docs/how-to/undo.md"
CHANGES = 2
"""The exit code of a plan with changes."""


async def run(block: str, env: dict[str, str]) -> list[Ran]:
    """The outcomes of the command lines of a block."""
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [await ezeep(*words[1:], env=env) for words in lines if words]


def lines_of(output: str) -> list[str]:
    """The lines of a table, with placeholders for times and ids, and without the blanks at their ends."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", output)
    text = re.sub(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", "ID", text)
    return [line.rstrip() for line in textwrap.dedent(text).splitlines() if line.strip()]


async def test_plan_apply_and_check(login: dict[str, str], tmp_path: Path) -> None:
    """The first steps, with the outputs that the page shows."""
    (tmp_path / "people.csv").write_text(marked(PROVISIONING, "people"))
    (planned,) = await run(marked(PROVISIONING, "plan"), login)
    assert (planned.code, planned.out) == (CHANGES, marked(PROVISIONING, "planned"))
    (applied,) = await run(marked(PROVISIONING, "apply"), login)
    assert applied.code == 0
    assert (tmp_path / "report.csv").read_text().count("updated") == 3
    (checked,) = await run(marked(PROVISIONING, "check"), login)
    assert (checked.code, checked.out) == (0, marked(PROVISIONING, "checked"))
    (tmp_path / "people.csv").write_text("group,member\nSalse,mila.abel.2@example.com\n")
    (hinted,) = await run(marked(PROVISIONING, "plan"), login)
    assert hinted.out.startswith(marked(PROVISIONING, "hints"))


async def test_members_and_printers_in_one_document(login: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(marked(PROVISIONING, "groups"))
    planned = await ezeep("provision", "plan", "groups.yaml", env=login)
    assert planned.out.endswith(
        "create 2 groups, change 2 users, add 2 memberships, change 3 printers, add 3 printer assignments\n"
    )


async def test_a_csv_of_ones_own(
    login: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From other columns to an organization that is as the file says."""
    (tmp_path / "directory.csv").write_text(marked(SPREADSHEETS, "directory"))
    program = compile(marked(SPREADSHEETS, "convert"), "convert.py", "exec")
    await asyncio.to_thread(exec, program, {})
    assert capsys.readouterr().out == marked(SPREADSHEETS, "converted")
    (planned,) = await run(marked(SPREADSHEETS, "plan"), login)
    assert (planned.code, planned.out) == (CHANGES, marked(SPREADSHEETS, "planned"))
    (applied,) = await run(marked(SPREADSHEETS, "apply"), login)
    assert applied.code == 0
    (checked,) = await run(marked(SPREADSHEETS, "check"), login)
    assert (checked.code, checked.out) == (0, marked(SPREADSHEETS, "checked"))
    (exact,) = await run(marked(SPREADSHEETS, "exact"), login)
    assert "  - Sales" in exact.out


async def test_the_conversion_names_the_lines_of_the_spreadsheet(tmp_path: Path) -> None:
    """Addresses are corrected, and groups are left out, before."""
    (tmp_path / "directory.csv").write_text(
        "Name;E-Mail;Department;Offices\n"
        "Mila Abel;mila.able.2@example.com;IT;Former staff, Berlin\n"
        "Mila Abel;mila abel;Sales\n"
        "Dana Okafor;;;Lyon\n"
    )
    program = compile(marked(SPREADSHEETS, "convert"), "convert.py", "exec")
    with pytest.raises(SystemExit) as refused:
        await asyncio.to_thread(exec, program, {})
    assert f"{refused.value}\n" == marked(SPREADSHEETS, "converted-with-problems")
    assert not (tmp_path / "people.csv").exists()
    skipping = marked(SPREADSHEETS, "convert").replace(
        '["E-Mail"].strip()\n', '["E-Mail"].strip()\n            if not member or " " in member: continue\n'
    )
    await asyncio.to_thread(exec, compile(skipping, "convert.py", "exec"), {})
    written = (tmp_path / "people.csv").read_text()
    assert written == "group,member\nSupport,mila.abel.2@example.com\nBerlin,mila.abel.2@example.com\n"


async def test_the_problems_of_a_file(login: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(
        "group;member;Note\nSales;mila.abel.2@example.com;x\nSales;mila abel;y\n;mila.abel.2@example.com;\n"
    )
    ran = await ezeep("provision", "plan", "people.csv", env=login)
    assert ran.err == marked(SPREADSHEETS, "problems")


async def test_a_plan_is_approved(login: dict[str, str], tmp_path: Path) -> None:
    """Saved, shown again, and applied after a question."""
    (tmp_path / "people.csv").write_text(marked(PROVISIONING, "people"))
    saved, shown, asked = await run(marked(APPROVAL, "save"), login)
    assert (saved.code, shown.code, asked.code) == (CHANGES, CHANGES, 1)
    assert saved.out == shown.out == marked(APPROVAL, "planned")
    assert "Pass --yes" in asked.err
    again, compared = marked(APPROVAL, "compare").splitlines()
    await run(again, login)
    _, first, second = compared.split()
    assert (tmp_path / first).read_bytes() == (tmp_path / second).read_bytes()


async def test_undo_log_and_resume(
    login: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "people.csv").write_text(marked(PROVISIONING, "people"))
    applied, shown, undone = await run(marked(UNDO, "undo"), login)
    assert (applied.code, shown.code, undone.code) == (0, CHANGES, 0)
    to_undo = undone.out.splitlines()[-1]
    assert re.fullmatch(r"To undo it: ezeep provision undo audit\.jsonl --run-id \S+", to_undo)
    _, of_one, of_a_folder = await run(marked(UNDO, "log"), login)
    assert "mode: add" in of_one.out
    logged = [each for each in json.loads(of_a_folder.out) if "mode" in each]
    assert [(each["mode"], each["undone"]) for each in logged] == [("undo", None), ("add", "undone")]
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdout, "isatty", lambda: True)
        terminal.setenv("TERM", "dumb")
        terminal.setenv("COLUMNS", "100")
        await show_log(Path())
        assert lines_of(capsys.readouterr().out) == lines_of(marked(UNDO, "listed"))
        await show_log(Path("audit.jsonl"))
        older = capsys.readouterr().out.split("  run  ")[2]
        assert lines_of(f"  run  {older}") == lines_of(marked(UNDO, "shown"))
    await asyncio.to_thread(exec, compile(marked(UNDO, "history"), "history.py", "exec"), {})
    newest, oldest = capsys.readouterr().out.splitlines()
    assert (" undo " in newest, " add " in oldest) == (True, True)
    assert (newest.endswith("not undone"), oldest.endswith("finished undone")) == (True, True)
    (resumed,) = await run(marked(UNDO, "resume"), login)
    assert resumed.code == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="scripts of a shell")
async def test_the_two_jobs_of_ci(login: dict[str, str], tmp_path: Path) -> None:
    """The first one ends with 0 for both outcomes, and with 1 for an error; the second one applies."""
    command = tmp_path / "bin" / "ezeep"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ezeep_async "$@"\n')
    command.chmod(0o755)
    env = environment({**login, "PATH": f"{command.parent}:{os.environ['PATH']}"})

    async def job(mark: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", marked(APPROVAL, mark), env=env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode().rpartition("\n")[0].rpartition("\n")[2]

    assert (await job("ci-plan"))[0] == 1
    (tmp_path / "people.csv").write_text("group,member\nNight shift,mila.abel.2@example.com\n")
    assert await job("ci-plan") == (0, "waiting for approval")
    assert (await job("ci-apply"))[0] == 0
    assert await job("ci-plan") == (0, "nothing to do")
