"""The numbers of plans and reports: distinct users and groups, not rows of the input."""

from __future__ import annotations

from uuid import UUID

import pytest
from helpers.provisioned import add_team, emails

from ezeep_async import EzeepError, EzeepSession
from ezeep_async.cli.provision.screen import facts_of, failure_message
from ezeep_async.provisioning import (
    Change,
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    InvitePerson,
    Outcome,
    Plan,
    ProvisioningFailed,
    Report,
    Row,
    TargetGroup,
)
from ezeep_async.sandbox import Sandbox


USER, OTHER, GROUP = UUID(int=1), UUID(int=2), UUID(int=3)
SALES = TargetGroup("Sales", GROUP)


def in_several_ways(sandbox: Sandbox, many: int) -> list[str]:
    """People, each by the address, by the address in upper case, and by the id."""
    organization = sandbox.organization
    users = organization.listed_users()[:many]
    addresses = [organization.people[user.id].email for user in users]
    return [*addresses, *map(str.upper, addresses), *(str(user.id).upper() for user in users)]


async def test_memberships_that_are_in_place(sandbox: Sandbox, session: EzeepSession) -> None:
    add_team(sandbox, 5)
    add_team(sandbox, 2, "Crew")
    gone = [f"gone{number}@example.com" for number in range(12)]
    desired = DesiredState.from_mapping(
        {"Team": [*in_several_ways(sandbox, 5), *gone], "Crew": [*in_several_ways(sandbox, 2), *gone[:3]]}
    )
    plan = await session.provisioning.plan(desired, on_missing="skip")
    assert (plan.is_empty, plan.memberships) == (True, 7)
    assert plan.summary() == "nothing to change: 7 memberships as they should be (12 people skipped)"
    assert Plan.from_json(plan.to_json()).summary() == plan.summary()


async def test_memberships_of_waiting_people_are_not_in_place(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    add_team(sandbox, 2)
    desired = DesiredState.from_mapping({"Team": [*emails(sandbox, 2), "new@example.com"]})
    invite = await session.provisioning.plan(desired, on_missing="invite")
    assert (invite.memberships, invite.summary()) == (2, "invite 1 person")
    await session.provisioning.apply(invite)
    plan = await session.provisioning.plan(desired, on_missing="invite")
    assert plan.summary() == "nothing to change: 2 memberships as they should be (1 person waiting)"


async def test_a_person_named_in_several_ways_is_one_membership(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    add_team(sandbox, 1)
    desired = DesiredState.from_mapping(
        {"Team": in_several_ways(sandbox, 3), "New": in_several_ways(sandbox, 3)}
    )
    plan = await session.provisioning.plan(desired)
    assert (plan.memberships, plan.additions) == (6, 5)
    assert plan.summary() == "create 1 group, change 3 users, add 5 memberships"
    report = await session.provisioning.apply(plan)
    assert report.summary() == "1 created, 3 updated"
    assert (report.users_changed, report.memberships_added) == (3, 5)
    assert (await session.provisioning.plan(desired)).summary() == (
        "nothing to change: 6 memberships as they should be"
    )


async def test_a_plan_that_names_a_group_or_a_user_twice(sandbox: Sandbox, session: EzeepSession) -> None:
    """A plan that was edited by hand."""
    team = add_team(sandbox, 0)
    user = sandbox.organization.listed_users()[0]
    target = TargetGroup("Team", team.id)
    twice = ChangeMemberships(user.id, "a", (target, target))
    plan = Plan(changes=(twice, twice))
    assert plan.summary() == "change 1 user, add 1 membership"
    report = await session.provisioning.apply(plan)
    assert (report.users_changed, report.memberships_added) == (1, 1)
    reverted = ChangeMemberships(user.id, "a", remove=(target, target))
    back = Plan(changes=(reverted, reverted), mode="undo", max_removals=1)
    assert back.removals == 1
    report = await session.provisioning.apply(back)
    assert (report.users_changed, report.memberships_removed) == (1, 1)


def row(change: Change, outcome: Outcome, **more) -> Row:
    return Row(change=change, outcome=outcome, **more)


def test_the_screen_counts_users_people_and_failures_separately() -> None:
    report = Report(
        (
            row(InvitePerson("a@example.com"), "unchanged"),
            row(InvitePerson("b@example.com"), "invited"),
            row(ChangeMemberships(USER, "c", (SALES,)), "unchanged"),
            # One of its groups could not be created, and the other was added.
            row(ChangeMemberships(OTHER, "d", (SALES, TargetGroup("New"))), "failed", added=(SALES,)),
            row(CreateGroup("New", GROUP), "unknown", error=EzeepError("lost")),
        )
    )
    facts = facts_of(report)
    del facts["seconds"]
    assert facts == {
        "people invited": 1,
        "people invited already": 1,
        "users changed": 1,
        "memberships added": 1,
        "users without changes": 1,
        "failed": 1,
        "outcome unknown": 1,
    }
    assert failure_message(report).startswith("1 of 5 changes failed, and the outcome of 1 is unknown. ")
    with pytest.raises(ProvisioningFailed, match=r"2 of 5 changes were not made \(of 1 it is not known\): "):
        report.raise_for_failures()
