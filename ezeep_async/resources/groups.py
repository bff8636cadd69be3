"""`session.groups`. Source: API document, "Groups"."""

from __future__ import annotations

import asyncio
import builtins
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
from ezeep_async._wire.requests import GROUPS, as_uuid, checked_flag, checked_name, checked_text
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import AmbiguousName, ApiError, OutcomeUnknown, Sought
from ezeep_async.models.groups import Group
from ezeep_async.models.unset import UNSET, Unset, given
from ezeep_async.models.users import User
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import (
    LOST_TURNS,
    Api,
    Turn,
    TurnLost,
    Turns,
    create_record,
    fetch_record,
    listed,
    lost_in_write,
    page_fetcher,
    read_settled,
)
from ezeep_async.resources.users import Users


logger = logging.getLogger("ezeep_async.resources")

CREATIONS = 3
"""How often `ensure` sends a creation whose answers are lost, having looked each time that there is no such group."""

SHARED_FOR_S = 5.0
"""Seconds after which a turn in which groups are created takes nobody in any more."""


class GroupFields(TypedDict, total=False):
    """What a new group may have besides its name and organisation."""

    description: str
    local_printing_enabled: bool | None
    myprinters_enabled: bool | None


@attrs.frozen
class Ensured:
    """A group that there is, whether it was created now, and the creation's request."""

    group: Group
    created: bool
    attempts: int = 0
    request_id: str = ""


