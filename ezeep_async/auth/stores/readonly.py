"""`ReadOnlyTokens`: a login that is only ever read, from the environment or from a mounted secret."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, cast

from ezeep_async._text.cleaning import cleaned, cleaned_path, cleaned_token
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.stores.document import SCHEMA_VERSION, Owner, check, owner_of, parsed
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.auth.tokens import LATEST, MemoryTokenStore, TokenSet, moment, seconds, usable_text
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


logger = logging.getLogger("ezeep_async.auth")  # for what comes back as an error when it matters
store_logger = logging.getLogger("ezeep_async.auth.stores")

UNKNOWN_END = LATEST
"""The end of a token that came without one: it is good until the server says otherwise."""
VARIABLES = {
    "access_token": "EZEEP_ACCESS_TOKEN",
    "refresh_token": "EZEEP_REFRESH_TOKEN",
    "expires_at": "EZEEP_TOKEN_EXPIRES_AT",
}


class ReadOnlyTokens:
    """A login from a mapping or from a JSON file that this process cannot, or must not, write (2-13).

    `source` is a mapping or the path of a file, with `access_token`, and if you have them `refresh_token`, `expires_at`
    (seconds since 1970, or ISO 8601 with a zone), `scope` and `token_type`. A file of `FileTokenStore` will do. The
    source is read again whenever the access token has ended or was refused, so a secret that somebody else renews is
    taken up. A relative path counts from the working directory as it is when the store is made.

    The access token is used to its end; **the login is never renewed from here**. A refresh token works once, so renewing
    would leave a dead login in the source: for the next start of this process, and for whoever else reads it; with
    reuse protection their next renewal would end this one too. So `check_writable` raises `TokenPersistError`, before
    anything is sent: the refresh token stays good, and whoever may write the source can renew it. That this will happen
    is logged as a warning when a session opens, not an hour later. Where this process is the only one to use the login
    and may use it up, say so: `MemoryTokenStore(await ReadOnlyTokens(source).load())`.
    """

    @clears_locals
    def __init__(self, source: Mapping[str, object] | str | os.PathLike[str]) -> None:
        self._read: Mapping[str, object] | Path
        if isinstance(source, Mapping):
            self._read, self._place = source, "the given mapping"
        elif isinstance(source, str) and source.lstrip().startswith("{"):
            # Without the value, which messages about a path would show.
            raise ValueError(
                "the source is a path or a mapping, and this text is JSON: json.loads(text) reads it"
            )
        else:
            self._read = expanded(cleaned_path(source, "the source"))
            self._place = str(self._read)
        self._names: Mapping[str, str] = {name: name for name in VARIABLES}
        self._owner: Owner | None = None
        self._warned = False
        self._forgotten = ""
        self._lock = MemoryTokenStore()  # only its lock is used: it contends with sessions in this process

    @classmethod
    @clears_locals
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """From `EZEEP_ACCESS_TOKEN`, `EZEEP_REFRESH_TOKEN` and `EZEEP_TOKEN_EXPIRES_AT`, of this process by default.

        The variables are read now, and not again.
        """
        # Not as a default value: help() and inspect.signature() would show the whole environment.
        environ = os.environ if environ is None else environ
        store = cls({name: environ.get(variable) for name, variable in VARIABLES.items()})
        store._names, store._place = VARIABLES, "the environment"
        return store

    def __repr__(self) -> str:
        return f"<ReadOnlyTokens from {self._place}>"

    def bind(self, client_id: str, account: str) -> None:
        """Warn that a rotation cannot be persisted. Raises `TokenStoreError` for another client or host than before."""
        owner = owner_of(client_id, account)
        if self._owner is not None and self._owner != owner:
            raise TokenStoreError(f"{self!r} already serves another client id or account host")
        self._owner = owner
        if not self._warned:
            self._warned = True
            logger.warning(
                "rotation cannot be persisted: the login from %s is read-only. Its access token works to its end, and "
                "the login is not renewed from here",
                self._place,
            )

    @clears_locals
    async def load(self) -> TokenSet | None:
        """The login, None where the source has no access token. Raises `TokenStoreError`, `TokenStoreCorrupt`."""
        values = await in_thread(self._values)
        if values is None:
            return None
        tokens = _tokens_from(values, self._place, self._names)
        return None if tokens is None or tokens.access_token == self._forgotten else tokens

    async def save(self, tokens: TokenSet, /) -> None:  # noqa: ARG002  # the signature of a store
        raise TokenPersistError(f"{self._place} is read-only: a login cannot be stored there")

    @clears_locals
    async def clear(self) -> None:
        """Use this login no more. What is in the source stays there, and a warning says so."""
        tokens = await self.load()
        if tokens is not None:
            self._forgotten = tokens.access_token
            store_logger.warning(
                "the login is forgotten here, but it is still in %s: remove it there", self._place
            )

    async def check_writable(self) -> None:
        """Raise `TokenPersistError`, always: a renewal would spend a refresh token that others may hold."""
        raise TokenPersistError(
            f"the login from {self._place} is read-only and is not renewed: that would leave a spent refresh token there. "
            "Put a new login there, or use a store that can be written"
        )

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._lock.lock()

    # --- reading ---------------------------------------------------------------------------------------------------

    def _values(self) -> Mapping[str, object] | None:
        if isinstance(self._read, Mapping):
            return self._read
        problem = ""
        text = b""
        try:
            text = self._read.read_bytes()
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            raise TokenStoreError(f"{self._place} cannot be read: {problem}")
        if is_blank(text):
            return None
        document = parsed(text, self._place)
        # Other files than those of a store have no version, and may still say whose login it is.
        check({"version": SCHEMA_VERSION, **document}, self._owner, self._place)
        token = document.get("token")
        return cast("dict[str, object]", token) if isinstance(token, dict) else document


def _tokens_from(values: Mapping[str, object], place: str, names: Mapping[str, str]) -> TokenSet | None:
    try:
        access, refresh, end = (
            _clean(values.get(name), names[name], cleaned if name == "expires_at" else cleaned_token)
            for name in VARIABLES
        )
    except ValueError as error:
        raise TokenStoreCorrupt(f"{place}: {error}") from None
    if not access and not refresh:
        return None
    scope, kind = values.get("scope"), values.get("token_type")
    expires_at = _end(end)
    if not isinstance(access, str) or not access:
        raise TokenStoreCorrupt(f"{place} holds a token set without an {names['access_token']}")
    if not isinstance(refresh, str | None):
        raise TokenStoreCorrupt(f"{place} holds a {names['refresh_token']} that is not text")
    if expires_at is None:
        raise TokenStoreCorrupt(
            f"{place} holds an {names['expires_at']} that is neither seconds nor ISO 8601 with a zone"
        )
    with contextlib.suppress(ValueError):
        return TokenSet(
            access,
            refresh or "",
            expires_at,
            usable_text(scope) or "printing",
            usable_text(kind) or "Bearer",
            # Of a token whose end nobody wrote down it does not help to know how long it lived.
            None if expires_at == UNKNOWN_END else seconds(values.get("expires_in")),
        )
    raise TokenStoreCorrupt(f"{place} holds a login with characters that no token has")


def _clean(value: object, name: str, clean: Callable[[str, str], str]) -> object:
    return clean(value, name) if isinstance(value, str) else value


def _end(value: object) -> datetime | None:
    """When a token ends, as people and programs write it down. None for what is no time."""
    if value is None or value == "":
        return UNKNOWN_END
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return moment(float(value))
    except (ValueError, OverflowError):
        pass
    try:
        end = datetime.fromisoformat(str(value))
        return None if end.tzinfo is None else end.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
