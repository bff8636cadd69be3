"""`ezeep provision` at a terminal: colours, the question, the bar, and Ctrl-C from the keyboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.terminal import at_a_terminal

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # several processes one after the other

PATCH = "PATCH /printing/v1/users/{id}/"
CTRL_C = "\x03"
QUESTION = "Make these changes? [y/N] "


@pytest.fixture
def some(sandbox: Sandbox, tmp_path: Path) -> Path:
    """Eight people for a new group, and the rest of one that is there, with one fewer."""
    organization = sandbox.organization
    (sales,) = [group for group in organization.groups.values() if group.name == "Sales"]
    users = organization.listed_users()
    members = [user for user in users if sales.id in user.groups][1:]
    rows = [("New", user) for user in users[:8]] + [("Sales", user) for user in members]
    path = tmp_path / "some.csv"
    path.write_text("group,member\n" + "".join(f"{name},{user.id}\n" for name, user in rows), "utf-8")
    return path


def members(sandbox: Sandbox, name: str) -> int:
    organization = sandbox.organization
    return sum(
        organization.num_members(group.id) for group in organization.groups.values() if group.name == name
    )


async def test_a_plan_is_in_color(login: dict[str, str], some: Path) -> None:
    """Green comes, red goes, whom it is about is dim, yellow is not done."""
    arguments = ("provision", "plan", str(some), "--mode", "exact")
    async with at_a_terminal(*arguments, env=login) as terminal:
        assert await terminal.ended() == 2
    lines = terminal.raw.split("\r\n")
    assert "\x1b[32m+ group New\x1b[0m" in lines
    assert "\x1b[32m  + New\x1b[0m" in lines
    assert "\x1b[31m  - Sales\x1b[0m" in lines
    assert any(line.startswith("\x1b[2m~ ") for line in lines)
    async with at_a_terminal(*arguments, "--protect-group", "sales", env=login) as terminal:
        assert await terminal.ended() == 2
    assert any(line.startswith("\x1b[33m! ") for line in terminal.raw.split("\r\n"))


async def test_it_asks_and_shows_how_far_it_is(login: dict[str, str], sandbox: Sandbox, some: Path) -> None:
    """A bar with the number, the rate, the failures and the time; then what was done."""
    sandbox.faults.add(PATCH, status=403)
    hold = sandbox.faults.hold(PATCH)
    async with at_a_terminal(
        "provision", "apply", str(some), "--mode", "exact", "--concurrency", "1", env=login
    ) as terminal:
        await terminal.shows(QUESTION)
        assert members(sandbox, "New") == 0
        terminal.type("y\n")
        await hold.arrived()
        await terminal.shows(" 1/10")
        hold.release()
        assert await terminal.ended() == 1
    shown = terminal.text[terminal.text.index(QUESTION) :]
    assert "━" in shown
    assert "10/10" in shown
    assert "/s" in shown
    assert "1 failed" in shown
    assert "403 Forbidden" in shown
    assert "ezeep: 1 of 10 changes failed." in shown
    assert members(sandbox, "New") == 7


@pytest.mark.parametrize("answer", ["n\n", "\n", "what\n", "\x04"])
async def test_everything_but_yes_is_no(
    login: dict[str, str], sandbox: Sandbox, some: Path, tmp_path: Path, answer: str
) -> None:
    async with at_a_terminal("provision", "apply", str(some), env=login) as terminal:
        await terminal.shows(QUESTION)
        terminal.type(answer)
        assert await terminal.ended() == 1
    assert "ezeep: nothing was changed\n" in terminal.text
    assert members(sandbox, "New") == 0
    assert not (tmp_path / "state").exists()


async def test_what_was_typed_before_the_question_is_no_answer(
    login: dict[str, str], sandbox: Sandbox, some: Path
) -> None:
    hold = sandbox.faults.hold("GET /printing/v1/groups/")
    async with at_a_terminal("provision", "apply", str(some), env=login) as terminal:
        await hold.arrived()
        terminal.type("y\n")
        await terminal.shows("y\n")
        hold.release()
        await terminal.shows(QUESTION)
        terminal.type("n\n")
        assert await terminal.ended() == 1
    assert members(sandbox, "New") == 0


async def test_ctrl_c_at_the_question(login: dict[str, str], sandbox: Sandbox, some: Path) -> None:
    async with at_a_terminal("provision", "apply", str(some), env=login) as terminal:
        await terminal.shows(QUESTION)
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130
    assert terminal.text.endswith("ezeep: interrupted\n")
    assert "Traceback" not in terminal.text
    assert members(sandbox, "New") == 0


async def test_7_13_ctrl_c_in_the_middle(login: dict[str, str], sandbox: Sandbox, some: Path) -> None:
    """What is in flight ends, the report is shown, and the terminal has its cursor back."""
    hold = sandbox.faults.hold(PATCH)
    async with at_a_terminal(
        "provision", "apply", str(some), "--concurrency", "1", "-y", env=login
    ) as terminal:
        await hold.arrived()
        terminal.type(CTRL_C)
        await terminal.shows("stopping: waiting for the changes in flight")
        hold.release()
        assert await terminal.ended() == 130
    assert re.search(r"users changed +1\n", terminal.text)
    assert re.search(r"not started +7\n", terminal.text)
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    assert members(sandbox, "New") == 1


async def test_a_terminal_that_is_closed_leaves_the_report(
    login: dict[str, str], sandbox: Sandbox, some: Path, tmp_path: Path
) -> None:
    """7-13: SIGHUP ends a run as SIGTERM does, and that nothing can be shown any more changes nothing."""
    hold = sandbox.faults.hold(PATCH)
    async with at_a_terminal(
        "provision",
        "apply",
        str(some),
        "--concurrency",
        "1",
        "-y",
        "--report",
        "report.csv",
        env=login,
        folder=tmp_path,
    ) as terminal:
        await hold.arrived()
        terminal.close()
        hold.release()
        assert await terminal.process.wait() == 129
    # The signal comes before the response. The next write may begin all the same.
    assert (tmp_path / "report.csv").read_text("utf-8").count(",not_started,") in {6, 7}


async def test_the_document_and_the_messages_have_a_stream_each(
    login: dict[str, str], sandbox: Sandbox, some: Path, tmp_path: Path
) -> None:
    """--json > file at a terminal: the diff, the question and the bar are seen all the same."""
    with (tmp_path / "report.json").open("wb") as file:
        async with at_a_terminal(
            "provision", "apply", str(some), "--json", env=login, stdout=file.fileno()
        ) as terminal:
            await terminal.shows(QUESTION)
            assert "+ group New" in terminal.text
            terminal.type("yes\n")
            assert await terminal.ended() == 0
    assert "9/9" in terminal.text
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["counts"] == {"created": 1, "updated": 8}
