"""7-2: changes between plan and apply. Harmless ones are merged; harmful ones are named, and nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from helpers.provisioned import (
    LIST_GROUPS,
    LIST_INVITATIONS,
    LIST_PEOPLE,
    LIST_USERS,
    add_team,
    emails,
    group_named,
    members,
    names,
    new_team,
    state,
    writes,
)
from helpers.support import ME

from ezeep_async import EzeepSession, InconsistentListing, PermissionDenied, StalePlan
from ezeep_async.provisioning import CreateGroup, DesiredState, Plan
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.records import RecordedRequest


Change = Callable[[Sandbox], object]
AZURE = {"provider": "Azure", "foreign_id": "x"}


async def planned(sandbox: Sandbox, session: EzeepSession) -> Plan:
    """Members are added to two existing groups and to a new one."""
    add_team(sandbox, 6)
    people = emails(sandbox)
    return await session.provisioning.plan(
        DesiredState.from_mapping({"Team": people[2:8], "Night shift": people[:1], "Sales": people[:9]}),
        mode="add",
    )


def team(sandbox: Sandbox) -> UUID:
    return group_named(sandbox, "Team").id


# --- harmless ------------------------------------------------------------------------------------------------------


async def test_7_2_other_groups_of_the_users_are_kept(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await planned(sandbox, session)
    late = sandbox.organization.add_group("Late")
    sales = group_named(sandbox, "Support")
    for user in sandbox.organization.listed_users():
        user.groups.add(late.id)
        user.groups.discard(sales.id)
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert all(late.id in groups and sales.id not in groups for groups in state(sandbox).values())


async def test_7_2_an_addition_that_is_in_place_is_not_written(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Sales": emails(sandbox, 30)}))
    for user in sandbox.organization.listed_users():
        user.groups.add(group_named(sandbox, "Sales").id)
    report = await session.provisioning.apply(plan)
    assert report.counts == {"unchanged": len(plan.changes)}
    assert (report.ok, writes(sandbox), report.memberships_added) == (True, [], 0)


async def test_7_2_a_removal_that_is_in_place_is_not_written(sandbox: Sandbox, session: EzeepSession) -> None:
    add_team(sandbox, 4)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": []}), mode="exact")
    for user in sandbox.organization.listed_users():
        user.groups.discard(team(sandbox))
    assert (await session.provisioning.apply(plan)).counts == {"unchanged": 4}
    assert writes(sandbox) == []


@pytest.mark.parametrize("spelling", ["Team", " Team ", "Caf\u00e9"])
async def test_7_2_a_group_that_was_created_since_the_plan_is_adopted(
    sandbox: Sandbox, session: EzeepSession, spelling: str
) -> None:
    """7-2, 7-10: there is one group, and all members are in it."""
    name = spelling.strip().replace("\u00e9", "e\u0301")
    plan = await session.provisioning.plan(new_team(sandbox, name=name))
    group = sandbox.organization.add_group(spelling)
    report = await session.provisioning.apply(plan)
    assert report.counts == {"adopted": 1, "updated": 8}
    assert report.rows[0].group_id == group.id
    assert len(sandbox.organization.members(group.id)) == 8
    assert names(sandbox).count(spelling) == 1


async def test_7_2_a_group_that_the_plan_does_not_name_may_be_deleted(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-2: with both values of `verify`. The server rejects a write that contains a deleted group."""
    for verify in ("fresh", "trust-plan"):
        other = add_team(sandbox, 8, "Other")
        plan = await session.provisioning.plan(new_team(sandbox, name=f"For {verify}"))
        sandbox.organization.remove_group(other.id)
        report = await session.provisioning.apply(plan, verify=verify)
        assert report.counts == {"created": 1, "updated": 8}


