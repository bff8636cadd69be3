"""docs/reference/exit-codes.md names the exit codes that the code can return, and its scripts branch on them."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import documents
from helpers.support import put, sandbox_in_a_thread

from ezeep_async import FileTokenStore
from ezeep_async.cli.connection import LOG_IN_AGAIN
from ezeep_async.cli.signals import TIMED_OUT
from ezeep_async.sandbox import SANDBOX_ADMIN


pytestmark = pytest.mark.may_block

ROOT = Path(__file__).parents[2]
PAGE = "docs/reference/exit-codes.md"
CLI = ROOT / "ezeep_async/cli"
# What `128 + signal` and `Ending.code` can be.
SIGNALS = {128 + number for number in (signal.SIGINT, signal.SIGTERM, *([1] if os.name == "posix" else []))}


def _rows(heading: str) -> list[list[str]]:
    section = (ROOT / PAGE).read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _codes_of_commands() -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    names: list[str] = []
    for command, codes, _ in _rows("Codes of single commands"):
        names = re.findall(r"`ezeep ([a-z -]+)`", command) or names
        for name in names:
            found.setdefault(name, set()).update(map(int, codes.split(", ")))
    return found


def _constants(tree: ast.Module) -> dict[str, int]:
    """The numbers of a module by name, also those that it imports from another module of the command."""
    found: dict[str, int] = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("ezeep_async.cli."):
            path = ROOT / f"{each.module.replace('.', '/')}.py"
            other = _own_constants(ast.parse(path.read_text("utf-8"))) if path.exists() else {}
            found |= {name.name: other[name.name] for name in each.names if name.name in other}
    return found | _own_constants(tree)


def _own_constants(tree: ast.Module) -> dict[str, int]:
    return {
        each.targets[0].id: each.value.value
        for each in tree.body
        if isinstance(each, ast.Assign)
        and isinstance(each.targets[0], ast.Name)
        and isinstance(each.value, ast.Constant)
        and isinstance(each.value.value, int)
    }


def _numbers(value: ast.expr | None, constants: dict[str, int]) -> Iterator[int]:
    if isinstance(value, ast.Constant) and type(value.value) is int:
        yield value.value
    elif isinstance(value, ast.Name) and value.id in constants:
        yield constants[value.id]
    elif isinstance(value, ast.IfExp):
        yield from _numbers(value.body, constants)
        yield from _numbers(value.orelse, constants)


def _returned(path: Path) -> set[int]:
    """The codes that the functions of a module return, raise or pass on: `return 1`, `code = 130`, `code=USAGE`."""
    tree = ast.parse(path.read_text("utf-8"))
    constants = _constants(tree)
    found: set[int] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for each in ast.walk(function):
            value = None
            is_code = function.returns is not None and ast.unparse(function.returns) == "int"
            if isinstance(each, ast.Return) and is_code:
                value = each.value
            elif isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) in {"code", "failure"}:
                value = each.value
            elif isinstance(each, ast.keyword) and each.arg == "code":
                value = each.value
            found.update(_numbers(value, constants))
    return found


# Functions of these modules return numbers that are no exit codes, such as widths.
OTHER_NUMBERS = {"terminal/bar.py", "terminal/screen.py", "terminal/waiting.py"}
WIDTH = 80  # the default of `width_of`


def test_the_codes_of_the_page_are_those_of_the_code() -> None:
    """All of them, in both tables."""
    returned = {TIMED_OUT} | SIGNALS
    for path in CLI.rglob("*.py"):
        if str(path.relative_to(CLI)) not in OTHER_NUMBERS:
            returned |= _returned(path)
    general = {int(code) for code, _ in _rows("Codes of every command")}
    special = set().union(*_codes_of_commands().values())
    differ = f"{PAGE}: its tables (left) differ from what ezeep_async/cli returns (right)"
    assert general | special == returned - {WIDTH}, differ
    assert general == {0, 1, LOG_IN_AGAIN, 64, 124, 141, *SIGNALS}


def test_the_special_codes_are_those_of_their_commands() -> None:
    """By the module of the command: a new code in one of them has to be on the page."""
    codes = _codes_of_commands()
    provision = codes["provision plan"] | codes["provision apply"] | codes["provision undo"]
    assert _returned(CLI / "provision/commands.py") - {LOG_IN_AGAIN} == provision == {0, 1, 2, 3}
    keeping = codes["refresh"] | codes["keep-alive"]
    assert _returned(CLI / "login/keeping.py") - {LOG_IN_AGAIN} == keeping == {0, 5}
    for path in CLI.rglob("*.py"):
        if path.name not in {"commands.py", "keeping.py"} or path.parent.name == "login":
            assert path.name == "keeping.py" or not _returned(path) & {2, 3, 5}, path


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A login of a sandbox, an input with one new group, and `ezeep` on the path."""
    with sandbox_in_a_thread() as server:
        asyncio.run(put(FileTokenStore(tmp_path / "login.json"), server.tokens()))
        (tmp_path / "people.csv").write_text(f"group,member\nNight shift,{SANDBOX_ADMIN}\n")
        yield {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "EZEEP_CONFIG": "",
            "EZEEP_CLIENT_ID": server.oauth_app.client_id,
            "EZEEP_ACCOUNT_URL": server.endpoints.account,
            "EZEEP_API_URL": server.endpoints.api,
            "EZEEP_TOKEN_FILE": str(tmp_path / "login.json"),
        }


def _run(mark: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = documents.marked(PAGE, mark)
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_script_takes_each_branch(environment: dict[str, str], tmp_path: Path) -> None:
    """Changes, then none, then an input that cannot be read."""
    applied = documents.marked("docs/reference/exit-codes.md", "branches")
    assert "case $?" in applied
    first = _run("branches", tmp_path, environment)
    assert (first.returncode, "groups created: 1" in first.stdout) == (0, True), first
    second = _run("branches", tmp_path, environment)
    assert (second.returncode, second.stdout) == (0, "nothing to do\n")
    (tmp_path / "people.csv").unlink()
    third = _run("branches", tmp_path, environment)
    assert third.returncode == 1
    assert third.stderr.endswith("the plan was not made\n")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_script_for_cron_reports_a_login_that_has_ended(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """It is silent while there is a login, and while the server does not respond."""
    assert documents.marked("docs/reference/exit-codes.md", "refresh")
    done = _run("refresh", tmp_path, environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "login.json").unlink()
    ended = _run("refresh", tmp_path, environment)
    assert (ended.returncode, ended.stdout) == (1, "log in again: ezeep login\n")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_nightly_job_reports_a_login_that_has_ended(environment: dict[str, str], tmp_path: Path) -> None:
    """And its own exit code is that of the command, for the supervisor."""
    assert documents.marked("docs/reference/exit-codes.md", "nightly")
    environment["HOME"] = str(tmp_path)
    assert _run("nightly", tmp_path, environment).returncode == 0
    (tmp_path / "login.json").unlink()
    ended = _run("nightly", tmp_path, environment)
    assert (ended.returncode, ended.stdout) == (4, "log in again: ezeep login --device\n")
