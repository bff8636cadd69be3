"""Errors of plans and of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ezeep_async.errors.base import EzeepError


class ExternalGroup(EzeepError):
    """The group is managed by another directory, such as Azure. Remove it from the input, or allow external groups."""


class MissingPeople(EzeepError):
    """The input contains members that were not found. Correct it, or choose another `on_missing`.

    Attributes:
        people: All members that were not found, as the input names them.
    """

    def __init__(self, message: str, *, people: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.people = tuple(people)


class SafetyLimitExceeded(EzeepError):
    """The plan removes too much, or an exact input is empty. Nothing was written. Check the input, or raise the limit.

    Attributes:
        removals: Memberships, or assignments of printers, that the plan would remove. `what` has their noun, too.
        limit: How many of them may be removed. `needed` is the `max_removals` that would allow the whole plan.
        by_group: How many of them the plan would remove from each group, by its name.
    """

    what: str = ""
    needed: int = 0

    def __init__(
        self, message: str, *, removals: int = 0, limit: int = 0, by_group: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message)
        self.removals, self.limit = removals, limit
        self.by_group: dict[str, int] = dict(by_group or {})


class StalePlan(EzeepError):
    """The organization has changed since the plan was made, and the plan contradicts it. Nothing was written.

    Make a new plan. Changes that do not contradict the plan do not raise this error.

    Attributes:
        drift: One sentence for each change that contradicts the plan.
    """

    def __init__(self, message: str, *, drift: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.drift = tuple(drift)


class AuditLogError(EzeepError):
    """The audit log cannot be written or read. A change that could not be recorded is not sent to the server."""
