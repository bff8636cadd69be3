"""The account directory: people and invitations."""

from __future__ import annotations

import pytest


ADMIN = "9f2e2cc1-58ee-4426-998f-62644895f162"
USER = "0050a068-cc7b-4490-951a-06920a610ee5"
INVITATIONS = "/v1/userinvitations/"


async def test_me(server, client):
    _, me = await client("GET", "/v1/users/me/")
    assert (me["id"], me["roles"]) == (ADMIN, ["admin"])
    client.token = server.tokens(server.organization.listed_users()[0].id).access_token
    assert (await client("GET", "/v1/users/me/"))[1]["id"] == USER


async def test_update(server, client):
    path = f"/v1/users/{USER}/"
    change = {"first_name": "Ana", "last_name": "", "email": "ana@example.org", "roles": ["user", "admin"]}
    _, person = await client("PATCH", path, json={**change, "id": "x", "display_name": "ignored"})
    assert person["id"] == USER
    assert person["display_name"] == "Ana"
    assert {name: person[name] for name in change} == change
    assert await client("GET", path) == (200, person)
    assert (await client("PATCH", path, json={"roles": ["user", "user"]}))[1]["roles"] == ["user"]


@pytest.mark.parametrize(
    "change",
    [
        {"email": "no address"},
        {"email": ""},
        {"email": "second.user@example.com"},
        {"first_name": None},
        {"last_name": "x" * 151},
        {"roles": "admin"},
        {"roles": ["king"]},
        {"roles": []},
    ],
)
async def test_update_validation(client, change):
    status, errors = await client("PATCH", f"/v1/users/{USER}/", json=change)
    assert (status, list(errors)) == (400, list(change))


async def test_delete(server, client):
    path = f"/v1/users/{USER}/"
    token = server.tokens(server.organization.listed_users()[0].id).access_token
    assert (await client("DELETE", path))[0] == 204
    for gone in (path, f"/printing/v1/users/{USER}/"):
        assert (await client("GET", gone))[0] == 404
    assert (await client("DELETE", path))[0] == 404
    assert not await client.works(token)
    assert len(server.organization.users) == len(server.organization.people) == 133


async def test_people_without_the_admin_role_see_and_change_only_themselves(server, client):
    client.token = server.tokens(server.organization.listed_users()[0].id).access_token
    _, page = await client("GET", "/v1/users/")
    assert [person["id"] for person in page["results"]] == [USER]
    assert (await client("PATCH", f"/v1/users/{USER}/", json={"first_name": "Me"}))[0] == 200
    assert (await client("PATCH", f"/v1/users/{USER}/", json={"roles": ["admin"]}))[0] == 403
    for method, path in (
        ("GET", f"/v1/users/{ADMIN}/"),
        ("PATCH", f"/v1/users/{ADMIN}/"),
        ("DELETE", f"/v1/users/{ADMIN}/"),
        ("GET", INVITATIONS),
        ("POST", INVITATIONS),
        ("PATCH", f"{INVITATIONS}{ADMIN}/"),
    ):
        status, error = await client(method, path)
        assert (status, list(error)) == (403, ["detail"])


async def test_invitations(server, client):
    body = {"email": "new@example.org", "expire_date": "2031-07-22T15:15:33"}
    status, made = await client("POST", INVITATIONS, json=body)
    assert status == 201
    assert made["expire_date"] == "2031-07-22T15:15:33.000000Z"
    assert (made["email"], made["delivery_status"], made["invitation_status"]) == (
        "new@example.org",
        "SENT",
        "OPEN",
    )
    assert (await client("GET", INVITATIONS))[1]["results"][-1] == made
    server.clock.advance(60)
    path = f"{INVITATIONS}{made['id']}/"
    assert await client("PATCH", path) == (200, {"id": made["id"]})
    assert (await client("GET", INVITATIONS))[1]["results"][-1]["updated"] > made["updated"]
    assert (await client("PATCH", f"{INVITATIONS}{USER}/"))[0] == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        "tomorrow",
        "2021-07-22",
        "2021-13-22T15:15:33",
        5,
        None,
        "2021-07-22 15:15:33",
        "20210722T151533",
        "2021-07-22T15",
        "2021-07-22T15:15:33,5",
        "2021-W29-4T15:15:33",
        "0001-01-01T00:00:00+01:00",  # no such time in UTC
        "9999-12-31T23:59:59-01:00",
    ],
)
async def test_invitation_dates(client, wrong):
    status, errors = await client("POST", INVITATIONS, json={"email": "a@example.org", "expire_date": wrong})
    assert status == 400
    assert errors["expire_date"][0].startswith("Datetime has wrong format.")


@pytest.mark.parametrize(
    "valid",
    [
        "2021-07-22T15:15",
        "2021-07-22T15:15:33.761Z",
        "2021-07-22T15:15:33.1234567Z",  # as the reports of the service have it
        "2021-07-22T15:15:33+02:00",
    ],
)
async def test_valid_invitation_dates(client, valid):
    body = {"email": "a@example.org", "expire_date": valid}
    assert (await client("POST", INVITATIONS, json=body))[0] == 201


async def test_invitation_needs_both_fields(client):
    status, errors = await client("POST", INVITATIONS, json={})
    assert (status, set(errors)) == (400, {"email", "expire_date"})
