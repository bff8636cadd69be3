"""Fifty concurrent calls of `ensure` for one name under every fault: one group (6-4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from helpers.stub_servers import no_jitter, quick

from ezeep_async import DesiredState, EzeepError, EzeepSession, MemoryTokenStore, ServerError
from ezeep_async.resources import groups
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


LIST = "GET /printing/v1/groups/"
CREATE = "POST /printing/v1/groups/"
CALLERS = 50
FAULTS: dict[str, dict[str, Any]] = {
    "none": {"delay": 0.0},
    "cut before": {"drop": "before"},
    "cut after": {"drop": "after"},
    "late response": {"delay_after": 0.8},
    "html instead of the record": {"body": "<html>"},
    "200 and half a record": {"status": 200, "body": '{"id": "', "processed": True},
    "201 and another record": {"status": 201, "body": '{"name": "x"}', "processed": True},
    "204": {"status": 204, "body": "", "processed": True},
} | {
    f"{status} {'after' if processed else 'before'}": {
        "status": status,
        "processed": processed,
        "retry_after": 0,
    }
    for status in (408, 429, 500, 502, 503, 504)
    for processed in (False, True)
    # These two say that nothing was done. If that is not true, a client cannot know it.
    if not (processed and status in {429, 503})
}


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[EzeepSession]:
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(read_timeout=2.0),
    ) as opened:
        yield opened


@pytest.fixture
def organization(sandbox: Sandbox) -> UUID:
    return sandbox.organization.organization_id


def made(sandbox: Sandbox) -> list[UUID]:
    return [group.id for group in sandbox.organization.groups.values() if group.name == "Finance"]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
async def test_6_4_fifty_at_once_end_with_one_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, fault: str, times: int
) -> None:
    """6-4: a failed creation is looked up before another one is sent; all callers get the same group."""
    sandbox.faults.add(CREATE, times=times, **FAULTS[fault])
    calls = [session.groups.ensure("Finance", organization) for _ in range(CALLERS)]
    results = await asyncio.gather(*calls)
    assert len(made(sandbox)) == 1
    assert {group.id for group, _ in results} == set(made(sandbox))
    assert sum(created for _, created in results) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut before", "cut after", "500 before", "503 before", "504 before"])
async def test_6_4_a_look_up_that_goes_wrong_makes_no_second_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, fault: str
) -> None:
    """6-4: the same where the response to the creation is lost and the listing after it fails."""
    sandbox.faults.add(CREATE, drop="after")
    sandbox.faults.add(LIST, nth=2, times=2, **FAULTS[fault])
    calls = [session.groups.ensure("Finance", organization) for _ in range(CALLERS)]
    results = await asyncio.gather(*calls)
    assert {group.id for group, _ in results} == set(made(sandbox))
    assert len(made(sandbox)) == 1


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 429}, {"status": 500}, {"drop": "before"}])
async def test_6_4_after_a_look_up_that_fails_for_good_the_next_caller_lists_again(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, fault: dict[str, Any]
) -> None:
    """6-4: the first caller, whose creation was lost, gets the error. It says that a group may have been created."""
    sandbox.faults.add(CREATE, drop="after")
    # Two first look-ups, and the listing of the turn that the callers share, come before.
    sandbox.faults.add(LIST, times=None, when=lambda request: sandbox.count(LIST) == 4, **fault)
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(retries=0),
    ) as once:
        first, second = await asyncio.gather(
            *[once.groups.ensure("Finance", organization) for _ in range(2)], return_exceptions=True
        )
    assert isinstance(first, EzeepError)
    assert first.may_have_happened
    assert not isinstance(second, BaseException)
    assert (second[0].id, second[1]) == (made(sandbox)[0], False)
    assert len(made(sandbox)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", [LIST, CREATE])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fault", ["none", "cut before", "cut after", "500 after"])
async def test_6_4_callers_that_are_cancelled_leave_one_group(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, where: str, after: bool, fault: str
) -> None:
    """6-4: half of the callers are cancelled during the listing or the creation, which fails too."""
    sandbox.faults.add(CREATE, **FAULTS[fault])
    hold = sandbox.faults.hold(where, times=1, after=after)
    calls = [asyncio.create_task(session.groups.ensure("Finance", organization)) for _ in range(CALLERS)]
    await hold.arrived()
    for call in calls[::2]:
        call.cancel()
    await asyncio.wait(calls[::2])
    hold.release()
    results = await asyncio.gather(*calls[1::2])
    assert {group.id for group, _ in results} == set(made(sandbox))
    assert len(made(sandbox)) == 1


async def test_6_4_a_server_that_never_manages_is_asked_three_times(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: `ServerError`, and no group. After a 503, which was retried already, nothing is looked up."""
    fault = sandbox.faults.add(CREATE, status=500, times=None)
    with pytest.raises(ServerError):
        await session.groups.ensure("Finance", organization)
    assert (sandbox.count(CREATE), sandbox.count(LIST)) == (3, 5)
    fault.remove()
    sandbox.reset_counts()
    sandbox.faults.add(CREATE, status=503, retry_after=0, times=None)
    with pytest.raises(ServerError):
        await session.groups.ensure("Finance", organization)
    assert (sandbox.count(CREATE), sandbox.count(LIST)) == (5, 2)
    assert made(sandbox) == []


