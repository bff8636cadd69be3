"""The recipes of docs/how-to/sign-in-on-a-server.md: a login waits in an encrypted cookie, or at the server, until it is known who comes."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web
from helpers import documents
from helpers.support import TOKEN, until
from web.servers import Browser, listening
from yarl import URL

from ezeep_async import AuthorizationRequest
from ezeep_async.auth import login_cookies
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

SOURCES = {
    "cookie": documents.marked("docs/how-to/sign-in-on-a-server.md", "encrypted-cookie"),
    "server": documents.marked("docs/how-to/sign-in-on-a-server.md", "server-side"),
}
SECRET = "the secret of an app, 32 characters and more"


@pytest.fixture(params=["cookie", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def recipe(
    kind: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """The module of the recipe, whose application is served at `recipe.url`."""
    sock, url = listening()
    sandbox.behaviour.redirect_uris = (f"{url}/callback",)
    for name, value in {
        "SECRET_KEY": SECRET,
        "LOGINS": str(tmp_path),
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": f"{url}/callback",
        **{
            f"EZEEP_{host.upper()}_URL": getattr(sandbox.endpoints, host)
            for host in ("account", "api", "print")
        },
    }.items():
        monkeypatch.setenv(name, value)
    module: Any = types.ModuleType(f"recipe_{kind}")
    exec(compile(SOURCES[kind], "docs/how-to/sign-in-on-a-server.md", "exec"), vars(module))
    module.url = url
    if kind == "server":
        runner = web.AppRunner(module.app, access_log=None)  # it would have the code and the state
        await runner.setup()
        await web.SockSite(runner, sock).start()
        yield module
        await runner.cleanup()
        return
    server = uvicorn.Server(uvicorn.Config(module.app, log_config=None, lifespan="on", ws="none"))
    running = asyncio.create_task(server.serve([sock]))
    await until(lambda: server.started)
    yield module
    server.should_exit = True
    await running


async def test_each_browser_gets_its_own_login(recipe: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    """Under the id of the person, which the app learns after the login. A second login of a person replaces the first."""
    people = list(sandbox.organization.people.values())
    async with Browser(recipe.url) as one, Browser(recipe.url) as two:
        assert (await one.get("/me")).status == 401
        await one.log_in()
        await two.log_in(username=people[3].email)
        assert SANDBOX_ADMIN in (await one.get("/me")).text
        text = (await two.get("/me")).text
        assert recipe.logins.stats.open == 2
        assert sandbox.count("POST /oauth/revoke/") == 0
        await two.log_in(username=people[3].email)
        assert sandbox.count("POST /oauth/revoke/") == 1
        assert (await two.get("/me")).text == text
        assert {path.stem for path in tmp_path.glob("*.json")} <= {str(person.id) for person in people}
    assert recipe.logins.stats.in_use == 0


@pytest.mark.parametrize("change", ["another", "", None])
async def test_a_forged_state_is_refused(recipe: Any, sandbox: Sandbox, change: str | None) -> None:
    """The code is not spent."""
    async with Browser(recipe.url) as browser:
        url = URL(await browser.come_back())
        query = {"code": url.query["code"]} | ({} if change is None else {"state": change})
        assert (await browser.get(str(url.with_query(query)))).status == 403
        assert sandbox.count(TOKEN) == 0


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_redirect_of_another_browser_is_refused(
    recipe: Any, sandbox: Sandbox, has_begun: bool
) -> None:
    """An attacker who sends the address of their login logs no one else in (login CSRF)."""
    async with Browser(recipe.url) as attacker, Browser(recipe.url) as victim:
        location = await attacker.come_back()
        if has_begun:
            await victim.get("/login")
        assert (await victim.get(location)).status == 403
        assert (await victim.get("/me")).status == 401
        assert sandbox.count(TOKEN) == 0


async def test_a_redirect_works_once(recipe: Any, sandbox: Sandbox) -> None:
    async with Browser(recipe.url) as browser:
        location = await browser.come_back()
        assert (await browser.get(location)).status == 302
        assert (await browser.get(location)).status == 403
        assert (await browser.get("/me")).status == 200
        assert sandbox.count(TOKEN) == 1


async def test_a_login_that_was_declined(recipe: Any, sandbox: Sandbox) -> None:
    async with Browser(recipe.url) as browser:
        location = await browser.come_back("deny")
        assert (await browser.get(location)).status == 403
        assert sandbox.count(TOKEN) == 0


@pytest.mark.parametrize("kind", ["cookie"])
async def test_the_login_cookie(recipe: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts cannot read it, other paths do not get it, it is deleted, and it expires. It does not show the code verifier."""
    async with Browser(recipe.url) as browser:
        location = await browser.come_back()
        (cookie,) = SimpleCookie(browser.responses[0].headers["Set-Cookie"]).values()
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "lax", "/callback")
        assert cookie["max-age"] == "600"
        begun = AuthorizationRequest.from_cookie(cookie.value, SECRET)
        assert begun.state == URL(location).query["state"]
        assert begun.code_verifier not in cookie.value
        now = time.time()
        with monkeypatch.context() as later:
            # Not the clock of the browser, which drops the cookie itself.
            later.setattr(login_cookies, "time", types.SimpleNamespace(time=lambda: now + 601))
            assert (await browser.get(location)).status == 403
        assert (await browser.get(location)).status == 302
        assert "ezeep_login" not in browser.cookies


