"""A token file that can be read and not replaced: a mounted secret, or the folder of another user."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import environment, ezeep
from helpers.support import TOKEN, expired, put

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")

WARNING = (
    "ezeep: rotation cannot be persisted: the token set from {} is read-only. Its access token is used until it expires, "
    "and is not refreshed\n"
)


def _can_mount() -> bool:
    try:
        return not subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode
    except OSError:
        return False


mounts = pytest.mark.skipif(not _can_mount(), reason="needs the right to mount, at least in a user namespace")


def _mounted(command: str, env: dict[str, str], target: Path) -> subprocess.CompletedProcess[str]:
    """Run a command where `target` is mounted read-only."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(target), sys.executable, "-m", "ezeep_async", *command.split()],
        env=environment(env), capture_output=True, text=True, check=False, timeout=50,
    )  # shorter than one item a line  # fmt: skip


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(60)
@mounts
@pytest.mark.parametrize("what", ["folder", "file", "link"])
async def test_a_valid_login_on_a_read_only_mount_is_used(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, what: str
) -> None:
    """With a warning; no file appears. At its end nothing is sent: the refresh token stays valid for its owner."""
    folder = tmp_path / "secret"
    folder.mkdir()
    path = folder / "login.json"
    store, tokens = FileTokenStore(path), sandbox.tokens()
    await put(store, tokens)
    (folder / "login.json.lock").unlink()
    named = path
    if what == "link":  # as Kubernetes mounts a secret
        named = tmp_path / "login.json"
        for old in tmp_path.glob("login.json*"):
            old.unlink()
        named.symlink_to(path)
    env = login | {"EZEEP_TOKEN_FILE": str(named)}
    target = path if what == "file" else folder
    for command in ("whoami", "groups list"):
        ran = await asyncio.to_thread(_mounted, command, env, target)
        assert (ran.returncode, ran.stderr) == (0, WARNING.format(named))
    ran = await asyncio.to_thread(_mounted, "whoami", env, target)
    assert f"tokens stored in: {named}, which is read-only, and are not refreshed" in ran.stdout
    for command in ("refresh", "keep-alive"):
        ran = await asyncio.to_thread(_mounted, command, env, target)
        assert ran.returncode == 1
        assert "these tokens cannot be refreshed" in ran.stderr
    await put(store, expired(tokens))
    (folder / "login.json.lock").unlink()
    ran = await asyncio.to_thread(_mounted, "groups list", env, target)
    assert ran.returncode == 1
    assert "is read-only and is not refreshed" in ran.stderr
    assert [each.name for each in folder.iterdir()] == ["login.json"]
    assert sandbox.count(TOKEN) == 0
    assert (await ezeep("groups", "list", env=env)).code == 0


@pytest.mark.parametrize("is_writable", [True, False])
async def test_a_folder_that_the_user_may_not_write(
    login: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_writable: bool
) -> None:
    """As the system reports it: root may write everywhere, and tests may run as root."""
    asked: list[tuple[str, int]] = []
    real = os.access

    def access(path, mode, **options):
        asked.append((str(path), mode))
        return is_writable if mode & os.W_OK and str(path) == str(tmp_path) else real(path, mode, **options)

    monkeypatch.setattr(os, "access", access)
    ran = await ezeep("whoami", env=login)
    assert ran.code == 0
    assert ran.err == ("" if is_writable else WARNING.format(tmp_path / "login.json"))
    assert (str(tmp_path), os.W_OK | os.X_OK) in asked
    assert (await ezeep("whoami", "--quiet", env=login)).err == ""


async def test_a_file_with_mode_400_is_no_mount(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is replaced by a new file, as ever."""
    await put(FileTokenStore(tmp_path / "login.json"), expired(sandbox.tokens()))
    (tmp_path / "login.json").chmod(0o400)
    ran = await ezeep("whoami", env=login)
    assert (ran.code, ran.err) == (0, "")
    assert sandbox.refreshes == 1


async def test_a_folder_that_is_not_there_is_no_mount(login: dict[str, str], tmp_path: Path) -> None:
    env = login | {"EZEEP_TOKEN_FILE": str(tmp_path / "typo" / "login.json")}
    assert (
        await ezeep("whoami", env=env)
    ).refused() == "not logged in: run ezeep login, with --device if there is no browser"
