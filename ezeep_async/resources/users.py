"""`session.users`: users of the printing API and their groups."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ezeep_async._wire.requests import USERS, as_uuid, group_filter
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, page_fetcher
from ezeep_async.resources.user_calls import UserCalls


class Users:
    """The users of the organization. Every write of a user's memberships replaces the whole set."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.inner = UserCalls(api)
        """Internal: the same calls with their responses, for `ezeep_async.provisioning`."""
        self._fetch = page_fetcher(api, User, USERS.page)

    def list(
        self, group: UUID | str | None = None, page_size: int = 100, concurrency: int = 1, offset: int = 0
    ) -> Paginator[User]:
        """List all users, or the users of one group. Nothing is sent before the listing is iterated.

        The group filter is the body of a GET, which proxies drop and servers ignore. Each user that arrives is
        therefore checked here.

        Args:
            group: Id of the group whose users to list; None for all users.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing of users, in the order of the server.

        Raises:
            ValueError: `group` is no UUID, or a size is no whole number or too small.

        Note:
            docs/ezeep-api.md#users
        """
        if group is None:
            return Paginator(self._fetch, page_size=page_size, concurrency=concurrency, offset=offset)
        group_id = as_uuid(group, "group")
        body = group_filter(group_id)
        return Paginator(
            page_fetcher(self._api, User, lambda params: USERS.page(params, body)),
            page_size=page_size,
            concurrency=concurrency,
            offset=offset,
            keep=lambda user: group_id in user.group_ids,
            unfiltered=self._fetch,
        )

    async def get(self, user_id: UUID | str) -> User:
        """Read one user.

        Args:
            user_id: Id of the user.

        Returns:
            The user. Name and e-mail address are in `session.accounts`, under the same id.

        Raises:
            NotFound: No such user exists.
            ValueError: `user_id` is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#users
        """
        return (await self.inner.get(as_uuid(user_id, "user_id")))[0]

    async def set_groups(self, user_id: UUID | str, group_ids: Iterable[UUID | str]) -> User:
        """Replace the groups of a user, with one write and no read.

        Changes of one user run one after another, see `add_to_groups`.

        Args:
            user_id: Id of the user.
            group_ids: Ids of all groups that the user shall be in; empty to remove the user from all groups.

        Returns:
            The user as the server returned it after the write.

        Raises:
            ConcurrentModification: The lock was busy for too long, or was lost during the write.
            NotFound: No such user exists.
            BadRequest: The server rejects one of the groups.
            ValueError: An id is no UUID, or `group_ids` is a single id; nothing was sent.

        Note:
            docs/ezeep-api.md#users
        """
        return (await self.inner.set_groups(as_uuid(user_id, "user_id"), _ids(group_ids)))[0]

    async def add_to_groups(self, user_id: UUID | str, *group_ids: UUID | str) -> User:
        """Add a user to groups and keep its other groups: read, merge, write if something changes, compare.

        Changes of one user run one after another: in all sessions of this process, and across processes that share a
        `FileTokenStore`, `KeyringTokenStore` or `RedisTokenStore`. A change by another writer between the read and
        the write is overwritten. A write that has begun is completed when its caller is cancelled; a caller that is
        cancelled earlier writes nothing.

        Args:
            user_id: Id of the user.
            *group_ids: Ids of the groups to add.

        Returns:
            The user after the change.

        Raises:
            ConcurrentModification: Another writer keeps changing the same user, or its lock was busy or lost.
            NotFound: No such user exists.
            BadRequest: The server rejects one of the groups.
            ValueError: An id is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#users
        """
        user = as_uuid(user_id, "user_id")
        return (await self.inner.change_groups(user, _ids(group_ids), frozenset())).user

    async def remove_from_groups(self, user_id: UUID | str, *group_ids: UUID | str) -> User:
        """Remove a user from groups and keep its other groups. Otherwise like `add_to_groups`.

        Args:
            user_id: Id of the user.
            *group_ids: Ids of the groups to remove.

        Returns:
            The user after the change.

        Raises:
            ConcurrentModification: Another writer keeps changing the same user, or its lock was busy or lost.
            NotFound: No such user exists.
            BadRequest: The server rejects the remaining groups.
            ValueError: An id is no UUID; nothing was sent.

        Note:
            docs/ezeep-api.md#users
        """
        user = as_uuid(user_id, "user_id")
        return (await self.inner.change_groups(user, frozenset(), _ids(group_ids))).user

    async def change_groups(
        self,
        user_id: UUID | str,
        add: Iterable[UUID | str] = (),
        remove: Iterable[UUID | str] = (),
    ) -> User:
        """Add a user to groups and remove it from others, with one write. Otherwise like `add_to_groups`.

        Args:
            user_id: Id of the user.
            add: Ids of the groups to add.
            remove: Ids of the groups to remove.

        Returns:
            The user after the change.

        Raises:
            ConcurrentModification: Another writer keeps changing the same user, or its lock was busy or lost.
            NotFound: No such user exists.
            BadRequest: The server rejects one of the groups.
            ValueError: An id is no UUID, or a group is in both `add` and `remove`; nothing was sent.

        Note:
            docs/ezeep-api.md#users
        """
        user, more, less = as_uuid(user_id, "user_id"), _ids(add), _ids(remove)
        if both := more & less:
            raise ValueError(f"groups both in add and in remove: {', '.join(map(str, sorted(both)))}")
        return (await self.inner.change_groups(user, more, less)).user


def _ids(group_ids: Iterable[UUID | str]) -> frozenset[UUID]:
    if isinstance(group_ids, str | UUID | bytes) or not isinstance(group_ids, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise ValueError(f"group_ids is {group_ids!r}: pass a list of ids")  # noqa: TRY004  # one class for bad arguments
    return frozenset(as_uuid(group_id, "group_id") for group_id in group_ids)
