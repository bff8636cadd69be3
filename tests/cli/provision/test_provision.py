"""`ezeep provision` as a process, against a sandbox on real sockets: what it shows, writes, keeps, and exits with."""

from __future__ import annotations

import asyncio
import csv
import json
import stat
from pathlib import Path

import pytest
from helpers.command_line import Ran, ezeep
from helpers.organizations import ADMIN, PATCH, memberships, people, write, writes

from ezeep_async.cli.files import read_input
from ezeep_async.provisioning import DesiredState, Plan
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.timeout(120)  # several processes one after the other


def only_line(ran: Ran) -> str:
    (line,) = ran.err.splitlines()
    return line


# --- plan ----------------------------------------------------------------------------------------------------------


async def test_a_plan_is_shown_and_nothing_is_written(
    login: dict[str, str], sandbox: Sandbox, few: Path
) -> None:
    """2: changes are pending; 0: nothing to do; in plain text, because the output is not a terminal."""
    ran = await ezeep("provision", "plan", str(few), env=login)
    assert (ran.code, ran.err) == (2, "")
    assert ran.out.splitlines() == [
        "+ group New",
        *[line for person in people(sandbox, 3) for line in (f"~ {person}", "  + New")],
        "create 1 group, change 3 users, add 3 memberships",
    ]
    assert writes(sandbox) == 0
    sandbox.organization.add_group("New")
    few.write_text("group,member\n", "utf-8")
    ran = await ezeep("provision", "plan", str(few), env=login)
    assert (ran.code, ran.out, ran.err) == (0, "nothing to change: 0 memberships as they should be\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.csv"], "absent.csv: No such file or directory"),
        (["bad.csv"], "bad.csv, line 2: the member 'nomail' is neither an e-mail address nor a user id"),
        (["strange.csv"], "not in the organization: who@example.com"),
        (["azure.csv"], "another directory owns these groups"),
        (["few.csv", "--no-create-groups"], "no such group: 'New'"),
        (["few.csv", "--max-removals", "1.5"], "a share below 1 or a whole number"),
        (["few.csv", "--out", "absent/plan.json"], "absent/plan.json: No such file or directory"),
    ],
)
async def test_what_cannot_be_planned_is_one_sentence_and_1(
    login: dict[str, str], tmp_path: Path, few: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "bad.csv").write_text("group,member\nNew,nomail\n", "utf-8")
    write(tmp_path / "strange.csv", {"New": ["who@example.com"]})
    write(tmp_path / "azure.csv", {"WVD Printers": [ADMIN]})
    ran = await ezeep("provision", "plan", *arguments, env=login, folder=tmp_path)
    assert says in ran.refused()
    assert ran.out == ""


@pytest.mark.parametrize(
    "arguments",
    [["few.csv", "--mode", "both"], ["few.csv", "--what"], ["--what", "few.csv"], ["--what"], []],
)
async def test_a_bad_command_line_is_not_taken_for_pending_changes(
    login: dict[str, str], sandbox: Sandbox, few: Path, arguments: list[str]
) -> None:
    """64, as in sysexits.h: 2 is what a nightly job acts upon."""
    ran = await ezeep("provision", "plan", *arguments, env=login)
    assert (ran.code, ran.out) == (64, "")
    assert only_line(ran).endswith("(see ezeep --help)")
    assert sandbox.requests == []


async def test_the_options_of_a_plan_reach_it(
    login: dict[str, str], sandbox: Sandbox, emptying: Path
) -> None:
    """7-7: protected users and groups; people who are missing; the limit."""
    with emptying.open("a", encoding="utf-8") as file:
        file.write("New,who@example.com\n")
    ran = await ezeep(
        "provision", "plan", str(emptying), "--mode", "exact", "--on-missing", "skip", "--max-removals", "100",
        "--protect-user", "*@nowhere.example", "--protect-user", "*@example.com", env=login,
    )  # shorter than one item a line  # fmt: skip
    assert (ran.code, ran.err) == (2, "")
    assert "! who@example.com: not in the organization, skipped" in ran.out
    assert "stays in 'Reception': protect_users contains '*@example.com'" in ran.out
    assert "  - Reception" not in ran.out
    ran = await ezeep(
        "provision", "plan", str(emptying), "--mode", "exact", "--on-missing", "invite", "--protect-group", "recep*",
        env=login,
    )  # shorter than one item a line  # fmt: skip
    assert "+ invitation who@example.com" in ran.out
    assert "stays in 'Reception': protect_groups contains 'recep*'" in ran.out


