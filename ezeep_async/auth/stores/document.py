"""The form in which a login is stored, wherever it is stored: a versioned JSON object that says whose it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from typing import cast

from ezeep_async._text.redaction import Secret
from ezeep_async._text.text_files import NotText, text_of
from ezeep_async.auth.tokens import LINEAGE, TokenSet, moment, seconds, usable_text
from ezeep_async.errors import TokenPersistError, TokenStoreCorrupt, TokenStoreError


logger = logging.getLogger("ezeep_async.auth.stores")

SCHEMA_VERSION = 1
LARGEST_DOCUMENT = 1024 * 1024
"""Bytes; a login has about 500."""

Owner = tuple[str, str]
"""Whose login it is: the hash of the client id, and the account address."""


def owner_of(client_id: str, account: str) -> Owner:
    """The client id itself is not stored."""
    return hashlib.sha256(client_id.encode()).hexdigest()[:16], account


def parsed(text: str | bytes, where: str) -> dict[str, object]:
    """The stored object. Raises `TokenStoreCorrupt` for anything else, and shows nothing of it."""
    document, why = None, ""
    try:
        document = json.loads(text_of(text))
    except NotText as error:
        why = f" ({error})"
    except (ValueError, RecursionError):
        pass
    if not isinstance(document, dict):
        # No cause is chained: the parser's error carries the text, and the text may hold a token.
        raise TokenStoreCorrupt(f"{where} is not a stored login{why}: move it away and log in again")
    return cast("dict[str, object]", document)


def check(document: dict[str, object], owner: Owner | None, where: str) -> None:
    """Raise `TokenStoreCorrupt` for another version, `TokenStoreError` for the login of somebody else."""
    if document.get("version") != SCHEMA_VERSION:
        raise TokenStoreCorrupt(f"{where} has not version {SCHEMA_VERSION}, the one that is understood here")
    if owner is None:
        return
    client, account = owner
    if document.get("client") not in (None, client):
        raise TokenStoreError(f"{where} holds the login of another client id")
    if document.get("account") not in (None, account):
        raise TokenStoreError(f"{where} holds a login at {document.get('account')}, not at {account}")


def tokens_in(document: dict[str, object], where: str) -> TokenSet:
    """The login in the object. Raises `TokenStoreCorrupt` when there is none."""
    token = document.get("token")
    values = cast("dict[str, object]", token) if isinstance(token, dict) else {}
    access, refresh, expires_at = (
        values.get(name) for name in ("access_token", "refresh_token", "expires_at")
    )
    expires_in = values.get("expires_in")
    scope, kind = values.get("scope", "printing"), values.get("token_type", "Bearer")
    if (
        isinstance(access, str)
        and isinstance(refresh, str)
        and (access or refresh)
        and isinstance(expires_at, int | float)
        and isinstance(scope, str)
        and isinstance(kind, str)
        and (expires_in is None or isinstance(expires_in, int | float))
    ):
        with contextlib.suppress(ValueError, OverflowError):
            return TokenSet(
                access,
                refresh,
                moment(expires_at),
                # A text that could not be sent is no reason to lose the tokens.
                "printing" if usable_text(scope) is None else scope,
                "Bearer" if usable_text(kind) is None else kind,
                seconds(expires_in),
                lineage=_texts(values.get("lineage")),
            )
    raise TokenStoreCorrupt(f"{where} holds no usable login: move it away and log in again")


def with_tokens(document: dict[str, object], tokens: TokenSet, owner: Owner | None) -> dict[str, object]:
    """The object with another login in it. What else it holds stays."""
    return {
        **document,
        "version": SCHEMA_VERSION,
        "token": {
            "access_token": Secret(tokens.access_token),
            "refresh_token": Secret(tokens.refresh_token),
            "expires_at": tokens.expires_at.timestamp(),
            "expires_in": tokens.expires_in,
            "scope": tokens.scope,
            "token_type": tokens.token_type,
            **({"lineage": list(tokens.lineage)} if tokens.lineage else {}),
        },
        **({} if owner is None else {"client": owner[0], "account": owner[1]}),
    }


def as_text(
    document: dict[str, object], tokens: TokenSet, owner: Owner | None, *, indent: int | None = None
) -> str:
    """`with_tokens` as JSON, in ASCII. What else the object holds is left out where it makes it too large to be read.

    Raises `TokenPersistError` for a token set without tokens, which would not be read either.
    """
    if not tokens.access_token and not tokens.refresh_token:
        raise TokenPersistError(
            "a token set without an access token and without a refresh token is not stored"
        )
    separators = (",", ":") if indent is None else None
    with contextlib.suppress(RecursionError):
        text = json.dumps(with_tokens(document, tokens, owner), indent=indent, separators=separators)
        if len(text) <= LARGEST_DOCUMENT:
            return text
    logger.warning("what else is stored beside the token set is too large or too deep, and is not kept")
    own: dict[str, object] = {name: document[name] for name in ("client", "account") if name in document}
    return json.dumps(with_tokens(own, tokens, owner), indent=indent, separators=separators)


def _texts(value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(
        item for item in items[:LINEAGE] if isinstance(item, str) and len(item) < 100 and item.isascii()
    )
