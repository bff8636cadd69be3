"""The audit log: what a run is about to write, and what became of it, as JSON lines (requirements 7-9, 7-15).

Every write is noted twice: as "started", on the disk before it is sent, and with its outcome after the answer. So
whatever kills the process, the log has everything that may have been written, and `session.provisioning.undo` can
take it back.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import attrs

from ezeep_async._text.cleaning import cleaned_path
from ezeep_async._text.text_files import UTF8_BOM, NotText, line_of, lines_of, without_bom
from ezeep_async._wire.converter import decode, encode
from ezeep_async._wire.structuring import unstructure
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.private import open_private
from ezeep_async.errors import AuditLogError, UnexpectedResponse
from ezeep_async.provisioning.plans.changes import Change, ChangeMemberships, CreateGroup, DeleteGroup


STARTED = "started"
"""The outcome of a write that is about to be made."""
RUN = "run"
"""The operation of the line that a run begins with."""
_FIRST = b'{"run_id":'
"""How each line begins."""
_RUN_ID = re.compile(rb'\{"run_id":"([^"]*)"')


@attrs.frozen(kw_only=True)
class AuditRecord:
    """One line."""

    run_id: str
    time: datetime
    """UTC."""
    operation: str
    """The kind of the change; "run" in the line that a run begins with."""
    outcome: str
    """"started", or one of a report's outcomes."""
    user_id: UUID | None = None
    group_id: UUID | None = None
    name: str = ""
    """The group's name, or whom it is about, for people."""
    organization_id: UUID | None = None
    """Where a group is created."""
    namesakes: tuple[UUID, ...] | None = None
    """In the line that a run begins with: the groups that there were of the names that it creates groups of."""
    before: tuple[UUID, ...] | None = None
    """All groups of the user before the write."""
    after: tuple[UUID, ...] | None = None
    """All groups of the user after it."""
    attempts: int = 0
    request_id: str = ""
    error: str = ""


class AuditLog:
    """A file that lines are appended to, each of them on the disk before `write` returns.

    Callers that come while the disk is busy share its next turn. Raises `AuditLogError` when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = expanded(cleaned_path(path, "audit_log"))
        self.run_id = uuid4().hex
        self._pending: list[bytes] = []
        self._taken = 0
        self._written = 0
        self._turn = asyncio.Lock()
        self._broken: OSError | None = None
        self._pid = os.getpid()

    async def note(
        self,
        change: Change,
        outcome: str,
        *,
        group_id: UUID | None = None,
        before: frozenset[UUID] | None = None,
        after: frozenset[UUID] | None = None,
        attempts: int = 0,
        request_id: str = "",
        error: str = "",
    ) -> None:
        """Write what is about to become of a change, or what became of it."""
        await self.write(
            AuditRecord(
                run_id=self.run_id,
                time=datetime.now(UTC),
                operation=change.kind,
                outcome=outcome,
                user_id=change.user_id if isinstance(change, ChangeMemberships) else None,
                group_id=change.id if isinstance(change, DeleteGroup) else group_id,
                name=change.subject,
                organization_id=change.organization_id if isinstance(change, CreateGroup) else None,
                before=None if before is None else tuple(sorted(before)),
                after=None if after is None else tuple(sorted(after)),
                attempts=attempts,
                request_id=request_id,
                error=error,
            )
        )

    async def write(self, record: AuditRecord) -> None:
        """Append one line, and wait until it is on the disk."""
        if self._pid != os.getpid():
            raise AuditLogError(f"the run of the audit log {self.path} goes on in the parent process")
        self._pending.append(encode(unstructure(record)) + b"\n")
        self._taken += 1
        ticket = self._taken
        async with self._turn:
            if self._written >= ticket:
                return  # somebody took it along
            lines, self._pending = self._pending, []
            upto = self._taken
            if self._broken is None:
                try:
                    # Waited for to its end: a line that is half written when its caller is cancelled would be lost.
                    await asyncio.shield(asyncio.to_thread(self._append, b"".join(lines)))
                except OSError as error_:
                    self._broken = error_
            self._written = upto
        if self._broken is not None:
            raise AuditLogError(
                f"the audit log {self.path} cannot be written: {self._broken}"
            ) from self._broken

    async def check(self) -> None:
        """Raise `AuditLogError` for a file that holds something else. It may not be there yet; it is left as it is."""
        try:
            ours = await asyncio.to_thread(self._is_ours)
        except OSError as error:
            raise AuditLogError(f"the audit log {self.path} cannot be read: {error}") from error
        if not ours:
            raise AuditLogError(f"{self.path} holds something else than an audit log: give another file")

    def _is_ours(self) -> bool:
        if not self.path.is_file():
            return True
        with self.path.open("rb") as file:
            # Two lines: the first may be what is left of a process that was killed, and a "{" begins many files.
            begin = file.read(4096).removeprefix(UTF8_BOM).lstrip()
            return all(_may_be_torn(line.removeprefix(UTF8_BOM)) for line in begin.splitlines()[:2])

    async def begin(self, namesakes: Iterable[UUID]) -> None:
        """Write the run's first line, before anything is written elsewhere. A disk that is full is found out here."""
        await self.write(
            AuditRecord(
                run_id=self.run_id,
                time=datetime.now(UTC),
                operation=RUN,
                outcome=STARTED,
                namesakes=tuple(namesakes),
            )
        )

    def _append(self, content: bytes) -> None:
        # It names people and their groups: nobody else's business.
        with open(self.path, "a+b", opener=open_private) as file:  # Path.open() takes no opener
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # what a killed process left of its last line stays a line of its own
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def read_audit_log(path: str | os.PathLike[str]) -> Iterator[AuditRecord]:
    """The lines of a log, in their order. A line that a killed process left unfinished is passed over: its last one.

    Blocks while it reads. Raises `AuditLogError` for a file that is no audit log, for a line that is damaged and is not
    the last one of its run, and `OSError`.
    """
    return _records(expanded(cleaned_path(path, "audit_log")))


