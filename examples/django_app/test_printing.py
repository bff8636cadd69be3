"""Tests of the project in a sandbox. They need no account, and no plugin for Django.

pip install pytest
python -m pytest
"""

from __future__ import annotations

from io import BytesIO

import django
import pytest
from cryptography.fernet import Fernet
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment

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
        setup_test_environment()  # for `response.context`
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
    assert browser.get(sandbox.approve(page)).headers["Location"] == "/print"
    return browser


@pytest.fixture
def form(client, sandbox):
    """Return the fields of a new form."""
    printer = next(each for each in sandbox.printing.printers.values() if each.name == "Front desk laser")
    shown = client.get("/print", {"printer": str(printer.id)}).context["form"]
    return {"key": str(shown["key"].value()), "printer": str(printer.id), "copies": "1"}


def send(client, form):
    """Press the button, and return the page that the browser shows then."""
    document = SimpleUploadedFile("invoice.pdf", b"%PDF-1.4 a page")
    return client.post("/print", form | {"document": document}, follow=True)


def test_groups_are_listed(client):
    response = client.get("/groups")
    assert len(response.json()) == 13
    assert response.headers["X-Frame-Options"] == "DENY"  # no page of another site shows it in a frame


def test_a_second_sign_in_ends_the_first_login(client, sandbox):
    before = sandbox.count("POST /oauth/revoke/")
    client.get(sandbox.approve(client.get("/login").headers["Location"]))
    assert sandbox.count("POST /oauth/revoke/") == before + 1
    assert len(client.get("/groups").json()) == 13


def test_a_form_prints_once(client, sandbox, form):
    before = len(sandbox.printed)
    for _ in range(2):
        assert "The document is printed." in send(client, form | {"copies": "2", "paper": "A4"}).text
    (document,) = sandbox.printed[before:]
    assert document.content == b"%PDF-1.4 a page"
    assert (document.options["copies"], document.options["paper"]) == (2, "A4")
    assert "invoice.pdf" in client.get("/prints").text


def test_a_document_of_the_app_prints_once(client, sandbox, form):
    from printing.forms import OptionsForm
    from printing.logins import logins
    from printing.prints import claim, send

    before = len(sandbox.printed)
    with logins.session(client.session["user"]) as ezeep:
        (printer,) = [each for each in ezeep.printers.list() if str(each.id) == form["printer"]]
        filled = OptionsForm(ezeep.printers.properties(printer), form | {"copies": "3"})
        assert filled.is_valid()
        for _ in range(2):
            row = claim(filled.cleaned_data["key"], client.session["user"], "made.pdf", printer)
            if row is not None:
                send(row, ezeep, BytesIO(b"%PDF-1.4 made"), printer, filled.options())
    (document,) = sandbox.printed[before:]
    assert (document.content, document.options["copies"]) == (b"%PDF-1.4 made", 3)


def test_errors_are_shown_in_the_form(client, sandbox, form):
    before = len(sandbox.printed)
    response = send(client, form | {"paper": "A7"})
    assert (response.status_code, response.context["form"].errors.keys()) == (400, {"paper"})
    assert len(sandbox.printed) == before


def test_after_a_lost_response_a_person_has_to_look(client, sandbox, form):
    sandbox.faults.add("POST /sfapi/Print/", drop="after")
    assert "It is not known whether the document is printed." in send(client, form).text
    before = len(sandbox.printed)
    assert "Look at the printer before you print again" in send(client, form).text
    assert len(sandbox.printed) == before


def test_an_outage_is_reported(client, sandbox):
    sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
    assert client.get("/groups").headers["Retry-After"] == "3600"


def test_a_login_that_ends_after_a_lost_response_may_have_been_a_change(client, sandbox):
    user = next(iter(sandbox.organization.users.values()))
    group = next(each for each in sandbox.organization.groups if each not in user.groups)
    sandbox.faults.add("PATCH /printing/v1/users/{id}/", drop="after")
    sandbox.faults.add("PATCH /printing/v1/users/{id}/", nth=2, status=401)
    sandbox.faults.add("POST /oauth/access_token/", status=400, body='{"error": "invalid_grant"}')
    response = client.post(f"/groups/{group}/members", {"user_id": str(user.id)})
    assert (response.status_code, b"may have been done" in response.content) == (502, True)
