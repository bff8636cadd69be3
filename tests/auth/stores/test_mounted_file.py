"""A token file that cannot be replaced: `check_writable` fails before the refresh token is spent."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import TOKEN, expired, open_session, put, sandbox_in_a_thread

from ezeep_async import FileTokenStore, TokenPersistError
from ezeep_async.sandbox import Sandbox


CHILD = """
import asyncio, subprocess, sys

from ezeep_async import Endpoints, EzeepSession, FileTokenStore, OAuthApp, TokenPersistError

client_id, account, api, host, path = sys.argv[1:]
subprocess.run(["mount", "--bind", host, path], check=True)


async def main():
    endpoints = Endpoints(account, api)
    async with EzeepSession(OAuthApp(client_id), FileTokenStore(path), endpoints=endpoints) as session:
        await session.accounts.me()


try:
    asyncio.run(main())
except TokenPersistError as error:
    print(error)
"""


def _can_mount() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        return not subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.skipif(not _can_mount(), reason="needs the right to mount, at least in a user namespace")
def test_2_7_a_file_that_is_a_mount_point_is_refused_before_its_token_is_spent(tmp_path: Path) -> None:
    """2-7: as with `docker run -v login.json:/app/login.json`: no request is sent, and the refresh token still works."""
    host, path = tmp_path / "host.json", tmp_path / "login.json"
    path.touch()
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(FileTokenStore(host), expired(sandbox.tokens())))
        before = host.read_bytes()
        where = [sandbox.oauth_app.client_id, sandbox.endpoints.account, sandbox.endpoints.api]
        command = ["unshare", "-m", sys.executable, "-c", CHILD, *where, str(host), str(path)]
        child = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "mount its folder instead" in child.stdout
        assert sandbox.count(TOKEN) == 0
        assert host.read_bytes() == before
        assert sorted(each.name for each in tmp_path.iterdir()) == [
            "host.json",
            "host.json.lock",
            "login.json",
            "login.json.lock",
        ]

        async def works() -> None:
            async with open_session(sandbox, FileTokenStore(host)) as session:
                await session.accounts.me()

        asyncio.run(works())


async def test_2_7_a_file_that_cannot_be_replaced_is_not_refreshed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-7: for any reason: a new file can be created, but not renamed over the old one."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), expired(sandbox.tokens()))
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "replace", refuse)
    async with open_session(sandbox, FileTokenStore(path)) as session:
        with pytest.raises(TokenPersistError, match="not refreshed: Operation not permitted"):
            await session.accounts.me()
    assert sandbox.count(TOKEN) == 0
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.suffix in {".tmp", ".try"}] == []


async def test_2_4_check_writable_needs_as_much_space_as_save(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2-4: unknown keys are written again with the token set, so their size counts."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), expired(sandbox.tokens()))
    path.write_text(json.dumps({**json.loads(path.read_text()), "ours": "x" * 100_000}))
    written = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        written.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    await FileTokenStore(path).check_writable()
    assert max(written) > path.stat().st_size
