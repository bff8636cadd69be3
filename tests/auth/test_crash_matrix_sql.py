"""2-3: a process that refreshes in an `SQLTokenStore` is killed at every step, and the next one goes on.

As in `test_crash_matrix.py`, the processes get to the step by hooks, or are killed when the server has their request.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from helpers.evidence import note
from helpers.support import QUICK, TOKEN, expired, open_session, put, sandbox_in_a_thread
from helpers.writing_process import store_at

from ezeep_async import ReauthorizationRequired, SQLTokenStore, TransientAuthError
from ezeep_async.sandbox import Sandbox


if TYPE_CHECKING:
    from helpers.sql_databases import Database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork and SIGKILL"),
]

pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")

LEASE_S = 0.3

CHILD = """
import asyncio, json, os, signal, sys

import asyncpg, aiosqlite  # imported once, and not in each child
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.ext.asyncio.engine import AsyncTransaction

from ezeep_async import Endpoints, EzeepSession, OAuthApp, SQLTokenStore
from ezeep_async.auth.current import CurrentTokens
from ezeep_async.auth.stores import leased, sql_database
from ezeep_async.auth.token_endpoint import TokenEndpoint


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hook(owner, name, before):
    real = getattr(owner, name)

    async def hooked(*args, **options):
        if before:
            die()
        result = await real(*args, **options)
        if not before:
            die()
        return result

    setattr(owner, name, hooked)


def in_transaction_of(method):
    # Dies with the statements executed and nothing committed.
    real = getattr(SQLTokenStore, method)

    async def hooked(*args, **options):
        work = sql_database.Transaction.change

        async def change(*args, **options):
            await work(*args, **options)
            die()

        sql_database.Transaction.change = change
        return await real(*args, **options)

    setattr(SQLTokenStore, method, hooked)


HOOKS = {
    "locking, not committed": lambda: in_transaction_of("_try_lock"),
    "locked": lambda: hook(SQLTokenStore, "_try_lock", before=False),
    "loaded": lambda: hook(SQLTokenStore, "_probe", before=True),
    "probing, not committed": lambda: in_transaction_of("_probe"),
    "probed": lambda: hook(SQLTokenStore, "_probe", before=False),
    "marking, not committed": lambda: in_transaction_of("begin_refresh"),
    "marked": lambda: hook(SQLTokenStore, "begin_refresh", before=False),
    "response received": lambda: hook(SQLTokenStore, "save", before=True),
    "saving, not committed": lambda: in_transaction_of("_write"),
    "saved": lambda: hook(SQLTokenStore, "_write", before=False),
    "releasing, not committed": lambda: in_transaction_of("_release"),
    "released": lambda: hook(SQLTokenStore, "_release", before=False),
}


async def use(url, lease, client_id, account, api):
    store = SQLTokenStore(create_async_engine(url, pool_size=1, max_overflow=0), "login", lease=lease)
    async with EzeepSession(OAuthApp(client_id), store, endpoints=Endpoints(account, api)) as session:
        await session.accounts.me()


for line in sys.stdin:
    pid = os.fork()
    if not pid:
        step, *job = json.loads(line)
        try:
            if step in HOOKS:
                HOOKS[step]()
            asyncio.run(use(*job))
        finally:
            os._exit(3)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@attrs.frozen
class Step:
    """Where the process dies."""

    name: str
    sent: bool = False
    """Whether the request had left it."""
    rotated: bool = False
    """Whether the server has processed that request by the time that the next process comes."""
    stored: bool = False
    """Whether the next process finds the new token set."""

    @property
    def loses(self) -> bool:
        """Whether the token set is lost where the server has no grace window."""
        return self.rotated and not self.stored


STEPS = [
    Step("locking, not committed"),
    Step("locked"),
    Step("loaded"),
    Step("probing, not committed"),
    Step("probed"),
    Step("marking, not committed"),
    Step("marked"),
    Step("lost on the way", sent=True),
    Step("processed after the death", sent=True, rotated=True),
    Step("processed without a response", sent=True, rotated=True),
    Step("response received", sent=True, rotated=True),
    Step("saving, not committed", sent=True, rotated=True),
    Step("saved", sent=True, rotated=True, stored=True),
    Step("releasing, not committed", sent=True, rotated=True, stored=True),
    Step("released", sent=True, rotated=True, stored=True),
]
ON_THE_WAY = {"lost on the way", "processed after the death", "processed without a response"}


