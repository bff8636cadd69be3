"""Groups, users and memberships, with the framework's errors."""

from __future__ import annotations

import json

import pytest


GROUPS = "/printing/v1/groups/"
USERS = "/printing/v1/users/"
EFA = "19b5963a-35eb-416c-9ca4-a4c2950385fb"
TEST = "dd8d4007-2522-42ab-ac2e-bf23d87defc3"
ORGANIZATION = "54e3a324-cc89-4722-8338-c285d26bef15"
USER = "0050a068-cc7b-4490-951a-06920a610ee5"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def membership(*ids: str) -> list[dict[str, str]]:
    return [{"group_id": group_id} for group_id in ids]


async def test_life_of_a_group(server, client):
    body = {"name": "Test", "organization_id": ORGANIZATION}
    status, group = await client("POST", GROUPS, json=body)
    assert status == 201
    assert group == {
        "id": group["id"],
        "name": "Test",
        "description": "",
        "local_printing_enabled": False,
        "myprinters_enabled": False,
        "origin": {"provider": "Ezeep"},
        "organization_id": ORGANIZATION,
        "num_members": 0,
        "num_printers": 0,
    }
    # Names are not unique: a group with that name existed.
    assert [g.name for g in server.organization.groups.values()].count("Test") == 2
    path = f"{GROUPS}{group['id']}/"
    changed = {**group, "description": "new", "local_printing_enabled": True}
    patch = {
        "description": "new",
        "local_printing_enabled": True,
        "num_members": 9,
        "origin": None,
        "other": 1,
    }
    assert await client("PATCH", path, json=patch) == (200, changed)
    assert await client("GET", path) == (200, changed)
    assert await client("PUT", path, json={"name": "Put"}) == (200, {**group, "name": "Put"})
    server.behaviour.put_resets_flags = False
    await client("PATCH", path, json={"myprinters_enabled": True})
    assert (await client("PUT", path, json={"name": "Again"}))[1]["myprinters_enabled"] is True
    assert await client("PUT", path, json={}) == (400, {"name": ["This field is required."]})
    response = await client.raw("DELETE", path)
    assert (response.status, await response.text(), "Content-Type" in response.headers) == (204, "", False)
    for method in ("GET", "DELETE"):
        assert await client(method, path) == (404, {"detail": "Not found."})


async def test_deleting_a_group_takes_its_members_out(server, client):
    await client("DELETE", f"{GROUPS}{EFA}/")
    assert (await client("GET", f"{USERS}{USER}/"))[1]["groups"] == []


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"name": ""}, {"name": ["This field may not be blank."]}),
        ({"name": "  "}, {"name": ["This field may not be blank."]}),
        ({"name": None}, {"name": ["This field may not be null."]}),
        ({"name": 3}, {"name": ["Not a valid string."]}),
        ({"name": "x" * 256}, {"name": ["Ensure this field has no more than 255 characters."]}),
        ({"description": "x" * 256}, {"description": ["Ensure this field has no more than 255 characters."]}),
        ({"local_printing_enabled": "yes"}, {"local_printing_enabled": ["Must be a valid boolean."]}),
        ({"myprinters_enabled": None}, {"myprinters_enabled": ["This field may not be null."]}),
        ({"organization_id": "x"}, {"organization_id": ["Must be a valid UUID."]}),
        ({"organization_id": UNKNOWN}, {"organization_id": ["This is not your organization."]}),
    ],
)
async def test_group_validation(server, client, change, errors):
    """3-8: field errors, and nothing is created or changed."""
    body = {"name": "x" * 255, "description": "y" * 255, "organization_id": ORGANIZATION}
    assert await client("POST", GROUPS, json={**body, **change}) == (400, errors)
    assert await client("PATCH", f"{GROUPS}{TEST}/", json=change) == (400, errors)
    assert len(server.organization.groups) == 13
    assert (await client("POST", GROUPS, json=body))[0] == 201


async def test_required_fields_are_all_named(client):
    expected = {"name": ["This field is required."], "organization_id": ["This field is required."]}
    assert await client("POST", GROUPS, json={}) == (400, expected)
    assert await client("POST", GROUPS) == (400, expected)


async def test_bodies_that_are_not_json_objects(client):
    headers = {"Content-Type": "application/json"}
    status, error = await client("POST", GROUPS, data=b'{"name": ', headers=headers)
    assert status == 400
    assert error["detail"].startswith("JSON parse error")
    status, error = await client("POST", GROUPS, data=b'{"name": "\xff"}', headers=headers)
    assert (status, error["detail"][:16]) == (400, "JSON parse error")
    status, error = await client("POST", GROUPS, data=b'{"a":' * 100_000, headers=headers)
    assert (status, error["detail"][:16]) == (400, "JSON parse error")
    assert (await client("POST", GROUPS, json=[1]))[1].keys() == {"non_field_errors"}
    assert (await client("POST", GROUPS, data={"name": "form"}))[0] == 415


async def test_counts_as_strings(server, client):
    server.behaviour.counts_as_strings = True
    _, group = await client("GET", f"{GROUPS}{EFA}/")
    assert (group["num_members"], group["num_printers"]) == ("119", "5")


