"""`ezeep provision` when a run is ended early, and when it is taken back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from helpers.command_line import ended, ezeep, running, started
from helpers.organizations import PATCH, memberships, people, write

from ezeep_async.cli import signals
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.timeout(120)  # several processes one after the other


# --- ended early ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_7_13_changes_in_flight_end_and_the_report_is_shown(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, number: int, code: int
) -> None:
    """And the same again does the rest."""
    path = write(tmp_path / "some.csv", {"New": people(sandbox, 8)})
    hold = sandbox.faults.hold(PATCH)
    arguments = ("provision", "apply", str(path), "-y", "--concurrency", "1", "--report", "report.csv")
    async with started(*arguments, env=login, folder=tmp_path) as process:
        await hold.arrived()
        process.send_signal(number)
        assert process.stdout is not None
        said = b""
        while b"stopping: waiting for the changes in flight" not in said:
            said += await process.stdout.readline()
        hold.release()
        ran = await ended(process)
    assert (ran.code, ran.err) == (code, "ezeep: interrupted\n")
    assert "users changed: 1" in ran.out
    assert "not started: 7" in ran.out
    assert (tmp_path / "report.csv").read_text("utf-8").count(",not_started,") == 7
    assert sum("New" in groups for groups in memberships(sandbox).values()) == 1
    ran = await ezeep(*arguments, env=login, folder=tmp_path)
    assert (ran.code, "users changed: 7" in ran.out) == (0, True)


async def test_the_time_limit_is_named_when_it_ends_a_run(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = write(tmp_path / "some.csv", {"New": people(sandbox, 3)})
    hold = sandbox.faults.hold(PATCH)
    arguments = ("provision", "apply", str(path), "-y", "--concurrency", "1", "--timeout", "1000")
    async with running(*arguments, env=login) as task:
        await hold.arrived()
        signals._ending.time_out()
        hold.release()
        ran = await task
    assert (ran.code, ran.err) == (124, "ezeep: the command took longer than --timeout\n")
    assert "users changed: 1" in ran.out
    assert "not started: 2" in ran.out


@pytest.mark.slow
async def test_7_13_a_second_ctrl_c_cancels_changes_in_flight(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = write(tmp_path / "some.csv", {"New": people(sandbox, 3)})
    hold = sandbox.faults.hold(PATCH)
    async with started("provision", "apply", str(path), "-y", "--concurrency", "1", env=login) as process:
        await hold.arrived()
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        while b"stopping" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
    assert ran.code == 130
    assert ": unknown: cancelled" in ran.out
    assert "not started: 2" in ran.out


@pytest.mark.slow
async def test_a_reader_that_goes_away_does_not_end_the_run(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = write(tmp_path / "some.csv", {"New": people(sandbox, 8)})
    hold = sandbox.faults.hold(PATCH)
    reading, writing = os.pipe()
    arguments = ("provision", "apply", str(path), "-y", "--concurrency", "1")
    async with started(*arguments, env=login, stdout=writing) as process:
        os.close(writing)
        await hold.arrived()
        os.close(reading)
        hold.release()
        assert await process.wait() == 141
    assert sum("New" in groups for groups in memberships(sandbox).values()) == 8


# --- undo ----------------------------------------------------------------------------------------------------------


async def test_7_15_undo_takes_back_what_a_run_did(
    login: dict[str, str], sandbox: Sandbox, emptying: Path, tmp_path: Path
) -> None:
    """With the groups that it created; shown before; and undone again by its own audit log."""
    before = memberships(sandbox)
    with emptying.open("a", encoding="utf-8") as file:
        file.writelines(f"New,{person}\n" for person in people(sandbox, 4))
    log = str(tmp_path / "log.jsonl")
    ran = await ezeep(
        "provision", "apply", str(emptying), "--mode", "exact", "--max-removals", "99", "-y", "--audit-log", log,
        env=login,
    )  # shorter than one item a line  # fmt: skip
    assert ran.code == 0
    after = memberships(sandbox)
    assert after != before
    shown = await ezeep("provision", "undo", log, "--delete-groups", "--dry-run", env=login)
    assert (shown.code, shown.err) == (2, "")
    assert "  + Reception" in shown.out
    assert "  - New" in shown.out
    assert shown.out.splitlines()[-2:][0] == "- group New"
    assert memberships(sandbox) == after
    back = await ezeep(
        "provision", "undo", log, "--delete-groups", "--yes", "--json", "--audit-log", "undo.jsonl",
        env=login, folder=tmp_path,
    )  # shorter than one item a line  # fmt: skip
    assert (back.code, back.err) == (0, "")
    assert json.loads(back.out)["counts"]["deleted"] == 1
    assert memberships(sandbox) == before
    assert not [group for group in sandbox.organization.groups.values() if group.name == "New"]
    ran = await ezeep("provision", "undo", "undo.jsonl", "--yes", env=login, folder=tmp_path)
    assert ran.code == 0
    assert {user: groups - {"New"} for user, groups in after.items()} == memberships(sandbox)


async def test_what_is_too_long_to_be_shown_is_shown_by_another_command(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """Which is not the same for a plan and for what takes one back."""
    path, log = str(write(tmp_path / "many.csv", {"New": people(sandbox, 60)})), str(tmp_path / "log.jsonl")
    ran = await ezeep("provision", "apply", path, "-y", "--audit-log", log, env=login)
    assert "more lines: ezeep provision plan shows all of them" in ran.out
    ran = await ezeep("provision", "undo", log, "-y", env=login)
    assert "more lines: ezeep provision undo --dry-run shows all of them" in ran.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.jsonl"], "absent.jsonl: No such file or directory"),
        (["few.csv"], "few.csv, line 1: this is no line of an audit log"),
        (["log.jsonl", "--run-id", "nothing"], "no run nothing in the audit log"),
    ],
)
async def test_what_cannot_be_undone_is_one_sentence(
    login: dict[str, str], few: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    await ezeep("provision", "apply", str(few), "-y", "--audit-log", "log.jsonl", env=login, folder=tmp_path)
    ran = await ezeep("provision", "undo", *arguments, "--yes", env=login, folder=tmp_path)
    assert says in ran.refused()
