"""`session.request`: calls without a method of their own, to the configured origins only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from helpers.stub_servers import ACCESS, Seen, Stub, login, no_jitter, quick, session_on

from ezeep_async import BadRequest, Endpoints, EzeepSession, NotFound, OAuthApp, UnexpectedRedirect
from ezeep_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


def echo(seen: Seen) -> web.Response:
    body = seen.body.decode()
    return web.json_response({"method": seen.method, "path": seen.path, "query": seen.query, "body": body})


async def test_8_2_a_path_goes_to_the_api_host(session: EzeepSession, sandbox: Sandbox) -> None:
    """8-2: decoded JSON, parameters in the query."""
    response = await session.request("get", "/printing/v1/groups/", params={"limit": 1, "offset": "2"})
    assert (response["count"], len(response["results"])) == (13, 1)
    assert sandbox.requests[-1].host == "api"
    assert sandbox.requests[-1].query == {"limit": "1", "offset": "2"}


async def test_8_2_full_addresses_of_both_hosts(session: EzeepSession, sandbox: Sandbox) -> None:
    """A full address on one of the origins is sent there."""
    me = await session.request("GET", f"{sandbox.endpoints.account}/v1/users/me/")
    page = await session.request("GET", f"{sandbox.endpoints.api}/printing/v1/users/?limit=3")
    assert me["roles"] == ["admin"]
    assert len(page["results"]) == 3
    assert [seen.host for seen in sandbox.requests] == ["account", "api"]


async def test_a_full_address_of_the_print_api() -> None:
    """The print API is a third origin, with a path prefix as for the others."""
    async with Stub(echo) as stub:
        endpoints = Endpoints(api=stub.url + "/api", print=stub.url + "/print")
        async with EzeepSession(OAuthApp("client"), tokens=login(), endpoints=endpoints) as session:
            await session.request("GET", f"{endpoints.print}/sfapi/GetPrinter/")
    assert [seen.path for seen in stub.seen] == ["/print/sfapi/GetPrinter/"]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/printing/v1/groups/",
        "http://127.0.0.1:1/printing/v1/groups/",
        "https://127.0.0.1/printing/v1/groups/",
        "http://localhost/x/",
        "//evil.example/x/",
        "///evil.example/x/",
        "ftp://127.0.0.1/x/",
        "printing/v1/groups/",
        "",
        "?limit=1",
        "javascript:alert(1)",
        "http://",
        "https://[::1",
    ],
)
async def test_3_1_other_places_are_refused_unsent(session: EzeepSession, sandbox: Sandbox, url: str) -> None:
    """3-1: another origin is a `ValueError`; nothing is sent."""
    with pytest.raises(ValueError):
        await session.request("GET", url)
    assert sandbox.requests == []


async def test_3_1_origins_that_only_look_alike_are_refused(sandbox: Sandbox) -> None:
    """3-1: another port, another scheme, user information, a longer host."""
    async with EzeepSession(OAuthApp("c"), tokens=login(), settings=quick()) as session:
        for url in (
            "http://api2.ezeep.com/printing/v1/groups/",
            "https://api2.ezeep.com:444/x/",
            "https://api2.ezeep.com.evil.example/x/",
            "https://user@api2.ezeep.com/x/",
            "https://user:pass@api2.ezeep.com/x/",
            "https://api2.ezeep.com@evil.example/x/",
            "https://xapi2.ezeep.com/x/",
        ):
            with pytest.raises(ValueError):
                await session.request("GET", url)


@pytest.mark.parametrize("path", ["/../secret/", "/x/../../secret/", "/%2e%2e/secret/"])
async def test_3_1_a_base_path_is_not_left(path: str) -> None:
    """3-1: with endpoints that have a path, dots in a full address do not leave it."""
    async with Stub(echo) as stub:
        endpoints = Endpoints(account=stub.url + "/account", api=stub.url + "/base")
        async with EzeepSession(
            OAuthApp("c"), tokens=login(), endpoints=endpoints, settings=quick()
        ) as session:
            assert (await session.request("GET", "/x/"))["path"] == "/base/x/"
            assert (await session.request("GET", f"{stub.url}/account/x/"))["path"] == "/account/x/"
            for target in (path, f"{stub.url}/base{path}"):
                try:
                    seen = await session.request("GET", target)
                except ValueError:
                    continue
                assert seen["path"].startswith("/base/")
                assert ".." not in seen["path"]


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\nX: y", "G3T", "GÉT"])
async def test_methods_that_are_none_are_refused_unsent(
    session: EzeepSession, sandbox: Sandbox, method: str
) -> None:
    """A text that is no method is a `ValueError`; nothing is sent."""
    with pytest.raises(ValueError, match="method"):
        await session.request(method, "/printing/v1/groups/")
    assert sandbox.requests == []


@pytest.mark.parametrize("value", [{"a": False, "b": "", "c": [], "d": 0}, [], 0, False, ""])
async def test_3_16_falsy_json_is_sent(value: Any) -> None:
    """3-16: a falsy body is sent."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        response = await session.request("POST", "/x/", json=value)
        assert json.loads(response["body"]) == value
        assert stub.seen[-1].headers["Content-Type"] == "application/json"


