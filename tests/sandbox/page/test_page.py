"""The page for people: what it shows, what it hides, its buttons, its documents and its events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import attrs
import pytest

from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.page.actions import ACTIONS


PDF = b"%PDF-1.4 /Type /Page"


@attrs.define
class Reader:
    """A person who reads the page, and an application that prints."""

    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def get(self, path: str = "/") -> aiohttp.ClientResponse:
        async with self.session.get(self.sandbox.endpoints.account + path) as response:
            await response.read()
            return response

    async def text(self, path: str = "/") -> str:
        return await (await self.get(path)).text()

    async def press(self, action: str, token: str | None = None, **fields: str) -> int:
        token = re.findall(r'name="token" value="([^"]+)"', await self.text())[0] if token is None else token
        url = self.sandbox.endpoints.account + "/sandbox/actions"
        data = {"token": token, "action": action, **fields}
        async with self.session.post(url, data=data, allow_redirects=False) as response:
            return response.status

    async def print(self, data: bytes = PDF, printer: int = 0, **fields: object) -> int:
        bearer = {"Authorization": f"Bearer {self.sandbox.tokens().access_token}"}
        base = f"{self.sandbox.endpoints.print}/sfapi"
        async with self.session.get(f"{base}/PrepareUpload/", headers=bearer) as response:
            upload = await response.json()
        headers = {"x-ms-blob-type": "BlockBlob"}
        async with self.session.put(upload["sasUri"], data=data, headers=headers) as response:
            assert response.status == 201
        printer_id = str([*self.sandbox.printing.printers][printer])
        body = {"fileid": upload["fileid"], "type": "pdf", "printerid": printer_id, **fields}
        async with self.session.post(f"{base}/Print/", json=body, headers=bearer) as response:
            return response.status


@pytest.fixture
async def reader(session: aiohttp.ClientSession) -> AsyncIterator[Reader]:
    async with Sandbox(page=True) as sandbox:
        yield Reader(sandbox, session)


async def test_it_is_an_option(server: Sandbox, session: aiohttp.ClientSession):
    """Without it the paths do not exist."""
    reader = Reader(server, session)
    for path in ("/", "/sandbox/events", "/sandbox/documents/0"):
        assert (await reader.get(path)).status == 404
    server.requests.clear()


async def test_what_it_shows(reader: Reader):
    sandbox = reader.sandbox
    group = next(iter(sandbox.organization.groups.values()))
    next(iter(sandbox.printing.printers.values())).groups.append(group.id)
    await reader.print(alias="invoice 7.pdf", properties={"copies": 2, "color": False})
    await reader.print(printer=1, alias="payslip.pdf")
    sandbox.clock.advance(60)
    sandbox.faults.add("GET /v1/users/me/", status=503)
    sandbox.printing.script(3011)
    text = await reader.text()
    for part in (
        *(printer.name for printer in sandbox.printing.printers.values()),
        *(each.name for each in sandbox.organization.groups.values()),
        "invoice 7.pdf",
        "copies 2, color no",
        "printed",
        "waiting",
        "Prints on Front desk laser.",
        "GET /v1/users/me/",
        "a print job ends with 3011",
        "POST /sfapi/Print/",
        *attrs.astuple(sandbox.endpoints),
    ):
        assert part in text
    member = sandbox.organization.listed_members(group.id)[0]
    assert sandbox.organization.people[member.id].email in text


async def test_it_hides_secrets(reader: Reader):
    """Tokens, signatures, and what else could be one, in headers and addresses."""
    await reader.print()
    sandbox = reader.sandbox
    token = sandbox.tokens().access_token
    headers = {"Authorization": f"Bearer {token}", "Cookie": "session=abc-secret", "X-Key": "own-secret"}
    url = sandbox.endpoints.account + "/v1/users/me/?code=query-secret&limit=5"
    async with reader.session.get(url, headers=headers) as response:
        assert response.status == 200
    text = await reader.text()
    assert "/v1/users/me/?code=(redacted)&amp;limit=5" in text
    assert "Bearer (redacted)" in text
    for secret in (token, "abc-secret", "own-secret", "query-secret"):
        assert secret not in text
    (signature,) = [each.query["sig"] for each in sandbox.requests if "sig" in each.query]
    assert signature not in text
    sandbox.storage.leaks.clear()


async def test_its_own_requests_are_not_recorded(reader: Reader):
    await reader.text()
    await reader.press("clear")
    assert reader.sandbox.requests == []


async def test_names_are_escaped(reader: Reader):
    reader.sandbox.organization.add_group("<script>alert(1)</script>")
    reader.sandbox.printing.add_printer("<b>fat</b>")
    await reader.print(alias='<img src=x onerror="x">', printer=-1, properties={"paper": "<i>"})
    text = await reader.text()
    for wrong in ("<script>alert", "<b>fat", "<img", "<i>"):
        assert wrong not in text
    assert "&lt;b&gt;fat" in text


async def test_headers(reader: Reader):
    """Nothing is loaded from elsewhere, and no other page can frame it."""
    response = await reader.get()
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    text = await response.text()
    nonces = set(re.findall(r'nonce="([^"]+)"', text))
    assert len(nonces) == 1
    assert f"'nonce-{nonces.pop()}'" in policy
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("file_type", "content_type", "disposition"),
    [
        ("pdf", "application/pdf", "inline"),
        ("txt", "text/plain", "inline"),
        ("html", "text/plain", "inline"),
        ("png", "image/png", "inline"),
        ("docx", "application/octet-stream", "attachment"),
    ],
)
async def test_documents(reader: Reader, file_type: str, content_type: str, disposition: str):
    """Nothing in them runs in the browser."""
    await reader.print(b"the document", type=file_type, alias="ä.x")
    response = await reader.get("/sandbox/documents/0")
    assert (response.status, await response.text(), response.content_type) == (
        200,
        "the document",
        content_type,
    )
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] == f"{disposition}; filename*=UTF-8''%C3%A4.x"
    for wrong in ("1", "-1", "x", "", "²"):
        assert (await reader.get(f"/sandbox/documents/{wrong}")).status == 404


async def test_buttons(reader: Reader):
    """Each does something, and the last one undoes what is waiting."""
    for name in ACTIONS:
        assert await reader.press(name) == 303
        if name not in {"clear", "expire-tokens", "expire-uploads", "end-logins"}:
            assert reader.sandbox.faults.pending or reader.sandbox.printing.pending_outcomes
    assert reader.sandbox.faults.pending == []
    assert reader.sandbox.printing.pending_outcomes == []


async def test_expiry_by_button(reader: Reader, client_for):
    tokens = reader.sandbox.tokens()
    client = client_for(reader.sandbox)
    assert await client.works(tokens.access_token)
    await reader.press("expire-tokens")
    assert not await client.works(tokens.access_token)


async def test_the_end_of_all_logins_by_button(reader: Reader, client_for):
    """Access tokens and refresh tokens are refused. A new login works."""
    tokens, client = reader.sandbox.tokens(), client_for(reader.sandbox)
    assert await reader.press("end-logins") == 303
    assert not await client.works(tokens.access_token)
    status, error = await client.refresh(tokens.refresh_token)
    assert (status, error["error"]) == (400, "invalid_grant")
    assert await client.works(reader.sandbox.tokens().access_token)


async def test_a_button_from_a_program(reader: Reader):
    """The header replaces the value of the page. A browser that asks whether another site may send it gets a refusal."""
    url = reader.sandbox.endpoints.account + "/sandbox/actions"
    header, data = {"X-Ezeep-Sandbox": "1"}, {"action": "users-503"}
    for headers, status in (({}, 403), (header, 303)):
        async with reader.session.post(url, data=data, headers=headers, allow_redirects=False) as response:
            assert response.status == status
    assert len(reader.sandbox.faults.pending) == 1
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Headers": "x-ezeep-sandbox"}
    async with reader.session.options(url, headers=asked) as response:
        assert response.status == 405
        assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_a_fault_by_button(reader: Reader):
    await reader.press("print-refused")
    assert "POST /sfapi/Print/" in await reader.text()
    assert await reader.print() == 400
    assert await reader.print() == 200
    await reader.press("job-fails")
    await reader.print()
    assert reader.sandbox.printing.jobs[reader.sandbox.printed[-1].job_id].outcome.final == 3011


async def test_buttons_of_other_pages(reader: Reader):
    """Without the value of the page, and with a name that does not exist."""
    assert await reader.press("expire-tokens", token="") == 403
    assert await reader.press("expire-tokens", token="guessed") == 403
    assert await reader.press("nothing") == 404
    url = reader.sandbox.endpoints.account + "/sandbox/actions"
    async with reader.session.get(url) as response:
        assert response.status == 405
    async with reader.session.get(
        reader.sandbox.endpoints.account, headers={"Host": "evil.example"}
    ) as response:
        assert response.status == 421


async def test_release(reader: Reader):
    await reader.print(printer=1)
    (job,) = reader.sandbox.printing.jobs.values()
    assert job.queued
    assert await reader.press("release", job="0") == 303
    assert not job.queued
    for wrong in ("0", "1", "x"):
        assert await reader.press("release", job=wrong) == 404


async def next_event(response: aiohttp.ClientResponse) -> tuple[str, str]:
    """Name and data of the next server-sent event."""
    lines: list[str] = []
    async with asyncio.timeout(10):
        while line := (await response.content.readline()).decode().rstrip("\n"):
            lines.append(line)
    assert lines[0].startswith("event: ")
    return lines[0].removeprefix("event: "), "\n".join(line.removeprefix("data: ") for line in lines[1:])


async def test_events(reader: Reader):
    """All parts first, then those that changed."""
    async with reader.session.get(reader.sandbox.endpoints.account + "/sandbox/events") as response:
        assert response.content_type == "text/event-stream"
        first = [(await next_event(response))[0] for _ in range(5)]
        assert first == ["summary", "printers", "groups", "faults", "requests"]
        reader.sandbox.organization.add_group("New\nname")
        assert (await next_event(response))[0] == "summary"
        name, part = await next_event(response)
        assert name == "groups"
        assert "New\nname" in part


async def test_closing_with_an_open_page(session: aiohttp.ClientSession):
    before = asyncio.all_tasks()
    async with Sandbox(users=1, page=True) as sandbox:
        response = await session.get(sandbox.endpoints.account + "/sandbox/events")
        await next_event(response)
    response.close()
    assert asyncio.all_tasks() == before


async def test_a_closed_page_leaves_nothing(session: aiohttp.ClientSession):
    async with Sandbox(users=1, page=True) as sandbox:
        response = await session.get(sandbox.endpoints.account + "/sandbox/events")
        await next_event(response)
        response.close()
        async with asyncio.timeout(10):
            while sandbox._tasks:
                await asyncio.sleep(0.01)


async def test_nothing_was_printed(session: aiohttp.ClientSession):
    async with Sandbox(users=0, groups=0, printers=0, page=True) as sandbox:
        text = await Reader(sandbox, session).text()
        for sentence in (
            "There is no printer.",
            "There is no group.",
            "There was no request.",
            "No fault is waiting.",
        ):
            assert sentence in text


async def test_a_token_that_is_not_ascii(reader: Reader):
    assert await reader.press("expire-tokens", token="\u00e9") == 403


async def test_a_number_that_is_too_long(reader: Reader):
    assert (await reader.get(f"/sandbox/documents/{'9' * 5000}")).status == 404


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded; charset=odd",
    ],
)
async def test_a_form_that_cannot_be_read(reader: Reader, kind: str):
    url = reader.sandbox.endpoints.account + "/sandbox/actions"
    async with reader.session.post(url, data=b"token=x", headers={"Content-Type": kind}) as response:
        assert response.status == 400
