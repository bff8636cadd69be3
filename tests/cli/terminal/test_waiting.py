"""The line on standard error while the server does not respond: at a terminal only, and never in the way of output."""

from __future__ import annotations

import asyncio
import logging
import re
import sys

import pytest
from helpers.command_line import ended, ezeep, started
from helpers.terminal import at_a_terminal

from ezeep_async import RateLimited
from ezeep_async.cli.connection import Connection, open_session
from ezeep_async.cli.options import NO_OPTIONS, Options, use
from ezeep_async.cli.terminal import waiting
from ezeep_async.cli.terminal.output import complain
from ezeep_async.sandbox import Sandbox


GROUPS = "GET /printing/v1/groups/"
Capture = pytest.CaptureFixture[str]


def at_once_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is a terminal, and the line is shown without delay."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(waiting, "SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(waiting, "REDRAWN_EVERY_S", 0.01)


async def _shown(capsys: Capture, wanted: str) -> str:
    """What standard error shows until the text is there."""
    text = ""
    while wanted not in text:
        await asyncio.sleep(0.01)
        text += capsys.readouterr().err
    return text


# --- in this process -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("login")
async def test_a_slow_response(capsys: Capture, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once_at_a_terminal(monkeypatch)
    sandbox.faults.add(GROUPS, delay=30)
    async with open_session(Connection()) as session:
        await session.accounts.me()
        call = asyncio.create_task(session.groups.list().collect())
        await _shown(capsys, "waiting for 127.0.0.1 (")
        complain("another line")
        shown = capsys.readouterr().err
        # The line is removed first.
        assert re.search(r"\x1b\[2K.*ezeep: another line\n$", shown, re.DOTALL), shown
        await _shown(capsys, "waiting for 127.0.0.1 (")
        with waiting.paused():
            capsys.readouterr()
            await asyncio.sleep(0.1)
            assert capsys.readouterr().err == ""
        await _shown(capsys, "waiting for 127.0.0.1 (")
        call.cancel()
    assert "\x1b[2K" in capsys.readouterr().err


@pytest.mark.usefixtures("login")
async def test_a_retry_and_its_reason(
    capsys: Capture, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once_at_a_terminal(monkeypatch)
    sandbox.faults.add(GROUPS, status=503, retry_after=1)
    async with open_session(Connection()) as session:
        call = asyncio.create_task(session.groups.list().collect())
        shown = await _shown(capsys, "retry 1 of 4 in ")
        assert re.search(r"in [12] s: GET /printing/v1/groups/: 503 ", shown)
        call.cancel()


@pytest.mark.usefixtures("login")
async def test_a_retry_after_429_has_no_number_of_retries(
    capsys: Capture, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once_at_a_terminal(monkeypatch)
    sandbox.faults.add(GROUPS, status=429, retry_after=1)
    async with open_session(Connection()) as session:
        call = asyncio.create_task(session.groups.list().collect())
        await _shown(capsys, "retry 1 in ")
        call.cancel()


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("options", [Options(quiet=True), Options(debug=True)])
async def test_no_line_with_quiet_and_debug(
    capsys: Capture, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, options: Options
) -> None:
    at_once_at_a_terminal(monkeypatch)
    sandbox.faults.add(GROUPS, delay=0.1)
    use(options)
    try:
        async with open_session(Connection()) as session:
            await session.groups.list().collect()
    finally:
        use(NO_OPTIONS)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("login")
async def test_the_log_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once_at_a_terminal(monkeypatch)
    logger = logging.getLogger("ezeep_async.http")
    before = (logger.level, list(logger.handlers))
    async with open_session(Connection()):
        assert logger.isEnabledFor(logging.INFO)
    assert (logger.level, list(logger.handlers)) == before


# --- at a terminal -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80])
async def test_the_line_fits_the_terminal(login: dict[str, str], sandbox: Sandbox, columns: int) -> None:
    sandbox.faults.add(GROUPS, status=503, retry_after=1)
    async with at_a_terminal("groups", "show", "Sales", env=login, columns=columns) as terminal:
        assert await terminal.ended() == 0
    lines = [line for line in re.split(r"[\r\n]+", terminal.text) if "retry" in line]
    assert lines
    assert all(len(line) <= columns for line in lines)
    assert re.match(r". retry 1 of 4 in [12] s: GET /", lines[0])
    assert terminal.text.count("Sales") == 1
    assert terminal.raw.count("\x1b[?25l") == terminal.raw.count("\x1b[?25h")  # the cursor is back


@pytest.mark.slow
async def test_the_line_does_not_disturb_a_bar(login: dict[str, str], sandbox: Sandbox, few: object) -> None:
    sandbox.faults.add("PATCH /printing/v1/users/{id}/", status=503, retry_after=1, times=1)
    async with at_a_terminal("provision", "apply", str(few), "--yes", env=login) as terminal:
        assert await terminal.ended() == 0
    assert "4/4" in terminal.text
    assert "retry" not in terminal.text


@pytest.mark.slow
async def test_without_a_terminal_there_is_no_line(login: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.faults.add(GROUPS, status=503, retry_after=1)
    async with started("groups", "list", env=login) as process:
        assert (await ended(process)).err == ""
    sandbox.faults.add(GROUPS, status=503, retry_after=1)
    async with started("groups", "list", "--debug", env=login) as process:
        ran = await ended(process)
    assert "INFO ezeep_async.http: GET /printing/v1/groups/: attempt 1 failed (" in ran.err
    assert "\x1b" not in ran.err


async def test_of_several_retries_the_last_one_is_shown() -> None:
    retries = waiting._Retries()
    for delay in (20.0, 0.5):
        failure = RateLimited(f"429, {delay}", status=429)
        record = logging.LogRecord("x", logging.INFO, "", 0, "%s", ("GET /", 1, failure, delay), None)
        retries.emit(record)
    assert retries.text.endswith("429, 20.0")


@pytest.mark.usefixtures("login")
async def test_a_command_that_is_throttled_names_the_seconds(sandbox: Sandbox) -> None:
    sandbox.faults.add(GROUPS, status=429, retry_after=600)
    ran = await ezeep("groups", "list")
    assert ran.refused() == (
        "GET /printing/v1/groups/: 429 Too Many Requests. The server asks to wait 600 s: try again after that"
    )
    sandbox.faults.add(GROUPS, status=429, times=None)
    ran = await ezeep("groups", "list")
    assert ran.refused() == (
        "GET /printing/v1/groups/: 429 Too Many Requests. It was tried 9 times: try again in a few minutes"
    )