def _records(path: Path) -> Iterator[AuditRecord]:
    torn: dict[str, int] = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = decode(line, AuditRecord)
        except UnexpectedResponse as error:
            if not _may_be_torn(line):
                raise AuditLogError(f"{path}, line {number}: this is no line of an audit log") from error
            _refuse_other_encoding(path, number, line)
            run_id = _run_id(line)
            if run_id:
                _refuse_damage(path, torn.get(run_id))
                torn[run_id] = number
            continue
        _refuse_damage(path, torn.get(record.run_id))
        yield record


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers, whatever ends them, and whatever marks an editor put before them."""
    number = 0
    with path.open("rb") as file:
        for chunk in file:
            try:
                whole = without_bom(chunk) if number == 0 else chunk
            except NotText as error:
                raise AuditLogError(f"{path}, line 1: {error}") from None
            for _, line in lines_of(whole.removesuffix(b"\n").removesuffix(b"\r")):
                number += 1
                yield number, line.removeprefix(UTF8_BOM)  # of a log that was appended to another


def _refuse_other_encoding(path: Path, number: int, line: bytes) -> None:
    """A whole line of another encoding was not torn: an editor saved it, and what it says would not be taken back."""
    if not line.rstrip().endswith(b"}"):
        return
    try:
        line_of(line)
    except NotText as error:
        raise AuditLogError(f"{path}, line {number}: {error}") from None


def _may_be_torn(line: bytes) -> bool:
    """Whether it begins as a line does, as far as it goes."""
    return line.startswith(_FIRST) or _FIRST.startswith(line.strip())


def _run_id(line: bytes) -> str:
    """The run that a line is of; empty where it was torn too early to tell."""
    found = _RUN_ID.match(line)
    return found[1].decode(errors="replace") if found else ""


def _refuse_damage(path: Path, number: int | None) -> None:
    """A process that was killed in the middle of a line writes no other."""
    if number is not None:
        raise AuditLogError(
            f"{path}, line {number}: this line is damaged, and what it says was done would not be taken back"
        )
