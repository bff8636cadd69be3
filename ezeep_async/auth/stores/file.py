"""`FileTokenStore`: one login in one file, shared by the processes of one machine."""

from __future__ import annotations

import contextlib
import errno
import hashlib
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

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.cleaning import check_kind, checked_seconds, cleaned_path
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.stores.document import (
    LARGEST_DOCUMENT,
    Owner,
    as_text,
    check,
    owner_of,
    parsed,
    tokens_in,
)
from ezeep_async.auth.stores.file_locks import FileLocks
from ezeep_async.auth.stores.mounts import network_file_system
from ezeep_async.auth.stores.paths import expanded, folder_for
from ezeep_async.auth.stores.private import (
    keep_owner,
    keep_owner_of_lock,
    make_folder,
    open_private,
    owner_hint,
)
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError
from ezeep_async.settings import Endpoints


logger = logging.getLogger("ezeep_async.auth.stores")

LOCK_TIMEOUT = 120.0
"""Seconds: longer than a refresh and its replay take with the default `refresh_timeout`, so that a waiter does not give
up on a holder that works. Raise it together with that."""
_MOUNTED = ". It is mounted by itself, it seems: mount its folder instead, in which the file can be replaced"


class FileTokenStore:
    """Keeps the login in a file that only its owner can read, and that is whole at every moment.

    Writes go to a new file beside it, are flushed to the disk, and take its place in one step. A lock of the operating
    system on `<path>.lock` keeps processes apart; it ends with its holder, however that ends. `path` may be a symbolic
    link: its target is what is read and replaced. A relative path counts from the working directory as it is when the
    store is made. `lock_timeout` is in seconds.

    An empty file holds no token set. A read changes nothing: a file that others may read is named in a warning, and the
    next write makes it private. A write keeps the owner of the file where it can, which is where root writes.

    For the processes of one machine, on a file system of that machine: the locks of network file systems (NFS, SMB and
    others) are not reliable between machines, and those of a folder that a virtual machine shares with its host are not
    seen on the other side. On a network file system a warning is logged, once (known on Linux and Windows). Several
    machines share a login through `RedisTokenStore`.

    Processes that share the store take turns at single users and at creating groups: see `shared_locks`.

    Raises `TokenStoreCorrupt` for a file that cannot be understood (it is left as it is), `TokenStoreError` for one
    that belongs to another client id or account host, or that cannot be read, `TokenPersistError` when it cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self._path = expanded(cleaned_path(path, "the token file"))
        self._lock_timeout = checked_seconds(lock_timeout, "lock_timeout")
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
        check_kind(app, OAuthApp, "app", "OAuthApp(client_id, ...) makes one")
        endpoints = Endpoints() if endpoints is None else endpoints
        check_kind(endpoints, Endpoints, "endpoints", "Endpoints(account=..., api=...) makes one")
        account = endpoints.account
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

    @clears_locals
    async def is_unused(self) -> bool:
        """Whether there is neither a token set nor a lock file. Makes neither a folder nor a lock file for the answer.

        Raises what `load` raises.
        """
        return await in_thread(self._is_unused)

    @clears_locals
    async def load(self) -> TokenSet | None:
        return await in_thread(self._load)

    @clears_locals
    async def save(self, tokens: TokenSet, /) -> None:
        await in_thread(lambda: self._save(tokens))

    @clears_locals
    async def clear(self) -> None:
        await in_thread(self._clear)

    @clears_locals
    async def check_writable(self) -> None:
        await in_thread(self._check_writable)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        lock = await in_thread(self._new_lock)
        holder = os.getpid()
        limit = RunningLimit(self._lock_timeout)
        pause = 0.002
        try:
            while not await in_thread(lambda: self._try_lock(lock)):
                if limit.left <= 0:
                    raise TokenStoreError(
                        f"{self._path} is in use by another process for more than {self._lock_timeout:g} s"
                    )
                await limit.sleep(pause)
                pause = min(pause * 1.5, 0.1)
            yield
        finally:
            if os.getpid() == holder:  # a forked child would end the lock of its parent
                await in_thread(lambda: lock.release(force=True))

    def shared_locks(self) -> FileLocks:
        """Locks for single users and for creating groups, in at most 128 small files in the folder `<path>.locks`."""
        return FileLocks(self._target)

    # --- in worker threads -----------------------------------------------------------------------------------------

    def _target(self) -> Path:
        return Path(os.path.realpath(self._path))

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
        return FileLock(_lock_of(target), mode=0o600, thread_local=False)

    def _try_lock(self, lock: BaseFileLock) -> bool:
        path, target = Path(lock.lock_file), self._target()
        if not os.path.lexists(path):
            self._document()  # a file that is not ours gets no lock file
        try:
            make_folder(target.parent)
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise TokenStoreError(_lock_problem(self._path, path, error)) from error
        try:
            keep_owner_of_lock(path, target)
            self._finish_what_was_begun()
        except OSError as error:
            raise TokenStoreError(
                f"the folder of {self._path} cannot be used: {error.strerror or error}"
            ) from error
        return True

    def _is_unused(self) -> bool:
        target = self._target()
        if os.path.lexists(_lock_of(target)) or self._document() is not None:
            return False
        return not (target.parent.is_dir() and _leftovers(target))

    def _load(self) -> TokenSet | None:
        document = self._document()
        return None if document is None else tokens_in(document, str(self._path))

    def _document(self) -> dict[str, object] | None:
        """What is in the file, None for nothing. Raises `TokenStoreError` where it is not ours."""
        document = self._read()
        if document is not None:
            check(document, self._owner, str(self._path))
        return document

    def _read(self) -> dict[str, object] | None:
        # Opened once, and looked at through what was opened: a name can come to mean another file in between.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self._target(), flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = owner_hint(self._target()) if isinstance(error, PermissionError) else ""
            raise TokenStoreError(f"{self._path} cannot be read: {error.strerror or error}{hint}") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TokenStoreError(f"{self._path} cannot be read: it is not a file")
            text = os.read(descriptor, LARGEST_DOCUMENT)
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be read: {error.strerror or error}") from error
        finally:
            os.close(descriptor)
        # An empty file is what mktemp makes, or an empty object what a placeholder holds: no token set yet.
        document = None if is_blank(text) else parsed(text, str(self._path)) or None
        if document is not None:
            self._warn_of_mode(stat.S_IMODE(status.st_mode))
        return document

    def _warn_of_mode(self, mode: int) -> None:
        """A read changes nothing: the next write makes the file private."""
        if os.name == "posix" and mode & 0o077 and not self._warned:
            self._warned = True
            logger.warning(
                "%s can be read by other users (mode %o). It becomes private when the token set is stored next; "
                "chmod 600 makes it private now",
                self._path,
                mode,
            )

    def _save(self, tokens: TokenSet) -> None:
        target = self._target()
        try:
            text = as_text(self._document() or {}, tokens, self._owner, indent=2)
            make_folder(target.parent)
            with _new_file_beside(target, "tmp") as temporary:
                _write_through(temporary, text.encode(), target)
                temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise TokenPersistError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _check_writable(self) -> None:
        target = self._target()
        try:
            self._document()  # a file that is not ours is not replaced, not even by its own content
        except TokenStoreCorrupt:
            raise
        except TokenStoreError as error:
            raise TokenPersistError(f"{error}, so the login is not renewed") from error.__cause__
        try:
            make_folder(target.parent)
            exists = target.exists()
            content = target.read_bytes() if exists else b""
            with _new_file_beside(target, "try") as temporary:
                _write_through(temporary, b"\0" * max(8192, len(content) + 4096), target)
            if exists:
                # With the same content: that a file can be replaced shows when it is. One that was mounted there, or
                # that may not be changed, takes no other file in its place, although there is room for one.
                with _new_file_beside(target, "try") as temporary:
                    _write_through(temporary, content, target)
                    temporary.replace(target)
        except OSError as error:
            hint = "" if error.errno != errno.EBUSY else _MOUNTED
            raise TokenPersistError(
                f"{self._path} cannot be written, so the login is not renewed: {error.strerror or error}{hint}"
            ) from error

    def _clear(self) -> None:
        target = self._target()
        self._document()  # a file that is not ours is not removed
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
            there = target.read_bytes() if target.exists() else b""
            old = {} if is_blank(there) else parsed(there, where)
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


def _lock_of(target: Path) -> Path:
    return target.with_name(target.name + ".lock")


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


def _lock_problem(path: Path, lock: Path, error: OSError) -> str:
    """Names what could not be made or opened: the folder, or the lock file, and not the token file."""
    if error.errno == errno.EROFS:
        return (
            f"{path} is on a read-only file system, so that its lock file {lock.name} cannot be made. A token set that "
            "is only read is used through ReadOnlyTokens(path)"
        )
    what, where = ("lock file", lock) if lock.parent.is_dir() else ("folder", lock.parent)
    hint = ""
    if isinstance(error, PermissionError):
        hint = owner_hint(lock if os.path.lexists(lock) else lock.parent)
        hint += f". Remove {lock}, or give it to the user who runs this" if os.path.lexists(lock) else ""
    return f"the {what} {where} of the token file cannot be made or opened: {error.strerror or error}{hint}"


def _write_through(path: Path, content: bytes, target: Path) -> None:
    """A new file that nobody else can read from its first moment, on the disk when this returns.

    It belongs to the owner of `target`, which it is to replace.
    """
    descriptor = open_private(str(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "wb") as file:
        keep_owner(descriptor, target)
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
