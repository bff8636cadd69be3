"""Users: reading, memberships, concurrent changes of one user."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, session_on

from ezeep_async import (
    AccountUser,
    ApiError,
    BadRequest,
    ConcurrentModification,
    EzeepSession,
    Group,
    GroupRef,
    Invitation,
    NotFound,
    UnexpectedResponse,
    User,
)
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


LIST = "GET /printing/v1/users/"
READ = "GET /printing/v1/users/{id}/"
PATCH = "PATCH /printing/v1/users/{id}/"
PUT = "PUT /printing/v1/users/{id}/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
def member(sandbox: Sandbox) -> UUID:
    """A user who is in at least one group."""
    return next(user.id for user in sandbox.organization.listed_users() if len(user.groups))


@pytest.fixture
def groups(sandbox: Sandbox, member: UUID) -> list[UUID]:
    """Groups that the member is not in."""
    return [
        group
        for group in sandbox.organization.groups
        if group not in sandbox.organization.users[member].groups
    ]


def stored(sandbox: Sandbox, user_id: UUID) -> set[UUID]:
    return set(sandbox.organization.users[user_id].groups)


def writes(sandbox: Sandbox) -> int:
    return sandbox.count(PATCH) + sandbox.count(PUT)


async def test_a_user_is_read_as_listed(session: EzeepSession, sandbox: Sandbox, member: UUID) -> None:
    """`get` and `list` give the same record; ids are taken as UUID or text."""
    listed = {user.id: user for user in await session.users.list().collect()}
    assert await session.users.get(member) == await session.users.get(str(member)) == listed[member]
    assert isinstance(listed[member], User)
    assert listed[member].group_ids == stored(sandbox, member)
    with pytest.raises(NotFound):
        await session.users.get(uuid4())


@pytest.mark.parametrize("bad", ["", "x", "../x", None, 5])
async def test_bad_ids_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, bad: Any
) -> None:
    """A user id or group id that is no UUID is a `ValueError`; nothing is sent."""
    for call in (
        lambda: session.users.get(bad),
        lambda: session.users.set_groups(bad, []),
        lambda: session.users.set_groups(uuid4(), [uuid4(), bad]),
        lambda: session.users.add_to_groups(bad, uuid4()),
        lambda: session.users.add_to_groups(uuid4(), uuid4(), bad),
        lambda: session.users.change_groups(bad, [uuid4()]),
        lambda: session.users.change_groups(uuid4(), [uuid4()], [bad]),
        lambda: session.users.remove_from_groups(bad, uuid4()),
        lambda: session.users.remove_from_groups(uuid4(), bad),
    ):
        with pytest.raises(ValueError, match="UUID"):
            await call()
    for wrong in ("", "x", 5):
        with pytest.raises(ValueError, match="UUID"):
            await session.users.list(group=wrong).collect()
    assert sandbox.requests == []


@pytest.mark.parametrize("one", [str(uuid4()), uuid4()], ids=["text", "uuid"])
async def test_one_id_instead_of_several_is_refused(
    session: EzeepSession, sandbox: Sandbox, one: Any
) -> None:
    """A single id in place of a list is a `ValueError`; a text is not split into characters."""
    with pytest.raises(ValueError, match="list"):
        await session.users.set_groups(uuid4(), one)
    assert sandbox.requests == []


# --- the group filter


@pytest.mark.slow
@pytest.mark.parametrize("honoured", [True, False])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_groups_users_are_checked_one_by_one(
    session: EzeepSession, sandbox: Sandbox, honoured: bool, concurrency: int
) -> None:
    """The filter is sent as documented, and each row of the response is checked: exactly the members."""
    sandbox.behaviour.honour_group_filter = honoured
    group = max(sandbox.organization.groups, key=sandbox.organization.num_members)
    users = await session.users.list(group=group, page_size=4, concurrency=concurrency).collect()
    assert [user.id for user in users] == [user.id for user in sandbox.organization.listed_members(group)]
    for seen in sandbox.requests:
        assert seen.method == "GET"
        assert json.loads(seen.body) == {"groups": [{"group_id": str(group)}]}


async def test_an_empty_group_has_no_users(session: EzeepSession, sandbox: Sandbox) -> None:
    """No member of an empty group, also from a server that ignores the filter."""
    sandbox.behaviour.honour_group_filter = False
    empty = await session.groups.create("Empty", sandbox.organization.organization_id)
    assert await session.users.list(group=empty.id).collect() == []
    assert await session.users.list(group=empty.id).first() is None
    assert await session.users.list(group=empty.id).count() == 0


# --- set_groups


async def test_7_3_set_groups_is_one_write_and_no_read(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: one write and no read, also when nothing changes; the result is the server's response."""
    for _ in range(2):
        user = await session.users.set_groups(member, [groups[0], str(groups[1]), groups[0]])
        assert user.group_ids == stored(sandbox, member) == {groups[0], groups[1]}
    assert writes(sandbox) == len(sandbox.requests) == 2


