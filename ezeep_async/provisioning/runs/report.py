"""`Report`: the outcome of a plan, for each change and for each line of the input."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Generator, Iterator
from typing import IO, Any, Literal
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import cleaned_path
from ezeep_async._wire.converter import encode
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.private import open_private
from ezeep_async.errors import EzeepError
from ezeep_async.models.record import Record
from ezeep_async.provisioning.csv_cells import csv_line
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.names import normalize_printer
from ezeep_async.provisioning.plans.changes import (
    Change,
    ChangeAssignments,
    ChangeMemberships,
    InvitePerson,
    Regrouping,
    TargetGroup,
)
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.wording import counted, some


Outcome = Literal[
    "created",
    "adopted",
    "invited",
    "updated",
    "unchanged",
    "deleted",
    "kept",
    "already_absent",
    "failed",
    "unknown",
    "not_started",
]
"""`adopted`: the group existed when it was to be created. `unchanged`: the change was already in place. `kept`: a group that
is in use was not deleted. `already_absent`: the user, printer or group of a removal does not exist. `failed`: the change was not made.
`unknown`: it may have been made, because the response was lost or an error followed the write. `not_started`: the run ended
before."""
NotDone = Literal["failed", "unknown", "not_started"]
FAILURES_SHOWN = 5
"""Failures in the message of `ProvisioningFailed`. Its report has all of them."""
COLUMNS = ("change", "outcome", "user_id", "group_id", "attempts", "request_id", "seconds", "error")
PRINTER_COLUMN = "printer_id"
"""The last column of a report on printers. Other reports do not have it."""


@attrs.frozen(kw_only=True)
class Row:
    """The outcome of one change."""

    change: Change
    outcome: Outcome
    error: EzeepError | None = None
    seconds: float = 0.0
    attempts: int = 0
    """Requests that the last response took; 0 if no request was sent."""
    request_id: str = ""
    group_id: UUID | None = None
    """The group that was created, adopted or deleted."""
    added: tuple[TargetGroup, ...] = ()
    """Groups of the change that the user or printer got with this write, also in a row that failed for other groups."""
    removed: tuple[TargetGroup, ...] = ()
    """Groups of the change that the user or printer lost with this write."""

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do."""
        return self.not_done is None

    @property
    def not_done(self) -> NotDone | None:
        """The outcome if something is left to do, otherwise None."""
        if self.outcome == "failed" or self.outcome == "unknown" or self.outcome == "not_started":  # noqa: PLR1714  # type checkers narrow it
            return self.outcome
        return None

    def to_dict(self) -> dict[str, object]:
        """Return the row as plain JSON values.

        Returns:
            The values by column of `Report.write_csv`. `seconds` is rounded to milliseconds.
        """
        change = self.change
        values: dict[str, object] = {
            "change": str(change),
            "outcome": self.outcome,
            "user_id": str(change.user_id) if isinstance(change, ChangeMemberships) else None,
            "group_id": None if self.group_id is None else str(self.group_id),
            "attempts": self.attempts,
            "request_id": self.request_id,
            "seconds": round(self.seconds, 3),
            "error": str(self.error or ""),
        }
        if isinstance(change, ChangeAssignments):
            values[PRINTER_COLUMN] = str(change.printer_id)
        return values


@attrs.frozen
class Difference:
    """A membership that differs from the plan in the last listing after a run."""

    user_id: UUID
    member: str
    """E-mail address or id, for messages."""
    group_id: UUID
    group: str
    """Name of the group."""
    is_member: bool
    """True: the user is in the group and should not be. False: the user is not in the group and should be."""

    def __str__(self) -> str:
        if self.is_member:
            return f"{self.member} is in {self.group!r} and should not be"
        return f"{self.member} is not in {self.group!r} and should be"

    def to_dict(self) -> dict[str, object]:
        """Return the difference as plain JSON values.

        Returns:
            The values by column of `Report.write_csv`, with the outcome "different".
        """
        return {
            **dict.fromkeys(COLUMNS, ""),
            "change": str(self),
            "outcome": "different",
            "user_id": str(self.user_id),
            "group_id": str(self.group_id),
        }


@attrs.frozen
class AssignmentDifference:
    """An assignment of a printer that differs from the plan in the last listing after a run."""

    printer_id: UUID
    printer: str
    """Name or id, for messages."""
    group_id: UUID
    group: str
    """Name of the group."""
    is_assigned: bool
    """True: the group has the printer and should not. False: the group does not have it and should."""

    def __str__(self) -> str:
        if self.is_assigned:
            return f"printer {self.printer} is assigned to {self.group!r} and should not be"
        return f"printer {self.printer} is not assigned to {self.group!r} and should be"

    def to_dict(self) -> dict[str, object]:
        """Return the difference as plain JSON values, as `Difference.to_dict`."""
        return {
            **dict.fromkeys(COLUMNS, ""),
            "change": str(self),
            "outcome": "different",
            "group_id": str(self.group_id),
            PRINTER_COLUMN: str(self.printer_id),
        }


