"""What the tests of the web flow share: both applications, one after the other."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.support import Clock
from web.servers import Browser, Site, serving

from ezeep_async.sandbox import Sandbox


@pytest.fixture(params=["aiohttp", "fastapi"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(
    kind: str, sandbox: Sandbox, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Site]:
    caplog.set_level(logging.DEBUG)
    async with serving(kind, sandbox, tmp_path / "logins", clock=clock) as site:
        yield site
        sandbox.faults.clear()  # closing would wait for what a failed test still holds


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[Browser]:
    async with Browser(site.url) as browser:
        yield browser
