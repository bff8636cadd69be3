"""`KeyringTokenStore`: one login in the system's keyring (extra `keyring`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar, cast
from urllib.parse import quote

from ezeep_async._text.cleaning import cleaned_path
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.stores.document import Owner, as_text, check, owner_of, parsed, tokens_in
from ezeep_async.auth.stores.file import LOCK_TIMEOUT, FileTokenStore
from ezeep_async.auth.stores.file_locks import FileLocks
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.threads import in_thread, in_thread_for
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreError


T = TypeVar("T")

SERVICE = "ezeep_async"
"""The service under which keyrings list the entries."""
ANSWER = 60.0
"""Seconds that the keyring has to answer: a person may have to unlock it."""
TYPICAL_SIZE = 512
"""Characters that a login takes at least: a probe is as large, for keyrings with a limit."""
NO_LIBRARY = "the keyring library is not installed: pip install 'ezeep_async[keyring]'"
WHAT_TO_DO = (
    "On Linux a Secret Service (GNOME Keyring, KWallet) has to run in this session and be unlocked. On a machine "
    "without one keep the login in a file: FileTokenStore(path)"
)


class _Backend(Protocol):
    """What is used of a `keyring.backend.KeyringBackend`."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


class KeyringTokenStore:
    """Keeps the login in the keyring of the operating system: Keychain, Credential Locker, Secret Service.

    `name` tells several logins of one person apart. Await `probe()` before a person is sent to a browser: it finds out
    whether this machine has a keyring that works. `folder` is where the lock between processes is, by default
    `~/.local/state/ezeep_async` on every system, whatever else is installed or set: a lock that two processes look for
    in two places is none. It holds no secret. `lock_timeout` is in seconds.

    The Credential Locker of Windows takes 1280 characters. A login of opaque tokens fits, one of long JWTs does not:
    `check_writable` tries with an entry as large as the login, before a refresh token is spent.

    Raises `TokenStoreCorrupt` for an entry that cannot be understood (it is left as it is), `TokenStoreError` for one of
    another client id or account host, or when there is no usable keyring, `TokenPersistError` when it refuses to store.
    """

    def __init__(
        self,
        name: str = "login",
        *,
        folder: str | os.PathLike[str] | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise TypeError(f"name is a str, not {type(name).__name__}")
        if not name:
            raise ValueError("the name of a login in the keyring must not be empty")
        self._name = name
        self._place = f"the keyring entry {SERVICE}/{name}"
        where = expanded(
            Path("~", ".local", "state", SERVICE) if folder is None else cleaned_path(folder, "folder")
        )
        # Only its lock is used: the one lock between processes that there is.
        self._guard = FileTokenStore(where / f"keyring-{quote(name, safe='')}", lock_timeout=lock_timeout)
        self._owner: Owner | None = None

    def __repr__(self) -> str:
        return f"KeyringTokenStore({self._name!r})"

    def bind(self, client_id: str, account: str) -> None:
        """Whose login this is. Raises `TokenStoreError` when it was bound to another client or host before."""
        owner = owner_of(client_id, account)
        if self._owner is not None and self._owner != owner:
            raise TokenStoreError(f"{self!r} already serves another client id or account host")
        self._owner = owner

    @clears_locals
    async def probe(self) -> None:
        """Write, read and delete a harmless entry: whether a login could be kept. Raises `TokenStoreError`.

        For the moment before a person logs in (2-11): a keyring that fails afterwards throws a fresh login away.
        """
        await self._answer(lambda: self._probe(TYPICAL_SIZE))

    @clears_locals
    async def is_unused(self) -> bool:
        """Whether there is neither a token set nor a lock file yet. Raises what `load` raises."""
        return await self._guard.is_unused() and await self._answer(self._document) is None

    @clears_locals
    async def load(self) -> TokenSet | None:
        return await self._answer(self._load)

    @clears_locals
    async def save(self, tokens: TokenSet, /) -> None:
        await in_thread(lambda: self._save(tokens))

    @clears_locals
    async def clear(self) -> None:
        await in_thread(self._clear)

    @clears_locals
    async def check_writable(self) -> None:
        """Like `probe`, with an entry as large as the login that is there. Raises `TokenPersistError`."""
        await self._answer(self._check_writable)

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._guard.lock()

    def shared_locks(self) -> FileLocks:
        """Locks for single users and names, beside the lock of the login: see `TokenStore`."""
        return self._guard.shared_locks()

    async def _answer(self, ask: Callable[[], T]) -> T:
        """For what leaves the login as it is. What writes it is waited for: late, it would undo somebody else's."""
        try:
            return await in_thread_for(ANSWER, ask)
        except TimeoutError:
            raise TokenStoreError(
                f"the keyring of this machine does not answer within {ANSWER:g} s: is there a window that asks to "
                f"unlock it? {WHAT_TO_DO}"
            ) from None

    # --- in worker threads -----------------------------------------------------------------------------------------

    def _probe(self, size: int) -> None:
        # A name of its own: two processes may probe at once, and neither must take away the other's entry.
        name, value = f"probe-{secrets.token_hex(8)}", secrets.token_hex(size // 2 + 1)

        def write_and_read(backend: _Backend) -> str | None:
            backend.set_password(SERVICE, name, value)
            try:
                return backend.get_password(SERVICE, name)
            finally:
                backend.delete_password(SERVICE, name)

        def stays_none(backend: _Backend) -> bool:
            return backend.get_password(SERVICE, name) is None

        found = _use(write_and_read, value)
        if found != value or not _use(stays_none, value):
            raise TokenStoreError(f"the keyring does not keep what it is given. {WHAT_TO_DO}")

    def _check_writable(self) -> None:
        text = self._read()
        problem = ""
        try:
            self._probe(max(TYPICAL_SIZE, len(text or "")))
        except TokenStoreError as error:
            problem = str(error)
        if problem:
            raise TokenPersistError(
                f"{self._place} cannot be written, so the login is not renewed: {problem}"
            )

    def _read(self) -> str | None:
        return _use(lambda backend: backend.get_password(SERVICE, self._name))

    def _document(self) -> dict[str, object] | None:
        """What the entry holds, None for nothing: an empty entry holds no token set."""
        text = self._read()
        document = None if text is None or is_blank(text) else parsed(text, self._place) or None
        if document is not None:
            check(document, self._owner, self._place)
        return document

    def _load(self) -> TokenSet | None:
        document = self._document()
        return None if document is None else tokens_in(document, self._place)

    def _save(self, tokens: TokenSet) -> None:
        before = self._document() or {}
        if before:
            tokens_in(before, self._place)  # what cannot be read is not overwritten
        new = as_text(before, tokens, self._owner)
        problem = ""
        try:
            _use(lambda backend: backend.set_password(SERVICE, self._name, new), new, *_secrets_of(tokens))
            kept = self._read() == new
        except TokenStoreError as error:
            kept, problem = False, str(error)
        if not kept:
            raise TokenPersistError(
                f"{self._place} could not be written: {problem or 'it does not hold what was put there'}"
            )

    def _clear(self) -> None:
        self._document()  # an entry that is not ours is not removed
        if self._read() is not None:
            _use(lambda backend: backend.delete_password(SERVICE, self._name))


def _use(function: Callable[[_Backend], T], *hidden: str) -> T:
    """Call `function` with the keyring that is in use. Everything that backends raise becomes a `TokenStoreError`."""
    try:
        import keyring
    except ImportError:
        raise TokenStoreError(NO_LIBRARY) from None
    try:
        return function(cast("_Backend", keyring.get_keyring()))
    except Exception as error:  # noqa: BLE001  # backends let out what their libraries raise: D-Bus, pywin32, OSError
        problem = f"{type(error).__name__}: {error}"
    if any(secret in problem for secret in hidden):
        problem = problem.partition(":")[0]
    # Out here: no cause is chained, because a backend's error may carry what it was given to keep.
    raise TokenStoreError(f"the keyring of this machine cannot be used ({problem}). {WHAT_TO_DO}")


def _secrets_of(tokens: TokenSet) -> list[str]:
    return [each for each in (tokens.access_token, tokens.refresh_token) if each]
