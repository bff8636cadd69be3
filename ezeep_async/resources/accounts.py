"""`session.accounts`: the people of the organization, with names and e-mail addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast
from uuid import UUID

from ezeep_async._text.cleaning import check_unread
from ezeep_async._wire.requests import ACCOUNTS, as_id, checked_text, id_text
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.people import Person
from ezeep_async.models.unset import UNSET, Unset
from ezeep_async.models.users import User
from ezeep_async.resources._base import Api, Calls, Listed
from ezeep_async.resources.users import PEOPLE


def _checked_roles(value: object, what: str) -> list[str]:
    check_unread(value, what)
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f'{what} is {value!r}: pass a list, such as ["user"]')
    # Checked and sent from one list: an iterator can be read only once.
    return [checked_text(role, "a role", shortest=1) for role in cast("Iterable[object]", value)]


_CHECKS: dict[str, Callable[[object, str], object]] = {
    "first_name": checked_text,
    "last_name": checked_text,
    "email": checked_text,
    "roles": _checked_roles,
}


class Accounts(Listed[AccountUser]):
    """The account directory. An ordinary user sees only their own account, an administrator sees all.

    Note:
        docs/ezeep-api.md#account-directory
    """

    def __init__(self, api: Api) -> None:
        self._calls = Calls(api, ACCOUNTS, AccountUser)
        super().__init__(self._calls.fetch_page)

    async def get(self, user_id: UUID | str | AccountUser | User | Person) -> AccountUser:
        """Read one account.

        Args:
            user_id: The user, or its id, which is the same as in `session.users`.

        Returns:
            The account.

        Raises:
            NotFound: No such account exists.
        """
        return (await self._calls.get(id_text(user_id, "user_id", *PEOPLE)))[0]

    async def me(self) -> AccountUser:
        """Read the account of the logged-in user.

        Returns:
            The account that the token set belongs to.
        """
        return (await self._calls.get("me"))[0]

    async def delete(self, user_id: UUID | str | AccountUser | User | Person) -> None:
        """Delete an account from the organization.

        Args:
            user_id: The user, or its id.

        Raises:
            NotFound: No such account existed before the call.
            PermissionDenied: The logged-in user may not delete the account.
        """
        await self._calls.delete(as_id(user_id, "user_id", *PEOPLE))

    async def update(
        self,
        user_id: UUID | str | AccountUser | User | Person,
        first_name: str | Unset = UNSET,
        last_name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        roles: Sequence[str] | Unset = UNSET,
    ) -> AccountUser:
        """Set the given fields of an account, and no others. Safe to repeat.

        Args:
            user_id: The user, or its id.
            first_name: At most 255 characters.
            last_name: At most 255 characters.
            email: At most 255 characters.
            roles: All roles of the user: "admin", "user".

        Returns:
            The account after the change.

        Raises:
            NotFound: No such account exists.
            PermissionDenied: The logged-in user may not change the account.
            BadRequest: The server rejects a value.
            ValueError: No field is given.
        """
        return await self._calls.update(
            as_id(user_id, "user_id", *PEOPLE),
            _CHECKS,
            first_name=first_name,
            last_name=last_name,
            email=email,
            roles=roles,
        )
