"""What programs read from a command: UTF-8 and whole, whatever the terminal, the settings for colours and the disk say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, ended, environment, started

from ezeep_async.cli.directory.groups import list_groups, list_members, show_group
from ezeep_async.cli.directory.users import groups_of_user, list_users, show_user
from ezeep_async.cli.login.commands import whoami
from ezeep_async.cli.provision.commands import Planning, plan_file
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow


NAME = "Zürich 東京 \N{PRINTER}"
"""A group's name that cp1252 does not have."""
PLANNING = Planning(on_missing="skip")
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@pytest.fixture
def named(sandbox: Sandbox, login: dict[str, str]) -> dict[str, str]:
    """The environment of a login at an organization with such a group, which has a member."""
    group = sandbox.organization.add_group(NAME)
    user = sandbox.organization.listed_users()[0]
    user.groups.add(group.id)
    return login


# --- the encoding --------------------------------------------------------------------------------------------------


def member(sandbox: Sandbox) -> str:
    return str(sandbox.organization.listed_users()[0].id)


COMMANDS: dict[str, Callable[[Sandbox], Awaitable[object]]] = {
    "groups list": lambda _: list_groups(as_json=True),
    "groups show": lambda _: show_group(NAME, as_json=True),
    "groups members": lambda _: list_members(NAME, as_json=True),
    "users list": lambda _: list_users(as_json=True),
    "users show": lambda sandbox: show_user(member(sandbox), as_json=True),
    "users groups": lambda sandbox: groups_of_user(member(sandbox), as_json=True),
    "whoami": lambda _: whoami(as_json=True),
    "provision plan": lambda _: plan_file(Path("new.csv"), planning=PLANNING, as_json=True),
}


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("command", COMMANDS)
async def test_json_is_utf_8_whatever_the_terminal_has(
    capsysbinary: pytest.CaptureFixture[bytes], sandbox: Sandbox, tmp_path: Path, command: str
) -> None:
    (tmp_path / "new.csv").write_text(f"group,member\nNew {NAME},{member(sandbox)}\n", "utf-8")
    for person_id in (sandbox.organization.admin_id, sandbox.organization.listed_users()[0].id):
        sandbox.organization.people[person_id].first_name = NAME
    sys.stdout.reconfigure(encoding="cp1252", errors="backslashreplace")
    await COMMANDS[command](sandbox)
    assert NAME in str(json.loads(capsysbinary.readouterr().out.decode("utf-8")))


async def test_rows_and_csv_in_a_pipe_are_utf_8(named: dict[str, str]) -> None:
    for command in ("groups list", "export"):
        async with started(*command.split(), env={**named, "PYTHONIOENCODING": "cp1252"}) as process:
            out, err = await process.communicate()
        assert (process.returncode, b"Traceback" in err) == (0, False)
        assert "Zürich 東京 \N{PRINTER}" in out.decode("utf-8")


async def test_the_sandboxs_environment_keeps_the_bytes_of_a_path(tmp_path: Path) -> None:
    """A file's name need not be text at all."""
    name = os.fsdecode(b"z\xfcrich-\xe2\x8c\x98.json")
    async with started(
        "sandbox", "--users", "1", "--token-file", name, folder=tmp_path, env={"PYTHONIOENCODING": "cp1252"}
    ) as process:
        assert process.stdout is not None
        shown = b"".join([await process.stdout.readline() for _ in range(6)])
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert b"z\xfcrich-\xe2\x8c\x98.json" in shown


# --- the form ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"FORCE_COLOR": "1"},
        {"TTY_COMPATIBLE": "1"},
        {"CLICOLOR_FORCE": "1"},
        {"NO_COLOR": "1"},
        {"TERM": "dumb"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("named")
async def test_rows_have_one_form_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]
) -> None:
    await list_groups()
    rows = capsys.readouterr().out
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    await list_groups()
    assert capsys.readouterr().out == rows
    assert "\t" in rows


@pytest.mark.parametrize(
    "setting", [{"FORCE_COLOR": ""}, {"TTY_COMPATIBLE": "0"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str
)
@pytest.mark.usefixtures("login")
async def test_a_terminal_gets_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"COLUMNS": "120", "TERM": "xterm", **setting}.items():
        monkeypatch.setenv(name, value)
    await list_groups()
    shown = capsys.readouterr().out
    assert "members" in shown
    assert "\t" not in shown
    if setting.keys() & {"NO_COLOR", "TERM"}:
        assert "\x1b[3" not in shown


# --- to the last byte ----------------------------------------------------------------------------------------------

_SMALL_DISK = (
    # Without bytecode: it would be cut off too, and kept (https://github.com/python/cpython/issues/126606, before 3.14).
    "import resource, runpy, sys; sys.dont_write_bytecode = True; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)); sys.argv[0] = 'ezeep'; "
    "runpy.run_module('ezeep_async', run_name='__main__')"
)
"""Files take 700 bytes, and no more: like a disk that is nearly full."""


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        ("groups list --json", True),
        ("export", True),
        ("provision plan few.csv --json", True),
        ("users list", False),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
async def test_what_is_cut_short_is_an_error(
    login: dict[str, str], few: Path, tmp_path: Path, command: str, unbuffered: bool
) -> None:
    """Not 0, and not the 2 of a plan."""
    assert few.exists()
    with (tmp_path / "out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(["-u"] if unbuffered else []),
            "-c",
            _SMALL_DISK,
            *command.split(),
            env=environment(login),
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
    assert (tmp_path / "out").stat().st_size == 700
    assert process.returncode == 1
    (line,) = err.decode().splitlines()
    assert "standard output cannot be written: File too large" in line or line.endswith("File too large")


@needs_full
@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        ("whoami", ""),
        ("groups list --json", "1"),
        ("groups show nosuch", ""),
        ("users list", ""),
        ("users list --json", ""),
    ],
)
async def test_a_full_disk_is_one_sentence(login: dict[str, str], command: str, unbuffered: str) -> None:
    env = {**login, "PYTHONUNBUFFERED": unbuffered}
    with FULL.open("wb") as full:
        async with started(*command.split(), env=env, stdout=full.fileno()) as process:
            ran = await ended(process)
    said = ran.refused()
    assert (
        "'nosuch'" in said if "nosuch" in command else "standard output cannot be written: No space" in said
    )


@needs_full
def test_an_error_that_cannot_be_said_keeps_its_code() -> None:
    with FULL.open("wb") as full:
        ran = subprocess.run([*EZEEP, "groups", "list", "--nosuch"], stdout=full, stderr=full, check=False)
    assert ran.returncode == 64


@pytest.mark.parametrize(
    "command",
    ["export", "groups list --json", "provision plan few.csv", "--help", "users list --help", "--version"],
)
async def test_a_reader_that_goes_away_is_silence(login: dict[str, str], few: Path, command: str) -> None:
    assert few.exists()
    reader, writer = os.pipe()
    os.close(reader)
    async with started(*command.split(), env=login, stdout=writer) as process:
        os.close(writer)
        ran = await ended(process)
    assert (ran.code, ran.err) == (141, "")
