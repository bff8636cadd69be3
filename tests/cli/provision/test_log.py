"""`ezeep provision log`: the runs in the audit logs, and what one of them did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.organizations import people

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.timeout(120), pytest.mark.may_block]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the logs of the command are, with `XDG_STATE_HOME` of the tests."""
    return tmp_path / "state" / "ezeep_async" / "audit"


async def test_without_logs(folder: Path) -> None:
    ran = await ezeep("provision", "log")
    assert (ran.code, ran.out, ran.err) == (0, f"No audit logs in {folder}\n", "")
    assert not folder.exists()
    ran = await ezeep("provision", "log", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, [])


async def test_the_runs_are_listed_and_shown(
    login: dict[str, str], sandbox: Sandbox, few: Path, folder: Path
) -> None:
    assert (await ezeep("provision", "apply", str(few), "--yes", env=login)).code == 0
    (log,) = folder.iterdir()
    # Runs of one process in one second would share a file.
    undoing = ("provision", "undo", str(log), "--yes", "--audit-log", str(folder / "undo.jsonl"))
    assert (await ezeep(*undoing, env=login)).code == 0
    (folder / "notes.txt").write_text("x\n")
    ran = await ezeep("provision", "log", env=login)
    assert (ran.code, ran.err) == (0, f"ezeep: in {folder}, 1 file is not an audit log\n")
    undo, run = [line.split("\t")[1:] for line in ran.out.splitlines()]
    assert run == ["add", "4", "0", "finished", "undone", str(log)]
    assert undo[:5] == ["undo", "3", "0", "finished", ""]
    named = await ezeep("provision", "log", str(folder), env=login)
    assert (named.out, named.err) == (ran.out, "")

    as_json = json.loads((await ezeep("provision", "log", "--json")).out)
    assert [each["problem"] for each in as_json] == [None, None]
    assert (as_json[0]["undoes"], as_json[1]["undone"]) == (as_json[1]["run_id"], "undone")
    assert as_json[1]["organization_id"] in {
        str(group.organization_id) for group in sandbox.organization.groups.values()
    }

    ran = await ezeep("provision", "log", str(log))
    assert (ran.code, ran.err) == (0, "")
    assert {"mode: add", "changes planned: 4", "end: finished", "undone: yes"} <= set(ran.out.splitlines())
    rows = [line.split("\t") for line in ran.out.splitlines() if "\t" in line]
    assert rows[0] == ["New", "create group", "created", "", ""]
    assert sorted(rows[1:]) == sorted([person, "user", "updated", "+1", ""] for person in people(sandbox, 3))
    ((shown),) = json.loads((await ezeep("provision", "log", str(log), "--json")).out)
    assert [row["outcome"] for row in shown["rows"]] == ["created", "updated", "updated", "updated"]
    only = await ezeep("provision", "log", str(log), "--run-id", shown["run_id"])
    assert only.out == ran.out


async def test_only_the_newest_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    line = '{{"run_id":"{0}","time":"2026-01-0{0}T03:04:05Z","operation":"run","outcome":"started","mode":"add","changes":1}}\n'
    for number in (1, 2, 3):
        (folder / f"{number}.jsonl").write_text(line.format(number))
    ran = await ezeep("provision", "log", "--last", "2")
    assert [line.rsplit("\t", 1)[-1] for line in ran.out.splitlines()] == [
        str(folder / "3.jsonl"),
        str(folder / "2.jsonl"),
        "1 older log is not shown: --last 3",
    ]
    assert "\tinterrupted\t" in ran.out


async def test_other_files_are_neither_listed_nor_counted(tmp_path: Path) -> None:
    """They are newer than the log. An empty file is none; a log that was damaged is one."""
    (tmp_path / "a.jsonl").write_text(
        '{"run_id":"1","time":"2026-01-02T03:04:05Z","operation":"run","outcome":"started"}\n'
    )
    (tmp_path / "torn.jsonl").write_text('{"run_id":"2","ti')
    for name in ("people.csv", "report.jsonl", "login.json", "invoice.pdf"):
        (tmp_path / name).write_text('{"change":"create_group"}\n')
    (tmp_path / "empty.jsonl").touch()
    ran = await ezeep("provision", "log", ".", "--last", "1")
    assert ran.out.splitlines()[-1] == "1 older log is not shown: --last 2"
    ran = await ezeep("provision", "log", ".", "--last", "2")
    assert [line.rsplit("\t", 1)[-1] for line in ran.out.splitlines()] == ["a.jsonl"]
    assert ran.err == "ezeep: torn.jsonl: it has no complete line of a run\n"
    as_json = json.loads((await ezeep("provision", "log", ".", "--json")).out)
    assert [each["path"] for each in as_json] == ["a.jsonl", "torn.jsonl"]


async def test_a_folder_without_logs_says_what_it_has(tmp_path: Path) -> None:
    for name in ("people.csv", "report.csv"):
        (tmp_path / name).write_text("x\n")
    ran = await ezeep("provision", "log", ".")
    assert (ran.code, ran.out, ran.err) == (
        0,
        "No audit logs in .\n",
        "ezeep: in ., 2 files are not audit logs\n",
    )


async def test_times_that_no_calendar_has(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(
        '{"run_id":"1","time":"9999-12-31T23:59:59Z","operation":"run","outcome":"started"}\n'
    )
    ran = await ezeep("provision", "log", env={"TZ": "UTC-14"})
    assert (ran.code, ran.out[:4]) == (0, "9999")


async def test_what_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "other.txt").write_text("x\n")
    (tmp_path / "a.jsonl").write_text(
        '{"run_id":"1","time":"2026-01-02T03:04:05Z","operation":"run","outcome":"started"}\n'
    )
    for arguments, says in (
        (("absent.jsonl",), "absent.jsonl: No such file or directory"),
        (("other.txt",), "other.txt: it is not an audit log"),
        (("a.jsonl", "--run-id", "2"), "no run 2 in a.jsonl"),
        (("--run-id", "2"), "--run-id needs an audit log: ezeep provision log AUDIT_LOG --run-id ID"),
    ):
        assert (await ezeep("provision", "log", *arguments, folder=tmp_path)).refused() == says
    assert not folder.exists()
