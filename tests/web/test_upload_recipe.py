"""The recipe of docs/how-to/printing.md: a web application that prints what people upload."""

from __future__ import annotations

import asyncio
import io
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from helpers.documents import marked
from helpers.support import put, until
from web.servers import listening

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]

LARGE = b"%PDF-1.4" + b"x" * 9_000_000


@pytest.fixture
async def url(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The application, with a session in the sandbox."""
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", str(tmp_path / "login.json"))
    for name in ("account", "api", "print"):
        monkeypatch.setenv(f"EZEEP_{name.upper()}_URL", getattr(sandbox.endpoints, name))
    source = marked("docs/how-to/printing.md", "upload")
    module: Any = types.ModuleType("recipe_upload")
    exec(compile(source, "docs/how-to/printing.md", "exec"), vars(module))
    sock, address = listening()
    server = uvicorn.Server(uvicorn.Config(module.app, log_config=None, ws="none"))
    running = asyncio.create_task(server.serve([sock]))
    await until(lambda: server.started)
    yield address
    server.should_exit = True
    await running


async def upload(url: str, name: str, content: bytes) -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("document", io.BytesIO(content), filename=name)
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/print", data=form) as response,
    ):
        return response.status, await response.json()


async def test_an_upload_is_printed(sandbox: Sandbox, url: str) -> None:
    """A large one, too, which is uploaded in blocks."""
    for name, content in (("small.txt", b"Hello"), ("large.pdf", LARGE)):
        status, body = await upload(url, name, content)
        assert status == 200
        printed = sandbox.printed[-1]
        assert (printed.job_id, printed.alias, printed.content == content) == (body["job"], name, True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("empty.pdf", b"", "empty"), ("a.exe", b"MZ", "'exe'"), ("noending", b"x", 'type="pdf"')],
)
async def test_what_cannot_be_printed_is_a_400(
    sandbox: Sandbox, url: str, name: str, content: bytes, words: str
) -> None:
    status, body = await upload(url, name, content)
    assert status == 400
    assert words in body["detail"]
    assert sandbox.printed == []
