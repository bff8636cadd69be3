"""`FileLocks`: the shared locks of the token files of one folder, for the processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ezeep_async.auth.stores.private import FILE_MODE, keep_owner, make_folder, open_private
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.errors import TokenStoreError


if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FOLDER = "ezeep.locks"
"""Name of the folder with the lock files. All token files next to it share it: two logins may change the same users."""
LOCKS = 1024
"""Names are hashed to this many files, which are never removed. A run uses up to 16 names at once, so few share a file."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.025
"""Seconds between two attempts at a lock that is held."""
YIELD_S = 0.1
"""Seconds for which a free lock is left to a marked waiter: longer than a pause, and short if the waiter is gone."""
MARK_OFFSET = 1
"""Offset of the byte that marks a waiter. Byte 0 is locked, and on Windows only the holder can read a locked byte."""
TEMPORARY_ERRORS = {errno.EMFILE, errno.ENFILE, errno.EINTR}
"""Errors that end soon. They count as a held lock, instead of making the session write without a lock."""
HELD_ERRORS = {errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK}
"""Errors of an attempt at a lock that is held, on all systems."""

_open_files: set[_LockFile] = set()


class _LockFile:
    """The lock of one file, for one caller. The operating system releases it when the process ends."""

    def __init__(self, path: Path, owner: tuple[int, int] | None) -> None:
        self._path = path
        self._owner = owner
        self._descriptor = -1

    def try_lock(self) -> bool:
        """Lock it if it is free. Raises `OSError` if files cannot be locked."""
        try:
            if self._descriptor < 0:
                self._open()
            return _lock(self._descriptor)
        except OSError as error:
            if error.errno in TEMPORARY_ERRORS:
                return False
            raise

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            self._descriptor, is_new = open_private(self._path, flags | os.O_EXCL), True
        except FileExistsError:
            self._descriptor, is_new = os.open(self._path, flags, FILE_MODE), False
        _open_files.add(self)
        status = os.fstat(self._descriptor)
        # If this is root, the folder's owner may have put a hard link to one of root's files here. Never write to that.
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EINVAL, "it is not a lock file", str(self._path))
        if is_new and self._owner is not None:
            os.fchown(self._descriptor, *self._owner)

    def is_waited_for(self) -> bool:
        """Whether a waiter has marked the file. Call it with the lock held."""
        with contextlib.suppress(OSError):  # the mark is for fairness only
            os.lseek(self._descriptor, MARK_OFFSET, os.SEEK_SET)
            return os.read(self._descriptor, 1) == b"1"
        return False

    def mark(self, waiting: bytes) -> None:
        """Set (b"1") or remove (b"0") the mark of a waiter."""
        with contextlib.suppress(OSError):  # such as a full disk
            os.lseek(self._descriptor, MARK_OFFSET, os.SEEK_SET)
            os.write(self._descriptor, waiting)

    def release(self) -> None:
        """Release the lock, and close the file."""
        if (descriptor := self.forget()) >= 0:
            try:
                if sys.platform != "win32":
                    # Closing is not enough: a child that was forked just now may have the file open too.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)

    def forget(self) -> int:
        """Return the descriptor, which this object no longer owns."""
        _open_files.discard(self)
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor


def _lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 0, os.SEEK_SET)  # msvcrt locks the byte at this position
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in HELD_ERRORS:
            raise
        return False
    return True


def _close_inherited() -> None:
    """Close the parent's lock files in a forked child, which must neither keep the locks nor release them."""
    for file in [*_open_files]:
        os.close(file.forget())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


class FileLocks:
    """The `SharedLocks` of stores that keep the token set in a file.

    The folder is made when a session first takes a lock. If it belongs to another user than the token file, as in `/tmp`,
    the token file has a folder of its own, `<path>.locks`. Where that cannot be used, `hold` raises `TokenStoreError`, and
    the session logs a warning and writes without these locks. A suspended process keeps its lock. Locking a file takes some
    microseconds on a local disk, much less than a thread, so it is done on the event loop.
    """

    def __init__(self, target: Callable[[], Path]) -> None:
        """`target` returns the path of the token file without symbolic links. It is called in a thread."""
        self._target = target
        self._folder: Path | None = None
        self._owner: tuple[int, int] | None = None
        """User and group that root gives new lock files to. The folder's owner could not use root's own files."""
        self._here = defaultdict[int, asyncio.Lock](asyncio.Lock)
        """Callers of one session queue here, so only one of them tries to lock the file."""

    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncGenerator[None]:
        """See `SharedLocks.hold`. There is no lease: the lock lasts until it is released or its process ends."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % LOCKS
        async with self._here[number]:
            lock = await self._locked(f"{number:03x}.lock")
            try:
                yield
            finally:
                lock.release()

    async def aclose(self) -> None:
        """Do nothing: no file is open while no lock is held."""

    async def _locked(self, file_name: str) -> _LockFile:
        while True:
            is_new = (folder := self._folder) is None
            if folder is None:
                folder = self._folder = await in_thread(self._new_folder)
            lock = _LockFile(folder / file_name, self._owner)
            try:
                await self._wait_for(lock)
            except BaseException as error:
                lock.release()
                if isinstance(error, FileNotFoundError) and not is_new:  # the folder was removed
                    self._folder = None
                elif isinstance(error, OSError):
                    raise TokenStoreError(
                        f"{folder / file_name} cannot be used: {error.strerror or error}"
                    ) from error
                else:
                    raise
            else:
                return lock

    async def _wait_for(self, lock: _LockFile) -> None:
        """Lock it.

        A waiter marks the file. A process that has just released the lock and wants it back leaves it to the marked
        waiter for `YIELD_S`. Otherwise it would always win against the waiter's next attempt.
        """
        began, pause = time.monotonic(), FIRST_PAUSE_S
        waited = False
        while True:
            if not lock.try_lock():
                lock.mark(b"1")  # each time: a waiter that got it removes the mark
                waited = True
            elif waited or not lock.is_waited_for():
                break
            elif time.monotonic() - began > YIELD_S:
                waited = True
                break
            else:
                lock.release()
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
        if waited:
            lock.mark(b"0")

    def _new_folder(self) -> Path:
        target = self._target()
        folder = target.with_name(FOLDER)
        try:
            owner = _made(folder, target)
            if owner is not None and owner[0] != _owner_of(target):
                folder = target.with_name(target.name + ".locks")
                owner = _made(folder, target)
        except OSError as error:
            raise TokenStoreError(
                f"the folder for locks cannot be created: {error.filename}: {error.strerror or error}"
            ) from error
        if sys.platform != "win32":
            self._owner = owner if owner is not None and owner[0] and os.geteuid() == 0 else None
        return folder


def _made(folder: Path, target: Path) -> tuple[int, int] | None:
    """Make the folder, and return its user and group; None on Windows. Raises `OSError`, also for a symbolic link."""
    is_new = not folder.exists()
    make_folder(folder)
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if is_new:  # later, the folder is that of other token files too
            keep_owner(descriptor, target)
        status = os.fstat(descriptor)
        return status.st_uid, status.st_gid
    finally:
        os.close(descriptor)


def _owner_of(target: Path) -> int:
    try:
        return target.stat().st_uid
    except FileNotFoundError:
        return os.geteuid() if sys.platform != "win32" else 0
