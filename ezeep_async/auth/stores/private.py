"""Files and folders that only their owner can read and write, whatever the umask of the process is."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


FILE_MODE = 0o600
FOLDER_MODE = 0o700


def make_folder(folder: Path) -> None:
    """Create the folder and its missing parents. An existing folder keeps its mode. Raises `OSError`."""
    if folder.is_dir():
        return
    # mkdir(parents=True) applies the mode to the last folder only.
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            try:
                each.mkdir(mode=FOLDER_MODE)
            except FileExistsError:
                if not each.is_dir():
                    raise
                continue
            if each.stat().st_mode & FOLDER_MODE != FOLDER_MODE:  # the umask removed rights of the owner
                each.chmod(FOLDER_MODE)


def open_private(path: str, flags: int) -> int:
    """An opener for `open`: a new file has `FILE_MODE` from its first moment."""
    if not flags & os.O_CREAT:
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, FILE_MODE)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags, FILE_MODE)
    if hasattr(os, "fchmod"):  # not on Windows before Python 3.13
        os.fchmod(descriptor, FILE_MODE)  # the umask may remove rights of the owner
    return descriptor


def keep_owner(descriptor: int, target: Path) -> None:
    """Give a new file to the owner of the file that it will replace. Does nothing unless run by root.

    Not in a folder that every user can write to: there any user may have created `target`.
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
    """Give a lock file that root created to the owner of the file that it guards, who could not lock it otherwise."""
    if os.name != "posix" or os.geteuid() != 0 or not target.exists():
        return
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        status = os.fstat(descriptor)
        # The folder's owner may have put a link to another file of root here: a lock file is empty and has one link.
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
    """Part of an error message: the owner of the file, if that is another user. Empty otherwise."""
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
    # In a container without CAP_CHOWN, or on NFS, root may not do that: root stays the owner.
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, like.st_uid, like.st_gid)
