"""The audit log: each write before it is sent, and its outcome, as lines of JSON (docs/requirements.md, 7-9 and 7-15)."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

import attrs

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._text.cleaning import cleaned_path
from ezeep_async._text.text_files import UTF8_BOM, NotText, line_of, without_bom
from ezeep_async._wire.converter import decode, encode
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.private import open_private
from ezeep_async.errors import AuditLogError, UnexpectedResponse
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.report import Row


STARTED = "started"
"""Outcome in the line before a write."""
RUN = "run"
"""Operation of the first line of a run."""
APPEND_S = 0.05
"""Longer than an append of another run takes until its last byte can be read."""
_AS_NUMBER = attrgetter("int")
_LINE_START = b'{"run_id":'
_RUN_ID = re.compile(rb'\{"run_id":"([^"]*)"')


@attrs.frozen(kw_only=True)
class AuditRecord:
    """One line of an audit log."""

    run_id: str
    time: datetime
    """UTC."""
    operation: str
    """Kind of the change; "run" in the first line of a run."""
    outcome: str
    """"started" before a write, then the outcome in the report."""
    user_id: UUID | None = None
    group_id: UUID | None = None
    name: str = ""
    """Name of the group or printer, or e-mail address or id of the user, for messages."""
    organization_id: UUID | None = None
    """Organization of a group that is created. In the first line of a run: that of all groups, None if there are several."""
    namesakes: tuple[UUID, ...] | None = None
    """In the first line of a run: ids of groups that existed with the names of the groups that it creates."""
    before: tuple[UUID, ...] | None = None
    """Ids of all groups of the user or printer before the write."""
    after: tuple[UUID, ...] | None = None
    """Ids of all groups of the user or printer after the write."""
    attempts: int = 0
    request_id: str = ""
    error: str = ""
    printer_id: UUID | None = None
    """Only in lines about printers."""
    mode: str = ""
    """Mode of the plan. Like the next ones, only in the first line of a run; earlier releases did not write them."""
    changes: int | None = None
    """Number of changes of the plan."""
    undoes: str = ""
    """Id of the run that the plan reverts."""


_FIELDS = tuple(field.name for field in attrs.fields(AuditRecord))
"""In this order: a line begins with the id of its run."""
_OPTIONAL = {"printer_id": None, "mode": "", "changes": None, "undoes": ""}
"""Fields that are left out of a line if they have these values."""


class AuditLog:
    """A file that lines are appended to. Raises `AuditLogError` if it cannot be written, then for each later line too."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(cleaned_path(path, "audit_log"))
        self.run_id = uuid4().hex
        self._pid = os.getpid()
        self._lines: list[bytes] = []
        self._next_append: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._broken: OSError | None = None

    async def check(self) -> None:
        """Raise `AuditLogError` if the file exists and is not an audit log."""
        try:
            if await asyncio.to_thread(is_audit_log, self.path):
                return
        except OSError as error:
            raise AuditLogError(f"the audit log {self.path} cannot be read: {error}") from error
        raise AuditLogError(f"{self.path} is not an audit log: use another file")

    async def begin(
        self, namesakes: Iterable[UUID], plan: Plan | None = None, organization_id: UUID | None = None
    ) -> None:
        """Write the first line of the run. An unwritable file is found here, before the first change."""
        record = AuditRecord(
            run_id=self.run_id,
            time=datetime.now(UTC),
            operation=RUN,
            outcome=STARTED,
            organization_id=organization_id,
            namesakes=tuple(namesakes),
        )
        if plan is not None:
            record = attrs.evolve(record, mode=plan.mode, changes=len(plan.changes), undoes=plan.undoes)
        await self.write(record)

    async def note(
        self,
        change: Change,
        row: Row | None = None,
        before: frozenset[UUID] | None = None,
        after: frozenset[UUID] | None = None,
    ) -> None:
        """Write the start of a change or, with its `row`, its outcome."""
        group_id = change.id if isinstance(change, DeleteGroup) else None
        await self.write(
            AuditRecord(
                run_id=self.run_id,
                time=datetime.now(UTC),
                operation=change.kind,
                outcome=STARTED if row is None else row.outcome,
                user_id=change.user_id if isinstance(change, ChangeMemberships) else None,
                group_id=group_id if row is None else row.group_id,
                name=change.subject,
                organization_id=change.organization_id if isinstance(change, CreateGroup) else None,
                before=_in_order(before),
                after=_in_order(after),
                attempts=0 if row is None else row.attempts,
                request_id="" if row is None else row.request_id,
                error="" if row is None else str(row.error or ""),
                printer_id=change.printer_id if isinstance(change, ChangeAssignments) else None,
            )
        )

    async def write(self, record: AuditRecord) -> None:
        """Append a line, and wait until it is on the disk. Lines that arrive during an append share the next one."""
        if self._pid != os.getpid():
            raise AuditLogError(f"the run of the audit log {self.path} belongs to the parent process")
        fields = {name: getattr(record, name) for name in _FIELDS}
        for name, absent in _OPTIONAL.items():
            if fields[name] == absent:
                del fields[name]
        self._lines.append(encode(fields) + b"\n")
        if self._next_append is None:
            self._next_append = ContainedTask(self._append_lines())
        # A cancelled caller does not interrupt the append: others may wait for it.
        await asyncio.shield(self._next_append)
        if broken := self._broken:
            raise AuditLogError(f"the audit log {self.path} cannot be written: {broken}") from broken

    async def _append_lines(self) -> None:
        async with self._turn:
            self._next_append, lines, self._lines = None, self._lines, []
            if self._broken is None:
                try:
                    await asyncio.to_thread(self._append, b"".join(lines))
                except OSError as error:
                    self._broken = error

    def _append(self, content: bytes) -> None:
        with open(self.path, "a+b", opener=open_private) as file:  # Path.open() takes no opener
            if not _ends_a_line(file):
                time.sleep(APPEND_S)  # another run may be in the middle of an append
                if not _ends_a_line(file):
                    file.write(b"\n")  # ends the line that a killed process left
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def is_audit_log(path: Path) -> bool:
    """Whether a file begins as a log does, or does not exist. Blocks. Raises `OSError`."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        # Two lines: a killed process may have left a part of the first, and many other files begin with "{".
        start = file.read(4096).removeprefix(UTF8_BOM).lstrip()
    return all(_may_be_torn(line.removeprefix(UTF8_BOM)) for line in start.splitlines()[:2])


def _in_order(ids: frozenset[UUID] | None) -> tuple[UUID, ...] | None:
    # The order of `UUID`, whose own comparison is much slower.
    return None if ids is None else tuple(sorted(ids, key=_AS_NUMBER))


def _ends_a_line(file: BinaryIO) -> bool:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 1))
    return not end or file.read(1) == b"\n"


def read_audit_log(path: str | os.PathLike[str]) -> Iterator[AuditRecord]:
    """Iterate over the lines of an audit log, in their order. Blocks while it reads.

    The last line of a run is skipped if it is incomplete, because the process was killed while it wrote the line.

    Args:
        path: The file. It is opened when the iteration begins.

    Returns:
        An iterator, which raises the errors below while it is read.

    Raises:
        AuditLogError: The file is not an audit log, or a line is damaged that is not the last one of its run.
        OSError: The file cannot be read.
    """
    return _records(expanded(cleaned_path(path, "audit_log")))


def _records(path: Path) -> Iterator[AuditRecord]:
    torn: dict[str, int] = {}
    # Text with any line ends, because editors change them. Other bytes than UTF-8 are kept for the messages.
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for number, text in enumerate(file, 1):
            line = text.strip("\ufeff \t\r\n").encode(errors="surrogateescape")
            if not line:
                continue
            record = None
            try:
                record = decode(line, AuditRecord)
                run_id = record.run_id
            except UnexpectedResponse:
                if problem := _problem(line):
                    raise AuditLogError(f"{path}, line {number}: {problem}") from None
                found = _RUN_ID.match(line)
                run_id = found[1].decode(errors="replace") if found else ""
            if run_id in torn:  # a killed process writes no line after the incomplete one
                raise AuditLogError(
                    f"{path}, line {torn[run_id]}: this line is damaged, so undo would not revert its change"
                )
            if record is not None:
                yield record
            elif run_id:
                torn[run_id] = number


def _problem(line: bytes) -> str | None:
    """Describe an invalid line. None if a killed process may have left it."""
    try:
        without_bom(line)
        if line.endswith(b"}"):  # complete: an editor saved it in another encoding
            line_of(line)
    except NotText as error:
        return str(error)
    return None if _may_be_torn(line) else "this is no line of an audit log"


def _may_be_torn(line: bytes) -> bool:
    """Whether the line begins as a line of a log does, as far as it goes."""
    return line.startswith(_LINE_START) or _LINE_START.startswith(line.strip())