async def test_9_3_set_groups_to_none(session: EzeepSession, sandbox: Sandbox, member: UUID) -> None:
    """9-3: an empty set is sent as an empty set."""
    assert (await session.users.set_groups(member, [])).group_ids == frozenset()
    assert json.loads(sandbox.requests[-1].body) == {"groups": []}
    assert stored(sandbox, member) == set()


async def test_set_groups_takes_any_iterable(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """Sets and generators are iterables too."""
    await session.users.set_groups(member, {groups[0]})
    await session.users.set_groups(member, (each for each in groups[:2]))
    assert stored(sandbox, member) == set(groups[:2])


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_9_the_flags_stay_as_they_were(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID], method: str
) -> None:
    """9 (fact 2): after a membership write the three flags are unchanged, by PATCH and by PUT that resets them."""
    record = sandbox.organization.users[member]
    sandbox.behaviour.membership_methods = (method,)
    for flags in ((True, False, True), (False, True, False), (True, True, True)):
        record.local_printing_enabled, record.self_service_enabled, record.myprinters_enabled = flags
        user = await session.users.set_groups(member, groups[:1])
        await session.users.add_to_groups(member, groups[1])
        now = (record.local_printing_enabled, record.self_service_enabled, record.myprinters_enabled)
        assert now == flags
        assert (user.local_printing_enabled, user.self_service_enabled, user.myprinters_enabled) == flags


