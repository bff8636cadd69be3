"""`finish_refresh_on`: the token set of a program that a signal ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import TOKEN, expired, open_session, put

from ezeep_async import FileTokenStore, ReauthorizationRequired, finish_refresh_on
from ezeep_async.sandbox import Sandbox
from ezeep_async.testing import ThreadedSandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        sys.platform == "win32", reason="Windows cannot send these signals to another process"
    ),
]

PREAMBLE = """
import asyncio, os, signal, sys, threading, time
from ezeep_async import Endpoints, EzeepSession, FileTokenStore, OAuthApp, finish_refresh_on, run_sync
from ezeep_async._runtime import signals
path, client, account, api = sys.argv[1:]
def session():
    return EzeepSession(OAuthApp(client), FileTokenStore(path), endpoints=Endpoints(account, api))
async def use():
    async with session() as opened:
        await opened.accounts.me()
        await asyncio.sleep(30)
"""
BLOCKING = """
finish_refresh_on({numbers})
with run_sync(session()) as opened:
    opened.accounts.me()
    time.sleep(30)
"""
IN_A_THREAD = """
finish_refresh_on({numbers})
threading.Thread(target=lambda: run_sync(session()).accounts.me(), daemon=True).start()
for _ in range(300):
    time.sleep(0.1)  # the thread of the SDK can get the signal, which does not wake one long sleep
"""
ASYNC = """
finish_refresh_on({numbers})
asyncio.run(use())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedSandbox]:
    with ThreadedSandbox(users=3, groups=1) as sandbox:
        yield sandbox


def run_until_signalled(
    server: ThreadedSandbox, path: Path, program: str, *numbers: int, release: bool = True
) -> tuple[int, str]:
    """Send the signals while the response to a refresh is on its way. Code and output."""
    server.reset_counts()
    asyncio.run(put(FileTokenStore(path), expired(server.tokens())))
    hold = server.faults.hold(TOKEN, after=True, times=1)
    arguments = [str(path), server.oauth_app.client_id, server.endpoints.account, server.endpoints.api]
    with subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        timer = threading.Timer(40, process.kill)
        timer.start()
        try:
            asyncio.run(hold.arrived())
            for number in numbers:
                process.send_signal(number)
            if release:
                hold.release()
            said, _ = process.communicate()
        finally:
            timer.cancel()
            hold.release()
        return process.returncode, said


def is_lost(server: Sandbox, path: Path) -> bool:
    async def use() -> bool:
        async with open_session(server, FileTokenStore(path)) as session:
            try:
                await session.accounts.me()
                await session.oauth.refresh()
            except ReauthorizationRequired:
                return True
            return False

    return asyncio.run(use())


@pytest.mark.parametrize(
    ("program", "numbers"),
    [
        (BLOCKING, ["SIGTERM"]),
        (IN_A_THREAD, ["SIGTERM"]),
        (ASYNC, ["SIGTERM"]),
        (ASYNC, ["SIGHUP", "SIGHUP"]),
    ],
)
def test_2_3_the_default_action_waits_for_the_exchange(
    server: ThreadedSandbox, tmp_path: Path, program: str, numbers: list[str]
) -> None:
    """2-3: the process ends by the signal, and the new token set is stored."""
    path = tmp_path / "login.json"
    sent = [getattr(signal, name) for name in numbers]
    assert run_until_signalled(server, path, program.format(numbers=""), *sent) == (-sent[0], "")
    assert server.refreshes == 1
    assert not is_lost(server, path)
    assert server.refreshes == 2


@pytest.mark.parametrize(
    ("program", "handler", "code"),
    [
        (BLOCKING, "sys.exit(7)", 7),
        (ASYNC, "sys.exit(7)", 7),
        (ASYNC, "raise Ended", 1),
        (IN_A_THREAD, "print('chained', flush=True); os._exit(8)", 8),
    ],
)
def test_2_3_the_handler_that_was_there_is_called_after_the_exchange(
    server: ThreadedSandbox, tmp_path: Path, program: str, handler: str, code: int
) -> None:
    path = tmp_path / "login.json"
    before = f"""
class Ended(Exception): pass
def handler(number, frame):
    assert number == signal.SIGTERM
    {handler}
signal.signal(signal.SIGTERM, handler)
"""
    ended, said = run_until_signalled(
        server, path, before + program.format(numbers="signal.SIGTERM"), signal.SIGTERM
    )
    assert ended == code, said
    assert ("chained" in said) == (code == 8)
    assert not is_lost(server, path)


@pytest.mark.parametrize("program", [BLOCKING, ASYNC], ids=["blocking", "asyncio"])
def test_2_3_ctrl_c_any_number_of_times(server: ThreadedSandbox, tmp_path: Path, program: str) -> None:
    path = tmp_path / "login.json"
    program = program.format(numbers="signal.SIGINT")
    code, said = run_until_signalled(server, path, program, *[signal.SIGINT] * 3)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in said
    assert not is_lost(server, path)


