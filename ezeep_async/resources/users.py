"""`session.users`: users of the printing API and their groups."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar
from uuid import UUID

import attrs

from ezeep_async._text.cleaning import check_unread
from ezeep_async._wire.requests import USERS, as_id, group_filter, id_text, memberships
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import ApiError, ConcurrentModification, EzeepError
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.groups import Group
from ezeep_async.models.people import Person
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, Calls, Turn, Turns, page_fetcher, send_for


T = TypeVar("T")

logger = logging.getLogger("ezeep_async.resources")

PEOPLE = (User, AccountUser, Person)
"""The records of one person, which have the same id."""

MERGE_ATTEMPTS = 4
"""Writes of one membership change while another writer keeps changing the same user."""

BeforeWrite = Callable[[frozenset[UUID], frozenset[UUID]], Awaitable[None]]
"""Called with the user's groups before and after the write. An exception prevents the write."""


@attrs.frozen
class MembershipChange:
    """The result of a change of one user's groups."""

    user: User
    before: frozenset[UUID]
    """The groups before the first write."""
    written: bool
    attempts: int
    """Requests that the last response took."""
    request_id: str

    @property
    def after(self) -> frozenset[UUID]:
        """The groups after the last write."""
        return self.user.group_ids


@attrs.define(eq=False)
class _Learnt:
    """What a session and its views have learnt about the server."""

    refuses_patch: bool = False
    """Whether it refused a PATCH of a user, so that PUT is used."""


class UserCalls(Calls[User]):
    """Calls for users."""

    def __init__(self, api: Api) -> None:
        super().__init__(api, USERS, User)
        self._turns = Turns(api)
        self._learnt = api.common(_Learnt)

    async def set_groups(self, user_id: str, group_ids: frozenset[str]) -> tuple[User, RawResponse]:
        """Replace the groups of a user, in a turn of its own."""
        return await self._turns.run(("user", user_id), lambda turn: self._write(user_id, group_ids, turn))

    async def change_groups(
        self,
        user_id: UUID,
        add: frozenset[UUID],
        remove: frozenset[UUID],
        *,
        assumed: frozenset[UUID] | None = None,
        before_write: BeforeWrite | None = None,
    ) -> MembershipChange:
        """Read, merge, write if something changes, and compare the response.

        `assumed` replaces the first read. `before_write` runs before each write.
        """

        def merged(groups: frozenset[UUID]) -> frozenset[UUID]:
            return (groups | add) - remove

        async def merge(turn: Turn) -> MembershipChange:
            nonlocal assumed
            current = before = assumed or frozenset[UUID]()
            is_known = assumed is not None and merged(assumed) != assumed
            assumed = None  # other writers may have had a turn before a second one
            written = False
            try:
                for writes_left in range(MERGE_ATTEMPTS, -1, -1):
                    if not is_known:
                        user, response = await self.get(user_id)
                        current = user.group_ids
                        before = before if written else current
                        if merged(current) == current:
                            return MembershipChange(
                                user, before, written, response.attempts, response.request_id
                            )
                    if not writes_left:
                        break
                    wanted = merged(current)
                    if before_write is not None:
                        await before_write(current, wanted)
                    user, response = await self._write(user_id, wanted, turn)
                    written, is_known = True, False
                    if user.group_ids == wanted:
                        return MembershipChange(user, before, written, response.attempts, response.request_id)
                    logger.info(
                        "user %s: the response has other groups than were written; reading the user again",
                        user_id,
                    )
                raise ConcurrentModification(
                    f"user {user_id}: the groups differed from what was written, {MERGE_ATTEMPTS} times. Another "
                    "writer changes the same user, or the server rejects one of the groups. Read the user and try again"
                )
            except EzeepError as error:
                # An earlier write of this loop has succeeded, also where a later one was rejected.
                error.may_have_happened = error.may_have_happened or written
                raise

        return await self._turns.run(("user", str(user_id)), merge)

    async def _write(
        self, user_id: UUID | str, group_ids: Iterable[UUID | str], turn: Turn
    ) -> tuple[User, RawResponse]:
        groups = memberships(group_ids)
        if not self._learnt.refuses_patch:
            try:
                patch = USERS.patch(user_id, {"groups": groups})
                return await turn.write(lambda: send_for(self.api, patch, User))
            except ApiError as error:
                if error.status != 405:
                    raise
            self._learnt.refuses_patch = True
            logger.info("the server does not accept PATCH for users: this session uses PUT from now on")
        # PUT may reset fields that are not sent, so the flags are read and sent along.
        user, _ = await self.get(user_id)
        values = {
            "groups": groups,
            "local_printing_enabled": user.local_printing_enabled,
            "self_service_enabled": user.self_service_enabled,
            "myprinters_enabled": user.myprinters_enabled,
        }
        put = USERS.put(user_id, values)
        return await turn.write(lambda: send_for(self.api, put, User))


def _ids(
    group_ids: Iterable[UUID | str | Group], read: Callable[[object, str, type[Group]], T]
) -> frozenset[T]:
    if isinstance(group_ids, str | UUID | bytes) or not isinstance(group_ids, Iterable):
        raise ValueError(f"group_ids is {group_ids!r}: pass a list of groups, or of their ids")
    check_unread(group_ids, "group_ids")
    return frozenset(read(group_id, "group_id", Group) for group_id in group_ids)