# --- apply ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_applied_and_the_second_time_nothing_is_left(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path
) -> None:
    """The diff, how far it is in a few lines, what was done, and where the audit log is: for its owner only."""
    ran = await ezeep("provision", "apply", str(few), "--yes", env=login)
    assert (ran.code, ran.err) == (0, "")
    (log,) = (tmp_path / "state" / "ezeep_async" / "audit").iterdir()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    lines = ran.out.splitlines()
    assert lines[0] == "+ group New"
    assert lines[8:10] == [f"The audit log is {log}", "   1 of 4 changes"]
    assert "memberships added: 3" in lines
    assert lines[-1] == f"To undo it: ezeep provision undo {log}"
    assert "\x1b" not in ran.out
    before = writes(sandbox)
    ran = await ezeep("provision", "apply", str(few), "--yes", env=login)
    assert (ran.code, ran.out) == (0, "nothing to change: 3 memberships as they should be\n")
    assert writes(sandbox) == before


@pytest.mark.slow
@pytest.mark.parametrize("way", ["out", "json", "pipe"])
async def test_a_plan_that_was_kept_is_applied(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path, way: str
) -> None:
    """7-2: later, or elsewhere. By another name than .json too: its content says what it is."""
    path = tmp_path / ("plan.json" if way == "out" else "plan.txt")
    if way == "out":
        ran = await ezeep("provision", "plan", str(few), "--out", str(path), env=login)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    else:
        ran = await ezeep("provision", "plan", str(few), "--json", env=login)
        path.write_text(ran.out, "utf-8")
    assert (ran.code, ran.err) == (2, "")
    assert isinstance(await asyncio.to_thread(read_input, path), Plan)
    shown = await ezeep("provision", "plan", str(path))
    assert (shown.code, shown.out.splitlines()[0]) == (2, "+ group New")
    late = await ezeep("provision", "apply", str(path), "--yes", "--mode", "exact", env=login)
    assert "saved plan: --mode cannot change it" in late.refused()
    source = "-" if way == "pipe" else str(path)
    ran = await ezeep("provision", "apply", source, "-y", env=login, stdin=path.read_text("utf-8"))
    assert (ran.code, ran.err) == (0, "")
    assert sum("New" in groups for groups in memberships(sandbox).values()) == 3


async def test_a_plan_that_is_broken_is_said_to_be_one(login: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"format": "ezeep provisioning plan", "version": 99}', "utf-8")
    assert (
        "plan.json: this plan has version 99"
        in (await ezeep("provision", "apply", str(path), "--yes", env=login)).refused()
    )


async def test_rows_from_standard_input(login: dict[str, str], sandbox: Sandbox, few: Path) -> None:
    ran = await ezeep("provision", "apply", "-", "--yes", env=login, stdin=few.read_text("utf-8"))
    assert (ran.code, ran.err) == (0, "")
    assert sum("New" in groups for groups in memberships(sandbox).values()) == 3
    ran = await ezeep("provision", "plan", "-", env=login, stdin="group;member\nNew;x\n")
    assert "standard input, line 2: the member 'x'" in ran.refused()


@pytest.mark.parametrize("command", ["apply", "undo"])
async def test_without_a_terminal_there_is_no_confirmation(
    login: dict[str, str], sandbox: Sandbox, few: Path, command: str
) -> None:
    ran = await ezeep("provision", command, str(few), env=login)
    assert "Pass --yes to skip the question" in ran.refused()
    assert sandbox.requests == []


