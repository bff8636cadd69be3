"""`read_history`: the runs of several audit logs, and which of them were undone. Blocks while it reads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

import attrs

from ezeep_async.errors import AuditLogError
from ezeep_async.provisioning.runs.audit import RUN, STARTED, AuditRecord, is_audit_log, read_audit_log


End = Literal["finished", "interrupted", "unknown"]
Undone = Literal["", "undone", "partly"]

MADE = frozenset({"created", "invited", "updated", "deleted"})
"""Outcomes of changes that were made."""

_Key = tuple[str, UUID | str | None, UUID | None]


@attrs.define
class LoggedChanges:
    """A run, by its lines in an audit log."""

    run_id: str
    path: Path
    started: datetime
    ended: datetime
    """Time of the last line."""
    mode: str = ""
    """Empty in logs of earlier releases."""
    organization_id: UUID | None = None
    planned: int | None = None
    """Number of changes of the plan. None in logs of earlier releases."""
    undoes: str = ""
    undone: Undone = ""
    """Whether another run has undone this one: of those that were read."""
    changes: dict[_Key, AuditRecord] = attrs.field(factory=dict[_Key, AuditRecord], repr=False)
    """The last line of each change."""

    def add(self, record: AuditRecord) -> None:
        """Take another line of the run."""
        self.ended = record.time
        if record.operation == RUN:
            self.mode, self.planned, self.undoes = record.mode, record.changes, record.undoes
            self.organization_id = record.organization_id
        else:
            subject = record.user_id or record.printer_id or record.name
            self.changes[record.operation, subject, record.organization_id] = record

    @property
    def changed(self) -> int:
        """Number of changes that were made."""
        return sum(each.outcome in MADE for each in self.changes.values())

    @property
    def failed(self) -> int:
        """Number of changes that failed, or of which it is not known whether they were made."""
        return sum(each.outcome in {"failed", "unknown", STARTED} for each in self.changes.values())

    @property
    def end(self) -> End:
        """Whether the run came to its end. A run that is under way is "interrupted" too."""
        ended = sum(each.outcome != STARTED for each in self.changes.values())
        if ended < len(self.changes):
            return "interrupted"
        if self.planned is None:
            return "unknown"
        return "finished" if ended >= self.planned else "interrupted"


@attrs.define
class History:
    """What was read from the audit logs."""

    runs: list[LoggedChanges] = attrs.field(factory=list[LoggedChanges])
    """The newest first."""
    problems: dict[Path, str] = attrs.field(factory=dict[Path, str])
    """Files that cannot be read, or only in part, with the reason."""


def read_history(paths: Iterable[Path]) -> History:
    """Read audit logs. Files that are none, or are damaged, are in `problems`."""
    history = History()
    for path in paths:
        try:
            if is_audit_log(path):
                runs = _read(path, history)
                problem = "" if runs else "it has no complete line of a run"
            else:
                problem = "it is not an audit log"
        except (AuditLogError, OSError) as error:
            problem = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}, ")
        if problem:
            history.problems[path] = problem
    history.runs.sort(key=lambda run: run.started.timestamp(), reverse=True)
    _mark_undone(history.runs)
    return history


def _read(path: Path, history: History) -> int:
    runs: dict[str, LoggedChanges] = {}
    for record in read_audit_log(path):
        run = runs.get(record.run_id)
        if run is None:
            run = runs[record.run_id] = LoggedChanges(record.run_id, path, record.time, record.time)
            history.runs.append(run)  # now: the next line may be damaged
        run.add(record)
    return len(runs)


def _mark_undone(runs: Iterable[LoggedChanges]) -> None:
    """Mark runs, the newest first. A run that undid another one, and was undone itself, does not count."""
    undone: dict[str, Undone] = {}
    for run in runs:
        run.undone = undone.get(run.run_id, "")
        if run.undoes and run.undone != "undone" and undone.get(run.undoes) != "undone":
            is_complete = run.end == "finished" and not run.failed
            if is_complete or run.changed:
                undone[run.undoes] = "undone" if is_complete else "partly"
