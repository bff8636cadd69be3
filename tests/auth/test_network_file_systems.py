"""2-10: a token file on a network file system is told of, once: its locks are not to be relied on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import open_session

from ezeep_async import FileTokenStore
from ezeep_async.auth.stores import mounts
from ezeep_async.auth.stores.mounts import is_network_share, network_file_system, network_mount
from ezeep_async.sandbox import Sandbox


TABLE = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:30 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2,addr=10.0.0.1
31 30 0:31 / /home/me/local rw - xfs /dev/vdb rw
32 27 0:32 / /mnt/with\040space\134 rw - cifs //server/share rw
33 27 0:33 / /mnt/ssh rw - fuse.sshfs me@server: rw
34 27 0:34 / /mnt/ntfs rw - fuseblk /dev/sdc1 rw
35 27 0:35 / /mnt/crypt rw - fuse.gocryptfs /crypt rw
36 27 0:36 / /mnt/vm rw - 9p hostshare rw
37 27 0:37 / /mnt/stacked rw - nfs server:/old rw
38 37 0:38 / /mnt/stacked rw - tmpfs tmpfs rw
39 27 0:39 / /mnt/again rw - tmpfs tmpfs rw
40 39 0:40 / /mnt/again rw - ceph 10.0.0.1:/ rw
41 27 0:41 / /mnt/juice rw - fuse.JuiceFS JuiceFS:x rw
a line that is none
"""
ROOT_ON_NFS = "27 1 0:5 / / rw - nfs server:/root rw\n28 27 0:6 / /run rw - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/login.json", None),
        ("/home/me/login.json", "nfs4"),
        ("/home", "nfs4"),
        ("/homely/login.json", None),
        ("/home/me/local/login.json", None),
        ("/home/me/locally/login.json", "nfs4"),
        ("/mnt/with space\\/login.json", "cifs"),
        ("/mnt/ssh/login.json", "fuse.sshfs"),
        ("/mnt/ntfs/login.json", None),
        ("/mnt/crypt/login.json", None),
        ("/mnt/vm/login.json", None),
        ("/mnt/stacked/login.json", None),
        ("/mnt/again/login.json", "ceph"),
        ("/mnt/juice/login.json", "fuse.JuiceFS"),
    ],
)
def test_the_longest_and_last_mount_point_decides(path: str, kind: str | None) -> None:
    """proc(5): mountinfo, with its octal escapes and its optional fields."""
    assert network_mount(TABLE, path) == kind


def test_a_root_on_the_network() -> None:
    """A machine without a disk; what is mounted below is local all the same, in whatever order."""
    assert network_mount(ROOT_ON_NFS, "/var/login.json") == "nfs"
    assert network_mount(ROOT_ON_NFS, "/run/login.json") is None
    assert network_mount("\n".join(reversed(ROOT_ON_NFS.split("\n"))), "/run/login.json") is None


@pytest.mark.parametrize("table", ["", "\n\n", " - ", "- - -", "1 2 3 4 - nfs", "\udcff \udcfe - nfs x"])
def test_a_table_that_says_nothing(table: str) -> None:
    """No kind, and no error."""
    assert network_mount(table, "/x") is None


@pytest.mark.parametrize("name", ["nfs", "cifs", "smb3", "afs", "glusterfs", "lustre", "beegfs", "fuse.s3fs"])
def test_the_usual_kinds(name: str) -> None:
    """Whatever flock does there, it is not to be relied on."""
    assert network_mount(f"1 2 0:1 / /x rw - {name} source rw", "/x/y") == name


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (r"\\server\share\login.json", True),
        ("//server/share/login.json", True),
        (r"\\?\UNC\server\share\login.json", True),
        (r"\\?\unc\server\share\login.json", True),
        (r"C:\Users\me\login.json", False),
        (r"\\?\C:\Users\me\login.json", False),
        (r"\\.\C:\login.json", False),
        ("login.json", False),
    ],
)
def test_shares_of_windows(path: str, is_one: bool) -> None:
    """By the path alone."""
    assert is_network_share(path) is is_one


def test_on_windows_the_path_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no table of mounts."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert network_file_system(r"\\server\share\login.json") == "a network share"
    assert network_file_system(r"C:\login.json") is None


@pytest.mark.may_block
def test_this_machine(tmp_path: Path) -> None:
    """The real table, of wherever the tests run: their folder is local."""
    assert network_file_system(str(tmp_path.resolve())) is None


@pytest.mark.may_block
@pytest.mark.parametrize("what", ["missing", "a folder"])
def test_a_table_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str) -> None:
    """As on macOS, and in some sandboxes: not known is not an error."""
    monkeypatch.setattr(mounts, "MOUNTS", str(tmp_path if what == "a folder" else tmp_path / "missing"))
    assert network_file_system("/x") is None


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of which the table says that it is on NFS, and a link to it."""
    folder = (tmp_path / "far").resolve()
    folder.mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:30 / {folder} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", str(table))
    (tmp_path / "near").symlink_to(folder)
    return tmp_path


@pytest.mark.parametrize("name", ["far", "near"])
async def test_the_store_tells_it_once(
    sandbox: Sandbox, mounted: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """With its first lock, through a link too; path, kind and what to do are named. Everything works as before."""
    store = FileTokenStore(mounted / name / "login.json")
    async with open_session(sandbox, store, tokens=sandbox.tokens()) as session:
        await session.oauth.refresh()
        await session.accounts.me()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(mounted / name / "login.json") in caplog.text
    assert "nfs4" in caplog.text
    assert "RedisTokenStore" in caplog.text


async def test_a_local_file_is_nothing_to_tell(
    sandbox: Sandbox, mounted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside it, on the same machine."""
    async with open_session(sandbox, FileTokenStore(mounted / "login.json"), tokens=sandbox.tokens()):
        pass
    assert caplog.text == ""