async def test_a_safety_limit_is_3_and_writes_nothing(
    login: dict[str, str], sandbox: Sandbox, emptying: Path, tmp_path: Path
) -> None:
    """7-6: plan says so and is 2; apply refuses, from the file and from a kept plan; a raised number lets it through."""
    exact = ("--mode", "exact")
    ran = await ezeep("provision", "plan", str(emptying), *exact, "--out", "plan.json", env=login)
    assert ran.code == 2
    assert "apply would refuse this: the plan removes 14 memberships, and the limit is 5" in only_line(ran)
    assert "14 from 'Reception'. If this is intended, plan with --max-removals 14" in only_line(ran)
    for source in ([str(emptying), *exact], ["plan.json"]):
        ran = await ezeep("provision", "apply", *source, "--yes", env=login)
        assert ran.code == 3
        assert only_line(ran).startswith("ezeep: nothing was changed: the plan removes 14 memberships")
    assert writes(sandbox) == 0
    assert not (tmp_path / "state").exists()
    ran = await ezeep("provision", "apply", str(emptying), *exact, "--yes", "--max-removals", "14", env=login)
    assert (ran.code, ran.err) == (0, "")
    assert "memberships removed: 14" in ran.out


async def test_a_plan_that_does_not_fit_any_more_is_1(
    login: dict[str, str], sandbox: Sandbox, few: Path
) -> None:
    """7-2"""
    await ezeep("provision", "plan", str(few), "--out", "plan.json", env=login)
    sandbox.organization.add_group("New").origin = {"provider": "Azure", "foreign_id": "x"}
    ran = await ezeep("provision", "apply", "plan.json", "--yes", env=login)
    assert ran.code == 1
    assert "the organization has changed since the plan was made" in only_line(ran)
    assert writes(sandbox) == 0


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
async def test_failures_are_listed_and_the_rest_is_in_the_report(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, suffix: str
) -> None:
    """7-8: a failing row does not stop the others; the exit code is 1; the first ten are shown."""
    path = write(tmp_path / "many.csv", {"New": people(sandbox, 20)})
    sandbox.faults.add(PATCH, status=403, times=12)
    report = tmp_path / f"report.{suffix}"
    ran = await ezeep("provision", "apply", str(path), "--yes", "--report", str(report), env=login)
    assert ran.code == 1
    assert only_line(ran) == "ezeep: 12 of 21 changes failed. Run the same again to make the missing changes"
    lines = ran.out.splitlines()
    assert (
        sum(": add to 'New': failed: PATCH" in line and line.endswith("403 Forbidden") for line in lines)
        == 10
    )
    assert f"! and 2 more: all are in {report}" in lines
    assert "failed: 12" in lines
    assert "   21 of 21 changes, 12 failed" in lines
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text("utf-8")
    rows = (
        list(csv.DictReader(text.splitlines()))
        if suffix == "csv"
        else [json.loads(line) for line in text.splitlines()]
    )
    assert [row["outcome"] for row in rows].count("failed") == 12
    assert len(rows) == 21


async def test_a_report_that_could_not_be_written_is_said_before(
    login: dict[str, str], sandbox: Sandbox, few: Path
) -> None:
    ran = await ezeep("provision", "apply", str(few), "-y", "--report", "absent/report.csv", env=login)
    assert "absent/report.csv: No such file or directory" in ran.refused()
    ran = await ezeep("provision", "apply", str(few), "-y", "--report", "report.txt", env=login)
    assert "takes a .csv or a .jsonl" in ran.refused()
    ran = await ezeep("provision", "apply", str(few), "-y", "--audit-log", "absent/log", env=login)
    assert "absent/log cannot be written" in only_line(ran)
    ran = await ezeep("provision", "apply", str(few), "-y", "--audit-log", "a", "--no-audit-log", env=login)
    assert "cannot be used together" in ran.refused()
    assert writes(sandbox) == 0


async def test_the_report_as_json_and_nothing_beside_it(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path
) -> None:
    ran = await ezeep(
        "provision",
        "apply",
        str(few),
        "--yes",
        "--json",
        "--audit-log",
        "log.jsonl",
        env=login,
        folder=tmp_path,
    )
    assert (ran.code, ran.err) == (0, "")
    shown = json.loads(ran.out)
    assert (shown["ok"], shown["counts"], shown["memberships_added"]) == (
        True,
        {"created": 1, "updated": 3},
        3,
    )
    assert shown["audit_log"] == "log.jsonl"
    assert (
        shown["run_id"] == json.loads((tmp_path / "log.jsonl").read_text("utf-8").splitlines()[0])["run_id"]
    )
    assert len(shown["rows"]) == 4
    ran = await ezeep("provision", "apply", str(few), "--yes", "--json", "--no-audit-log", env=login)
    assert (ran.code, ran.err, json.loads(ran.out)["rows"]) == (0, "", [])


