"""The files that `ezeep export`, `plan` and `apply` write: whole or not at all, and for their owner alone."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest
from helpers.command_line import Ran, ended, environment, ezeep

from ezeep_async.auth.stores.private import make_folder, open_private
from ezeep_async.cli.files import read_input, write_private
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.seeding import SANDBOX_PASSWORD


pytestmark = pytest.mark.timeout(120)  # several processes one after the other

# No file may be larger than this many bytes: what a write meets then is what it meets on a full disk.
_FULL = (
    # Without bytecode: it would be cut off too, and kept (https://github.com/python/cpython/issues/126606, before 3.14).
    "import resource, runpy, sys; sys.dont_write_bytecode = True; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)); sys.argv[0] = 'ezeep'; "
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("command", ["export", "plan"])
async def test_what_was_there_stays_until_the_new_file_is_whole(
    login: dict[str, str], few: Path, tmp_path: Path, command: str
) -> None:
    """A half of an export is a smaller organization: plan --mode exact would take people out by it."""
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
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


# --- the umask, and files that are not there -----------------------------------------------------------------------

_WITHOUT_UMASK = (
    "import os, runpy, sys; os.umask(0); sys.argv[0] = 'ezeep'; "
    "runpy.run_module('ezeep_async', run_name='__main__')"
)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
async def test_nothing_that_is_kept_inherits_the_umask(sandbox: Sandbox, few: Path, tmp_path: Path) -> None:
    """Token file, lock file, audit log, kept plan, report, and every folder of the state directory."""
    env = {
        "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "home" / "state" / "below"),
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
    }
    sandbox.behaviour.password_grant = True
    admin = sandbox.organization.people[sandbox.organization.admin_id].email
    results = tmp_path / "results"
    results.mkdir(mode=0o700)
    for arguments in (
        ["login", "--password", "--username", admin],
        ["provision", "plan", str(few), "--out", str(results / "plan.json")],
        ["provision", "apply", str(few), "--yes", "--report", str(results / "report.csv")],
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _WITHOUT_UMASK,
            *arguments,
            env=environment({**env, "PYTHONDONTWRITEBYTECODE": "1"}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        ran = await ended(process, SANDBOX_PASSWORD + "\n")
        assert ran.code in {0, 2}, ran
    made = [tmp_path / "home", *(tmp_path / "home").rglob("*"), *results.iterdir()]
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in made}
    assert len([path for path in made if path.suffix in {".json", ".jsonl", ".csv"}]) == 4
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_dir()} == {0o700}, modes
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_file()} == {0o600}, modes


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file modes")
@pytest.mark.may_block
def test_a_umask_takes_nothing_away_from_the_owner(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    umask = os.umask(0o777)
    try:
        make_folder(folder)
        write_private(folder / "file", "new")
        with open(folder / "log", "a+b", opener=open_private) as file:
            file.write(b"line")
    finally:
        os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert modes == {"b": 0o700, "file": 0o600, "log": 0o600}


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="needs root: only root can change the owner of a file"
)
@pytest.mark.may_block
def test_root_leaves_a_file_to_its_owner(tmp_path: Path) -> None:
    out = tmp_path / "people.csv"
    out.write_text("old", "utf-8")
    os.chown(out, 65534, 65534)
    write_private(out, "new")
    assert (out.read_text("utf-8"), out.stat().st_uid, out.stat().st_gid) == ("new", 65534, 65534)


@pytest.mark.parametrize(
    "command",
    [("provision", "undo", "nosuch.jsonl"), ("provision", "apply", "nosuch.csv")],
)
async def test_a_file_that_is_not_there_is_said_before_anything_is_asked(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Here is no terminal, and --yes is not given: the first thing that is wrong is the name."""
    ran = await ezeep(*command, env=login, folder=tmp_path)
    assert ran.refused() == f"{command[2]}: No such file or directory"
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("plan.txt", "plan.txt is empty: it has neither a plan nor groups"),
        ("plan.json", "plan.json, line 1: the file is empty"),
        ("people.csv", "people.csv: the file is empty: add the header group,member or member,groups"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \r\n"])
@pytest.mark.may_block
def test_an_empty_plan_is_said_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_input(Path(name))
    assert str(caught.value) == says


async def test_an_empty_log_is_said_to_be_empty(login: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch()
    ran = await ezeep("provision", "undo", "log.jsonl", "--yes", env=login, folder=tmp_path)
    assert ran.refused() == "the audit log is empty: no run has written to it"
