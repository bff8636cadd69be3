"""`FileTokenStore`: one login in one file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import stat
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Self

from filelock import BaseFileLock, FileLock, Timeout

from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.stores.document import Owner, check, owner_of, parsed, tokens_in, with_tokens
from ezeep_async.auth.stores.mounts import network_file_system
from ezeep_async.auth.stores.places import expanded, folder_for
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError
from ezeep_async.settings import Endpoints


logger = logging.getLogger("ezeep_async.auth.stores")

LARGEST_FILE = 1024 * 1024
"""Bytes; a login has about 500."""
LOCK_TIMEOUT = 120.0
"""Seconds: longer than a refresh and its replay take with the default `refresh_timeout`, so that a waiter does not give
up on a holder that works. Raise it together with that."""
_MOUNTED = ". It is mounted by itself, it seems: mount its folder instead, in which the file can be replaced"


class FileTokenStore:
    """Keeps the login in a file that only its owner can read, and that is whole at every moment.

    Writes go to a new file beside it, are flushed to the disk, and take its place in one step. A lock of the operating
    system on `<path>.lock` keeps processes apart; it ends with its holder, however that ends. `path` may be a symbolic
    link: its target is what is read and replaced. `lock_timeout` is in seconds.

    For the processes of one machine, on a file system of that machine: the locks of network file systems (NFS, SMB and
    others) are not reliable between machines, and those of a folder that a virtual machine shares with its host are not
    seen on the other side. On a network file system a warning is logged, once (known on Linux and Windows). Several
    machines share a login through `RedisTokenStore`.

    Raises `TokenStoreCorrupt` for a file that cannot be understood (it is left as it is), `TokenStoreError` for one
    that belongs to another client id or account host, or that cannot be read, `TokenPersistError` when it cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        if not os.fspath(path) or "\0" in str(path):
            raise ValueError("a token file needs a name")
        self._path = expanded(path)
        self._lock_timeout = lock_timeout
        self._owner: Owner | None = None
        self._warned = False
        self._looked_at_mounts = False

    @classmethod
    def for_app(
        cls, app: OAuthApp, endpoints: Endpoints | None = None, *, lock_timeout: float = LOCK_TIMEOUT
    ) -> Self:
        """The store at the usual place: in the user's state folder, one file for each client id and account host.

        `endpoints` are those of the session, so that a login at a sandbox never takes the place of the real one. Raises
        `ValueError` for a user without a home folder.
        """
        account = Endpoints().account if endpoints is None else endpoints.account
        return cls(folder_for("state") / _file_name(app.client_id, account), lock_timeout=lock_timeout)

    @property
    def path(self) -> Path:
        """Where the login is kept."""
        return self._path

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self._path)!r})"

    def bind(self, client_id: str, account: str) -> None:
        """Whose login this is. Raises `TokenStoreError` when it was bound to another client or host before."""
        owner = owner_of(client_id, account)
        if self._owner is not None and self._owner != owner:
            raise TokenStoreError(f"{self!r} already serves another client id or account host")
        self._owner = owner

    async def load(self) -> TokenSet | None:
        return await in_thread(self._load)

    async def save(self, tokens: TokenSet, /) -> None:
        await in_thread(lambda: self._save(tokens))

    async def clear(self) -> None:
        await in_thread(self._clear)

    async def check_writable(self) -> None:
        await in_thread(self._check_writable)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        lock = await in_thread(self._new_lock)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._lock_timeout
        pause = 0.002
        try:
            while not await in_thread(lambda: self._try_lock(lock)):
                if loop.time() >= end:
                    raise TokenStoreError(
                        f"{self._path} is in use by another process for more than {self._lock_timeout:g} s"
                    )
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.1)
            yield
        finally:
            await in_thread(lambda: lock.release(force=True))

    # --- in worker threads -----------------------------------------------------------------------------------------

    def _target(self) -> Path:
        return Path(os.path.realpath(self._path))

    def _make_folder(self) -> None:
        folder = self._target().parent
        if not folder.is_dir():
            # One by one: with parents=True only the last of them would have the mode.
            for each in reversed([folder, *folder.parents]):
                if not each.is_dir():
                    each.mkdir(mode=0o700, exist_ok=True)

    def _new_lock(self) -> BaseFileLock:
        target = self._target()
        if not self._looked_at_mounts:
            self._looked_at_mounts = True
            if (kind := network_file_system(str(target))) is not None:
                logger.warning(
                    "%s is on a network file system (%s), whose locks are not reliable between machines: two of them "
                    "may renew the login at once, and lose it. For several machines there is RedisTokenStore; for one, "
                    "put the file on a local disk",
                    self._path,
                    kind,
                )
        # thread_local=False: it is taken in one worker thread and given back in another.
        return FileLock(target.with_name(target.name + ".lock"), mode=0o600, thread_local=False)

    def _try_lock(self, lock: BaseFileLock) -> bool:
        try:
            self._make_folder()
            lock.acquire(blocking=False)
            self._finish_what_was_begun()
        except Timeout:
            return False
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be locked: {error.strerror or error}") from error
        return True

    def _load(self) -> TokenSet | None:
        document = self._read()
        if document is None:
            return None
        check(document, self._owner, str(self._path))
        return tokens_in(document, str(self._path))

    def _read(self) -> dict[str, object] | None:
        # Opened once, and looked at through what was opened: a name can come to mean another file in between.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self._target(), flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be read: {error.strerror or error}") from error
        try:
            self._check_file(descriptor)
            text = os.read(descriptor, LARGEST_FILE)
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be read: {error.strerror or error}") from error
        finally:
            os.close(descriptor)
        return parsed(text, str(self._path))

    def _check_file(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TokenStoreError(f"{self._path} cannot be read: it is not a file")
        mode = stat.S_IMODE(status.st_mode)
        if os.name == "posix" and mode & 0o077:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "%s could be read by others (mode %o): now only by its owner (600)", self._path, mode
                )
            os.fchmod(descriptor, 0o600)

    def _save(self, tokens: TokenSet) -> None:
        target = self._target()
        try:
            self._make_folder()
            document = self._read() or {}
            if document:
                check(document, self._owner, str(self._path))
            document = with_tokens(document, tokens, self._owner)
            with _new_file_beside(target, "tmp") as temporary:
                _write_through(temporary, json.dumps(document, indent=2).encode())
                temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise TokenPersistError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _check_writable(self) -> None:
        target = self._target()
        try:
            self._make_folder()
            content = target.read_bytes() if target.exists() else b""
            with _new_file_beside(target, "try") as temporary:
                _write_through(temporary, b"\0" * max(8192, len(content) + 4096))
            if content:
                # With the same content: that a file can be replaced shows when it is. One that was mounted there, or
                # that may not be changed, takes no other file in its place, although there is room for one.
                with _new_file_beside(target, "try") as temporary:
                    _write_through(temporary, content)
                    temporary.replace(target)
        except OSError as error:
            hint = "" if error.errno != errno.EBUSY else _MOUNTED
            raise TokenPersistError(
                f"{self._path} cannot be written, so the login is not renewed: {error.strerror or error}{hint}"
            ) from error

    def _clear(self) -> None:
        target = self._target()
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be removed: {error.strerror or error}") from error

    def _finish_what_was_begun(self) -> None:
        """Put in its place what a killed writer had written whole: the new login, whose old one is spent.

        Done with every lock, and every save takes the lock, so at most one writer has left something, and it is newer
        than the file. What is not whole, or not of the login that is in the file, is removed: it may hold a token.
        """
        target = self._target()
        for leftover in _leftovers(target):
            # A folder of that name is none of ours, and no reason to give nobody the lock.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if self._is_newer_login(leftover, target):
                    leftover.replace(target)
                    _sync_folder(target.parent)
                    logger.warning("%s: a process died while it stored a login; it is stored now", self._path)
                else:
                    leftover.unlink()

    def _is_newer_login(self, leftover: Path, target: Path) -> bool:
        status = leftover.lstat()
        if leftover.suffix != ".tmp" or not stat.S_ISREG(status.st_mode):
            return False
        if os.name == "posix" and status.st_mode & 0o077:
            return False
        where = str(leftover)
        try:
            new = parsed(leftover.read_bytes(), where)
            tokens_in(new, where)
            # Nothing in its place: the first login, or one after a logout, which leaves no leftovers.
            old = parsed(target.read_bytes(), where) if target.exists() else {}
        except TokenStoreCorrupt:
            return False
        return all(old.get(key) in (None, new.get(key)) for key in ("version", "client", "account"))


def _file_name(client_id: str, account: str) -> str:
    """A name that is good on every file system, and not shared by any two pairs, even where case does not count.

    The hash tells them apart; what stands before it is for people.
    """
    shown = [client_id[:12]]
    if account != Endpoints().account:
        shown.append(account.partition("://")[2][:64])
    words = [re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") for text in shown]
    digest = hashlib.sha256(f"{account}\n{client_id}".encode()).hexdigest()[:16]
    return "-".join([word for word in words if word] + [digest]) + ".json"


def _leftovers(target: Path) -> list[Path]:
    """What killed writers of this very file left behind. Only ever looked for with the lock held."""
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.(tmp|try)")
    return [entry for entry in target.parent.iterdir() if pattern.fullmatch(entry.name)]


@contextlib.contextmanager
def _new_file_beside(target: Path, kind: Literal["tmp", "try"]) -> Generator[Path, None, None]:
    """A name for a new login ("tmp"), or for what only shows that one could be written ("try")."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.{kind}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write_through(path: Path, content: bytes) -> None:
    """A new file that nobody else can read from its first moment, on the disk when this returns."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too. Not every system can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
