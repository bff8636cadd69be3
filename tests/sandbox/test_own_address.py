"""The sandbox responds at its own address only: a page elsewhere cannot use it through another host name."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from helpers.browser import _Form

from ezeep_async.sandbox import Sandbox


USERS = "/printing/v1/users/"
ME = "/v1/users/me/"


def port_of(server: Sandbox, path: str) -> int:
    origin = server.endpoints.api if path == USERS else server.endpoints.account
    port = urlsplit(origin).port
    assert port is not None
    return port


async def send(port: int, *lines: str) -> int:
    """Send a request line by line, and return the status of its response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


@pytest.mark.parametrize("path", [USERS, ME])
@pytest.mark.parametrize(
    "host",
    [
        "rebound.example.com:{port}",
        "rebound.example.com",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:1",
        "127.0.0.1:{port}.example.com",
        "localhost.:{port}",
        "127.0.0.1:{port}@example.com",
        "example.com@127.0.0.1:{port}",
        "127.1:{port}",
        "0.0.0.0:{port}",
        "",
    ],
)
async def test_a_request_to_another_host_is_misdirected(
    server: Sandbox, client, path: str, host: str
) -> None:
    port = port_of(server, path)
    before = len(server.requests)
    status, text = await client("GET", path, headers={"Host": host.format(port=port)})
    assert status in {400, 421}
    assert "sandbox" in text or status == 400
    assert (len(server.requests), server.counts) == (before, {})


@pytest.mark.parametrize("path", [USERS, ME])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_its_own_names_get_a_response(server: Sandbox, client, path: str, name: str) -> None:
    status, _ = await client("GET", path, headers={"Host": f"{name}:{port_of(server, path)}"})
    assert status == 200


async def test_the_other_server_of_the_sandbox_is_another_host(server: Sandbox, client) -> None:
    status, _ = await client("GET", USERS, headers={"Host": f"127.0.0.1:{port_of(server, ME)}"})
    assert status == 421


async def test_no_host_two_hosts_and_hosts_in_the_request_line(server: Sandbox) -> None:
    port = port_of(server, USERS)
    own = f"Host: 127.0.0.1:{port}"
    assert await send(port, f"GET {USERS} HTTP/1.1", own) == 401
    assert await send(port, f"GET http://127.0.0.1:{port}{USERS} HTTP/1.1", own) == 401
    for lines in (
        [f"GET {USERS} HTTP/1.1"],
        [f"GET {USERS} HTTP/1.0"],
        [f"GET {USERS} HTTP/1.1", own, "Host: example.com"],
        [f"GET {USERS} HTTP/1.1", "Host: example.com", own],
        [f"GET http://example.com:{port}{USERS} HTTP/1.1", own],
    ):
        assert await send(port, *lines) in {400, 421}, lines


# --- the consent form ----------------------------------------------------------------------------------------------


async def form_of(server: Sandbox, client) -> tuple[str, dict[str, str]]:
    pairing = (await client("POST", "/oauth/pair/", auth="basic", data={"mode": "user"}))[1]
    url = urlsplit(pairing["auth_url"])
    status, text = await client("GET", f"{url.path}?{url.query}", auth=None)
    assert status == 200
    form = _Form()
    form.feed(text)
    return form.action, {**form.fields, "decision": "approve"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://example.com"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
    ],
)
async def test_a_form_from_another_page_is_refused(server: Sandbox, client, headers: dict[str, str]) -> None:
    action, fields = await form_of(server, client)
    port = port_of(server, ME)
    headers = {name: value.format(port=port) for name, value in headers.items()}
    status, _ = await client("POST", action, auth=None, data=fields, headers=headers)
    assert status == 403
    assert [pairing.state for pairing in server._grants.pairings.values()] == ["pending"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        # A page with the policy "no-referrer" sends no other origin.
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:{port}"},
        {"Origin": "http://localhost:{port}", "Host": "localhost:{port}"},
    ],
)
async def test_a_form_from_its_own_page_is_accepted(server: Sandbox, client, headers: dict[str, str]) -> None:
    action, fields = await form_of(server, client)
    port = port_of(server, ME)
    headers = {name: value.format(port=port) for name, value in headers.items()}
    status, _ = await client("POST", action, auth=None, data=fields, headers=headers)
    assert status == 200
    assert [pairing.state for pairing in server._grants.pairings.values()] == ["approved"]
