"""`session.webhooks`: endpoints, their password, and the scope that they need."""

from __future__ import annotations

import json
import pickle
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, session_on
from helpers.support import QUICK
from helpers.watch import Watch

from ezeep_async import (
    BadRequest,
    EzeepError,
    EzeepSession,
    InsecureEndpoint,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    UnexpectedResponse,
    Webhook,
)
from ezeep_async._text.redaction import Secret
from ezeep_async.sandbox import Sandbox


PASSWORD = 'a-long "password" of a webhook \\ ü'
URL = "https://hooks.example.com/ezeep?token=in-the-query"
TOPICS = ("printjob_succeeded", "printjob_failed")
CREATE = "POST /webhooks/endpoints"
ONE = "/webhooks/endpoints/{id}"


@pytest.fixture(autouse=True)
def _setup(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    no_jitter(monkeypatch)
    watch.secrets |= {PASSWORD, json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1]}


def session_with(sandbox: Sandbox, scope: str, **options: Any) -> EzeepSession:
    return EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(scope=scope, **options),
        endpoints=sandbox.endpoints,
        settings=QUICK,
    )


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[EzeepSession]:
    async with session_with(sandbox, "printing webhooks") as opened:
        yield opened


async def test_the_life_of_a_webhook(session: EzeepSession, sandbox: Sandbox) -> None:
    """Created, read, listed, changed and deleted. Paths have no slash at their end."""
    made = await session.webhooks.create("Archive", URL, TOPICS, username="hook", password=PASSWORD)
    assert isinstance(made, Webhook)
    assert (made.id, made.name, made.url, made.topics, made.disabled) == (
        made.endpoint_id,
        "Archive",
        URL,
        TOPICS,
        False,
    )
    assert (made.authentication_scheme, made.basic_username) == ("basic", "hook")
    endpoint = sandbox.webhooks.endpoints[made.id]
    assert (endpoint.basic_username, endpoint.basic_password) == ("hook", PASSWORD)
    assert await session.webhooks.get(str(made.id)) == made
    assert await session.webhooks.list().collect() == [made]
    changed = await session.webhooks.update(made.id, "New name", disabled=True, topics=["printjob_failed"])
    assert (changed.name, changed.disabled, changed.topics, changed.url) == (
        "New name",
        True,
        ("printjob_failed",),
        URL,
    )
    await session.webhooks.delete(made.id)
    assert sandbox.webhooks.endpoints == {}
    for call in (session.webhooks.get, session.webhooks.delete):
        with pytest.raises(NotFound):
            await call(made.id)
    assert {seen.path.removesuffix(str(made.id)) for seen in sandbox.requests} == {
        "/webhooks/endpoints",
        "/webhooks/endpoints/",
    }
    assert not any(seen.path.endswith("/") for seen in sandbox.requests)


async def test_9_3_an_update_sends_what_is_given(session: EzeepSession, sandbox: Sandbox) -> None:
    """9-3: and no other field. A password alone replaces the password."""
    made = await session.webhooks.create("A", URL, [])
    assert json.loads(sandbox.requests[-1].body) == {"name": "A", "url": URL, "topics": [], "disabled": False}
    assert made.authentication_scheme is None
    await session.webhooks.update(made.id, topics=(), disabled=False)
    assert json.loads(sandbox.requests[-1].body) == {"topics": [], "disabled": False}
    await session.webhooks.update(made.id, password=Secret(PASSWORD))
    assert json.loads(sandbox.requests[-1].body) == {
        "basic_password": PASSWORD,
        "authentication_scheme": "basic",
    }
    sandbox.faults.add(f"PATCH {ONE}", drop="after")
    assert (await session.webhooks.update(made.id, "B")).name == "B"
    with pytest.raises(ValueError, match="field"):
        await session.webhooks.update(made.id)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("number", [0, 1, 130])
async def test_a_list_of_either_shape(
    session: EzeepSession, sandbox: Sandbox, bare: bool, number: int
) -> None:
    """A page or one list: which one the server sends is not documented."""
    sandbox.behaviour.bare_webhook_list = bare
    for each in range(number):
        await session.webhooks.create(f"W{each}", "http://127.0.0.1:9/", TOPICS)
    listed = session.webhooks.list()
    assert [each.name for each in await listed.collect()] == [f"W{each}" for each in range(number)]
    assert await listed.count() == number
    first = await listed.first()
    assert (first and first.name) == ("W0" if number else None)
    assert not listed.drift