async def test_membership_is_replaced_as_a_whole(server, client):
    path = f"{USERS}{USER}/"
    status, user = await client("PATCH", path, json={"groups": membership(TEST)})
    assert (status, user["groups"]) == (200, membership(TEST))
    flags = (user["local_printing_enabled"], user["self_service_enabled"], user["myprinters_enabled"])
    assert flags == (True, True, False)
    _, user = await client("PATCH", path, json={"groups": membership(EFA, TEST, EFA)})
    assert user["groups"] == membership(EFA, TEST)
    assert (await client("PATCH", path, json={"groups": []}))[1]["groups"] == []
    assert (await client("PATCH", path, json={"local_printing_enabled": False}))[1]["groups"] == []
    assert server.organization.listed_users()[0].local_printing_enabled is False


async def test_put_resets_flags_only_where_it_should(server, client):
    path = f"{USERS}{USER}/"
    assert await client("PUT", path, json={}) == (400, {"groups": ["This field is required."]})
    server.behaviour.put_resets_flags = False
    _, user = await client("PUT", path, json={"groups": membership(TEST)})
    assert (user["local_printing_enabled"], user["self_service_enabled"]) == (True, True)
    server.behaviour.put_resets_flags = True
    _, user = await client("PUT", path, json={"groups": [], "self_service_enabled": True})
    assert (user["local_printing_enabled"], user["self_service_enabled"]) == (False, True)
    server.organization.listed_users()[0].myprinters_enabled = True
    _, user = await client("PUT", path, json={"groups": [], "local_printing_enabled": True})
    flags = (user["local_printing_enabled"], user["self_service_enabled"], user["myprinters_enabled"])
    assert flags == (True, False, False)


@pytest.mark.parametrize(("allowed", "refused"), [("PATCH", "PUT"), ("PUT", "PATCH")])
async def test_only_one_membership_method(server, client, allowed, refused):
    server.behaviour.membership_methods = (allowed,)
    path, body = f"{USERS}{USER}/", {"groups": membership(TEST)}
    response = await client.raw(refused, path, json=body)
    assert (response.status, response.headers["Allow"]) == (405, f"GET, {allowed}")
    assert list(server.organization.listed_users()[0].groups) != [TEST]
    assert (await client(allowed, path, json=body))[0] == 200


@pytest.mark.parametrize(
    "groups", [membership(TEST, UNKNOWN), membership("x"), [TEST], [{}], {"group_id": TEST}, None]
)
async def test_wrong_memberships_change_nothing(server, client, groups):
    status, errors = await client("PATCH", f"{USERS}{USER}/", json={"groups": groups})
    assert status == 400
    assert list(errors) == ["groups"]
    assert [str(group_id) for group_id in server.organization.listed_users()[0].groups] == [EFA]


async def test_group_filter(server, client):
    """A GET with a body, honoured or not; an unknown group has no users."""
    _, page = await client("GET", f"{USERS}?limit=100", json={"groups": membership(EFA)})
    assert (page["count"], len(page["results"])) == (119, 100)
    assert all({"group_id": EFA} in user["groups"] for user in page["results"])
    member = server.organization.listed_users()[0]
    member.groups.clear()
    assert (await client("GET", USERS, json={"groups": membership(EFA)}))[1]["count"] == 118
    _, before = await client("GET", USERS, json={"groups": membership(TEST)})
    await client("PATCH", f"{USERS}{USER}/", json={"groups": membership(TEST)})
    _, after = await client("GET", USERS, json={"groups": membership(TEST)})
    assert (before["count"], [user["id"] for user in after["results"]]) == (0, [USER])
    member.groups.clear()
    assert (await client("GET", USERS, json={"groups": membership(UNKNOWN)}))[1]["results"] == []
    _, both = await client("GET", f"{USERS}?limit=100", json={"groups": membership(TEST, EFA)})
    assert both["count"] == 118
    assert (await client("GET", USERS, json={"groups": "x"}))[0] == 400
    assert (await client("GET", USERS, data=b"{", headers={"Content-Type": "application/json"}))[0] == 400
    server.behaviour.honour_group_filter = False
    assert (await client("GET", USERS, json={"groups": membership(EFA)}))[1]["count"] == 134


async def test_unknown_and_invalid_ids(client):
    for path in (f"{GROUPS}{UNKNOWN}/", f"{GROUPS}x/", f"{USERS}{UNKNOWN}/", f"{USERS}x/"):
        assert await client("GET", path) == (404, {"detail": "Not found."})
        assert (await client("PATCH", path, json={}))[0] == 404


async def test_people_without_the_admin_role_read_and_do_not_write(server, client):
    client.token = server.tokens(server.organization.listed_users()[0].id).access_token
    assert (await client("GET", GROUPS))[0] == 200
    assert (await client("GET", f"{USERS}{USER}/"))[0] == 200
    for method, path in (
        ("POST", GROUPS),
        ("PATCH", f"{GROUPS}{TEST}/"),
        ("DELETE", f"{GROUPS}{TEST}/"),
        ("PATCH", f"{USERS}{USER}/"),
    ):
        status, error = await client(method, path, json={})
        assert (status, list(error)) == (403, ["detail"])


async def test_wrong_methods(client):
    for method, path, allow in (
        ("PUT", GROUPS, "GET, POST"),
        ("POST", USERS, "GET"),
        ("POST", f"{GROUPS}{TEST}/", "GET, PATCH, PUT, DELETE"),
    ):
        response = await client.raw(method, path)
        assert (response.status, response.headers["Allow"]) == (405, allow)
        assert json.loads(await response.text()) == {"detail": f'Method "{method}" not allowed.'}


async def test_requests_need_a_token(client):
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer"}):
        response = await client.raw("GET", USERS, auth=None, headers=headers)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert list(await response.json()) == ["detail"]
