"""The recipes of docs/how-to/print-from-a-web-app.md: web applications that print what people upload."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from helpers import documents
from helpers.support import put, sandbox_in_a_thread
from web.recipes import on_django, on_uvicorn, on_wsgi, recipe

from ezeep_async import (
    BlockingSession,
    EzeepSession,
    FileTokenStore,
    OutcomeUnknown,
    PermissionDenied,
    SessionClosed,
    run_sync,
)
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

PRINT = "POST /sfapi/Print/"
LARGE = b"%PDF-1.4" + b"x" * 9_000_000


@attrs.frozen
class App:
    """A running application."""

    url: str
    limit: Callable[[int], None]
    """Sets the largest document, in bytes."""


@pytest.fixture(params=["fastapi", "django", "flask"])
async def app(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    """An application, with a session in the sandbox."""
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", str(tmp_path / "login.json"))
    for name in ("account", "api", "print"):
        monkeypatch.setenv(f"EZEEP_{name.upper()}_URL", getattr(sandbox.endpoints, name))
    module = recipe("docs/how-to/print-from-a-web-app.md", request.param)
    match request.param:
        case "fastapi":
            async with on_uvicorn(module.app) as url:
                yield App(url, partial(setattr, module, "LARGEST"))
        case "django":
            from django.urls import path

            module.urlpatterns = [path("print", module.print_upload)]
            with on_django(module) as url:
                yield App(url, partial(setattr, module, "LARGEST"))
            await asyncio.to_thread(module.ezeep.close)
        case "flask":

            def limit(size: int) -> None:
                module.app.config["MAX_CONTENT_LENGTH"] = size

            with on_wsgi(module.app) as url:
                yield App(url, limit)
            await asyncio.to_thread(module.ezeep.close)


async def upload(url: str, name: str, content: bytes) -> tuple[int, str]:
    form = aiohttp.FormData()
    form.add_field("document", io.BytesIO(content), filename=name)
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/print", data=form) as response,
    ):
        return response.status, await response.text()


async def test_an_upload_is_printed(sandbox: Sandbox, app: App) -> None:
    """A large one, too, which is uploaded in blocks."""
    for name, content in (("small.txt", b"Hello"), ("large.pdf", LARGE)):
        status, body = await upload(app.url, name, content)
        assert status == 202
        printed = sandbox.printed[-1]
        assert printed.alias == name
        assert printed.content == content
        assert json.loads(body) == {"job": printed.job_id}


async def test_what_cannot_be_printed_is_an_error_of_the_client(sandbox: Sandbox, app: App) -> None:
    """The limit is small: Flask responds before it has read the document, which is then in the buffers of the socket."""
    app.limit(4999)
    for name, content, expected, words in (
        ("empty.pdf", b"", 400, "empty"),
        ("a.exe", b"MZ", 400, "'exe'"),
        ("noending", b"x", 400, "type="),
        ("large.pdf", b"%PDF-1.4" + b"x" * 5000, 413, ""),
    ):
        status, body = await upload(app.url, name, content)
        assert (status, words in body) == (expected, True), body
    assert sandbox.printed == []


def test_a_key_stays_if_the_document_may_be_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`print_once` of the page: after a lost response, and after the session was closed meanwhile."""
    page = "docs/how-to/print-from-a-web-app.md"
    (text,) = [block.text for block in documents.blocks(page) if "def print_once" in block.text]
    monkeypatch.chdir(tmp_path)
    module: dict[str, Any] = {}
    exec(text.partition("\nwith run_sync")[0], module)
    with sandbox_in_a_thread() as sandbox, contextlib.closing(module["database"]):

        def session() -> BlockingSession:
            tokens = sandbox.tokens()
            return run_sync(EzeepSession(sandbox.oauth_app, tokens=tokens, endpoints=sandbox.endpoints))

        with session() as used, session() as closed, ThreadPoolExecutor(1) as thread:
            sandbox.faults.add(PRINT, status=403)
            with pytest.raises(PermissionDenied):
                module["print_once"](used, "refused", b"%PDF-1.4")
            assert module["print_once"](used, "refused", b"%PDF-1.4") == sandbox.printed[-1].job_id
            sandbox.faults.add(PRINT, drop="after")
            with pytest.raises(OutcomeUnknown):
                module["print_once"](used, "lost", b"%PDF-1.4")

            def close() -> None:
                asyncio.run(hold.arrived())
                closed.close()

            hold = sandbox.faults.hold(PRINT, after=True)
            closing = thread.submit(close)
            with pytest.raises(SessionClosed):
                module["print_once"](closed, "closed", b"%PDF-1.4")
            closing.result()
            hold.release()
            for key in ("lost", "closed"):
                assert module["print_once"](used, key, b"%PDF-1.4") is None
            assert len(sandbox.printed) == 3
