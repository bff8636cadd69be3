"""Every snippet of the README runs, as it stands, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import decide
from support import put, sandbox_in_a_thread

from ezeep_async import FileTokenStore


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def server():
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.fixture
def environment(server, tmp_path: Path) -> dict[str, str]:
    asyncio.run(put(FileTokenStore(tmp_path / "login.json"), server.tokens()))
    return {
        **os.environ,
        "EZEEP_CLIENT_ID": server.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": server.oauth_app.redirect_uri,
        "EZEEP_ACCOUNT_URL": server.endpoints.account,
        "EZEEP_API_URL": server.endpoints.api,
    }


def test_there_are_snippets() -> None:
    """The async example first, with its store (2-14); then blocking, logging in, provisioning, the log, the sandbox, and tests of one's own."""
    assert len(SNIPPETS) == 7
    assert "FileTokenStore(" in SNIPPETS[0]
    body = SNIPPETS[0].split("def main", 1)[1].split("\n\n\n")[0]
    assert len(body.splitlines()) <= 10


@pytest.mark.parametrize(
    "number", [n for n, text in enumerate(SNIPPETS) if "input(" not in text and "pytest" not in text]
)
def test_a_snippet_runs(number: int, environment: dict[str, str], tmp_path: Path) -> None:
    """With warnings as errors, in an empty folder with a login in it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNIPPETS[number]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_what_it_shows_of_itself(environment: dict[str, str], tmp_path: Path) -> None:
    """6-10, 8-4: the retry in the log, and in the counts."""
    (snippet,) = [text for text in SNIPPETS if "session.stats" in text]
    out = subprocess.check_output([sys.executable, "-c", snippet], env=environment, text=True, timeout=15)
    *lines, stats = out.splitlines()
    assert "INFO:ezeep_async.http:" in lines[0]
    assert "503" in lines[0]
    assert stats.startswith("Stats(calls=1, failed=0, requests=2, retries=1, ")


def test_the_login_snippet_runs(environment: dict[str, str], tmp_path: Path) -> None:
    """A browser approves, the address is pasted, the login is in the file."""
    (tmp_path / "login.json").unlink()
    (snippet,) = [text for text in SNIPPETS if "input(" in text]
    with subprocess.Popen(
        [sys.executable, "-c", snippet],
        cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        _, location = asyncio.run(decide(url))
        out, _ = process.communicate(location + "\n", timeout=15)
    assert process.returncode == 0
    assert "Welcome, " in out
    assert (tmp_path / "login.json").exists()


@pytest.mark.timeout(120)
def test_the_tests_of_ones_own_run(tmp_path: Path) -> None:
    """With no plugin for asynchronous tests, and warnings as errors."""
    (snippet,) = [text for text in SNIPPETS if "pytest" in text]
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ezeep_async.testing"]\n')
    (tmp_path / "test_mine.py").write_text(snippet)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_the_two_commands_are_there() -> None:
    """One line each; .ci/run runs the second one as it stands."""
    for marker in ("demo", "tests"):
        block = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
        assert block is not None
        assert len(block[1].splitlines()) == 1


def test_the_picture_of_the_folders_is_true() -> None:
    """Every file and folder that it names exists."""
    *_, picture = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    package = ROOT / "ezeep_async"
    names = re.findall(r"^ +(\S+)  ", picture, re.MULTILINE)
    assert len(names) > 25
    missing = [name for name in names if not list(package.rglob(name.rstrip("/")) or package.glob(name))]
    assert [name for name in missing if not (package / "auth" / name).exists()] == []
