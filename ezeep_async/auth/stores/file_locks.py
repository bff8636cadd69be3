"""`FileLocks`: locks for single users and names in a folder beside a token file, shared by the processes of one machine."""

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
from functools import partial
from pathlib import Path
from typing import cast

from ezeep_async.auth.stores.mounts import network_file_system
from ezeep_async.auth.stores.private import FILE_MODE, keep_owner, make_folder, open_private
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.errors import TokenStoreError


if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCKS = 128
"""Names are hashed to this many locks, so that their files need no clean-up. Making a file costs more than locking it, and
two of the sixteen names that a run has in use share one now and then."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.025
"""Between two attempts at a lock that is taken."""
YIELD_S = 0.1
"""How long a free lock is left to those that wait for it: longer than a pause, and short where the waiter has gone."""
MARK_AT = 1
"""The byte of the file that says that somebody waits. Windows lets nobody but the holder read the byte that is locked."""
BUSY = {errno.EMFILE, errno.ENFILE, errno.EINTR}
"""What is over soon, and no reason to write without a lock."""

_open_files: set[_LockFile] = set()


class _LockFile:
    """One attempt to hold one file's lock. The operating system ends it with the process."""

    def __init__(self, path: Path, owner: tuple[int, int] | None) -> None:
        self._path = path
        self._owner = owner
        self._descriptor: int | None = None

    def try_lock(self) -> bool:
        """Lock it, unless that is held by others. Raises `OSError` where files cannot be locked."""
        try:
            if self._descriptor is None:
                self._open()
            return _lock(cast("int", self._descriptor))
        except OSError as error:
            if error.errno in BUSY:
                return False
            raise

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            self._descriptor, is_new = open_private(str(self._path), flags | os.O_EXCL), True
        except FileExistsError:
            self._descriptor, is_new = os.open(self._path, flags, FILE_MODE), False
        _open_files.add(self)
        status = os.fstat(self._descriptor)
        # The folder's owner could have put another name of a file of root's here, which would be written to.
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EINVAL, "it is no lock file", str(self._path))
        if is_new and self._owner is not None:
            os.fchown(self._descriptor, *self._owner)

    def is_waited_for(self) -> bool:
        """Whether the mark of a waiter is there. Only with the lock held."""
        if self._descriptor is None:
            return False
        with contextlib.suppress(OSError):  # it is about fairness, not about safety
            os.lseek(self._descriptor, MARK_AT, os.SEEK_SET)
            return os.read(self._descriptor, 1) == b"1"
        return False

    def mark(self, waiting: bytes) -> None:
        """Set (b"1") or remove (b"0") the mark of a waiter."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # such as a full disk
                os.lseek(self._descriptor, MARK_AT, os.SEEK_SET)
                os.write(self._descriptor, waiting)

    def unlock(self) -> None:
        """Give the lock back, and keep the file open."""
        if self._descriptor is not None:
            _unlock(self._descriptor)

    def release(self) -> None:
        """Unlock it, and close it."""
        if (descriptor := self.forget()) is not None:
            try:
                # Not only closed: a process that was forked in this moment has it open too.
                _unlock(descriptor)
            finally:
                os.close(descriptor)

    def forget(self) -> int | None:
        """The descriptor, which is no longer this object's."""
        _open_files.discard(self)
        descriptor, self._descriptor = self._descriptor, None
        return descriptor


def _lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        os.lseek(descriptor, 0, os.SEEK_SET)  # what is locked is the byte at this position
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EDEADLK}:
                raise
            return False
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        except OSError as error:
            if error.errno != errno.EACCES:  # it was not locked
                raise
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _close_those_of_the_parent() -> None:
    """A forked child shares its parent's locks: it must neither keep them when the parent dies, nor give them back."""
    for file in [*_open_files]:
        if (descriptor := file.forget()) is not None:
            os.close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_those_of_the_parent)


def _folder_beside(target: Path) -> Path:
    folder = target.with_name(target.name + ".locks")
    make_folder(folder)
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            keep_owner(descriptor, target)
        finally:
            os.close(descriptor)
    return folder


def _other_owner(folder: Path) -> tuple[int, int] | None:
    """To whom root gives the lock files that it makes: the folder's owner could not take these locks otherwise."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    status = folder.stat()
    return (status.st_uid, status.st_gid) if status.st_uid else None


class FileLocks:
    """The `SharedLocks` of the stores with a file.

    The folder is made when a session first takes a lock. Where it cannot be used, `hold` raises `TokenStoreError`, and the
    session logs a warning and writes without these locks. A suspended process keeps its lock.
    """

    def __init__(self, target: Callable[[], Path]) -> None:
        """`target` gives the token file that the folder is beside, without symbolic links; it is called in a thread."""
        self._target = target
        self._folder: Path | None = None
        self._is_remote = False
        self._owner: tuple[int, int] | None = None
        self._here = defaultdict[int, asyncio.Lock](asyncio.Lock)
        """Names that share a lock wait for each other in turn here, and not by attempts at the file."""

    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncGenerator[None, None]:
        """See `SharedLocks.hold`. It lasts until it is given back, or its process ends: there is no lease."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % LOCKS
        async with self._here[number]:
            lock = await self._locked(f"{number:03x}.lock")
            try:
                yield
            finally:
                await self._run(lock.release)

    async def aclose(self) -> None:
        """Nothing is open between uses."""

    async def _locked(self, file_name: str, *, is_retry: bool = False) -> _LockFile:
        if (folder := self._folder) is None:
            folder = await in_thread(self._prepare)
        lock = _LockFile(folder / file_name, self._owner)
        try:
            await self._wait_for(lock)
        except OSError as error:
            await self._run(lock.release)
            if isinstance(error, FileNotFoundError) and not is_retry:  # the folder was removed
                await in_thread(self._prepare)
                return await self._locked(file_name, is_retry=True)
            raise TokenStoreError(
                f"{folder / file_name} cannot be used: {error.strerror or error}"
            ) from error
        except BaseException:
            await self._run(lock.release)
            raise
        return lock

    async def _wait_for(self, lock: _LockFile) -> None:
        """Lock it. A busy process that comes back at once would otherwise have it again before a waiter's next attempt."""
        began, pause = time.monotonic(), FIRST_PAUSE_S
        waited = False
        while True:
            if not await self._run(lock.try_lock):
                await self._run(partial(lock.mark, b"1"))  # each time: a waiter that got it removes the mark
                waited = True
            elif waited or not await self._run(lock.is_waited_for):
                break
            elif time.monotonic() - began > YIELD_S:
                waited = True
                break
            else:
                await self._run(lock.unlock)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
        if waited:
            await self._run(partial(lock.mark, b"0"))

    def _prepare(self) -> Path:
        try:
            folder = _folder_beside(self._target())
            self._owner = _other_owner(folder)
        except OSError as error:
            raise TokenStoreError(
                f"the folder for locks cannot be made: {error.filename}: {error.strerror or error}"
            ) from error
        self._is_remote = network_file_system(str(folder)) is not None
        self._folder = folder
        return folder

    async def _run(self, act: Callable[[], bool | None]) -> bool | None:
        """On a local disk it takes some microseconds, much less than a thread does."""
        return await in_thread(act) if self._is_remote else act()
