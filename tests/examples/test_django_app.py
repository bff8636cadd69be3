"""`examples/django_app` on two worker processes: no form prints twice, and what is not known is shown as such."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import attrs
import pytest
from helpers.django_site import a_browser, fields_of, go, key_in, log_in, page, prepare, send
from helpers.example_servers import FAULT, LISTENING, LOST, Server, serving
from helpers.support import sandbox_in_a_thread

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(120)]

PRINT = "POST /sfapi/Print/"
STATUS = "GET /sfapi/Status/"
REFRESH = '<meta http-equiv="refresh" content="2">'
SENDING = "The document is being sent to ezeep."
ACCEPTED = "ezeep has accepted the document."
PRINTED = "The document is printed."
FAILED = "The document was not printed."
UNKNOWN = "It is not known whether the document is printed."
EXPECTED = re.compile(f"was sent SIGKILL|{LOST}|{LISTENING.pattern}")
"""Lines of the log: of killed workers, of lost responses, and of the listening socket that gunicorn leaves open."""
ATOMIC = 'from settings import *\nDATABASES["default"]["ATOMIC_REQUESTS"] = True\n'
"""Settings of a project whose views are transactions."""
LOOK = "Look at the printer before you print again: Front desk laser, Ground floor."


@attrs.frozen
class Site:
    """The running project."""

    server: Server
    sandbox: Sandbox
    database: Path

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.server.process.pid)],
            capture_output=True, text=True, check=True,
        )  # shorter than one item a line  # fmt: skip
        return [int(each) for each in listed.stdout.split()]

    def earlier(self, minutes: int) -> None:
        """All prints began so many minutes earlier."""
        with contextlib.closing(sqlite3.connect(self.database)) as database, database:
            database.execute(f"UPDATE printing_print SET started = datetime(started, '-{minutes} minutes')")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("django")
    database = folder / "db.sqlite3"
    (folder / "settings_atomic.py").write_text(ATOMIC)
    env = {
        "DATABASE": str(database), "LARGEST_DOCUMENT": "4999",
        "PYTHONPATH": str(folder), "DJANGO_SETTINGS_MODULE": "settings_atomic",
    }  # shorter than one item a line  # fmt: skip
    command = ["-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "2", "--no-control-socket"]
    with sandbox_in_a_thread(job_seconds=0.0) as sandbox:
        prepare(
            sandbox,
            settings=env["DJANGO_SETTINGS_MODULE"],
            **{name: env[name] for name in env if "SETTINGS" not in name},
        )
        with serving(
            "django_app", [*command, "--timeout", "120", "wsgi:application"], sandbox, folder, **env
        ) as server:
            yield Site(server, sandbox, database)
            server.process.terminate()
            assert server.process.wait(30) == 0
            faults = [line for line in server.log.splitlines() if FAULT.search(line)]
            assert [line for line in faults if not EXPECTED.search(line)] == []


@pytest.fixture
async def browser(site: Site):
    """Its user has signed in."""
    site.sandbox.faults.clear()
    async with a_browser(site.server.url) as opened:
        assert await log_in(opened, site.sandbox) == "/print"
        yield opened


async def test_the_form_offers_what_the_printer_has(site: Site, browser: aiohttp.ClientSession) -> None:
    fields = await fields_of(browser, "Warehouse label")
    shown = await page(browser, f"/print?printer={fields['printer']}")
    assert re.findall(r'<(?:select|input)[^>]* id="id_(\w+)"', shown) == [
        "choice", "document", "copies", "paper", "orientation", "key", "printer",
    ]  # neither color nor two sides  # fmt: skip
    assert '<option value="Label">' in shown
    fields = await fields_of(browser)
    chosen = {
        "copies": "2", "paper": "A4", "color": "no", "duplex": "long-edge", "orientation": "landscape",
    }  # shorter than one item a line  # fmt: skip
    assert (await send(browser, fields | chosen)).status == 302
    options = site.sandbox.printed[-1].options
    assert (options["copies"], options["color"], options["orientation"]) == (2, False, 2)
    assert (options["duplexmode"], options["paper"]) == (2, "A4")
    await send(browser, await fields_of(browser))
    assert site.sandbox.printed[-1].options == {"copies": 1}


@pytest.mark.parametrize(
    ("changed", "content", "name", "shown"),
    [
        ({}, b"", "a.pdf", "The submitted file is empty."),
        ({}, b"MZ", "a.exe", "ezeep prints files of these types: "),
        ({}, b"x" * 5000, "a.pdf", "The document has more than 4,999 bytes."),
        ({"copies": "0"}, b"x", "a.pdf", "greater than or equal to 1"),
        ({"paper": "A7"}, b"x", "a.pdf", "A7 is not one of the available choices."),
        ({"color": "blue"}, b"x", "a.pdf", "blue is not one of the available choices."),
        ({"key": "1"}, b"x", "a.pdf", "Enter a valid UUID."),
        ({"printer": "1"}, b"x", "a.pdf", "You have no such printer."),
    ],
)
async def test_errors_are_shown_in_the_form(
    site: Site, browser: aiohttp.ClientSession, changed: dict, content: bytes, name: str, shown: str
) -> None:
    before = len(site.sandbox.printed)
    response = await send(browser, (await fields_of(browser)) | changed, content, name)
    assert response.status == (404 if "printer" in changed else 400)
    text = html.unescape(await response.text())
    assert re.search(f'class="errorlist.*{shown}', text, re.DOTALL), text
    assert len(site.sandbox.printed) == before


async def test_a_refused_job_is_shown_in_the_form_with_a_new_key(
    site: Site, browser: aiohttp.ClientSession
) -> None:
    fields = await fields_of(browser)
    site.sandbox.faults.add(PRINT, status=400, code=804)
    response = await send(browser, fields)
    text = await response.text()
    assert (response.status, "the print service refused the job" in text) == (400, True)
    again = fields | {"key": key_in(text)}
    assert again["key"] != fields["key"]
    before = len(site.sandbox.printed)
    assert (await send(browser, fields)).headers["Location"] == f"/prints/{fields['key']}"
    assert FAILED in await page(browser, f"/prints/{fields['key']}")
    assert len(site.sandbox.printed) == before
    assert (await send(browser, again)).status == 302
    assert len(site.sandbox.printed) == before + 1


async def test_two_workers_print_a_form_once(site: Site, browser: aiohttp.ClientSession) -> None:
    """And two tabs that show the same form. One request is held, so the other one is at another process."""
    fields, before = await fields_of(browser), len(site.sandbox.printed)
    hold = site.sandbox.faults.hold(PRINT)
    address = f"/prints/{fields['key']}"
    async with asyncio.TaskGroup() as group:
        first = group.create_task(send(browser, fields))
        await hold.arrived()
        second = await send(browser, fields)
        assert (second.status, second.headers["Location"]) == (302, address)
        shown = await page(browser, address)
        assert SENDING in shown
        assert REFRESH in shown
        hold.release()
    assert (first.result().status, first.result().headers["Location"]) == (302, address)
    shown = await page(browser, address)
    assert PRINTED in shown
    assert REFRESH not in shown
    assert (await send(browser, fields)).headers["Location"] == address  # the button "Back", and "Print"
    assert len(site.sandbox.printed) == before + 1
    await send(browser, await fields_of(browser))  # a tab with a form of its own
    assert len(site.sandbox.printed) == before + 2


async def test_parallel_requests_print_a_form_once(site: Site, browser: aiohttp.ClientSession) -> None:
    for _ in range(5):
        fields, before = await fields_of(browser), len(site.sandbox.printed)
        responses = await asyncio.gather(*(send(browser, fields) for _ in range(4)))
        assert {response.headers["Location"] for response in responses} == {f"/prints/{fields['key']}"}
        assert len(site.sandbox.printed) == before + 1


async def test_a_double_click(site: Site, browser: aiohttp.ClientSession) -> None:
    """The browser gives the first request up, and shows the response to the second one."""
    fields, before = await fields_of(browser), len(site.sandbox.printed)
    hold = site.sandbox.faults.hold(PRINT)
    first = asyncio.create_task(send(browser, fields))
    await hold.arrived()
    first.cancel()
    second = await send(browser, fields)
    assert SENDING in await page(browser, second.headers["Location"])
    hold.release()
    while SENDING in (shown := await page(browser, second.headers["Location"])):
        await asyncio.sleep(0.01)
    assert PRINTED in shown
    assert len(site.sandbox.printed) == before + 1


async def test_a_killed_worker_leaves_a_print_that_is_not_known(
    site: Site, browser: aiohttp.ClientSession
) -> None:
    """SIGKILL, when ezeep has made the job, and the worker has not stored its id."""
    fields, before = await fields_of(browser), len(site.sandbox.printed)
    hold = site.sandbox.faults.hold(PRINT, after=True)
    request = asyncio.create_task(send(browser, fields))
    await hold.arrived()
    for worker in site.workers():
        os.kill(worker, signal.SIGKILL)
    with pytest.raises(aiohttp.ClientError):
        await request
    hold.release()
    again = await send(browser, fields)
    assert (again.status, again.headers["Location"]) == (302, f"/prints/{fields['key']}")
    assert SENDING in await page(browser, again.headers["Location"])
    site.earlier(minutes=3)
    shown = await page(browser, again.headers["Location"])
    assert UNKNOWN in shown
    assert LOOK in shown
    assert REFRESH.replace("2", "30") in shown  # a slow worker would still store the outcome
    assert UNKNOWN in await page(browser, "/prints")
    site.earlier(minutes=60)
    assert 'http-equiv="refresh"' not in await page(browser, again.headers["Location"])
    await send(browser, fields)
    assert len(site.sandbox.printed) == before + 1


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_a_lost_response_is_not_known(site: Site, browser: aiohttp.ClientSession, drop: str) -> None:
    fields, before = await fields_of(browser), len(site.sandbox.printed)
    site.sandbox.faults.add(PRINT, drop=drop)
    response = await send(browser, fields)
    shown = await page(browser, response.headers["Location"])
    assert UNKNOWN in shown
    assert LOOK in shown
    assert REFRESH not in shown
    await send(browser, fields)
    assert len(site.sandbox.printed) == before + (drop == "after")


async def test_the_page_of_a_print_follows_it(site: Site, browser: aiohttp.ClientSession) -> None:
    site.sandbox.printing.script(3011)
    printed = await send(browser, await fields_of(browser))
    address = printed.headers["Location"]
    site.sandbox.faults.add(STATUS, status=503, retry_after=3600.0)
    shown = await page(browser, address)
    assert ACCEPTED in shown
    assert "ezeep does not respond. This page asks again." in shown
    assert REFRESH in shown
    site.sandbox.faults.clear()
    for _ in range(2):  # the second time from the database
        shown = await page(browser, address)
        assert FAILED in shown
        assert "failed: print the document again" in shown
        assert REFRESH not in shown
    assert FAILED in await page(browser, "/prints")
    site.sandbox.printing.script(2)  # perhaps it was printed, and ezeep has forgotten the job
    printed = await send(browser, await fields_of(browser))
    shown = await page(browser, printed.headers["Location"])
    assert UNKNOWN in shown
    assert "the print service does not know the job" in shown


async def test_a_pull_queue_waits_for_a_person(site: Site, browser: aiohttp.ClientSession) -> None:
    printed = await send(browser, await fields_of(browser, "Pull queue"))
    shown = await page(browser, printed.headers["Location"])
    assert "It waits for you. Release it at the printer: Pull queue." in shown
    assert REFRESH not in shown
    fields = await fields_of(browser, "Pull queue")
    site.sandbox.faults.add(PRINT, drop="after")
    shown = await page(browser, (await send(browser, fields)).headers["Location"])
    assert "The document may be one of those that wait for you there." in shown


async def test_an_outage_is_no_print(site: Site, browser: aiohttp.ClientSession) -> None:
    fields, before = await fields_of(browser), len(site.sandbox.printed)
    site.sandbox.faults.add(PRINT, status=503, retry_after=3600.0)
    response = await send(browser, fields)
    assert (response.status, response.headers["Retry-After"]) == (503, "3600")
    site.sandbox.faults.clear()
    assert FAILED in await page(browser, (await send(browser, fields)).headers["Location"])
    assert len(site.sandbox.printed) == before


async def test_prints_belong_to_their_user(site: Site, browser: aiohttp.ClientSession) -> None:
    fields = await fields_of(browser)
    address = (await send(browser, fields, name="salaries.pdf")).headers["Location"]
    assert "salaries.pdf" in await page(browser, "/prints")
    others = [person.email for person in site.sandbox.organization.people.values()]
    async with a_browser(site.server.url) as other:
        assert (await go(other, "GET", address)).headers["Location"] == "/login"
        await log_in(other, site.sandbox, others[-1])
        assert (await go(other, "GET", address)).status == 404
        assert "salaries.pdf" not in await page(other, "/prints")
        before = len(site.sandbox.printed)
        form = await fields_of(other)
        assert (await send(other, form | {"key": fields["key"]})).headers["Location"] == address
        assert (await go(other, "GET", address)).status == 404
        assert len(site.sandbox.printed) == before


async def test_a_refresh_is_no_part_of_the_transaction_of_the_request(
    site: Site, browser: aiohttp.ClientSession
) -> None:
    """The project has `ATOMIC_REQUESTS`, and the web session is read and written meanwhile."""
    refreshes = site.sandbox.count("POST /oauth/access_token/")
    site.sandbox.expire_access_tokens()
    assert (await send(browser, await fields_of(browser))).status == 302
    assert site.sandbox.count("POST /oauth/access_token/") == refreshes + 1


async def test_a_sign_out_revokes_the_login(site: Site, browser: aiohttp.ClientSession) -> None:
    await page(browser, "/print")
    before = site.sandbox.count("POST /oauth/revoke/")
    session = {each.key: each.value for each in browser.cookie_jar}["sessionid"]
    assert (await go(browser, "POST", "/logout")).status == 200
    assert site.sandbox.count("POST /oauth/revoke/") == before + 1
    async with aiohttp.ClientSession(site.server.url, cookies={"sessionid": session}) as thief:
        for each in (browser, thief):
            for path in ("/print", "/prints", "/groups"):
                assert (await go(each, "GET", path)).headers["Location"] == "/login"
    refused = await send(browser, {"copies": "1"})
    assert (refused.status, "Location" in refused.headers) == (401, False)
    assert '<a href="/login">Sign in</a>' in await refused.text()
