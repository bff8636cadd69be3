"""The FastAPI application of docs/how-to/json.md on uvicorn, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from fastapi.encoders import jsonable_encoder
from helpers import documents
from helpers.support import put, until
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from ezeep_async import EzeepSession, FileTokenStore, PrintOptions
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block  # the token file

RECIPE = documents.marked("docs/how-to/json.md", "fastapi")
UNDECLARED = documents.marked("docs/how-to/json.md", "undeclared")


@pytest.fixture
async def http(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the application, whose session is logged in."""
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", str(tmp_path / "login.json"))
    monkeypatch.setenv("EZEEP_ACCOUNT_URL", sandbox.endpoints.account)
    monkeypatch.setenv("EZEEP_API_URL", sandbox.endpoints.api)
    module = types.ModuleType("recipe")
    for recipe in (RECIPE, UNDECLARED):
        exec(compile(recipe, "docs/how-to/json.md", "exec"), vars(module))
    async with _served(module.app) as url, aiohttp.ClientSession(url) as client:
        yield client


@contextlib.asynccontextmanager
async def _served(app: object) -> AsyncIterator[str]:
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    running = asyncio.create_task(server.serve([sock]))
    try:
        await until(lambda: server.started or running.done())
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def test_handlers_return_records(http: aiohttp.ClientSession, session: EzeepSession) -> None:
    """The JSON of `to_dict`, without what the handler leaves out."""
    async with http.get("/groups") as response:
        groups = await session.groups.list().collect()
        assert await response.json() == [group.to_dict() for group in groups]
        assert len(groups) == 13
    async with http.get(f"/groups/{groups[0].id}") as response:
        assert await response.json() == {
            "name": groups[0].name,
            "origin": {"provider": groups[0].origin.provider},
        }
    async with http.get("/me") as response:
        mine = (await session.accounts.me()).to_dict()
        assert await response.json() == {name: value for name, value in mine.items() if value is not None}


async def test_handlers_take_records(http: aiohttp.ClientSession) -> None:
    """A wrong value is a 422 that names the field."""
    async with http.post("/options", json={"copies": 2, "paper": [210, 297]}) as response:
        assert await response.json() == PrintOptions(copies=2, paper=(210, 297)).to_dict()
    async with http.post("/options", json={"copies": 40_000}) as response:
        assert response.status == 422
        assert "copies must be an integer from 1 to 32767" in await response.text()


async def test_a_handler_without_a_type_returns_to_dict(
    http: aiohttp.ClientSession, session: EzeepSession
) -> None:
    async with http.get("/summary") as response:
        groups = await session.groups.list().collect()
        assert await response.json() == {"count": 13, "first": groups[0].to_dict()}


async def test_a_handler_without_a_type_cannot_return_a_record(session: EzeepSession) -> None:
    """With the messages that the page shows."""
    group = await session.groups.list().first()
    with pytest.raises(ValueError, match="'Group' object is not iterable"):
        jsonable_encoder(group)
    with pytest.raises(PydanticSerializationError, match="Unable to serialize unknown type"):
        TypeAdapter(Any).dump_json(group)
    page = (documents.ROOT / "docs/how-to/json.md").read_text("utf-8")
    assert "'Group' object is not iterable" in page
    assert "PydanticSerializationError: Unable to serialize unknown type" in page


async def test_the_description_has_the_fields(http: aiohttp.ClientSession) -> None:
    """OpenAPI: a schema with the name of each record, which responses and bodies refer to."""
    async with http.get("/openapi.json") as response:
        description = await response.json()
    schemas = description["components"]["schemas"]
    assert {"Group", "Origin", "AccountUser", "Invitation"} <= schemas.keys()
    group = schemas["Group"]
    assert group["properties"]["id"] == {"type": "string", "format": "uuid", "title": "Id"}
    assert group["properties"]["num_members"]["type"] == "integer"
    assert group["properties"]["origin"] == {"$ref": "#/components/schemas/Origin"}
    assert group["required"] == [*group["properties"]]
    joined = schemas["AccountUser"]["properties"]["date_joined"]["anyOf"]
    assert joined == [{"type": "string", "format": "date-time"}, {"type": "null"}]
    content = description["paths"]["/groups"]["get"]["responses"]["200"]["content"]["application/json"]
    assert content["schema"]["items"] == {"$ref": "#/components/schemas/Group"}
    body = description["paths"]["/options"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].startswith("#/components/schemas/PrintOptions")
