"""`session.accounts`: people, with names and e-mail addresses. Source: API document, "Account directory"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from ezeep_async._wire.requests import ACCOUNTS, as_uuid, checked_text
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.unset import UNSET, Unset, given
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, fetch_record, page_fetcher


class Accounts:
    """The account directory. An ordinary user sees only itself, an administrator everyone."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._fetch = page_fetcher(api, AccountUser, ACCOUNTS.page)

    def list(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[AccountUser]:
        """Everyone that the login may see, read as they are iterated. Raises `ValueError` for sizes below 1."""
        return Paginator(self._fetch, page_size=page_size, concurrency=concurrency, offset=offset)

    async def get(self, user_id: UUID | str) -> AccountUser:
        """One person. Raises `NotFound`, `ValueError` for what is not a UUID."""
        return await fetch_record(self._api, ACCOUNTS.get(as_uuid(user_id, "user_id")), AccountUser)

    async def me(self) -> AccountUser:
        """Whose login this is."""
        return await fetch_record(self._api, ACCOUNTS.get("me"), AccountUser)

    async def update(
        self,
        user_id: UUID | str,
        first_name: str | Unset = UNSET,
        last_name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        roles: Sequence[str] | Unset = UNSET,
    ) -> AccountUser:
        """Set what is given, and nothing else. May be repeated. `roles` are "admin" and "user".

        Raises `NotFound`, `PermissionDenied`, `BadRequest`, and `ValueError` before anything is sent.
        """
        for text, what in ((first_name, "first_name"), (last_name, "last_name"), (email, "email")):
            if text is not UNSET:
                checked_text(text, what)
        values = given(
            {
                "first_name": first_name,
                "last_name": last_name,
                "email": email,
                "roles": roles if isinstance(roles, Unset) else _words(roles),
            }
        )
        if not values:
            raise ValueError("nothing to update: give at least one field")
        return await fetch_record(self._api, ACCOUNTS.patch(as_uuid(user_id, "user_id"), values), AccountUser)

    async def delete(self, user_id: UUID | str) -> None:
        """Delete a person from the organisation. Raises `NotFound`, `PermissionDenied`."""
        await self._api.send(ACCOUNTS.delete(as_uuid(user_id, "user_id")))


def _words(roles: Iterable[str]) -> list[str]:
    if isinstance(roles, str | bytes) or not isinstance(roles, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise ValueError('roles is a list of words, such as ["user"]')  # noqa: TRY004  # one class for bad arguments
    # Checked and sent from one list: an iterator gives its words once.
    return [checked_text(role, "a role", shortest=1) for role in roles]
