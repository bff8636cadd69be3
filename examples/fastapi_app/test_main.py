"""Tests of main.py in a sandbox. They need no account.

pip install httpx2 pytest
python -m pytest
"""

from __future__ import annotations

import importlib
import re
import sys
import uuid

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient

from ezeep_async.sandbox import SANDBOX_ADMIN


@pytest.fixture
def client(ezeep_sandbox, monkeypatch, tmp_path):
    """Return a browser for the application, which runs on a sandbox."""
    environment = {
        "EZEEP_CLIENT_ID": ezeep_sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": ezeep_sandbox.oauth_app.redirect_uri,  # http://127.0.0.1:8400/callback
        "EZEEP_ACCOUNT_URL": ezeep_sandbox.endpoints.account,
        "EZEEP_API_URL": ezeep_sandbox.endpoints.api,
        "EZEEP_PRINT_URL": ezeep_sandbox.endpoints.print,
        "SECRET_KEY": "a key for tests",
        "TOKEN_KEY": Fernet.generate_key().decode(),
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'app.db'}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "main", raising=False)  # main.py reads the environment at its import
    app = importlib.import_module("main").app
    with TestClient(app, base_url="http://127.0.0.1:8400", follow_redirects=False) as browser:
        yield browser


def sign_in(client, sandbox):
    """Sign in as the administrator of the sandbox, who allows it on the page of ezeep."""
    page = client.get("/login").headers["location"]
    assert client.get(sandbox.approve(page)).headers["location"] == "/"


def test_a_user_signs_in_first(client, ezeep_sandbox):
    assert client.get("/groups").headers["location"] == "/login"
    sign_in(client, ezeep_sandbox)
    assert len(client.get("/groups").json()) == 13
    assert SANDBOX_ADMIN in client.get("/").text


def test_a_second_sign_in_ends_the_first_login(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    sign_in(client, ezeep_sandbox)
    assert ezeep_sandbox.count("POST /oauth/revoke/") == 1
    assert len(client.get("/groups").json()) == 13


def test_a_user_signs_out(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    assert client.post("/logout").headers["location"] == "/"
    assert "You are not signed in." in client.get("/").text
    assert client.get("/groups").headers["location"] == "/login"


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:9"}],
)
def test_a_form_of_another_site_is_refused(client, ezeep_sandbox, headers):
    sign_in(client, ezeep_sandbox)
    assert client.post("/logout", headers=headers).status_code == 403
    assert SANDBOX_ADMIN in client.get("/").text


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "same-origin", "Origin": "null"}, {"Origin": "http://127.0.0.1:8400"}]
)
def test_a_form_of_the_app_is_accepted(client, ezeep_sandbox, headers):
    sign_in(client, ezeep_sandbox)
    assert client.post("/logout", headers=headers).headers["location"] == "/"


def test_pages_are_not_shown_in_frames(client):
    assert "frame-ancestors 'none'" in client.get("/").headers["content-security-policy"]
    assert client.get("/docs").status_code == 404


def test_a_member_is_added(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    user, group = next(iter(ezeep_sandbox.organization.users)), next(iter(client.get("/groups").json()))
    groups = client.post(f"/groups/{group}/members", data={"user_id": str(user)}).json()
    assert group in groups


def send_form(client, form_key):
    """Send the form of /print with a document."""
    return client.post(
        "/print",
        data={"printer": "Front desk laser", "form_key": form_key},
        files={"document": ("invoice.pdf", b"%PDF-1.4 a page")},
    )


@pytest.mark.ezeep_sandbox(job_seconds=0.0)
def test_a_form_is_printed_once(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    form_key = re.search('name="form_key" value="(.+?)"', client.get("/print").text)[1]
    first, second = send_form(client, form_key), send_form(client, form_key)
    assert (first.status_code, first.json()) == (202, second.json())
    assert [printed.content for printed in ezeep_sandbox.printed] == [b"%PDF-1.4 a page"]


@pytest.mark.ezeep_sandbox(job_seconds=0.0)
def test_a_lost_response_is_not_printed_again(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    form_key = str(uuid.uuid4())
    ezeep_sandbox.faults.add("POST /sfapi/Print/", drop="after")
    assert [send_form(client, form_key).status_code for _ in range(2)] == [502, 409]
    assert len(ezeep_sandbox.printed) == 1


@pytest.mark.ezeep_sandbox(job_seconds=0.0)
def test_a_form_without_a_login_is_printed_after_it(client, ezeep_sandbox):
    form_key = str(uuid.uuid4())
    assert send_form(client, form_key).status_code == 401
    sign_in(client, ezeep_sandbox)
    assert send_form(client, form_key).status_code == 202


def test_a_fault_of_the_app_is_none_of_the_user(client):
    client.app.add_api_route("/fault", lambda: int("a fault"))
    with pytest.raises(ValueError, match="a fault"):
        client.get("/fault")


def test_an_outage_is_reported(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    ezeep_sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
    assert client.get("/groups").headers["retry-after"] == "3600"


def test_a_login_that_ends_after_a_lost_response_may_have_been_a_change(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    user = next(iter(ezeep_sandbox.organization.users.values()))
    group = next(each for each in ezeep_sandbox.organization.groups if each not in user.groups)
    ezeep_sandbox.faults.add("PATCH /printing/v1/users/{id}/", drop="after")
    ezeep_sandbox.faults.add("PATCH /printing/v1/users/{id}/", nth=2, status=401)
    ended = '{"error": "invalid_grant"}'
    ezeep_sandbox.faults.add("POST /oauth/access_token/", status=400, body=ended)
    response = client.post(f"/groups/{group}/members", data={"user_id": str(user.id)})
    assert response.status_code == 502
    assert "may have been done" in response.text
