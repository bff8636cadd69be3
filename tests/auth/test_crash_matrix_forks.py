"""A child of a fork ends, in every way: its parent keeps the token set, also where a refresh is under way meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from helpers.evidence import note
from helpers.forking import Job
from helpers.redis_servers import Server
from helpers.support import TOKEN, put, sandbox_in_a_thread

from ezeep_async import FileTokenStore, RedisTokenStore, TokenStoreError
from ezeep_async.testing import ThreadedSandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
]

FORKING = Path(__file__).parents[1] / "helpers" / "forking.py"
ENDS = {"return": 0, "sys.exit": 0, "os._exit": 0, "exception": 1, "SIGTERM": -15}
JOBS = [
    Job(by=by, end=end, refreshing=refreshing)
    for by, ends in {
        "fork": [*ENDS],
        "multiprocessing": [*ENDS],
        "prefork": [*ENDS],
        "preexec_fn": ["return", "exception"],
    }.items()
    for end in ends
    for refreshing in ((False, True) if by == "fork" else (by != "prefork",))
]


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedSandbox]:
    with sandbox_in_a_thread(users=3, groups=1) as sandbox:
        assert isinstance(sandbox, ThreadedSandbox)
        assert not sandbox.behaviour.grace_window
        yield sandbox


class Parent:
    """The program `forking`, and its token store."""

    def __init__(self, kind: str, folder: Path, server: ThreadedSandbox, redis: str = "") -> None:
        self.kind, self.redis, self.path = kind, redis, folder / f"{kind}.json"
        where = server.endpoints
        asyncio.run(put(self.store(), server.tokens()))
        errors = folder / f"{kind}.log"
        command = [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning",
            str(FORKING),
        ]
        command += [kind, redis or str(self.path), server.oauth_app.client_id, where.account, where.api]
        with errors.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.log = errors.open()

    def store(self, **options: float) -> FileTokenStore | RedisTokenStore:
        return RedisTokenStore(self.redis, **options) if self.redis else FileTokenStore(self.path, **options)

    async def is_locked(self) -> bool:
        try:
            async with self.store(lock_timeout=0.0).lock():
                return False
        except TokenStoreError:
            return True

    def send(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, object]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        return json.loads(line)

    def said(self) -> str:
        """What the children, and the parent, have written to standard error since the last time."""
        return self.log.read()

    def close(self) -> None:
        with self.log:
            try:
                self.process.communicate(timeout=20)
            finally:
                self.process.kill()
            assert (self.process.returncode, self.said()) == (0, "")


@pytest.fixture(scope="module", params=["blocking", "async"])
def parent(
    request: pytest.FixtureRequest, server: ThreadedSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Parent]:
    running = Parent(request.param, tmp_path_factory.mktemp("parent"), server)
    yield running
    running.close()


@pytest.mark.parametrize(
    "job", JOBS, ids=lambda job: f"{job.by}, {job.end}{', refreshing' if job.refreshing else ''}"
)
def test_the_parent_keeps_its_token_set(parent: Parent, server: ThreadedSandbox, job: Job) -> None:
    refreshes = server.refresh_requests
    hold = server.faults.hold(TOKEN, after=True, times=1) if job.refreshing else None
    parent.send(json.dumps(attrs.asdict(job)))
    if hold is not None:
        asyncio.run(hold.arrived())
        parent.send()
    assert parent.read() == {"code": 0 if job.by == "preexec_fn" else ENDS[job.end]}
    if hold is not None:
        assert asyncio.run(parent.is_locked()), "the child gave the lock of its parent back"
        hold.release()
        parent.send()
    after = parent.read()
    requests = server.refresh_requests - refreshes
    note(
        f"child of a fork: {parent.kind} parent, {job.by}, {job.end}",
        server,
        requests,
        lost=bool(after["errors"]),
    )
    assert after["errors"] == []
    assert requests == 1 + job.refreshing, "a refresh was repeated"
    assert isinstance(after["seconds"], float)
    assert after["seconds"] < 4, "the parent waited for a time limit"  # the read timeout is 5 s
    said = parent.said()
    if job.end == "exception" and job.by in {"fork", "multiprocessing"}:
        heads = [
            line for line in said.splitlines() if line and not line.startswith((" ", "Traceback", "Process"))
        ]
        assert heads == ["RuntimeError: raised on purpose"]
    else:
        assert said == ""


@pytest.fixture(scope="module")
def parent_on_redis(server: ThreadedSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    folder = tmp_path_factory.mktemp("redis")
    redis = Server(folder)
    try:
        running = Parent("async", folder, server, redis.address)
        yield running
        running.close()
    finally:
        redis.close()


@pytest.mark.parametrize("end", ["return", "sys.exit"])
def test_a_redis_connection_and_lock_stay_with_the_parent(
    parent_on_redis: Parent, server: ThreadedSandbox, end: str
) -> None:
    test_the_parent_keeps_its_token_set(parent_on_redis, server, Job(by="fork", end=end, refreshing=True))
