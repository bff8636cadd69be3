"""Tests of app.py in a sandbox. They need no account.

pip install pytest
python -m pytest
"""

from __future__ import annotations

import importlib
import io
import sys

import pytest

from ezeep_async.sandbox import SANDBOX_ADMIN


SITE = "http://127.0.0.1:8400"


@pytest.fixture
def client(ezeep_sandbox, monkeypatch, tmp_path):
    """Return a browser for the application, which runs on a sandbox."""
    environment = {
        "EZEEP_CLIENT_ID": ezeep_sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": ezeep_sandbox.oauth_app.redirect_uri,  # http://127.0.0.1:8400/callback
        "EZEEP_ACCOUNT_URL": ezeep_sandbox.endpoints.account,
        "EZEEP_API_URL": ezeep_sandbox.endpoints.api,
        "EZEEP_PRINT_URL": ezeep_sandbox.endpoints.print,
        "SECRET_KEY": "a key for tests, of 32 characters",
        "LOGINS": str(tmp_path / "logins"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "app", raising=False)  # it reads the environment at its import
    module = importlib.import_module("app")
    with module.logins:
        yield module.app.test_client()


def sign_in(client, sandbox):
    """Sign in as the administrator of the sandbox, who allows it on the page of ezeep."""
    page = client.get(f"{SITE}/login").location
    assert client.get(sandbox.approve(page)).location == "/"


def test_a_user_signs_in_first(client, ezeep_sandbox):
    assert client.get(f"{SITE}/groups").location == "/login"
    sign_in(client, ezeep_sandbox)
    assert len(client.get(f"{SITE}/groups").json) == 13
    assert SANDBOX_ADMIN in client.get(f"{SITE}/").text


def test_a_second_sign_in_ends_the_first_login(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    sign_in(client, ezeep_sandbox)
    assert ezeep_sandbox.count("POST /oauth/revoke/") == 1
    assert len(client.get(f"{SITE}/groups").json) == 13


def test_a_user_signs_out(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    assert client.post(f"{SITE}/logout").location == "/"
    assert "You are not signed in." in client.get(f"{SITE}/").text
    assert client.get(f"{SITE}/groups").location == "/login"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": SITE}, 303),
    ],
)
def test_forms_of_other_pages_are_refused(client, ezeep_sandbox, headers, status):
    sign_in(client, ezeep_sandbox)
    response = client.post(f"{SITE}/logout", headers=headers)
    assert response.status_code == status
    assert (SANDBOX_ADMIN in client.get(f"{SITE}/").text) == (status == 403)
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


def send_form(client):
    """Send the form of /print with a document."""
    form = {"printer": "Front desk laser", "document": (io.BytesIO(b"%PDF-1.4 a page"), "invoice.pdf")}
    return client.post(f"{SITE}/print", data=form)


def test_an_upload_is_printed(client, ezeep_sandbox):
    assert send_form(client).status_code == 401
    sign_in(client, ezeep_sandbox)
    assert send_form(client).status_code == 202
    assert [printed.content for printed in ezeep_sandbox.printed] == [b"%PDF-1.4 a page"]


def test_a_fault_of_the_app_is_none_of_the_user(client):
    client.application.add_url_rule("/fault", view_func=lambda: int("a fault"))
    assert client.get(f"{SITE}/fault").status_code == 500


def test_an_outage_is_reported(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    ezeep_sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
    assert client.get(f"{SITE}/groups").headers["Retry-After"] == "3600"


def test_a_login_that_ends_after_a_lost_response_may_have_been_a_change(client, ezeep_sandbox):
    sign_in(client, ezeep_sandbox)
    user = next(iter(ezeep_sandbox.organization.users.values()))
    group = next(each for each in ezeep_sandbox.organization.groups if each not in user.groups)
    ezeep_sandbox.faults.add("PATCH /printing/v1/users/{id}/", drop="after")
    ezeep_sandbox.faults.add("PATCH /printing/v1/users/{id}/", nth=2, status=401)
    ended = '{"error": "invalid_grant"}'
    ezeep_sandbox.faults.add("POST /oauth/access_token/", status=400, body=ended)
    response = client.post(f"{SITE}/groups/{group}/members", data={"user_id": str(user.id)})
    assert (response.status_code, "may have been done" in response.text) == (502, True)