@attrs.frozen
class Line(Record):
    """The outcome of one line of the input: one member or one printer in one group."""

    group: str
    member: str
    """The member, or the printer."""
    outcome: Literal["added", "unchanged", "skipped", "waiting"] | NotDone
    error: str = ""


@attrs.frozen
class Report:
    """The outcome of a plan: one row for each change, in the order of the plan."""

    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    """Duration of the run."""
    run_id: str = ""
    """Id of the run in the audit log; empty without a log."""
    warnings: tuple[str, ...] = ()
    """Sentences about successful changes that need attention, such as a group that another run created as well."""
    differences: tuple[Difference, ...] = ()
    """With `verify_after`: memberships that differ from the plan in the last listing."""
    unverified: str = ""
    """With `verify_after`: why the memberships or printers were not compared with the plan; empty if they were."""
    assignment_differences: tuple[AssignmentDifference, ...] = ()
    """With `verify_after`: assignments of printers that differ from the plan in the last listing."""

    @property
    def ok(self) -> bool:
        """Whether every change was made and, with `verify_after`, was found afterwards."""
        return all(row.ok for row in self.rows) and not self._different and not self.unverified

    @property
    def counts(self) -> Counter[str]:
        """Number of rows with each outcome."""
        return Counter(row.outcome for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that are not `ok`: failed, unknown or not started."""
        return tuple(row for row in self.rows if not row.ok)

    @property
    def groups_created(self) -> int:
        """Number of new groups."""
        return self.counts["created"]

    @property
    def users_changed(self) -> int:
        """Number of users whose groups changed."""
        return len(
            {
                row.change.user_id
                for row in self.rows
                if isinstance(row.change, ChangeMemberships) and (row.added or row.removed)
            }
        )

    @property
    def memberships_added(self) -> int:
        """Number of memberships that the run added."""
        return sum(len(row.added) for row in self.rows if isinstance(row.change, ChangeMemberships))

    @property
    def memberships_removed(self) -> int:
        """Number of memberships that the run removed."""
        return sum(len(row.removed) for row in self.rows if isinstance(row.change, ChangeMemberships))

    @property
    def printers_changed(self) -> int:
        """Number of printers whose groups changed."""
        changed = [row.change for row in self._assignment_rows if row.added or row.removed]
        return len({change.printer_id for change in changed if isinstance(change, ChangeAssignments)})

    @property
    def assignments_added(self) -> int:
        """Number of assignments of printers that the run added."""
        return sum(len(row.added) for row in self._assignment_rows)

    @property
    def assignments_removed(self) -> int:
        """Number of assignments of printers that the run removed."""
        return sum(len(row.removed) for row in self._assignment_rows)

    def summary(self) -> str:
        """Describe the report in one line.

        Returns:
            The numbers of rows by outcome, as the command shows them.
        """
        text = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in self.counts.items())
        if self._different:
            text += f", {self.different} different afterwards"
        elif self.unverified:
            text += ", not verified"
        if self.warnings:
            text += f" ({counted(len(self.warnings), 'warning')})"
        return text or "nothing to do"

    def raise_for_failures(self) -> None:
        """Raise an error if the report is not `ok`.

        Raises:
            ProvisioningFailed: A change was not made, its outcome is unknown, or memberships or printers differ afterwards.
        """
        if self.ok:
            return
        failures = self.failures
        if failures:
            listed = [f"{row.change}: {row.error or row.outcome}" for row in failures[:FAILURES_SHOWN]]
            if (more := len(failures) - FAILURES_SHOWN) > 0:
                listed.append(f"and {more} more")
            unknown = self.counts["unknown"]
            message = f"{len(failures)} of {counted(len(self.rows), 'change')} were not made"
            message += f" (of {unknown} it is not known): " if unknown else ": "
            message += "; ".join(listed)
        elif self._different:
            message = f"{self.different} different after the run: "
            message += some([*map(str, self._different)], FAILURES_SHOWN)
        else:
            message = f"everything was written and nothing verified: {self.unverified}"
        raise ProvisioningFailed(message, report=self)

    def lines(self, desired: DesiredState, plan: Plan) -> Iterator[Line]:
        """Iterate over the outcome of each line of the input, in its order.

        Args:
            desired: The input that the plan was made from. Its duplicate lines are one.
            plan: The plan that was applied.

        Returns:
            An iterator with a `Line` for each pair of a group and a member, then for each pair of a group and a printer.
        """
        skipped, waiting = frozenset(plan.skipped), frozenset(plan.waiting)
        of_line = self._rows_by_line()
        invited = {row.change.email: row for row in self.rows if isinstance(row.change, InvitePerson)}
        for group, members in desired.groups.items():
            for member in members:
                found = of_line.get((ChangeMemberships, group, member)) or invited.get(member)
                if member in skipped:
                    yield Line(group, member, "skipped", "not in the organization")
                else:
                    is_waiting = member in waiting or member in invited
                    yield _line(group, member, found, "waiting" if is_waiting else "unchanged")
        for group, printers in desired.printers.items():
            for printer in printers:
                yield _line(group, printer, of_line.get((ChangeAssignments, group, printer)))

    def to_dict(self) -> dict[str, object]:
        """Return the report as plain JSON values: its numbers, and each row and each difference as `write_jsonl` writes it.

        Returns:
            The object that `ezeep provision apply --json` prints, without the path of the audit log.
        """
        return {
            "ok": self.ok,
            "run_id": self.run_id,
            "seconds": round(self.seconds, 3),
            "counts": dict(self.counts),
            "memberships_added": self.memberships_added,
            "memberships_removed": self.memberships_removed,
            "assignments_added": self.assignments_added,
            "assignments_removed": self.assignments_removed,
            "warnings": [*self.warnings],
            "differences": [difference.to_dict() for difference in self._different],
            "unverified": self.unverified,
            "rows": [row.to_dict() for row in self.rows],
        }

    def write_jsonl(self, file: IO[bytes] | str | os.PathLike[str]) -> None:
        """Write each row and each difference as a line of JSON. Blocks.

        Args:
            file: A path, or a file that is open for bytes. A new file is readable by its owner only.

        Raises:
            OSError: The file cannot be written.
        """
        with _opened(file, "wb") as out:
            out.writelines(encode(each) + b"\n" for each in self._plain())

    def write_csv(self, file: IO[str] | str | os.PathLike[str]) -> None:
        """Write a header, and each row and each difference as a line of CSV. Blocks.

        A single quote precedes a cell that a spreadsheet would take for a formula (OWASP, "CSV Injection"). `write_jsonl`
        writes all texts unchanged.

        Args:
            file: A path, or a file that is open for text with `newline=""`. A path is written in UTF-8, and a new file is
                readable by its owner only.

        Raises:
            OSError: The file cannot be written.
        """
        with _opened(file, "w", encoding="utf-8", newline="") as out:
            has_printers = self._assignment_rows or self.assignment_differences
            columns = (*COLUMNS, PRINTER_COLUMN) if has_printers else COLUMNS
            out.write(csv_line(columns, "\r\n"))
            out.writelines(csv_line(map(each.get, columns), "\r\n") for each in self._plain())

    @property
    def different(self) -> str:
        """The numbers of memberships and assignments that differ, for messages; empty if none does."""
        parts = [
            counted(len(found), noun)
            for found, noun in (
                (self.differences, "membership"),
                (self.assignment_differences, "printer assignment"),
            )
            if found
        ]
        return " and ".join(parts)

    @property
    def _different(self) -> tuple[Difference | AssignmentDifference, ...]:
        return (*self.differences, *self.assignment_differences)

    @property
    def _assignment_rows(self) -> list[Row]:
        return [row for row in self.rows if isinstance(row.change, ChangeAssignments)]

    def _rows_by_line(self) -> dict[tuple[type[Change], str, str], Row]:
        """The rows by group, and by what a line of the input may contain: an address or a name, or an id."""
        return {
            (type(change), target.name, text): row
            for row in self.rows
            if isinstance(change := row.change, Regrouping)
            for target in change.add
            for text in (normalize_printer(change.subject), str(change.record_id))
        }

    def _plain(self) -> Iterator[dict[str, object]]:
        yield from (row.to_dict() for row in self.rows)
        yield from (difference.to_dict() for difference in self._different)


def _line(
    group: str, item: str, row: Row | None, otherwise: Literal["waiting", "unchanged"] = "unchanged"
) -> Line:
    if row is not None and any(target.name == group for target in row.added):
        return Line(group, item, "added")
    if row is not None and row.not_done is not None:
        return Line(group, item, row.not_done, str(row.error or ""))
    return Line(group, item, otherwise)


@contextlib.contextmanager
def _opened(file: IO[Any] | str | os.PathLike[str], mode: str, **options: str) -> Generator[IO[Any]]:
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    with open(expanded(cleaned_path(file, "file")), mode, opener=open_private, **options) as opened:  # type: ignore[call-overload]  # the mode is a variable
        yield opened


class ProvisioningFailed(EzeepError):
    """Some changes were not made, or did not last.

    Plan and apply the same input again to make the missing changes.

    Attributes:
        report: The outcome of each change.
    """

    def __init__(self, message: str, *, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = Report() if report is None else report


def report_of(error: BaseException | None) -> Report | None:
    """Return the report of a run that an exception ended.

    Args:
        error: The exception: a cancellation, a time limit, `KeyboardInterrupt`, or what `on_event` raised. Its causes and
            contexts are searched too.

    Returns:
        The report, or None if no run was ended.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        report = getattr(error, "report", None)
        if isinstance(report, Report):
            return report
        error = error.__cause__ or error.__context__
    return None
