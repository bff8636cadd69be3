"""Files and folders for their owner alone, whatever the umask of the process is."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


FILE_MODE = 0o600
FOLDER_MODE = 0o700


def make_folder(folder: Path) -> None:
    """Make the folder, and those above it that do not exist. A folder that exists stays as it is. Raises `OSError`."""
    if folder.is_dir():
        return
    # One by one: with parents=True only the last of them would have the mode.
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            try:
                each.mkdir(mode=FOLDER_MODE)
            except FileExistsError:
                if not each.is_dir():
                    raise
                continue
            if each.stat().st_mode & FOLDER_MODE != FOLDER_MODE:  # a umask took it away from its owner
                each.chmod(FOLDER_MODE)


def open_private(path: str, flags: int) -> int:
    """An opener for `open`: a file that is made belongs to its owner alone from its first moment."""
    if not flags & os.O_CREAT:
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags, FILE_MODE)
    if hasattr(os, "fchmod"):  # not on Windows before Python 3.13
        os.fchmod(descriptor, FILE_MODE)  # for a umask that takes the owner's rights away
    return descriptor


def keep_owner(descriptor: int, target: Path) -> None:
    """Give a new file to the owner of the file that it will replace. Only root can, so only root does.

    Not in a folder in which every user may put a file: there the owner of `target` may be anybody.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return
    try:
        there, folder = target.stat(), target.parent.stat()
    except FileNotFoundError:
        return
    if not folder.st_mode & stat.S_IWOTH:
        _give(descriptor, there)


def keep_owner_of_lock(lock: Path, target: Path) -> None:
    """Give a lock file that root made to the owner of the file that it guards, who could not take the lock otherwise."""
    if os.name != "posix" or os.geteuid() != 0 or not target.exists():
        return
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        status = os.fstat(descriptor)
        # The folder's owner could have put another file of root here: a lock file is empty, and has one name.
        if (
            stat.S_ISREG(status.st_mode)
            and status.st_nlink == 1
            and status.st_size == 0
            and not status.st_uid
        ):
            keep_owner(descriptor, target)
    finally:
        os.close(descriptor)


def owner_hint(path: Path) -> str:
    """For a message about a refusal: whose file it is, where it is another user's. Empty otherwise."""
    if os.name != "posix":
        return ""
    try:
        owner = path.stat().st_uid
    except OSError:
        return ""
    if owner == os.geteuid():
        return ""
    import pwd

    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"number {owner}"
    return f": it belongs to the user {name}"


def _give(descriptor: int, like: os.stat_result) -> None:
    mine = os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) == (like.st_uid, like.st_gid):
        return
    # Refused to root in a container without CAP_CHOWN, or on an NFS client: the file stays root's then.
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, like.st_uid, like.st_gid)
