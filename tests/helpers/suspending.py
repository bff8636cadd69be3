"""Processes that use a session, that are stopped and continued, and that say how it went."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import attrs


CHILD = """
import asyncio, json, os, sys
import aiohttp
from ezeep_async import Endpoints, EzeepSession, FileTokenStore, MemoryTokenStore, OAuthApp, Settings, SQLTokenStore, run_sync
from ezeep_async.auth.stores.redis import RedisTokenStore

def session_of(job):
    if "redis" in job:
        store = RedisTokenStore(job["redis"], lease=job["lease"])
    elif "sql" in job:
        from sqlalchemy.ext.asyncio import create_async_engine
        store = SQLTokenStore(create_async_engine(job["sql"], pool_size=1), "login", lease=job["lease"])
    elif "path" in job:
        store = FileTokenStore(job["path"])
    else:
        store = MemoryTokenStore()
    endpoints, settings = Endpoints(job["account"], job["api"]), Settings(**job["settings"])
    return EzeepSession(OAuthApp(job["client_id"]), store=store, endpoints=endpoints, settings=settings)

async def use(job):
    async with session_of(job) as session:
        if job["call"] == "refresh":
            await session.oauth.refresh()
            await session.accounts.me()
        elif job["call"] == "close":
            call = asyncio.create_task(session.accounts.me())
            await asyncio.sleep(0.5)  # until the refresh has begun, with the imports of its first use
            call.cancel()
        elif job["call"] == "create":
            await session.groups.create("Sales", job["organization"])
        elif job["call"] == "pair":
            pairing = await session.oauth.pair()
            print(pairing.pairing_code, flush=True)
            await session.oauth.wait_for_pairing(pairing, interval=0.2, timeout=job["seconds"])
            await session.accounts.me()

def run(job):
    if job["call"] == "blocking":
        with run_sync(session_of(job)) as session:
            session.accounts.me()
    else:
        asyncio.run(use(job))

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        print(os.getpid(), flush=True)
        try:
            run(json.loads(line))
        except BaseException as error:
            print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
        else:
            print(json.dumps("well"), flush=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
"""


@attrs.define
class Stoppable:
    """One process at a time."""

    _process: subprocess.Popen[str]
    pid: int = 0

    def start(self, **job: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self.pid = int(self.line())

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        """Stop it, and wait until it is."""
        os.kill(self.pid, signal.SIGSTOP)
        end = time.monotonic() + 10
        while _state_of(self.pid) not in "Tt":
            assert time.monotonic() < end, "it does not stop"
            time.sleep(0.002)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def outcome(self) -> str:
        said = json.loads(self.line())
        self.pid = 0
        return said


def _state_of(pid: int) -> str:
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()[:1]


@contextlib.contextmanager
def stoppable() -> Iterator[Stoppable]:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        child = Stoppable(process)
        try:
            yield child
        finally:
            process.stdin.close()
            if child.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            process.kill()
