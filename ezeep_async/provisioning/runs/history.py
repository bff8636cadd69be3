"""`read_audit_history`: the runs of several audit logs, and which of them were undone. Blocks while it reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
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
class AuditedRun:
    """A run, by its lines in an audit log."""

    run_id: str
    path: Path
    started: datetime
    ended: datetime
    """Time of the last line."""
    first: AuditRecord | None = attrs.field(default=None, repr=False)
    """The first line. Logs of earlier releases have no mode and no number of changes in it."""
    undone: Undone = ""
    """Whether another run has undone this one: of those that were read."""
    changes: dict[_Key, AuditRecord] = attrs.field(factory=dict[_Key, AuditRecord], repr=False)
    """The last line of each change. Empty after `forget`."""
    outcomes: Counter[str] = attrs.field(factory=Counter[str])
    """Numbers of changes by their last outcome. Filled by `count`."""

    def add(self, record: AuditRecord) -> None:
        """Take another line of the run.

        Args:
            record: The line. Lines come in the order of the audit log.
        """
        self.ended = _aware(record.time)
        if record.operation == RUN:
            self.first = record
        else:
            subject = record.user_id or record.printer_id or record.name
            self.changes[record.operation, subject, record.organization_id] = record

    def count(self) -> None:
        """Fill `outcomes`, after the last line."""
        self.outcomes = Counter(record.outcome for record in self.changes.values())

    def forget(self) -> None:
        """Free the memory of the lines."""
        self.changes = {}

    @property
    def mode(self) -> str:
        """Mode of the plan; empty if it is not known."""
        return self.first.mode if self.first else ""

    @property
    def organization_id(self) -> UUID | None:
        """The organization; None if it is not known, or if there are several."""
        return self.first.organization_id if self.first else None

    @property
    def planned(self) -> int | None:
        """Number of changes of the plan; None if it is not known."""
        return self.first.changes if self.first else None

    @property
    def undoes(self) -> str:
        """Id of the run that this one reverted; empty for none."""
        return self.first.undoes if self.first else ""

    @property
    def changed(self) -> int:
        """Number of changes that were made."""
        return sum(self.outcomes[outcome] for outcome in MADE)

    @property
    def failed(self) -> int:
        """Number of changes that failed, or of which it is not known whether they were made."""
        return sum(self.outcomes[outcome] for outcome in ("failed", "unknown", STARTED))

    @property
    def end(self) -> End:
        """Whether the run came to its end. A run that is under way is "interrupted" too."""
        if self.outcomes[STARTED]:
            return "interrupted"
        if self.planned is None:
            return "unknown"
        return "finished" if self.outcomes.total() >= self.planned else "interrupted"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@attrs.define
class AuditHistory:
    """What was read from the audit logs."""

    runs: list[AuditedRun] = attrs.field(factory=list[AuditedRun])
    """The newest first."""
    problems: dict[Path, str] = attrs.field(factory=dict[Path, str])
    """Files that cannot be read, or only in part, with the reason."""


def read_audit_history(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], keep: Path | None = None
) -> AuditHistory:
    """Read audit logs: their runs, and which of them were undone by others. Blocks while it reads.

    Args:
        paths: The files that `apply` wrote, or one of them. A file that is no audit log, or is damaged, raises nothing.
        keep: The file whose runs have their `changes`. Those of many large logs would take much memory.

    Returns:
        The runs, the newest first, and the files that cannot be read or are damaged.
    """
    history = AuditHistory()
    for path in map(Path, [paths] if isinstance(paths, str | os.PathLike) else paths):
        try:
            if is_audit_log(path):
                runs = _read(path, history, keep=path == keep)
                problem = "" if runs else "it has no complete line of a run"
            else:
                problem = "it is not an audit log"
        except (AuditLogError, OSError) as error:
            problem = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}, ")
        if problem:
            history.problems[path] = problem
    history.runs.sort(key=lambda run: run.started, reverse=True)
    _mark_undone(history.runs)
    return history


def _read(path: Path, history: AuditHistory, *, keep: bool) -> int:
    runs: dict[str, AuditedRun] = {}
    try:
        for record in read_audit_log(path):
            run = runs.get(record.run_id)
            if run is None:
                moment = _aware(record.time)
                run = runs[record.run_id] = AuditedRun(record.run_id, path, moment, moment)
            run.add(record)
    finally:  # also those before a damaged line
        for run in runs.values():
            run.count()
            if not keep:
                run.forget()
        history.runs += runs.values()
    return len(runs)


def _mark_undone(runs: Iterable[AuditedRun]) -> None:
    """Mark runs, the newest first. A run that undid another one, and was undone itself, does not count."""
    undone: dict[str, Undone] = {}
    for run in runs:
        run.undone = undone.get(run.run_id, "")
        if run.undoes and run.undone != "undone" and undone.get(run.undoes) != "undone":
            is_complete = run.end == "finished" and not run.failed
            if is_complete or run.changed:
                undone[run.undoes] = "undone" if is_complete else "partly"