# --- arguments


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "http://127.0.0.1.example.com/",
        "HTTP://hooks.example.com",
    ],
)
async def test_other_addresses_than_https_are_refused(
    session: EzeepSession, sandbox: Sandbox, url: str
) -> None:
    """Events have names of people and documents. The message has no address: its query may have a secret."""
    for call in (
        lambda: session.webhooks.create("A", f"{url}?token=in-the-query", TOPICS),
        lambda: session.webhooks.update(uuid4(), url=f"{url}?token=in-the-query"),
    ):
        with pytest.raises(InsecureEndpoint) as caught:
            await call()
        assert "in-the-query" not in str(caught.value)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"url": "nonsense"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://name:word@hooks.example.com/"}, "username="),
        ({"url": 5}, "url"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"topics": "printjob_failed"}, "topics"),
        ({"topics": None}, "topics"),
        ({"topics": [5]}, "topic"),
        ({"disabled": 1}, "disabled"),
        ({"username": "hook"}, "both"),
        ({"password": PASSWORD}, "both"),
        ({"username": "ho:ok", "password": PASSWORD}, "colon"),
        ({"username": "", "password": PASSWORD}, "username"),
        ({"username": "hook", "password": ""}, "password"),
        ({"username": "hook", "password": b"a-long password"}, "password"),
        ({"username": "hook", "password": "\ud800" + PASSWORD}, "password"),
    ],
)
async def test_invalid_arguments_are_refused_unsent(
    session: EzeepSession, sandbox: Sandbox, wrong: dict[str, Any], named: str
) -> None:
    """`ValueError`, without the password in its message."""
    with pytest.raises(ValueError, match=named):
        await session.webhooks.create(**({"name": "A", "url": URL, "topics": TOPICS} | wrong))
    assert sandbox.requests == []


@pytest.mark.parametrize("bad", ["", "x", None, 5, "../endpoints"])
async def test_bad_ids_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, bad: Any
) -> None:
    for call in (
        lambda: session.webhooks.get(bad),
        lambda: session.webhooks.delete(bad),
        lambda: session.webhooks.update(bad, name="x"),
    ):
        with pytest.raises(ValueError, match="UUID"):
            await call()
    assert sandbox.requests == []


async def test_3_8_refused_values_are_named(session: EzeepSession) -> None:
    """3-8: topics are an open set here; the server decides."""
    with pytest.raises(BadRequest) as caught:
        await session.webhooks.create("A", URL, ["printjob_lost"])
    assert set(caught.value.field_errors) == {"topics"}


# --- the password


async def test_a_lost_creation_is_not_repeated(session: EzeepSession, sandbox: Sandbox) -> None:
    """It may have happened: a second one would post every event twice. The error has no password, also pickled."""
    sandbox.faults.add(CREATE, drop="after")
    with pytest.raises(OutcomeUnknown) as caught:
        await session.webhooks.create("A", URL, TOPICS, username="hook", password=PASSWORD)
    assert sandbox.count(CREATE) == 1
    assert PASSWORD.encode() not in pickle.dumps(caught.value)
    assert [each.name for each in await session.webhooks.list().collect()] == ["A"]


ECHO = {"endpoint_id": str(UUID(int=1)), "name": "A", "basic_username": "hook", "basic_password": PASSWORD}


@pytest.mark.parametrize("status", [200, 201, 400, 403, 404, 409, 422, 500])
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("broken", ["", "truncated", "wrong shape"])
async def test_9_7_the_password_that_the_server_repeats_is_in_no_error(
    status: int, ascii_only: bool, broken: str
) -> None:
    """9-7: no password shows: that of the call, or of another webhook in a response; plain, escaped, or split by the limit of an excerpt."""
    record = ECHO | ({"name": 5} if broken == "wrong shape" else {})
    text = json.dumps([record], ensure_ascii=ascii_only)
    if broken == "truncated":
        text = text[:-20]

    def handler(seen: Seen) -> web.Response:
        return web.Response(status=status, text=text, content_type="application/json")

    calls: list[Any] = [
        lambda session: session.webhooks.create("A", URL, TOPICS, username="hook", password=PASSWORD),
        lambda session: session.webhooks.update(UUID(int=1), password=PASSWORD),
        lambda session: session.webhooks.get(UUID(int=1)),
        lambda session: session.webhooks.list().collect(),
    ]
    async with Stub(handler) as stub, session_on(stub.url, retries=0) as session:
        if status < 300 and not broken:
            assert [each.id.int for each in await session.webhooks.list().collect()] == [1]
            calls.pop()
        for call in calls:
            with pytest.raises(EzeepError) as caught:
                await call(session)
            shown = (
                repr(vars(caught.value)) + str(caught.value) + pickle.dumps(caught.value).decode("latin-1")
            )
            assert "a-long" not in shown