def test_2_3_a_program_that_cancels_its_main_task_needs_nothing_else(
    server: ThreadedSandbox, tmp_path: Path
) -> None:
    """2-3: as uvicorn, gunicorn and `loop.add_signal_handler` do it: they replace our handler, and end in order."""
    path = tmp_path / "login.json"
    program = """
finish_refresh_on()
async def main():
    task = asyncio.current_task()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await use()
try: asyncio.run(main())
except asyncio.CancelledError: sys.exit(9)
"""
    assert run_until_signalled(server, path, program, signal.SIGTERM) == (9, "")
    assert not is_lost(server, path)


@pytest.mark.parametrize("program", [BLOCKING, ASYNC], ids=["blocking", "asyncio"])
def test_a_server_that_hangs_defers_the_signal_for_a_bounded_time(
    server: ThreadedSandbox, tmp_path: Path, program: str
) -> None:
    program = "signals.LONGEST_WAIT_S = 0.2\n" + program.format(numbers="")
    path = tmp_path / "login.json"
    assert run_until_signalled(server, path, program, signal.SIGTERM, release=False) == (-signal.SIGTERM, "")


def run_script(body: str) -> subprocess.CompletedProcess[str]:
    arguments = ["unused", "client", "http://127.0.0.1:1", "http://127.0.0.1:1"]
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(body), *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_without_an_exchange_a_signal_takes_effect_at_once() -> None:
    done = run_script("""
        finish_refresh_on()
        finish_refresh_on(signal.SIGTERM)
        async def main(): signal.raise_signal(signal.SIGTERM)
        asyncio.run(main())
    """)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_ignored_signals_and_those_that_end_nothing() -> None:
    done = run_script("""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        finish_refresh_on()
        finish_refresh_on(signal.SIGCHLD)
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGCHLD): signal.raise_signal(number)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        print("goes on")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")


def test_a_forked_child_does_not_wait_for_an_exchange_of_its_parent() -> None:
    done = run_script("""
        finish_refresh_on()
        async def main():
            with signals.exchange_under_way():
                pid = os.fork()
                if pid == 0:
                    signal.raise_signal(signal.SIGTERM)
                    os._exit(1)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(asyncio.run(main()))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")


@pytest.mark.parametrize("is_deferred", [True, False])
def test_an_exchange_that_waits_for_others_defers_no_signal(is_deferred: bool) -> None:
    """As for a process that was suspended in mid refresh: nothing is lost."""
    done = run_script(f"""
        finish_refresh_on()
        async def main():
            with signals.exchange_under_way():
                if {is_deferred}: signal.raise_signal(signal.SIGTERM)
                print("goes on", flush=True)
                with signals.exchange_suspended():
                    if not {is_deferred}: signal.raise_signal(signal.SIGTERM)
                    await asyncio.sleep(15)
        asyncio.run(main())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "goes on\n", "")


def test_an_exchange_that_has_waited_defers_signals_again() -> None:
    done = run_script("""
        finish_refresh_on()
        async def main():
            with signals.exchange_under_way():
                with signals.exchange_suspended():
                    await asyncio.sleep(0)
                signal.raise_signal(signal.SIGTERM)
                await asyncio.sleep(0.1)
                print("goes on", flush=True)
            await asyncio.sleep(15)
        asyncio.run(main())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "goes on\n", "")


def test_a_child_that_was_forked_while_its_parent_waits_can_be_ended() -> None:
    done = run_script("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, and it is about them
        finish_refresh_on()
        main_thread = threading.get_ident()
        async def main():
            with signals.exchange_under_way():
                signal.pthread_kill(main_thread, signal.SIGTERM)
                while not signals._deferred:
                    await asyncio.sleep(0.001)
                if not (pid := os.fork()):
                    signal.raise_signal(signal.SIGTERM)
                    os._exit(1)
                print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()
    """)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, f"{-signal.SIGTERM}\n", "")


def test_a_child_does_not_get_a_signal_that_its_parent_holds_back() -> None:
    done = run_script("""
        finish_refresh_on()
        async def exchange():
            with signals.exchange_under_way():
                await asyncio.sleep(0)
        async def main():
            with signals.exchange_under_way():
                signal.raise_signal(signal.SIGTERM)
                if not (pid := os.fork()):
                    thread = threading.Thread(target=lambda: asyncio.run(exchange()))
                    thread.start()
                    thread.join()
                    time.sleep(0.5)
                    os._exit(1)
                print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            await asyncio.sleep(15)
        asyncio.run(main())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "1\n", "")


def test_what_cannot_be_handled_is_refused() -> None:
    refused: list[BaseException] = []

    def elsewhere() -> None:
        try:
            finish_refresh_on(signal.SIGTERM)
        except ValueError as error:
            refused.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(refused[0])
    with pytest.raises(OSError, match="Invalid argument"):
        finish_refresh_on(signal.SIGKILL)
