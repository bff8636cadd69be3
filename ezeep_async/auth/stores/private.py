"""Files and folders that only their owner can use, whatever the umask is, and files that are written atomically."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path


FILE_MODE = 0o600
FOLDER_MODE = 0o700
SLOTS = 4
"""Names of temporary files that are found again without a list of the folder. One is in use at a time, under a lock."""


def make_folder(folder: Path) -> None:
    """Create the folder and its missing parents. An existing folder keeps its mode. Raises `OSError`."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)  # mkdir(parents=True) applies the mode to the last folder only
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        if folder.stat().st_mode & FOLDER_MODE != FOLDER_MODE:  # the umask removed rights of the owner
            folder.chmod(FOLDER_MODE)


def open_private(path: str | Path, flags: int) -> int:
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


@contextlib.contextmanager
def temporary_beside(
    target: Path, content: bytes, stem: str, suffix: str, *, slots: bool = False
) -> Generator[Path]:
    """Create a file with the owner of `target` in its folder, flush it to the disk, and yield its path.

    Only a file in the same folder can replace another one atomically. The file is removed at the end, unless it has
    replaced one. With `slots`, its name is one of those of `leftovers_beside`, if one is free.
    """
    path, descriptor = _created(
        [*(_slots(target, stem, suffix) if slots else []), _name(target, stem, secrets.token_hex(8), suffix)]
    )
    file = os.fstat(descriptor)
    try:
        _fill(descriptor, content, target)
        yield path
    finally:
        # The next one may have the same name already.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.lstat(), file):
                path.unlink()


def leftovers_beside(target: Path, stem: str, *suffixes: str) -> list[Path]:
    """Return the files of `temporary_beside` with `slots` that exist. Does not list the folder, which may be large."""
    return [path for suffix in suffixes for path in _slots(target, stem, suffix) if os.path.lexists(path)]


def replace_file(
    target: Path, content: bytes, *, stem: str, suffix: str = "tmp", slots: bool = False
) -> None:
    """Replace `target`, which is resolved of symbolic links, with a file of this content. Raises `OSError`."""
    with temporary_beside(target, content, stem, suffix, slots=slots) as temporary:
        temporary.replace(target)


def _name(target: Path, stem: str, name: str, suffix: str) -> Path:
    return target.with_name(f".{stem}.{name}.{suffix}")


def _slots(target: Path, stem: str, suffix: str) -> list[Path]:
    return [_name(target, stem, str(number), suffix) for number in range(SLOTS)]


def _created(paths: list[Path]) -> tuple[Path, int]:
    """Create the first of the files that does not exist."""
    *others, last = paths
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    for path in others:
        with contextlib.suppress(FileExistsError):
            return path, open_private(path, flags)
    return last, open_private(last, flags)


def _fill(descriptor: int, content: bytes, target: Path) -> None:
    with os.fdopen(descriptor, "wb") as file:
        keep_owner(file.fileno(), target)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def keep_owner(descriptor: int, target: Path) -> None:
    """Give a new file to the owner of `target`. Does nothing unless run by root.

    Not in a folder that every user can write to: there any user may have created `target`.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return
    with contextlib.suppress(FileNotFoundError):
        owner = target.stat()
        if not target.parent.stat().st_mode & stat.S_IWOTH:
            # In a container without CAP_CHOWN, or on NFS, root may not do that: root stays the owner.
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)


def keep_owner_of_lock(lock: Path, target: Path) -> None:
    """Give a lock file that root created to the owner of the file that it guards, who could not lock it otherwise."""
    if os.name != "posix" or os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            # The folder's owner may have put a link to another file of root here: a lock file is empty and has one link.
            if stat.S_ISREG(status.st_mode) and (status.st_nlink, status.st_size, status.st_uid) == (1, 0, 0):
                keep_owner(descriptor, target)
        finally:
            os.close(descriptor)


def owner_hint(error: OSError, path: Path) -> str:
    """Part of a message about a refused access: the owner of the file, if that is another user. Empty otherwise."""
    if not isinstance(error, PermissionError) or os.name != "posix":
        return ""
    with contextlib.suppress(OSError):
        if (owner := path.stat().st_uid) != os.geteuid():
            import pwd

            with contextlib.suppress(KeyError):
                return f": it belongs to the user {pwd.getpwuid(owner).pw_name}"
            return f": it belongs to the user number {owner}"
    return ""
