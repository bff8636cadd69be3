"""`examples/` for web frameworks, on the servers that their users start: log in, list, add a member, print, and errors."""

from __future__ import annotations

import asyncio
import html
import importlib.util
import re
import shlex
import uuid
from pathlib import Path

import aiohttp
import attrs
import pytest
from helpers import documents
from helpers.browser import decide
from helpers.django_site import fields_of, go, manage, page, send
from helpers.example_servers import Server, serving
from helpers.support import sandbox_in_a_thread, until
from yarl import URL

from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(120)]


def command(page: str, mark: str) -> list[str]:
    """The command of a page that starts the server, the last line of the block, on another port."""
    *_, line = documents.marked(page, mark).splitlines()
    program, *options = shlex.split(line.replace("8400", "{port}"))
    return ["-m", program, *options, *(["--no-control-socket"] if program == "gunicorn" else [])]


# The folder, and the servers with what the addresses of groups begin with.
APPLICATIONS = {
    "fastapi": ("fastapi_app", [(command("docs/how-to/fastapi.md", "start"), "")]),
    "django": (
        "django_app",
        [
            (command("docs/how-to/django.md", "start"), ""),
            (command("docs/how-to/django-run.md", "start-asgi"), "/async"),
        ],
    ),
    # "preload" has the worker class and the number of workers of the block "start"
    "flask-gthread": ("flask_app", [(command("docs/how-to/flask.md", "start-gthread"), "")]),
    "flask-preload": ("flask_app", [(command("docs/how-to/flask.md", "start-preload"), "")]),
    "flask-gevent": ("flask_app", [(command("docs/how-to/flask.md", "start-gevent"), "")]),
}
# Not imported here: it changes what a fork does.
GEVENT = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="the dependency group examples is not installed"
)


@attrs.define
class Site:
    """A running application."""

    kind: str
    server: Server
    sandbox: Sandbox
    prefix: str
    """What its addresses of groups begin with."""


def new_form(printer: str) -> aiohttp.FormData:
    """A form as the page of the app has it. Flask does not use the key."""
    return aiohttp.FormData({"printer": printer, "form_key": str(uuid.uuid4())})


