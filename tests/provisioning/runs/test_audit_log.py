"""7-9, 7-15: the audit log. Every write is on the disk before it is sent, and its outcome after the response."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers.provisioned import (
    GET_USER,
    PATCH_USER,
    POST_GROUP,
    add_team,
    emails,
    group_named,
    new_team,
    state,
    writes,
)

from ezeep_async import AuditLogError, EzeepSession, StalePlan
from ezeep_async.provisioning import AuditRecord, DesiredState, read_audit_log
from ezeep_async.provisioning.runs import audit
from ezeep_async.provisioning.runs.audit import AuditLog
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the tests read the log themselves


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def read(log: Path) -> list[AuditRecord]:
    """The records of changes."""
    return [record for record in read_audit_log(log) if record.operation != "run"]


# --- what is in it -------------------------------------------------------------------------------------------------


async def test_7_9_a_write_is_logged_before_it_is_processed(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-9: the log is read while the sandbox holds the requests."""
    plan = await session.provisioning.plan(new_team(sandbox, 6))
    groups = sandbox.faults.hold(POST_GROUP)
    users = sandbox.faults.hold(PATCH_USER)
    running = asyncio.ensure_future(session.provisioning.apply(plan, audit_log=log, concurrency=3))
    await groups.arrived()
    (record,) = read(log)
    assert (record.operation, record.outcome, record.name) == ("create_group", "started", "Team")
    groups.release()
    for number in (3, 4, 5, 6):
        await users.arrived(number)
        begun = [each for each in read(log) if each.operation == "change_memberships"]
        assert sum(each.outcome == "started" for each in begun) == number
        sent = {request.path.split("/")[-2] for request in sandbox.requests if request.method == "PATCH"}
        assert {str(each.user_id) for each in begun if each.outcome == "started"} == sent
        users.release(1)
    users.release()
    report = await running
    assert Counter(record.outcome for record in read(log)) == {"started": 7, "created": 1, "updated": 6}
    assert {record.run_id for record in read(log)} == {report.run_id}
    first = next(iter(read_audit_log(log)))
    assert (first.operation, first.outcome, first.run_id) == ("run", "started", report.run_id)


async def test_7_15_each_record_has_before_and_after(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    add_team(sandbox, 2)
    before = state(sandbox)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox)[1:4]}), mode="exact"
    )
    report = await session.provisioning.apply(plan, audit_log=log)
    after = state(sandbox)
    rows = {row.change.user_id: row for row in report.rows}
    for record in read(log):
        assert record.user_id is not None
        assert frozenset(record.before or ()) == before[record.user_id]
        assert frozenset(record.after or ()) == after[record.user_id]
        assert record.time.utcoffset() is not None
        if record.outcome != "started":
            row = rows[record.user_id]
            assert (record.outcome, record.attempts, record.request_id) == (
                row.outcome,
                row.attempts,
                row.request_id,
            )
    assert {record.name for record in read(log)} == {emails(sandbox)[n] for n in (0, 2, 3)}


