"""`session.accounts`: the people of the organization, with names and e-mail addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from ezeep_async._wire.requests import ACCOUNTS, as_uuid, checked_text
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.unset import UNSET, Unset, given
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, fetch_record, page_fetcher


class Accounts:
    """The account directory. An ordinary user sees only their own account, an administrator sees all."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._fetch = page_fetcher(api, AccountUser, ACCOUNTS.page)

    def list(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[AccountUser]:
        """List all accounts that the logged-in user may see. Nothing is sent before the listing is iterated.

        Args:
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing of accounts, in the order of the server.

        Raises:
            ValueError: A size is no whole number or too small.

        Note:
            docs/ezeep-api.md#account-directory
        """
        return Paginator(self._fetch, page_size=page_size, concurrency=concurrency, offset=offset)

    async def get(self, user_id: UUID | str) -> AccountUser:
        """Read one account.

        Args:
            user_id: Id of the user; the same as in `session.users`.

        Returns:
            The account.

        Raises:
            NotFound: No such account exists.
            ValueError: `user_id` is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#account-directory
        """
        return await fetch_record(self._api, ACCOUNTS.get(as_uuid(user_id, "user_id")), AccountUser)

    async def me(self) -> AccountUser:
        """Read the account of the logged-in user.

        Returns:
            The account that the token set belongs to.

        Note:
            docs/ezeep-api.md#account-directory
        """
        return await fetch_record(self._api, ACCOUNTS.get("me"), AccountUser)

    async def update(
        self,
        user_id: UUID | str,
        first_name: str | Unset = UNSET,
        last_name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        roles: Sequence[str] | Unset = UNSET,
    ) -> AccountUser:
        """Set the given fields of an account, and no others. Safe to repeat.

        Args:
            user_id: Id of the user.
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
            ValueError: No field is given, or an argument is not valid; nothing was sent.

        Note:
            docs/ezeep-api.md#account-directory
        """
        for text, field in ((first_name, "first_name"), (last_name, "last_name"), (email, "email")):
            if text is not UNSET:
                checked_text(text, field)
        values = given(
            {
                "first_name": first_name,
                "last_name": last_name,
                "email": email,
                "roles": roles if isinstance(roles, Unset) else _checked_roles(roles),
            }
        )
        if not values:
            raise ValueError("nothing to update: pass at least one field")
        return await fetch_record(self._api, ACCOUNTS.patch(as_uuid(user_id, "user_id"), values), AccountUser)

    async def delete(self, user_id: UUID | str) -> None:
        """Delete an account from the organization.

        Args:
            user_id: Id of the user.

        Raises:
            NotFound: No such account existed before the call.
            PermissionDenied: The logged-in user may not delete the account.
            ValueError: `user_id` is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#account-directory
        """
        await self._api.send(ACCOUNTS.delete(as_uuid(user_id, "user_id")))


def _checked_roles(roles: Iterable[str]) -> list[str]:
    if isinstance(roles, str | bytes) or not isinstance(roles, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise ValueError(f'roles is {roles!r}: pass a list, such as ["user"]')  # noqa: TRY004  # one class for bad arguments
    # Checked and sent from one list: an iterator can be read only once.
    return [checked_text(role, "a role", shortest=1) for role in roles]
