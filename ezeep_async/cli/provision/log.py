"""`ezeep provision log`: the runs in the audit logs, and what one of them did."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from ezeep_async import AuditLogError
from ezeep_async.cli.connection import AtLeastOne, Json
from ezeep_async.cli.files import audit_folder
from ezeep_async.cli.terminal.output import complain, write_json
from ezeep_async.cli.terminal.screen import Screen, Whole, to_json
from ezeep_async.provisioning.wording import counted


if TYPE_CHECKING:
    from ezeep_async.provisioning import AuditedRun, AuditRecord

LATER_LOGS = 100
"""Newer logs in which the undo of a run is searched."""
WORDS = {
    "create_group": "create group",
    "invite_person": "invite",
    "change_memberships": "user",
    "change_assignments": "printer",
    "delete_group": "delete group",
}


async def show_log(
    log: Path | None = None,
    /,
    *,
    run_id: str | None = None,
    last: AtLeastOne = 20,
    as_json: Json = False,
) -> None:
    """List the runs of apply and undo, the newest first; or, with an audit log, show each change of its runs.

    A run is interrupted if some of its changes have no outcome: it was ended, or is under way. A run is undone if a later run
    of the listed logs reverted it. Other files of a folder are skipped.

    Args:
        log: An audit log, whose changes are shown; or a folder of audit logs, which are listed. By default the folder in
            which apply puts them.
        run_id: Only this run, in a log of several.
        last: Only the newest audit logs of a folder, this many.
    """
    if log is None or await asyncio.to_thread(log.is_dir):
        if run_id is not None:
            raise ValueError("--run-id needs an audit log: ezeep provision log AUDIT_LOG --run-id ID")
        await _list(log, last, as_json=as_json)
    else:
        await _show(log, run_id, as_json=as_json)


async def _list(named: Path | None, last: int, *, as_json: bool) -> None:
    from ezeep_async.provisioning import read_audit_history

    folder = audit_folder() if named is None else named
    paths, others = await asyncio.to_thread(_logs, folder)
    history = await asyncio.to_thread(read_audit_history, paths[:last])
    if as_json:
        records = [_plain(run) | {"problem": history.problems.get(run.path)} for run in history.runs]
        read = {run.path for run in history.runs}
        unread = {path: problem for path, problem in history.problems.items() if path not in read}
        write_json(to_json(records + [{"path": str(path), "problem": unread[path]} for path in unread]))
        return
    screen = Screen()
    if history.runs:
        with_organization = len({run.organization_id for run in history.runs}) > 1
        columns = ("when", "mode", "changed", "failed", "end", "undone", "organization", "audit log")
        kept = [at for at, name in enumerate(columns) if name != "organization" or with_organization]
        rows = [_row(run) for run in history.runs]
        screen.table([columns[at] for at in kept], [[row[at] for at in kept] for row in rows])
    else:
        screen.say("No audit logs in", Whole(folder))
    if (more := len(paths) - last) > 0:
        screen.note(
            f"{counted(more, 'older log is', 'older logs are')} not shown:", Whole(f"--last {len(paths)}")
        )
    for path, problem in history.problems.items():
        complain(f"{path}: {problem}")
    # The folder of apply has only audit logs. A folder that the person named may have anything, but not that alone.
    if others and (named is None or not paths):
        complain(f"in {folder}, {counted(others, 'file is not an audit log', 'files are not audit logs')}")


async def _show(log: Path, run_id: str | None, *, as_json: bool) -> None:
    """Raises `AuditLogError` and `OSError`."""
    from ezeep_async.provisioning import read_audit_history

    history = await asyncio.to_thread(lambda: read_audit_history([log, *_later(log)], keep=log))
    if problem := history.problems.get(log):
        raise AuditLogError(f"{log}: {problem}")
    runs = [run for run in history.runs if run.path == log and run_id in {None, run.run_id}]
    if not runs:
        raise AuditLogError(f"no run {run_id} in {log}")
    if as_json:
        write_json(
            to_json([_plain(run) | {"rows": [*map(_plain_row, run.changes.values())]} for run in runs])
        )
        return
    screen = Screen()
    for run in runs:
        facts = {
            "run": run.run_id,
            "when": _local(run.started),
            "organization": run.organization_id,
            "mode": run.mode or None,
            "undoes run": run.undoes or None,
            "changes planned": run.planned,
            "changed": run.changed,
            "failed": run.failed,
            "end": run.end,
            "undone": {"": "no", "undone": "yes"}.get(run.undone, run.undone),
        }
        screen.facts({name: value for name, value in facts.items() if value is not None})
        if run.changes:
            screen.table(
                ("name", "change", "outcome", "groups", "error"), [*map(_change_row, run.changes.values())]
            )


def _logs(folder: Path) -> tuple[list[Path], int]:
    """The audit logs of a folder, the newest first, and the number of other files. A log that cannot be read counts."""
    from ezeep_async.provisioning.runs.audit import is_audit_log

    def is_log(path: Path) -> bool:
        try:
            return path.stat().st_size > 0 and is_audit_log(path)
        except OSError:
            return True  # `read_audit_history` has the reason

    files = _newest(folder)
    logs = [path for path in files if is_log(path)]
    return logs, len(files) - len(logs)


def _newest(folder: Path) -> list[Path]:
    """The files of a folder, the newest first; none if it does not exist."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _later(log: Path) -> list[Path]:
    """Audit logs in the same folder that are newer: one of them may be of the undo. Raises `OSError`."""
    since = log.stat().st_mtime_ns
    others = (path for path in _newest(log.absolute().parent) if path.suffix == log.suffix)
    later = takewhile(lambda path: path.stat().st_mtime_ns >= since, others)
    return [path for path in islice(later, LATER_LOGS) if not path.samefile(log)]


def _row(run: AuditedRun) -> Sequence[object]:
    return (
        _local(run.started),
        run.mode,
        run.changed,
        run.failed,
        run.end,
        run.undone,
        run.organization_id or "",
        Whole(run.path),
    )


def _change_row(record: AuditRecord) -> Sequence[object]:
    before, after = frozenset(record.before or ()), frozenset(record.after or ())
    groups = [f"{sign}{len(ids)}" for sign, ids in (("+", after - before), ("-", before - after)) if ids]
    outcome = "not known" if record.outcome == "started" else record.outcome.replace("_", " ")
    return (
        record.name,
        WORDS.get(record.operation, record.operation),
        outcome,
        " ".join(groups),
        record.error,
    )


def _local(moment: datetime) -> str:
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):  # a damaged log
        return moment.isoformat()


def _plain(run: AuditedRun) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "started": run.started,
        "ended": run.ended,
        "organization_id": run.organization_id,
        "mode": run.mode or None,
        "planned": run.planned,
        "changed": run.changed,
        "failed": run.failed,
        "end": run.end,
        "undone": run.undone or None,
        "undoes": run.undoes or None,
        "path": str(run.path),
    }


def _plain_row(record: AuditRecord) -> dict[str, object]:
    return {
        "time": record.time,
        "operation": record.operation,
        "name": record.name,
        "outcome": record.outcome,
        "user_id": record.user_id,
        "printer_id": record.printer_id,
        "group_id": record.group_id,
        "before": record.before,
        "after": record.after,
        "attempts": record.attempts,
        "request_id": record.request_id or None,
        "error": record.error or None,
    }
