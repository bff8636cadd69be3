"""7-6: `max_removals` is a share of the current memberships, or a number. It is checked before the first write."""

from __future__ import annotations

import math

import attrs
import pytest
from helpers.provisioned import add_team, emails, members, state, writes
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import EzeepSession, SafetyLimitExceeded, StalePlan
from ezeep_async.provisioning import DesiredState, Plan
from ezeep_async.provisioning.plans.plan import removal_limit
from ezeep_async.sandbox import Sandbox


@pytest.mark.parametrize(
    ("max_removals", "members_now", "limit"),
    [
        (0.1, 100, 10),
        (0.1, 10, 5),
        (0.1, 0, 5),
        (0.07, 300, 21),
        (0.29, 100, 29),
        (0.999, 1000, 999),
        (0.00001, 1000, 5),
        (0, 1000, 0),
        (0.0, 1000, 0),
        (1, 1000, 1),
        (1.0, 1000, 1),
        (7, 3, 7),
        (10**9, 3, 10**9),
    ],
)
def test_7_6_shares_have_a_floor_of_five_and_numbers_are_numbers(
    max_removals: float, members_now: int, limit: int
) -> None:
    assert removal_limit(max_removals, members_now) == limit


@given(st.integers(0, 99), st.integers(0, 10**6))
@settings(max_examples=settings().max_examples * 2)
def test_7_6_a_share_is_the_decimal_fraction_that_was_written(percent: int, members_now: int) -> None:
    """7-6: binary fractions are not exact."""
    expected = max(5, percent * members_now // 100) if percent else 0
    assert removal_limit(percent / 100, members_now) == expected


@pytest.mark.parametrize(
    "value", [math.nan, -0.1, -1, 1.5, True, False, "10%", "0.1", None, math.inf, -math.inf, 2.0000001, [1]]
)
async def test_7_6_an_invalid_limit_is_refused_before_any_request(
    sandbox: Sandbox, session: EzeepSession, value: object
) -> None:
    with pytest.raises(ValueError, match="max_removals"):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": []}), max_removals=value)
    assert not sandbox.requests


async def test_7_6_plan_shows_and_apply_refuses(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-6: planning raises nothing, so that people can read the plan; applying it sends no request."""
    add_team(sandbox, 60)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox)[7:60], "New": []}), mode="exact"
    )
    assert (plan.removals, plan.removal_limit, plan.members_now) == (7, 6, 60)
    before = state(sandbox)
    sandbox.reset_counts()
    with pytest.raises(
        SafetyLimitExceeded, match=r"7 memberships of 60, .* 7 from 'Team'.*max_removals=7$"
    ) as caught:
        await session.provisioning.apply(plan)
    assert (caught.value.removals, caught.value.limit, caught.value.by_group) == (7, 6, {"Team": 7})
    assert (sandbox.requests, state(sandbox)) == ([], before)
    raised = attrs.evolve(plan, max_removals=7)
    (await session.provisioning.apply(raised)).raise_for_failures()
    assert members(sandbox, "Team") == set(emails(sandbox)[7:60])


async def test_7_6_zero_allows_no_removals(sandbox: Sandbox, session: EzeepSession) -> None:
    add_team(sandbox, 3)
    desired = DesiredState.from_mapping({"Team": emails(sandbox, 2)})
    plan = await session.provisioning.plan(desired, mode="exact", max_removals=0)
    with pytest.raises(SafetyLimitExceeded, match=r"max_removals=1$"):
        await session.provisioning.apply(plan)
    again = await session.provisioning.plan(desired, mode="exact", max_removals=1)
    assert (await session.provisioning.apply(again)).memberships_removed == 1


async def test_7_6_groups_without_members_are_not_emptied(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-6: a failed export names all groups and no people."""
    everything = {
        group.name: []
        for group in sandbox.organization.groups.values()
        if group.origin["provider"] != "Azure"
    }
    plan = await session.provisioning.plan(DesiredState.from_mapping(everything), mode="exact")
    with pytest.raises(SafetyLimitExceeded):
        await session.provisioning.apply(plan)
    assert writes(sandbox) == []


async def test_7_6_the_share_is_of_the_current_members(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-6: half of the members have left since the plan was made, so the same removals are a larger share."""
    add_team(sandbox, 100)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox)[10:100]}), mode="exact"
    )
    assert plan.removals == plan.removal_limit == 10
    (team,) = plan.groups
    for user in sandbox.organization.listed_users()[50:100]:
        user.groups.discard(team)
    with pytest.raises(SafetyLimitExceeded) as caught:
        await session.provisioning.apply(plan)
    assert (caught.value.removals, caught.value.limit) == (10, 5)
    assert writes(sandbox) == []


async def test_7_6_counts_may_be_strings(sandbox: Sandbox, session: EzeepSession) -> None:
    sandbox.behaviour.counts_as_strings = True
    add_team(sandbox, 60)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox)[6:60]}), mode="exact"
    )
    assert (await session.provisioning.apply(plan)).memberships_removed == 6


@pytest.mark.parametrize("mode", ["add", "exact"])
async def test_7_7_the_rules_of_an_edited_plan_are_enforced(
    sandbox: Sandbox, session: EzeepSession, mode: str
) -> None:
    """7-7: `apply` checks the protection too."""
    team = add_team(sandbox, 3)
    me = sandbox.organization.admin_id
    sandbox.organization.users[me].groups.add(team.id)
    desired = DesiredState.from_mapping({"Team": []})
    plan = await session.provisioning.plan(desired, mode="exact", protect_groups=["team"])
    assert plan.is_empty
    free = await session.provisioning.plan(desired, mode="exact")
    changes = tuple(attrs.evolve(change, user_id=me) for change in free.changes[:1])
    for edited in (
        attrs.evolve(plan, changes=free.changes, mode=mode),
        attrs.evolve(free, changes=changes, mode=mode, kept_users={}),
        attrs.evolve(free, changes=changes, mode=mode),
    ):
        with pytest.raises(StalePlan, match="protected"):
            await session.provisioning.apply(Plan.from_json(edited.to_json()))
    if mode == "add":
        with pytest.raises(StalePlan, match="its mode is 'add'"):
            await session.provisioning.apply(attrs.evolve(free, mode="add"))
    assert writes(sandbox) == []
