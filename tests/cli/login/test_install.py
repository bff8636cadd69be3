"""`ezeep keep-alive --install`: a systemd unit and a line for crontab that run as they are printed."""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import environment, ezeep
from helpers.people import Desk
from helpers.support import put

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.skipif(os.name != "posix", reason="units and crontabs of Unix")

SECRET = "s3cret-of-the-client"
ODD = 'a "b" 50% $HOME \\x'
"""A folder name with everything that units, shells and crontabs treat specially."""


def value_of(unit: str, key: str) -> str:
    (line,) = [line for line in unit.splitlines() if line.startswith(f"{key}=")]
    return line.partition("=")[2]


def cron_line(unit: str) -> str:
    (line,) = [line for line in unit.splitlines() if line.startswith("*/20 * * * * ")]
    return line.removeprefix("*/20 * * * * ").replace("\\%", "%")


def systemd_words(line: str) -> list[str]:
    """The words of a command line in a unit (systemd.service(5))."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


async def test_what_is_printed(login: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """Absolute paths, the options of this command, and nothing is written."""
    before = sorted(tmp_path.iterdir())
    ran = await ezeep(
        "keep-alive", "--install", "--interval", "600", "--client-id", "my client", env=login, folder=tmp_path
    )
    assert (ran.code, ran.err) == (0, "")
    assert sorted(tmp_path.iterdir()) == before
    words = systemd_words(value_of(ran.out, "ExecStart"))
    assert words[:3] == [sys.executable, "-m", "ezeep_async"] or Path(words[0]).is_absolute()
    assert words[words.index("keep-alive") :] == [
        "keep-alive", "--interval", "600", "--client-id", "my client", "--token-file", str(tmp_path / "login.json"),
    ]  # fmt: skip  # one item a line is longer
    assert f"Environment=EZEEP_API_URL={sandbox.endpoints.api}\n" in ran.out
    assert value_of(ran.out, "Type") == "notify"
    assert value_of(ran.out, "RestartSec") == "60"
    assert ("User=" in ran.out) == (os.geteuid() != 0)
    if os.geteuid() != 0:
        assert value_of(ran.out, "User") == getpass.getuser()
    assert " refresh --if-older-than 900 --client-id 'my client' " in cron_line(ran.out)
    assert cron_line(ran.out).endswith(" >/dev/null")


@pytest.mark.slow
async def test_the_line_for_crontab_runs(login: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """By `sh` with the environment of cron. Odd names are quoted, and a second run has nothing to do."""
    folder = tmp_path / ODD
    folder.mkdir()
    tokens = sandbox.tokens()
    await put(FileTokenStore(folder / "login.json"), tokens)
    ran = await ezeep("keep-alive", "--install", "--token-file", "login.json", env=login, folder=folder)
    assert ran.code == 0, ran
    line = cron_line(ran.out).replace("--if-older-than 900", "--if-older-than 0")

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", line], env={"PATH": "/usr/bin:/bin", "HOME": "/"}, cwd="/",
            capture_output=True, text=True, check=False,
        )  # shorter than one item a line  # fmt: skip

    done = await asyncio.to_thread(run)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sandbox.refreshes == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["plain", ODD])
async def test_systemd_accepts_the_unit(login: dict[str, str], tmp_path: Path, name: str) -> None:
    """All that is printed, without a warning; and it reads the words that were meant."""
    folder = tmp_path / name
    folder.mkdir()
    ran = await ezeep("keep-alive", "--install", "--token-file", "login.json", env=login, folder=folder)
    assert ran.code == 0, ran
    assert systemd_words(value_of(ran.out, "ExecStart"))[-1] == str(folder / "login.json")
    unit = tmp_path / "ezeep-test-keep-alive.service"
    unit.write_text(ran.out)
    done = await asyncio.to_thread(
        subprocess.run, ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if "ezeep-test-keep-alive" in line]
    assert (done.returncode, lines) == (0, [])


async def test_the_default_file_and_the_configuration(desk: Desk) -> None:
    """Both are named, because a service has another home folder."""
    desk.config.write_text('scope = "printing"\n')
    env = desk.environment | {"EZEEP_CONFIG": ""}
    ran = await ezeep("keep-alive", "--install", env=env)
    assert ran.code == 0, ran
    assert f"Environment=EZEEP_CONFIG={desk.config}\n" in ran.out
    token_file = Path(systemd_words(value_of(ran.out, "ExecStart"))[-1])
    assert token_file.is_relative_to(desk.home / "state")


async def test_a_user_without_a_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as another user than its image has."""
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    ran = await ezeep("keep-alive", "--install", env=desk.environment)
    assert (ran.code, ran.err) == (0, "")
    assert value_of(ran.out, "User") == "54321"


