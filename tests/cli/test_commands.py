"""The commands as functions, in this process: what they print, and what they do."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID

import pytest

from ezeep_async import AuthorizationDenied, EzeepError
from ezeep_async.cli import main as main_module
from ezeep_async.cli.demo.command import allow, demo, problems_of
from ezeep_async.cli.demo.sandbox import sandbox as sandbox_command
from ezeep_async.cli.directory.groups import create_group, list_groups, show_group
from ezeep_async.cli.directory.users import list_users, show_user
from ezeep_async.provisioning import ChangeMemberships, DesiredState, Report, Row, TargetGroup
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]


def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The captured output is taken for a terminal."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)


# --- the demo ------------------------------------------------------------------------------------------------------


async def test_the_demo_in_plain_lines(capsys: Capture) -> None:
    assert await demo() == 0
    shown = capsys.readouterr().out
    assert "half-way: all access tokens expire" in shown
    assert "69 of 138 changes" in shown
    assert "refreshes: 1" in shown


@pytest.mark.slow
async def test_the_demo_in_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    assert await demo() == 0
    shown = capsys.readouterr().out
    assert "138/138" in shown
    assert "they were refreshed once" in shown
    assert "\x1b[" in shown


async def test_plain_is_plain_in_a_terminal_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    assert await demo(plain=True) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("users", "seed"), [(134, 1), (5, 0), (1, 3), (300, 0)])
async def test_another_organization_gets_the_files_pattern(capsys: Capture, users: int, seed: int) -> None:
    assert await demo(users=users, seed=seed) == 0
    shown = capsys.readouterr().out
    assert "its pattern is applied to this one" in shown
    changed = int(shown.partition("users changed: ")[2].split()[0])
    assert 0.9 * users <= changed <= users
    assert "refreshes: 1" in shown


@pytest.mark.parametrize("rows", [0, 1, 2])
async def test_the_one_refresh_is_seen_however_little_there_is_to_do(
    capsys: Capture, tmp_path: Path, rows: int
) -> None:
    path = tmp_path / "few.csv"
    people = ["second.user@example.com", "first.user@example.com"][:rows]
    path.write_text("group,member\n" + "".join(f"Sales,{person}\n" for person in people), "utf-8")
    assert await demo(csv=path) == 0
    shown = capsys.readouterr().out
    assert "refreshes: 1" in shown
    assert f"memberships added: {rows}" in shown


def test_the_bundled_file_fits_the_organization_that_it_is_made_for() -> None:
    path = Path(main_module.__file__).parent / "data" / "demo.csv"
    desired = DesiredState.from_csv(path)
    organization = Sandbox().organization
    known = {person.email for person in organization.people.values()}
    assert {member for members in desired.groups.values() for member in members} <= known
    assert (desired.rows, desired.duplicates, len(desired.groups)) == (350, 14, 10)


async def test_a_demo_that_failed_says_so(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and a sentence for each thing that is not as it must be."""

    def refuse(self: Sandbox) -> None:
        self.faults.add("PATCH /printing/v1/users/{id}/", status=403, times=2)

    monkeypatch.setattr(Sandbox, "expire_access_tokens", refuse)
    assert await demo() == 1
    captured = capsys.readouterr()
    assert "failures: 2" in captured.out
    lines = captured.err.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["ezeep:"] * 3
    assert "2 changes failed, the first: " in lines[0]
    assert ": add to " in lines[0]
    assert "refreshed 0 times" in lines[1]
    assert "the second run wrote 2 times" in lines[2]


def test_the_verdict() -> None:
    change = ChangeMemberships(UUID(int=1), "a@example.com", (TargetGroup("Sales", UUID(int=2)),))
    good = Report((Row(change=change, outcome="updated"),))
    assert problems_of(good, 1, 0) == []
    bad = Report((Row(change=change, outcome="failed", error=EzeepError("no")),))
    assert problems_of(bad, 2, 1) == [
        "1 changes failed, the first: a@example.com: add to 'Sales': no",
        "the tokens were refreshed 2 times instead of once",
        "the second run wrote once, and had nothing to write",
    ]


# --- the browser ---------------------------------------------------------------------------------------------------


async def test_an_error_for_the_application_is_a_redirect(sandbox: Sandbox) -> None:
    url = f"{sandbox.endpoints.account}/oauth/authorize/?response_type=token&client_id={sandbox.oauth_app.client_id}"
    assert "error=unsupported_response_type" in await allow(
        f"{url}&redirect_uri={sandbox.oauth_app.redirect_uri}"
    )


