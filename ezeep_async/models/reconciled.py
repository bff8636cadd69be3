"""What became of a creation whose answer was lost."""

from __future__ import annotations

from typing import Literal

import attrs

from ezeep_async.models.accounts import Invitation
from ezeep_async.models.groups import Group


@attrs.frozen
class Reconciled:
    """What `OutcomeUnknown.reconcile` found."""

    outcome: Literal["created", "absent", "several"]
    """One is there, none, or more than one. One that was there before cannot be told from the one that was to be made."""
    found: tuple[Group, ...] | tuple[Invitation, ...]
    """What is there by that name or address."""

    @classmethod
    def of(cls, found: tuple[Group, ...] | tuple[Invitation, ...]) -> Reconciled:
        """The outcome that so many mean."""
        if not found:
            return cls("absent", found)
        return cls("created" if len(found) == 1 else "several", found)
