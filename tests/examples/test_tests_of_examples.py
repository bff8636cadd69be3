"""The tests that the examples have themselves, run as their users run them: in a copy of the folder, with `python -m pytest`."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.example_servers import ENVIRONMENT, EXAMPLES


FOLDERS = sorted({path.parent for path in EXAMPLES.glob("*/test_*.py")})
# Plugins of this environment that the examples need not have.
WITHOUT = [f"-pno:{name}" for name in ("aiohttp", "asyncio", "cacheprovider", "timeout", "xdist")]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(
    importlib.util.find_spec("httpx2") is None, reason="the dependency group examples is not installed"
)
def test_they_pass(tmp_path: Path) -> None:
    """In parallel, with warnings as errors."""
    assert len(FOLDERS) == 4
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "pytest", "-q", *WITHOUT],
            cwd=shutil.copytree(folder, tmp_path / folder.name),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder in FOLDERS
    ]
    for process in running:
        out, _ = process.communicate(timeout=100)
        assert process.returncode == 0, out
        assert " passed in " in out