@pytest.fixture(scope="module")
def mortals() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.fixture(scope="module", params=[0.0, 120.0], ids=["no grace", "grace"])
def server(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with sandbox_in_a_thread(users=3, groups=1, grace_window=request.param) as sandbox:
        yield sandbox


def _kill(mortals: subprocess.Popen[str], step: Step, url: str, sandbox: Sandbox) -> None:
    """Let a process die at that step."""
    assert mortals.stdin is not None
    assert mortals.stdout is not None
    hold: Any = None
    if step.name == "lost on the way":
        sandbox.faults.add(TOKEN, drop="before")
    if step.name in ON_THE_WAY:
        hold = sandbox.faults.hold(TOKEN, after=step.name == "processed without a response", times=1)
    where = sandbox.endpoints
    job = [step.name, url, LEASE_S, sandbox.oauth_app.client_id, where.account, where.api]
    mortals.stdin.write(json.dumps(job) + "\n")
    mortals.stdin.flush()
    pid = int(mortals.stdout.readline())
    if hold is not None:
        asyncio.run(hold.arrived())
        os.kill(pid, signal.SIGKILL)
    assert int(mortals.stdout.readline()) == -signal.SIGKILL
    if hold is not None:
        refreshes = sandbox.refreshes
        hold.release()
        while step.name == "processed after the death" and sandbox.refreshes == refreshes:
            pass


async def _next_process(store: SQLTokenStore, sandbox: Sandbox) -> str:
    """What a session on the same row does after the crash, with errors that are not final repeated."""
    settings = attrs.evolve(QUICK, deadline=20.0, refresh_timeout=10.0)
    async with open_session(sandbox, store, settings=settings) as session:
        for _ in range(3):
            try:
                await session.accounts.me()
            except TransientAuthError:
                continue
            except ReauthorizationRequired:
                return "a person has to log in"
            return "works"
    return "does not work"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_2_3_a_process_killed_at_any_step_of_a_refresh(
    server: Sandbox, mortals: subprocess.Popen[str], database: Database, step: Step
) -> None:
    """2-3: the row is whole, the lock ends with its lease, and the next process works with one refresh at most. A person is
    asked for only where the server rotated, the response was not stored, and the server has no grace window.
    """
    if server.behaviour.grace_window and not step.loses:
        return  # the window is for a refresh token that the server has replaced
    server.reset_counts()
    old = expired(server.tokens())
    asyncio.run(put(store_at(database.url), old))
    _kill(mortals, step, database.url, server)
    assert server.refreshes == step.rotated
    by_the_dead = server.refresh_requests
    assert by_the_dead == step.sent

    new = server._grants._refresh[old.refresh_token].successor
    expected = new if step.stored else old
    stored = asyncio.run(store_at(database.url).load())
    assert stored is not None
    assert expected is not None
    assert (stored.access_token, stored.refresh_token) == (expected.access_token, expected.refresh_token)

    lost = step.loses and not server.behaviour.grace_window
    store = store_at(database.url, lease=LEASE_S)
    outcome = asyncio.run(_next_process(store, server))
    assert outcome == ("a person has to log in" if lost else "works")
    refreshes = server.refresh_requests
    if lost:
        assert asyncio.run(store.load()) == old, "a dead token set is not deleted"
    else:
        assert refreshes - by_the_dead == (not step.stored)
        assert asyncio.run(_next_process(store, server)) == "works"
        assert server.refresh_requests == refreshes, "what the next process made of it was stored"
    note(f"SIGKILL on {database.dialect}: {step.name}", server, refreshes, lost=lost)
    row = asyncio.run(database.row("login"))
    assert (row.lock_owner, row.refresh_owner) == ("", "")
