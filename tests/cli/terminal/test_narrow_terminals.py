"""What people copy from a terminal is in one piece, however narrow it is, and sentences break between words."""

from __future__ import annotations

import re
import sys

import pytest
from helpers.people import Desk
from helpers.terminal import at_a_terminal
from rich.cells import cell_len

from ezeep_async.cli.demo.command import demo
from ezeep_async.cli.directory.groups import list_groups, show_group
from ezeep_async.cli.directory.users import groups_of_user, list_users, show_user
from ezeep_async.cli.login.commands import whoami
from ezeep_async.cli.terminal.output import complain
from ezeep_async.cli.terminal.screen import Screen, Whole, wrapped
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]
WIDTHS = [1, 20, 40, 80, 200]


each_width = pytest.mark.parametrize("width", WIDTHS)


def narrow(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Both streams are terminals of so many columns."""
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")  # no colours between the letters


# --- what is copied ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("login")
@each_width
async def test_ids_and_addresses_are_in_one_piece(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, width: int
) -> None:
    narrow(monkeypatch, width)
    organization = sandbox.organization
    user = organization.listed_users()[0]
    await list_users()
    shown = capsys.readouterr().out
    assert all(str(each.id) in shown for each in organization.listed_users())
    assert all(organization.people[each.id].email in shown for each in organization.listed_users())
    is_table = any("id" in line and "e-mail" in line for line in shown.splitlines())
    assert is_table == (width >= 200)
    await list_groups()
    shown = capsys.readouterr().out
    assert all(str(each.id) in shown and each.name in shown for each in organization.groups.values())
    group = next(iter(organization.groups.values()))
    for command, expected in (
        (show_group(group.name), (group.id, group.organization_id)),
        (show_user(str(user.id)), (user.id, organization.people[user.id].email)),
        (groups_of_user(str(user.id)), user.groups),
        (whoami(), (organization.organization_id, sandbox.endpoints.account, sandbox.oauth_app.client_id)),
    ):
        await command
        shown = capsys.readouterr().out
        assert all(str(each) in shown for each in expected), (shown, expected)


@pytest.mark.parametrize("length", [10, 60, 3000, 10_000])
@each_width
def test_the_address_of_a_pairing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int, length: int
) -> None:
    """However long it is: also one that no picture has room for."""
    narrow(monkeypatch, width)
    code, address = "WDJB-MJHT", "https://account.example.com/pair/?pairing_code=" + "x" * length
    Screen().pairing(code, address)
    shown = capsys.readouterr().out
    assert address in shown
    assert code in shown or " ".join(code) in shown


@each_width
def test_a_path_and_a_command_with_spaces(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    narrow(monkeypatch, width)
    command = "ezeep provision undo '/home/me/My Files/2026 audit.jsonl'"
    screen = Screen()
    screen.say("To take it back, whenever that is:", Whole(command))
    screen.facts({"tokens stored in": Whole("/home/me/My Files/login.json"), "name": "Another Person"})
    screen.flush()
    shown = capsys.readouterr().out
    assert command in shown
    assert "/home/me/My Files/login.json" in shown
    complain(f"there is no {command}, whatever others say")
    assert capsys.readouterr().err == f"ezeep: there is no {command}, whatever others say\n"


@pytest.mark.slow
async def test_login_at_a_narrow_terminal(desk: Desk) -> None:
    """The address to open, over the real terminal: no line end in it."""
    async with at_a_terminal("login", "--no-browser", env=desk.environment, columns=20) as terminal:
        await terminal.shows("The address: ")
        address = next(line for line in terminal.text.split("\n") if "http" in line)
        assert address.startswith(f"{desk.sandbox.endpoints.account}/oauth/authorize/")
        assert "code_challenge_method=S256" in address


# --- sentences -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("width", [20, 40, 80, 200])
async def test_the_demo_breaks_between_words(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    narrow(monkeypatch, width)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert await demo() == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out).replace("\r", "\n")
    for line in shown.splitlines():
        # Longer are words only, such as an address.
        assert cell_len(line) <= width or len(line.split()) == 1, line
    shown = " ".join(shown.split())
    assert "all access tokens expired half-way; they were refreshed once" in shown
    assert "4. The same again: nothing to change" in shown
    assert "printed, page 1 of 1" in shown


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("   one two three", ["   one", "   two", "   three"]),
        ("a  b", ["a  b"]),
        ("", [""]),
        ("incomprehensibilities are", ["incomprehensibilities", "are"]),
        ("say 'one two three' or", ["say", "'one two three'", "or"]),
        ("say 'one two", ["say 'one", "two"]),
        ('("one two"), it\'s so', ['("one two"),', "it's so"]),
        ("東京 東京 x", ["東京", "東京 x"]),
        ("one\ntwo\tx\x1b[1m", ["one�two�x�[1m"]),
    ],
)
def test_lines_of_eight(text: str, lines: list[str]) -> None:
    assert list(wrapped(text, 8)) == lines


def test_nothing_is_lost_in_lines() -> None:
    text = "to 'be or' not \"to be\" that (is 'the) question's end' of 'it"
    for width in range(1, 70):
        assert " ".join(wrapped(text, width)) == text


@pytest.mark.usefixtures("login")
async def test_one_is_not_several(capsys: Capture, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    narrow(monkeypatch, 60)
    group = sandbox.organization.add_group("Only")
    sandbox.organization.listed_users()[0].groups.add(group.id)
    await list_groups()
    assert "Only  1 member  0 printers" in capsys.readouterr().out
