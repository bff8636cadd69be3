"""7-3: `verify="trust-plan"` lists the users once, and reads only users that changed since the plan."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from helpers.provisioned import GET_USER, LIST_USERS, PATCH_USER, add_team, emails, new_team

from ezeep_async import EzeepSession, Plan
from ezeep_async.provisioning import ChangeMemberships, DesiredState, TargetGroup
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the log is read by the session, in a thread


async def trusting(session: EzeepSession, plan: Plan, **options):
    report = await session.provisioning.apply(plan, verify="trust-plan", **options)
    report.raise_for_failures()
    return report


async def test_7_3_what_other_writers_changed_before_the_run_stays(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    """7-3: only changed users are read. Undo reverts what the run did, and nothing else."""
    log = tmp_path / "audit.jsonl"
    theirs, lost = (sandbox.organization.add_group(name) for name in ("Theirs", "Lost"))
    user = sandbox.organization.listed_users()[3]
    user.groups.add(lost.id)
    plan = await session.provisioning.plan(new_team(sandbox, 6))
    user.groups.discard(lost.id)
    user.groups.add(theirs.id)
    before = set(user.groups)
    sandbox.reset_counts()
    report = await trusting(session, plan, audit_log=log)
    assert report.counts == {"created": 1, "updated": 6}
    assert set(user.groups) > before
    assert lost.id not in user.groups
    pages = -(-len(sandbox.organization.listed_users()) // 100)
    assert (sandbox.count(GET_USER), sandbox.count(LIST_USERS), sandbox.count(PATCH_USER)) == (1, pages, 6)
    (await session.provisioning.apply(await session.provisioning.undo(log))).raise_for_failures()
    assert set(user.groups) == before


async def test_7_3_a_user_who_is_not_in_the_listing_is_read(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-3: a listing that changes while it is read may skip a user."""
    plan = await session.provisioning.plan(new_team(sandbox, 6))
    user = sandbox.organization.listed_users()[3]
    sandbox.faults.add(LIST_USERS, body=b'{"count": 0, "next": null, "previous": null, "results": []}')
    sandbox.reset_counts()
    assert (await trusting(session, plan)).counts == {"created": 1, "updated": 6}
    assert sandbox.count(GET_USER) == 6
    assert user.groups


@pytest.mark.parametrize(("many", "reads", "listed"), [(2, 2, 1), (3, 0, 3)])
async def test_7_3_few_users_are_read_if_listing_all_takes_more_requests(
    many: int, reads: int, listed: int
) -> None:
    """7-3: of 250 users, two are read one by one; for three, the three pages cost no more."""
    async with (
        Sandbox(users=250, groups=2) as sandbox,
        EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints) as session,
    ):
        plan = await session.provisioning.plan(new_team(sandbox, many))
        sandbox.reset_counts()
        await trusting(session, plan)
        assert sandbox.count(GET_USER) == reads
        assert sandbox.count(LIST_USERS) >= listed
        assert sandbox.count(PATCH_USER) == many


async def test_7_3_two_changes_of_one_user_do_not_undo_each_other(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-3: in a plan that was edited by hand. After the first change, the user is read."""
    one, two = (sandbox.organization.add_group(name) for name in ("One", "Two"))
    user = sandbox.organization.listed_users()[0]
    before = frozenset[UUID](user.groups)
    changes = tuple(
        ChangeMemberships(user.id, "a", (TargetGroup(group.name, group.id),), before=before)
        for group in (one, two)
    )
    await session.provisioning.apply(Plan(changes=changes), verify="trust-plan", concurrency=1)
    assert {one.id, two.id} <= set(user.groups)


async def test_7_3_a_group_that_was_deleted_since_the_plan_is_not_written(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    gone = add_team(sandbox, 3, "Gone")
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": emails(sandbox, 3)}))
    sandbox.organization.remove_group(gone.id)
    assert (await trusting(session, plan)).counts == {"created": 1, "updated": 3}
