"""The organization: the documented examples first, the same for each seed, with consistent memberships."""

from __future__ import annotations

import json
from importlib.resources import files
from uuid import UUID

import pytest

from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox
from ezeep_async.sandbox.replies import encode
from ezeep_async.sandbox.state.organization import Organization
from ezeep_async.sandbox.state.seeding import populate


DATA = files("ezeep_async.sandbox").joinpath("data")
TEST_GROUP = UUID("dd8d4007-2522-42ab-ac2e-bf23d87defc3")


def organization(users: int = 134, groups: int = 13, seed: int = 0) -> Organization:
    made = Organization(seed)
    populate(made, users=users, groups=groups)
    return made


def everything(made: Organization) -> list[object]:
    return [
        [json.loads(encode(user)) for user in made.listed_users()],
        [json.loads(encode(person)) for person in made.listed_people()],
        [(group.id, group.name, group.origin, group.num_printers) for group in made.groups.values()],
        [json.loads(encode(invitation)) for invitation in made.invitations.values()],
    ]


async def test_first_page_of_users_is_the_documented_one(client):
    """Every record and the envelope of the example, with the same values."""
    example = json.loads(DATA.joinpath("users_page_1.json").read_text())
    assert await client("GET", "/printing/v1/users/") == (200, example)


async def test_groups_page_begins_with_the_documented_one(client):
    """The documented member counts are the numbers of memberships."""
    example = json.loads(DATA.joinpath("groups_page.json").read_text())
    _, page = await client("GET", "/printing/v1/groups/")
    assert page["count"] == example["count"] == len(page["results"])
    assert page["results"][:4] == example["results"]


async def test_documented_people_and_invitations_are_there(client):
    example = json.loads(DATA.joinpath("account_users_page.json").read_text())
    for person in example["results"]:
        assert await client("GET", f"/v1/users/{person['id']}/") == (200, person)
    example = json.loads(DATA.joinpath("invitations_page.json").read_text())
    assert await client("GET", "/v1/userinvitations/") == (200, example)


def test_same_seed_same_organization():
    assert everything(organization(seed=7)) == everything(organization(seed=7))
    assert everything(organization(seed=7)) != everything(organization(seed=8))


@pytest.mark.parametrize(
    ("users", "groups"), [(0, 0), (1, 1), (5, 3), (19, 4), (20, 9), (21, 10), (22, 13), (134, 40)]
)
def test_any_size(users, groups):
    """Few users and groups are the admin and the first ones; memberships are in groups that exist."""
    made = organization(users, groups)
    assert (len(made.users), len(made.groups)) == (users, groups)
    assert set(made.users) <= set(made.people)
    assert len(made.people) == max(users, 1)
    assert users == 0 or made.admin_id in made.users
    assert [user.id for user in made.listed_users()] == sorted(made.users)
    assert [person.id for person in made.listed_people()] == sorted(made.people)
    assert all(group_id in made.groups for user in made.users.values() for group_id in user.groups)
    assert [p.id for p in made.people.values() if "admin" in p.roles] == [made.admin_id]
    assert made.people[made.admin_id].email == SANDBOX_ADMIN
    example = json.loads(DATA.joinpath("users_page_1.json").read_text())["results"]
    documented = [user["id"] for user in example][: max(users - 1, 0)]
    assert [str(user.id) for user in made.listed_users()][: len(documented)] == documented


def test_email_addresses_are_unique():
    made = organization(2000, 13)
    assert len({person.email for person in made.people.values()}) == 2000


async def test_member_counts_follow_the_memberships(server, client):
    """Changes by requests, in the test, and by deletion."""
    first, second, third = server.organization.listed_users()[:3]
    first.groups.add(TEST_GROUP)
    await client(
        "PATCH", f"/printing/v1/users/{second.id}/", json={"groups": [{"group_id": str(TEST_GROUP)}]}
    )
    third.groups.replace([TEST_GROUP])
    assert server.organization.members(TEST_GROUP) == {first.id, second.id, third.id}
    first.groups.remove(TEST_GROUP)
    server.organization.remove_user(second.id)
    _, group = await client("GET", f"/printing/v1/groups/{TEST_GROUP}/")
    assert group["num_members"] == 1
    for group in server.organization.groups.values():
        counted = {user.id for user in server.organization.users.values() if group.id in user.groups}
        assert server.organization.members(group.id) == counted


async def test_changes_in_the_test_are_in_responses(server, client):
    user = server.organization.listed_users()[0]
    path = f"/printing/v1/users/{user.id}/"
    await client("GET", path)
    user.groups.clear()
    assert (await client("GET", path))[1]["groups"] == []
    user.myprinters_enabled = True
    _, record = await client("GET", path)
    assert record["myprinters_enabled"] is True
    assert record["groups"] == []
    person = server.organization.people[user.id]
    await client("GET", f"/v1/users/{user.id}/")
    person.first_name, person.last_name = "Renamed", "Here"
    assert (await client("GET", f"/v1/users/{user.id}/"))[1]["display_name"] == "Renamed Here"


def test_adding_and_removing():
    made = organization(30, 5)
    user = made.add_user(groups=[TEST_GROUP], user_id=UUID(int=1))
    assert made.listed_users()[0] is user
    assert made.people[user.id].email.endswith("@example.com")
    group = made.add_group("Another")
    assert list(made.groups)[-1] == group.id
    assert made.members(group.id) == frozenset()
    made.remove_group(TEST_GROUP)
    assert list(user.groups) == []
    made.remove_user(user.id)
    assert user.id not in made.users
    assert user.id not in made.people
    made.remove_user(made.admin_id)
    assert made.admin_id in made.people
    with pytest.raises(ValueError, match="no group"):
        made.listed_users()[0].groups.add(TEST_GROUP)
    with pytest.raises(ValueError, match="already"):
        made.add_user(user_id=made.listed_users()[0].id)
    with pytest.raises(KeyError):
        made.remove_user(UUID(int=1))


@pytest.mark.slow
async def test_ten_thousand_users(client_for):
    """Creation and all pages of a large organization."""
    async with Sandbox(users=10_000, groups=13) as server:
        client = client_for(server)
        seen = []
        for offset in range(0, 10_000, 100):
            _, page = await client("GET", f"/printing/v1/users/?limit=100&offset={offset}")
            seen += [user["id"] for user in page["results"]]
        assert seen == [str(user_id) for user_id in sorted(server.organization.users)]
