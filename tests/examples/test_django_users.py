"""`examples/django_app` with users of its own (settings_users.py): no user gets the login of another one."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import attrs
import pytest
from helpers import documents
from helpers.django_site import a_browser, fields_of, go, log_in, page, prepare, send
from helpers.example_servers import serving
from helpers.support import sandbox_in_a_thread
from yarl import URL

from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(120)]

REVOKE = "POST /oauth/revoke/"


@attrs.frozen
class Site:
    """The running project. The users are people of ezeep with the same e-mail addresses."""

    url: str
    sandbox: Sandbox
    database: Path
    emails: tuple[str, str]

    def logins(self) -> list[str]:
        """The keys of the stored logins: primary keys of users."""
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return [key for (key,) in database.execute("SELECT key FROM ezeep_tokens ORDER BY key")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("users")
    database = folder / "db.sqlite3"
    settings, migrate, create, start = documents.marked("docs/how-to/django-users.md", "users").splitlines()
    assert settings == "export DJANGO_SETTINGS_MODULE=settings_users"
    assert (migrate, SANDBOX_ADMIN in create) == ("python manage.py migrate", True)
    command = ["-m", *start.replace("8400", "{port}").split(), "--no-control-socket"]
    env = {"DATABASE": str(database), "DJANGO_SETTINGS_MODULE": "settings_users"}
    with sandbox_in_a_thread(job_seconds=0.0) as sandbox:
        first, *_, last = [person.email for person in sandbox.organization.people.values()]
        prepare(
            sandbox, first, last.upper(),
            command=f"{create.partition('manage.py ')[2]} --noinput", settings="settings_users",
            DATABASE=str(database), DJANGO_SUPERUSER_PASSWORD="secret",
        )  # shorter than one item a line  # fmt: skip
        with serving("django_app", command, sandbox, folder, **env) as server:
            yield Site(server.url, sandbox, database, (first, last))
            server.stop()


async def sign_in(browser: aiohttp.ClientSession, email: str) -> None:
    """Sign in to the site itself."""
    shown = await page(browser, "/accounts/login")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown)[1]
    fields = {"username": email.partition("@")[0], "password": "secret", "csrfmiddlewaretoken": token}
    assert (await go(browser, "POST", "/accounts/login", data=fields)).headers["Location"] == "/print"


async def test_each_user_has_a_login(running: Site) -> None:
    """A print has the login of its user. The end of one login leaves the others."""
    sandbox, (first, second) = running.sandbox, running.emails
    async with a_browser(running.url) as one, a_browser(running.url) as other:
        addresses = []
        for browser, email in ((one, first), (other, second)):
            assert (await go(browser, "GET", "/print")).headers["Location"] == "/login"
            assert (await go(browser, "GET", "/login")).headers["Location"] == "/accounts/login?next=/login"
            await sign_in(browser, email)
            assert (await go(browser, "GET", "/print")).headers["Location"] == "/login"
            assert await log_in(browser, sandbox, email) == "/print"
            addresses.append((await send(browser, await fields_of(browser))).headers["Location"])
            assert sandbox.printed[-1].user.email == email
        assert running.logins() == ["2", "3"]
        for browser, own, foreign in ((one, 0, 1), (other, 1, 0)):
            assert "The document is printed." in await page(browser, addresses[own])
            assert (await go(browser, "GET", addresses[foreign])).status == 404
            assert (await page(browser, "/prints")).count("invoice.pdf") == 1
        revoked = sandbox.count(REVOKE)
        assert (await go(one, "POST", "/disconnect")).status == 200
        assert (sandbox.count(REVOKE), running.logins()) == (revoked + 1, ["3"])
        assert (await go(one, "GET", "/print")).headers["Location"] == "/login"
        await send(other, await fields_of(other))
        assert sandbox.printed[-1].user.email == second
        await go(other, "POST", "/disconnect")


async def test_users_who_share_a_browser(running: Site) -> None:
    """A login that one began is not completed by the other, and that of the other is not taken over."""
    sandbox, (first, second) = running.sandbox, running.emails
    async with a_browser(running.url) as browser:
        await sign_in(browser, first)
        begun = await go(browser, "GET", "/login")
        session = {each.key: each.value for each in browser.cookie_jar}["sessionid"]
        assert (await go(browser, "POST", "/logout")).headers["Location"] == "/accounts/login"
        async with aiohttp.ClientSession(running.url, cookies={"sessionid": session}) as thief:
            assert (await go(thief, "GET", "/login")).headers["Location"].startswith("/accounts/login")
        await sign_in(browser, second)
        back = URL(sandbox.approve(begun.headers["Location"], user=first)).path_qs
        refused = await go(browser, "GET", back)
        assert (refused.status, running.logins()) == (400, [])
        assert (await go(browser, "GET", "/print")).headers["Location"] == "/login"

        begun, revoked = await go(browser, "GET", "/login"), sandbox.count(REVOKE)
        back = URL(
            sandbox.approve(begun.headers["Location"], user=first)
        ).path_qs  # ezeep remembers the first
        refused = await go(browser, "GET", back)
        assert (refused.status, await refused.text()) == (
            403,
            f"At ezeep you are {first}. Sign out there first.",
        )
        assert (running.logins(), sandbox.count(REVOKE)) == ([], revoked + 1)

        await log_in(browser, sandbox, second)
        await go(browser, "POST", "/logout")
        await sign_in(browser, first)
        assert running.logins() == ["3"]
        assert (await go(browser, "GET", "/print")).headers["Location"] == "/login"
        for path in ("/print", "/prints", "/groups"):
            shown = await go(browser, "GET", path)
            assert shown.headers.get("Location") == ("/login" if path != "/prints" else None)
