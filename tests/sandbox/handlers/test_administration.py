"""Assignments, connectors, drivers, webhooks and reports of the sandbox, over a plain HTTP client."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


ASSIGNMENTS = "/printing/v1/assignments/"
ENDPOINTS = "/webhooks/endpoints"
REPORTS = "/reporting/reports"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
ALL = "printing reporting webhooks webhooks.readonly"


def body(*groups: UUID) -> dict[str, Any]:
    return {"assignment": [{"groups": [{"group_id": str(each)} for each in groups]}]}


@pytest.fixture
async def admin(server: Sandbox, client: Any) -> AsyncIterator[Any]:
    """A client whose token has all scopes."""
    client.token = server.tokens(scope=ALL).access_token
    yield client


@pytest.mark.parametrize("kind", ["replace", "add"])
async def test_assignments(server, admin, kind):
    """Both kinds of PUT; DELETE removes what its body names."""
    server.behaviour.assignments_put = kind
    one, two, three = list(server.organization.groups)[:3]
    printer = server.printing.add_printer("P")
    path = f"{ASSIGNMENTS}{printer.id}/"
    status, shown = await admin("PUT", path, json=body(one))
    assert status == 200
    group = server.organization.groups[one]
    assert shown == {
        "printer_id": str(printer.id),
        "printer_name": "P",
        "assignments": [
            {
                "settings": None,
                "groups": [
                    {
                        "group_id": str(one),
                        "group_name": group.name,
                        "group_foreign_id": group.origin.get("foreign_id"),
                        "force_chosen": False,
                    }
                ],
            }
        ],
    }
    await admin("PUT", path, json=body(two, three))
    assert printer.groups == ([two, three] if kind == "replace" else [one, two, three])
    response = await admin.raw("DELETE", path, json=body(two))
    assert (response.status, await response.text()) == (204, "")
    assert printer.groups == ([three] if kind == "replace" else [one, three])
    status, listed = await admin("GET", f"{ASSIGNMENTS}?group={three}")
    assert [each["printer_id"] for each in listed["results"]] == [str(printer.id)]
    server.organization.remove_group(three)
    status, listed = await admin("GET", f"{ASSIGNMENTS}?limit=100")
    (row,) = [each for each in listed["results"] if each["printer_id"] == str(printer.id)]
    assert str(three) not in json.dumps(row)


async def test_wrong_assignments(server, admin):
    printer = server.printing.add_printer("P")
    path = f"{ASSIGNMENTS}{printer.id}/"
    for method in ("PUT", "DELETE"):
        assert (await admin(method, path, json={}))[1] == {"assignment": ["This field is required."]}
        status, error = await admin(method, path, json=body(UUID(UNKNOWN)))
        assert (status, [*error]) == (400, ["assignment"])
        assert (await admin(method, path, json={"assignment": [{"groups": 5}]}))[0] == 400
        assert (await admin(method, f"{ASSIGNMENTS}{UNKNOWN}/", json=body()))[0] == 404
    assert (await admin("GET", path))[0] == 405
    server.organization.people[server.organization.admin_id].roles = ("user",)
    assert (await admin("GET", ASSIGNMENTS))[0] == 403


async def test_the_same_seed_has_the_same_connectors_and_drivers(server, admin):
    """With pages for all but the vendors."""
    status, page = await admin("GET", "/printing/v1/connectors/?type=Printserver")
    assert (status, page["count"], page["results"][0]["readable_name"]) == (200, 1, "Print server A")
    assert (await admin("GET", "/printing/v1/drivers/vendors/"))[1][0] == "Example"
    _, page = await admin("GET", "/printing/v1/drivers/?vendor=O%27Neil&limit=1")
    assert (page["count"], page["results"][0]["vendor"], page["results"][0]["arch"]) == (3, "O'Neil", "x64")
    ids = [connector.id for connector in server.administration.connectors]
    assert [each.id for each in Sandbox(users=1).administration.connectors] == ids
    assert [each.id for each in Sandbox(users=1, seed=1).administration.connectors] != ids


# --- webhooks


async def test_the_life_of_an_endpoint(server, admin):
    """The password comes back in clear text, as documented."""
    given = {
        "name": "Archive",
        "url": "https://hooks.example.com/ezeep",
        "topics": ["printjob_failed"],
        "authentication_scheme": "basic",
        "basic_username": "hook",
        "basic_password": "not-a-real-one",
    }
    status, made = await admin("POST", ENDPOINTS, json=given)
    assert status == 201
    assert made == given | {"endpoint_id": made["endpoint_id"], "disabled": False}
    path = f"{ENDPOINTS}/{made['endpoint_id']}"
    assert await admin("GET", path) == (200, made)
    assert (await admin("GET", ENDPOINTS))[1]["results"] == [made]
    server.behaviour.bare_webhook_list = True
    assert await admin("GET", ENDPOINTS) == (200, [made])
    assert await admin("PATCH", path, json={"disabled": True}) == (200, made | {"disabled": True})
    assert (await admin("DELETE", path))[0] == 204
    assert (await admin("GET", path))[0] == 404


async def test_wrong_endpoints(server, admin):
    for wrong, field in (
        ({}, "url"),
        ({"name": ""}, "name"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://[/"}, "url"),
        ({"url": "https://xn--a/"}, "url"),
        ({"topics": ["everything"]}, "topics"),
        ({"topics": "printjob_failed"}, "topics"),
        ({"authentication_scheme": "digest"}, "authentication_scheme"),
        ({"authentication_scheme": {}}, "authentication_scheme"),
        ({"disabled": "no"}, "disabled"),
    ):
        status, errors = await admin(
            "POST", ENDPOINTS, json=({"name": "A", "url": "http://127.0.0.1/"} | wrong) if wrong else {}
        )
        assert (status, field in errors) == (400, True), wrong
    assert server.webhooks.endpoints == {}


async def test_these_paths_have_no_slash_at_their_end(server, session, client_for):
    """With one they do not exist; those of other resources are redirected without one."""
    async with Sandbox(users=1) as server:
        client = client_for(server)
        client.token = server.tokens(scope=ALL).access_token
        for path in (
            f"{ENDPOINTS}/",
            f"{ENDPOINTS}/{UNKNOWN}/",
            f"{REPORTS}/",
            f"{REPORTS}/x/",
            f"{REPORTS}/x/download/",
        ):
            assert (await client.raw("GET", path)).status == 404
        assert len(server.unknown_routes) == 5
        assert (await client.raw("GET", ASSIGNMENTS[:-1])).status == 301
        assert server.count("GET /reporting/reports/{id}/download") == 0


# --- reports


async def test_the_life_of_a_report(server, admin):
    """202, pending for so many requests, then succeeded; seven digits of a second; then the content."""
    server.behaviour.report_polls = 2
    status, report = await admin("POST", REPORTS, json={"start": "2030-01-01", "end": "2030-02-01T00:00:00"})
    assert status == 202
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", report["created"])
    assert (report["status"], report["format"], report["file_name_obfuscated"]) == ("pending", "csv", True)
    path = f"{REPORTS}/{report['report_id']}"
    statuses = []
    for _ in range(4):
        assert (await admin("GET", f"{path}/download"))[0] == (404 if len(statuses) < 3 else 200)
        statuses.append((await admin("GET", path))[1]["status"])
    assert statuses == ["pending", "pending", "succeeded", "succeeded"]
    assert await admin("GET", f"{path}/download") == (200, server.administration.report_content.decode())
    assert (await admin.raw("GET", f"{path}/download")).content_type == "text/csv"


async def test_wrong_reports(server, admin):
    for wrong, field in (
        ({"start": "soon"}, "start"),
        ({"end": 5}, "end"),
        ({"csv_delimiter": "|"}, "csv_delimiter"),
        ({"csv_delimiter": []}, "csv_delimiter"),
        ({"timestamp_offset": "1"}, "timestamp_offset"),
        ({"user_name_blank": 1}, "user_name_blank"),
    ):
        status, errors = await admin(
            "POST", REPORTS, json={"start": "2030-01-01", "end": "2030-02-01"} | wrong
        )
        assert (status, [*errors]) == (400, [field])
    assert (await admin("GET", f"{REPORTS}/x"))[0] == 404


# --- scopes


@pytest.mark.parametrize("scope", ["printing", "reporting", "webhooks", "webhooks.readonly"])
async def test_scopes_are_checked_for_each_token(server, client, scope):
    """RFC 6750 section 3.1: 403 with the scope that is missing."""
    client.token = server.tokens(scope=scope).access_token
    assert (await client("GET", ENDPOINTS))[0] == (200 if scope.startswith("webhooks") else 403)
    assert (await client("POST", ENDPOINTS, json={}))[0] == (400 if scope == "webhooks" else 403)
    assert (await client("POST", REPORTS, json={}))[0] == (400 if scope == "reporting" else 403)
    assert (await client("GET", "/v1/users/me/"))[0] == 200
    response = await client.raw("GET", f"{REPORTS}/x")
    if scope != "reporting":
        assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
        assert 'scope="reporting"' in response.headers["WWW-Authenticate"]


async def test_scopes_come_from_the_request_for_the_token(server, client):
    """A refresh keeps them or has fewer; more are refused, and the refresh token is not used up by that."""
    server.behaviour.password_grant = True
    login = {"grant_type": "password", "username": SANDBOX_ADMIN, "password": SANDBOX_PASSWORD}
    _, first = await client.grant(**login, scope="printing webhooks")
    assert first["scope"] == "printing webhooks"
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert (await client.grant(**refresh, scope="printing reporting"))[1]["error"] == "invalid_scope"
    _, second = await client.grant(**refresh, scope="webhooks")
    assert second["scope"] == ""
    client.token = second["access_token"]
    assert (await client("GET", ENDPOINTS))[0] == 200
    assert (await client.grant(**login, scope="everything"))[1]["error"] == "invalid_scope"
    server.behaviour.scopes = ("printing",)
    assert (await client.grant(**login, scope="webhooks"))[1]["error"] == "invalid_scope"


async def test_client_credentials(server, client):
    """A token of the admin, without a refresh token (RFC 6749 section 4.4.3)."""
    server.behaviour.client_credentials_grant = True
    server.behaviour.client_secret = "secret-of-the-client"
    status, granted = await client.grant(grant_type="client_credentials")
    assert (status, set(granted)) == (200, {"access_token", "token_type", "expires_in", "scope"})
    assert await client.works(granted["access_token"])
