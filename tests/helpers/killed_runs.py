"""Runs of provisioning in processes that are killed with SIGKILL, at the arrival of a request or at a write to the disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.records import RecordedRequest


CHILD = """
import asyncio, itertools, json, os, signal, sys
from datetime import datetime, timedelta, UTC

from ezeep_async import DesiredState, Endpoints, EzeepSession, OAuthApp, TokenSet


def die_at_the_disk(moment, how):
    calls, real = itertools.count(1), os.fsync

    def fsync(descriptor):
        if next(calls) == moment:
            if how == "torn":
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - 30)
            elif how == "synced":
                real(descriptor)
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    os.fsync = fsync


async def use(at_the_disk, desired, verify, log, client_id, account, api, access, refresh):
    if at_the_disk:
        die_at_the_disk(*at_the_disk)
    tokens = TokenSet(access, refresh, datetime.now(UTC) + timedelta(hours=1))
    async with EzeepSession(OAuthApp(client_id), tokens=tokens, endpoints=Endpoints(account, api)) as session:
        plan = await session.provisioning.plan(DesiredState.from_mapping(*desired), mode="exact", max_removals=100)
        await session.provisioning.apply(plan, audit_log=log, concurrency=4, verify=verify)


for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(use(*json.loads(line)))
        finally:
            os._exit(3)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Mortals:
    """Processes that run a job and are killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def start(self, *job: object) -> int:
        self._stdin.write(json.dumps(job) + "\n")
        self._stdin.flush()
        return int(self._stdout.readline())

    def end(self) -> int:
        """The output of the last process."""
        return int(self._stdout.readline())


class Death:
    """Kills the process when its request number `moment` arrives."""

    def __init__(self, sandbox: Sandbox, routes: Sequence[str], moment: int, *, processed: bool) -> None:
        self.pid: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.arrived = 0
        self.moment = moment
        for route in routes:
            sandbox.faults.add(route, drop="after" if processed else "before", when=self.comes)

    def comes(self, request: RecordedRequest) -> bool:
        self.arrived += 1
        if self.arrived != self.moment:
            return False
        os.kill(self.pid.get(timeout=20), signal.SIGKILL)
        return True


@contextlib.contextmanager
def mortal_processes() -> Iterator[Mortals]:
    """A process that forks one for each run."""
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Mortals(process)


async def _until_idle(sandbox: Sandbox) -> None:
    """Wait until the server has processed what had arrived."""
    for task in list(sandbox._tasks):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 5)


def settle(sandbox: Sandbox) -> None:
    loop = sandbox._runners[0].server._loop
    asyncio.run_coroutine_threadsafe(_until_idle(sandbox), loop).result(20)
    sandbox.faults.clear()
