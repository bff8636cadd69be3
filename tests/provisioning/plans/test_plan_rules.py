"""`session.provisioning.plan`: modes, missing people, groups of another directory, and protection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from helpers.provisioned import (
    INVITE,
    LIST_PEOPLE,
    add_team,
    emails,
    group_named,
    members,
    state,
    writes,
)
from helpers.support import QUICK

from ezeep_async import EzeepSession, MissingPeople, PermissionDenied
from ezeep_async.models.groups import Group
from ezeep_async.provisioning import (
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    InvitePerson,
    Plan,
    TargetGroup,
)
from ezeep_async.provisioning.plans.compare import Rules, compare
from ezeep_async.provisioning.plans.snapshot import Snapshot
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import Invitation, Person


def removed(plan: Plan) -> set[tuple[str, str]]:
    return {
        (change.member, group.name)
        for change in plan.changes
        if isinstance(change, ChangeMemberships)
        for group in change.remove
    }


# --- modes ---------------------------------------------------------------------------------------------------------


async def test_7_4_add_removes_no_memberships(sandbox: Sandbox, session: EzeepSession) -> None:
    add_team(sandbox, 8)
    desired = DesiredState.from_mapping({"Team": emails(sandbox)[8:10]})
    plan = await session.provisioning.plan(desired)
    assert (plan.additions, plan.removals, plan.held_back) == (2, 0, ())
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert members(sandbox, "Team") == set(emails(sandbox, 10))


async def test_7_4_exact_changes_only_the_named_groups(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-4: other memberships of the added and removed users are kept."""
    add_team(sandbox, 8)
    before = state(sandbox)
    people = emails(sandbox)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": people[4:10], "Night shift": people[7:9]}), mode="exact"
    )
    assert removed(plan) == {(email, "Team") for email in people[:4]}
    assert [change.name for change in plan.changes if isinstance(change, CreateGroup)] == ["Night shift"]
    assert writes(sandbox) == []
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert members(sandbox, "Team") == set(people[4:10])
    assert members(sandbox, "Night shift") == set(people[7:9])
    named = {group_named(sandbox, "Team").id, group_named(sandbox, "Night shift").id}
    assert {user: groups - named for user, groups in state(sandbox).items()} == {
        user: groups - named for user, groups in before.items()
    }


async def test_7_4_exact_with_no_members_empties_the_group(sandbox: Sandbox, session: EzeepSession) -> None:
    add_team(sandbox, 5)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": []}), mode="exact")
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert members(sandbox, "Team") == set()


async def test_additions_and_removals_of_a_user_are_one_change(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    team = add_team(sandbox, 1)
    other = sandbox.organization.add_group("Other")
    (email,) = emails(sandbox, 1)
    user = sandbox.organization.listed_users()[0]
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": [], "Other": [email]}), mode="exact"
    )
    assert plan.changes == (
        ChangeMemberships(
            user.id,
            email,
            (TargetGroup("Other", other.id),),
            (TargetGroup("Team", team.id),),
            frozenset(user.groups),
        ),
    )


# --- people --------------------------------------------------------------------------------------------------------


