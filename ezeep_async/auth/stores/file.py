"""`FileTokenStore`: one login in one file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import stat
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

from filelock import BaseFileLock, FileLock, Timeout

from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


T = TypeVar("T")

logger = logging.getLogger("ezeep_async.auth")

SCHEMA_VERSION = 1
LARGEST_FILE = 1024 * 1024
"""Bytes; a login has about 500."""
LOCK_TIMEOUT = 120.0
"""Seconds: longer than a refresh and its replay take with the default `refresh_timeout`, so that a waiter does not give
up on a holder that works. Raise it together with that."""


def _hash(client_id: str) -> str:
    return hashlib.sha256(client_id.encode()).hexdigest()[:16]


class FileTokenStore:
    """Keeps the login in a file that only its owner can read, and that is whole at every moment.

    Writes go to a new file beside it, are flushed to the disk, and take its place in one step. A lock of the operating
    system on `<path>.lock` keeps processes apart; it ends with its holder, however that ends. `path` may be a symbolic
    link: its target is what is read and replaced. `lock_timeout` is in seconds.

    Raises `TokenStoreCorrupt` for a file that cannot be understood (it is left as it is), `TokenStoreError` for one
    that belongs to another client id or account host, or that cannot be read, `TokenPersistError` when it cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        if not os.fspath(path) or "\0" in str(path):
            raise ValueError("a token file needs a name")
        self._path = Path(path).expanduser()
        self._lock_timeout = lock_timeout
        self._owner: tuple[str, str] | None = None
        self._warned = False

    @property
    def path(self) -> Path:
        """Where the login is kept."""
        return self._path

    def __repr__(self) -> str:
        return f"FileTokenStore({str(self._path)!r})"

    def bind(self, client_id: str, account: str) -> None:
        """Whose login this is. Raises `TokenStoreError` when it was bound to another client or host before."""
        owner = (_hash(client_id), account)
        if self._owner is not None and self._owner != owner:
            raise TokenStoreError(f"{self!r} already serves another client id or account host")
        self._owner = owner

    async def load(self) -> TokenSet | None:
        return await _in_thread(self._load)

    async def save(self, tokens: TokenSet, /) -> None:
        await _in_thread(lambda: self._save(tokens))

    async def clear(self) -> None:
        await _in_thread(self._clear)

    async def check_writable(self) -> None:
        await _in_thread(self._check_writable)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        lock = await _in_thread(self._new_lock)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._lock_timeout
        pause = 0.002
        try:
            while not await _in_thread(lambda: self._try_lock(lock)):
                if loop.time() >= end:
                    raise TokenStoreError(
                        f"{self._path} is in use by another process for more than {self._lock_timeout:g} s"
                    )
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 0.1)
            yield
        finally:
            await _in_thread(lambda: lock.release(force=True))

    # --- in worker threads -----------------------------------------------------------------------------------------

    def _target(self) -> Path:
        return Path(os.path.realpath(self._path))

    def _make_folder(self) -> None:
        folder = self._target().parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _new_lock(self) -> BaseFileLock:
        target = self._target()
        # thread_local=False: it is taken in one worker thread and given back in another.
        return FileLock(target.with_name(target.name + ".lock"), mode=0o600, thread_local=False)

    def _try_lock(self, lock: BaseFileLock) -> bool:
        try:
            self._make_folder()
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be locked: {error.strerror or error}") from error
        return True

    def _load(self) -> TokenSet | None:
        document = self._read()
        if document is None:
            return None
        self._check_owner(document)
        return _tokens_in(document, self._path)

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
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            # No cause is chained: the parser's error carries the text, and the text may hold a token.
            raise TokenStoreCorrupt(f"{self._path} is not a token file: move it away and log in again")
        return cast("dict[str, object]", document)

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

    def _check_owner(self, document: dict[str, object]) -> None:
        if document.get("version") != SCHEMA_VERSION:
            raise TokenStoreCorrupt(
                f"{self._path} has version {document.get('version')!r}, not {SCHEMA_VERSION}"
            )
        if self._owner is None:
            return
        client, account = self._owner
        if document.get("client") not in (None, client):
            raise TokenStoreError(f"{self._path} holds the login of another client id")
        if document.get("account") not in (None, account):
            raise TokenStoreError(
                f"{self._path} holds a login at {document.get('account')}, not at {account}"
            )

    def _save(self, tokens: TokenSet) -> None:
        target = self._target()
        try:
            self._make_folder()
            document = self._read() or {}
            if document:
                self._check_owner(document)
            self._remove_leftovers(target)
            document |= {
                "version": SCHEMA_VERSION,
                "token": {
                    "access_token": tokens.access_token,
                    "refresh_token": tokens.refresh_token,
                    "expires_at": tokens.expires_at.timestamp(),
                    "expires_in": tokens.expires_in,
                    "scope": tokens.scope,
                    "token_type": tokens.token_type,
                },
            }
            if self._owner is not None:
                document |= {"client": self._owner[0], "account": self._owner[1]}
            with _new_file_beside(target) as temporary:
                _write_through(temporary, json.dumps(document, indent=2).encode())
                temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise TokenPersistError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _check_writable(self) -> None:
        target = self._target()
        try:
            self._make_folder()
            with _new_file_beside(target) as temporary:
                _write_through(temporary, b"\0" * 8192)
        except OSError as error:
            raise TokenPersistError(
                f"{self._path} cannot be written, so the login is not renewed: {error.strerror or error}"
            ) from error

    def _clear(self) -> None:
        target = self._target()
        try:
            target.unlink(missing_ok=True)
            self._remove_leftovers(target)
        except OSError as error:
            raise TokenStoreError(f"{self._path} cannot be removed: {error.strerror or error}") from error

    def _remove_leftovers(self, target: Path) -> None:
        """What a killed writer left: it may hold a token. Only ever called with the lock held."""
        pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.tmp")
        for entry in target.parent.iterdir():
            if pattern.fullmatch(entry.name):
                entry.unlink(missing_ok=True)


def _tokens_in(document: dict[str, object], path: Path) -> TokenSet:
    token = document.get("token")
    values = cast("dict[str, object]", token) if isinstance(token, dict) else {}
    access, refresh, expires_at = (
        values.get(name) for name in ("access_token", "refresh_token", "expires_at")
    )
    expires_in = values.get("expires_in")
    scope, kind = values.get("scope", "printing"), values.get("token_type", "Bearer")
    if (
        isinstance(access, str)
        and access
        and isinstance(refresh, str)
        and isinstance(expires_at, int | float)
        and isinstance(scope, str)
        and isinstance(kind, str)
        and (expires_in is None or isinstance(expires_in, int | float))
    ):
        with contextlib.suppress(ValueError, OverflowError, OSError):
            return TokenSet(access, refresh, datetime.fromtimestamp(expires_at, UTC), scope, kind, expires_in)
    raise TokenStoreCorrupt(f"{path} holds no usable login: move it away and log in again")


@contextlib.contextmanager
def _new_file_beside(target: Path) -> Generator[Path, None, None]:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
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


async def _in_thread(function: Callable[[], T]) -> T:
    """Run in a worker thread, to the end: a lock taken or a file written while nobody looks would be lost track of."""
    loop = asyncio.get_running_loop()
    try:
        future = loop.run_in_executor(None, function)
    except RuntimeError:
        # The interpreter is shutting down and starts no threads. Blocking now is better than a login that is lost.
        return function()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise
