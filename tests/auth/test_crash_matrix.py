"""2-3: a process that refreshes in a `FileTokenStore` is killed or ended at every step, and the next one goes on.

The processes that die are forked from one that has imported the package and nothing else: no loop, no thread, no file.
They get to the step by hooks, or are killed when the server has their request: nothing here waits for a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from helpers.evidence import note
from helpers.support import TOKEN, expired, open_session, put, sandbox_in_a_thread
from helpers.suspending import Stoppable, stoppable

from ezeep_async import FileTokenStore, ReauthorizationRequired, TokenSet
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork and SIGKILL"),
]

KILLS = 3
"""Of each step, with a grace window and without one."""

CHILD = """
import asyncio, json, os, signal, stat, sys
from pathlib import Path

from ezeep_async import Endpoints, EzeepSession, FileTokenStore, OAuthApp, finish_refresh_on, run_sync
from ezeep_async.auth.current import CurrentTokens
from ezeep_async.auth.token_endpoint import TokenEndpoint
from ezeep_async.auth.stores import file as file_store
from ezeep_async.cli import app, main
from ezeep_async.cli.login import commands as login  # imported once, and not in each child

number = signal.SIGKILL


def die(*args, **options):
    os.kill(os.getpid(), number)


def die_before(owner, name, when=lambda *args: True):
    real = getattr(owner, name)

    def hook(*args, **options):
        if when(*args):
            die()
        return real(*args, **options)

    setattr(owner, name, hook)


def die_after(owner, name):
    real = getattr(owner, name)

    def hook(*args, **options):
        real(*args, **options)
        die()

    setattr(owner, name, hook)