async def test_a_profile(desk: Desk) -> None:
    """Of this command, or of the environment: named in both lines, with its own token file."""
    desk.config.write_text("[profiles.sales]\n")
    env = desk.environment | {"EZEEP_CONFIG": str(desk.config)}
    for arguments, more in ((("--profile", "sales"), {}), ((), {"EZEEP_PROFILE": "sales"})):
        ran = await ezeep("keep-alive", "--install", *arguments, env=env | more)
        assert ran.code == 0, ran
        assert " --profile sales " in value_of(ran.out, "ExecStart")
        assert "/sales-" in value_of(ran.out, "ExecStart")
        assert " --profile sales " in cron_line(ran.out)
        assert "EZEEP_PROFILE" not in ran.out


async def test_secrets_are_not_printed(desk: Desk) -> None:
    """Only where they are; and what to do is said."""
    secret_file = desk.home / "secret.txt"
    secret_file.write_text(SECRET)
    env = desk.environment | {
        "EZEEP_CLIENT_SECRET": SECRET,
        "EZEEP_PASSWORD": SECRET,
        "EZEEP_REFRESH_TOKEN": SECRET,
    }
    ran = await ezeep("keep-alive", "--install", env=env)
    assert ran.code == 0
    assert SECRET not in ran.out + ran.err
    assert "EZEEP_CLIENT_SECRET is a secret" in ran.err
    ran = await ezeep(
        "keep-alive", "--install", "--client-secret-file", "secret.txt", env=env, folder=desk.home
    )
    assert f"--client-secret-file {secret_file} " in value_of(ran.out, "ExecStart")
    assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--sandbox",), "ends with the command"),
        (("--client-secret-file", "-"), "cannot ask for a secret"),
    ],
)
async def test_what_no_service_can_do(desk: Desk, arguments: tuple[str, ...], problem: str) -> None:
    env = desk.alone if "--sandbox" in arguments else desk.environment
    ran = await ezeep("keep-alive", "--install", *arguments, env=env, stdin=f"{SECRET}\n")
    assert problem in ran.refused()


async def test_tokens_of_the_environment_and_of_a_keyring(desk: Desk) -> None:
    """The first are not refreshed; the second needs a desktop, which is said."""
    env = desk.environment | {"EZEEP_ACCESS_TOKEN": "x" * 20}
    assert "cannot keep these tokens alive" in (await ezeep("keep-alive", "--install", env=env)).refused()
    ran = await ezeep("keep-alive", "--install", "--keyring", env=desk.environment)
    assert ran.code == 0
    assert "--keyring" in value_of(ran.out, "ExecStart")
    assert "a service needs --token-file" in ran.err


@pytest.mark.slow
async def test_the_command_is_that_of_the_installed_script(login: dict[str, str]) -> None:
    """Found by its absolute path, whatever the working directory."""
    script = Path(sys.executable).with_name("ezeep")
    if not script.exists():
        pytest.skip("the console script is not installed")
    done = await asyncio.to_thread(
        subprocess.run, ["./ezeep", "keep-alive", "--install"],
        cwd=script.parent, env=environment(login), capture_output=True, text=True, check=True,
    )  # shorter than one item a line  # fmt: skip
    assert systemd_words(value_of(done.stdout, "ExecStart"))[0] == str(script)