async def log_in(site: Site, browser: aiohttp.ClientSession) -> None:
    """As a person does it: through the page of ezeep, and back."""
    begun = await go(browser, "GET", "/login")
    status, location = await decide(begun.headers["Location"])
    assert status == 302, location
    back = await go(browser, "GET", URL(location).path_qs)
    first = {"django": "/print", "aiohttp": "/groups"}.get(
        site.kind, "/"
    )  # the start page, where there is one
    assert (back.status // 100, back.headers.get("Location")) == (3, first), await back.text()


async def a_browser_without_a_login_is_sent_to_log_in(site: Site, browser: aiohttp.ClientSession) -> None:
    response = await go(browser, "GET", f"{site.prefix}/groups")
    assert (response.status // 100, response.headers.get("Location")) == (3, "/login"), site.server.log


async def a_login_that_was_not_begun_here_is_refused(site: Site, browser: aiohttp.ClientSession) -> None:
    response = await go(browser, "GET", "/callback?code=stolen&state=stolen")
    assert response.status == 400
    assert "stolen" not in await response.text()


async def groups_members_and_documents(site: Site, browser: aiohttp.ClientSession) -> None:
    await log_in(site, browser)
    organization = site.sandbox.organization
    listed = await (await go(browser, "GET", f"{site.prefix}/groups")).json()
    assert listed == {str(group.id): group.name for group in organization.groups.values()}
    await go(browser, "GET", "/groups")  # Django sets the cookie against forged forms here
    user, group = next(iter(organization.users)), next(iter(organization.groups))
    organization.users[user].groups.clear()
    added = await go(browser, "POST", f"{site.prefix}/groups/{group}/members", data={"user_id": str(user)})
    assert (added.status, await added.json()) == (200, [str(group)])
    assert organization.users[user].groups == {group}

    if site.kind == "django":
        await a_form_of_django_prints_once(site, browser)
        return
    before = len(site.sandbox.printed)
    form = new_form("Front desk laser")
    form.add_field("document", b"%PDF-1.4 a page", filename="invoice.pdf")
    printed = await go(browser, "POST", "/print", data=form)
    assert printed.status == 202, await printed.text()
    (document,) = site.sandbox.printed[before:]
    assert document.content == b"%PDF-1.4 a page"
    accepted = await printed.json()
    assert accepted["job"] == document.job_id
    status = await go(browser, "GET", URL(accepted["status"], encoded=True))
    assert await status.json() == {"status": "printed", "pages": 1, "ended": True}, site.server.log
    shown = await (await go(browser, "GET", "/print")).text()
    assert re.findall("<option>(.*?)</option>", shown) == [
        html.escape(printer.name) for printer in site.sandbox.printing.printers.values()
    ]
    if site.kind == "fastapi":
        await until(lambda: "pages printed" in site.server.log)
        site.sandbox.faults.add("GET /sfapi/Status/", status=403)
        form = new_form("Front desk laser")
        form.add_field("document", b"%PDF-1.4 a page", filename="invoice.pdf")
        assert (await go(browser, "POST", "/print", data=form)).status == 202
        await until(lambda: "GET /sfapi/Status/: 403" in site.server.log)  # and no traceback


async def a_form_of_django_prints_once(site: Site, browser: aiohttp.ClientSession) -> None:
    """Also if it is sent twice at the same time. test_django_app.py has the other cases."""
    fields, before = await fields_of(browser), len(site.sandbox.printed)
    responses = await asyncio.gather(*(send(browser, fields) for _ in range(3)))
    address = f"/prints/{fields['key']}"
    assert [(each.status, each.headers.get("Location")) for each in responses] == [(302, address)] * 3
    (document,) = site.sandbox.printed[before:]
    assert (document.content, document.alias) == (b"%PDF-1.4 a page", "invoice.pdf")
    assert "The document is printed." in await page(browser, address), site.server.log
    shown = await page(browser, "/print")
    assert re.findall("<option value=.*?>(.*?)</option>", shown) == [
        html.escape(printer.name) for printer in site.sandbox.printing.printers.values()
    ]
    assert "csrfmiddlewaretoken" in shown
    assert "invoice.pdf" in await page(browser, "/prints")


async def values_that_are_wrong_are_errors_of_the_client(site: Site, browser: aiohttp.ClientSession) -> None:
    """No traceback and no 5xx, whatever a person types or uploads."""
    await log_in(site, browser)
    await go(browser, "GET", "/groups")
    group, unknown = next(iter(site.sandbox.organization.groups)), "00000000-0000-4000-8000-000000000000"
    members = f"{site.prefix}/groups/{group}/members"
    for fields, expected in (
        ({"user_id": unknown}, {404}),
        ({"user_id": "jane"}, {400, 422}),
        ({}, {400, 422}),
    ):
        response = await go(browser, "POST", members, data=fields)
        assert response.status in expected, (fields, site.server.log)
    if site.kind == "django":  # the form shows the error
        form = await fields_of(browser)
        for name, content in (("a.pdf", b""), ("a.exe", b"MZ"), ("a.pdf", b"%PDF-1.4" + b"x" * 5000)):
            assert (await send(browser, form, content, name)).status == 400, (name, site.server.log)
        assert (await send(browser, form | {"printer": unknown})).status == 404
        return
    for printer, name, content, status in (
        ("Twin", "a.pdf", b"%PDF-1.4", 409),
        ("No such printer", "a.pdf", b"%PDF-1.4", 404),
        ("Front desk laser", "a.pdf", b"", 400),
        ("Front desk laser", "a.exe", b"MZ", 400),
        ("Front desk laser", "a.pdf", b"%PDF-1.4" + b"x" * 5000, 413),
    ):
        form = new_form(printer)
        form.add_field("document", content, filename=name)
        assert (await go(browser, "POST", "/print", data=form)).status == status, (name, site.server.log)


async def errors_have_their_status(site: Site, browser: aiohttp.ClientSession) -> None:
    await log_in(site, browser)
    address = f"{site.prefix}/groups"
    site.sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
    busy = await go(browser, "GET", address)
    assert (busy.status, busy.headers["Retry-After"]) == (503, "3600")
    site.sandbox.faults.add("GET /printing/v1/groups/", status=403)
    assert (await go(browser, "GET", address)).status == 403
    assert (await go(browser, "GET", address)).status == 200
    await go(browser, "GET", "/groups")  # Django's token for forms
    if site.kind == "django":
        form = await fields_of(browser)
        site.sandbox.faults.add("POST /sfapi/Print/", drop="after")
        lost = await send(browser, form, name="once.pdf")
        shown = await page(browser, lost.headers["Location"])
        assert "It is not known whether the document is printed." in shown, site.server.log
        return
    site.sandbox.faults.add("POST /sfapi/Print/", status=400, body='{"jobstatus": 3011}')
    form = new_form("Front desk laser")
    form.add_field("document", b"%PDF-1.4 refused", filename="refused.pdf")
    refused = await go(browser, "POST", "/print", data=form)
    assert (refused.status, "Not printed: " in await refused.text()) == (502, True), site.server.log
    site.sandbox.faults.add("POST /sfapi/Print/", drop="after")
    form = new_form("Front desk laser")
    form.add_field("document", b"%PDF-1.4 once", filename="once.pdf")
    lost = await go(browser, "POST", "/print", data=form)
    assert (lost.status, "It may have been done." in await lost.text()) == (502, True), site.server.log


async def a_login_that_has_ended_begins_again(site: Site, browser: aiohttp.ClientSession) -> None:
    await log_in(site, browser)
    site.sandbox.expire_access_tokens()
    site.sandbox.faults.add(
        "POST /oauth/access_token/", status=400, body='{"error": "invalid_grant"}', times=None
    )
    response = await go(browser, "GET", f"{site.prefix}/groups")
    assert (response.status // 100, response.headers.get("Location")) == (3, "/login"), site.server.log
    site.sandbox.faults.clear()
    await log_in(site, browser)
    assert (await go(browser, "GET", f"{site.prefix}/groups")).status == 200


STEPS = (
    a_browser_without_a_login_is_sent_to_log_in,
    a_login_that_was_not_begun_here_is_refused,
    a_login_that_has_ended_begins_again,
    groups_members_and_documents,
    values_that_are_wrong_are_errors_of_the_client,
    errors_have_their_status,
)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=GEVENT) if kind == "flask-gevent" else kind for kind in APPLICATIONS]
)
async def test_an_application(kind: str, tmp_path: Path) -> None:
    """One server for all steps, and one database for all servers: a start takes a second."""
    folder, servers = APPLICATIONS[kind]
    places = {
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'app.db'}",
        "DATABASE": str(tmp_path / "db.sqlite3"),
        "LOGINS": str(tmp_path / "logins"),
        "LARGEST_DOCUMENT": "4999",
    }
    with sandbox_in_a_thread(job_seconds=0.0) as sandbox:
        for _ in range(2):
            sandbox.printing.add_printer("Twin")
        if kind == "django":
            manage(sandbox, "migrate", **places)
        for command, prefix in servers:
            with serving(folder, command, sandbox, tmp_path, **places) as server:
                site = Site(kind, server, sandbox, prefix)
                for step in STEPS:
                    jar = aiohttp.CookieJar(unsafe=True)  # "unsafe" are cookies of hosts without a name
                    async with aiohttp.ClientSession(server.url, cookie_jar=jar) as browser:
                        await step(site, browser)
                server.stop()
                assert "code=" not in server.log
                assert ("GET /callback HTTP" in server.log) is (kind == "fastapi")  # its access log is on
        if kind == "django":
            people = sandbox.organization.people.items()
            user = next(key for key, person in people if person.email == SANDBOX_ADMIN)
            assert "members" in manage(sandbox, "ezeep_groups", str(user), **places)
