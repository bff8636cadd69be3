"""The program of docs/how-to/processes.md that starts processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import documents
from helpers.programs import prepared
from helpers.support import expired, put

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN


@pytest.mark.slow
@pytest.mark.may_block
def test_four_processes_cause_one_refresh(tmp_path: Path) -> None:
    """Their token file has an access token that has expired."""
    with prepared(tmp_path) as here:
        sandbox = here.sandbox
        asyncio.run(put(FileTokenStore(here.folder / "login.json"), expired(sandbox.tokens())))
        (here.folder / "program.py").write_text(documents.marked("docs/how-to/processes.md", "processes"))
        done = subprocess.run(
            [sys.executable, "-W", "error", "program.py"],
            cwd=here.folder, env=here.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # shorter than one item a line  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count(SANDBOX_ADMIN) == 4
        assert sandbox.refreshes == 1
