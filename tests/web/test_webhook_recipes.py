"""The recipes of docs/how-to/webhooks.md: each application is served, and the sandbox delivers events to it."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import threading
import types
import wsgiref.simple_server
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from helpers.support import put, until
from web.servers import listening

from ezeep_async import EzeepSession, FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "webhooks.md").read_text()
RECIPES = dict(re.findall(r"^##+ ([^\n]+)\n(?:(?!\n#).)*?```py\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))
USERNAME, PASSWORD = "hook", "a long pässword of a webhook"


def test_there_are_four_recipes_and_one_for_the_creation() -> None:
    assert [*RECIPES] == ["Create one", "FastAPI", "Django", "Flask", "aiohttp.web"]


def recipe(name: str) -> Any:
    """The recipe as a module."""
    module = types.ModuleType(f"recipe_{name.lower().replace('.', '_').replace(' ', '_')}")
    sys.modules[module.__name__] = module  # Flask and Django look it up by its name
    exec(compile(RECIPES[name], f"docs/how-to/webhooks.md: {name}", "exec"), vars(module))
    return module


@asynccontextmanager
async def _fastapi() -> AsyncIterator[str]:
    sock, url = listening()
    server = uvicorn.Server(uvicorn.Config(recipe("FastAPI").app, log_config=None, ws="none"))
    running = asyncio.create_task(server.serve([sock]))
    await until(lambda: server.started)
    yield url
    server.should_exit = True
    await running


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[str]:
    runner = web.AppRunner(recipe("aiohttp.web").app, access_log=None)
    await runner.setup()
    sock, url = listening()
    await web.SockSite(runner, sock).start()
    yield url
    await runner.cleanup()


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _wsgi(app: Any) -> Iterator[str]:
    with wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def _flask() -> AsyncIterator[str]:
    with _wsgi(recipe("Flask").app) as url:
        yield url


@asynccontextmanager
async def _django() -> AsyncIterator[str]:
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    module = recipe("Django")
    if not settings.configured:
        settings.configure(ROOT_URLCONF=module.__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="x" * 50)
    with _wsgi(get_wsgi_application()) as url:
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
        await recipe("Create one").create(f"{url}/ezeep")
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