async def test_7_9_a_change_without_a_write_has_no_start_in_the_log(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-9: no "started" for changes that other writers have made, and for users who could not be read."""
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    group = sandbox.organization.add_group("Team")
    sandbox.organization.listed_users()[0].groups.add(group.id)
    gone = str(sandbox.organization.listed_users()[1].id)
    sandbox.faults.add(GET_USER, status=403, when=lambda request: gone in request.path)
    await session.provisioning.apply(plan, audit_log=log)
    reported = [(record.operation, record.outcome) for record in read(log) if str(record.user_id) != gone]
    assert sorted(reported) == [
        ("change_memberships", "started"),
        ("change_memberships", "unchanged"),
        ("change_memberships", "updated"),
        ("create_group", "adopted"),
    ]
    (failed,) = [record for record in read(log) if str(record.user_id) == gone]
    assert (failed.outcome, failed.before, failed.after) == ("failed", None, None)
    assert "403" in failed.error


async def test_two_runs_in_one_file_have_their_own_ids(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """Also when they run at the same time: neither run interrupts a line of the other."""
    plans = [await session.provisioning.plan(new_team(sandbox, 20, name)) for name in ("A", "B")]
    reports = await asyncio.gather(*[session.provisioning.apply(plan, audit_log=log) for plan in plans])
    runs = Counter(record.run_id for record in read(log))
    assert runs == {report.run_id: 42 for report in reports}
    assert len(log.read_text().splitlines()) == 86


async def test_a_line_that_another_run_is_writing_is_not_ended(
    sandbox: Sandbox, session: EzeepSession, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7-9: a reader can see the first part of an append. Only what stays incomplete gets a line end."""
    await session.provisioning.apply(
        await session.provisioning.plan(new_team(sandbox, 2, "A")), audit_log=log
    )
    whole = log.read_bytes()
    log.write_bytes(whole[:-20])
    monkeypatch.setattr(audit.time, "sleep", lambda _: log.write_bytes(whole))
    await session.provisioning.apply(
        await session.provisioning.plan(new_team(sandbox, 2, "B")), audit_log=log
    )
    assert log.read_bytes().startswith(whole + b"{")
    assert b"\n\n" not in log.read_bytes()


async def test_the_log_is_readable_by_its_owner_only(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """8-3: mode 0600 from its first moment, with any umask, and no token in it: it contains addresses."""
    tokens = sandbox.tokens()
    old = os.umask(0)
    try:
        plan = await session.provisioning.plan(new_team(sandbox, 3))
        sandbox.faults.add(PATCH_USER, status=403)
        await session.provisioning.apply(plan, audit_log=log)
    finally:
        os.umask(old)
    assert log.stat().st_mode & 0o777 == 0o600
    secrets = {request.headers["Authorization"].split()[1] for request in sandbox.requests}
    assert not any(secret in log.read_text() for secret in {*secrets, tokens.refresh_token})


async def test_7_9_every_line_is_on_the_disk_before_the_write_returns(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7-9: fsync comes after the line and before the return. Concurrent callers share one."""
    seen: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        seen.append(len(log.read_bytes().splitlines()))

    monkeypatch.setattr(os, "fsync", fsync)
    audit = AuditLog(log)

    async def write(number: int) -> None:
        record = record_number(number, audit.run_id)
        await audit.write(record)
        assert any(each >= number for each in seen) or number == 0
        assert record in read(log)

    await write(0)
    assert seen == [1]
    await asyncio.gather(*[write(number) for number in range(1, 50)])
    assert seen[-1] == 50
    assert len(seen) < 10


def record_number(number: int, run_id: str) -> AuditRecord:
    return AuditRecord(
        run_id=run_id,
        time=datetime(2026, 1, 2, tzinfo=UTC),
        operation="x",
        outcome="started",
        name=str(number),
    )


# --- when it cannot be written -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["directory", "no such folder", "a file in the way", "full"])
async def test_7_9_a_log_that_cannot_be_written_is_found_before_the_first_write(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path, kind: str
) -> None:
    """7-9: nothing was written to the organization."""
    (tmp_path / "file").touch()
    path = {
        "directory": tmp_path,
        "no such folder": tmp_path / "absent" / "audit.jsonl",
        "a file in the way": tmp_path / "file" / "audit.jsonl",
        "full": Path("/dev/full"),
    }[kind]
    plan = await session.provisioning.plan(new_team(sandbox))
    with pytest.raises(AuditLogError, match="cannot be written"):
        await session.provisioning.apply(plan, audit_log=path)
    assert writes(sandbox) == []


@pytest.mark.parametrize("there", [False, True])
async def test_7_2_a_run_that_is_refused_writes_no_log(
    sandbox: Sandbox, session: EzeepSession, log: Path, there: bool
) -> None:
    """7-2, 7-15: nothing was changed, so there is nothing to undo."""
    plan = await session.provisioning.plan(new_team(sandbox, 3))
    sandbox.organization.add_group("Team", origin={"provider": "Azure", "foreign_id": "x"})
    if there:
        log.write_bytes(b'{"run_id":"earlier')
    with pytest.raises(StalePlan):
        await session.provisioning.apply(plan, audit_log=log)
    assert [path.read_bytes() for path in log.parent.iterdir()] == ([b'{"run_id":"earlier'] if there else [])


async def test_7_9_a_log_that_fails_during_the_run_stops_the_writes(
    sandbox: Sandbox, session: EzeepSession, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7-9: every write that was sent has its start in the log. A write that cannot be logged is not sent."""
    plan = await session.provisioning.plan(new_team(sandbox, 20))
    real, count = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    report = await session.provisioning.apply(plan, audit_log=log, concurrency=2)
    monkeypatch.undo()
    failed = [row for row in report.rows if row.outcome == "failed"]
    assert failed
    assert all(isinstance(row.error, AuditLogError) for row in failed)
    team = group_named(sandbox, "Team").id
    done = {user for user, groups in state(sandbox).items() if team in groups}
    assert len(done) == report.counts["updated"] == sandbox.count(PATCH_USER) < 20
    assert done <= {record.user_id for record in read(log) if record.outcome == "started"}


# --- damaged -------------------------------------------------------------------------------------------------------


async def test_7_9_an_incomplete_last_line_is_skipped_and_nothing_is_lost_after_it(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-9: the line ends at every byte."""
    plan = await session.provisioning.plan(new_team(sandbox, 2, "A"))
    await session.provisioning.apply(plan, audit_log=log)
    whole = log.read_bytes()
    records = read(log)
    last = len(whole.splitlines()[-1]) + 1
    for cut in range(1, last + 1):
        log.write_bytes(whole[:-cut])
        # Without its line end it is whole still.
        assert read(log) == (records if cut == 1 else records[:-1])
    log.write_bytes(whole[: -last // 2])
    plan = await session.provisioning.plan(new_team(sandbox, 2, "B"))
    await session.provisioning.apply(plan, audit_log=log)
    assert read(log)[: len(records) - 1] == records[:-1]
    assert len(read(log)) == 2 * len(records) - 1
    # The first line of the second run is a line of its own.
    assert sum(record.operation == "run" for record in read_audit_log(log)) == 2


@pytest.mark.parametrize(
    "content", [b"group,member\nSales,a\n", b"[]\n", b"null\n", b"\xff\xfe\n", b'{"other": 1}\n', b"\0\0\0\n"]
)
def test_a_file_that_is_not_a_log_is_refused(log: Path, content: bytes) -> None:
    log.write_bytes(content)
    with pytest.raises(AuditLogError, match="line 1"):
        read(log)


def test_lines_are_json_in_the_documented_order(log: Path) -> None:
    audit = AuditLog(log)
    asyncio.run(audit.write(record_number(0, audit.run_id)))
    (line,) = log.read_text().splitlines()
    assert list(json.loads(line)) == [
        "run_id",
        "time",
        "operation",
        "outcome",
        "user_id",
        "group_id",
        "name",
        "organization_id",
        "namesakes",
        "before",
        "after",
        "attempts",
        "request_id",
        "error",
    ]
