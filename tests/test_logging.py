"""What the package writes to the log, and what whoever configures no logging sees of it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from ezeep_async import EzeepSession, FileTokenStore, MemoryTokenStore, OAuthApp, ReauthorizationRequired


APP = OAuthApp("client-100%s-of-us")


def test_an_error_is_seen_once_where_no_logging_is_configured() -> None:
    """As an exception: Python's handler of last resort has nothing to add."""
    script = (
        "import asyncio\nfrom ezeep_async import EzeepSession, OAuthApp\n"
        "async def main():\n    async with EzeepSession(OAuthApp('x')) as session:\n        await session.oauth.refresh()\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.count("nobody is logged in") == 1, ran.stderr
    assert ran.stderr.startswith("Traceback")


def test_logging_that_is_configured_gets_the_line() -> None:
    script = (
        "import asyncio, logging\nfrom ezeep_async import EzeepSession, OAuthApp\nlogging.basicConfig()\n"
        "async def main():\n    async with EzeepSession(OAuthApp('x')) as session:\n        await session.oauth.refresh()\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert "WARNING:ezeep_async.auth:" in ran.stderr


class _OwnStore(MemoryTokenStore):
    def __repr__(self) -> str:
        return "password=hunter2"


async def test_a_line_says_which_token_set_it_is_about(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The client id and the place. Of a store that others wrote, the class: its repr is theirs."""
    path = tmp_path / "100%d.json"
    with caplog.at_level(logging.WARNING, "ezeep_async"):
        for store in (FileTokenStore(path), _OwnStore()):
            async with EzeepSession(APP, store) as session:
                with pytest.raises(ReauthorizationRequired):
                    await session.oauth.refresh()
    first, second = caplog.messages
    assert first.endswith(f"(client 'client-100%s-of-us', FileTokenStore({str(path)!r}))")
    assert second.endswith("(client 'client-100%s-of-us', _OwnStore)")