async def test_6_4_a_listing_that_changes_under_the_look_up_is_read_again(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: a deletion during the listing moves the group to a page that was read already: it is found."""
    sandbox.behaviour.max_page_size = 5
    await session.groups.ensure("Finance", organization)
    groups = sandbox.organization.groups
    order = list(groups)
    # Ours comes first on the second page, so that a deletion on the first one moves it there.
    order.remove(made(sandbox)[0])
    order.insert(5, made(sandbox)[0])
    for group_id in order:
        groups[group_id] = groups.pop(group_id)
    hold = sandbox.faults.hold(LIST, when=lambda seen: seen.query.get("offset") == "5")
    call = asyncio.create_task(session.groups.ensure("Finance", organization))
    await hold.arrived()
    del groups[order[0]]
    hold.release()
    assert (await call)[1] is False
    assert len(made(sandbox)) == 1


async def test_others_have_their_turn_among_many_creations(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared turn accepts no more callers after `SHARED_FOR_S` seconds."""
    monkeypatch.setattr(groups, "SHARED_FOR_S", 0.0)
    names = [f"Team {number}" for number in range(20)]
    plan = await session.provisioning.plan(DesiredState.from_mapping(dict.fromkeys(names, ())))
    hold = sandbox.faults.hold(CREATE, times=1)
    async with EzeepSession(
        sandbox.oauth_app, MemoryTokenStore(sandbox.tokens()), endpoints=sandbox.endpoints
    ) as other:
        applying = asyncio.create_task(session.provisioning.apply(plan, concurrency=2))
        await hold.arrived()
        ensuring = asyncio.create_task(other.groups.ensure("Team 19", organization))
        hold.release()
        _, created = await ensuring
        assert (created, applying.done()) == (True, False)
        report = await applying
    assert report.counts == {"created": 19, "adopted": 1}
    assert sorted(
        group.name for group in sandbox.organization.groups.values() if group.name in names
    ) == sorted(names)


async def test_the_creation_of_a_caller_that_is_gone_counts_for_the_next(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """Also where both callers shared a turn, whose listing was earlier."""
    hold = sandbox.faults.hold(CREATE, times=1)
    first, second = (asyncio.create_task(session.groups.ensure("Finance", organization)) for _ in range(2))
    await hold.arrived()
    first.cancel()
    await asyncio.wait({first})
    hold.release()
    assert not (await second)[1]
    assert len(made(sandbox)) == 1