class Users:
    """The users of the organization. Every write of a user's memberships replaces the whole set.

    Note:
        docs/ezeep-api.md#users
    """

    def __init__(self, api: Api) -> None:
        self.inner = UserCalls(api)
        """Internal: the same calls with their responses, for `ezeep_async.provisioning`."""

    def list(
        self,
        group: UUID | str | Group | None = None,
        page_size: int = 100,
        concurrency: int = 1,
        offset: int = 0,
    ) -> Paginator[User]:
        """List all users, or the users of one group. Nothing is sent before the listing is iterated.

        The group filter is the body of a GET, which proxies drop and servers ignore. Each user that arrives is
        therefore checked here.

        Args:
            group: The group whose users to list, or its id; None for all users.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing of users, in the order of the server.
        """
        if group is None:
            return Paginator(
                self.inner.fetch_page, page_size=page_size, concurrency=concurrency, offset=offset
            )
        group_id = as_id(group, "group", Group)
        body = group_filter(group_id)
        return Paginator(
            page_fetcher(self.inner.api, User, lambda params: USERS.page(params, body)),
            page_size=page_size,
            concurrency=concurrency,
            offset=offset,
            keep=lambda user: group_id in user.group_ids,
            unfiltered=self.inner.fetch_page,
        )

    async def get(self, user_id: UUID | str | User | AccountUser | Person) -> User:
        """Read one user.

        Args:
            user_id: The user, or its id.

        Returns:
            The user. Name and e-mail address are in `session.accounts`, under the same id.

        Raises:
            NotFound: No such user exists.
        """
        return (await self.inner.get(id_text(user_id, "user_id", *PEOPLE)))[0]

    async def set_groups(
        self, user_id: UUID | str | User | AccountUser | Person, group_ids: Iterable[UUID | str | Group]
    ) -> User:
        """Replace the groups of a user, with one write and no read.

        Changes of one user run one after another, see `add_to_groups`.

        Args:
            user_id: The user, or its id.
            group_ids: All groups that the user shall be in, or their ids; empty to remove the user from all groups.

        Returns:
            The user as the server returned it after the write.

        Raises:
            ConcurrentModification: The lock was busy for too long, or was lost during the write.
            NotFound: No such user exists.
            BadRequest: The server rejects one of the groups.
            ValueError: An id is no UUID, or `group_ids` is a single id; nothing was sent.
        """
        return (await self.inner.set_groups(id_text(user_id, "user_id", *PEOPLE), _ids(group_ids, id_text)))[
            0
        ]

    async def add_to_groups(
        self, user_id: UUID | str | User | AccountUser | Person, *group_ids: UUID | str | Group
    ) -> User:
        """Add a user to groups and keep its other groups: read, merge, write if something changes, compare.

        Changes of one user run one after another: in all sessions of this process, and across processes that share a
        `TokenStore` with `shared_locks()`, as the stores of the SDK have. A change by another writer between the read and
        the write is overwritten. A write that has begun is completed when its caller is cancelled; a caller that is
        cancelled earlier writes nothing.

        Args:
            user_id: The user, or its id.
            *group_ids: The groups to add, or their ids.

        Returns:
            The user after the change.

        Raises:
            ConcurrentModification: Another writer keeps changing the same user, or its lock was busy or lost.
            NotFound: No such user exists.
            BadRequest: The server rejects one of the groups.
        """
        user = as_id(user_id, "user_id", *PEOPLE)
        return (await self.inner.change_groups(user, _ids(group_ids, as_id), frozenset())).user

    async def remove_from_groups(
        self, user_id: UUID | str | User | AccountUser | Person, *group_ids: UUID | str | Group
    ) -> User:
        """Remove a user from groups and keep its other groups. Otherwise like `add_to_groups`.

        Args:
            user_id: The user, or its id.
            *group_ids: The groups to remove, or their ids.

        Returns:
            The user after the change.

        Raises:
            ConcurrentModification: Another writer keeps changing the same user, or its lock was busy or lost.
            NotFound: No such user exists.
            BadRequest: The server rejects the remaining groups.
        """
        user = as_id(user_id, "user_id", *PEOPLE)
        return (await self.inner.change_groups(user, frozenset(), _ids(group_ids, as_id))).user

    async def change_groups(
        self,
        user_id: UUID | str | User | AccountUser | Person,
        add: Iterable[UUID | str | Group] = (),
        remove: Iterable[UUID | str | Group] = (),
    ) -> User:
        """Add a user to groups and remove it from others, with one write. Otherwise like `add_to_groups`.

        Args:
            user_id: The user, or its id.
            add: The groups to add, or their ids.
            remove: The groups to remove, or their ids.

        Returns:
            The user after the change.

        Raises:
            ConcurrentModification: Another writer keeps changing the same user, or its lock was busy or lost.
            NotFound: No such user exists.
            BadRequest: The server rejects one of the groups.
            ValueError: An id is no UUID, or a group is in both `add` and `remove`; nothing was sent.
        """
        user, more, less = as_id(user_id, "user_id", *PEOPLE), _ids(add, as_id), _ids(remove, as_id)
        if both := more & less:
            raise ValueError(f"groups both in add and in remove: {', '.join(map(str, sorted(both)))}")
        return (await self.inner.change_groups(user, more, less)).user
