"""7-9, 7-15: the audit log overwrites no other file, damage is refused, and undo reports what it does not revert."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from helpers.provisioned import PATCH_USER, add_team, emails, members, names, new_team, writes

from ezeep_async import AuditLogError, EzeepSession, Plan
from ezeep_async.provisioning import DesiredState, Report, read_audit_log
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the tests read the log themselves


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def applied(session: EzeepSession, log: Path, desired: DesiredState, **options) -> Report:
    plan = await session.provisioning.plan(desired, **options)
    return await session.provisioning.apply(plan, audit_log=log)


# --- a file of not an audit log --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"group,member\nTeam,a@example.com\n",
        b"\n\ngroup,member\n",
        b"{}\n",
        Plan().to_json().encode(),
        b'{"change": "x", "outcome": "failed"}\n',
        b"\x00\x01\x02",
    ],
    ids=["CSV", "CSV after blank lines", "an empty object", "a plan", "a record", "binary"],
)
async def test_7_9_a_file_with_other_content_is_not_changed(
    sandbox: Sandbox, session: EzeepSession, log: Path, content: bytes
) -> None:
    """7-9: an input, a plan, a report. Nothing is written to the file or to the organization."""
    log.write_bytes(content)
    plan = await session.provisioning.plan(new_team(sandbox))
    with pytest.raises(AuditLogError, match="not an audit log"):
        await session.provisioning.apply(plan, audit_log=log)
    assert log.read_bytes() == content
    assert writes(sandbox) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"run', b'{"run_id":"abc', b'{\n{"run_id":"abc'])
async def test_7_9_an_incomplete_first_line_of_a_killed_run_is_a_log(
    sandbox: Sandbox, session: EzeepSession, log: Path, content: bytes
) -> None:
    log.write_bytes(content)
    (await applied(session, log, new_team(sandbox))).raise_for_failures()
    assert (await session.provisioning.undo(log)).removals == 8


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(8))
async def test_7_9_a_damaged_line_is_refused_unless_it_is_the_last_of_its_run(
    sandbox: Sandbox, session: EzeepSession, log: Path, number: int
) -> None:
    """7-9: a line in the middle of a run that lost its end, or a byte, is named. Undo would not revert its change."""
    await applied(session, log, new_team(sandbox, 3))
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 9
    for damaged in (lines[number][:60] + b"\n", lines[number].replace(b'"name":', b'"name"', 1)):
        log.write_bytes(b"".join([*lines[:number], damaged, *lines[number + 1 :]]))
        with pytest.raises(AuditLogError, match=rf"line {number + 1}: this line is damaged"):
            await session.provisioning.undo(log)


async def test_7_9_two_damaged_lines_of_one_run_are_refused(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    await applied(session, log, new_team(sandbox, 3))
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:-2], lines[-2][:80] + b"\n", lines[-1][:80]]))
    with pytest.raises(AuditLogError, match=f"line {len(lines) - 1}: this line is damaged"):
        await session.provisioning.undo(log)


async def test_7_9_the_incomplete_line_of_a_killed_run_may_stand_between_lines_of_another(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    """7-9: two concurrent runs in one file. One was killed in the middle of a line."""
    await applied(session, log, new_team(sandbox, 3, "A"))
    first = log.read_bytes().splitlines(keepends=True)
    log.unlink()
    await applied(session, log, new_team(sandbox, 3, "B"))
    second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*second[:4], *first[:-1], first[-1][:90] + b"\n", *second[4:]]))
    assert len(list(read_audit_log(log))) == len(first) + len(second) - 1
    assert (await session.provisioning.undo(log)).removals == 3


# --- what undo leaves ----------------------------------------------------------------------------------------------


async def test_7_15_undo_names_the_other_runs_of_the_log(
    sandbox: Sandbox, session: EzeepSession, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """7-15: one run made half of the changes, another the rest. Undo reverts only the last run, and says so."""
    sandbox.faults.add(PATCH_USER, status=403, times=3)
    half = await applied(session, log, new_team(sandbox, 6))
    assert half.counts == {"created": 1, "failed": 3, "updated": 3}
    rest = await applied(session, log, new_team(sandbox, 6))
    with caplog.at_level(logging.WARNING, "ezeep_async.provisioning"):
        plan = await session.provisioning.undo(log)
    (note,) = plan.notes
    assert half.run_id in note
    assert f"only run {rest.run_id}" in note
    assert next(plan.diff()) == f"! {note}"
    assert note in caplog.text
    assert Plan.from_json(plan.to_json()).notes == plan.notes
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert len(members(sandbox, "Team")) == 3
    # With a run id, the other runs are not named.
    other = await session.provisioning.undo(log, half.run_id, delete_groups=True)
    assert other.notes == ()
    (await session.provisioning.apply(other)).raise_for_failures()
    assert "Team" not in names(sandbox)


async def test_7_15_a_log_of_one_run_gives_no_note(
    sandbox: Sandbox, session: EzeepSession, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """7-15: also with a second run that changed nothing."""
    await applied(session, log, new_team(sandbox, 3))
    begun = json.loads(log.read_text().splitlines()[0]) | {"run_id": "dead"}
    with log.open("a") as file:
        file.write(json.dumps(begun, separators=(",", ":")) + "\n")
    plan = await session.provisioning.undo(log)
    assert (plan.notes, caplog.text) == ((), "")


async def test_7_15_undo_names_groups_that_are_gone(
    sandbox: Sandbox, session: EzeepSession, log: Path
) -> None:
    group = add_team(sandbox, 8)
    await applied(session, log, DesiredState.from_mapping({"Team": emails(sandbox, 5)}), mode="exact")
    sandbox.organization.remove_group(group.id)
    plan = await session.provisioning.undo(log)
    assert plan.is_empty
    assert list(plan.diff()) == [f"! group {group.id} is gone: 3 people are not put back into it"]
