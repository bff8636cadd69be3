"""`ReadOnlyTokens`: a token set that is only read, from the environment or from a mounted secret."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Self, cast

from ezeep_async._text.cleaning import cleaned, cleaned_path, cleaned_token
from ezeep_async._text.redaction import clears_locals
from ezeep_async._text.text_files import is_blank
from ezeep_async.auth.stores.document import (
    FIELD_NAMES,
    LARGEST_DOCUMENT_BYTES,
    SCHEMA_VERSION,
    DocumentStore,
    check,
    parse_token_set,
    parsed,
)
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.auth.tokens import LATEST, MemoryTokenStore, TokenSet
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


logger = logging.getLogger("ezeep_async.auth")  # for warnings that come before an error
store_logger = logging.getLogger("ezeep_async.auth.stores")

UNKNOWN_EXPIRY = LATEST
"""The expiry of an access token without one: the token is used until the server refuses it."""
VARIABLES = {
    "access_token": "EZEEP_ACCESS_TOKEN",
    "refresh_token": "EZEEP_REFRESH_TOKEN",
    "expires_at": "EZEEP_TOKEN_EXPIRES_AT",
}


class ReadOnlyTokens(DocumentStore):
    """Use a token set that this process cannot, or must not, write.

    The source is read again when the access token has expired or was refused, so a secret that another program updates
    is noticed. The access token is used until it expires, and **the token is never refreshed**. A refresh token works once:
    a refresh would leave a spent one in the source, for the next start of this process and for other readers. With reuse
    detection, their next refresh would revoke this token set too. `check_writable` therefore raises `TokenPersistError`
    before a request is sent, and a warning says so when a session opens.

    A process that is the only user of the token set, and may use it up, loads it into memory:
    `MemoryTokenStore(await ReadOnlyTokens(source).load())`.

    Args:
        source: A mapping, or the path of a JSON file. Keys: `access_token`, and optionally `refresh_token`, `expires_at`
            (seconds since 1970, or ISO 8601 with a zone), `expires_in` (seconds), `scope`, `token_type`. A file of
            `FileTokenStore` is read too. A relative path counts from the working directory at the time of this call.

    Raises:
        TypeError: `source` is neither a mapping nor a path.
        ValueError: `source` is JSON text, is empty, or contains control characters.
    """

    @clears_locals
    def __init__(self, source: Mapping[str, object] | str | os.PathLike[str]) -> None:
        self._source: Mapping[str, object] | Path
        if isinstance(source, Mapping):
            self._source, self._place = source, "the given mapping"
        elif isinstance(source, str) and source.lstrip().startswith("{"):
            # Without the value, which messages about a path would show.
            raise ValueError("source is JSON text, not a path or a mapping: pass json.loads(text)")
        else:
            self._source = expanded(cleaned_path(source, "the source"))
            self._place = str(self._source)
        self._names = FIELD_NAMES
        self._warned = False
        self._cleared = ""
        self._lock = MemoryTokenStore()  # only its lock is used: the sessions of this process share it

    @classmethod
    @clears_locals
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `EZEEP_ACCESS_TOKEN`, `EZEEP_REFRESH_TOKEN` and `EZEEP_TOKEN_EXPIRES_AT`, now and not again.

        Args:
            environ: Environment variables; None for those of this process.

        Returns:
            The store. `load` returns None if the variables are not set.
        """
        # Not as a default value: help() and inspect.signature() would show the whole environment.
        environ = os.environ if environ is None else environ
        store = cls({name: environ.get(variable) for name, variable in VARIABLES.items()})
        store._names, store._place = VARIABLES, "the environment"
        return store

    def __repr__(self) -> str:
        return f"<ReadOnlyTokens from {self._place}>"

    def bind(self, client_id: str, account: str) -> None:
        """Bind the store to a client id and an account address, and warn that a refresh cannot be stored."""
        super().bind(client_id, account)
        if not self._warned:
            self._warned = True
            logger.warning(
                "rotation cannot be persisted: the token set from %s is read-only. Its access token is used until it "
                "expires, and is not refreshed",
                self._place,
            )

    @clears_locals
    async def load(self) -> TokenSet | None:
        """Read the token set from the source, None if the source is empty. See `TokenStore.load`."""
        values = await in_thread(self._values)
        if values is None:
            return None
        tokens = parse_token_set(_cleaned_values(values, self._place, self._names), self._place, self._names)
        if tokens is not None and not tokens.access_token:
            raise TokenStoreCorrupt(
                f"{self._place} holds a token set without an {self._names['access_token']}: add it there"
            )
        return None if tokens is None or tokens.access_token == self._cleared else tokens

    async def save(self, tokens: TokenSet, /) -> None:  # noqa: ARG002  # the signature of a store
        """Raise `TokenPersistError`."""
        raise TokenPersistError(f"{self._place} is read-only: use a store that can be written")

    @clears_locals
    async def clear(self) -> None:
        """Stop using this token set. It stays in the source, and a warning says so."""
        tokens = await self.load()
        if tokens is not None:
            self._cleared = tokens.access_token
            store_logger.warning(
                "the token set is not used any more, but it is still in %s: remove it there", self._place
            )

    async def check_writable(self) -> None:
        """Raise `TokenPersistError`, because a refresh would spend a refresh token that other programs may hold."""
        raise TokenPersistError(
            f"the token set from {self._place} is read-only and is not refreshed: that would leave a spent refresh token "
            "there. Put a new token set there, or use a store that can be written"
        )

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Hold the lock that the sessions of this process share."""
        return self._lock.lock()

    def _values(self) -> Mapping[str, object] | None:
        if isinstance(self._source, Mapping):
            return self._source
        try:
            with self._source.open("rb") as file:
                text = file.read(LARGEST_DOCUMENT_BYTES)
        except OSError as error:
            raise TokenStoreError(f"{self._place} cannot be read: {error.strerror or error}") from error
        if is_blank(text):
            return None
        document = parsed(text, self._place)
        # Files that are not from a store have no version, and may still name their client and account.
        check({"version": SCHEMA_VERSION, **document}, self._owner, self._place)
        token = document.get("token")
        return cast("dict[str, object]", token) if isinstance(token, dict) else document


def _cleaned_values(values: Mapping[str, object], place: str, names: Mapping[str, str]) -> dict[str, object]:
    """Return the values without the white space, quotes and `Bearer` of a person. Empty values are absent."""
    clean = dict(values)
    try:
        for field, name in names.items():
            if isinstance(value := clean.get(field), str):
                clean[field] = (cleaned if field == "expires_at" else cleaned_token)(value, name)
    except ValueError as error:
        raise TokenStoreCorrupt(f"{place}: {error}") from None
    if clean.get("expires_at") in (None, ""):
        clean.pop("expires_in", None)  # how long a token lived says nothing without its expiry
    return {field: value for field, value in clean.items() if value != ""}