class Half:
    # A file whose first write stops in the middle, on the disk.
    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        os.fsync(self.file.fileno())
        die()
        self.file.write(content[len(content) // 2 :])

    def flush(self):
        self.file.flush()

    def fileno(self):
        return self.file.fileno()


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def hook(step):
    if step == "proving":
        die_before(os, "fsync")
    elif step == "proving that it can be replaced":
        die_before(Path, "replace")
    elif step == "before sending":
        die_before(TokenEndpoint, "send")
    elif step == "response received":
        die_before(FileTokenStore, "_save")
    elif step == "opened":
        die_before(os, "fdopen", lambda *args: in_save)
    elif step == "half written":
        real_fdopen = os.fdopen
        os.fdopen = lambda *args: Half(real_fdopen(*args)) if in_save else real_fdopen(*args)
    elif step == "written":
        die_before(os, "fsync", lambda *args: in_save)
    elif step == "flushed":
        die_before(Path, "replace", lambda *args: in_save)
    elif step == "replaced":
        die_before(os, "fsync", is_folder)
    elif step == "folder flushed":
        die_after(file_store, "_sync_folder")
    elif step == "published":
        die_after(CurrentTokens, "put")


in_save = False
real_save = FileTokenStore._save


def save(store, tokens):
    global in_save
    in_save = True  # until then it is check_writable that writes
    real_save(store, tokens)


async def use(session):
    async with session:
        await session.accounts.me()


def exits(old, new):
    raise SystemExit(5)


def run(step, path, client_id, account, api, signal_number, program):
    global number
    number = signal_number
    FileTokenStore._save = save
    hook(step)
    if program == "command":
        os.environ |= {"EZEEP_CLIENT_ID": client_id, "EZEEP_TOKEN_FILE": path}
        os.environ |= {"EZEEP_ACCOUNT_URL": account, "EZEEP_API_URL": api}
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os._exit(main.main(["whoami"]))
    if number != signal.SIGKILL:
        finish_refresh_on()
    rotated = exits if step == "hook exits" else None
    endpoints = Endpoints(account, api)
    session = EzeepSession(
        OAuthApp(client_id), store=FileTokenStore(path), endpoints=endpoints, on_token_rotated=rotated
    )
    if program == "blocking":
        with run_sync(session) as blocking:
            blocking.accounts.me()
    else:
        asyncio.run(use(session))


for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            run(*json.loads(line))
        finally:
            os._exit(3)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@attrs.frozen
class Step:
    """Where the process dies."""

    name: str
    sent: bool
    """Whether the request had left it."""
    rotated: bool
    """Whether the server has processed that request by the time that the next process comes."""
    stored: bool
    """Whether the next process finds the new login."""
    leftovers: int = 0
    """How many temporary files it leaves."""

    @property
    def loses(self) -> bool:
        """Whether the login is lost where the server has no grace window."""
        return self.rotated and not self.stored


STEPS = [
    Step("proving", sent=False, rotated=False, stored=False, leftovers=1),
    Step("proving that it can be replaced", sent=False, rotated=False, stored=False, leftovers=1),
    Step("before sending", sent=False, rotated=False, stored=False),
    Step("sent, and lost on the way", sent=True, rotated=False, stored=False),
    Step("sent, processed after the death", sent=True, rotated=True, stored=False),
    Step("processed, no response", sent=True, rotated=True, stored=False),
    Step("response received", sent=True, rotated=True, stored=False),
    Step("opened", sent=True, rotated=True, stored=False, leftovers=1),
    Step("half written", sent=True, rotated=True, stored=False, leftovers=1),
    Step("written", sent=True, rotated=True, stored=True, leftovers=1),
    Step("flushed", sent=True, rotated=True, stored=True, leftovers=1),
    Step("replaced", sent=True, rotated=True, stored=True),
    Step("folder flushed", sent=True, rotated=True, stored=True),
    Step("published", sent=True, rotated=True, stored=True),
]


HOOK_EXITS = Step("hook exits", sent=True, rotated=True, stored=True)


class Mortals:
    """Processes that refresh the token set in a file, and are killed meanwhile."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def start(
        self,
        step: Step,
        path: Path,
        sandbox: Sandbox,
        number: int = signal.SIGKILL,
        program: str = "asyncio",
    ) -> int:
        where = sandbox.endpoints
        job = [step.name, str(path), sandbox.oauth_app.client_id, where.account, where.api, number, program]
        self._stdin.write(json.dumps(job) + "\n")
        self._stdin.flush()
        return int(self._stdout.readline())

    def end(self) -> int:
        """What the last one ended with."""
        return int(self._stdout.readline())


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Mortals(process)


@pytest.fixture(scope="module")
def stopped() -> Iterator[Stoppable]:
    with stoppable() as process:
        yield process


@pytest.fixture(scope="module", params=[0.0, 120.0], ids=["no grace", "grace"])
def server(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_in_a_thread(users=3, groups=1, grace_window=request.param) as sandbox:
        yield sandbox


def _leftovers(path: Path) -> list[Path]:
    return [each for each in path.parent.iterdir() if each.name not in {path.name, path.name + ".lock"}]


async def _load_at_once(path: Path) -> TokenSet | None:
    store = FileTokenStore(path, lock_timeout=0.0)
    async with store.lock():
        return await store.load()


def _on_loop_of(sandbox: Sandbox, function, *args) -> object:
    """Run something where the sandbox runs, and wait for it."""
    loop = sandbox._runners[0].server._loop

    async def run():
        result = function(*args)
        return await result if asyncio.iscoroutine(result) else result

    return asyncio.run_coroutine_threadsafe(run(), loop).result(20)


def _kill(
    mortals: Mortals,
    step: Step,
    path: Path,
    sandbox: Sandbox,
    number: int = signal.SIGKILL,
    program: str = "asyncio",
) -> int:
    """Let a process die at that step. What it ended with."""
    if "," not in step.name:
        mortals.start(step, path, sandbox, number, program)
        return mortals.end()
    if "lost" in step.name:
        sandbox.faults.add(TOKEN, drop="before")
    hold = sandbox.faults.hold(TOKEN, after=step.name.startswith("processed"), times=1)
    pid = mortals.start(step, path, sandbox, number, program)
    _on_loop_of(sandbox, hold.arrived)
    os.kill(pid, number)
    if number != signal.SIGKILL:
        _on_loop_of(sandbox, hold.release)
    ended = mortals.end()
    _on_loop_of(sandbox, hold.release)
    _on_loop_of(sandbox, _until_idle, sandbox)
    return ended


async def _until_idle(sandbox: Sandbox) -> None:
    """Until the server is done with what it had let go on."""
    for task in list(sandbox._tasks):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 5)


async def _next_process(path: Path, sandbox: Sandbox) -> bool:
    """A session on the same file, after the crash. Whether it works, or else says that a person has to log in."""
    async with open_session(sandbox, FileTokenStore(path)) as session:
        try:
            await session.accounts.me()
        except ReauthorizationRequired:
            return False
        return True


@attrs.frozen
class Outcome:
    """What one death led to."""

    by_the_dead: int
    """Refreshes that the server saw of the process that died."""
    by_the_next: int
    lost: bool


def _die_and_go_on(mortals: Mortals, step: Step, path: Path, sandbox: Sandbox) -> Outcome:
    _on_loop_of(sandbox, sandbox.reset_counts)
    old: TokenSet = expired(_on_loop_of(sandbox, sandbox.tokens))
    asyncio.run(put(FileTokenStore(path), old))

    assert _kill(mortals, step, path, sandbox) == -signal.SIGKILL
    by_the_dead = sandbox.refresh_requests
    assert sandbox.refreshes == step.rotated

    leftovers = _leftovers(path)
    assert len(leftovers) == step.leftovers
    assert {stat.S_IMODE(each.stat().st_mode) for each in [path, *leftovers]} == {0o600}
    assert json.loads(path.read_bytes())["version"] == 1

    # The lock died with its holder: the first attempt has it. The file is whole, with the old login or the new one.
    stored = asyncio.run(_load_at_once(path))
    new = sandbox._grants._refresh[old.refresh_token].successor
    expected = new if step.stored else old
    assert stored is not None
    assert expected is not None
    assert (stored.access_token, stored.refresh_token) == (expected.access_token, expected.refresh_token)

    works = asyncio.run(_next_process(path, sandbox))
    refreshes = sandbox.refresh_requests
    by_the_next = sandbox.refresh_requests - by_the_dead
    if works:
        assert asyncio.run(_next_process(path, sandbox)), "what the next process made of it was stored"
        assert sandbox.refresh_requests == by_the_dead + by_the_next
    else:
        assert asyncio.run(FileTokenStore(path).load()) == old, "a dead login is not deleted"
        asyncio.run(put(FileTokenStore(path), _on_loop_of(sandbox, sandbox.tokens)))  # a person logs in
        assert asyncio.run(_next_process(path, sandbox))
    if not works or by_the_next:
        assert _leftovers(path) == [], "a save removes what the dead process left"
    note(f"SIGKILL: {step.name}", sandbox, refreshes, lost=not works)
    return Outcome(by_the_dead, by_the_next, not works)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_2_3_a_process_killed_at_any_step_of_a_refresh(
    server: Sandbox, mortals: Mortals, tmp_path: Path, step: Step
) -> None:
    """2-3: the file is whole, the lock free, and the next process works with one refresh at most. It asks for a person
    only where the server rotated, the response was not stored, and the server has no grace window.
    """
    lost = step.loses and not server.behaviour.grace_window
    expected = Outcome(by_the_dead=step.sent, by_the_next=not step.stored, lost=lost)
    for number in range(KILLS):
        assert _die_and_go_on(mortals, step, tmp_path / str(number) / "login.json", server) == expected


@pytest.mark.parametrize("reuse_protection", [True, False])
def test_2_3_a_request_of_the_dead_that_the_server_processes_late(
    server: Sandbox, mortals: Mortals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse_protection: bool
) -> None:
    """2-3: the next process refreshes first, then the server processes what the killed one had sent: a used token. A server
    without a grace window that protects against reuse ends the login then; no client can help it, and it is said.
    """
    monkeypatch.setattr(server.behaviour, "reuse_protection", reuse_protection)
    path = tmp_path / "login.json"
    asyncio.run(put(FileTokenStore(path), expired(_on_loop_of(server, server.tokens))))
    hold = server.faults.hold(TOKEN, times=1)
    pid = mortals.start(STEPS[3], path, server)
    _on_loop_of(server, hold.arrived)
    os.kill(pid, signal.SIGKILL)
    assert mortals.end() == -signal.SIGKILL
    assert asyncio.run(_next_process(path, server))
    _on_loop_of(server, hold.release)
    _on_loop_of(server, _until_idle, server)
    survives = not reuse_protection or bool(server.behaviour.grace_window)
    assert asyncio.run(_next_process(path, server)) == survives


@pytest.mark.parametrize(
    "after", [False, True], ids=["processed during the stop", "responded during the stop"]
)
def test_2_3_a_process_stopped_in_mid_refresh_beyond_its_limit(
    server: Sandbox, stopped: Stoppable, tmp_path: Path, after: bool
) -> None:
    """2-3: the response arrives while the process is stopped. It is read when the process goes on, although the limit of
    the exchange is over, so nothing is lost, with a grace window or without one.
    """
    _on_loop_of(server, server.reset_counts)
    path = tmp_path / "login.json"
    asyncio.run(put(FileTokenStore(path), expired(_on_loop_of(server, server.tokens))))
    hold = server.faults.hold(TOKEN, after=after, times=1)
    where, settings = server.endpoints, {"refresh_timeout": 0.3}
    job = {"client_id": server.oauth_app.client_id, "account": where.account, "api": where.api}
    stopped.start(call="refresh", path=str(path), settings=settings, **job)
    _on_loop_of(server, hold.arrived)
    stopped.stop()
    _on_loop_of(server, hold.release)
    _on_loop_of(server, _until_idle, server)
    time.sleep(0.35)
    stopped.go_on()
    assert stopped.outcome() == "well"
    works = asyncio.run(_next_process(path, server))
    moment = "responded" if after else "processed"
    note(
        f"SIGSTOP beyond the limit, {moment} during the stop", server, server.refresh_requests, lost=not works
    )
    assert works
    assert (server.refresh_requests, server.refreshes) == (1, 1)
    assert _leftovers(path) == []


@pytest.mark.parametrize("program", ["asyncio", "blocking", "command"])
@pytest.mark.parametrize("step", [*STEPS, HOOK_EXITS], ids=lambda step: step.name)
def test_2_3_a_process_that_is_asked_to_end_at_any_step(
    server: Sandbox, mortals: Mortals, tmp_path: Path, step: Step, program: str
) -> None:
    """2-3: after SIGTERM a command, and a program with `finish_refresh_on`, ends the refresh: nothing is ever lost.

    Nor by a hook that raises `SystemExit` instead.
    """
    if server.behaviour.grace_window or (step is HOOK_EXITS and program == "command"):
        return
    _on_loop_of(server, server.reset_counts)
    path = tmp_path / "login.json"
    asyncio.run(put(FileTokenStore(path), expired(_on_loop_of(server, server.tokens))))
    code = 3 if step is HOOK_EXITS else 143 if program == "command" else -signal.SIGTERM
    assert _kill(mortals, step, path, server, signal.SIGTERM, program) == code
    assert server.refreshes == 1
    assert _leftovers(path) == []
    assert asyncio.run(_load_at_once(path)) is not None, "the lock is free"
    refreshes = server.refresh_requests
    works = asyncio.run(_next_process(path, server))
    note(
        f"{'hook' if step is HOOK_EXITS else 'SIGTERM'}, {program}: {step.name}",
        server,
        refreshes,
        lost=not works,
    )
    assert works
    assert server.refresh_requests == refreshes


def test_2_3_there_are_enough_deaths() -> None:
    """2-3: fifty at least."""
    assert len(STEPS) * 2 * KILLS >= 50