class Groups:
    """The groups of the organisation."""

    def __init__(self, api: Api, users: Users) -> None:
        self._api = api
        self._users = users
        self._turns = Turns(api)
        self._fetch = fetch = page_fetcher(api, Group, GROUPS.page)
        self._listing = lambda: Paginator(fetch, concurrency=4)  # by `self.list` it would be a cycle
        self._shared: dict[UUID, _SharedTurn] = {}
        self._runs = 0

    def list(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[Group]:
        """All groups, read as they are iterated. Raises `ValueError` for sizes below 1."""
        return Paginator(self._fetch, page_size=page_size, concurrency=concurrency, offset=offset)

    async def get(self, group_id: UUID | str) -> Group:
        """One group. Raises `NotFound`, `ValueError` for what is not a UUID."""
        return await fetch_record(self._api, GROUPS.get(as_uuid(group_id, "group_id")), Group)

    async def create(
        self,
        name: str,
        organization_id: UUID | str,
        description: str = "",
        local_printing_enabled: bool | None = None,
        myprinters_enabled: bool | None = None,
    ) -> Group:
        """A new group. Names need not be unique: calling this twice makes two groups (see `ensure`).

        `name` has 1 to 255 characters, no blanks at its ends and no invisible characters, `description` at most 255.
        Joiners and selectors that the writing needs are allowed, as in emoji and in Persian. Raises `ValueError` for
        others before anything is sent, `BadRequest`, and `OutcomeUnknown` when the answer was lost: the group may exist
        then, or come into being yet. `await error.reconcile(session)` looks it up.
        """
        return (
            await self._create(name, organization_id, description, local_printing_enabled, myprinters_enabled)
        )[0]

    async def _create(
        self,
        name: str,
        organization_id: UUID | str,
        description: str = "",
        local_printing_enabled: bool | None = None,
        myprinters_enabled: bool | None = None,
    ) -> tuple[Group, RawResponse]:
        organization = as_uuid(organization_id, "organization_id")
        values: dict[str, object] = {
            "name": checked_new_name(name, "name"),
            "organization_id": str(organization),
        }
        if checked_text(description, "description"):
            values["description"] = description
        if local_printing_enabled is not None:
            values["local_printing_enabled"] = checked_flag(local_printing_enabled, "local_printing_enabled")
        if myprinters_enabled is not None:
            values["myprinters_enabled"] = checked_flag(myprinters_enabled, "myprinters_enabled")
        return await create_record(
            self._api, GROUPS.create(values), Group, Sought("group", name, organization)
        )

    async def update(
        self,
        group_id: UUID | str,
        name: str | Unset = UNSET,
        description: str | Unset = UNSET,
        local_printing_enabled: bool | Unset = UNSET,
        myprinters_enabled: bool | Unset = UNSET,
    ) -> Group:
        """Set what is given, and nothing else: `False` and `""` are values. May be repeated.

        A new `name` is checked as by `create`. Raises `NotFound`, `BadRequest`, and `ValueError` before anything is sent.
        """
        group_id = as_uuid(group_id, "group_id")
        if name is not UNSET:
            checked_new_name(name, "name")
        if description is not UNSET:
            checked_text(description, "description")
        for flag, what in (
            (local_printing_enabled, "local_printing_enabled"),
            (myprinters_enabled, "myprinters_enabled"),
        ):
            if flag is not UNSET:
                checked_flag(flag, what)
        values = given(
            {
                "name": name,
                "description": description,
                "local_printing_enabled": local_printing_enabled,
                "myprinters_enabled": myprinters_enabled,
            }
        )
        if not values:
            raise ValueError("nothing to update: give at least one field")
        return await fetch_record(self._api, GROUPS.patch(group_id, values), Group)

    async def delete(self, group_id: UUID | str) -> None:
        """Delete a group. Raises `NotFound` when it was not there to begin with."""
        await self._delete(as_uuid(group_id, "group_id"))

    async def _delete(self, group_id: UUID) -> RawResponse:
        return await self._api.send(GROUPS.delete(group_id))

    async def find(self, name: str) -> builtins.list[Group]:
        """The groups of exactly that name, upper and lower case being different, in whichever organisation.

        Reads them all, and again where they changed meanwhile. Raises `InconsistentListing` when they never hold still.
        """
        return [group for group in await listed(self.list()) if group.name == name]

    async def ensure(
        self, name: str, organization_id: UUID | str, **fields: Unpack[GroupFields]
    ) -> tuple[Group, bool]:
        """The group of that name in that organisation, and whether it was created now. One that exists is left as it is.

        Creations of groups of one organisation take turns, and look again when they have theirs; one that is cancelled
        before it creates will not. All sessions of this process take part, and so do other processes where they share a
        `FileTokenStore`, a `KeyringTokenStore` or a `RedisTokenStore`. Those of one session have their turn together.
        A creation that failed without telling its outcome is looked up, and sent again where nothing is found, twice at
        most: it ends with one group. Two can come into being where a writer without this SDK, or with another token store,
        creates one of that name, where `create` does, or where a request whose answer was given up on is carried out after
        that look-up.

        A group that exists may have any name; one that is created is checked as by `create`. Where another group of the
        organisation has a name that looks the same, such as "sales" and "Sales", a warning is logged: names are compared
        exactly. Raises `AmbiguousName` when several have the name, `ConcurrentModification` when another process keeps the
        lock for longer than one call may take, and what `create` raises.
        """
        organization = as_uuid(organization_id, "organization_id")
        checked_name(name, "name")
        if (found := await self._find_one(name, organization)) is not None:
            return found, False
        ensured = await self._ensure_absent(name, organization, **fields)
        return ensured.group, ensured.created

    async def _ensure_absent(
        self, name: str, organization_id: UUID, **fields: Unpack[GroupFields]
    ) -> Ensured:
        """As `ensure`, for a name that was looked for before."""
        lost_turns = 0
        while True:
            async with self._joined(organization_id) as shared, shared.names[name]:
                # Looked at here, as it may have waited for somebody who creates one of the same name.
                if shared.has_ended:
                    continue
                try:
                    if (found := _only(shared.groups[name], name, organization_id)) is not None:
                        return Ensured(found, False)
                    ensured = await self._ensure(name, organization_id, fields, shared.turn)
                except BaseException as error:
                    # The next one may not go by what is known here, unless it is certain that nothing was created.
                    if not isinstance(error, ApiError) or _is_untold(error):
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
        """The turn in which this session creates groups of that organisation, and what there is then."""
        while (
            (shared := self._shared.get(organization_id)) is not None
            and shared.is_over
            and not shared.callers
        ):
            await self._close(organization_id, shared)
        if shared is None or shared.is_over:
            shared = self._shared[organization_id] = _SharedTurn(self._turns, organization_id, self._listing)
        shared.callers += 1
        try:
            await shared.begin()
            yield shared
        finally:
            shared.callers -= 1
            if not shared.callers and (not self._runs or shared.is_over):
                await self._close(organization_id, shared)

    @asynccontextmanager
    async def _creating_many(self) -> AsyncGenerator[None, None]:
        """A block whose creations share a turn, also where they come one after the other."""
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
        lost: OutcomeUnknown | ApiError | None = None
        for _ in range(CREATIONS):
            if lost and (found := await self._find_one(name, organization_id)) is not None:
                return Ensured(found, True)
            try:
                group, answer = await turn.write(lambda: self._create(name, organization_id, **fields))
            except (OutcomeUnknown, ApiError) as error:
                if isinstance(error, ApiError) and not _is_untold(error):
                    raise
                logger.info("the answer to creating group %r was lost (%s): looking it up", name, error)
                lost = error
            else:
                return Ensured(group, True, answer.attempts, answer.request_id)
        if (found := await self._find_one(name, organization_id)) is not None:
            return Ensured(found, True)
        assert lost is not None  # noqa: S101  # the loop ends in no other way
        raise lost

    def members(self, group_id: UUID | str, page_size: int = 100, concurrency: int = 1) -> Paginator[User]:
        """The users of one group. The same as `users.list(group=group_id)`."""
        return self._users.list(
            group=as_uuid(group_id, "group_id"), page_size=page_size, concurrency=concurrency
        )

    async def _find_one(self, name: str, organization_id: UUID) -> Group | None:
        groups = [group for group in await listed(self.list()) if group.organization_id == organization_id]
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
            f"{len(found)} groups are named {name!r}: use an id", ids=[group.id for group in found]
        )
    return found[0] if found else None


