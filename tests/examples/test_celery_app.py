"""`examples/celery_app`, on a real Celery with Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import documents
from helpers.celery_workers import EXAMPLES, Client, Worker, client, environment, worker
from helpers.redis_servers import Server
from helpers.support import put, sandbox_in_a_thread

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(60)]

PATCH = "PATCH /printing/v1/users/{id}/"
PRINT = "POST /sfapi/Print/"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread(job_seconds=0.0) as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Server]:
    """With the login of a file, which the program of the page moves into it."""
    folder = tmp_path_factory.mktemp("redis")
    server = Server(folder)
    asyncio.run(put(FileTokenStore(folder / "login.json"), sandbox.tokens()))
    move = documents.marked("docs/how-to/celery.md", "move")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(sandbox, server, EZEEP_TOKEN_FILE=str(folder / "login.json")).items():
            patch.setenv(name, value)
        exec(compile(move, "docs/how-to/celery.md: move", "exec"), {"__name__": "__main__"})
    assert sandbox.refreshes == 1
    yield server
    server.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox, redis: Server) -> Iterator[Worker]:
    log = tmp_path_factory.mktemp("celery") / "worker.log"
    with worker("celery_app", "printing", environment(sandbox, redis, WORKER_LOG=str(log))) as started:
        yield started


@pytest.fixture
def app(redis: Server, running: Worker) -> Iterator[Client]:
    with client(redis) as sending:
        yield sending


def test_members_are_added_and_refusals_are_retried(sandbox: Sandbox, app: Client) -> None:
    user, group = next(iter(sandbox.organization.users)), next(iter(sandbox.organization.groups))
    sandbox.organization.users[user].groups.clear()
    sandbox.faults.add(PATCH, status=429, retry_after=0.05, times=3)
    assert app.run("printing.add_to_groups", str(user), str(group)) == [str(group)]
    assert sandbox.organization.users[user].groups == {group}


def test_a_task_with_an_error_that_stays_fails(app: Client) -> None:
    unknown = "11111111-2222-4333-8444-555555555555"
    with pytest.raises(AssertionError, match="404"):
        app.run("printing.add_to_groups", unknown, unknown)


def test_a_document_is_printed_once(sandbox: Sandbox, app: Client, tmp_path: Path) -> None:
    document = tmp_path / "invoice.pdf"
    document.write_bytes(b"%PDF-1.4 a page")
    sandbox.faults.add(PRINT, status=429, retry_after=0.05)
    app.run("printing.print_document", "Front desk laser", str(document))
    assert [job.content for job in sandbox.printed] == [b"%PDF-1.4 a page"]


def test_a_print_task_that_is_delivered_again_prints_once(
    sandbox: Sandbox, redis: Server, app: Client, tmp_path: Path
) -> None:
    """While the first one runs, and after it."""
    document = tmp_path / "invoice.pdf"
    document.write_bytes(b"%PDF-1.4 a page")
    before, task = len(sandbox.printed), ("printing.print_document", "Front desk laser", str(document))
    hold = sandbox.faults.hold(PRINT)
    app.send(*task, task_id="twice")
    asyncio.run(hold.arrived())
    app.send(*task, task_id="twice")
    app.run("printing.add_to_groups", str(next(iter(sandbox.organization.users))))  # after the second one
    hold.release()
    assert app.result("twice") == 1
    app.send(*task, task_id="twice")
    sandbox.faults.add(PRINT, status=429, retry_after=0.05)  # nothing is printed: the key is free again
    assert app.run(*task) == 1
    assert (app.result("twice"), len(sandbox.printed)) == (1, before + 2)
    assert redis.admin.get("print:twice").decode() == sandbox.printed[-2].job_id


def test_a_killed_worker_leaves_a_print_that_is_not_known(
    sandbox: Sandbox, redis: Server, running: Worker, app: Client, tmp_path: Path
) -> None:
    """SIGKILL of its processes, when ezeep has made the job."""
    document = tmp_path / "invoice.pdf"
    document.write_bytes(b"%PDF-1.4 a page")
    before, task = len(sandbox.printed), ("printing.print_document", "Front desk laser", str(document))
    hold = sandbox.faults.hold(PRINT, after=True)
    app.send(*task, task_id="killed")
    asyncio.run(hold.arrived())
    for process in running.children:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(AssertionError, match="WorkerLostError"):
        app.result("killed")
    hold.release()
    app.send(*task, task_id="killed")
    assert app.run(*task) == 1
    assert len(sandbox.printed) == before + 2
    assert redis.admin.get("print:killed") == b"sending"


def test_a_lost_response_is_not_retried(sandbox: Sandbox, redis: Server, app: Client, tmp_path: Path) -> None:
    document = tmp_path / "invoice.pdf"
    document.write_bytes(b"%PDF-1.4 a page")
    before, task = len(sandbox.printed), ("printing.print_document", "Front desk laser", str(document))
    sandbox.faults.add(PRINT, drop="after")
    with pytest.raises(AssertionError, match="may or may not be printed"):
        app.result(app.send(*task, task_id="lost"))
    app.send(*task, task_id="lost")
    assert app.run(*task) == 1
    assert len(sandbox.printed) == before + 2
    assert redis.admin.get("print:lost") == b"sending"


def test_a_program_sends_a_task(sandbox: Sandbox, redis: Server, running: Worker, tmp_path: Path) -> None:
    """The one of docs/how-to/celery.md, with the path of a file that exists."""
    document = tmp_path / "invoice.pdf"
    document.write_bytes(b"%PDF-1.4 another page")
    program = documents.marked("docs/how-to/celery.md", "send").replace(
        "/srv/documents/invoice.pdf", str(document)
    )
    sent = subprocess.run(
        [sys.executable, "-c", program],
        cwd=EXAMPLES / "celery_app",
        env=environment(sandbox, redis),
        capture_output=True, text=True, check=False, timeout=50,
    )  # shorter than one item a line  # fmt: skip
    assert (sent.stdout, sent.stderr) == ("1 pages\n", "")
    assert sandbox.printed[-1].content == b"%PDF-1.4 another page"


def test_the_worker_stops_without_errors(running: Worker, app: Client) -> None:
    """Its sessions are closed: Python reports each one that is not."""
    running.stop()
    assert "ResourceWarning" not in running.log
    assert "printing.add_to_groups" in running.log
