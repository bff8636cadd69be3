"""SIGTERM and SIGHUP: a command ends a token exchange that has begun, and then goes with an exit code of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, ended, environment, started
from helpers.organizations import PATCH
from helpers.support import TOKEN, expired, open_session, put

from ezeep_async import FileTokenStore
from ezeep_async.cli.signals import Terminated, cancel_on_signals, signals_end
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        sys.platform == "win32", reason="Windows cannot send these signals to another process"
    ),
]

LOOPS = Path(__file__).parents[1] / "helpers" / "loops"
COMMANDS = {
    "groups list": ("groups", "list"),
    "groups create": ("groups", "create", "New"),
    "whoami": ("whoami",),
    "export": ("export", "--out", "out.csv"),
    "plan": ("provision", "plan", "few.csv"),
    "apply": ("provision", "apply", "few.csv", "-y"),
}


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def _event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test on both event loops: the command uses uvloop where it is installed."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="the extra fast is not installed")
    if "EVENT_LOOP" not in os.environ:  # otherwise the suite has chosen the event loop
        monkeypatch.setenv("EVENT_LOOP", request.param)
        monkeypatch.setenv("PYTHONPATH", str(LOOPS), prepend=os.pathsep)


@pytest.fixture
async def due(login: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose access token has expired."""
    await put(FileTokenStore(tmp_path / "login.json"), expired(sandbox.tokens()))
    return login


async def works(sandbox: Sandbox, tmp_path: Path) -> bool:
    """Whether the stored token set can still be refreshed."""
    async with open_session(sandbox, FileTokenStore(tmp_path / "login.json")) as session:
        await session.accounts.me()
        await session.oauth.refresh()
    return True


@pytest.mark.parametrize(
    ("name", "number"), [*((name, "SIGTERM") for name in COMMANDS), ("whoami", "SIGHUP"), ("apply", "SIGHUP")]
)
async def test_2_3_a_command_ends_the_exchange_that_has_begun(
    due: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path, name: str, number: str
) -> None:
    """2-3: and then does nothing more. The signal may come twice."""
    hold = sandbox.faults.hold(TOKEN, after=True, times=1)
    async with started(*COMMANDS[name], env=due, folder=tmp_path) as process:
        await hold.arrived()
        process.send_signal(getattr(signal, number))
        process.send_signal(getattr(signal, number))
        hold.release()
        ran = await ended(process)
    assert (ran.code, ran.err) == (128 + getattr(signal, number), "ezeep: interrupted\n")
    assert sandbox.refreshes == 1
    assert await works(sandbox, tmp_path)
    assert [seen.path for seen in sandbox.requests if seen.method in {"PATCH", "PUT", "DELETE"}] == []


async def test_2_3_a_command_that_ignores_ctrl_c_ends_too(
    due: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """2-3: what a script starts in the background ignores SIGINT."""
    hold = sandbox.faults.hold(TOKEN, after=True, times=1)
    process = subprocess.Popen(
        [*EZEEP, "groups", "list"],
        env=environment(due),
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509  # the child only ignores a signal
    )
    await hold.arrived()
    process.terminate()
    hold.release()
    assert await _code(process) == 143
    assert await works(sandbox, tmp_path)


async def test_a_signal_whose_exception_was_lost_ends_the_command_before_its_first_wait() -> None:
    """Its handler raises until the command has a task. Python drops that inside a finalizer, such as one of an import."""

    async def command() -> None:
        cancel_on_signals()
        await asyncio.sleep(0)

    with signals_end() as ending:
        with contextlib.suppress(Terminated):
            ending(signal.SIGTERM, None)
        running = asyncio.ensure_future(command())
        await asyncio.wait({running})
    assert running.cancelled()
    await asyncio.create_task(command())  # the next command in this process: the signal was not for it


async def test_2_3_a_signal_after_ctrl_c_interrupts_nothing(
    due: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    hold = sandbox.faults.hold(TOKEN, after=True, times=1)
    async with started("groups", "list", env=due) as process:
        await hold.arrived()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
        hold.release()
        ran = await ended(process)
    assert ran.code in {129, 130, 143}
    assert await works(sandbox, tmp_path)


async def test_nohup_still_ignores_a_hangup(due: dict[str, str], sandbox: Sandbox, few: Path) -> None:
    for arguments, route in (
        (("groups", "list"), TOKEN),
        (("provision", "apply", str(few), "-y", "--concurrency", "1"), PATCH),
    ):
        hold = sandbox.faults.hold(route, after=True, times=1)
        process = subprocess.Popen(
            [*EZEEP, *arguments],
            env=environment(due),
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # noqa: PLW1509  # the child only ignores a signal
        )
        await hold.arrived()
        process.send_signal(signal.SIGHUP)
        hold.release()
        assert await _code(process) == 0


async def test_7_13_a_terminal_that_is_gone_leaves_the_report(
    login: dict[str, str], sandbox: Sandbox, few: Path, tmp_path: Path
) -> None:
    """What is in flight ends, and the report is in its file, although nothing can be shown any more."""
    hold = sandbox.faults.hold(PATCH)
    ours, theirs = pty.openpty()
    command = ("provision", "apply", str(few), "-y", "--concurrency", "1", "--report", "report.csv")
    process = subprocess.Popen(
        [*EZEEP, *command],
        env={**environment(login), "TERM": "xterm"},
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    await hold.arrived()
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    hold.release()
    assert await _code(process) == 129
    report = (tmp_path / "report.csv").read_text("utf-8")
    assert report.count(",not_started,") == 2
    assert report.count(",updated,") == 1


async def _code(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 40)