class _SharedTurn:
    """A turn in which the callers of one session create groups of one organisation, after one listing.

    Who comes after `SHARED_FOR_S` seconds waits for the next one, so that others have their turn.
    """

    def __init__(self, turns: Turns, organization_id: UUID, listing: Callable[[], Paginator[Group]]) -> None:
        self.callers = 0
        self.groups = defaultdict[str, builtins.list[Group]](builtins.list)
        """What there is, by name."""
        self.names = defaultdict[str, asyncio.Lock](asyncio.Lock)
        """One caller at a time for each name."""
        self.turn = Turn(lambda: False)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        self._ended = False
        self._began = float("inf")
        self._task = ContainedTask(self._hold(turns, organization_id, listing))
        # Where the lock was lost after the beginning, each caller that has written says so itself.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def has_ended(self) -> bool:
        """Whether nobody may begin to create any more."""
        return self._ended or self._task.done()

    @property
    def is_over(self) -> bool:
        """Whether it takes nobody in any more."""
        if self.turn.lost():
            self._ended = True
        return self.has_ended or time.monotonic() - self._began > SHARED_FOR_S

    def end(self) -> None:
        """Let nobody begin any more."""
        self._ended = True

    async def begin(self) -> None:
        """Wait for the turn and the listing. Raises what they raise."""
        if not self._ready.done():
            await asyncio.wait({self._task, self._ready}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            self._task.result()

    async def close(self) -> None:
        """Give the turn back. It ends after what is being written."""
        self._ended = True
        self._left.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _hold(
        self, turns: Turns, organization_id: UUID, listing: Callable[[], Paginator[Group]]
    ) -> None:
        async with turns.take(("groups of organization", str(organization_id))) as turn:
            self.turn = turn
            for group in await read_settled(listing(), lambda group: group, strict=False):
                self.groups[group.name].append(group)
            self._began = time.monotonic()
            self._ready.set_result(None)
            await self._left.wait()


def _is_untold(error: ApiError) -> bool:
    """Whether a creation with that answer may or may not have been carried out. After a 503 it was not, and was repeated."""
    return (error.status == 408 or error.status >= 500) and not error.retryable
