"""Groups: reading, creating, changing, finding and ensuring."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from helpers.stub_servers import no_jitter

from ezeep_async import (
    AmbiguousName,
    BadRequest,
    EzeepSession,
    Group,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
)
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


LIST = "GET /printing/v1/groups/"
CREATE = "POST /printing/v1/groups/"
DELETE = "DELETE /printing/v1/groups/{id}/"
PATCH = "PATCH /printing/v1/groups/{id}/"
BAD_IDS = ["", "x", "../x", "0050a068", None, 5]


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
def organization(sandbox: Sandbox) -> UUID:
    return sandbox.organization.organization_id


def named(sandbox: Sandbox, name: str) -> int:
    return sum(group.name == name for group in sandbox.organization.groups.values())


async def test_a_group_is_read_as_listed(session: EzeepSession, sandbox: Sandbox) -> None:
    """`get` and `list` return the same record; ids are UUIDs, accepted as UUID or text."""
    listed = await session.groups.list().collect()
    assert [group.id for group in listed] == list(sandbox.organization.groups)
    group = listed[0]
    assert await session.groups.get(group.id) == await session.groups.get(str(group.id)) == group
    assert isinstance(group.id, UUID)
    assert group.origin.provider == "Azure"


async def test_8_1_counts_as_strings_are_integers(session: EzeepSession, sandbox: Sandbox) -> None:
    """8-1: the documented string counts arrive as integers."""
    numbers = await session.groups.list().collect()
    sandbox.behaviour.counts_as_strings = True
    assert await session.groups.list().collect() == numbers


async def test_create_sends_what_is_given(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """3-16: name, organization, description and flags, also `False`; fields that are not given are not sent."""
    group = await session.groups.create("New", organization, "about", False, True)
    assert json.loads(sandbox.requests[-1].body) == {
        "name": "New",
        "organization_id": str(organization),
        "description": "about",
        "local_printing_enabled": False,
        "myprinters_enabled": True,
    }
    assert isinstance(group, Group)
    assert (group.name, group.description, group.myprinters_enabled) == ("New", "about", True)
    await session.groups.create("Bare", str(organization))
    assert set(json.loads(sandbox.requests[-1].body)) == {"name", "organization_id"}


@pytest.mark.parametrize("length", [1, 255])
async def test_names_of_1_and_255_characters_are_sent(
    session: EzeepSession, organization: UUID, length: int
) -> None:
    """The shortest and the longest name (docs/ezeep-api.md#groups)."""
    group = await session.groups.create("ü" * length, organization)
    assert group.name == "ü" * length
    assert (await session.groups.update(group.id, name="x" * length)).name == "x" * length
    assert (await session.groups.ensure("x" * length, organization)) == (
        await session.groups.get(group.id),
        False,
    )


@pytest.mark.parametrize("name", ["", "x" * 256, None, 5, b"x"])
async def test_other_names_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, name: Any
) -> None:
    """0 or 256 characters, or no text: `ValueError`; nothing is sent."""
    for call in (
        lambda: session.groups.create(name, organization),
        lambda: session.groups.update(uuid4(), name=name),
        lambda: session.groups.ensure(name, organization),
    ):
        with pytest.raises(ValueError, match="name"):
            await call()
    assert sandbox.requests == []


@pytest.mark.parametrize("bad", BAD_IDS)
async def test_bad_ids_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, bad: Any
) -> None:
    """An id that is no UUID is a `ValueError`; nothing is sent."""
    for call in (
        lambda: session.groups.get(bad),
        lambda: session.groups.update(bad, name="x"),
        lambda: session.groups.delete(bad),
        lambda: session.groups.create("x", bad),
        lambda: session.groups.ensure("x", bad),
        lambda: session.groups.members(bad).collect(),
    ):
        with pytest.raises(ValueError, match="UUID"):
            await call()
    assert sandbox.requests == []


