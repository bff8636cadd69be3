"""Blocking calls where gevent or eventlet has replaced the threads of the standard library.

tests/examples/ has servers and workers on gevent.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import put, sandbox_in_a_thread

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    # Not imported here: both change what a fork does.
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("gevent", "eventlet"))),
        reason="the dependency group examples is not installed",
    ),
]

PATCHED = """
from gevent import monkey; monkey.patch_all()
import gevent, os, sys, threading
from ezeep_async import EzeepSession, run_sync
from ezeep_async.blocking import portal
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread(users=30, groups=3) as server:
        yield server
        server.faults.clear()


def started(script: str, sandbox: Sandbox, folder: Path, before: str = PATCHED) -> subprocess.Popen[str]:
    path = folder / "login.json"
    asyncio.run(put(FileTokenStore(path), sandbox.tokens()))
    (folder / "script.py").write_text(before + textwrap.dedent(script))
    env = {
        **os.environ,
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_TOKEN_FILE": str(path),
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api.replace(
            "127.0.0.1", "localhost"
        ),  # the name has to be resolved
        "EZEEP_PRINT_URL": sandbox.endpoints.print,
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "script.py"],
        cwd=folder, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # shorter than one item a line  # fmt: skip


def printed_by(script: str, sandbox: Sandbox, folder: Path, before: str = PATCHED) -> str:
    with started(script, sandbox, folder, before) as process:
        out, err = process.communicate(timeout=30)
    assert (err, process.returncode) == ("", 0)
    return out


def test_greenlets_that_wait_do_not_block_each_other(sandbox: Sandbox, tmp_path: Path) -> None:
    """One call waits for its response; ten others and a greenlet without calls go on meanwhile."""
    hold = sandbox.faults.hold("GET /printing/v1/groups/")
    script = """
        with run_sync(EzeepSession.from_env()) as session:
            held = gevent.spawn(lambda: session.groups.list().count())
            me = [gevent.spawn(lambda: session.accounts.me().email) for _ in range(10)]
            gevent.joinall(me, raise_error=True)
            print(len(me), {each.value for each in me}, held.ready(), flush=True)
            sys.stdin.readline()
            print(held.get(), threading.active_count())
    """
    with started(script, sandbox, tmp_path) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        asyncio.run(asyncio.wait_for(hold.arrived(), 15))
        hold.release()
        out, err = process.communicate("\n", timeout=30)
    assert (err, process.returncode) == ("", 0)
    assert first == f"10 {{{SANDBOX_ADMIN!r}}} False\n"
    assert out == "3 1\n"


def test_a_greenlet_that_is_ended_cancels_its_call(sandbox: Sandbox, tmp_path: Path) -> None:
    """By `gevent.Timeout` and by `kill`. The session stays usable."""
    sandbox.faults.hold("GET /printing/v1/groups/")
    script = """
        with run_sync(EzeepSession.from_env()) as session:
            with gevent.Timeout(0.2, False):
                print(session.groups.list().count())
            call = gevent.spawn(lambda: session.groups.list().count())
            gevent.sleep(0.2)
            call.kill()
            print(session.accounts.me().email, len(portal.current().calls))
    """
    assert printed_by(script, sandbox, tmp_path) == f"{SANDBOX_ADMIN} 0\n"


def test_threads_of_the_sdk_work(sandbox: Sandbox, tmp_path: Path) -> None:
    """Files of tokens, documents and reports are read and written in threads; listings are left early."""
    (tmp_path / "page.pdf").write_bytes(b"%PDF-1.4 a page")
    script = """
        with run_sync(EzeepSession.from_env()) as session:
            session.oauth.refresh()
            for user in session.users.list(page_size=10):
                break
            group, _ = session.groups.ensure("Night shift", session.groups.list().first().organization_id)
            session.users.add_to_groups(user.id, group.id)
            session.printing.print_file("page.pdf", session.printers.list().first())
            print(session.groups.get(group.id).num_members)
    """
    assert printed_by(script, sandbox, tmp_path) == "1\n"


def test_locks_of_threads_and_greenlets_are_not_lost(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each log handler has one, which the greenlets, the event loop and its threads want at the same time."""
    script = """
        import asyncio, logging
        logging.basicConfig(filename=os.devnull, level=logging.DEBUG)

        async def log(number):
            logging.debug("in the event loop")
            if number % 5 == 0:
                await asyncio.to_thread(logging.debug, "in a thread")
            return number

        def work():
            for number in range(50):
                assert portal.run("await log(...)", log, number) == number
                logging.debug("in a greenlet")

        gevent.joinall([gevent.spawn(work) for _ in range(20)], raise_error=True)
        print("done")
    """
    assert printed_by(script, sandbox, tmp_path) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_makes_calls(sandbox: Sandbox, tmp_path: Path) -> None:
    """On a portal of its own. The session is left open in both processes."""
    script = """
        session = run_sync(EzeepSession.from_env())
        print(session.accounts.me().email, flush=True)
        child = os.fork()
        print(session.accounts.me().email, flush=True)
        session.close()
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    assert printed_by(script, sandbox, tmp_path) == f"{SANDBOX_ADMIN}\n" * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_patched_in_a_child_after_the_first_call(sandbox: Sandbox, tmp_path: Path) -> None:
    """As `gunicorn --preload -k gevent` does it: the master imports the application, and each worker patches."""
    before = """
from ezeep_async import EzeepSession, run_sync
session = run_sync(EzeepSession.from_env())
print(session.accounts.me().email, flush=True)
import os
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    session.close()
    raise SystemExit
import warnings
warnings.simplefilter("ignore")  # gevent's, about modules that were imported before
from gevent import monkey; monkey.patch_all()
import gevent
"""
    script = """
        calls = [gevent.spawn(lambda: session.accounts.me().email) for _ in range(3)]
        gevent.joinall(calls, raise_error=True)
        print(*[call.value for call in calls])
        session.close()
    """
    out = printed_by(script, sandbox, tmp_path, before)
    assert out.split() == [SANDBOX_ADMIN] * 4


def test_a_session_that_is_left_open_is_closed_at_exit(sandbox: Sandbox, tmp_path: Path) -> None:
    script = """
        session = run_sync(EzeepSession.from_env())
        print(session.accounts.me().email)
    """
    assert printed_by(script, sandbox, tmp_path) == f"{SANDBOX_ADMIN}\n"


def test_eventlet_is_refused_at_the_first_call(sandbox: Sandbox, tmp_path: Path) -> None:
    """With its name, and what to use instead."""
    before = """
import warnings
warnings.simplefilter("ignore")  # eventlet's, about itself
import eventlet; eventlet.monkey_patch()
from ezeep_async import BlockingCallError, EzeepSession, run_sync
"""
    script = """
        session = run_sync(EzeepSession.from_env())
        for _ in range(2):
            try:
                session.accounts.me()
            except BlockingCallError as error:
                print(error)
    """
    lines = printed_by(script, sandbox, tmp_path, before).splitlines()
    assert len(lines) == 2
    assert all("eventlet" in line and "gthread" in line for line in lines)
    assert sandbox.requests == []
