"""`UserCalls`: the inner layer of `session.users`. Its results carry the response."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import attrs

from ezeep_async._wire.requests import USERS, memberships
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import ApiError, ConcurrentModification, EzeepError
from ezeep_async.models.users import User
from ezeep_async.resources._base import Api, Turn, Turns, send_for


logger = logging.getLogger("ezeep_async.resources")

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


class UserCalls:
    """Calls for users that return the record and its response. Used by `Users` and by provisioning."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._turns = Turns(api)
        self._patch_refused = False

    async def get(self, user_id: UUID) -> tuple[User, RawResponse]:
        """Read one user."""
        return await send_for(self._api, USERS.get(user_id), User)

    async def set_groups(self, user_id: UUID, group_ids: frozenset[UUID]) -> tuple[User, RawResponse]:
        """Replace the groups of a user, in a turn of its own."""
        return await self._turns.run(_name_of(user_id), lambda turn: self._write(user_id, group_ids, turn))

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

        async def merge(turn: Turn) -> MembershipChange:
            nonlocal assumed
            known, assumed = assumed, None  # other writers may have had a turn before a second one
            return await self._merge(user_id, add, remove, known, before_write, turn)

        return await self._turns.run(_name_of(user_id), merge)

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

        def result(
            last: tuple[User, RawResponse], before: frozenset[UUID], *, written: bool
        ) -> MembershipChange:
            user, response = last
            return MembershipChange(user, before, written, response.attempts, response.request_id)

        if assumed is None or merged(assumed) == assumed:
            last = await self.get(user_id)
            current = last[0].group_ids
            if merged(current) == current:
                return result(last, current, written=False)
        else:
            current = assumed
        before = current
        written = False
        try:
            for _ in range(MERGE_ATTEMPTS):
                wanted = merged(current)
                if before_write is not None:
                    await before_write(current, wanted)
                last = await self._write(user_id, wanted, turn)
                if last[0].group_ids == wanted:
                    return result(last, before, written=True)
                written = True
                logger.info(
                    "user %s: the response has other groups than were written; reading the user again",
                    user_id,
                )
                last = await self.get(user_id)
                current = last[0].group_ids
                if merged(current) == current:
                    return result(last, before, written=True)
            raise ConcurrentModification(
                f"user {user_id}: the groups differed from what was written, {MERGE_ATTEMPTS} times. Another writer "
                "changes the same user, or the server rejects one of the groups. Read the user and try again"
            )
        except EzeepError as error:
            # An earlier write of this loop has succeeded, also where a later one was rejected.
            error.may_have_happened = error.may_have_happened or written
            raise

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
        return await turn.write(lambda: send_for(self._api, put, User))


def _name_of(user_id: UUID) -> tuple[str, str]:
    return "user", str(user_id)
