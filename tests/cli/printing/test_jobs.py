"""`ezeep jobs`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ezeep_async import JobTimeout
from ezeep_async.cli.printing.command import print_documents
from ezeep_async.cli.printing.jobs import job_status, list_queued
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]


@pytest.fixture
async def job_id(login: dict[str, str], sandbox: Sandbox, tmp_path: Path, capsys: Capture) -> str:
    """The id of a job that was printed a minute ago."""
    assert login
    sandbox.behaviour.job_seconds = 60
    (tmp_path / "three.txt").write_bytes(b"1\f2\f3")
    assert await print_documents("three.txt", printer="Front desk laser", no_wait=True) == 0
    capsys.readouterr()
    return sandbox.printed[0].job_id


async def test_the_status_of_a_job(job_id: str, capsys: Capture, sandbox: Sandbox) -> None:
    sandbox.clock.advance(40)
    assert await job_status(job_id) == 0
    assert capsys.readouterr().out == (
        f"job: {job_id}\nstatus: being processed\ncode: 129\ntext: PRINTING|RETAINED|\npages: 2 of 3\nposition: 1\n"
    )
    sandbox.clock.advance(60)
    assert await job_status(job_id, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {
        "job_id": job_id, "code": 0, "meaning": "printed", "text": "", "pages_printed": 3, "pages_total": 3,
        "position": 0, "is_final": True,
    }  # shorter than one item a line  # fmt: skip


@pytest.mark.parametrize(("given", "code"), [("node:no_such_tpcb_1_2#3:4", 2), ("no job id", 87)])
@pytest.mark.usefixtures("login")
async def test_an_unknown_job_has_exit_code_1(capsys: Capture, given: str, code: int) -> None:
    assert await job_status(given) == 1
    assert f"code: {code}\n" in capsys.readouterr().out


async def test_waiting_for_a_job(job_id: str, capsys: Capture, sandbox: Sandbox) -> None:
    with pytest.raises(JobTimeout, match="It may still be printed"):
        await job_status(job_id, wait=True, timeout=0.05)
    sandbox.clock.advance(60)
    assert await job_status(job_id, wait=True) == 0
    assert "status: printed\n" in capsys.readouterr().out


@pytest.mark.usefixtures("login")
async def test_waiting_for_a_job_that_fails(capsys: Capture, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.printing.script(3011)
    (tmp_path / "one.txt").write_bytes(b"1")
    await print_documents("one.txt", printer="Front desk laser", no_wait=True)
    assert await job_status(sandbox.printed[0].job_id, wait=True) == 1
    assert "status: failed: print the document again\ncode: 3011\n" in capsys.readouterr().out


@pytest.mark.usefixtures("login")
async def test_jobs_in_pull_queues(capsys: Capture, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"1")
    await list_queued()
    assert capsys.readouterr().out == ""
    await print_documents("one.txt", printer="Pull queue")
    capsys.readouterr()
    await list_queued()
    job_id, document, printer, created = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (document, printer) == ("one.txt", "Pull queue")
    await list_queued(as_json=True)
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["created"], shown["status"]) == (job_id, created, "INQUEUE")
    assert len(sandbox.printed) == 1
