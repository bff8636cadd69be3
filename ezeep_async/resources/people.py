"""`session.people`: users of the printing API with their names and e-mail addresses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import attrs

from ezeep_async._wire.converter import PageBody
from ezeep_async.errors import NotFound, PermissionDenied
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.groups import Group
from ezeep_async.models.people import Person
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.prefetch import Params
from ezeep_async.pagination.reader import Drift, Fetch, PageIterator, RawPage
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.users import Users


logger = logging.getLogger("ezeep_async.resources")


class People:
    """The people who print: users of the printing API, joined with the account directory.

    Note:
        docs/ezeep-api.md#account-directory
    """

    def __init__(self, users: Users, accounts: Accounts) -> None:
        self._users = users
        self._accounts = accounts

    def list(
        self,
        group: UUID | str | Group | None = None,
        page_size: int = 100,
        concurrency: int = 1,
        offset: int = 0,
    ) -> Paginator[Person]:
        """List all people, or the people in one group. Nothing is sent before the listing is iterated.

        Each reading lists the accounts first and keeps them in memory, about 1 KB for each account of the organization.
        Then it lists the users page by page. A user whose account the directory does not show is a person without an account:
        an ordinary user sees only their own. If the server refuses the directory with a 403, no person has an account, and a
        warning is logged. An account that is not a user of the printing API is not listed: see
        `session.accounts`.

        `count()` does not read the accounts, and `first()` reads one.

        Args:
            group: The group whose members to list, or its id; None for all people.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Users to skip, at least 0.

        Returns:
            A listing of people, in the order of `session.users.list`. Its `drift` is also about the accounts.
        """
        users = self._users.list(group, page_size, concurrency, offset)
        return _Joined(
            users,
            lambda: self._accounts.list(page_size=page_size, concurrency=concurrency),
            self._with_account,
        )

    async def get(self, user_id: UUID | str | User | AccountUser | Person) -> Person:
        """Read one person.

        Args:
            user_id: The user or the account, or the id of both.

        Returns:
            The person, without an account if the directory does not show it.

        Raises:
            NotFound: No such user of the printing API exists.
        """
        return await self._with_account(await self._users.get(user_id))

    async def _with_account(self, user: User) -> Person:
        try:
            return Person(user, await self._accounts.get(user.id))
        except (NotFound, PermissionDenied):
            return Person(user, None)


class _Joined(Paginator[Person]):
    """The listing: `users`, each page joined with the accounts that its reading read first."""

    def __init__(
        self,
        users: Paginator[User],
        accounts: Callable[[], Paginator[AccountUser]],
        with_account: Callable[[User], Awaitable[Person]],
    ) -> None:
        self._users = users
        self._accounts = accounts
        self._with_account = with_account
        listing = users._listing  # pyright: ignore[reportPrivateUsage]  # the same reading, of other items
        keep = listing.keep
        super().__init__(
            self._fetch_for(Drift()),
            page_size=listing.page_size,
            concurrency=listing.concurrency,
            offset=listing.offset,
            keep=None if keep is None else lambda person: keep(person.user),
        )

    def _fetch_for(self, drift: Drift) -> Fetch[Person]:
        users = self._users._listing  # pyright: ignore[reportPrivateUsage]  # as above
        return _Reading(users.fetch, self._accounts(), drift).fetch

    def pages(self) -> PageIterator[Person]:
        self._drift = drift = Drift()
        return PageIterator(attrs.evolve(self._listing, fetch=self._fetch_for(drift)), drift)

    async def first(self) -> Person | None:
        user = await self._users.first()
        return None if user is None else await self._with_account(user)

    async def count(self) -> int:
        return await self._users.count()


class _Reading:
    """One reading. The accounts are read before the first page, which is requested alone."""

    def __init__(self, users: Fetch[User], accounts: Paginator[AccountUser], drift: Drift) -> None:
        self._users = users
        self._listing = accounts
        self._drift = drift
        self._accounts: dict[UUID, AccountUser] | None = None

    async def fetch(self, params: Params) -> RawPage[Person]:
        if self._accounts is None:
            self._accounts = await self._read_accounts()
        accounts = self._accounts
        decode, raw = await self._users(params)

        def joined() -> PageBody[Person]:
            page = decode()
            people = [Person(user, accounts.get(user.id)) for user in page.results]
            return PageBody(people, page.count, page.next)

        return joined, raw

    async def _read_accounts(self) -> dict[UUID, AccountUser]:
        accounts: dict[UUID, AccountUser] = {}
        try:
            async with self._listing.pages() as pages:
                async for page in pages:
                    accounts.update((account.id, account) for account in page.items)
            self._drift.detected = self._drift.detected or pages.drift.detected
        except PermissionDenied:
            if accounts:  # the directory can be read, so people would lose accounts that exist
                raise
            logger.warning("the logged-in user may not list the accounts: people have no names and addresses")
        return accounts