async def test_7_16_missing_people_are_skipped_and_named(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-16: no invitation is sent with on_missing="skip"."""
    desired = DesiredState.from_mapping({"Team": [*emails(sandbox, 2), "Absent@example.com", UUID(int=3)]})
    plan = await session.provisioning.plan(desired, on_missing="skip")
    assert plan.skipped == ("absent@example.com", str(UUID(int=3)))
    assert not any(isinstance(change, InvitePerson) for change in plan.changes)
    assert plan.summary().endswith("(2 people skipped)")
    report = await session.provisioning.apply(plan)
    lines = {line.member: line.outcome for line in report.lines(desired, plan)}
    line = next(iter(report.lines(desired, plan)))
    assert line.to_dict() == {
        "group": line.group,
        "member": line.member,
        "outcome": line.outcome,
        "error": "",
    }
    assert lines == dict.fromkeys(emails(sandbox, 2), "added") | dict.fromkeys(plan.skipped, "skipped")
    assert sandbox.count(INVITE) == 0


async def test_people_are_invited_once(sandbox: Sandbox, session: EzeepSession) -> None:
    """The second run finds the open invitation, and the third finds the person."""
    desired = DesiredState.from_mapping({"Team": ["New.Person@example.com"]})
    plan = await session.provisioning.plan(desired, on_missing="invite")
    assert [change for change in plan.changes if isinstance(change, InvitePerson)] == [
        InvitePerson("new.person@example.com")
    ]
    report = await session.provisioning.apply(plan)
    assert report.counts == {"created": 1, "invited": 1}
    assert all(row.attempts == 1 and row.request_id for row in report.rows)
    assert [line.outcome for line in report.lines(desired, plan)] == ["waiting"]
    again = await session.provisioning.plan(desired, on_missing="invite")
    assert (again.is_empty, again.waiting) == (True, ("new.person@example.com",))
    user = sandbox.organization.add_user(email="New.Person@example.com")
    joined = await session.provisioning.plan(desired, on_missing="invite")
    assert [change.user_id for change in joined.changes if isinstance(change, ChangeMemberships)] == [user.id]
    assert sandbox.count(INVITE) == 1


@pytest.mark.parametrize(
    ("status", "days", "invites"),
    [
        ("OPEN", 1, False),
        ("open", 1, False),
        ("OPEN", -1, True),
        ("EXPIRED", 1, True),
        ("ACCEPTED", 1, True),
    ],
)
async def test_an_invitation_counts_while_it_is_open(
    sandbox: Sandbox, session: EzeepSession, status: str, days: int, invites: bool
) -> None:
    """Accepted invitations do not count: the person has an account, or lost it and needs a new invitation."""
    until = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    sandbox.organization.invitations[UUID(int=1)] = Invitation(
        UUID(int=1), until, "LATE@example.com", until, invitation_status=status
    )
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Sales": ["late@example.com"]}), on_missing="invite"
    )
    assert (InvitePerson("late@example.com") in plan.changes, bool(plan.waiting)) == (invites, not invites)


async def test_an_account_without_a_printing_user_is_waiting(sandbox: Sandbox, session: EzeepSession) -> None:
    sandbox.organization.add_person(Person(UUID(int=5), "account.only@example.com"))
    desired = DesiredState.from_mapping({"Sales": ["account.only@example.com"]})
    plan = await session.provisioning.plan(desired, on_missing="invite")
    assert (plan.changes, plan.waiting) == ((), ("account.only@example.com",))


async def test_ids_cannot_be_invited(session: EzeepSession) -> None:
    desired = DesiredState.from_mapping({"Sales": [UUID(int=5), "new@example.com"]})
    with pytest.raises(MissingPeople) as caught:
        await session.provisioning.plan(desired, on_missing="invite")
    assert caught.value.people == (str(UUID(int=5)),)


async def test_a_forbidden_directory_raises_its_own_error(sandbox: Sandbox, session: EzeepSession) -> None:
    """Members are not reported as missing."""
    sandbox.faults.add(LIST_PEOPLE, status=403, times=None)
    with pytest.raises(PermissionDenied):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": emails(sandbox, 2)}))


async def test_a_session_without_directory_access_finds_no_people(sandbox: Sandbox) -> None:
    user = sandbox.organization.listed_users()[0]
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(user.id), endpoints=sandbox.endpoints, settings=QUICK
    ) as session:
        with pytest.raises(MissingPeople) as caught:
            await session.provisioning.plan(DesiredState.from_mapping({"Sales": emails(sandbox, 3)}))
    assert caught.value.people == tuple(emails(sandbox, 3)[1:])


# --- groups --------------------------------------------------------------------------------------------------------


async def test_a_group_in_another_organization_is_another_group(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    elsewhere = sandbox.organization.add_group("Sales")
    elsewhere.organization_id = UUID(int=9)
    home = sandbox.organization.organization_id
    desired = DesiredState.from_mapping({"Sales": emails(sandbox, 1), "New": []})
    plan = await session.provisioning.plan(desired, organization_id=home)
    assert plan.groups == {
        group.id for group in sandbox.organization.groups.values() if group.name == "Sales"
    } - {elsewhere.id}
    assert CreateGroup("New", home) in plan.changes
    assert (await session.provisioning.plan(desired, organization_id=UUID(int=9))).groups == {elsewhere.id}


async def test_7_5_allow_external_changes_groups_of_another_directory(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-5: in both modes."""
    azure = sandbox.organization.add_group("Azure", origin={"provider": "AZURE", "foreign_id": "x"})
    sandbox.organization.listed_users()[0].groups.add(azure.id)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Azure": emails(sandbox, 2)[1:]}), mode="exact", allow_external=True
    )
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert members(sandbox, "Azure") == set(emails(sandbox, 2)[1:])


async def test_the_provider_name_ezeep_is_case_insensitive(sandbox: Sandbox, session: EzeepSession) -> None:
    sandbox.organization.add_group("Own", origin={"provider": "ezeep"})
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Own": emails(sandbox, 1)}))
    assert plan.additions == 1


