"""`Report`: what became of a plan, row by row."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import attrs

from ezeep_async.errors import EzeepError
from ezeep_async.provisioning.plan import AddToGroups, Change, CreateGroup


Outcome = Literal["created", "adopted", "updated", "failed", "unknown"]
"""`adopted`: the group had come into being in the meantime; `unknown`: the answer to the write was lost."""
FAILURES_SHOWN = 5
"""How many failures the message of `ProvisioningFailed` spells out. Its report has all of them."""


@attrs.frozen
class Row:
    """What became of one change."""

    change: Change
    outcome: Outcome
    error: EzeepError | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the change was made."""
        return self.error is None


@attrs.frozen
class Report:
    """What became of a plan: one row for each change, in the plan's order."""

    rows: tuple[Row, ...] = ()
    seconds: float = 0.0
    """How long it took."""

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return all(row.ok for row in self.rows)

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
        return sum(isinstance(row.change, CreateGroup) and row.outcome == "created" for row in self.rows)

    @property
    def users_changed(self) -> int:
        """How many users were written."""
        return sum(isinstance(row.change, AddToGroups) and row.ok for row in self.rows)

    @property
    def memberships_added(self) -> int:
        """How many memberships these users got."""
        return sum(
            len(row.change.groups) for row in self.rows if isinstance(row.change, AddToGroups) and row.ok
        )

    def raise_for_failures(self) -> None:
        """Raise `ProvisioningFailed` when something was not done."""
        failures = self.failures
        if not failures:
            return
        told = "; ".join(f"{row.change}: {row.error}" for row in failures[:FAILURES_SHOWN])
        more = len(failures) - FAILURES_SHOWN
        raise ProvisioningFailed(
            f"{len(failures)} of {len(self.rows)} changes were not made: {told}"
            + (f"; and {more} more" if more > 0 else ""),
            report=self,
        )


class ProvisioningFailed(EzeepError):
    """Some changes were not made. `report` says which. Running the same job again makes up for them."""

    def __init__(self, message: str, *, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = Report() if report is None else report
