"""Programs of docs/how-to that need a server that fails, or a signal."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import sys
from pathlib import Path
from unittest import mock

import pytest
from helpers.documents import marked
from helpers.organizations import people, write
from helpers.support import put

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


RETRIES = "docs/how-to/retries.md"
LIMITS = "docs/how-to/rate-limits.md"
LOGS = "docs/how-to/logging-and-tracing.md"
PROVISIONING = "docs/how-to/provisioning.md"
LIST_GROUPS = "GET /printing/v1/groups/"

pytestmark = pytest.mark.may_block


@pytest.fixture
async def env(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
    return {
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_TOKEN_FILE": str(tmp_path / "login.json"),
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "EZEEP_PRINT_URL": sandbox.endpoints.print,
    }


def _run(program: str, env: dict[str, str]) -> str:
    out = io.StringIO()
    with mock.patch.dict(os.environ, env), mock.patch.object(sys, "stdout", out):
        exec(compile(program, "a page", "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.mark.slow  # the delays of stamina and tenacity
@pytest.mark.parametrize("mark", ["stamina", "tenacity", "tenacity-blocking"])
async def test_retries_of_ones_own(sandbox: Sandbox, env: dict[str, str], mark: str) -> None:
    """A failed request of the session is repeated by the program, and by nothing else."""
    sandbox.faults.add(LIST_GROUPS, status=503)
    out = await asyncio.to_thread(_run, marked(RETRIES, mark), env)
    assert "'Sales'" in out
    assert sandbox.count(LIST_GROUPS) == 2


async def test_a_lost_creation_is_reconciled(env: dict[str, str]) -> None:
    assert await asyncio.to_thread(_run, marked(RETRIES, "reconcile"), env) == "created Night shift\n"


@pytest.mark.slow
async def test_the_counters_show_a_rate_limit(env: dict[str, str]) -> None:
    calls, waiting = (await asyncio.to_thread(_run, marked(LIMITS, "stats"), env)).splitlines()
    found = re.fullmatch(r"136 calls, 0 failed, (\d+) refused and repeated", calls)
    assert found is not None
    assert int(found[1]) > 0
    assert waiting == "0 under way, 0 waiting for ()"


async def test_the_line_of_a_retry(env: dict[str, str]) -> None:
    """6-10, 8-4: the retry in the log, as the page shows it, and in the counts."""
    root = logging.getLogger()
    with mock.patch.multiple(root, handlers=[], level=root.level):
        line, stats = (await asyncio.to_thread(_run, marked(LOGS, "stats"), env)).splitlines()
        root.setLevel(logging.WARNING)
    shown = marked(LOGS, "retry").rstrip()

    def without_values(text: str) -> str:
        return re.sub(r"[0-9a-f]{32}|\d+\.\d+", "...", text)

    assert without_values(line) == without_values(shown)
    assert stats.startswith("Stats(calls=1, failed=0, requests=2, retries=1, ")


@pytest.mark.slow
async def test_the_nightly_job_reports_after_sigterm(
    sandbox: Sandbox, env: dict[str, str], tmp_path: Path
) -> None:
    """7-13: the change in flight is completed, the report of the changes that did not start is in its file."""
    write(tmp_path / "people.csv", {"Night shift": people(sandbox, 40)})
    hold = sandbox.faults.hold("POST /printing/v1/groups/")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", marked(PROVISIONING, "nightly-job")),
        cwd=tmp_path,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
    )
    await asyncio.wait_for(hold.arrived(), 15)
    process.terminate()
    hold.release()
    out, _ = await process.communicate()
    assert process.returncode == 1
    assert b"1 created" in out
    assert b"not started" in out
    assert "not_started" in (tmp_path / "report.csv").read_text()
