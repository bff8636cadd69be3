"""Text of others on the terminal: what names, messages and files hold is shown, and never obeyed or hidden."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path
from uuid import uuid4

import pytest
from helpers.command_line import ezeep

from ezeep_async.cli.directory.export import export
from ezeep_async.cli.directory.groups import list_groups, show_group
from ezeep_async.cli.directory.users import list_users, show_user
from ezeep_async.cli.main import main
from ezeep_async.cli.provision.commands import plan_file
from ezeep_async.cli.terminal.output import clean, complain, write_document, write_json
from ezeep_async.cli.terminal.screen import Screen, to_json
from ezeep_async.provisioning import ChangeMemberships, CreateGroup, InvitePerson, Plan, TargetGroup
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]
HOSTILE = "x\x1b[2J\x1b]0;t\x07\x9b31m\x90q\x9c\x7f\r\b\u202egnp\u2066\u200b\u200d\ufeff\u00ad\u2028\u3164\U000e0041[red]:warning:\\"
"""Commands to a terminal, what turns the order of letters round, what cannot be seen, and what Rich has as markup."""
KEPT = "[red]:warning:\\"


def is_harmless(text: str) -> bool:
    """Whether all of it can be seen, and none of it is obeyed."""
    shown = text.replace("\n", "").replace("\t", "")
    return all(unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in shown)


@pytest.fixture
def hostile(sandbox: Sandbox, login: dict[str, str]) -> dict[str, str]:
    """The environment of a login at an organization with such names."""
    sandbox.organization.add_group(HOSTILE, description=HOSTILE)
    for user in sandbox.organization.listed_users()[:2]:
        person = sandbox.organization.people[user.id]
        person.first_name, person.email = HOSTILE, f"{HOSTILE}@example.com"
    return login


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 300) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")  # all commands to the terminal are those of others


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("columns", [0, 40, 300])
async def test_names_in_every_form(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, columns: int
) -> None:
    if columns:
        terminal(monkeypatch, columns)
    user_id = str(sandbox.organization.listed_users()[0].id)
    group_id = str(list(sandbox.organization.groups)[-1])
    for command in (list_groups(), show_group(group_id), list_users(), show_user(user_id)):
        await command
        shown = capsys.readouterr().out
        assert KEPT in shown
        assert is_harmless(shown), shown
    await export()
    shown = capsys.readouterr()
    assert is_harmless(shown.out.replace("\r\n", "\n") if columns else "")
    assert is_harmless(shown.err)


@pytest.mark.usefixtures("hostile")
async def test_json_is_escaped_and_says_the_same(capsys: Capture, sandbox: Sandbox) -> None:
    """In a pipe too: it may end at a terminal."""
    await list_groups(as_json=True)
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert HOSTILE in [group["name"] for group in json.loads(shown)]
    await list_users(as_json=True)
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert f"{HOSTILE}@example.com" in [user["email"] for user in json.loads(shown)]


def test_json_of_every_character(capsys: Capture) -> None:
    """Half a character too, which no encoding has."""
    everything = "".join(map(chr, (*range(0x3200), *range(0xD7F0, 0xE010), *range(0xFE00, 0x10010), 0xE0041)))
    write_json(to_json({"text": everything}))
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert json.loads(shown) == {"text": json.loads(json.dumps(everything))}
    assert "é東\N{PRINTER}" in clean("é東\N{PRINTER}")


def test_csv_at_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    write_document("group,member\r\na\x1b[2J\u202e,b\r\n")
    assert capsys.readouterr().out == "group,member\r\na\x1b[2J\u202e,b\r\n"
    terminal(monkeypatch)
    write_document("group,member\r\na\x1b[2J\r\u202e,b\r\n")
    assert capsys.readouterr().out == "group,member\na�[2J��,b\n"


def test_log_lines_and_errors(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    logging.getLogger("ezeep_async.auth.stores").warning("%s: %s", HOSTILE, OSError(HOSTILE))
    logging.getLogger("ezeep_async").error(HOSTILE)
    complain(HOSTILE)
    assert main(["groups", HOSTILE]) == 64
    assert main(["provision", "plan", "--sandbox", f"no{HOSTILE}.csv"]) == 1
    shown = capsys.readouterr().err
    assert is_harmless(shown), shown
    assert len(shown.splitlines()) == shown.count("ezeep: ") == 5


def test_a_pairing_from_a_hostile_server(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (0, 30, 300):
        if columns:
            terminal(monkeypatch, columns)
        Screen().pairing(f"A{HOSTILE}", f"https://{HOSTILE}")
        assert is_harmless(capsys.readouterr().out)


async def test_what_the_server_says_about_an_error(hostile: dict[str, str], sandbox: Sandbox) -> None:
    body = {"detail": HOSTILE, HOSTILE: [HOSTILE]}
    sandbox.faults.add("GET /printing/v1/groups/", status=400, body=json.dumps(body), times=None)
    ran = await ezeep("groups", "list", env=hostile)
    assert is_harmless(ran.refused())


@pytest.mark.parametrize("columns", [0, 30, 300])
async def test_a_plan_of_others(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    """A kept plan is a file like others: it may come from anywhere."""
    if columns:
        terminal(monkeypatch, columns)
    plan = Plan(
        changes=(
            CreateGroup(f"a {HOSTILE}", uuid4()),
            InvitePerson(HOSTILE),
            ChangeMemberships(
                uuid4(), HOSTILE, add=(TargetGroup(HOSTILE),), remove=(TargetGroup(HOSTILE, uuid4()),)
            ),
        ),
        skipped=(HOSTILE,),
        waiting=(HOSTILE,),
        notes=(f"a note {HOSTILE}",),
    )
    (tmp_path / "plan.json").write_text(plan.to_json(), "utf-8")
    for as_json in (False, True):
        assert await plan_file(tmp_path / "plan.json", as_json=as_json) == 2
        shown = capsys.readouterr()
        assert is_harmless(shown.out + shown.err), shown
        assert as_json or shown.out.count(KEPT) == 8
    assert Plan.from_json(shown.out) == plan


@pytest.mark.slow
def test_a_fault_keeps_its_traceback_and_no_commands() -> None:
    script = (
        "import sys\nfrom ezeep_async.cli import app, main\n"
        f"class Fault(Exception): pass\ndef broken(*_, **__): raise Fault({HOSTILE!r})\n"
        "type(app.app).parse_args = broken\nsys.exit(main.main([]))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Traceback")
    assert KEPT in ran.stderr
    assert is_harmless(ran.stderr)
