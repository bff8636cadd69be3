"""`KeyringTokenStore`: a token set in the keyring of the operating system (extra `keyring`)."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar, cast
from urllib.parse import quote

from ezeep_async._text.cleaning import cleaned_path
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.stores.document import ThreadedStore, as_text
from ezeep_async.auth.stores.file import LOCK_TIMEOUT_S, FileTokenStore
from ezeep_async.auth.stores.file_locks import FileLocks
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.threads import in_thread_for
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreError


T = TypeVar("T")

SERVICE = "ezeep_async"
"""The service name that keyrings list the entries under."""
RESPONSE_TIMEOUT_S = 60.0
"""Seconds. Long, because a person may have to unlock the keyring."""
PROBE_CHARACTERS = 512
"""Characters of a small token set. A probe is at least as large, because some keyrings have a limit."""
NO_LIBRARY = "the keyring library is not installed: pip install 'ezeep_async[keyring]'"
WHAT_TO_DO = (
    "On Linux a Secret Service (GNOME Keyring, KWallet) has to run in this session and be unlocked. On a machine "
    "without one, store the token set in a file: FileTokenStore(path)"
)


class _Backend(Protocol):
    """The used part of `keyring.backend.KeyringBackend`."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


class KeyringTokenStore(ThreadedStore):
    """Keep the token set in the keyring of the operating system: Keychain, Credential Locker, Secret Service.

    Await `probe()` before a person logs in: it checks that this machine has a keyring that works.

    The Credential Locker of Windows takes 1280 characters. A token set of opaque tokens fits, one of long JWTs does not:
    `check_writable` tries an entry as large as the token set, before a refresh token is spent.

    Args:
        name: Name of the entry, not empty. Several token sets of one user need several names.
        folder: Folder of the lock file, which holds no secret; by default `~/.local/state/ezeep_async` on every system.
            All processes that use the entry must use the same folder.
        lock_timeout: Seconds to wait for the lock while another process refreshes the token. Not negative.

    Raises:
        TypeError: `name` is not a str, or `folder` is not a path.
        ValueError: `name` or `folder` is empty, or `lock_timeout` is negative.

    Note:
        The methods raise `TokenStoreCorrupt` if the entry is not a stored token set (it is not changed),
        `TokenPersistError` if the keyring refuses to store it, and `TokenStoreError` if there is no usable keyring, if the
        entry belongs to another client id or account address, or if the lock times out.
    """

    def __init__(
        self,
        name: str = "login",
        *,
        folder: str | os.PathLike[str] | None = None,
        lock_timeout: float = LOCK_TIMEOUT_S,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if not name:
            raise ValueError("the name of the keyring entry must not be empty")
        self._name = name
        self._place = f"the keyring entry {SERVICE}/{name}"
        where = expanded(
            Path("~", ".local", "state", SERVICE) if folder is None else cleaned_path(folder, "folder")
        )
        # Only its locks are used: keyrings have none.
        self._guard = FileTokenStore(where / f"keyring-{quote(name, safe='')}", lock_timeout=lock_timeout)

    def __repr__(self) -> str:
        return f"KeyringTokenStore({self._name!r})"

    @clears_locals
    async def probe(self) -> None:
        """Check that the keyring works, by writing, reading and deleting another entry.

        Call it before a person logs in: a keyring that fails afterwards loses the new token set.

        Raises:
            TokenStoreError: There is no usable keyring, it does not respond within 60 s, or it does not keep the entry.
        """
        await self._unchanging(lambda: self._probe(PROBE_CHARACTERS))

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Hold the lock that the processes of this user share."""
        return self._guard.lock()

    def shared_locks(self) -> FileLocks:
        """Return locks for single users and for creating groups, in the folder of the lock file.

        Returns:
            The locks of one session, which closes them.
        """
        return self._guard.shared_locks()

    async def _unchanging(self, function: Callable[[], T]) -> T:
        """Run what does not change the entry. Writes are not abandoned: a late one would overwrite a newer token set."""
        try:
            return await in_thread_for(RESPONSE_TIMEOUT_S, function)
        except TimeoutError:
            raise TokenStoreError(
                f"the keyring of this machine does not respond within {RESPONSE_TIMEOUT_S:g} s: is there a window that "
                f"asks to unlock it? {WHAT_TO_DO}"
            ) from None

    # --- in worker threads

    def _probe(self, size: int) -> None:
        # A random name: two processes that probe at once must not remove each other's entry.
        name, value = f"probe-{secrets.token_hex(8)}", secrets.token_hex(size // 2 + 1)

        def write_and_read(backend: _Backend) -> str | None:
            backend.set_password(SERVICE, name, value)
            try:
                return backend.get_password(SERVICE, name)
            finally:
                backend.delete_password(SERVICE, name)

        found = _use(write_and_read, value)
        if found != value or _use(lambda backend: backend.get_password(SERVICE, name), value) is not None:
            raise TokenStoreError(
                f"the keyring of this machine does not keep or remove entries. {WHAT_TO_DO}"
            )

    def _check_writable(self) -> None:
        size = len(self._read() or "")
        with _not_written(f"{self._place} cannot be written, so the token is not refreshed"):
            self._probe(max(PROBE_CHARACTERS, size))

    def _read(self) -> str | None:
        return _use(lambda backend: backend.get_password(SERVICE, self._name))

    def _document(self) -> dict[str, object] | None:
        return self._decoded(self._read() or "")

    def _is_unused(self) -> bool:
        return self._guard._is_unused() and self._document() is None  # pyright: ignore[reportPrivateUsage]  # the guard is part of this store

    def _load(self) -> TokenSet | None:
        return self._tokens(self._document())

    def _save(self, tokens: TokenSet) -> None:
        document = self._document()
        self._tokens(document)  # an entry that cannot be read is not overwritten
        new = as_text(document or {}, tokens, self._owner)
        secrets_of = [text for text in (tokens.access_token, tokens.refresh_token) if text]
        with _not_written(f"{self._place} could not be written"):
            _use(lambda backend: backend.set_password(SERVICE, self._name, new), new, *secrets_of)
            if self._read() != new:
                raise TokenStoreError("the value that was read is not the value that was written")

    def _clear(self) -> None:
        self._document()  # an entry of another owner is not removed
        if self._read() is not None:
            _use(lambda backend: backend.delete_password(SERVICE, self._name))


@contextlib.contextmanager
def _not_written(what: str) -> Generator[None]:
    """Raise each `TokenStoreError` as a `TokenPersistError`."""
    try:
        yield
    except TokenStoreError as error:
        raise TokenPersistError(f"{what}: {error}") from error


def _use(function: Callable[[_Backend], T], *hidden: str) -> T:
    """Call `function` with the active keyring. Every error of a backend becomes a `TokenStoreError`."""
    try:
        import keyring
    except ImportError:
        raise TokenStoreError(NO_LIBRARY) from None
    try:
        return function(cast("_Backend", keyring.get_keyring()))
    except Exception as error:  # noqa: BLE001  # backends raise the errors of D-Bus, pywin32 and the system
        problem = f"{type(error).__name__}: {error}"
    if any(secret in problem for secret in hidden):
        problem = problem.partition(":")[0]
    # Outside the except block: no cause is chained, because a backend's error may carry the value that it was given.
    raise TokenStoreError(f"the keyring of this machine cannot be used ({problem}). {WHAT_TO_DO}")
