"""What a forked child does with what its parent has open, where no session ends with it."""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from helpers.raw_server import ID, PlayServer
from helpers.stub_servers import session_on
from helpers.support import TOKEN, open_session, put, sandbox_in_a_thread

from ezeep_async import AuditLogError, EzeepSession, FileTokenStore, SessionClosed, run_sync
from ezeep_async.provisioning.plans.changes import CreateGroup
from ezeep_async.provisioning.runs.audit import AuditLog
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def in_child(check: Callable[[], bool]) -> bool:
    """Whether `check` is true in a forked child, which then ends at once."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def refused(call: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    async def attempt() -> bool:
        try:
            await call()
        except SessionClosed as error:
            return "fork" in str(error)
        return False

    return asyncio.run(attempt())


async def test_5_3_an_async_session_is_refused_in_a_child_and_not_closed_by_it(session: EzeepSession) -> None:
    await session.groups.list().count()

    async def keep_alive() -> object:
        return session.keep_alive()

    def check() -> bool:
        refusals = [refused(session.accounts.me), refused(session.oauth.refresh), refused(keep_alive)]
        asyncio.run(session.aclose())
        return all(refusals)

    assert in_child(check)
    assert (await session.accounts.me()).email
    await session.oauth.refresh()


async def test_5_3_a_session_that_was_not_opened_before_the_fork_works_in_the_child(sandbox: Sandbox) -> None:
    session = open_session(sandbox, stored=sandbox.tokens())

    async def open_and_close() -> bool:
        async with session:
            return True

    assert in_child(lambda: asyncio.run(open_and_close()))
    async with session:
        assert (await session.accounts.me()).email


@pytest.mark.parametrize("borrowed", [False, True])
async def test_5_3_a_tls_connection_is_not_ended_by_a_child(borrowed: bool) -> None:
    """A child that closes its copy of the connection would say goodbye on it to the server."""
    authority = trustme.CA()
    trusting, tls = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(trusting)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with PlayServer(tls=tls) as server, aiohttp.ClientSession() as http:
        lent = http if borrowed else None
        async with session_on(server.url, http=lent, ssl_context=trusting, retries=0) as session:
            await session.groups.get(ID)
            client = session._core._transport._session
            assert client is not None

            def close() -> bool:
                for connections in client.connector._conns.values():
                    for protocol, _ in connections:
                        protocol.transport.close()
                return True

            assert in_child(close)
            await session.groups.get(ID)
            assert server.connections == 1


async def test_5_3_a_child_writes_nothing_into_the_audit_log_of_its_parent(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    await log.begin([])
    before = log.path.read_bytes()
    change = CreateGroup(name="x", organization_id=sandbox.organization.organization_id)

    def check() -> bool:
        try:
            asyncio.run(log.note(change))
        except AuditLogError as error:
            return "parent" in str(error)
        return False

    assert in_child(check)
    assert log.path.read_bytes() == before
    await log.note(change)


def test_5_5_a_refresh_is_waited_for_at_the_end_of_a_multiprocessing_child(tmp_path: Path) -> None:
    """Such a child ends by `os._exit`, so that exit handlers do not run."""
    store = FileTokenStore(tmp_path / "login.json")
    context = multiprocessing.get_context("fork")
    with sandbox_in_a_thread(users=3, groups=1) as sandbox:
        asyncio.run(put(store, sandbox.tokens()))
        go_on = context.Event()

        def child() -> None:
            session = run_sync(open_session(sandbox, store))
            threading.Thread(target=session.oauth.refresh, daemon=True).start()
            go_on.wait()

        hold = sandbox.faults.hold(TOKEN, after=True, times=1)
        process = context.Process(target=child)
        process.start()
        asyncio.run(hold.arrived())
        go_on.set()
        process.join(0.1)
        hold.release()
        process.join(30)
        assert process.exitcode == 0
        with run_sync(open_session(sandbox, store)) as session:
            session.oauth.refresh()
        assert sandbox.refresh_requests == 2


SCRIPT = """
    import os, sys
    from ezeep_async import EzeepSession, run_sync
    from ezeep_async.testing import ThreadedSandbox

    def end(depth):
        pid = os.fork()
        if pid == 0:
            if depth:
                end(depth - 1)
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    with ThreadedSandbox(users=3, groups=1) as sandbox:
        session = run_sync(EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints))
        users = iter(session.users.list(page_size=1))
        next(users)
        end(1)
        print(session.groups.list().count(), len(list(users)), bool(session.oauth.refresh()), sandbox.refreshes)
        session.close()
"""


def test_5_3_children_and_grandchildren_that_exit_harm_neither_session_nor_sandbox() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1 2 True 1\n", "")


CANCELLED = """
    import asyncio, os, sys, threading
    from ezeep_async import EzeepSession, FileTokenStore, OAuthApp

    async def main():
        store, go_on = FileTokenStore("login.json"), threading.Event()
        store._load = go_on.wait
        async with EzeepSession(OAuthApp("a"), store):
            task = asyncio.create_task(store.load())
            await asyncio.sleep(0.01)
            pid = os.fork()
            if pid == 0:
                sys.exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            go_on.set()
            await task

    asyncio.run(main())
"""


def test_5_3_a_child_does_not_wait_for_a_thread_of_its_parent(tmp_path: Path) -> None:
    """`asyncio.run` cancels what the parent has under way, and waits for it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(CANCELLED)],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=tmp_path,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")
def test_5_3_blocking_calls_do_not_run_on_uvloop_whose_children_crash() -> None:
    policy = "import asyncio, uvloop\nasyncio.set_event_loop_policy(uvloop.EventLoopPolicy())\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", policy + textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("1 2 True 1\n", "")


FORKING_HOOK = """
    import os, sys
    from ezeep_async import EzeepSession, run_sync
    from ezeep_async.testing import ThreadedSandbox

    def hook(old, new):
        pid = os.fork()
        if pid == 0:
            sys.exit(3)
        print("ended" if os.waitpid(pid, 0)[0] == pid else "?")

    with ThreadedSandbox(users=3, groups=1) as sandbox:
        made = EzeepSession(
            sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, on_token_rotated=hook
        )
        with run_sync(made) as session:
            session.oauth.refresh()
            print(bool(session.accounts.me()), sandbox.refreshes)
"""


def test_5_3_a_child_that_is_forked_on_the_background_loop_ends() -> None:
    """It is a copy of that loop's thread, and would serve the parent's calls for ever."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(FORKING_HOOK)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert sorted(done.stdout.splitlines()) == ["True 1", "ended"]


SLOW_IMPORT = """
import asyncio, importlib.abc, os, signal, sys, threading, time
from ezeep_async import FileTokenStore

begun = threading.Event()


class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith("filelock.") and not begun.is_set():  # its modules differ from version to version
            begun.set()
            time.sleep(0.2)


async def lock(name):
    async with FileTokenStore(os.path.join(sys.argv[1], name)).lock():
        pass


sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: asyncio.run(lock("parent")))
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    asyncio.run(lock("child"))
    os._exit(0)
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_5_3_a_fork_during_the_first_refresh_does_not_hang_the_child(tmp_path: Path) -> None:
    """A thread of the parent imports `filelock` then, and the child would wait for the end of that import."""
    command = [sys.executable, "-c", SLOW_IMPORT, str(tmp_path)]
    # Standard error may have a complaint of filelock, whose handlers for forks are registered between those of this fork.
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
