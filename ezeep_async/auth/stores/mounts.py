"""On which kind of file system a path is, where that matters: file locks do not always reach another machine."""

from __future__ import annotations

import ntpath
import os
import re
import sys
from pathlib import Path


MOUNTS = "/proc/self/mountinfo"

NETWORK = frozenset(
    {
        # Network file systems. What flock does there depends on server, versions and mount options: flock(2), nfs(5)
        # and mount.cifs(8).
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "auristorfs", "coda", "davfs"),
        # Cluster file systems: how far flock reaches there is a matter of versions and mount options too.
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "panfs", "pvfs2", "orangefs", "wekafs"),
    }
)
NETWORK_FUSE = frozenset(
    {
        *(
            "sshfs",
            "glusterfs",
            "ceph",
            "ceph-fuse",
            "smbnetfs",
            "curlftpfs",
            "davfs2",
            "gvfsd-fuse",
            "rclone",
        ),
        *(
            "s3fs",
            "goofys",
            "mountpoint-s3",
            "s3ql",
            "gcsfuse",
            "blobfuse",
            "blobfuse2",
            "juicefs",
            "mfs",
            "seaweedfs",
        ),
    }
)
"""The same in user space: the kernel keeps the locks of most of them to itself, unseen by other machines."""
# Left out on purpose: gfs2 and ocfs2, whose locks hold in the whole cluster; and 9p, virtiofs, vboxsf and their kind,
# which share a folder of the host with a virtual machine. All processes in there see each other's locks, and such a
# folder is the root of whole sandboxes (gVisor, Kata Containers, WSL): a warning there would be wrong nearly always.


def network_file_system(path: str) -> str | None:
    """The kind of network file system that `path` is on, resolved of symbolic links; None for a local one.

    None too where that cannot be found out: no error, and on macOS always.
    """
    if sys.platform == "win32":
        return "a network share" if is_network_share(path) else None
    try:
        table = os.fsdecode(Path(MOUNTS).read_bytes())
    except OSError:
        return None
    return network_mount(table, path)


def network_mount(table: str, path: str) -> str | None:
    """The network file system at `path`, absolute and without links, in a table of mounts as in proc(5): mountinfo."""
    longest, found = -1, ""
    for line in table.split("\n"):
        mount, _, system = line.partition(" - ")
        fields, kind = mount.split(" "), system.partition(" ")[0]
        if len(fields) < 5 or not kind:
            continue
        point = _unescaped(fields[4]).rstrip("/")
        # Of two mounts at one point the later one hides the earlier.
        if len(point) >= longest and (path == point or path.startswith(point + "/")):
            longest, found = len(point), kind
    kind, _, program = found.partition(".")
    return found if found in NETWORK or (kind == "fuse" and program.lower() in NETWORK_FUSE) else None


def is_network_share(path: str) -> bool:
    r"""Whether a Windows path is on a share: `\\server\share\...`, however it is written."""
    drive = ntpath.splitdrive(path.replace("/", "\\"))[0].upper()
    return drive.startswith("\\\\?\\UNC\\") or (drive.startswith("\\\\") and drive[2:4] not in {"?\\", ".\\"})


def _unescaped(text: str) -> str:
    """Spaces and their kind are written in octal: `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
