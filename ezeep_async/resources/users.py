"""`session.users`: users of the printing API and their groups. Source: API document, "Users"."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import attrs

from ezeep_async._wire.requests import USERS, as_uuid, group_filter, memberships
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import ApiError, ConcurrentModification, EzeepError
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, Turn, Turns, page_fetcher, send_for


logger = logging.getLogger("ezeep_async.resources")

MERGE_ATTEMPTS = 4
"""How often adding and removing read and merge again when somebody else writes to the same user."""


BeforeWrite = Callable[[frozenset[UUID], frozenset[UUID]], Awaitable[None]]
"""Called with what the user's groups are and what they will be; what it raises keeps the write from being made."""


@attrs.frozen
class MembershipChange:
    """What became of a change of one user's groups."""

    user: User
    before: frozenset[UUID]
    """The groups before the first write."""
    written: bool
    attempts: int
    """How many requests the last answer took."""
    request_id: str

    @classmethod
    def of(
        cls, last: tuple[User, RawResponse], before: frozenset[UUID], *, written: bool
    ) -> MembershipChange:
        """From the last answer."""
        user, answer = last
        return cls(user, before, written, answer.attempts, answer.request_id)


class Users:
    """The users of the organisation. A membership belongs to the user, and every write replaces the whole set."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._turns = Turns(api)
        self._patch_refused = False
        self._fetch = page_fetcher(api, User, USERS.page)

    def list(
        self, group: UUID | str | None = None, page_size: int = 100, concurrency: int = 1, offset: int = 0
    ) -> Paginator[User]:
        """All users, or those of one group, read as they are iterated.

        The documented group filter is the body of a GET, which proxies drop and servers ignore: every user that comes
        back is checked. Raises `ValueError` for what is not a UUID and for sizes below 1.
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
        """One user. Raises `NotFound`, `ValueError` for what is not a UUID."""
        return (await self._get(as_uuid(user_id, "user_id")))[0]

    async def set_groups(self, user_id: UUID | str, group_ids: Iterable[UUID | str]) -> User:
        """Make `group_ids` the user's groups: one write, whatever they were before. An empty set is a set.

        The answer is what the server then has. It takes turns with other changes of this user, see `add_to_groups`.
        Raises `ConcurrentModification`, `NotFound`, `BadRequest`, and `ValueError` before anything is sent.
        """
        user, wanted = as_uuid(user_id, "user_id"), _ids(group_ids)
        return (await self._turns.run(_turn_of(user), lambda turn: self._write(user, wanted, turn)))[0]

    async def add_to_groups(self, user_id: UUID | str, *group_ids: UUID | str) -> User:
        """Add the user to groups and keep the others: read, merge, write only if something changes, compare.

        Calls for one user take turns, and a write that has begun ends before the next one begins, also when its caller is
        cancelled. Cancelled before that, it writes nothing. All sessions of this process take part, and so do other
        processes where they share a `FileTokenStore`, a `KeyringTokenStore` or a `RedisTokenStore`. What a writer without
        this SDK, or with another token store, changes between the read and the write is overwritten. Raises `ConcurrentModification` when
        somebody else keeps changing the same user, `NotFound`, `BadRequest`, and `ValueError` before anything is sent.
        """
        return (await self._change_groups(as_uuid(user_id, "user_id"), _ids(group_ids), frozenset())).user

    async def remove_from_groups(self, user_id: UUID | str, *group_ids: UUID | str) -> User:
        """Take the user out of groups and keep the others: as `add_to_groups`."""
        return (await self._change_groups(as_uuid(user_id, "user_id"), frozenset(), _ids(group_ids))).user

    async def change_groups(
        self,
        user_id: UUID | str,
        add: Iterable[UUID | str] = (),
        remove: Iterable[UUID | str] = (),
    ) -> User:
        """Add the user to some groups and take it out of others, in one write: otherwise as `add_to_groups`.

        Raises `ValueError` for a group that is in both, and what `add_to_groups` raises.
        """
        user, more, less = as_uuid(user_id, "user_id"), _ids(add), _ids(remove)
        if both := more & less:
            raise ValueError(f"both to add and to remove: {', '.join(map(str, sorted(both)))}")
        return (await self._change_groups(user, more, less)).user

    async def _change_groups(
        self,
        user_id: UUID,
        add: frozenset[UUID],
        remove: frozenset[UUID],
        *,
        assumed: frozenset[UUID] | None = None,
        before_write: BeforeWrite | None = None,
    ) -> MembershipChange:
        """Both at once: read, merge, write only if something changes, compare; `assumed` takes the place of the reading."""

        async def merge(turn: Turn) -> MembershipChange:
            nonlocal assumed
            known, assumed = assumed, None  # a second turn comes after others had one
            return await self._merge(user_id, add, remove, known, before_write, turn)

        return await self._turns.run(_turn_of(user_id), merge)

    async def _merge(
        self,
        user_id: UUID,
        add: frozenset[UUID],
        remove: frozenset[UUID],
        assumed: frozenset[UUID] | None,
        before_write: BeforeWrite | None,
        turn: Turn,
    ) -> MembershipChange:
        def merged(groups: frozenset[UUID]) -> frozenset[UUID]:
            return (groups | add) - remove

        if assumed is None or merged(assumed) == assumed:
            last = await self._get(user_id)
            current = last[0].group_ids
            if merged(current) == current:
                return MembershipChange.of(last, current, written=False)
        else:
            current = assumed
        before = current
        answered = False
        try:
            for _ in range(MERGE_ATTEMPTS):
                wanted = merged(current)
                if before_write is not None:
                    await before_write(current, wanted)
                last = await self._write(user_id, wanted, turn)
                if last[0].group_ids == wanted:
                    return MembershipChange.of(last, before, written=True)
                answered = True
                logger.info("the groups of user %s are not what was written: reading them again", user_id)
                last = await self._get(user_id)
                current = last[0].group_ids
                if merged(current) == current:
                    return MembershipChange.of(last, before, written=True)
            raise ConcurrentModification(
                f"the groups of user {user_id} did not stay as they were set, {MERGE_ATTEMPTS} times: somebody else "
                "writes to the same user, or the server declines one of the groups"
            )
        except EzeepError as error:
            # Whatever became of the rest: what was written before is written.
            error.may_have_happened = error.may_have_happened or answered
            raise

    async def _get(self, user_id: UUID) -> tuple[User, RawResponse]:
        return await send_for(self._api, USERS.get(user_id), User)

    async def _write(self, user_id: UUID, group_ids: frozenset[UUID], turn: Turn) -> tuple[User, RawResponse]:
        groups = memberships(group_ids)
        if not self._patch_refused:
            try:
                patch = USERS.patch(user_id, {"groups": groups})
                return await turn.write(lambda: send_for(self._api, patch, User))
            except ApiError as error:
                if error.status != 405:
                    raise
            self._patch_refused = True
            logger.info("the server does not take PATCH for users: PUT from now on")
        # PUT may reset what is not sent, so the flags are read and sent along.
        user, _ = await self._get(user_id)
        values = {
            "groups": groups,
            "local_printing_enabled": user.local_printing_enabled,
            "self_service_enabled": user.self_service_enabled,
            "myprinters_enabled": user.myprinters_enabled,
        }
        put = USERS.put(user_id, values)
        return await turn.write(lambda: send_for(self._api, put, User))


def _turn_of(user_id: UUID) -> tuple[str, str]:
    return "user", str(user_id)


def _ids(group_ids: Iterable[UUID | str]) -> frozenset[UUID]:
    if isinstance(group_ids, str | UUID | bytes) or not isinstance(group_ids, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise ValueError("group_ids is several ids: put even one into a list")  # noqa: TRY004  # one class for bad arguments
    return frozenset(as_uuid(group_id, "group_id") for group_id in group_ids)
