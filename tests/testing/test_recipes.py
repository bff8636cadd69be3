"""The recipes of docs/how-to/testing.md in projects of their own: other plugins of pytest, unittest, recorded responses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.documents import marked


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PAGE = "docs/how-to/testing.md"

AIORESPONSES = """
import asyncio
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

from ezeep_async import EzeepSession, OAuthApp, TokenSet, run_sync

GROUPS = "https://api2.ezeep.com/printing/v1/groups/?limit=100&offset=0"
TOKENS = TokenSet("access", "refresh", expires_at=datetime.now(UTC) + timedelta(hours=1))


class CannedResponse(aiohttp.ClientResponse):
    def __init__(self, *args, **options):
        super().__init__(*args, stream_writer=Mock(output_size=0), **options)


@pytest.fixture
def canned():
    with aioresponses() as canned:
        canned.get(GROUPS, payload={"count": 0, "next": None, "results": []}, response_class=CannedResponse)
        yield canned


def test_blocking(canned):
    with run_sync(EzeepSession(OAuthApp("my-client"), tokens=TOKENS)) as session:
        assert session.groups.list().collect() == []


@pytest.mark.asyncio
async def test_async(canned):
    async with EzeepSession(OAuthApp("my-client"), tokens=TOKENS) as session:
        assert await session.groups.list().collect() == []
"""
PYTEST = ["-m", "pytest", "--strict-markers", "--strict-config", "-p", "no:cacheprovider", "--color=no"]


def _run(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder, env={**environment, "PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=100, check=False,
    )  # shorter than one item a line  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def _project(folder: Path, code: str, *settings: str) -> Path:
    loop_scope = "asyncio_default_fixture_loop_scope = function"
    (folder / "pytest.ini").write_text("\n".join(["[pytest]", loop_scope, *settings]))
    (folder / "test_code.py").write_text(code)
    return folder


def test_pytest_without_plugins(tmp_path: Path) -> None:
    """Sandboxes for blocking and asynchronous code, and the contract of token stores."""
    project = _project(tmp_path, marked(PAGE, "pytest"))
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "test_store.py").write_text(marked(PAGE, "contract"))
    said = _run(project, *PYTEST, "-p", "no:aiohttp", "-p", "no:asyncio")
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.parametrize(("mark", "mode"), [("pytest-asyncio", "strict"), ("pytest-aiohttp", "auto")])
def test_pytest_asyncio_and_pytest_aiohttp(tmp_path: Path, mark: str, mode: str) -> None:
    """The mode strict with a fixture that opens the session, and the mode auto with an application of aiohttp.web."""
    assert "1 passed" in _run(_project(tmp_path, marked(PAGE, mark), f"asyncio_mode = {mode}"), *PYTEST)


@pytest.mark.parametrize("others", [[], ["-p", "no:aiohttp", "-p", "no:asyncio"]])
def test_anyio(tmp_path: Path, others: list[str]) -> None:
    """Beside pytest-asyncio, and alone."""
    project = _project(tmp_path, marked(PAGE, "anyio"))
    if others:
        (project / "pytest.ini").write_text("[pytest]\n")
    assert "1 passed" in _run(project, *PYTEST, *others)


def test_unittest(tmp_path: Path) -> None:
    """By its own runner, which imports no pytest, and by pytest."""
    project = _project(tmp_path, marked(PAGE, "unittest"))
    assert "2 passed" in _run(project, *PYTEST)
    (project / "pytest.py").write_text("raise ImportError('pytest is not installed')")
    assert "Ran 2 tests" in _run(project, "-m", "unittest", "test_code")


def test_vcrpy(tmp_path: Path) -> None:
    """Recorded in one blocking session, replayed in another without a request."""
    assert "1 passed" in _run(_project(tmp_path, marked(PAGE, "vcrpy")), *PYTEST)


def test_aioresponses(tmp_path: Path) -> None:
    """Blocking and asynchronous, in one project."""
    assert "2 passed" in _run(_project(tmp_path, AIORESPONSES), *PYTEST)