async def test_no_json_is_no_body() -> None:
    """Without `json` the request has neither a body nor a content type."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        assert (await session.request("GET", "/x/"))["body"] == ""
        assert "Content-Type" not in stub.seen[-1].headers


@pytest.mark.parametrize("text", ["a b", "ä&=?#/%", "x\r\ny", "%41"])
async def test_paths_and_parameters_are_quoted(text: str) -> None:
    """Parameters arrive unchanged, whatever characters they have."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        response = await session.request("GET", "/x/", params={"q": text})
        assert response["path"] == "/x/"
        assert response["query"] == {"q": text}


async def test_a_query_in_the_path_and_parameters_are_joined() -> None:
    """Both are sent."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        assert (await session.request("GET", "/x/?a=1", params={"b": 2}))["query"] == {"a": "1", "b": "2"}


async def test_quoted_paths_stay_quoted() -> None:
    """Ids with `#` and `%` are sent as quoted (docs/ezeep-api.md#print-jobs)."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        assert (await session.request("GET", "/x/a%23b%2Fc%20d/"))["path"] == "/x/a%23b%2Fc%20d/"


async def test_everything_that_belongs_to_a_call(session: EzeepSession, sandbox: Sandbox) -> None:
    """8-2: errors, the access token and the trailing slash are handled as in every call."""
    with pytest.raises(NotFound):
        await session.request("GET", "/printing/v1/nothing/")
    sandbox.expire_access_tokens()
    await session.request("GET", "/printing/v1/groups/")
    assert sandbox.refreshes == 1
    with pytest.raises(BadRequest) as caught:
        await session.request("POST", "/printing/v1/groups/", json={})
    assert "name" in caught.value.field_errors
    with pytest.raises(UnexpectedRedirect):
        await session.request("GET", "/printing/v1/groups")


async def test_the_bearer_is_sent() -> None:
    """Every API call carries the access token."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        await session.request("GET", "/x/")
        assert stub.seen[-1].headers.getall("Authorization") == [f"Bearer {ACCESS}"]


ITSELF: list[Any] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    "arguments",
    [
        {"json": object()},
        {"json": ITSELF},
        {"json": {"a": [1.0, (float("nan"),)]}},
        {"json": float("-inf")},
        {"json": {"a": "\ud800"}},
        {"params": {"a": True}},
        {"params": {"a": None}},
        {"params": {"a": float("inf")}},
        {"params": {"a": "\ud800"}},
        {"params": {"\ud800": "a"}},
        {"params": {1: 2}},
        {"params": "x"},
        {"params": 5},
        {"params": ""},
        {"idempotent": "no"},
        {"method": "CONNECT"},
        {"method": "trace"},
        {"path_or_url": "/\ud800"},
        {"path_or_url": "/x/?a=\udfff"},
        {"path_or_url": "{api}//evil.example/"},
        {"path_or_url": "{api}/..//evil.example/"},
        {"path_or_url": "{api}/.//evil.example/"},
    ],
)
async def test_3_16_what_cannot_be_sent_as_it_is_is_refused_unsent(
    session: EzeepSession, sandbox: Sandbox, arguments: dict[str, Any]
) -> None:
    """3-16: `ValueError`, instead of other bytes on the wire or an exception of a library."""
    arguments = {"method": "PUT", "path_or_url": "/x/", **arguments}
    arguments["path_or_url"] = arguments["path_or_url"].format(api=sandbox.endpoints.api)
    with pytest.raises(ValueError):
        await session.request(**arguments)
    assert sandbox.requests == []


async def test_3_16_null_is_sent() -> None:
    """3-16: what is none is a value."""
    async with Stub(echo) as stub, session_on(stub.url) as session:
        response = await session.request("POST", "/x/", json={"a": None, "b": [1.5, None]}, params={})
        assert json.loads(response["body"]) == {"a": None, "b": [1.5, None]}
