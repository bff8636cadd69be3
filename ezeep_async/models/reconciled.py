"""The outcome of a creation whose response was lost."""

from __future__ import annotations

from typing import Literal

import attrs

from ezeep_async.models.accounts import Invitation
from ezeep_async.models.groups import Group
from ezeep_async.models.record import Record


@attrs.frozen
class Reconciled(Record):
    """The result of `OutcomeUnknown.reconcile`."""

    outcome: Literal["created", "absent", "several"]
    """One was found, none, or several. One that existed before the creation looks like the created one."""
    found: tuple[Group, ...] | tuple[Invitation, ...]
    """The groups with the name, or the invitations of the address."""

    @classmethod
    def of(cls, found: tuple[Group, ...] | tuple[Invitation, ...]) -> Reconciled:
        """Return the outcome for the records that were found.

        Args:
            found: Records that the lost creation may have made; empty if there are none.

        Returns:
            `absent` for none, `created` for one, `several` for more.
        """
        if not found:
            return cls("absent", found)
        return cls("created" if len(found) == 1 else "several", found)
