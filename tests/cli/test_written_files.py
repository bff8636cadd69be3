"""The files that `ezeep export`, `plan` and `apply` write: whole or not at all, and for their owner alone."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest
from command_line import Ran, ended, environment, ezeep

from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.timeout(120)  # several processes one after the other

# No file may be larger than this many bytes: what a write meets then is what it meets on a full disk.
_FULL = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)); sys.argv[0] = 'ezeep'; "
    "runpy.run_module('ezeep_async', run_name='__main__')"
)


async def on_a_full_disk(*arguments: str, env: dict[str, str]) -> Ran:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _FULL,
        *arguments,
        env=environment({**env, "PYTHONDONTWRITEBYTECODE": "1"}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return await ended(process)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the size of files")
@pytest.mark.parametrize("command", ["export", "plan"])
async def test_what_was_there_stays_until_the_new_file_is_whole(
    login: dict[str, str], few: Path, tmp_path: Path, command: str
) -> None:
    """A half of an export is a smaller organisation: plan --mode exact would take people out by it."""
    arguments = ["export"] if command == "export" else ["provision", "plan", str(few)]
    for before in (None, "what was there\n" * 100):
        out = tmp_path / "out.csv"
        if before is not None:
            out.write_text(before, "utf-8")
        there = names_in(tmp_path)
        ran = await on_a_full_disk(*arguments, "--out", str(out), env=login)
        assert ran.refused() == f"{out}: File too large"
        assert names_in(tmp_path) == there
        if before is not None:
            assert out.read_text("utf-8") == before


async def test_a_file_that_others_could_read_is_its_owners_alone_afterwards(
    login: dict[str, str], few: Path, tmp_path: Path
) -> None:
    for arguments in (
        ["export", "--out", "it.csv"],
        ["provision", "plan", str(few), "--out", "it.csv"],
        ["provision", "apply", str(few), "--yes", "--report", "it.csv"],
    ):
        path = tmp_path / "it.csv"
        path.write_text("old", "utf-8")
        path.chmod(0o644)
        ran = await ezeep(*arguments, env=login, folder=tmp_path)
        assert ran.code in {0, 2}
        assert "old" not in path.read_text("utf-8")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [name for name in names_in(tmp_path) if name.endswith(".tmp")]


async def test_links_and_devices_stay_what_they_are(login: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "people.csv"
    target.parent.mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    for _ in range(2):  # it points at nothing, and at a file
        assert (await ezeep("export", "--out", str(link), env=login)).code == 0
        assert link.is_symlink()
        assert target.read_text("utf-8").startswith("group,member")
        assert names_in(target.parent) == {"people.csv"}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read, ran = await asyncio.gather(
        asyncio.to_thread(pipe.read_text, "utf-8"), ezeep("export", "--out", str(pipe), env=login)
    )
    assert (ran.code, read) == (0, target.read_text("utf-8"))
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_a_full_device_is_named(login: dict[str, str]) -> None:
    ran = await ezeep("export", "--out", "/dev/full", env=login)
    assert ran.refused() == "/dev/full: No space left on device"


async def test_a_report_that_is_refused_leaves_what_was_there(
    login: dict[str, str], sandbox: Sandbox, emptying: Path, tmp_path: Path
) -> None:
    """That it can be written is found out before, and nothing is left of that."""
    there = names_in(tmp_path)
    arguments = ("provision", "apply", str(emptying), "--mode", "exact", "--yes", "--report")
    assert (await ezeep(*arguments, "report.csv", env=login, folder=tmp_path)).code == 3
    assert names_in(tmp_path) == there
    before = len(sandbox.requests)
    (tmp_path / "folder.csv").mkdir()
    ran = await ezeep(*arguments, "folder.csv", env=login, folder=tmp_path)
    assert ran.refused() == "folder.csv: Is a directory"
    assert len(sandbox.requests) == before
