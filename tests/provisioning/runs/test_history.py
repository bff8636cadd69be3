"""The runs of several audit logs: what they changed, whether they ended, and whether a later run has undone them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from helpers.provisioned import PATCH_USER, emails, new_team

from ezeep_async import EzeepSession
from ezeep_async.provisioning import AuditRecord, DesiredState, Plan, read_audit_log
from ezeep_async.provisioning.runs.history import AuditedRun, AuditHistory, read_audit_history
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the tests read the logs themselves


def history(folder: Path) -> AuditHistory:
    return read_audit_history(sorted(folder.iterdir()))


def only(folder: Path) -> AuditedRun:
    (path,) = folder.iterdir()
    (run,) = read_audit_history([path], keep=path).runs
    (other,) = history(folder).runs
    assert (other.outcomes, other.changes) == (run.outcomes, {})
    return run


async def apply(session: EzeepSession, plan: Plan, log: Path) -> None:
    (await session.provisioning.apply(plan, audit_log=log)).raise_for_failures()


async def test_a_run_is_described_by_its_log(sandbox: Sandbox, session: EzeepSession, tmp_path: Path) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    await apply(session, plan, tmp_path / "a.jsonl")
    run = only(tmp_path)
    (organization_id,) = {group.organization_id for group in sandbox.organization.groups.values()}
    assert (run.mode, run.organization_id, run.planned) == ("add", organization_id, 4)
    assert (run.changed, run.failed, run.end, run.undone, run.undoes) == (4, 0, "finished", "", "")
    assert run.started <= run.ended
    # Lines of changes have none of the fields of the first one.
    first, *lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {"mode", "changes"} <= first.keys()
    assert all(not {"mode", "changes", "undoes"} & line.keys() for line in lines)


async def test_failures_are_counted(sandbox: Sandbox, session: EzeepSession, tmp_path: Path) -> None:
    sandbox.faults.add(PATCH_USER, status=403, times=1)
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    await session.provisioning.apply(plan, audit_log=tmp_path / "a.jsonl")
    run = only(tmp_path)
    assert (run.changed, run.failed, run.end) == (3, 1, "finished")


async def test_a_run_that_was_cancelled_is_interrupted(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    """Between two changes: each that began has its outcome."""
    plan = await session.provisioning.plan(new_team(sandbox, 5))
    held = sandbox.faults.hold(PATCH_USER)
    running = asyncio.ensure_future(
        session.provisioning.apply(plan, audit_log=tmp_path / "a.jsonl", concurrency=1)
    )
    await held.arrived()
    run = only(tmp_path)  # under way: the write has no outcome yet
    assert (run.changed, run.failed, run.end) == (1, 1, "interrupted")
    running.cancel()
    held.release()
    with pytest.raises(asyncio.CancelledError):
        await running
    run = only(tmp_path)
    assert (run.changed, run.failed, run.end, run.planned) == (2, 0, "interrupted", 6)


async def test_undo_and_undo_of_undo(sandbox: Sandbox, session: EzeepSession, tmp_path: Path) -> None:
    team = await session.provisioning.plan(new_team(sandbox, 3))
    await apply(session, team, tmp_path / "1.jsonl")
    assert only(tmp_path).undone == ""
    undo = await session.provisioning.undo(tmp_path / "1.jsonl")
    # Saved and read again, as by `ezeep provision apply plan.json`.
    await apply(session, Plan.from_json(undo.to_json()), tmp_path / "2.jsonl")
    second, first = history(tmp_path).runs
    assert (first.undone, second.undoes, second.mode) == ("undone", first.run_id, "undo")
    redo = await session.provisioning.undo(tmp_path / "2.jsonl")
    await apply(session, redo, tmp_path / "3.jsonl")
    assert [run.undone for run in history(tmp_path).runs] == ["", "undone", ""]


async def test_a_run_that_is_undone_in_part(sandbox: Sandbox, session: EzeepSession, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"  # of both
    await apply(session, await session.provisioning.plan(new_team(sandbox, 3)), log)
    undo = await session.provisioning.undo(log)
    sandbox.faults.add(PATCH_USER, status=403, times=1)
    await session.provisioning.apply(undo, audit_log=log)
    assert [run.undone for run in history(tmp_path).runs] == ["", "partly"]
    await apply(session, await session.provisioning.undo(log, undo.undoes), log)
    assert [run.undone for run in history(tmp_path).runs] == ["", "", "undone"]


async def test_a_run_without_changes_is_finished(session: EzeepSession, tmp_path: Path) -> None:
    plan = await session.provisioning.plan(DesiredState.from_mapping({}))
    await session.provisioning.apply(plan, audit_log=tmp_path / "a.jsonl")
    run = only(tmp_path)
    assert (run.mode, run.planned, run.changed, run.end) == ("add", 0, 0, "finished")


async def test_repairs_of_verify_after_are_the_same_changes(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Reception": emails(sandbox, 3), "New": []})
    )
    await session.provisioning.apply(plan, audit_log=tmp_path / "a.jsonl", verify_after=True)
    run = only(tmp_path)
    assert (len(run.changes), run.end) == (len(plan.changes), "finished")


async def test_logs_of_earlier_releases(sandbox: Sandbox, session: EzeepSession, tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    await apply(session, await session.provisioning.plan(new_team(sandbox, 2)), log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line.pop("mode", None), line.pop("changes", None)
    log.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    run = only(tmp_path)
    assert (run.mode, run.planned, run.changed, run.end) == ("", None, 3, "unknown")
    log.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines[:-1]))
    assert only(tmp_path).end == "interrupted"


async def test_other_files_and_damaged_ones_are_named(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    good = tmp_path / "good.jsonl"
    await apply(session, await session.provisioning.plan(new_team(sandbox, 2)), good)
    lines = good.read_text().splitlines(keepends=True)
    contents = {
        "empty.jsonl": "",
        "torn.jsonl": lines[0][:30],
        "notes.txt": "things to do\n" * 1000,
        "plan.json": '{"format": "ezeep provisioning plan"}',
        "damaged.jsonl": "".join([lines[0], lines[1][:50] + "\n", *lines[2:]]).replace(
            json.loads(lines[0])["run_id"], "damaged"
        ),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nothing")
    found = read_audit_history([*sorted(tmp_path.iterdir()), tmp_path])
    assert {run.path.name for run in found.runs} == {"good.jsonl", "damaged.jsonl"}
    problems = {path.name: problem for path, problem in found.problems.items()}
    assert problems.keys() == {*contents, "binary", "gone.jsonl", tmp_path.name}
    assert problems["notes.txt"] == problems["binary"] == problems["plan.json"] == "it is not an audit log"
    assert problems["empty.jsonl"] == problems["torn.jsonl"] == "it has no complete line of a run"
    assert problems["gone.jsonl"] == "No such file or directory"
    assert problems["damaged.jsonl"].startswith("line 2: this line is damaged")


def test_times_that_are_damaged_are_no_error(tmp_path: Path) -> None:
    line = '{{"run_id":"{0}","time":"{0}","operation":"run","outcome":"started"}}\n'
    times = [
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59Z",
        "2026-01-02T03:04:05+02:00",
        "0001-01-01T00:00:00+14:00",
    ]
    (tmp_path / "a.jsonl").write_text("".join(line.format(time) for time in times))
    assert [run.run_id for run in history(tmp_path).runs] == [times[1], times[2], times[0], times[3]]


def test_records_of_lines_without_the_new_fields(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    log.write_text(
        '{"run_id":"1","time":"2026-01-02T03:04:05Z","operation":"run","outcome":"started","later":1}\n'
    )
    (record,) = read_audit_log(log)
    assert isinstance(record, AuditRecord)
    assert (record.mode, record.changes, record.undoes) == ("", None, "")
