"""Closed streams and unknown home folders: one sentence each."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, Ran, environment, ezeep

from ezeep_async import FileTokenStore, KeyringTokenStore, ReadOnlyTokens


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell"),
]


def in_a_shell(arguments: str, **env: str) -> Ran:
    """Run the command as a shell does, redirections and all."""
    ran = subprocess.run(
        ["sh", "-c", f"exec {shlex.join(EZEEP)} {arguments}"],
        check=False,
        capture_output=True,
        text=True,
        env=environment(env),
        timeout=30,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        "login --client-id x --no-browser",
        "login --client-id x --password --username a@example.com",
        "login --client-id x --password",
        "login --client-id x --client-secret-file -",
    ],
)
def test_a_question_on_closed_standard_input_is_an_error(arguments: str) -> None:
    assert "no answer to" in in_a_shell(f"{arguments} <&-").refused()


def test_closed_standard_input_is_refused_as_a_table() -> None:
    assert in_a_shell("provision plan - --client-id x <&-").refused()


@pytest.mark.parametrize("arguments", ["--version", "--help", "whoami --client-id x", "demo --plain"])
def test_closed_standard_output(arguments: str) -> None:
    assert "standard output is closed" in in_a_shell(f"{arguments} >&-").refused()


def test_closed_standard_error() -> None:
    ran = in_a_shell("whoami 2>&-")
    assert (ran.code, ran.out, ran.err) == (1, "", "")


def test_everything_is_closed() -> None:
    assert in_a_shell("whoami <&- >&- 2>&-").code == 1


@pytest.mark.parametrize("option", ["--token-file", "--client-secret-file"])
async def test_an_unknown_home(option: str) -> None:
    ran = await ezeep("whoami", "--client-id", "x", option, "~nosuchuser/x")
    assert ran.refused().startswith("~nosuchuser/x: ")


async def test_an_unknown_home_in_the_configuration(tmp_path: Path) -> None:
    assert "~nosuchuser" in (await ezeep("whoami", env={"EZEEP_CONFIG": "~nosuchuser/x"})).refused()
    (tmp_path / "config.toml").write_text('client_id = "x"\ntoken_file = "~nosuchuser/x"\n')
    ran = await ezeep("whoami", env={"EZEEP_CONFIG": str(tmp_path / "config.toml")})
    assert "~nosuchuser" in ran.refused()


# A user who is in no user database, as in many containers, and has no HOME.
_HOMELESS = """
import os, pwd, sys
def unknown(_): raise KeyError("no such user")
pwd.getpwuid = unknown
from ezeep_async.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("known", "missing"), [((), "XDG_CONFIG_HOME"), (("XDG_CONFIG_HOME",), "XDG_STATE_HOME")]
)
def test_a_user_without_a_home(tmp_path: Path, known: tuple[str, ...], missing: str) -> None:
    env = {
        name: value for name, value in environment().items() if name != "HOME" and not name.startswith("XDG_")
    } | {name: str(tmp_path) for name in known}
    ran = subprocess.run(
        [sys.executable, "-c", _HOMELESS, "whoami", "--client-id", "x"],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        timeout=30,
    )
    assert missing in Ran(ran.returncode, ran.stdout, ran.stderr).refused()
    assert list(tmp_path.iterdir()) == []


def test_stores_refuse_an_unknown_home() -> None:
    for make in (
        lambda: FileTokenStore("~nosuchuser/x"),
        lambda: KeyringTokenStore(folder="~nosuchuser"),
        lambda: ReadOnlyTokens("~nosuchuser/x"),
    ):
        with pytest.raises(ValueError, match="~nosuchuser"):
            make()
