"""`session.provisioning.plan`: what is read, what is compared, and what is refused before anything is written."""

from __future__ import annotations

from uuid import UUID

import pytest

from ezeep_async import AmbiguousName, ExternalGroup, EzeepSession, MissingPeople, ServerError, Settings
from ezeep_async.provisioning import (
    ChangeMemberships,
    CreateGroup,
    DesiredState,
    TargetGroup,
)
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID, Person, SandboxGroup


def group_named(sandbox: Sandbox, name: str) -> SandboxGroup:
    return next(group for group in sandbox.organization.groups.values() if group.name == name)


def outsider(sandbox: Sandbox, group: SandboxGroup) -> Person:
    """A user who is not in the group."""
    organization = sandbox.organization
    user = next(user for user in organization.listed_users() if group.id not in user.groups)
    return organization.people[user.id]


def groups_of(sandbox: Sandbox, person: Person) -> frozenset[UUID]:
    return frozenset(sandbox.organization.users[person.id].groups)


def writes(sandbox: Sandbox) -> int:
    return sum(request.host == "api" and request.method != "GET" for request in sandbox.requests)


async def test_the_plan_contains_only_the_difference(sandbox: Sandbox, session: EzeepSession) -> None:
    sales = group_named(sandbox, "Sales")
    new = outsider(sandbox, sales)
    old = sandbox.organization.people[min(sandbox.organization.members(sales.id))]
    desired = DesiredState.from_mapping({"Sales": [new.email.upper(), old.email], "Night shift": [new.email]})
    plan = await session.provisioning.plan(desired)
    assert plan.changes == (
        CreateGroup("Night shift", ORGANIZATION_ID),
        ChangeMemberships(
            new.id,
            new.email,
            (TargetGroup("Sales", sales.id), TargetGroup("Night shift")),
            before=groups_of(sandbox, new),
        ),
    )
    assert plan.summary() == "create 1 group, change 1 user, add 2 memberships"
    assert plan.memberships == 3
    assert not plan.is_empty
    assert writes(sandbox) == 0


async def test_each_listing_is_read_once(sandbox: Sandbox, session: EzeepSession) -> None:
    await session.provisioning.plan(
        DesiredState.from_mapping({"Sales": [outsider(sandbox, group_named(sandbox, "Sales")).email]}),
    )
    assert sandbox.count("GET /printing/v1/groups/") == 1
    assert sandbox.count("GET /printing/v1/users/") == 2  # 134 users in pages of 100
    assert sandbox.count("GET /v1/users/") == 2


async def test_ids_need_no_directory(sandbox: Sandbox, session: EzeepSession) -> None:
    sales = group_named(sandbox, "Sales")
    someone = outsider(sandbox, sales)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Sales": [someone.id]}))
    assert plan.changes == (
        ChangeMemberships(
            someone.id,
            str(someone.id),
            (TargetGroup("Sales", sales.id),),
            before=groups_of(sandbox, someone),
        ),
    )
    assert sandbox.count("GET /v1/users/") == 0


async def test_an_address_and_an_id_of_one_person_are_one_change(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    sales = group_named(sandbox, "Sales")
    someone = outsider(sandbox, sales)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Sales": [someone.email, someone.id]}))
    assert plan.changes == (
        ChangeMemberships(
            someone.id,
            someone.email,
            (TargetGroup("Sales", sales.id),),
            before=groups_of(sandbox, someone),
        ),
    )


async def test_nothing_to_do_is_an_empty_plan(sandbox: Sandbox, session: EzeepSession) -> None:
    sales = group_named(sandbox, "Sales")
    members = sorted(
        sandbox.organization.people[user].email for user in sandbox.organization.members(sales.id)
    )
    plan = await session.provisioning.plan(DesiredState.from_mapping({" Sales": members, "Test": []}))
    assert plan.is_empty
    assert plan.summary() == f"nothing to change: {len(members)} memberships as they should be"


async def test_missing_people_are_all_named(session: EzeepSession) -> None:
    people = [f"absent.{number}@example.com" for number in range(12)]
    with pytest.raises(MissingPeople) as caught:
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": people}))
    assert caught.value.people == tuple(people)
    assert str(caught.value).endswith("absent.9@example.com and 2 more")
    with pytest.raises(MissingPeople):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": [UUID(int=7)]}))


async def test_a_person_without_a_printing_user_is_missing(sandbox: Sandbox, session: EzeepSession) -> None:
    sandbox.organization.add_person(Person(UUID(int=5), "account.only@example.com"))
    with pytest.raises(MissingPeople, match=r"account\.only@example\.com"):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": ["account.only@example.com"]}))


async def test_groups_of_another_directory_are_left_alone_7_5(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-5: external groups are read-only unless allowed."""
    external = group_named(sandbox, "WVD Printers")
    desired = DesiredState.from_mapping({external.name: [outsider(sandbox, external).email]})
    with pytest.raises(ExternalGroup, match="'WVD Printers' \\(Azure\\)"):
        await session.provisioning.plan(desired)
    plan = await session.provisioning.plan(desired, allow_external=True)
    assert len(plan.changes) == 1


async def test_two_groups_of_one_name_are_ambiguous(sandbox: Sandbox, session: EzeepSession) -> None:
    twin = sandbox.organization.add_group("Sales")
    with pytest.raises(AmbiguousName) as caught:
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": []}))
    assert twin.id in caught.value.ids


async def test_two_people_of_one_address_are_ambiguous(sandbox: Sandbox, session: EzeepSession) -> None:
    someone = outsider(sandbox, group_named(sandbox, "Sales"))
    sandbox.organization.add_user(email=someone.email.upper())
    with pytest.raises(AmbiguousName, match="2 people have the address"):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": [someone.email]}))


async def test_groups_are_created_only_with_create_groups(sandbox: Sandbox, session: EzeepSession) -> None:
    desired = DesiredState.from_mapping({"Night shift": []})
    with pytest.raises(ValueError, match="no such group: 'Night shift'"):
        await session.provisioning.plan(desired, create_groups=False)
    elsewhere = UUID(int=9)
    plan = await session.provisioning.plan(desired, organization_id=str(elsewhere))
    assert plan.changes == (CreateGroup("Night shift", elsewhere),)


async def test_the_organization_of_new_groups_must_be_unique(session: EzeepSession, sandbox: Sandbox) -> None:
    sandbox.organization.add_group("Other").organization_id = UUID(int=9)
    with pytest.raises(ValueError, match="belong to 2 organizations"):
        await session.provisioning.plan(DesiredState.from_mapping({"Night shift": []}))


async def test_bad_arguments_are_refused_before_any_request(sandbox: Sandbox, session: EzeepSession) -> None:
    desired = DesiredState.from_mapping({"Sales": []})
    with pytest.raises(ValueError, match="mode"):
        await session.provisioning.plan(desired, mode="replace")
    with pytest.raises(ValueError, match="organization_id must be a UUID"):
        await session.provisioning.plan(desired, organization_id="nope")
    assert not sandbox.requests


async def test_a_failed_read_raises_its_own_error(sandbox: Sandbox) -> None:
    """No exception group is raised, and no task is left running."""
    sandbox.faults.add("GET /printing/v1/users/", status=500, times=None)
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=Settings(retries=0)
    ) as session:
        with pytest.raises(ServerError):
            await session.provisioning.plan(DesiredState.from_mapping({"Sales": []}))
