"""Two days without a person, by moved clocks: the nightly job works, and without a refresh it cannot."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.kept_logins import Keeping, keeping
from helpers.moved_clock import MovedClock, move_clocks
from helpers.support import TOKEN

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MINUTE, HOUR = 60.0, 3600.0
NIGHTLY = ("provision", "apply", "few.csv", "--mode", "exact", "--yes", "--report", "report.csv")


@pytest.fixture
def clock(sandbox: Sandbox, tmp_path: Path) -> MovedClock:
    return MovedClock(sandbox, tmp_path)


async def test_1_22_keep_alive_beside_the_nightly_job(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, few: Path, tmp_path: Path
) -> None:
    """At +9 h and +48 h. Meanwhile: outages, a suspension, a restart after SIGKILL and one after SIGTERM."""
    minutes = 0

    async def runs_until(hour: float, running: Keeping, *, is_away: bool = False) -> None:
        """The clocks move on, and the running command refreshes every half an hour, when it notices."""
        nonlocal minutes
        while minutes < 60 * hour:
            minutes += 15
            refreshes = len(running.with_text(" refreshed"))
            clock.advance(15 * MINUTE)
            if minutes % 30 == 0 and not is_away:
                await running.wrote(" refreshed", refreshes + 1)

    async def nightly() -> None:
        ran = await clock.ezeep(*NIGHTLY, env=login, folder=tmp_path)
        assert ran.code == 0, ran

    async with keeping(clock, login) as running:
        await runs_until(3, running)
        outage = sandbox.faults.add(TOKEN, times=None, status=400, body="a proxy")
        await runs_until(3.5, running, is_away=True)
        await running.wrote("not refreshed")
        outage.remove()
        await running.wrote("kept alive again")
        await runs_until(9, running)
        await nightly()
        assert (tmp_path / "report.csv").read_text().count(",updated,") == 3
        await runs_until(20, running)
        running.process.send_signal(signal.SIGKILL)
        await running.process.wait()
    async with keeping(clock, login) as running:
        await runs_until(30, running)
        refreshes = len(running.with_text(" refreshed"))
        clock.advance(50 * MINUTE)  # the machine was suspended
        await running.wrote(" refreshed", refreshes + 1)
        minutes += 60
        clock.advance(10 * MINUTE)
    assert running.process.returncode == 0
    async with keeping(clock, login) as running:
        await runs_until(48, running)
        await nightly()
        assert running.process.returncode is None
    assert running.process.returncode == 0
    assert sandbox.refreshes < 48 * 3 + 10
    assert (await clock.ezeep("whoami", env=login)).code == 0


async def test_1_22_refresh_by_cron_beside_the_nightly_job(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ezeep refresh --if-older-than 900` every 20 minutes for 48 hours. A run may fail."""
    advance = move_clocks(monkeypatch, sandbox)
    for run in range(1, 48 * 3 + 1):
        advance(20 * MINUTE)
        if run in {10, 100}:
            fault = sandbox.faults.add(TOKEN, times=None, status=400, body="a proxy")
            assert (await ezeep("refresh", "--if-older-than", "900", env=login)).code == 5
            fault.remove()
            continue
        ran = await ezeep("refresh", "--if-older-than", "900", env=login)
        assert (ran.code, ran.err) == (0, "")
        if run in {9 * 3, 48 * 3}:
            ran = await ezeep(*NIGHTLY, env=login, folder=tmp_path)
            assert ran.code == 0, ran
    assert sandbox.refreshes == 48 * 3 - 2


async def test_without_a_refresh_the_login_ends(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason for both commands: the nightly job at +9 h names what to do, and the next nights send nothing."""
    advance = move_clocks(monkeypatch, sandbox)
    for _ in range(3):
        advance(9 * HOUR)
        ran = await ezeep(*NIGHTLY, env=login, folder=tmp_path)
        assert "run ezeep login for client" in ran.refused()
    assert sandbox.refresh_requests == 1
