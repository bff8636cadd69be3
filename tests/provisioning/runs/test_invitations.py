"""7-7: a saved plan sends no second invitation."""

from __future__ import annotations

import pytest
from helpers.provisioned import INVITE, emails

from ezeep_async import EzeepSession, Plan
from ezeep_async.provisioning import DesiredState, InvitePerson
from ezeep_async.sandbox import Sandbox


NEW = "new@people.example.com"


async def kept(session: EzeepSession) -> Plan:
    desired = DesiredState.from_mapping({"Team": [NEW]})
    return await session.provisioning.plan(desired, on_missing="invite")


async def test_7_7_a_plan_that_is_applied_again_invites_once(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await kept(session)
    assert (await session.provisioning.apply(plan)).counts == {"created": 1, "invited": 1}
    for _ in range(2):
        report = await session.provisioning.apply(Plan.from_json(plan.to_json()))
        assert report.counts == {"adopted": 1, "unchanged": 1}
        assert report.ok
    assert sandbox.count(INVITE) == 1


@pytest.mark.parametrize("spelled", [NEW, NEW.upper()])
async def test_7_7_a_person_who_has_an_account_by_then_is_not_invited(
    sandbox: Sandbox, session: EzeepSession, spelled: str
) -> None:
    plan = await kept(session)
    organization = sandbox.organization
    organization.people[organization.listed_users()[3].id].email = spelled
    assert (await session.provisioning.apply(plan)).counts == {"created": 1, "unchanged": 1}
    assert sandbox.count(INVITE) == 0


async def test_7_7_a_revoked_invitation_is_sent_again(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-7: only an open invitation counts."""
    plan = await kept(session)
    await session.provisioning.apply(plan)
    for invitation in sandbox.organization.invitations.values():
        invitation.invitation_status = "REVOKED"
    assert (await session.provisioning.apply(plan)).counts == {"adopted": 1, "invited": 1}
    assert sandbox.count(INVITE) == 2


async def test_7_7_addresses_of_a_plan_are_compared_without_case(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    report = await session.provisioning.apply(Plan(changes=(InvitePerson(emails(sandbox, 1)[0].upper()),)))
    assert report.counts == {"unchanged": 1}
    assert sandbox.count(INVITE) == 0
