"""`ezeep provision --report` and `--out`: no file that is needed is overwritten, and the outcome is reported anyway."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, environment, ezeep, started
from helpers.organizations import PATCH, memberships, people, write

from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.timeout(120)  # several processes one after the other

FULL = Path("/dev/full")
needs_a_full_device = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def in_new(sandbox: Sandbox) -> int:
    return sum("New" in groups for groups in memberships(sandbox).values())


# --- two names of one file -----------------------------------------------------------------------------------------


async def test_7_15_the_report_does_not_overwrite_an_audit_log(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path
) -> None:
    """Neither that of its own run, by another path or link, nor the one that is undone."""
    apply = ("provision", "apply", str(few), "--yes")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "x.jsonl")
    for other in ("x.jsonl", "./x.jsonl", "link.jsonl"):
        ran = await ezeep(*apply, "--report", other, "--audit-log", "x.jsonl", env=login, folder=tmp_path)
        assert ran.refused() == f"--report and --audit-log are one file: {Path(other)}"
    assert not (tmp_path / "x.jsonl").exists()
    assert sandbox.requests == []
    ran = await ezeep(*apply, "--report", "r.jsonl", "--audit-log", "x.jsonl", env=login, folder=tmp_path)
    assert (ran.code, in_new(sandbox)) == (0, 3)
    before = (tmp_path / "x.jsonl").read_bytes()
    undo = ("provision", "undo", "x.jsonl", "--yes", "--report")
    ran = await ezeep(*undo, "link.jsonl", env=login, folder=tmp_path)
    assert ran.refused() == "--report and the file that is read are one file: link.jsonl"
    assert (tmp_path / "x.jsonl").read_bytes() == before
    assert (await ezeep(*undo, "r.jsonl", env=login, folder=tmp_path)).code == 0
    assert in_new(sandbox) == 0


@pytest.mark.slow
async def test_the_file_that_is_read_is_not_overwritten(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path
) -> None:
    os.link(few, tmp_path / "hard.csv")
    before = few.read_bytes()
    for arguments in (["apply", str(few), "--yes", "--report"], ["plan", str(few), "--out"]):
        for other in ("few.csv", "hard.csv"):
            ran = await ezeep("provision", *arguments, other, env=login, folder=tmp_path)
            assert ran.refused() == f"{arguments[-1]} and the file that is read are one file: {other}"
    for arguments in (["apply", "-", "--yes", "--report"], ["plan", "-", "--out"]):
        with few.open("rb") as file:
            process = await asyncio.create_subprocess_exec(
                *EZEEP,
                "provision",
                *arguments,
                "hard.csv",
                env=environment(login),
                cwd=tmp_path,
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
        assert process.returncode == 1
        says = f"{arguments[-1]} and the file that is read are one file: hard.csv"
        assert (out, err.decode()) == (b"", f"ezeep: {says}\n")
    assert few.read_bytes() == before
    assert sandbox.requests == []


# --- a disk that is full -------------------------------------------------------------------------------------------


@needs_a_full_device
async def test_the_outcome_is_shown_if_the_report_cannot_be_written(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path
) -> None:
    """All of it, then the file with what is wrong with it; the exit code is 1."""
    (tmp_path / "r.csv").symlink_to(FULL)
    arguments = ("provision", "apply", str(few), "--yes", "--report", "r.csv")
    says = "ezeep: the report is not written: r.csv: No space left on device\n"
    ran = await ezeep(*arguments, env=login, folder=tmp_path)
    assert (ran.code, ran.err) == (1, says)
    assert "memberships added: 3\n" in ran.out
    assert "To undo it: ezeep provision undo " in ran.out.splitlines()[-1]
    assert in_new(sandbox) == 3
    few.write_text(few.read_text("utf-8").replace("New", "Newer"), "utf-8")
    ran = await ezeep(*arguments, "--json", env=login, folder=tmp_path)
    assert (ran.code, ran.err) == (1, says)
    shown = json.loads(ran.out)
    assert (shown["ok"], shown["memberships_added"]) == (True, 3)


@needs_a_full_device
async def test_failures_are_not_said_to_be_in_a_report_that_there_is_not(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = write(tmp_path / "many.csv", {"New": people(sandbox, 12)})
    (tmp_path / "r.csv").symlink_to(FULL)
    sandbox.faults.add(PATCH, status=403, times=None)
    arguments = ("provision", "apply", str(path), "--yes", "--report", "r.csv", "--no-audit-log")
    ran = await ezeep(*arguments, env=login, folder=tmp_path)
    assert ran.code == 1
    assert "! and 2 more: --report FILE keeps all of them" in ran.out.splitlines()
    assert ran.err.splitlines() == [
        "ezeep: 12 of 13 changes failed. Run the same again to make the missing changes",
        "ezeep: the report is not written: r.csv: No space left on device",
    ]


@pytest.mark.slow
@needs_a_full_device
async def test_neither_the_report_nor_the_screen(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """A reader that goes away, of more than is kept for it, does not hide that there is no report."""
    path = write(tmp_path / "many.csv", {"New": people(sandbox, 60)})
    (tmp_path / "r.csv").symlink_to(FULL)
    reading, writing = os.pipe()
    hold = sandbox.faults.hold(PATCH)
    arguments = ("provision", "apply", str(path), "--yes", "--json", "--report", "r.csv")
    async with started(*arguments, env=login, folder=tmp_path, stdout=writing) as process:
        os.close(writing)
        await hold.arrived()
        os.close(reading)
        hold.release()
        _, said = await process.communicate()
    assert process.returncode == 141
    assert said.decode() == "ezeep: the report is not written: r.csv: No space left on device\n"
    assert in_new(sandbox) == 60
