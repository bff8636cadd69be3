"""A real Celery worker of an application in `examples/`, started as its users start it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.redis_servers import Server

from ezeep_async.sandbox import Sandbox


celery = pytest.importorskip("celery", reason="celery is not installed")

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
# Each application imports modules from its folder, as its users start it there.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def environment(sandbox: Sandbox, redis: Server, **more: str) -> dict[str, str]:
    """What the applications read."""
    return {
        **ENVIRONMENT,
        "REDIS_URL": redis.address,
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": str(sandbox.oauth_app.redirect_uri),
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "EZEEP_PRINT_URL": sandbox.endpoints.print,
        **more,
    }


@attrs.define
class Client:
    """Sends tasks, as a web app does."""

    app: celery.Celery
    redis: Server

    def send(self, task: str, *arguments: str, task_id: str | None = None) -> str:
        """Returns the id of the task."""
        return self.app.send_task(task, arguments, task_id=task_id).id

    def result(self, task_id: str, seconds: float = 60.0) -> Any:
        """The result of a task, or an AssertionError with that of the task. Read from Redis, where the worker stores it."""
        end = time.monotonic() + seconds
        while (stored := self.redis.admin.get(f"celery-task-meta-{task_id}")) is None or (
            found := json.loads(stored)
        )["status"] not in {"SUCCESS", "FAILURE"}:
            assert time.monotonic() < end, "the task did not end"
            time.sleep(0.01)
        assert found["status"] == "SUCCESS", found["result"]
        return found["result"]

    def run(self, task: str, *arguments: str) -> Any:
        """Send a task, and wait for its result."""
        return self.result(self.send(task, *arguments))


@contextlib.contextmanager
def client(redis: Server) -> Iterator[Client]:
    with celery.Celery(broker=redis.address, set_as_current=False) as app:
        yield Client(app, redis)


@attrs.define
class Worker:
    """`celery worker` with its pool of processes."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def children(self) -> list[int]:
        """The process ids of the pool."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def stop(self) -> None:
        """A warm shutdown: tasks that run end first."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log

    def errors(self) -> list[str]:
        """Lines of the log that report more than information."""
        return re.findall(r"^\[[^\]]*: (?:WARNING|ERROR|CRITICAL)/.*$", self.log, re.MULTILINE)


@contextlib.contextmanager
def worker(
    folder: Path, module: str, env: dict[str, str], *options: str, processes: int = 2
) -> Iterator[Worker]:
    """`celery -A module worker` in `examples/folder`, ready for tasks."""
    log_file = Path(env["WORKER_LOG"])
    command = [sys.executable, "-m", "celery", "-A", module, "worker", "-c", str(processes), *options]
    command.append("--without-mingle")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--loglevel", "INFO"], cwd=EXAMPLES / folder, env=env, stdout=log, stderr=log,
            start_new_session=True,
        )  # shorter than one item a line  # fmt: skip
    running = Worker(process, log_file)
    try:
        end = time.monotonic() + 30
        while not re.search(r"celery@\S+ ready\.", running.log):
            assert process.poll() is None, running.log
            assert time.monotonic() < end, running.log
            time.sleep(0.02)
        yield running
    finally:
        # The group: a main process that was killed leaves its pool.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
