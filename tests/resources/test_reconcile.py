"""Creations whose response was lost: `OutcomeUnknown.reconcile` (6-4)."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
from typing import Any
from uuid import UUID, uuid4

import pytest
from helpers.stub_servers import no_jitter, quick
from helpers.support import sandbox_in_a_thread

from ezeep_async import (
    AmbiguousName,
    EzeepSession,
    Group,
    Invitation,
    OutcomeUnknown,
    Sought,
    run_sync,
)
from ezeep_async.sandbox import Sandbox


CREATE = "POST /printing/v1/groups/"
INVITE = "POST /v1/userinvitations/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
def organization(sandbox: Sandbox) -> UUID:
    return sandbox.organization.organization_id


async def lost_group(session: EzeepSession, organization: UUID, name: str = "Lost") -> OutcomeUnknown:
    with pytest.raises(OutcomeUnknown) as caught:
        await session.groups.create(name, organization)
    return caught.value


async def lost_invitation(session: EzeepSession, email: str = "new@example.com") -> OutcomeUnknown:
    with pytest.raises(OutcomeUnknown) as caught:
        await session.invitations.create(email)
    return caught.value


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"drop": "before"}, "absent"),
        ({"drop": "after"}, "created"),
        ({"status": 502}, "absent"),
        ({"status": 504, "processed": True}, "created"),
        ({"body": "<html>"}, "created"),
    ],
)
async def test_6_4_reconcile_reports_whether_the_group_exists(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, fault: Any, outcome: str
) -> None:
    """6-4: looked up by name and organization; nothing is written."""
    sandbox.faults.add(CREATE, **fault)
    error = await lost_group(session, organization)
    assert error.sought == Sought("group", "Lost", organization)
    writes = sandbox.count(CREATE)
    result = await error.reconcile(session)
    assert result.outcome == outcome
    assert [type(each) for each in result.found] == [Group] * (outcome == "created")
    assert sandbox.count(CREATE) == writes == 1


async def test_6_4_several_groups_are_reported(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: names are not unique: several groups are the outcome `several`."""
    first = await session.groups.create("Lost", organization)
    sandbox.faults.add(CREATE, drop="after")
    result = await (await lost_group(session, organization)).reconcile(session)
    assert result.outcome == "several"
    assert first in result.found
    assert len(result.found) == 2


async def test_6_4_a_group_of_that_name_elsewhere_does_not_count(
    session: EzeepSession, organization: UUID
) -> None:
    """6-4: groups of other organizations do not count."""
    await session.groups.create("Lost", organization)
    error = OutcomeUnknown("message", sought=Sought("group", "Lost", uuid4()))
    assert (await error.reconcile(session)).outcome == "absent"


@pytest.mark.parametrize(("drop", "outcome"), [("before", "absent"), ("after", "created")])
async def test_6_4_reconcile_reports_whether_the_invitation_exists(
    session: EzeepSession, sandbox: Sandbox, drop: Any, outcome: str
) -> None:
    """6-4: looked up by its address; no second mail is sent."""
    sandbox.faults.add(INVITE, drop=drop)
    result = await (await lost_invitation(session)).reconcile(session)
    assert result.outcome == outcome
    assert [type(each) for each in result.found] == [Invitation] * (outcome == "created")
    assert sandbox.count(INVITE) == 1


async def test_6_4_an_address_is_the_same_in_capitals(session: EzeepSession, sandbox: Sandbox) -> None:
    """6-4: e-mail addresses are compared without regard to case; two of them are `several`."""
    await session.invitations.create("new@example.com")
    await session.invitations.create("NEW@example.com")
    error = OutcomeUnknown("message", sought=Sought("invitation", "New@Example.com"))
    assert (await error.reconcile(session)).outcome == "several"


async def test_6_4_what_created_nothing_that_is_known_cannot_be_looked_up(
    session: EzeepSession, sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: after `session.request` there is nothing to search for: `ValueError`."""
    sandbox.faults.add(CREATE, drop="after")
    with pytest.raises(OutcomeUnknown) as caught:
        await session.request("POST", "/printing/v1/groups/", json={"name": "x"})
    assert caught.value.sought is None
    with pytest.raises(ValueError, match="did not create a group or an invitation"):
        await caught.value.reconcile(session)


@pytest.mark.parametrize(
    "travel", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
async def test_8_6_an_error_that_travelled_reconciles_with_another_session(
    session: EzeepSession, sandbox: Sandbox, organization: UUID, travel: Any
) -> None:
    """6-4, 8-6: a copied or pickled error can be reconciled with any session of the organization."""
    sandbox.faults.add(CREATE, drop="after")
    error = travel(await lost_group(session, organization))
    await session.aclose()
    async with session.again() as other:
        result = await error.reconcile(other)
    assert result.outcome == "created"
    assert pickle.loads(pickle.dumps(result)) == result


async def test_8_6_the_error_does_not_hold_its_session(sandbox: Sandbox, organization: UUID) -> None:
    """8-6: a stored error without its traceback keeps no session alive."""
    session = EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=quick()
    )
    sandbox.faults.add(CREATE, drop="after")
    error = await lost_group(session, organization)
    await session.aclose()
    gone = weakref.ref(session)
    error.__traceback__ = error.__context__ = error.__cause__ = None
    del session
    gc.collect()
    assert gone() is None
    assert error.sought is not None


@pytest.mark.slow
async def test_6_4_a_request_that_is_carried_out_late_is_found_late(
    sandbox: Sandbox, organization: UUID
) -> None:
    """6-4: a group may appear after `absent`: the second group is reported, not hidden."""
    late = sandbox.faults.hold(CREATE, times=1)
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(read_timeout=2.0),
    ) as session:
        error = await lost_group(session, organization)
        assert (await error.reconcile(session)).outcome == "absent"
        _, created = await session.groups.ensure("Lost", organization)
        assert created is True
        late.release()
        async with asyncio.timeout(5):
            while len(await session.groups.find("Lost")) < 2:
                await asyncio.sleep(0.01)
        assert (await error.reconcile(session)).outcome == "several"
        with pytest.raises(AmbiguousName):
            await session.groups.ensure("Lost", organization)


@pytest.mark.may_block
def test_6_4_the_blocking_twin_reconciles() -> None:
    """6-4: with a blocking session the same method blocks, and returns the same record."""
    with sandbox_in_a_thread() as sandbox:
        organization = sandbox.organization.organization_id
        sandbox.faults.add(CREATE, drop="after")
        session = EzeepSession(
            sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=quick()
        )
        with run_sync(session) as blocking:
            with pytest.raises(OutcomeUnknown) as caught:
                blocking.groups.create("Lost", organization)
            result = caught.value.reconcile(blocking)
            assert result.outcome == "created"
            assert blocking.invitations.find("absent@example.com") == []