async def test_7_2_users_who_are_gone_stop_no_other_change(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-11: a removal of a deleted user is already absent; an addition has failed."""
    add_team(sandbox, 3)
    people = emails(sandbox)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": people[1:5]}), mode="exact")
    gone = [sandbox.organization.listed_users()[number].id for number in (0, 3)]
    for user in gone:
        sandbox.organization.remove_user(user)
    for verify in ("trust-plan", "fresh"):
        report = await session.provisioning.apply(plan, verify=verify)
        outcomes = {row.change.member: row.outcome for row in report.rows}
        assert outcomes[people[0]] == "already_absent"
        assert outcomes[people[3]] == "failed"
    assert members(sandbox, "Team") == {people[1], people[2], people[4]}


# --- harmful -------------------------------------------------------------------------------------------------------


def rename(sandbox: Sandbox) -> None:
    group_named(sandbox, "Team").name = "Former team"


def hand_over(sandbox: Sandbox) -> None:
    group_named(sandbox, "Team").origin = AZURE


HARM: dict[str, tuple[Change, str]] = {
    "gone": (lambda sandbox: sandbox.organization.remove_group(team(sandbox)), "group 'Team' is gone"),
    "gone, and made again": (
        lambda sandbox: (sandbox.organization.remove_group(team(sandbox)), add_team(sandbox, 2)),
        "group 'Team' is gone",
    ),
    "renamed": (rename, "group 'Team' is named 'Former team' now"),
    "another directory's": (hand_over, "group 'Team' belongs to Azure now"),
    "two of the new one": (
        lambda sandbox: [sandbox.organization.add_group("Night shift") for _ in range(2)],
        "there are 2 groups named 'Night shift' now",
    ),
    "the new one is another directory's": (
        lambda sandbox: sandbox.organization.add_group("Night shift", origin=AZURE),
        "group 'Night shift' belongs to Azure now",
    ),
}


@pytest.mark.parametrize(("harm", "problem"), HARM.values(), ids=HARM)
async def test_7_2_harmful_drift_is_named_and_nothing_is_written(
    sandbox: Sandbox, session: EzeepSession, harm: Change, problem: str
) -> None:
    plan = await planned(sandbox, session)
    harm(sandbox)
    before, groups = state(sandbox), names(sandbox)
    with pytest.raises(StalePlan, match=r"Plan again$") as caught:
        await session.provisioning.apply(plan)
    assert problem in caught.value.drift
    assert problem in str(caught.value)
    assert (writes(sandbox), state(sandbox), names(sandbox)) == ([], before, groups)


async def test_7_2_all_harmful_changes_are_named_at_once(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await planned(sandbox, session)
    rename(sandbox)
    group_named(sandbox, "Sales").origin = AZURE
    sandbox.organization.add_group("Night shift", origin=AZURE)
    with pytest.raises(StalePlan) as caught:
        await session.provisioning.apply(plan)
    assert len(caught.value.drift) == 3


async def test_7_2_the_new_name_of_another_group_is_harmless(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await planned(sandbox, session)
    group_named(sandbox, "Support").name = "Help"
    assert (await session.provisioning.apply(plan)).ok


async def test_7_2_an_external_group_is_harmless_where_it_is_allowed(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    add_team(sandbox, 1)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": emails(sandbox, 3)}), allow_external=True
    )
    hand_over(sandbox)
    assert (await session.provisioning.apply(plan)).ok
    assert members(sandbox, "Team") == set(emails(sandbox, 3))


# --- concurrent reads ----------------------------------------------------------------------------------------------


READS = (LIST_GROUPS, LIST_USERS, LIST_PEOPLE, LIST_INVITATIONS, ME)


async def removing_and_inviting(sandbox: Sandbox, session: EzeepSession) -> Plan:
    add_team(sandbox, 3)
    people = [*emails(sandbox, 2), "new@people.example.com"]
    desired = DesiredState.from_mapping({"Team": people, "New": people})
    plan = await session.provisioning.plan(desired, mode="exact", on_missing="invite")
    sandbox.reset_counts()
    return plan


async def test_7_2_everything_is_read_at_the_same_time(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-2: each listing begins while all others wait for their responses, and is read once."""
    plan = await removing_and_inviting(sandbox, session)
    holds = [sandbox.faults.hold(read) for read in READS]
    running = asyncio.ensure_future(session.provisioning.apply(plan, verify="trust-plan"))
    for hold in holds:
        await hold.arrived()
    assert writes(sandbox) == []
    for hold in holds:
        hold.release()
    (await running).raise_for_failures()
    pages = -(-len(sandbox.organization.listed_users()) // 100)
    assert (sandbox.count(LIST_USERS), sandbox.count(LIST_INVITATIONS), sandbox.count(ME)) == (pages, 1, 1)


@pytest.mark.parametrize("read", READS)
async def test_7_2_a_read_that_fails_raises_its_own_error_and_nothing_is_written(
    sandbox: Sandbox, session: EzeepSession, read: str
) -> None:
    plan = await removing_and_inviting(sandbox, session)
    sandbox.faults.add(read, status=403)
    with pytest.raises(PermissionDenied):
        await session.provisioning.apply(plan, verify="trust-plan")
    assert writes(sandbox) == []


@pytest.mark.may_block
async def test_7_15_undo_reads_groups_and_users_at_the_same_time(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    await session.provisioning.apply(await session.provisioning.plan(new_team(sandbox, 3)), audit_log=log)
    holds = [sandbox.faults.hold(read) for read in (LIST_GROUPS, LIST_USERS)]
    running = asyncio.ensure_future(session.provisioning.undo(log))
    for hold in holds:
        await hold.arrived()
    for hold in holds:
        hold.release()
    assert (await running).removals == 3


# --- listings that change under the reading ------------------------------------------------------------------------


def shift(sandbox: Sandbox, listing: str, times: int, change: Callable[[], object]) -> None:
    """Change what is listed, each time just before the response with its second page: a row is skipped."""
    left = times

    def under_the_reading(request: RecordedRequest) -> bool:
        nonlocal left
        if left and request.query.get("offset") == "100":
            left -= 1
            change()
        return False

    sandbox.faults.add(listing, status=500, times=None, when=under_the_reading)


def remove_first_group(sandbox: Sandbox) -> None:
    organization = sandbox.organization
    organization.remove_group(min(group.id for group in organization.groups.values() if group.name == "?"))


def many_groups(sandbox: Sandbox) -> dict[str, list[str]]:
    """Two pages of groups with one member each, and some groups without members."""
    for number in range(140):
        sandbox.organization.add_group("?" if number < 10 else f"Group {number}")
    person = emails(sandbox, 1)
    return {
        group.name: person
        for group in sandbox.organization.groups.values()
        if group.name.startswith("Group ")
    }


@pytest.mark.slow
async def test_7_2_a_group_that_one_reading_skips_is_not_gone(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(DesiredState.from_mapping(many_groups(sandbox)))
    shift(sandbox, LIST_GROUPS, 1, lambda: remove_first_group(sandbox))
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert len(state(sandbox)[sandbox.organization.listed_users()[0].id]) > 130


async def test_7_2_a_group_that_one_reading_skips_keeps_its_members(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-2: `trust-plan` leaves out groups that are gone, and only those."""
    many_groups(sandbox)
    user = sandbox.organization.listed_users()[0]
    user.groups.replace(group.id for group in sandbox.organization.groups.values() if group.name != "?")
    before = state(sandbox)[user.id]
    plan = await session.provisioning.plan(new_team(sandbox, 1))
    shift(sandbox, LIST_GROUPS, 1, lambda: remove_first_group(sandbox))
    (await session.provisioning.apply(plan, verify="trust-plan")).raise_for_failures()
    assert state(sandbox)[user.id] == before | {team(sandbox)}


async def test_7_15_undo_does_not_treat_a_skipped_group_as_gone(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    before = state(sandbox)
    plan = await session.provisioning.plan(DesiredState.from_mapping(many_groups(sandbox)))
    await session.provisioning.apply(plan, audit_log=tmp_path / "log")
    shift(sandbox, LIST_GROUPS, 1, lambda: remove_first_group(sandbox))
    await session.provisioning.apply(await session.provisioning.undo(tmp_path / "log"))
    assert state(sandbox) == before


@pytest.mark.parametrize("listing", [LIST_GROUPS, LIST_USERS, LIST_PEOPLE])
async def test_7_1_exact_is_not_planned_from_a_listing_that_keeps_changing(
    sandbox: Sandbox, session: EzeepSession, listing: str
) -> None:
    """7-1: a row may be missing. "add" uses the last reading, because the next run adds what was missed."""
    desired = DesiredState.from_mapping({name: [] for name in many_groups(sandbox)})
    late = sandbox.organization.add_user
    change = (lambda: remove_first_group(sandbox)) if listing == LIST_GROUPS else late
    shift(sandbox, listing, 3, change)
    with pytest.raises(InconsistentListing, match="3 readings"):
        await session.provisioning.plan(desired, mode="exact")
    assert sandbox.count(listing) == 6
    sandbox.faults.clear()
    shift(sandbox, listing, 3, change)
    await session.provisioning.plan(DesiredState.from_mapping({"Sales": emails(sandbox, 1)}))
    assert sandbox.count(listing) == 12


async def test_7_1_each_reading_starts_from_nothing(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-1: a group that only a discarded reading has seen is not in the plan."""
    gone = sandbox.organization.add_group("Gone")
    many_groups(sandbox)

    def remove() -> None:
        sandbox.organization.remove_group(gone.id)

    shift(sandbox, LIST_GROUPS, 1, remove)
    plan = await session.provisioning.plan(DesiredState.from_mapping({gone.name: emails(sandbox, 3)}))
    assert [change for change in plan.changes if isinstance(change, CreateGroup)]
