"""`examples/django_app`: its management commands, and its pages as a browser sees them."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import aiohttp
from helpers.example_servers import EXAMPLES, environment
from yarl import URL

from ezeep_async.sandbox import Sandbox


PREPARE = """
import django, shlex, sys
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("makemigrations", check=True, verbosity=0)
_, command, *emails = sys.argv
if command:
    call_command(*shlex.split(command))
if emails:
    from django.contrib.auth import get_user_model
for email in emails:
    get_user_model().objects.create_user(email.partition("@")[0].lower(), email, "secret")
"""


def prepare(
    sandbox: Sandbox, *emails: str, command: str = "", settings: str = "settings", **env: str
) -> None:
    """Make the tables, run a command of `manage.py`, and make users. The name is the part before the @, the password "secret"."""
    _run(sandbox, ["-c", PREPARE, command, *emails], DJANGO_SETTINGS_MODULE=settings, **env)


def manage(sandbox: Sandbox, *command: str, **env: str) -> str:
    """What `manage.py` prints."""
    return _run(sandbox, ["manage.py", *command], **env)


def _run(sandbox: Sandbox, command: list[str], **env: str) -> str:
    """What a program of the project prints. It reports no errors and no warnings."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=EXAMPLES / "django_app",
        env=environment(sandbox, EZEEP_REDIRECT_URI=str(sandbox.oauth_app.redirect_uri), **env),
        capture_output=True, text=True, check=False, timeout=60,
    )  # shorter than one item a line  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def a_browser(url: str) -> aiohttp.ClientSession:
    """A browser without cookies. "unsafe" are those of hosts without a name."""
    return aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True))


async def go(browser: aiohttp.ClientSession, method: str, path: str, **options) -> aiohttp.ClientResponse:
    """A response of the application. Redirects are returned. Forms have Django's token."""
    token = {cookie.key: cookie.value for cookie in browser.cookie_jar}.get("csrftoken", "")
    async with browser.request(
        method, path, allow_redirects=False, headers={"X-CSRFToken": token}, **options
    ) as response:
        await response.read()
    return response


async def log_in(browser: aiohttp.ClientSession, sandbox: Sandbox, person: str | None = None) -> str:
    """Connect the browser with ezeep. Returns where the site redirects to."""
    begun = await go(browser, "GET", "/login")
    back = URL(sandbox.approve(begun.headers["Location"], user=person)).path_qs
    done = await go(browser, "GET", back)
    assert done.status == 302, await done.text()
    return done.headers["Location"]


async def fields_of(browser: aiohttp.ClientSession, printer: str = "Front desk laser") -> dict[str, str]:
    """The hidden fields of a new form for the printer, and the copies."""
    listed = await (await go(browser, "GET", "/print")).text()
    printers = re.findall(r'<option value="([\w-]+)">(.*?)</option>', listed)
    (printer_id,) = [each for each, name in printers if html.unescape(name) == printer]
    shown = await (await go(browser, "GET", f"/print?printer={printer_id}")).text()
    return {"key": key_in(shown), "printer": printer_id, "copies": "1"}


def key_in(page: str) -> str:
    """The key of the form on a page."""
    (field,) = re.findall(r'<input type="hidden" name="key"[^>]*>', page)
    return re.search(r' value="([\w-]{36})"', field)[1]


async def send(
    browser: aiohttp.ClientSession,
    fields: dict[str, str],
    content: bytes = b"%PDF-1.4 a page",
    name: str = "invoice.pdf",
) -> aiohttp.ClientResponse:
    """Press "Print"."""
    form = aiohttp.FormData(fields)
    form.add_field("document", content, filename=name)
    return await go(browser, "POST", "/print", data=form)


async def page(browser: aiohttp.ClientSession, path: str) -> str:
    """The text of a page."""
    response = await go(browser, "GET", path)
    assert response.status == 200, await response.text()
    return await response.text()
