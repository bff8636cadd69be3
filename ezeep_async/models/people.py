"""People: users of the printing API with their accounts."""

from __future__ import annotations

from uuid import UUID

import attrs

from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.record import Record
from ezeep_async.models.users import User


@attrs.frozen
class Person(Record):
    """A user of the printing API with the account of the same id."""

    user: User
    account: AccountUser | None
    """None if the account directory does not show the account to the logged-in user."""

    @property
    def id(self) -> UUID:
        """Id of the user and of the account."""
        return self.user.id

    @property
    def email(self) -> str:
        """E-mail address; empty without an account."""
        return "" if self.account is None else self.account.email

    @property
    def display_name(self) -> str:
        """Name for people; empty without an account."""
        return "" if self.account is None else self.account.display_name

    @property
    def group_ids(self) -> frozenset[UUID]:
        """Ids of the groups that the user is in."""
        return self.user.group_ids
