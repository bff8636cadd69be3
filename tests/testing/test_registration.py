"""The pytest plugin registers itself, in every way that it is named, and costs nothing until its fixture is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

USES_IT = """
import sys

import pytest

AT_START = {"aiohttp", "ezeep_async.sandbox", "ezeep_async.testing.threaded", "ezeep_async.session"} & set(sys.modules)


def test_nothing_is_imported_before_the_fixture():
    assert AT_START == set()


@pytest.mark.ezeep_sandbox(users=3)
def test_the_fixture(ezeep_sandbox):
    assert len(ezeep_sandbox.organization.users) == 3
"""
PLAIN = ["-p", "no:asyncio", "-p", "no:aiohttp", "-p", "no:anyio", "-p", "no:timeout"]


def _run(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-W", "error", "-m", "pytest", "--strict-markers", "--strict-config", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--color=no"],
        cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=100, check=False,
    )  # shorter than one item a line  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_code.py").write_text(USES_IT)
    return tmp_path


@pytest.mark.parametrize(
    "conftest",
    [
        "",
        'pytest_plugins = ["ezeep_async.testing.plugin"]',
        'pytest_plugins = ["ezeep_async.testing"]',
        'pytest_plugins = ["ezeep_async.testing", "ezeep_async.testing.plugin"]',
    ],
)
def test_it_registers_once(project: Path, conftest: str) -> None:
    """By itself, and also where a conftest.py names it as before. Nothing heavy is imported at the start."""
    (project / "conftest.py").write_text(conftest)
    status, said = _run(project, *PLAIN)
    assert status == 0, said
    assert "2 passed" in said
    status, said = _run(project, *PLAIN, "--markers")
    assert (status, said.count("@pytest.mark.ezeep_sandbox(")) == (0, 1), said


def test_options_name_it(project: Path) -> None:
    """`-p` loads it where pytest loads no plugins by itself, and `-p no:` switches it off."""
    name = "ezeep_async.testing.plugin"
    for options in (["-p", name], ["-p", "ezeep_async.testing"]):
        status, said = _run(project, *options, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        assert (status, "2 passed" in said) == (0, True), said
        status, said = _run(project, *PLAIN, *options)
        assert (status, "2 passed" in said) == (0, True), said
    status, said = _run(project, *PLAIN, "-p", f"no:{name}")
    assert "'ezeep_sandbox' not found in `markers` configuration option" in said


def test_the_strict_mode_of_pytest(project: Path) -> None:
    """pytest 9 has one option for all of its strict modes."""
    (project / "pytest.ini").write_text(
        "[pytest]\nstrict = true\n" if pytest.version_tuple >= (9,) else "[pytest]\n"
    )
    status, said = _run(project, *PLAIN)
    assert (status, "2 passed" in said) == (0, True), said
