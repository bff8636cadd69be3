"""The program of docs/how-to/processes.md that starts processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import documents
from helpers.support import expired, put, sandbox_in_a_thread

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN


@pytest.mark.slow
@pytest.mark.may_block
def test_four_processes_cause_one_refresh(tmp_path: Path) -> None:
    """Their token file has an access token that has expired."""
    (tmp_path / "program.py").write_text(documents.marked("docs/how-to/processes.md", "processes"))
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(FileTokenStore(tmp_path / "login.json"), expired(sandbox.tokens())))
        urls = {
            f"EZEEP_{host.upper()}_URL": getattr(sandbox.endpoints, host)
            for host in ("account", "api", "print")
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "program.py"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, **urls, "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id, "EZEEP_TOKEN_FILE": "login.json"},
        )  # shorter than one item a line  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count(SANDBOX_ADMIN) == 4
        assert sandbox.refreshes == 1
