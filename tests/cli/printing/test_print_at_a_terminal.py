"""`ezeep print` at a terminal: the upload, the status, and the outcome."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.terminal import at_a_terminal
from rich.cells import cell_len

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_documents")]
LASER = "Front desk laser"


@pytest.fixture
def _documents(tmp_path: Path) -> None:
    (tmp_path / "three.txt").write_bytes(b"1\f2\f3")
    (tmp_path / "a-document-with-a-name-that-is-long.txt").write_bytes(b"text")


@pytest.mark.parametrize("columns", [40, 80])
async def test_upload_status_and_outcome(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, columns: int
) -> None:
    hold = sandbox.faults.hold("POST /sfapi/Print/")
    sandbox.behaviour.job_seconds = 600
    names = ("three.txt", "a-document-with-a-name-that-is-long.txt")
    async with at_a_terminal(
        "print", *names, "--printer", LASER, env=login, folder=tmp_path, columns=columns
    ) as terminal:
        await hold.arrived(2)
        await terminal.shows("uploaded")
        hold.release()
        await terminal.shows("no status yet")
        sandbox.clock.advance(450)
        await terminal.shows("being processed")
        sandbox.clock.advance(600)
        await terminal.shows("3 of 3 pages")
        assert await terminal.ended() == 0
        shown = terminal.text.replace("\r", "\n")
    assert "printed" in shown
    assert all(printed.job_id in shown for printed in sandbox.printed)
    for line in shown.splitlines():
        assert cell_len(line) <= columns or "node-" in line, line


async def test_only_results_are_in_a_pipe(login: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    """The terminal still shows where the documents are."""
    hold = sandbox.faults.hold("POST /sfapi/Print/")
    reading, writing = os.pipe()
    async with at_a_terminal(
        "print", "three.txt", "--printer", LASER, env=login, folder=tmp_path, stdout=writing
    ) as terminal:
        os.close(writing)
        await terminal.shows("uploaded")
        hold.release()
        assert await terminal.ended() == 0
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().decode() == f"three.txt\tprinted\t3 of 3 pages\t{sandbox.printed[0].job_id}\n"
    assert "node-" not in terminal.text


async def test_a_terminal_that_goes_away_does_not_end_the_run(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """SIGHUP: the print request gets its response all the same."""
    hold = sandbox.faults.hold("POST /sfapi/Print/")
    async with at_a_terminal(
        "print", "three.txt", "--printer", LASER, env=login, folder=tmp_path
    ) as terminal:
        await terminal.shows("uploaded")
        terminal.close()
        hold.release()
        assert await terminal.process.wait() == 129
    assert len(sandbox.printed) == 1