async def test_the_raw_page_has_no_password() -> None:
    """`Page.raw` is the body, without the passwords in it."""
    body = json.dumps({"results": [ECHO | {"Basic_Password": 'x\\" y'}], "count": 1})
    async with Stub(lambda _: web.Response(text=body)) as stub, session_on(stub.url) as session:
        async with session.webhooks.list().pages() as pages:
            async for page in pages:
                assert json.loads(page.raw)["results"] == [
                    ECHO | {"basic_password": "***", "Basic_Password": "***"}
                ]
                assert PASSWORD not in repr(page)


async def test_a_call_without_a_method_shows_no_password_either(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """`session.request`, and with it `ezeep api`: neither in what it returns nor in its errors."""
    await session.webhooks.create("A", URL, TOPICS, username="hook", password=PASSWORD)
    page = await session.request("GET", "/webhooks/endpoints")
    assert [each["basic_password"] for each in page["results"]] == ["***"]
    sandbox.faults.add("GET /webhooks/endpoints", status=409, body=json.dumps([ECHO]))
    with pytest.raises(EzeepError) as caught:
        await session.request("GET", f"{sandbox.endpoints.api}/webhooks/endpoints")
    assert "a-long" not in repr(vars(caught.value)) + str(caught.value)


# --- scopes


@pytest.mark.parametrize("scope", ["printing", "printing reporting", "printing webhooks.readonly"])
async def test_a_missing_scope_is_named(sandbox: Sandbox, scope: str) -> None:
    """`PermissionDenied` says what to ask for: `webhooks.readonly` for reading, `webhooks` for the rest."""
    async with session_with(sandbox, scope) as session:
        with pytest.raises(PermissionDenied, match="'webhooks'") as caught:
            await session.webhooks.create("A", URL, TOPICS)
        assert caught.value.scope == "webhooks"
        assert "OAuthApp(scope='printing webhooks')" in str(caught.value)
        assert ".." not in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).scope == "webhooks"
        for call in (
            lambda: session.webhooks.update(uuid4(), name="x"),
            lambda: session.webhooks.delete(uuid4()),
        ):
            with pytest.raises(PermissionDenied, match="'webhooks'"):
                await call()
        if "readonly" in scope:
            assert await session.webhooks.list().collect() == []
            return
        for read in (lambda: session.webhooks.get(uuid4()), session.webhooks.list().collect):
            with pytest.raises(PermissionDenied, match=r"webhooks\.readonly") as caught:
                await read()
            assert caught.value.scope == "webhooks.readonly"


async def test_other_calls_name_no_scope(sandbox: Sandbox) -> None:
    """An ordinary user lacks a permission, and no scope."""
    user = next(person.id for person in sandbox.organization.listed_people() if "admin" not in person.roles)
    async with session_with(sandbox, "printing", user_id=user) as session:
        with pytest.raises(PermissionDenied) as caught:
            await session.groups.create("A", sandbox.organization.organization_id)
    assert caught.value.scope is None


async def test_a_response_of_another_shape() -> None:
    """Neither a page nor a list: an error, not an empty listing."""
    async with Stub(lambda _: web.json_response({"endpoints": []})) as stub, session_on(stub.url) as session:
        with pytest.raises(UnexpectedResponse):
            await session.webhooks.list().collect()


@pytest.mark.parametrize(
    "body",
    [
        {"basic": {"password": "stored-elsewhere"}},
        {"results": [{"webhook_password": "stored-elsewhere"}]},
        {"basicPassword": "stored-elsewhere"},
    ],
)
async def test_a_password_under_another_name(body: Any) -> None:
    """The shape of a listing is not documented. A password in it is redacted, whatever its field is called."""
    async with Stub(lambda _: web.json_response(body)) as stub, session_on(stub.url) as session:
        with pytest.raises(UnexpectedResponse) as caught:
            await session.webhooks.get(uuid4())
    assert "stored-elsewhere" not in repr(vars(caught.value))