async def test_the_help_of_apply_lists_its_exit_codes() -> None:
    ran = await ezeep("provision", "apply", "--help")
    codes = " ".join(ran.out.partition("Exit codes: ")[2].split())
    for code in (
        "0 all",
        "1 a change",
        "3 a safety",
        "129 SIGHUP",
        "130 Ctrl-C",
        "141 the output was closed",
        "143 SIGTERM",
    ):
        assert code in codes


async def test_trusting_the_plan_saves_the_reading(
    login: dict[str, str], sandbox: Sandbox, few: Path
) -> None:
    ran = await ezeep(
        "provision",
        "apply",
        str(few),
        "-y",
        "--verify",
        "trust-plan",
        "--concurrency",
        "1",
        "--no-audit-log",
        env=login,
    )
    assert (ran.code, "audit log" in ran.out, "undo" in ran.out) == (0, False, False)
    assert (sandbox.count("GET /printing/v1/users/{id}/"), sandbox.peak_parallel > 0) == (0, True)
    assert sandbox.count(PATCH) == 3


@pytest.mark.slow
async def test_7_15_undo_has_no_plan_to_trust(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """7-15: it would overwrite what others changed since the run."""
    ran = await ezeep("provision", "undo", str(tmp_path / "log"), "-y", "--verify", "trust-plan", env=login)
    assert (ran.code, ran.out) == (64, "")
    assert "--verify" in only_line(ran)
    assert sandbox.requests == []


# --- in a sandbox of its own ---------------------------------------------------------------------------------------


async def test_in_a_sandbox_nothing_is_needed(tmp_path: Path) -> None:
    """And no audit log is kept, of what has ended with the command, unless it is asked for."""
    path = write(tmp_path / "x.csv", {"New": [ADMIN]})
    ran = await ezeep("provision", "apply", str(path), "--sandbox", "--yes", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "memberships added: 1" in ran.out
    assert "audit log" not in ran.out
    assert not (tmp_path / "state").exists()


async def test_a_file_is_read_for_what_it_is(tmp_path: Path) -> None:
    assert isinstance(
        await asyncio.to_thread(read_input, write(tmp_path / "x.csv", {"A": [ADMIN]})), DesiredState
    )


async def test_undo_shows_what_is_left_to_take_back(
    sandbox: Sandbox, login: dict[str, str], few: Path, tmp_path: Path
) -> None:
    log = str(tmp_path / "audit.jsonl")
    ran = await ezeep("provision", "apply", str(few), "-y", "--audit-log", log, env=login)
    assert ran.code == 0
    ran = await ezeep("provision", "undo", log, "--dry-run", env=login)
    assert (ran.code, ran.out.splitlines()[-1]) == (2, "change 3 users, remove 3 memberships")
    new = next(group for group in sandbox.organization.groups.values() if group.name == "New")
    next(user for user in sandbox.organization.listed_users() if new.id in user.groups).groups.discard(new.id)
    ran = await ezeep("provision", "undo", log, "--dry-run", env=login)
    assert (ran.code, ran.out.splitlines()[-1]) == (2, "change 2 users, remove 2 memberships")
    assert (await ezeep("provision", "undo", log, "-y", env=login)).code == 0
    before = writes(sandbox)
    ran = await ezeep("provision", "undo", log, "--dry-run", env=login)
    assert (ran.code, ran.out, ran.err) == (0, "nothing to change\n", "")
    ran = await ezeep("provision", "undo", log, "-y", env=login)
    assert (ran.code, ran.out, writes(sandbox)) == (0, "nothing to change\n", before)


async def test_7_15_a_run_with_nothing_to_do_can_be_undone(login: dict[str, str], tmp_path: Path) -> None:
    """7-15: a job may undo the audit log that it named, whatever the run had to do."""
    (tmp_path / "none.csv").write_text("group,member\n", "utf-8")
    log = str(tmp_path / "audit.jsonl")
    ran = await ezeep("provision", "apply", str(tmp_path / "none.csv"), "-y", "--audit-log", log, env=login)
    assert (ran.code, ran.out) == (0, "nothing to change: 0 memberships as they should be\n")
    ran = await ezeep("provision", "undo", log, "-y", env=login)
    assert (ran.code, ran.out, ran.err) == (0, "nothing to change\n", "")
