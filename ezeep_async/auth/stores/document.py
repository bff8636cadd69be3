"""The stored form of a token set: a versioned JSON object with the client and the account that it belongs to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar, cast

import attrs

from ezeep_async._text.redaction import Secret, clears_locals
from ezeep_async._text.text_files import NotText, is_blank, text_of
from ezeep_async.auth.stores.encryption import Cipher, is_encrypted
from ezeep_async.auth.stores.threads import in_thread
from ezeep_async.auth.tokens import LATEST, LINEAGE, TokenSet, moment, seconds, usable_text
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


T = TypeVar("T")

logger = logging.getLogger("ezeep_async.auth.stores")

SCHEMA_VERSION = 1
LARGEST_DOCUMENT_BYTES = 1024 * 1024
"""Bytes. A typical document has about 500."""
ENDED_FOR = "ended_for"
"""Key of the document: the owner that got the refusal behind `TokenSet.ended`, if the document names no owner or another one.
For other owners the token set has not ended."""
ADVICE = "move it away and log in again"

FIELD_NAMES: Mapping[str, str] = {name: name for name in ("access_token", "refresh_token", "expires_at")}
"""What error messages call the fields of a token set."""

Owner = tuple[str, str]
"""The hash of the client id, and the account address."""


class DocumentStore:
    """A store of one document, for one client id and one account address."""

    _place = ""
    """What error messages call the document."""
    _owner: Owner | None = None
    _cipher: Cipher | None = None

    def bind(self, client_id: str, account: str) -> None:
        """Bind the store to a client id and an account address. A session calls it when it opens.

        Args:
            client_id: OAuth client id of the session.
            account: Account address of the session, such as `https://account.ezeep.com`.

        Raises:
            TokenStoreError: The store is already bound to another client id or account address.
        """
        owner = owner_of(client_id, account)
        if self._owner is not None and self._owner != owner:
            raise TokenStoreError(
                f"{self!r} already serves another client id or account host: use one store for each"
            )
        self._owner = owner

    def _encoded(self, text: str) -> str:
        """Return what is stored: the text, or the encrypted text in one line."""
        return text if self._cipher is None else self._cipher.encrypted(text) + "\n"

    def _parsed(self, text: str | bytes, place: str) -> dict[str, object]:
        """Return the stored object. Raises `TokenStoreCorrupt`, also for another key."""
        if self._cipher is not None:
            text = self._cipher.decrypted(text, place)
        elif is_encrypted(text):
            raise TokenStoreCorrupt(
                f"{place} is not a stored token set without its encryption_key: it is encrypted. Pass the key, or {ADVICE}"
            )
        return parsed(text, place)

    def _decoded(self, text: str | bytes) -> dict[str, object] | None:
        """Return the stored object, None for an empty text or object, as of mktemp or of a placeholder."""
        document = None if is_blank(text) else self._parsed(text, self._place) or None
        if document is not None:
            check(document, self._owner, self._place)
        return document

    def _tokens(self, document: dict[str, object] | None) -> TokenSet | None:
        if document is None:
            return None
        tokens, ended_for = tokens_in(document, self._place), document.get(ENDED_FOR)
        if self._owner is None or ended_for in (None, [*self._owner]):
            return tokens
        return attrs.evolve(tokens, ended=False)


class ThreadedStore(DocumentStore, ABC):
    """A document store whose work blocks: it runs in threads."""

    is_lock_kept = True
    """A session holds the lock on while it could not store a token set. It ends with the process."""

    @clears_locals
    async def is_unused(self) -> bool:
        """Return whether there is neither a token set nor a lock file. Creates no files and no folders."""
        return await self._unchanging(self._is_unused)

    @clears_locals
    async def load(self) -> TokenSet | None:
        """Return the stored token set, None if there is none. See `TokenStore.load`."""
        return await self._unchanging(self._load)

    @clears_locals
    async def save(self, tokens: TokenSet, /) -> None:
        """Store the token set, and keep unknown keys of the stored document. See `TokenStore.save`."""
        await in_thread(lambda: self._save(tokens))

    @clears_locals
    async def clear(self) -> None:
        """Remove the token set. See `TokenStore.clear`."""
        await in_thread(self._clear)

    @clears_locals
    async def check_writable(self) -> None:
        """Check that a token set could be stored, by writing as much as `save` would. See `TokenStore.check_writable`."""
        await self._unchanging(self._check_writable)

    async def _unchanging(self, function: Callable[[], T]) -> T:
        """Run what does not change the token set."""
        return await in_thread(function)

    @abstractmethod
    def _is_unused(self) -> bool: ...

    @abstractmethod
    def _load(self) -> TokenSet | None: ...

    @abstractmethod
    def _save(self, tokens: TokenSet) -> None: ...

    @abstractmethod
    def _clear(self) -> None: ...

    @abstractmethod
    def _check_writable(self) -> None: ...


def owner_of(client_id: str, account: str) -> Owner:
    """Return the owner in the stored form: a digest instead of the client id."""
    return hashlib.sha256(client_id.encode()).hexdigest()[:16], account


def parsed(text: str | bytes, where: str) -> dict[str, object]:
    """Return the JSON object in the text. Raises `TokenStoreCorrupt`, without any of the content."""
    document, reason = None, ""
    try:
        document = json.loads(text_of(text))
    except NotText as error:
        reason = f" ({error})"
    except (ValueError, RecursionError):
        pass
    if not isinstance(document, dict):
        # No cause is chained: the parser's error carries the text, which may contain a token.
        raise TokenStoreCorrupt(f"{where} is not a stored token set{reason}: {ADVICE}")
    return cast("dict[str, object]", document)


def check(document: dict[str, object], owner: Owner | None, where: str) -> None:
    """Raise `TokenStoreCorrupt` for another version, `TokenStoreError` for another owner."""
    if document.get("version") != SCHEMA_VERSION:
        raise TokenStoreCorrupt(f"{where} does not have the supported version {SCHEMA_VERSION}: {ADVICE}")
    client, account = owner or (None, None)
    if client is not None and document.get("client") not in (None, client):
        raise TokenStoreError(
            f"{where} holds the token set of another client id: use another place for this one"
        )
    if account is not None and document.get("account") not in (None, account):
        raise TokenStoreError(
            f"{where} holds a token set of {document.get('account')}, not of {account}: use another place for this one"
        )


def tokens_in(document: dict[str, object], where: str) -> TokenSet:
    """Return the token set in a stored object. Raises `TokenStoreCorrupt` if there is none."""
    values = cast("dict[str, object]", document["token"] if isinstance(document.get("token"), dict) else {})
    tokens = None
    if isinstance(values.get("refresh_token"), str) and isinstance(values.get("expires_at"), int | float):
        tokens = parse_token_set(values, where)
    if tokens is None:
        raise TokenStoreCorrupt(f"{where} holds no usable token set: {ADVICE}")
    return tokens


def parse_token_set(
    values: Mapping[str, object], where: str, names: Mapping[str, str] = FIELD_NAMES
) -> TokenSet | None:
    """Return the token set in a mapping, None without tokens. Raises `TokenStoreCorrupt`.

    Only the tokens and their expiry have to be usable. Other fields with unusable values count as absent.
    """
    access, refresh = values.get("access_token"), values.get("refresh_token")
    if access in (None, "") and refresh in (None, ""):
        return None
    expires_at = _expiry(values.get("expires_at"))
    problem = "a token with characters that no token has"
    if not isinstance(access, str):  # an empty one is stored where there is only a refresh token
        problem = f"a token set without an {names['access_token']}"
    elif not isinstance(refresh, str | None):
        problem = f"a {names['refresh_token']} that is not text"
    elif expires_at is None:
        problem = f"an {names['expires_at']} that is neither seconds since 1970 nor ISO 8601 with a zone"
    else:
        scope, token_type = usable_text(values.get("scope")), usable_text(values.get("token_type"))
        with contextlib.suppress(ValueError):
            return TokenSet(
                access,
                refresh or "",
                expires_at,
                "printing" if scope is None else scope,
                "Bearer" if token_type is None else token_type,
                seconds(values.get("expires_in")),
                lineage=_lineage(values.get("lineage")),
                grant=usable_text(values.get("grant")) or "",
                ended=values.get("ended") is True,
            )
    raise TokenStoreCorrupt(f"{where} holds {problem}")


def with_tokens(document: dict[str, object], tokens: TokenSet, owner: Owner | None) -> dict[str, object]:
    """Return the object with another token set. Unknown keys stay.

    A token set of an unknown owner stays that: a server may have refused it because of another client or account.
    """
    labels: dict[str, object] = {} if owner is None else {"client": owner[0], "account": owner[1]}
    if tokens.ended and owner is not None and owner != (document.get("client"), document.get("account")):
        labels = {ENDED_FOR: [*owner]}
    return {
        **{key: value for key, value in document.items() if key != ENDED_FOR},
        "version": SCHEMA_VERSION,
        "token": {
            "access_token": Secret(tokens.access_token),
            "refresh_token": Secret(tokens.refresh_token),
            "expires_at": tokens.expires_at.timestamp(),
            "expires_in": tokens.expires_in,
            "scope": tokens.scope,
            "token_type": tokens.token_type,
            **({"lineage": list(tokens.lineage)} if tokens.lineage else {}),
            **({"grant": tokens.grant} if tokens.grant else {}),
            **({"ended": True} if tokens.ended else {}),
        },
        **labels,
    }


def as_text(
    document: dict[str, object], tokens: TokenSet, owner: Owner | None, *, indent: int | None = None
) -> str:
    """Return `with_tokens` as JSON, in ASCII. Unknown keys are dropped if they make it too large to be read.

    Raises `TokenPersistError` for a token set without tokens, which could not be read either.
    """
    if not tokens.access_token and not tokens.refresh_token:
        raise TokenPersistError(
            "a token set without an access token and without a refresh token is not stored"
        )
    encode = partial(json.dumps, indent=indent, separators=(",", ":") if indent is None else None)
    with contextlib.suppress(RecursionError):
        text = encode(with_tokens(document, tokens, owner))
        if len(text) <= LARGEST_DOCUMENT_BYTES:
            return text
    logger.warning(
        "unknown keys that are stored with the token set are too large or too deep, and are dropped"
    )
    known: dict[str, object] = {name: document[name] for name in ("client", "account") if name in document}
    return encode(with_tokens(known, tokens, owner))


def _lineage(value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(
        item for item in items[:LINEAGE] if isinstance(item, str) and len(item) < 100 and item.isascii()
    )


def _expiry(value: object) -> datetime | None:
    """Return when a token expires: `LATEST` without a value, None for a value that is no time."""
    if value is None or value == "":
        return LATEST
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    with contextlib.suppress(ValueError, OverflowError):
        return moment(float(value))
    with contextlib.suppress(ValueError, OverflowError):
        expires_at = datetime.fromisoformat(str(value))
        return None if expires_at.tzinfo is None else expires_at.astimezone(UTC)
    return None