async def test_a_page_that_is_no_consent_page_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(AuthorizationDenied, match="400: This client id is not registered"):
        await allow(f"{sandbox.endpoints.account}/oauth/authorize/")


# --- groups and users ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_groups(capsys: Capture, sandbox: Sandbox) -> None:
    await list_groups()
    assert len(capsys.readouterr().out.splitlines()) == 13
    await list_groups(as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["origin"] == {"provider": "Azure", "foreign_id": "9cb21a02-7985-47b5-82c0-d656e3830cc4"}
    await show_group(listed[0]["id"])
    assert "name: WVD Printers\n" in capsys.readouterr().out
    await create_group("Finance")
    assert capsys.readouterr().out.startswith("created 'Finance'\n")
    await create_group("Finance")
    assert "exists already: nothing changed" in capsys.readouterr().out
    await create_group("Sales 2", organization_id=listed[0]["organization_id"], as_json=True)
    assert json.loads(capsys.readouterr().out)["name"] == "Sales 2"
    sandbox.organization.add_group("Other").organization_id = UUID(int=9)
    with pytest.raises(ValueError, match="--organization-id is needed"):
        await create_group("Third")


@pytest.mark.usefixtures("login")
async def test_users(capsys: Capture, sandbox: Sandbox) -> None:
    await list_users()
    assert len(capsys.readouterr().out.splitlines()) == 134
    group = next(group for group in sandbox.organization.groups.values() if group.name == "Sales")
    await list_users(group=str(group.id), as_json=True)
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == sandbox.organization.num_members(group.id)
    assert all("@" in user["email"] for user in listed)
    await show_user(listed[0]["id"])
    shown = capsys.readouterr().out
    assert f"e-mail: {listed[0]['email']}\n" in shown
    assert "Sales" in shown
    await show_user(listed[0]["id"], as_json=True)
    assert json.loads(capsys.readouterr().out)["email"] == listed[0]["email"]


@pytest.mark.usefixtures("login")
async def test_users_whom_the_directory_does_not_show(capsys: Capture, sandbox: Sandbox) -> None:
    """The printing API is enough: names are a courtesy."""
    user = sandbox.organization.listed_users()[0]
    sandbox.faults.add("GET /v1/users/", status=403, times=None)
    sandbox.faults.add("GET /v1/users/{id}/", status=404, times=None)
    await list_users()
    assert capsys.readouterr().out.startswith(f"{user.id}\t\t\t")
    await show_user(str(user.id))
    assert "e-mail: \n" in capsys.readouterr().out


@pytest.mark.usefixtures("login")
async def test_tables_in_a_terminal(
    capsys: Capture, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are shown as they are: not as markup, and not as commands to the terminal."""
    terminal(monkeypatch)
    group = sandbox.organization.add_group("[red]Print\x1b[2J\x07 room")
    await list_groups()
    await show_group(str(group.id))
    shown = capsys.readouterr().out
    assert shown.count("[red]Print\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER} room") == 2
    assert "\x1b[2J" not in shown


# --- the sandbox ---------------------------------------------------------------------------------------------------


async def test_a_token_file_that_cannot_be_deleted_is_reported(capsys: Capture, tmp_path: Path) -> None:
    serving = asyncio.create_task(sandbox_command(token_file=Path("login.json"), users=3))
    while "serving" not in capsys.readouterr().err:
        await asyncio.sleep(0.01)
    (tmp_path / "login.json.lock").unlink()
    (tmp_path / "login.json.lock").mkdir()
    serving.cancel()
    await asyncio.wait({serving})
    assert f"{tmp_path / 'login.json'} is still there: " in capsys.readouterr().err


async def test_the_sandbox_command_serves_until_it_is_cancelled(capsys: Capture, tmp_path: Path) -> None:
    serving = asyncio.create_task(sandbox_command(token_file=Path("login.json"), users=3))
    while "serving" not in (err := capsys.readouterr().err):
        await asyncio.sleep(0.01)
    assert err == "serving until Ctrl-C\n"
    assert (tmp_path / "login.json").exists()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not (tmp_path / "login.json").exists()


async def test_the_sandbox_command_without_a_file(capsys: Capture) -> None:
    serving = asyncio.create_task(sandbox_command(users=3))
    out = ""
    while "EZEEP_API_URL" not in out:
        await asyncio.sleep(0.01)
        out += capsys.readouterr().out
    assert "EZEEP_TOKEN_FILE" not in out
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_file_that_cannot_be_used_is_not_blamed_on_its_age(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EzeepError) as caught:
        await sandbox_command(token_file=tmp_path / "file" / "login.json")
    assert "does not exist yet" not in str(caught.value)