async def test_descriptions_have_255_characters_at_most(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """256 characters of description are refused before any request (docs/ezeep-api.md#groups)."""
    for call in (
        lambda: session.groups.create("x", organization, "d" * 256),
        lambda: session.groups.update(uuid4(), description="d" * 256),
        lambda: session.groups.ensure("x", organization, description="d" * 256),
    ):
        with pytest.raises(ValueError, match="description"):
            await call()
    assert [seen for seen in sandbox.requests if seen.method != "GET"] == []
    assert len((await session.groups.create("x", organization, "d" * 255)).description) == 255


async def test_9_3_update_sends_what_is_given_and_nothing_else(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """9-3: `False` and `""` are values; fields that are not given are not sent, and stay."""
    group = await session.groups.list().first()
    assert group is not None
    changed = await session.groups.update(group.id, local_printing_enabled=False, description="")
    assert json.loads(sandbox.requests[-1].body) == {"local_printing_enabled": False, "description": ""}
    assert (changed.local_printing_enabled, changed.name) == (False, group.name)


async def test_update_of_nothing_is_refused(session: EzeepSession, sandbox: Sandbox) -> None:
    """An update without fields is a `ValueError`; nothing is sent."""
    with pytest.raises(ValueError, match="field"):
        await session.groups.update(uuid4())
    assert sandbox.requests == []


async def test_3_6_delete_deletes_once(session: EzeepSession, sandbox: Sandbox) -> None:
    """3-6: None the first time, `NotFound` the second."""
    group = next(iter(sandbox.organization.groups))
    await session.groups.delete(group)
    assert group not in sandbox.organization.groups
    with pytest.raises(NotFound):
        await session.groups.delete(group)
    with pytest.raises(NotFound):
        await session.groups.get(group)


async def test_7_11_a_refused_deletion_is_a_failure(session: EzeepSession, sandbox: Sandbox) -> None:
    """7-11: 403 on a deletion is not success."""
    sandbox.faults.add("DELETE /printing/v1/groups/{id}/", status=403)
    with pytest.raises(PermissionDenied):
        await session.groups.delete(next(iter(sandbox.organization.groups)))


async def test_find_is_exact(session: EzeepSession, sandbox: Sandbox) -> None:
    """`find` returns all groups with exactly the name, and no others."""
    for name in ("Desk", "desk", "Desk ", "Desk", "Frontdesk"):
        sandbox.organization.add_group(name)
    assert [group.name for group in await session.groups.find("Desk")] == ["Desk", "Desk"]
    assert await session.groups.find("Absent") == []


async def test_members_are_the_users_of_the_group(session: EzeepSession, sandbox: Sandbox) -> None:
    """`members` lists exactly the users in the group."""
    for group in list(sandbox.organization.groups)[:3]:
        members = await session.groups.members(group, page_size=3).collect()
        assert [user.id for user in members] == [u.id for u in sandbox.organization.listed_members(group)]


# --- ensure


async def test_ensure_creates_once(session: EzeepSession, sandbox: Sandbox, organization: UUID) -> None:
    """`(group, True)`, then `(group, False)`, with one creation, and its fields."""
    group, created = await session.groups.ensure("Finance", organization, description="d")
    assert (group.name, group.description, created) == ("Finance", "d", True)
    assert await session.groups.ensure("Finance", organization) == (group, False)
    assert sandbox.count(CREATE) == 1


async def test_ensure_changes_nothing_on_a_group_that_exists(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """An existing group is returned unchanged: the fields are for a new group only."""
    group = await session.groups.create("Finance", organization, "old")
    found, created = await session.groups.ensure("Finance", organization, description="new")
    assert (found, created) == (group, False)
    assert sandbox.count(PATCH) == 0


@pytest.mark.slow
async def test_ensure_50_at_once_is_one_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """Calls with one name in one session run one after another: one group, created once."""
    results = await asyncio.gather(*(session.groups.ensure("Finance", organization) for _ in range(50)))
    assert len({group.id for group, _ in results}) == 1
    assert sum(created for _, created in results) == 1
    assert named(sandbox, "Finance") == 1
    assert sandbox.count(CREATE) == 1


async def test_ensure_different_names_do_not_wait_for_each_other(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """Calls with different names run concurrently."""
    hold = sandbox.faults.hold(CREATE, when=lambda seen: b"Slow" in seen.body)
    slow = asyncio.create_task(session.groups.ensure("Slow", organization))
    await hold.arrived()
    assert (await asyncio.wait_for(session.groups.ensure("Quick", organization), 2))[1] is True
    hold.release()
    await slow


@pytest.mark.parametrize("times", [1, 2])
async def test_6_4_ensure_after_a_lost_response_finds_the_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, times: int
) -> None:
    """6-4: the creation was carried out, its response was lost: `(group, True)` and one group."""
    sandbox.faults.add(CREATE, drop="after", times=times)
    group, created = await session.groups.ensure("Finance", organization)
    assert (group.name, created) == ("Finance", True)
    assert named(sandbox, "Finance") == 1
    assert sandbox.count(CREATE) == 1


async def test_6_4_ensure_after_a_lost_request_creates_it(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: the request was lost before it was processed: looked up, not found, created, one group."""
    sandbox.faults.add(CREATE, drop="before")
    _, created = await session.groups.ensure("Finance", organization)
    assert created is True
    assert named(sandbox, "Finance") == 1
    assert sandbox.count(CREATE) == 2


async def test_6_4_ensure_looks_up_after_the_last_attempt_too(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: when each response is lost, the group is looked up once more before an error is raised."""
    sandbox.faults.add(CREATE, drop="before", times=2)
    sandbox.faults.add(CREATE, drop="after", nth=3, times=None)
    _, created = await session.groups.ensure("Finance", organization)
    assert created is True
    assert named(sandbox, "Finance") == 1


async def test_6_4_ensure_gives_up_after_three_creations(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: a creation that never arrives ends in `OutcomeUnknown`, with no group."""
    sandbox.faults.add(CREATE, drop="before", times=None)
    with pytest.raises(OutcomeUnknown):
        await session.groups.ensure("Finance", organization)
    assert named(sandbox, "Finance") == 0


async def test_6_4_ensure_after_a_failed_lookup_creates_no_second_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: the response is lost and the lookup is refused: the next caller lists again."""
    lost = sandbox.faults.add(CREATE, drop="after")
    sandbox.faults.add("GET /printing/v1/groups/", when=lambda _: lost.hits > 0, status=403)
    calls = [session.groups.ensure("Finance", organization) for _ in range(2)]
    refused, found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(refused, PermissionDenied)
    assert refused.may_have_happened
    assert isinstance(found, tuple)
    assert named(sandbox, "Finance") == 1


async def test_ensure_of_an_ambiguous_name_is_refused(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """Several groups have the name: `AmbiguousName` with their ids, and nothing is written."""
    groups = [await session.groups.create("Twin", organization) for _ in range(2)]
    with pytest.raises(AmbiguousName) as caught:
        await session.groups.ensure("Twin", organization)
    assert set(caught.value.ids) == {group.id for group in groups}
    assert sandbox.count(CREATE) == 2


async def test_ensure_a_cancelled_caller_makes_no_second_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """A creation in flight ends before the next turn begins, and makes one group."""
    hold = sandbox.faults.hold(CREATE, times=1, after=True)
    calls = [asyncio.create_task(session.groups.ensure("Finance", organization)) for _ in range(3)]
    await hold.arrived()
    calls[0].cancel()
    calls[1].cancel()
    await asyncio.wait(calls[:2], timeout=10)
    await asyncio.wait(calls[2:], timeout=0.1)  # its turn has not come
    assert [call.done() for call in calls] == [True, True, False]
    hold.release()
    group, created = await asyncio.wait_for(calls[2], 5)
    assert (group.name, created) == ("Finance", False)
    assert named(sandbox, "Finance") == 1


async def test_ensure_passes_refusals_on(session: EzeepSession, sandbox: Sandbox) -> None:
    """`ensure` raises the errors of `create`: an unknown organization is `BadRequest`."""
    with pytest.raises(BadRequest) as caught:
        await session.groups.ensure("Finance", uuid4())
    assert "organization_id" in caught.value.field_errors


async def test_8_6_records_can_be_compared_hashed_and_pickled(session: EzeepSession) -> None:
    """8-6: records survive pickling, equal and hashable."""
    import copy
    import pickle

    group, user = await session.groups.list().first(), await session.users.list().first()
    for record in (group, user, await session.accounts.me()):
        assert pickle.loads(pickle.dumps(record)) == copy.deepcopy(record) == record
        assert hash(record) == hash(copy.deepcopy(record))


@pytest.mark.slow
@pytest.mark.parametrize("body", ["", "<html>", '{"id":', "{}", '{"id": "x"}'])
async def test_6_4_a_creation_with_an_undecodable_response(
    sandbox: Sandbox, session: EzeepSession, organization: UUID, body: str
) -> None:
    """6-4: 201 with an undecodable body: `create` raises `OutcomeUnknown`, `ensure` finds the group by name."""
    sandbox.faults.add(CREATE, times=1, status=201, body=body, processed=True)
    with pytest.raises(OutcomeUnknown, match="was carried out"):
        await session.groups.create("One", organization)
    sandbox.faults.add(CREATE, times=1, status=201, body=body, processed=True)
    group, created = await session.groups.ensure("Two", organization)
    assert (group.name, created) == ("Two", True)
    names = [each.name for each in sandbox.organization.groups.values()]
    assert (names.count("One"), names.count("Two")) == (1, 1)


@pytest.mark.parametrize("status", [408, 500, 502, 504])
async def test_3_6_a_deletion_that_was_carried_out_with_an_error_response(
    sandbox: Sandbox, session: EzeepSession, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """3-6: the 404 of the retry means that the group is deleted."""
    monkeypatch.setattr(session._core._sender, "_random", lambda: 0.0)
    group = sandbox.organization.add_group("Gone")
    sandbox.faults.add(DELETE, status=status, processed=True)
    await session.groups.delete(group.id)
    assert group.id not in sandbox.organization.groups
    assert sandbox.count(DELETE) == 2