async def test_put_after_405_is_remembered(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """PATCH is tried once in a session; after a 405 the session uses PUT."""
    sandbox.behaviour.membership_methods = ("PUT",)
    for group in groups[:3]:
        await session.users.set_groups(member, [group])
        assert stored(sandbox, member) == {group}
    assert (sandbox.count(PATCH), sandbox.count(PUT)) == (1, 3)


async def test_405_for_both_is_an_error(session: EzeepSession, sandbox: Sandbox, member: UUID) -> None:
    """A server that accepts neither PATCH nor PUT: one error, no endless retries."""
    sandbox.behaviour.membership_methods = ()
    with pytest.raises(ApiError) as caught:
        await session.users.set_groups(member, [])
    assert caught.value.status == 405
    assert writes(sandbox) == 2


async def test_a_group_that_does_not_exist_is_bad_request(session: EzeepSession, member: UUID) -> None:
    """3-8: the field errors of the server are in the error."""
    with pytest.raises(BadRequest) as caught:
        await session.users.set_groups(member, [uuid4()])
    assert "groups" in caught.value.field_errors


# --- adding and removing


async def test_6_2_groups_come_and_go_in_one_write(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """6-2: groups in neither list stay; without a change nothing is written."""
    await session.users.set_groups(member, groups[:3])
    sandbox.reset_counts()
    user = await session.users.change_groups(member, [groups[3], str(groups[4])], remove={groups[0]})
    assert user.group_ids == stored(sandbox, member) == set(groups[1:5])
    assert writes(sandbox) == 1
    again = await session.users.change_groups(member, groups[3:5], (groups[0],))
    assert (again, writes(sandbox)) == (user, 1)
    with pytest.raises(ValueError, match=f"both in add and in remove: {groups[1]}"):
        await session.users.change_groups(member, groups[:2], groups[1:3])
    assert stored(sandbox, member) == set(groups[1:5])


async def test_7_3_adding_keeps_the_others(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: read, merge, one write for several groups; the result is the new state."""
    before = stored(sandbox, member)
    user = await session.users.add_to_groups(member, groups[0], str(groups[1]))
    assert user.group_ids == stored(sandbox, member) == before | set(groups[:2])
    assert (sandbox.count(READ), writes(sandbox)) == (1, 1)


async def test_7_3_removing_keeps_the_others(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: the given groups are removed, the others stay."""
    before = stored(sandbox, member)
    await session.users.add_to_groups(member, *groups[:2])
    user = await session.users.remove_from_groups(member, groups[0])
    assert user.group_ids == stored(sandbox, member) == before | {groups[1]}


async def test_7_3_nothing_to_change_is_no_write(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: adding known groups and removing absent groups is one read and no write."""
    have = next(iter(stored(sandbox, member)))
    user = await session.users.add_to_groups(member, have)
    assert user.group_ids == stored(sandbox, member)
    await session.users.remove_from_groups(member, groups[0])
    await session.users.add_to_groups(member)
    assert writes(sandbox) == 0
    assert len(sandbox.requests) <= 3


@pytest.mark.slow
async def test_7_3_fifty_additions_to_one_user_are_all_kept(session: EzeepSession, sandbox: Sandbox) -> None:
    """7-3: 50 concurrent additions to one user: none is lost, each is written once."""
    user = next(iter(sandbox.organization.users))
    before = stored(sandbox, user)
    added = [sandbox.organization.add_group(f"G{number}").id for number in range(50)]
    sandbox.behaviour.latency = 0.001
    await asyncio.gather(*(session.users.add_to_groups(user, group) for group in added))
    assert stored(sandbox, user) == before | set(added)
    assert writes(sandbox) == 50


async def test_7_3_adds_and_removes_at_once(session: EzeepSession, sandbox: Sandbox) -> None:
    """7-3: concurrent additions and removals end as if made one after another."""
    user = next(iter(sandbox.organization.users))
    ids = [sandbox.organization.add_group(f"G{number}").id for number in range(20)]
    await session.users.set_groups(user, ids[:10])
    await asyncio.gather(
        *(session.users.add_to_groups(user, group) for group in ids[10:]),
        *(session.users.remove_from_groups(user, group) for group in ids[:10]),
    )
    assert stored(sandbox, user) == set(ids[10:])


async def test_7_3_different_users_do_not_wait_for_each_other(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: there is one turn per user."""
    other = next(user for user in sandbox.organization.users if user != member)
    hold = sandbox.faults.hold(PATCH, when=lambda seen: str(member) in seen.path)
    slow = asyncio.create_task(session.users.add_to_groups(member, groups[0]))
    await hold.arrived()
    await asyncio.wait_for(session.users.set_groups(other, groups[:1]), 2)
    hold.release()
    await slow


async def test_7_3_a_cancelled_change_is_not_overtaken_by_the_next(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: a write in flight ends before the next begins, also when its caller is cancelled: no change is lost.

    A caller that is cancelled while it waits for its turn writes nothing."""
    hold = sandbox.faults.hold(PATCH, times=1)
    calls = [asyncio.create_task(session.users.add_to_groups(member, group)) for group in groups[:3]]
    await hold.arrived()
    calls[0].cancel()
    calls[1].cancel()
    await asyncio.wait(calls[:2], timeout=10)
    await asyncio.wait(calls[2:], timeout=0.1)  # its turn has not come
    assert [call.done() for call in calls] == [True, True, False]
    hold.release()
    user = await asyncio.wait_for(calls[2], 5)
    assert {groups[0], groups[2]} <= user.group_ids == stored(sandbox, member)
    assert groups[1] not in user.group_ids


async def test_7_3_a_lost_response_is_no_lost_membership(
    session: EzeepSession, sandbox: Sandbox, member: UUID, groups: list[UUID]
) -> None:
    """7-3: a write whose response was lost is retried, and the result is right."""
    before = stored(sandbox, member)
    sandbox.faults.add(PATCH, drop="after")
    user = await session.users.add_to_groups(member, groups[0])
    assert user.group_ids == stored(sandbox, member) == before | {groups[0]}


def other_writer(replies: list[set[int]], written: list[set[int]]) -> Any:
    """A server with one user that another writer changes: the responses to writes are `replies`."""
    state: set[int] = {1}

    def handler(seen: Seen) -> web.Response:
        nonlocal state
        if seen.method == "PATCH":
            state = {UUID(each["group_id"]).int for each in seen.json["groups"]}
            written.append(state)
            state = replies.pop(0) if len(replies) > 1 else replies[0] if replies else state
        refs = [{"group_id": str(UUID(int=each))} for each in sorted(state, reverse=True)]
        return web.json_response({"id": str(UUID(int=9)), "groups": refs})

    return handler


async def test_7_3_a_response_with_other_groups_is_read_and_merged_again() -> None:
    """7-3: a write of another client in between: both changes are kept."""
    written: list[set[int]] = []
    async with Stub(other_writer([{1, 7}, {1, 2, 7}], written)) as stub, session_on(stub.url) as session:
        user = await session.users.add_to_groups(UUID(int=9), UUID(int=2))
    assert {each.int for each in user.group_ids} == {1, 2, 7}
    assert written == [{1, 2}, {1, 2, 7}]


async def test_7_3_the_order_of_groups_in_a_response_does_not_matter() -> None:
    """7-3: groups in any order are the same set: one write."""
    written: list[set[int]] = []
    async with Stub(other_writer([], written)) as stub, session_on(stub.url) as session:
        await session.users.add_to_groups(UUID(int=9), UUID(int=2), UUID(int=3))
    assert written == [{1, 2, 3}]


async def test_7_3_repeated_writes_of_another_client_are_concurrent_modification() -> None:
    """7-3: after some attempts `ConcurrentModification`, and no endless loop."""
    written: list[set[int]] = []
    async with Stub(other_writer([{1}], written)) as stub, session_on(stub.url) as session:
        with pytest.raises(ConcurrentModification):
            await session.users.add_to_groups(UUID(int=9), UUID(int=2))
    assert 2 <= len(written) <= 10


async def test_7_3_a_response_without_groups_is_not_written() -> None:
    """7-3: a response without `groups` is an error, and nothing is written."""

    def handler(seen: Seen) -> web.Response:
        return web.json_response({"id": str(UUID(int=9))})

    async with Stub(handler) as stub, session_on(stub.url) as session:
        with pytest.raises(UnexpectedResponse) as caught:
            await session.users.add_to_groups(UUID(int=9), UUID(int=2))
        assert "groups" in str(caught.value)
        assert [seen.method for seen in stub.seen] == ["GET"]


def test_8_6_group_ids_are_computed_once_and_are_no_field() -> None:
    """8-6: equality, hash, copies and pickles are those of the fields."""
    group = UUID(int=2)
    read, unread = (User(id=UUID(int=1), groups=(GroupRef(group),)) for _ in range(2))
    assert read.group_ids == {group}
    assert read.group_ids is read.group_ids
    assert (read, hash(read), repr(read)) == (unread, hash(unread), repr(unread))
    assert attrs.evolve(read, groups=()).group_ids == frozenset()
    assert pickle.loads(pickle.dumps(read)).group_ids == copy.deepcopy(read).group_ids == {group}


@pytest.mark.parametrize("record", [User, Group, AccountUser, Invitation])
def test_attributes_of_records_are_read_directly(record: type) -> None:
    """A `__getattr__`, such as attrs adds for `cached_property`, makes all of them slower."""
    assert not hasattr(record, "__getattr__")
