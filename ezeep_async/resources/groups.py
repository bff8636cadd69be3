"""`session.groups`: groups of the printing API."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypedDict, Unpack
from uuid import UUID

import attrs

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._wire.group_names import LookAlikes, checked_new_name, shown
from ezeep_async._wire.requests import (
    GROUPS,
    as_id,
    as_uuid,
    checked_flag,
    checked_name,
    checked_text,
    id_text,
)
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import AmbiguousName, ApiError, EzeepError, OutcomeUnknown, Sought
from ezeep_async.models.groups import Group
from ezeep_async.models.unset import UNSET, Unset
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.reader import Fetch
from ezeep_async.resources._base import (
    LOST_TURNS,
    Api,
    Calls,
    Listed,
    Turn,
    TurnLost,
    Turns,
    listed,
    lost_in_write,
    read_settled,
)
from ezeep_async.resources.users import Users


logger = logging.getLogger("ezeep_async.resources")

CREATIONS = 3
"""Creations that `ensure` sends while each response is lost and no such group is found."""

SHARED_FOR_S = 5.0
"""Seconds for which a shared turn accepts further callers."""


class GroupFields(TypedDict, total=False):
    """Optional fields of a new group."""

    description: str
    local_printing_enabled: bool | None
    myprinters_enabled: bool | None


@attrs.frozen
class Ensured:
    """A group that exists, whether this call created it, and the request that did."""

    group: Group
    created: bool
    attempts: int = 0
    request_id: str = ""


class GroupCalls(Calls[Group]):
    """Calls for groups."""

    def __init__(self, api: Api) -> None:
        super().__init__(api, GROUPS, Group)
        self._turns = Turns(api)
        self._shared: dict[UUID, _SharedTurn] = {}
        self._runs = 0

    async def create(
        self,
        name: str,
        organization_id: UUID,
        description: str = "",
        local_printing_enabled: bool | None = None,
        myprinters_enabled: bool | None = None,
    ) -> tuple[Group, RawResponse]:
        """Create a group."""
        values: dict[str, object] = {
            "name": checked_new_name(name, "name"),
            "organization_id": str(organization_id),
        }
        if checked_text(description, "description"):
            values["description"] = description
        if local_printing_enabled is not None:
            values["local_printing_enabled"] = checked_flag(local_printing_enabled, "local_printing_enabled")
        if myprinters_enabled is not None:
            values["myprinters_enabled"] = checked_flag(myprinters_enabled, "myprinters_enabled")
        return await self.post(values, Sought("group", name, organization_id))

    async def ensure(self, name: str, organization_id: UUID, **fields: Unpack[GroupFields]) -> Ensured:
        """Find the group, or create it."""
        if (found := await self._find_one(name, organization_id)) is not None:
            return Ensured(found, False)
        return await self.ensure_absent(name, organization_id, **fields)

    async def ensure_absent(self, name: str, organization_id: UUID, **fields: Unpack[GroupFields]) -> Ensured:
        """As `ensure`, for a name that was not found before."""
        lost_turns = 0
        while True:
            async with self._joined(organization_id) as shared, shared.names[name]:
                # Checked here: the turn may have ended while this caller waited for another caller with the same name.
                if shared.has_ended:
                    continue
                try:
                    if (found := _only(shared.groups[name], name, organization_id)) is not None:
                        return Ensured(found, False)
                    ensured = await self._ensure(name, organization_id, fields, shared.turn)
                except BaseException as error:
                    # Later callers may not rely on this listing, unless it is certain that nothing was created.
                    if not isinstance(error, ApiError) or error.may_have_happened:
                        shared.end()
                    if not isinstance(error, TurnLost) or lost_turns == LOST_TURNS:
                        raise
                    lost_turns += 1
                    continue
                shared.groups[name].append(ensured.group)
            if ensured.created and shared.turn.lost():
                raise lost_in_write(("group", name))
            return ensured

    @asynccontextmanager
    async def _joined(self, organization_id: UUID) -> AsyncGenerator[_SharedTurn, None]:
        """The shared turn in which this session creates groups of the organization."""
        while (
            (shared := self._shared.get(organization_id)) is not None
            and shared.is_over
            and not shared.callers
        ):
            await self._close(organization_id, shared)
        if shared is None or shared.is_over:
            shared = self._shared[organization_id] = _SharedTurn(
                self._turns, organization_id, self.fetch_page
            )
        shared.callers += 1
        try:
            await shared.begin()
            yield shared
        finally:
            shared.callers -= 1
            if not shared.callers and (not self._runs or shared.is_over):
                await self._close(organization_id, shared)

    @asynccontextmanager
    async def creating_many(self) -> AsyncGenerator[None, None]:
        """A block whose creations share a turn, also when they run one after another."""
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1
            if not self._runs:
                idle = [item for item in self._shared.items() if not item[1].callers]
                for organization_id, shared in idle:
                    await self._close(organization_id, shared)

    async def _close(self, organization_id: UUID, shared: _SharedTurn) -> None:
        if self._shared.get(organization_id) is shared:
            del self._shared[organization_id]
        await shared.close()

    async def _ensure(self, name: str, organization_id: UUID, fields: GroupFields, turn: Turn) -> Ensured:
        lost = 0
        while True:
            try:
                group, response = await turn.write(lambda: self.create(name, organization_id, **fields))
                return Ensured(group, True, response.attempts, response.request_id)
            except (OutcomeUnknown, ApiError) as error:
                if not error.may_have_happened:
                    error.may_have_happened = lost > 0
                    raise
                lost += 1
                logger.info(
                    "the response to creating group %r was lost (%s): looking the group up", name, error
                )
                try:
                    found = await self._find_one(name, organization_id)
                except EzeepError as failure:
                    failure.may_have_happened = True
                    raise
                if found is not None:
                    return Ensured(found, True)
                if lost == CREATIONS:
                    raise

    async def _find_one(self, name: str, organization_id: UUID) -> Group | None:
        everywhere = await listed(Paginator(self.fetch_page))
        groups = [group for group in everywhere if group.organization_id == organization_id]
        if (found := _only(groups, name, organization_id)) is not None:
            return found
        for other in LookAlikes(group.name for group in groups).of(name):
            logger.warning(
                "there is no group %s; there is a group %s, whose name looks the same",
                shown(name),
                shown(other),
            )
        return None


def _only(groups: Iterable[Group], name: str, organization_id: UUID) -> Group | None:
    found = [group for group in groups if (group.name, group.organization_id) == (name, organization_id)]
    if len(found) > 1:
        raise AmbiguousName(
            f"{len(found)} groups are named {name!r}: use the id of one of them",
            ids=[group.id for group in found],
        )
    return found[0] if found else None


class _SharedTurn:
    """A turn in which the callers of one session create groups of one organization, after one listing.

    After `SHARED_FOR_S` seconds new callers wait for the next turn, so that other sessions get theirs.
    """

    def __init__(self, turns: Turns, organization_id: UUID, fetch: Fetch[Group]) -> None:
        self.callers = 0
        self.groups = defaultdict[str, list[Group]](list)
        """The existing groups by name."""
        self.names = defaultdict[str, asyncio.Lock](asyncio.Lock)
        """Callers with the same name run one after another."""
        self.turn = Turn(lambda: False)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        self._ended = False
        self._began = float("inf")
        self._task = ContainedTask(self._hold(turns, organization_id, fetch))
        # Retrieve the exception: where the lock was lost, each caller that has written raises it itself.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def has_ended(self) -> bool:
        """Whether no caller may begin a creation any more."""
        return self._ended or self._task.done()

    @property
    def is_over(self) -> bool:
        """Whether new callers have to wait for the next turn."""
        if self.turn.lost():
            self._ended = True
        return self.has_ended or time.monotonic() - self._began > SHARED_FOR_S

    def end(self) -> None:
        """Stop callers that have not begun their creation."""
        self._ended = True

    async def begin(self) -> None:
        """Wait for the turn and the listing. Raises their exceptions."""
        if not self._ready.done():
            await asyncio.wait({self._task, self._ready}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            self._task.result()

    async def close(self) -> None:
        """End the turn, after the writes in flight."""
        self._ended = True
        self._left.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _hold(self, turns: Turns, organization_id: UUID, fetch: Fetch[Group]) -> None:
        async with turns.take(("groups of organization", str(organization_id))) as turn:
            self.turn = turn
            for group in await read_settled(
                Paginator(fetch, concurrency=4), lambda group: group, strict=False
            ):
                self.groups[group.name].append(group)
            self._began = time.monotonic()
            self._ready.set_result(None)
            await self._left.wait()


_CHECKS: dict[str, Callable[[object, str], object]] = {
    "name": checked_new_name,
    "description": checked_text,
    "local_printing_enabled": checked_flag,
    "myprinters_enabled": checked_flag,
}


class Groups(Listed[Group]):
    """The groups of the organization.

    Note:
        docs/ezeep-api.md#groups
    """

    def __init__(self, api: Api, users: Users) -> None:
        self._users = users
        self.inner = GroupCalls(api)
        """Internal: the same calls with their responses, for `ezeep_async.provisioning`."""
        super().__init__(self.inner.fetch_page)

    async def get(self, group_id: UUID | str | Group) -> Group:
        """Read one group.

        Args:
            group_id: The group, or its id.

        Returns:
            The group.

        Raises:
            NotFound: No such group exists.
        """
        return (await self.inner.get(id_text(group_id, "group_id", Group)))[0]

    async def create(
        self,
        name: str,
        organization_id: UUID | str,
        description: str = "",
        local_printing_enabled: bool | None = None,
        myprinters_enabled: bool | None = None,
    ) -> Group:
        """Create a group. Names are not unique: a second call creates a second group (see `ensure`).

        Args:
            name: 1 to 255 characters, without surrounding white space and invisible characters. Joiners and variation
                selectors are allowed where the script needs them, as in emoji and in Persian.
            organization_id: Organization that will own the group.
            description: At most 255 characters.
            local_printing_enabled: None for the server's default.
            myprinters_enabled: None for the server's default.

        Returns:
            The new group.

        Raises:
            OutcomeUnknown: The response was lost: the group may exist now or later. `error.reconcile(session)` looks
                it up.
            BadRequest: The server rejects a value.
        """
        group, _ = await self.inner.create(
            name,
            as_uuid(organization_id, "organization_id"),
            description,
            local_printing_enabled,
            myprinters_enabled,
        )
        return group

    async def update(
        self,
        group_id: UUID | str | Group,
        name: str | Unset = UNSET,
        description: str | Unset = UNSET,
        local_printing_enabled: bool | Unset = UNSET,
        myprinters_enabled: bool | Unset = UNSET,
    ) -> Group:
        """Set the given fields of a group, and no others. `False` and `""` are values. Safe to repeat.

        Args:
            group_id: The group, or its id.
            name: New name; the rules of `create` apply.
            description: At most 255 characters.
            local_printing_enabled: True or False.
            myprinters_enabled: True or False.

        Returns:
            The group after the change.

        Raises:
            NotFound: No such group exists.
            BadRequest: The server rejects a value.
            ValueError: No field is given.
        """
        return await self.inner.update(
            as_id(group_id, "group_id", Group),
            _CHECKS,
            name=name,
            description=description,
            local_printing_enabled=local_printing_enabled,
            myprinters_enabled=myprinters_enabled,
        )

    async def delete(self, group_id: UUID | str | Group) -> None:
        """Delete a group.

        Args:
            group_id: The group, or its id.

        Raises:
            NotFound: No such group existed before the call.
        """
        await self.inner.delete(as_id(group_id, "group_id", Group))

    async def find(self, name: str) -> list[Group]:
        """Return the groups with this name, in all organizations that the token set can read.

        Reads all groups, and reads them again if they change meanwhile.

        Args:
            name: Exact, case-sensitive name.

        Returns:
            The groups with the name; empty where there is none.

        Raises:
            InconsistentListing: The groups changed during each of three readings.
        """
        return [group for group in await listed(self.list()) if group.name == name]

    async def ensure(
        self, name: str, organization_id: UUID | str, **fields: Unpack[GroupFields]
    ) -> tuple[Group, bool]:
        """Return the group with this name, creating it if it does not exist.

        Creations in one organization run one after another: in all sessions of this process, and across processes that
        share a `TokenStore` with `shared_locks()`, as the stores of the SDK have. A creation whose response was lost is
        looked up, and sent again if no such group is found, three times at most. A caller that is cancelled before
        its creation was sent creates nothing. Another group whose name looks the same, such as "sales" for "Sales",
        is logged as a warning.

        Args:
            name: Exact, case-sensitive name; 1 to 255 characters, no surrounding white space. The rules of `create`
                apply to a group that is created.
            organization_id: Organization that owns the group.
            **fields: Used only on creation: `description`, `local_printing_enabled`, `myprinters_enabled`.

        Returns:
            The group, and whether this call created it. An existing group is returned unchanged.

        Raises:
            AmbiguousName: Several groups in the organization have this name.
            ConcurrentModification: Another process kept the lock for longer than one call may take, or it was lost.
            OutcomeUnknown: The response to the creation was lost three times and no such group was found.
            InconsistentListing: The groups changed during each of three readings.
            BadRequest: The server rejects a value.

        Note:
            The API has no idempotency key. A second group can appear where another client creates one, where `create`
            is called, or where a request is carried out late, after the look-up (docs/ezeep-api.md#groups).
        """
        organization = as_uuid(organization_id, "organization_id")
        ensured = await self.inner.ensure(checked_name(name, "name"), organization, **fields)
        return ensured.group, ensured.created

    def members(
        self, group_id: UUID | str | Group, page_size: int = 100, concurrency: int = 1
    ) -> Paginator[User]:
        """List the users of one group, like `users.list(group=group_id)`.

        Args:
            group_id: The group, or its id.
            page_size: Rows to request per page, at least 1. The server may send fewer.
            concurrency: Pages to request at the same time, at least 1.

        Returns:
            A listing of users, in the order of the server.
        """
        return self._users.list(
            group=as_id(group_id, "group_id", Group), page_size=page_size, concurrency=concurrency
        )
