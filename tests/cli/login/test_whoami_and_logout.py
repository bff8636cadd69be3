"""`ezeep whoami`, `ezeep logout`, and the commands in a sandbox of their own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from helpers.browser import decide
from helpers.command_line import ended, ezeep, running, started
from helpers.people import Desk, visit
from helpers.support import put

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD


pytestmark = pytest.mark.timeout(60)


async def test_whoami_for_people(desk: Desk) -> None:
    await put(FileTokenStore(desk.home / "login.json"), desk.sandbox.tokens())
    ran = await ezeep("whoami", "--token-file", str(desk.home / "login.json"), env=desk.environment)
    assert ran.code == 0
    assert "access token expires: " in ran.out
    assert "(in 60 minutes)" in ran.out
    assert str(desk.sandbox.organization.organization_id) in ran.out


async def test_an_access_token_from_the_environment(desk: Desk) -> None:
    """2-13: it is used without a refresh, and the command says so."""
    tokens = desk.sandbox.tokens()
    env = desk.environment | {"EZEEP_ACCESS_TOKEN": tokens.access_token}
    ran = await ezeep("whoami", env=env)
    assert "tokens stored in: the environment, and is not refreshed" in ran.out
    assert "access token expires: unknown" in ran.out
    assert "read-only" in (await ezeep("login", env=env)).refused()
    assert not desk.browser_was_opened


async def test_logout_when_the_server_is_away(desk: Desk) -> None:
    path = desk.home / "login.json"
    await put(FileTokenStore(path), desk.sandbox.tokens())
    desk.sandbox.faults.add("POST /oauth/revoke/", status=503, times=None)
    arguments = ("logout", "--token-file", str(path))
    assert "The tokens are still stored" in (await ezeep(*arguments, env=desk.environment)).refused()
    assert path.exists()
    ran = await ezeep(*arguments, "--forget", env=desk.environment)
    assert (ran.code, ran.out) == (0, "Deleted here. The server did not revoke the tokens\n")
    assert not path.exists()


@pytest.mark.parametrize("command", [("whoami",), ("logout",), ("groups", "list"), ("users", "list")])
async def test_in_a_sandbox_of_its_own(desk: Desk, command: tuple[str, ...]) -> None:
    env = {"HOME": str(desk.home), "XDG_STATE_HOME": str(desk.home / "state")}
    ran = await ezeep(*command, "--sandbox", env=env)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out
    assert desk.token_files == []


@pytest.mark.slow
async def test_login_in_a_sandbox_of_its_own(desk: Desk) -> None:
    """The whole flow with nothing but this command."""
    async with running("login", "--sandbox", env=desk.alone) as process:
        assert (await visit(await desk.came_back()))[0] == 200
        ran = await ended(process)
    assert ran.code == 0, ran
    assert "Logged in as" in ran.out


@pytest.mark.slow
async def test_login_in_a_sandbox_of_its_own_with_a_pasted_address(desk: Desk) -> None:
    async with started("login", "--sandbox", "--no-browser", env=desk.alone) as process:
        assert process.stdout is not None
        while not (line := (await process.stdout.readline()).decode().strip()).startswith("http"):
            assert line
        _, came_back = await decide(line)
        ran = await ended(process, came_back + "\n")
    assert ran.code == 0, ran
    assert "Logged in as" in ran.out


@pytest.mark.slow
@pytest.mark.parametrize("password", [SANDBOX_PASSWORD, "wr0ng-one"])
async def test_login_in_a_sandbox_of_its_own_with_a_password(desk: Desk, password: str) -> None:
    """The right one logs in."""
    arguments = ("login", "--sandbox", "--password", "--username", SANDBOX_ADMIN)
    ran = await ezeep(*arguments, env=desk.alone, stdin=password + "\n")
    if password == SANDBOX_PASSWORD:
        assert (ran.code, ran.err) == (0, "")
        assert f"Logged in as {SANDBOX_ADMIN}" in ran.out
    else:
        assert "refused" in ran.refused()


async def test_which_client(desk: Desk) -> None:
    env = {name: value for name, value in desk.environment.items() if name != "EZEEP_CLIENT_ID"}
    assert "--client-id" in (await ezeep("login", env=env)).refused()
    ran = await ezeep("whoami", "--client-id", "x", env=env)
    assert "not logged in" in ran.refused()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
async def test_2_5_a_file_that_others_could_read_is_reported(desk: Desk, tmp_path: Path) -> None:
    """2-5: the warning is shown. The command only reads: it does not change the mode."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), desk.sandbox.tokens())
    path.chmod(0o644)
    env = desk.environment | {"EZEEP_TOKEN_FILE": str(path)}
    ran = await ezeep("whoami", env=env)
    assert ran.code == 0
    assert ran.err.startswith(f"ezeep: {path} can be read by other users (mode 644). ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


async def test_a_logout_that_cannot_delete_the_tokens_says_so(desk: Desk) -> None:
    env = desk.environment | {"EZEEP_ACCESS_TOKEN": desk.sandbox.tokens().access_token}
    ran = await ezeep("logout", env=env)
    assert ran.code == 0
    assert (
        ran.err
        == "ezeep: the token set is not used any more, but it is still in the environment: remove it there\n"
    )


@pytest.mark.parametrize("command", [("whoami",), ("groups", "list")])
async def test_not_logged_in(desk: Desk, command: tuple[str, ...]) -> None:
    """The message names the command to run."""
    ran = await ezeep(*command, env=desk.environment)
    assert ran.refused() == "not logged in: run ezeep login, with --device if there is no browser"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
async def test_a_wrong_token_file_is_left_as_it_is(desk: Desk, tmp_path: Path) -> None:
    """Neither its mode changes, nor do folders and lock files appear."""
    folder = tmp_path / "work"
    folder.mkdir()
    path = folder / "list.csv"
    path.write_text("a,b\n")
    path.chmod(0o664)
    ran = await ezeep("groups", "list", "--token-file", "list.csv", env=desk.environment, folder=folder)
    assert "list.csv is not a stored token set" in ran.refused()
    ran = await ezeep("whoami", "--token-file", "typo/dir/login.json", env=desk.environment, folder=folder)
    assert ran.refused() == "not logged in: run ezeep login, with --device if there is no browser"
    assert [each.name for each in folder.iterdir()] == ["list.csv"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert not desk.sandbox.requests


async def test_an_empty_token_file_means_not_logged_in(desk: Desk, tmp_path: Path) -> None:
    """For a logout too. The file stays."""
    path = tmp_path / "login.json"
    path.touch()
    env = desk.environment | {"EZEEP_TOKEN_FILE": f'"{path}"\n'}
    ran = await ezeep("logout", "--forget", env=env)
    assert (ran.code, ran.out, ran.err) == (0, "Not logged in\n", "")
