"""`FileTokenStore`: a token set in a file that the processes of one host share."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import stat
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ezeep_async._runtime import forks
from ezeep_async._runtime.later_types import imported_later
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._text.cleaning import check_kind, checked_seconds, cleaned_path
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.stores.document import LARGEST_DOCUMENT_BYTES, ThreadedStore, as_text, tokens_in
from ezeep_async.auth.stores.encryption import Cipher, EncryptionKey, is_encrypted
from ezeep_async.auth.stores.paths import expanded, folder_for
from ezeep_async.auth.stores.private import (
    FILE_MODE,
    keep_owner_of_lock,
    leftovers_beside,
    make_folder,
    owner_hint,
    replace_file,
    temporary_beside,
)
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError
from ezeep_async.settings import Endpoints


if TYPE_CHECKING:
    from filelock import BaseFileLock

    from ezeep_async.auth.stores.file_locks import FileLocks

globals().update(imported_later("ezeep_async.auth.stores.file_locks", "FileLocks"))

logger = logging.getLogger("ezeep_async.auth.stores")

LOCK_TIMEOUT_S = 120.0
"""Seconds. Longer than a refresh and its replay take with the default `refresh_timeout`: a waiter must not give up while
the owner of the lock works. Raise both together."""


class FileTokenStore(ThreadedStore):
    """Keep the token set in a file that only its owner can read.

    A write creates a new file in the same folder, flushes it to the disk and renames it over the old one, so the file is
    complete at every moment. The lock is a lock of the operating system on `<path>.lock`, which ends with its process.
    Reading changes nothing: a file that other users can read is reported in a warning, and the next write corrects its
    mode. An empty file holds no token set. Root leaves a file to its owner.

    The store is for the processes of one host, on a local file system. Locks on a network file system do not hold between
    hosts: use `RedisTokenStore` for several hosts (see `docs/how-to/token-stores.md`).

    Args:
        path: Path of the file. A relative path counts from the working directory at the time of this call. A symbolic
            link stays one: its target is read and replaced.
        encryption_key: Key made by `cryptography.fernet.Fernet.generate_key()`, or several. The first one encrypts, all of
            them decrypt. None stores the token set unencrypted.
        lock_timeout: Seconds to wait for the lock while another process refreshes the token. Not negative.

    Raises:
        ImportError: `encryption_key` needs the package `cryptography`, which the extras `redis` and `sql` install.
        TypeError: `path` is not a path, or `lock_timeout` is not a number.
        ValueError: `path` is empty or contains control characters, `lock_timeout` is negative, or `encryption_key` is not a
            Fernet key.

    Note:
        The methods raise `TokenStoreCorrupt` if the file is not a stored token set or has another key (it is not changed),
        `TokenPersistError`
        if it cannot be written, and `TokenStoreError` if it cannot be read, if it belongs to another client id or account
        address, or if the lock times out.
    """

    @clears_locals
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encryption_key: EncryptionKey | None = None,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        self._cipher = None if encryption_key is None else Cipher(encryption_key, "sql")
        self._path = expanded(cleaned_path(path, "the token file"))
        self._lock_timeout = checked_seconds(lock_timeout, "lock_timeout")
        self._place = str(self._path)
        self._warned = False

    @classmethod
    @clears_locals
    def for_app(
        cls,
        app: OAuthApp,
        endpoints: Endpoints | None = None,
        *,
        encryption_key: EncryptionKey | None = None,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> Self:
        """Create the store at the default path: in the user's state folder, one file per client id and account address.

        Args:
            app: OAuth client whose token set is stored.
            endpoints: Endpoints of the session; None for those of ezeep Blue. A sandbox gets a file of its own.
            encryption_key: One Fernet key or several, as for the class.
            lock_timeout: Seconds to wait for the lock while another process refreshes the token. Not negative.

        Returns:
            The store. The file may not exist yet.

        Raises:
            ValueError: The user has no home folder.
        """
        check_kind(app, OAuthApp, "app", "OAuthApp(client_id, ...) makes one")
        endpoints = Endpoints() if endpoints is None else endpoints
        check_kind(endpoints, Endpoints, "endpoints", "Endpoints(account=..., api=...) makes one")
        name = _file_name(app.client_id, endpoints.account)
        return cls(folder_for("state") / name, encryption_key=encryption_key, lock_timeout=lock_timeout)

    @property
    def path(self) -> Path:
        """Absolute path of the file."""
        return self._path

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self._path)!r})"

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None]:
        """Hold the lock that the processes of this host share."""
        lock = await in_thread(self._new_lock)
        process = os.getpid()
        limit, pause = RunningLimit(self._lock_timeout), 0.002
        try:
            while not await in_thread(lambda: self._try_lock(lock)):
                if limit.left <= 0:
                    busy = TokenStoreError(
                        f"{self._path} is in use by another process for more than {self._lock_timeout:g} s"
                    )
                    busy.retryable = True
                    raise busy
                await limit.sleep(pause)
                pause = min(pause * 1.5, 0.1)
            yield
        finally:
            if os.getpid() == process:  # a forked child would release the lock of its parent
                await in_thread(lambda: lock.release(force=True))

    def shared_locks(self) -> FileLocks:
        """Return locks for single users and for creating groups, in the folder `ezeep.locks` next to the file.

        All token files of that folder share them: two logins of one organization change the same users.

        Returns:
            The locks of one session, which closes them.
        """
        from ezeep_async.auth.stores.file_locks import FileLocks

        return FileLocks(self._target)

    # --- in worker threads

    def _target(self) -> Path:
        return Path(os.path.realpath(self._path))

    def _new_lock(self) -> BaseFileLock:
        with forks.importing():
            from filelock import FileLock  # slow to import, and not needed to read the file

        # thread_local=False: one worker thread locks it, another one releases it.
        return FileLock(_lock_of(self._target()), mode=FILE_MODE, thread_local=False)

    def _try_lock(self, lock: BaseFileLock) -> bool:
        from filelock import Timeout

        path, target = Path(lock.lock_file), self._target()
        if not os.path.lexists(path):
            self._document()  # raises before the lock file is created, if this is not a token file
        try:
            make_folder(target.parent)
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise TokenStoreError(_lock_problem(self._path, path, error)) from error
        with _reporting(TokenStoreError, f"the folder of {self._path} cannot be used"):
            keep_owner_of_lock(path, target)
            self._recover_leftovers(target)
        return True

    def _is_unused(self) -> bool:
        target = self._target()
        if os.path.lexists(_lock_of(target)) or self._document() is not None:
            return False
        return not _leftovers(target)

    def _load(self) -> TokenSet | None:
        return self._tokens(self._document())

    def _document(self) -> dict[str, object] | None:
        """Return the content of the file, None for nothing. Raises `TokenStoreError` if it belongs to another owner."""
        target, problem = self._target(), f"{self._path} cannot be read"
        # Opened once, then inspected by descriptor: the path could lead to another file in between.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with _reporting(TokenStoreError, problem, lambda error: owner_hint(error, target)):
            try:
                descriptor = os.open(target, flags)
            except FileNotFoundError:
                return None
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise TokenStoreError(f"{problem}: it is not a regular file")
                text = os.read(descriptor, 2 * LARGEST_DOCUMENT_BYTES)  # encrypted, it is a third longer
            finally:
                os.close(descriptor)
        document = self._decoded(text)
        if document is not None and os.name == "posix" and status.st_mode & 0o077 and not self._warned:
            self._warned = True
            logger.warning(
                "%s can be read by other users (mode %o). It becomes private when the token set is stored next; "
                "chmod 600 makes it private now",
                self._path,
                stat.S_IMODE(status.st_mode),
            )
        return document

    def _save(self, tokens: TokenSet) -> None:
        target = self._target()
        with _reporting(TokenPersistError, f"{self._path} cannot be written"):
            text = self._encoded(as_text(self._document() or {}, tokens, self._owner, indent=2))
            make_folder(target.parent)
            replace_file(target, text.encode(), stem=target.name, slots=True)
            _sync_folder(target.parent)

    def _check_writable(self) -> None:
        target = self._target()
        try:
            self._document()  # a file that is not a token file is not replaced, not even by its own content
        except TokenStoreCorrupt:
            raise
        except TokenStoreError as error:
            raise TokenPersistError(f"{error}, so the token is not refreshed") from error.__cause__
        problem = f"{self._path} cannot be written, so the token is not refreshed"
        with _reporting(TokenPersistError, problem, _mount_hint):
            make_folder(target.parent)
            exists = target.exists()
            content = target.read_bytes() if exists else b""
            probe = b"\0" * max(8192, len(content) + 4096)
            with temporary_beside(target, probe, target.name, "try", slots=True):
                pass
            if exists:
                # A file that is a mount point, or immutable, cannot be replaced although there is space for another.
                replace_file(target, content, stem=target.name, suffix="try", slots=True)

    def _clear(self) -> None:
        self._document()  # a file that is not a token file is not removed
        with _reporting(TokenStoreError, f"{self._path} cannot be removed"):
            self._target().unlink(missing_ok=True)

    def _recover_leftovers(self, target: Path) -> None:
        """Complete the save of a killed process: its token set replaces the one whose refresh token is spent.

        This runs under each lock, and each save holds the lock, so at most one process left a file, and that is newer
        than the token file. Incomplete files and those of other owners are removed, because they may contain a token.
        """
        for leftover in _leftovers(target):
            # A folder of such a name is not from this store, and must not block the lock.
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                if not self._is_newer_token_set(leftover, target):
                    leftover.unlink()
                    continue
                leftover.replace(target)
                _sync_folder(target.parent)
                logger.warning("%s: a process died while it stored a token set; it is stored now", self._path)

    def _is_newer_token_set(self, leftover: Path, target: Path) -> bool:
        """Whether it replaces the token file. Raises `TokenStoreCorrupt` if it is complete and has another key."""
        status = leftover.lstat()
        is_private = os.name != "posix" or not status.st_mode & 0o077
        if leftover.suffix != ".tmp" or not stat.S_ISREG(status.st_mode) or not is_private:
            return False
        where, written = str(leftover), leftover.read_bytes()
        if written.endswith(b"\n") if is_encrypted(written) else self._cipher and written.endswith(b"}"):
            self._parsed(written, where)
        try:
            new = self._parsed(written, where)
            tokens_in(new, where)
            # Without a target this is the first token set, or the first after a logout, which leaves no leftovers.
            content = target.read_bytes() if target.exists() else b""
            old = {} if is_blank(content) else self._parsed(content, where)
        except TokenStoreCorrupt:
            return False
        return all(old.get(key) in (None, new.get(key)) for key in ("version", "client", "account"))


def _file_name(client_id: str, account: str) -> str:
    """Return a name that is valid on every file system, and unique for the pair also where case is ignored.

    The hash makes it unique. The part before it is for people.
    """
    host = "" if account == Endpoints().account else account.partition("://")[2]
    words = [re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") for text in (client_id[:12], host[:64])]
    digest = hashlib.sha256(f"{account}\n{client_id}".encode()).hexdigest()[:16]
    return "-".join([word for word in words if word] + [digest]) + ".json"


def _lock_of(target: Path) -> Path:
    return target.with_name(target.name + ".lock")


def _leftovers(target: Path) -> list[Path]:
    """Return the temporary files of killed processes for this token file. Call it with the lock held."""
    return leftovers_beside(target, target.name, "tmp", "try")


@contextlib.contextmanager
def _reporting(
    error_type: type[TokenStoreError], problem: str, hint: Callable[[OSError], str] = lambda _: ""
) -> Generator[None]:
    """Raise each `OSError` as `error_type`, with the reason of the system and a hint."""
    try:
        yield
    except OSError as error:
        raise error_type(f"{problem}: {error.strerror or error}{hint(error)}") from error


def _mount_hint(error: OSError) -> str:
    if error.errno != errno.EBUSY:
        return ""
    return ". The file seems to be a mount point: mount its folder instead, in which the file can be replaced"


def _lock_problem(path: Path, lock: Path, error: OSError) -> str:
    """Name what cannot be created or opened: the folder or the lock file, not the token file."""
    if error.errno == errno.EROFS:
        return (
            f"{path} is on a read-only file system, so its lock file {lock.name} cannot be created. To use a token set "
            "without storing it, open it with ReadOnlyTokens(path)"
        )
    what, where = ("lock file", lock) if lock.parent.is_dir() else ("folder", lock.parent)
    exists = os.path.lexists(lock)
    hint = owner_hint(error, lock if exists else lock.parent)
    if exists and isinstance(error, PermissionError):
        hint += f". Remove {lock}, or give it to the user who runs this process"
    return (
        f"the {what} {where} of the token file cannot be created or opened: {error.strerror or error}{hint}"
    )


def _sync_folder(folder: Path) -> None:
    """Flush the new name to the disk. Not every system can open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
