"""Log-in through a browser, and attacks on it, in an aiohttp.web and a FastAPI application: 9-4, 8-3 and 1-20."""

from __future__ import annotations

import asyncio
import base64
import logging
import stat
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from helpers.support import ME, TOKEN, Clock, until
from web.logins import Logins
from web.servers import Browser, Site, serving
from yarl import URL

from ezeep_async import OAuthApp
from ezeep_async.auth.app import code_challenge
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = pytest.mark.slow


def _grants(sandbox: Sandbox) -> list[str | None]:
    return [request.grant_type for request in sandbox.requests if request.key == TOKEN]


async def test_the_whole_flow(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """9-4: from the consent page to the first call and the log-out, with state and PKCE. Logging out revokes."""
    assert (await browser.get("/me")).status == 401
    await browser.log_in()
    me = await browser.get("/me")
    assert (me.status, SANDBOX_ADMIN in me.text) == (200, True)
    cookies = browser.cookies
    assert (await browser.ask("POST", "/logout")).status == 204
    assert not browser.cookies
    browser.cookies = cookies
    assert (await browser.get("/me")).status == 401
    assert not site.logins.sessions
    assert not any(family.family.alive for family in sandbox._grants._refresh.values())
    assert _grants(sandbox) == ["authorization_code"]


async def test_the_verifier_that_is_sent_belongs_to_the_challenge(
    site: Site, browser: Browser, sandbox: Sandbox
) -> None:
    """9-4: the browser carries the challenge, the token request the verifier; they meet at the server only."""
    await browser.log_in()
    carried = URL(browser.responses[0].headers["Location"]).query
    sent = parse_qs(sandbox.requests[-1].body.decode())
    assert carried["code_challenge"] == code_challenge(sent["code_verifier"][0])
    assert sent["redirect_uri"] == [f"{site.url}/callback"] == [carried["redirect_uri"]]


async def test_the_cookie(site: Site, browser: Browser) -> None:
    """Scripts and forms of other sites cannot use it. It changes when a person logs in."""
    location = await browser.come_back()
    before = browser.cookies
    await browser.get(location)
    assert set(before) == set(browser.cookies) == {"login"}
    assert before != browser.cookies
    for response in browser.responses:
        (cookie,) = SimpleCookie(response.headers["Set-Cookie"]).values()
        assert cookie["httponly"]
        assert cookie["samesite"].lower() == "lax"
        assert not cookie["secure"]
    browser.cookies = before  # which an attacker may have planted
    assert (await browser.get("/me")).status == 401


async def test_files_of_the_application(site: Site, browser: Browser) -> None:
    """Other users cannot read them, and their names are no valid cookies."""
    folder = site.logins.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for kinds, step in [({".request"}, browser.come_back), ({".json", ".lock"}, browser.log_in)]:
        await step()
        kept = [path for path in folder.iterdir() if path.suffix in kinds]
        assert {path.suffix for path in kept} == kinds
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
        assert not any(browser.cookies["login"] in path.name for path in kept)


def test_the_cookie_of_a_site_on_https(tmp_path: Path) -> None:
    """It is sent over https only."""
    app = OAuthApp("id", redirect_uri="https://app.example/callback")
    assert Logins(tmp_path, app).cookie_flags()["secure"]


@pytest.mark.parametrize("change", ["another", "", None])
async def test_a_forged_state_is_refused(
    site: Site, browser: Browser, sandbox: Sandbox, change: str | None
) -> None:
    """9-4: another state, an empty one, none: 403, and the code is not spent. The person begins again."""
    url = URL(await browser.come_back())
    query = {"code": url.query["code"]} | ({} if change is None else {"state": change})
    assert (await browser.get(str(url.with_query(query)))).status == 403
    assert (await browser.get("/me")).status == 401
    assert sandbox.count(TOKEN) == 0
    assert (await browser.get(str(url))).status == 403, "the request works once, whatever came of it"
    assert sandbox.count(TOKEN) == 0
    await browser.log_in()
    assert (await browser.get("/me")).status == 200


async def test_a_replayed_callback_is_refused(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """9-4: with the old cookie or the new one: 403, no second exchange, and the token set still works."""
    location = await browser.come_back()
    before = browser.cookies
    await browser.get(location)
    after = browser.cookies
    for cookies in (after, before):
        browser.cookies = cookies
        assert (await browser.get(location)).status == 403
    browser.cookies = after
    assert (await browser.get("/me")).status == 200
    assert _grants(sandbox) == ["authorization_code"]


async def test_concurrent_callbacks(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """9-4: one is completed, the others are refused."""
    location = await browser.come_back()
    responses = await asyncio.gather(*[browser.get(location) for _ in range(5)])
    assert sorted(response.status for response in responses) == [302, 403, 403, 403, 403]
    assert _grants(sandbox) == ["authorization_code"]


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_callback_in_another_browser_is_refused(
    site: Site, browser: Browser, sandbox: Sandbox, has_begun: bool
) -> None:
    """9-4: another browser cannot use the redirect. Its owner is still logged in."""
    location = await browser.come_back()
    async with Browser(site.url) as other:
        if has_begun:
            await other.get("/login")
        assert (await other.get(location)).status == 403
        assert sandbox.count(TOKEN) == 0
        assert (await other.get("/me")).status == 401
    assert (await browser.get(location)).status == 302
    assert (await browser.get("/me")).status == 200


async def test_a_stolen_code_is_refused(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """9-4: with the state of the attacker it is sent to the server, which refuses it: the verifier is a different one."""
    location = URL(await browser.come_back())
    async with Browser(site.url) as thief:
        own = URL(await thief.come_back())
        stolen = own.update_query(code=location.query["code"])
        assert (await thief.get(str(stolen))).status == 400
        assert sandbox.count(TOKEN) == 1
        assert (await thief.get("/me")).status == 401
    assert not site.logins.sessions
    assert (await browser.get(str(location))).status == 302, "it was the verifier, and nothing else"


async def test_declining(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """`?error=access_denied`: 400, with no text of the query. With another state it is refused as a forgery."""
    location = URL(await browser.come_back("deny"))
    assert location.query["error"] == "access_denied"
    denied = location.update_query(error_description="<script>alert(1)</script>")
    response = await browser.get(str(denied))
    assert response.status == 400
    assert not any(word in response.text for word in ("script", "access_denied"))
    forged = URL(await browser.come_back("deny")).update_query(state="another")
    assert (await browser.get(str(forged))).status == 403
    assert sandbox.count(TOKEN) == 0
    await browser.log_in()
    assert (await browser.get("/me")).status == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [({"status": 503}, 503), ({"drop": "after"}, 502), ({"status": 200, "body": "{}"}, 502)],
    ids=["unavailable", "lost response", "malformed"],
)
async def test_a_log_in_that_fails_at_the_server(
    site: Site, browser: Browser, sandbox: Sandbox, fault, status: int
) -> None:
    """9-4: a code is sent once only. The person can begin again, and nothing is left of the attempt."""
    location = await browser.come_back()
    sandbox.faults.add(TOKEN, **fault)
    assert (await browser.get(location)).status == status
    assert sandbox.count(TOKEN) == 1
    assert not site.logins.sessions
    await browser.log_in()
    assert (await browser.get("/me")).status == 200


async def test_1_20_two_browsers_have_two_token_sets(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """1-20: each sees its own user, also after refreshes. Logging out in one does not affect the other."""
    people = [person.email for person in sandbox.organization.listed_people()[:2]]
    async with Browser(site.url) as other:
        await asyncio.gather(browser.log_in(username=people[0]), other.log_in(username=people[1]))
        for _ in range(3):
            responses = await asyncio.gather(*[each.get("/me") for each in (browser, other) * 5])
            assert [people[0] in response.text for response in responses] == [True, False] * 5
            assert [people[1] in response.text for response in responses] == [False, True] * 5
            sandbox.expire_access_tokens()
        assert len(site.logins.sessions) == 2
        assert sandbox.refresh_requests == sandbox.refreshes == 4
        assert (await other.ask("POST", "/logout")).status == 204
        assert (await browser.get("/me")).status == 200


async def test_one_person_in_two_browsers_has_two_token_sets(
    site: Site, browser: Browser, sandbox: Sandbox
) -> None:
    """Neither replaces or revokes the other."""
    async with Browser(site.url) as other:
        await browser.log_in()
        await other.log_in()
        sandbox.expire_access_tokens()
        assert [(await each.get("/me")).status for each in (browser, other)] == [200, 200]
        await other.ask("POST", "/logout")
        assert (await browser.get("/me")).status == 200


async def test_logging_out_without_the_server(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """An error, and the token set stays: it was not revoked."""
    await browser.log_in()
    sandbox.faults.add("POST /oauth/revoke/", drop="before", times=None)
    assert (await browser.ask("POST", "/logout")).status == 503
    sandbox.expire_access_tokens()
    assert (await browser.get("/me")).status == 200


async def test_a_token_set_that_was_revoked(site: Site, browser: Browser, sandbox: Sandbox) -> None:
    """`ReauthorizationRequired` is 401. The person can log in again in the same browser."""
    await browser.log_in()
    for known in sandbox._grants._refresh.values():
        known.family.alive = False
    assert (await browser.get("/me")).status == 401
    assert not site.logins.sessions
    await browser.log_in()
    assert (await browser.get("/me")).status == 200


async def test_a_token_set_outlives_the_application(kind: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Log in before a restart, complete after it, and use the token set after another one."""
    async with serving(kind, sandbox, tmp_path) as site, Browser(site.url) as browser:
        location = URL(await browser.come_back())
        cookies = browser.cookies
    async with serving(kind, sandbox, tmp_path) as site, Browser(site.url) as browser:
        # The port changes: only state and code of the redirect count.
        browser.cookies = cookies
        assert (await browser.get(location.raw_path_qs)).status == 302
        cookies = browser.cookies
    async with serving(kind, sandbox, tmp_path) as site, Browser(site.url) as browser:
        browser.cookies = cookies
        assert (await browser.get("/me")).status == 200


async def test_a_browser_that_disconnects_during_the_exchange(
    kind: str, site: Site, browser: Browser, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """9-4: the code is sent once, nothing of the attempt stays open, and the person can log in again."""
    location = await browser.come_back()
    hold = sandbox.faults.hold(TOKEN, after=True)
    call = asyncio.create_task(browser.get(location))
    await hold.arrived()
    call.cancel()
    await asyncio.wait({call})
    if kind == "fastapi":  # whose handlers continue after a disconnect
        hold.release()
        await until(
            lambda: not any(each._core.refresher._background for each in site.logins.sessions.values())
        )
    else:
        await until(lambda: not site.logins.sessions)
        hold.release()
        await until(lambda: "/callback: the client hung up" in caplog.text)
    assert _grants(sandbox) == ["authorization_code"]
    await browser.log_in()
    assert (await browser.get("/me")).status == 200


async def test_8_3_no_secret_is_in_a_response_or_in_the_log(
    kind: str, site: Site, browser: Browser, sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """8-3: no token, code or verifier is in a response of the application or in a log line."""
    await browser.log_in()
    await browser.get("/me")
    clock.steady += 3550
    await browser.get("/me")
    await browser.get(await browser.come_back("deny"))
    location = URL(await browser.come_back())
    await browser.get(str(location.update_query(state="another")))
    await browser.get(str(location))
    for fault in ({"status": 400, "body": "no"}, {"drop": "after"}, {"status": 500}):
        sandbox.faults.add(TOKEN, **fault)
        await browser.get(await browser.come_back())
    await browser.log_in()
    for known in sandbox._grants._refresh.values():
        known.family.alive = False
    await browser.get("/me")
    statuses = {response.status for response in browser.responses}
    assert statuses >= {200, 302, 400, 401, 403, 502, 503}, statuses

    forms = [parse_qs(request.body.decode()) for request in sandbox.requests if request.key == TOKEN]
    verifiers = {verifier for form in forms for verifier in form.get("code_verifier", ())}
    grants = sandbox._grants
    secrets = {*grants._access, *grants._refresh, *grants._codes, *verifiers}
    assert len(secrets) > 15
    said = "".join(response.text + repr(response.headers) for response in browser.responses)
    assert not [secret for secret in secrets if secret in said]
    cookies = {
        cookie
        for response in browser.responses
        for cookie in SimpleCookie(response.headers.get("Set-Cookie"))
    }
    assert cookies == {"login"}

    access = {"aiohttp": "aiohttp.access", "fastapi": "uvicorn.access"}[kind]
    assert any("/callback" in record.getMessage() for record in caplog.records if record.name == access)
    logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    states = {
        URL(response.headers["Location"]).query.get("state", "-" * 99)
        for response in browser.responses
        if "Location" in response.headers
    }
    basic = base64.b64encode(f"{sandbox.oauth_app.client_id}:".encode()).decode()
    assert not [secret for secret in {*secrets, *states, basic} if secret in logged]
    assert logging.getLogger().level == logging.DEBUG
    assert sandbox.count(ME)
