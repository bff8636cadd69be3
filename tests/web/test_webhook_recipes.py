"""The recipes of docs/how-to/webhooks.md: each application is served, and the sandbox delivers events to it."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from helpers import documents, shell_lines
from helpers.support import put, until
from web.recipes import on_django, on_uvicorn, on_wsgi, recipe
from web.servers import listening

from ezeep_async import EzeepSession, FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

USERNAME, PASSWORD = "hook", "a long pässword of a webhook"


@asynccontextmanager
async def _fastapi() -> AsyncIterator[str]:
    async with on_uvicorn(recipe("docs/how-to/webhooks.md", "fastapi").app) as url:
        yield url


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[str]:
    runner = web.AppRunner(recipe("docs/how-to/webhooks.md", "aiohttp").app, access_log=None)
    await runner.setup()
    sock, url = listening()
    await web.SockSite(runner, sock).start()
    yield url
    await runner.cleanup()


@asynccontextmanager
async def _flask() -> AsyncIterator[str]:
    with on_wsgi(recipe("docs/how-to/webhooks.md", "flask").app) as url:
        yield url


@asynccontextmanager
async def _django() -> AsyncIterator[str]:
    with on_django(recipe("docs/how-to/webhooks.md", "django")) as url:
        yield url


Serve = Callable[[], AbstractAsyncContextManager[str]]


@pytest.fixture(params=[_fastapi, _django, _flask, _aiohttp], ids=["fastapi", "django", "flask", "aiohttp"])
def serve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Serve:
    monkeypatch.setenv("HOOK_USERNAME", USERNAME)
    monkeypatch.setenv("HOOK_PASSWORD", PASSWORD)
    found: Serve = request.param
    return found


async def test_a_delivered_event_arrives(
    sandbox: Sandbox,
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The webhook is created as the document shows it, a job is printed, and the application prints its name."""
    sandbox.behaviour.job_seconds = 0.0
    tokens = sandbox.tokens(scope="printing webhooks")
    await put(FileTokenStore(tmp_path / "login.json"), tokens)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    for name in ("account", "api", "print"):
        monkeypatch.setenv(f"EZEEP_{name.upper()}_URL", getattr(sandbox.endpoints, name))
    async with serve() as url:
        await recipe("docs/how-to/webhooks.md", "create").create(f"{url}/ezeep")
        async with EzeepSession(sandbox.oauth_app, tokens=tokens, endpoints=sandbox.endpoints) as session:
            body = {"type": "pdf", "fileurl": "https://files.example.com/a.pdf", "alias": "invoice 7.pdf"}
            printer = str(next(iter(sandbox.printing.printers)))
            target = f"{sandbox.endpoints.print}/sfapi/Print/"
            await session.request("POST", target, json={**body, "printerid": printer})
        await until(lambda: sandbox.webhooks.deliveries)
    assert [each.status for each in sandbox.webhooks.deliveries] == [204]
    out = capsys.readouterr().out
    assert "Created " in out
    assert "invoice 7.pdf succeeded" in out


async def test_other_requests_are_refused(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """401 without the right credentials, whatever the body; 400 for a body that is no event; GET is not allowed."""
    wrong = base64.b64encode(f"{USERNAME}:{PASSWORD[:-1]}".encode()).decode()
    right = {"Authorization": "basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()}
    event = b'{"content": {"printjob": {"filename": "x"}}}'
    async with serve() as url, aiohttp.ClientSession() as client:
        for headers in ({}, {"Authorization": f"Basic {wrong}"}, {"Authorization": "Bearer x"}):
            async with client.post(f"{url}/ezeep", data=event, headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Basic"
        for body in (b"", b"[]", b"\xff", b'{"content": 5}'):
            async with client.post(f"{url}/ezeep", data=body, headers=right) as response:
                assert response.status == 400
        async with client.get(f"{url}/ezeep", headers=right) as response:
            assert response.status == 405
        assert "x" not in capsys.readouterr().out
        async with client.post(f"{url}/ezeep", data=event, headers=right) as response:
            assert response.status == 204


def test_the_credentials_are_made_in_the_shell() -> None:
    """A long password of its own each time, and a login with the scope of webhooks."""
    script = documents.marked("docs/how-to/webhooks.md", "credentials")
    exports, login = script.splitlines()[:2], shell_lines.commands_of(script)[-1]
    printed = "\n".join([*exports, 'echo "$HOOK_USERNAME $HOOK_PASSWORD"'])
    first, second = (subprocess.check_output(["bash", "-euc", printed], text=True).split() for _ in "ab")
    assert first[0] == "ezeep"
    assert len(first[1]) > 40
    assert first[1] != second[1]
    assert shell_lines.understand(shell_lines.arguments_of(login) or []) is not None
