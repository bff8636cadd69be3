"""Tests of app.py in a sandbox. They need no account, and no plugin for asynchronous tests.

pip install pytest
python -m pytest
"""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from app import create_app
from ezeep_async import FileTokenStore


@pytest.fixture(autouse=True)
def login(ezeep_sandbox, monkeypatch, tmp_path):
    """Store a token set of the sandbox, as `ezeep login` does for the real service."""
    monkeypatch.setenv("EZEEP_CLIENT_ID", ezeep_sandbox.oauth_app.client_id)
    monkeypatch.setenv("EZEEP_ACCOUNT_URL", ezeep_sandbox.endpoints.account)
    monkeypatch.setenv("EZEEP_API_URL", ezeep_sandbox.endpoints.api)
    monkeypatch.setenv("EZEEP_PRINT_URL", ezeep_sandbox.endpoints.print)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", str(tmp_path / "login.json"))
    asyncio.run(FileTokenStore(tmp_path / "login.json").save(ezeep_sandbox.tokens()))


def test_an_upload_is_printed(ezeep_sandbox):
    async def main():
        async with TestClient(TestServer(create_app())) as client:
            query = {"printer": "Front desk laser", "name": "invoice.pdf"}
            response = await client.post("/print", params=query, data=b"%PDF-1.4 a page")
            assert response.status == 202

    asyncio.run(main())
    assert [printed.content for printed in ezeep_sandbox.printed] == [b"%PDF-1.4 a page"]


def test_an_outage_is_reported(ezeep_sandbox):
    async def main():
        async with TestClient(TestServer(create_app())) as client:
            assert len(await (await client.get("/groups")).json()) == 13
            ezeep_sandbox.faults.add("GET /printing/v1/groups/", status=503, retry_after=3600.0)
            response = await client.get("/groups")
            assert (response.status, response.headers["Retry-After"]) == (503, "3600")

    asyncio.run(main())