@pytest.mark.parametrize("kind", ["cookie"])
async def test_logging_out(recipe: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    """At ezeep and in the app: the token set is revoked, its file is gone."""
    async with Browser(recipe.url) as browser:
        await browser.log_in()
        assert len(list(tmp_path.glob("*.json"))) == 1
        assert (await browser.ask("POST", "/logout")).status == 204
        assert list(tmp_path.glob("*.json")) == []
        assert (await browser.get("/me")).status == 401
        assert recipe.logins.stats.open == 0


@pytest.mark.parametrize("kind", ["cookie"])
async def test_logging_out_while_ezeep_is_away(recipe: Any, sandbox: Sandbox, tmp_path: Path) -> None:
    """The login here ends all the same."""
    async with Browser(recipe.url) as browser:
        await browser.log_in()
        sandbox.faults.add("POST /oauth/revoke/", status=403, times=None)
        assert (await browser.ask("POST", "/logout")).status == 204
        assert list(tmp_path.glob("*.json")) == []
        assert (await browser.get("/me")).status == 401


async def test_two_tabs_log_in_at_once(recipe: Any, kind: str) -> None:
    """Both, if the logins wait at the server. A browser has one cookie: it has the login that was begun last."""
    async with Browser(recipe.url) as browser:
        first, second = await browser.come_back(), await browser.come_back()
        assert (await browser.get(first)).status == (302 if kind == "server" else 403)
        assert (await browser.get(second)).status == 302
        assert (await browser.get("/me")).status == 200


async def test_a_forged_redirect_does_not_end_the_login_that_has_begun(recipe: Any) -> None:
    """Any page can open the address of the redirect in a browser."""
    async with Browser(recipe.url) as browser:
        location = await browser.come_back()
        assert (await browser.get("/callback?code=forged&state=forged")).status == 403
        assert (await browser.get(location)).status == 302


async def test_beginning_a_login_does_not_log_out(recipe: Any) -> None:
    """Any page can open /login in a browser, and a person may come back without a decision."""
    async with Browser(recipe.url) as browser:
        await browser.log_in()
        await browser.get("/login")
        assert (await browser.get("/me")).status == 200


async def test_a_cookie_of_before_the_login_is_not_logged_in(recipe: Any) -> None:
    """An attacker may know it (session fixation)."""
    async with Browser(recipe.url) as victim, Browser(recipe.url) as attacker:
        await victim.get("/login")
        known = victim.cookies
        location = await victim.come_back()
        assert (await victim.get(location)).status == 302
        attacker.cookies = known
        assert (await attacker.get("/me")).status == 401