# --- protected -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "email"),
    [
        ("chief@example.com", "Chief@Example.com"),
        (" CHIEF@example.com ", "chief@example.com"),
        ("chief*", "chief.executive@example.com"),
        ("*@BOARD.example.com", "anyone@board.example.com"),
        ("stra\u00dfe*", "STRASSE@example.com"),
        ("jos\u00e9@example.com", "jose\u0301@example.com"),
        ("\u0390*", "\u03b9\u0308\u0301@example.com"),
        ("chief.?@example.com", "chief.2@example.com"),
        ("chief.[12]@example.com", "chief.2@example.com"),
    ],
)
async def test_7_7_users_are_protected_by_address(
    sandbox: Sandbox, session: EzeepSession, pattern: str, email: str
) -> None:
    team = add_team(sandbox, 1)
    sandbox.organization.add_user(email=email, groups=[team.id])
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": []}), mode="exact", protect_users=[pattern]
    )
    assert {member for member, _ in removed(plan)} == set(emails(sandbox, 1))
    (held,) = plan.held_back
    assert (held.group, "protect_users" in held.reason) == ("Team", True)
    assert list(plan.diff())[-1] == f"! {held}"


@pytest.mark.parametrize("spell", [UUID, str, lambda user: str(user).upper()])
async def test_7_7_users_are_protected_by_id(sandbox: Sandbox, session: EzeepSession, spell) -> None:
    add_team(sandbox, 2)
    user = sandbox.organization.listed_users()[0]
    identifier = spell(str(user.id))
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": []}), mode="exact", protect_users=[identifier]
    )
    assert [change.user_id for change in plan.changes if isinstance(change, ChangeMemberships)] == [
        sandbox.organization.listed_users()[1].id
    ]
    assert list(plan.kept_users) == [user.id]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("team", "Team"), ("TEAM *", "Team one"), ("Stra\u00dfe", "STRASSE"), ("\u0390", "\u03b9\u0308\u0301")],
)
async def test_7_7_groups_are_protected_by_name_without_regard_to_case(
    sandbox: Sandbox, session: EzeepSession, pattern: str, name: str
) -> None:
    """7-7: members are not removed. Additions are made."""
    add_team(sandbox, 3, name)
    added = emails(sandbox, 4)[3]
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({name: [added]}), mode="exact", protect_groups=[pattern]
    )
    assert (plan.additions, plan.removals, len(plan.held_back)) == (1, 0, 3)
    assert (await session.provisioning.apply(plan)).ok


async def test_7_7_groups_are_protected_by_id(sandbox: Sandbox, session: EzeepSession) -> None:
    team = add_team(sandbox, 3)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": []}), mode="exact", protect_groups=[team.id]
    )
    assert (plan.is_empty, list(plan.kept_groups)) == (True, [team.id])


async def test_7_7_the_session_user_is_protected(sandbox: Sandbox, session: EzeepSession) -> None:
    organization = sandbox.organization
    team = add_team(sandbox, 3)
    organization.users[organization.admin_id].groups.add(team.id)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": []}), mode="exact")
    (held,) = plan.held_back
    assert held.member == organization.people[organization.admin_id].email
    assert "logged in as" in held.reason
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert members(sandbox, "Team") == {held.member}


def test_7_7_the_only_administrator_is_protected() -> None:
    """7-7: also if the session belongs to another user."""
    team = Group(id=UUID(int=1), name="Team", organization_id=UUID(int=2))
    users = {UUID(int=number): frozenset({team.id}) for number in (3, 4, 5)}
    now = Snapshot((team,), users, admins=frozenset({UUID(int=4)}), me=UUID(int=3))
    kept = compare(DesiredState.from_mapping({"Team": []}), now, Rules(mode="exact")).kept_users
    assert set(kept) == {UUID(int=3), UUID(int=4)}
    assert "last administrator" in kept[UUID(int=4)]


async def test_several_administrators_are_not_protected(sandbox: Sandbox, session: EzeepSession) -> None:
    add_team(sandbox, 2)
    for user in sandbox.organization.listed_users()[:2]:
        sandbox.organization.people[user.id].roles = ("admin",)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": []}), mode="exact")
    assert plan.removals == 2


@pytest.mark.parametrize("argument", ["protect_users", "protect_groups"])
@pytest.mark.parametrize("value", ["one text", [""], ["a", " "], UUID(int=1)])
async def test_bad_protections_are_refused_before_any_request(
    sandbox: Sandbox, session: EzeepSession, argument: str, value: object
) -> None:
    with pytest.raises(ValueError, match=argument):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": []}), **{argument: value})
    assert not sandbox.requests
