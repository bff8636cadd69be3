"""Tests of the project in a sandbox. They need no account, and no plugin for Django.

pip install pytest
python -m pytest
"""

from __future__ import annotations

import django
import pytest
from cryptography.fernet import Fernet
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from ezeep_async.testing import ThreadedSandbox


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """Set Django up on a sandbox. A process does so once, so all tests have this sandbox."""
    with ThreadedSandbox(job_seconds=0.0) as running, pytest.MonkeyPatch.context() as environment:
        environment.setenv("EZEEP_CLIENT_ID", running.oauth_app.client_id)
        environment.setenv(
            "EZEEP_REDIRECT_URI", running.oauth_app.redirect_uri
        )  # http://127.0.0.1:8400/callback
        environment.setenv("EZEEP_ACCOUNT_URL", running.endpoints.account)
        environment.setenv("EZEEP_API_URL", running.endpoints.api)
        environment.setenv("EZEEP_PRINT_URL", running.endpoints.print)
        environment.setenv("SECRET_KEY", "a key for tests")
        environment.setenv("TOKEN_KEY", Fernet.generate_key().decode())
        environment.setenv("DATABASE", str(tmp_path_factory.mktemp("database") / "db.sqlite3"))
        environment.setenv("DJANGO_SETTINGS_MODULE", "settings")
        django.setup()
        call_command("migrate", verbosity=0)
        from printing.logins import logins

        with logins:
            yield running


@pytest.fixture
def client(sandbox):
    """Return a browser, in which the administrator of the sandbox has signed in."""
    browser = Client(headers={"host": "127.0.0.1:8400"})
    assert browser.get("/groups").headers["Location"] == "/login"
    page = browser.get("/login").headers["Location"]
    assert browser.get(sandbox.approve(page)).headers["Location"] == "/groups"
    return browser


def test_groups_are_listed(client):
    assert len(client.get("/groups").json()) == 13


def test_an_upload_is_printed(client, sandbox):
    assert "Front desk laser" in client.get("/print").text
    document = SimpleUploadedFile("invoice.pdf", b"%PDF-1.4 a page")
    response = client.post("/print", {"printer": "Front desk laser", "document": document})
    assert response.status_code == 202
    assert sandbox.printed[-1].content == b"%PDF-1.4 a page"
    assert client.get(response.json()["status"]).json()["status"] == "printed"


def test_an_outage_is_reported(client, sandbox):
    sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
    assert client.get("/groups").headers["Retry-After"] == "3600"
