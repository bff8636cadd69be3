"""`Report`: what became of a plan, change by change, or line by line of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Literal
from uuid import UUID

import attrs

from ezeep_async._wire.converter import encode
from ezeep_async.errors import EzeepError
from ezeep_async.provisioning.csv_cells import csv_line
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.plans.changes import Change, ChangeMemberships, InvitePerson, TargetGroup
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
"""`adopted`: the group had come into being in the meantime; `unchanged`: somebody else had done it; `kept`: a group that
is used was not deleted; `already_absent`: the user or group that something was to be taken from is gone; `failed`: it was
not made; `unknown`: it may have been made, as an answer was lost, or as an error came after a write that was answered;
`not_started`: the run was ended before."""
NotDone = Literal["failed", "unknown", "not_started"]
NOT_DONE: frozenset[Outcome] = frozenset({"failed", "unknown", "not_started"})
FAILURES_SHOWN = 5
"""How many failures the message of `ProvisioningFailed` spells out. Its report has all of them."""
DIFFERENT = "different"
"""The outcome in the lines that a report's `differences` have in a file."""
COLUMNS: Sequence[str] = (
    "change",
    "outcome",
    "user_id",
    "group_id",
    "attempts",
    "request_id",
    "seconds",
    "error",
)


@attrs.frozen(kw_only=True)
class Row:
    """What became of one change."""

    change: Change
    outcome: Outcome
    error: EzeepError | None = None
    seconds: float = 0.0
    attempts: int = 0
    """How many times the request was sent whose answer decided; 0 where none was."""
    request_id: str = ""
    group_id: UUID | None = None
    """The group that was created, adopted or deleted."""
    added: tuple[TargetGroup, ...] = ()
    """The groups of the change that the user was not in, and is in now. Those that were made are here even where others
    failed; what is unknown is not."""
    removed: tuple[TargetGroup, ...] = ()
    """The groups of the change that the user was in, and is not in now."""

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do about it."""
        return self.not_done is None

    @property
    def not_done(self) -> NotDone | None:
        """The outcome, if something is left to do about it."""
        if self.outcome == "failed" or self.outcome == "unknown" or self.outcome == "not_started":  # noqa: PLR1714  # seen by type checkers
            return self.outcome
        return None

    def plain(self) -> dict[str, object]:
        """The row under the names of `COLUMNS`."""
        change = self.change
        return {
            "change": str(change),
            "outcome": self.outcome,
            "user_id": change.user_id if isinstance(change, ChangeMemberships) else None,
            "group_id": self.group_id,
            "attempts": self.attempts,
            "request_id": self.request_id,
            "seconds": round(self.seconds, 3),
            "error": "" if self.error is None else str(self.error),
        }


@attrs.frozen
class Difference:
    """A membership that is not as the plan has it, found when the users were listed after a run."""

    user_id: UUID
    member: str
    """An e-mail address or id, for people."""
    group_id: UUID
    group: str
    """Its name."""
    is_member: bool
    """Whether the user is in the group and should not be; otherwise the other way round."""

    def __str__(self) -> str:
        if self.is_member:
            return f"{self.member} is in {self.group!r} and should not be"
        return f"{self.member} is not in {self.group!r} and should be"

    def plain(self) -> dict[str, object]:
        """The difference under the names of `COLUMNS`."""
        return {
            **dict.fromkeys(COLUMNS, ""),
            "change": str(self),
            "outcome": DIFFERENT,
            "user_id": self.user_id,
            "group_id": self.group_id,
        }


@attrs.frozen
class Line:
    """What became of one line of the input: one person in one group."""

    group: str
    member: str
    outcome: Literal["added", "unchanged", "skipped", "waiting"] | NotDone
    error: str = ""


@attrs.frozen
class Report:
    """What became of a plan: one row for each change, in the plan's order."""

    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    """How long it took."""
    run_id: str = ""
    """The run's name in the audit log, where there is one."""
    warnings: tuple[str, ...] = ()
    """What somebody should see to although it was done, a sentence each: groups that another run created as well."""

    differences: tuple[Difference, ...] = ()
    """With `verify_after`: memberships that were not as the plan has them when the users were listed last."""
    unverified: str = ""
    """With `verify_after`: why it is not known whether there are such differences; empty when it is known."""

    @property
    def ok(self) -> bool:
        """Whether everything was done and, with `verify_after`, was found so afterwards."""
        return all(row.ok for row in self.rows) and not self.differences and not self.unverified

    @property
    def counts(self) -> Counter[str]:
        """How many rows had which outcome."""
        return Counter(row.outcome for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows that were not done, or that nobody knows about."""
        return tuple(row for row in self.rows if not row.ok)

    @property
    def groups_created(self) -> int:
        """How many groups are new."""
        return self.counts["created"]

    @property
    def users_changed(self) -> int:
        """How many users are in other groups than before."""
        return len(
            {
                row.change.user_id
                for row in self.rows
                if isinstance(row.change, ChangeMemberships) and (row.added or row.removed)
            }
        )

    @property
    def memberships_added(self) -> int:
        """How many memberships these users got, as they were when they were written."""
        return sum(len(row.added) for row in self.rows)

    @property
    def memberships_removed(self) -> int:
        """How many memberships they lost."""
        return sum(len(row.removed) for row in self.rows)

    def summary(self) -> str:
        """The report in one line."""
        told = ", ".join(f"{number} {outcome.replace('_', ' ')}" for outcome, number in self.counts.items())
        if self.differences:
            told += f", {counted(len(self.differences), 'membership')} different afterwards"
        elif self.unverified:
            told += ", not verified"
        if self.warnings:
            told += f" ({counted(len(self.warnings), 'warning')})"
        return told or "nothing to do"

    def raise_for_failures(self) -> None:
        """Raise `ProvisioningFailed` when something was not done, or was found different afterwards."""
        failures = self.failures
        if not failures:
            if not self.ok:
                raise ProvisioningFailed(self._told_differences(), report=self)
            return
        told = "; ".join(f"{row.change}: {row.error or row.outcome}" for row in failures[:FAILURES_SHOWN])
        more = len(failures) - FAILURES_SHOWN
        unknown = self.counts["unknown"]
        raise ProvisioningFailed(
            f"{len(failures)} of {counted(len(self.rows), 'change')} were not made"
            + (f" (of {unknown} it is not known)" if unknown else "")
            + f": {told}"
            + (f"; and {more} more" if more > 0 else ""),
            report=self,
        )

    def lines(self, desired: DesiredState, plan: Plan) -> Iterator[Line]:
        """What became of each line of the input that the plan was made from, in its order, duplicates merged."""
        skipped, waiting = frozenset(plan.skipped), frozenset(plan.waiting)
        invited = {row.change.email: row for row in self.rows if isinstance(row.change, InvitePerson)}
        changed = self._changed_lines()
        for group, members in desired.groups.items():
            for member in members:
                row = changed.get((group, member)) or invited.get(member)
                if member in skipped:
                    yield Line(group, member, "skipped", "not in the organization")
                elif row is None:
                    yield Line(group, member, "waiting" if member in waiting else "unchanged")
                elif any(added.name == group for added in row.added):
                    yield Line(group, member, "added")
                elif row.not_done is not None:
                    yield Line(group, member, row.not_done, str(row.error or ""))
                else:
                    yield Line(
                        group, member, "waiting" if isinstance(row.change, InvitePerson) else "unchanged"
                    )

    def write_jsonl(self, file: IO[bytes]) -> None:
        """Each row, and each difference, as a line of JSON."""
        for each in self._lines():
            file.write(encode(each.plain()) + b"\n")

    def write_csv(self, file: IO[str]) -> None:
        """Each row, and each difference, as a line of CSV, with a header. Open the file with `newline=""`.

        A cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-` or `@`) is written with a single
        quote in front (OWASP, "CSV Injection"). `write_jsonl` writes all texts as they are.
        """
        file.write(csv_line(COLUMNS, "\r\n"))
        for each in self._lines():
            plain = each.plain()
            file.write(csv_line([plain[column] for column in COLUMNS], "\r\n"))

    def _lines(self) -> Iterator[Row | Difference]:
        yield from self.rows
        yield from self.differences

    def _told_differences(self) -> str:
        if not self.differences:
            return f"everything was written and nothing verified: {self.unverified}"
        told = some([str(difference) for difference in self.differences], FAILURES_SHOWN)
        return f"{counted(len(self.differences), 'membership')} different after the run: {told}"

    def _changed_lines(self) -> dict[tuple[str, str], Row]:
        # By id as well: the input may name somebody by the address in one line, and by the id in another.
        return {
            (group.name, member): row
            for row in self.rows
            if isinstance(row.change, ChangeMemberships)
            for group in row.change.add
            for member in (row.change.member, str(row.change.user_id))
        }


class ProvisioningFailed(EzeepError):
    """Some changes were not made, or did not last. `report` says which. Running the same job again makes up for them."""

    def __init__(self, message: str, *, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = Report() if report is None else report


def report_of(error: BaseException | None) -> Report | None:
    """The report of a run that was ended by a cancellation, a time limit or Ctrl-C, from the error that ended it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        report = getattr(error, "report", None)
        if isinstance(report, Report):
            return report
        error = error.__cause__ or error.__context__
    return None
