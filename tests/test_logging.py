"""What the package writes to the log, with and without a logging configuration."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from helpers.support import TOKEN, expired

from ezeep_async import (
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    OAuthApp,
    ReauthorizationRequired,
    TokenSet,
)
from ezeep_async.sandbox import Sandbox


APP = OAuthApp("client-100%s-of-us")


@pytest.mark.slow
def test_an_error_is_seen_once_where_no_logging_is_configured() -> None:
    """As an exception: Python's handler of last resort has nothing to add."""
    script = (
        "import asyncio\nfrom ezeep_async import EzeepSession, OAuthApp\n"
        "async def main():\n    async with EzeepSession(OAuthApp('x')) as session:\n        await session.oauth.refresh()\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.count("not logged in") == 1, ran.stderr
    assert ran.stderr.startswith("Traceback")


@pytest.mark.slow
def test_logging_that_is_configured_gets_the_line() -> None:
    script = (
        "import asyncio, logging\nfrom ezeep_async import EzeepSession, OAuthApp\nlogging.basicConfig()\n"
        "async def main():\n    async with EzeepSession(OAuthApp('x')) as session:\n        await session.oauth.refresh()\n"
        "asyncio.run(main())"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert "WARNING:ezeep_async.auth:" in ran.stderr


async def test_a_line_names_the_user_of_a_jwt(caplog: pytest.LogCaptureFixture) -> None:
    """The id in the access token, at most 100 characters of it, and nothing that breaks the line."""
    subject = "77777777-8888\n%s" + "x" * 200
    payload = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    tokens = TokenSet(f"header.{payload}.signature", "", datetime(2020, 1, 1, tzinfo=UTC))
    async with EzeepSession(APP, MemoryTokenStore(tokens)) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.getMessage().endswith(f", user '77777777-8888\\n%s{'x' * 84}')")


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


class _FailingStore(MemoryTokenStore):
    """Another process has the token set by the time that it is read, and the lock is not given back."""

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None]:
        async with super().lock():
            yield
        raise OSError("no lock")


def _raises(old: object, new: object) -> None:
    raise ValueError("hook")


async def test_every_line_of_a_session_says_which_token_set_it_is_about(
    caplog: pytest.LogCaptureFixture, sandbox: Sandbox
) -> None:
    """Also those of its hooks, the lock, `tokens=` and the response; and none doubles the client id's own %."""
    app = attrs.evolve(sandbox.oauth_app, client_id=APP.client_id)
    body = b'{"access_token": "access", "refresh_token": "no\\u00e9", "expires_in": 60}'
    sandbox.faults.add(TOKEN, drop="before", times=1)
    sandbox.faults.add(TOKEN, nth=2, status=200, body=body)
    store = _FailingStore(expired(sandbox.tokens()))
    options = {"endpoints": sandbox.endpoints, "on_token_rotated": _raises, "tokens": sandbox.tokens()}
    with caplog.at_level(logging.WARNING, "ezeep_async.auth"):
        async with EzeepSession(app, store, **options) as session:
            await session.oauth.refresh()
    said = "\n".join(caplog.messages)
    parts = (
        "sending the refresh token once more",
        "cannot be used",
        "could not be released",
        "tokens= was",
        "on_token_rotated",
    )
    for part in parts:
        assert part in said
    assert all(line.endswith("(client 'client-100%s-of-us', _FailingStore)") for line in caplog.messages), (
        said
    )
