"""The form in which a login is stored, wherever it is stored: a versioned JSON object that says whose it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
from datetime import UTC, datetime
from typing import cast

from ezeep_async.auth.tokens import TokenSet, seconds
from ezeep_async.errors import TokenStoreCorrupt, TokenStoreError
from ezeep_async.text import NotText, text_of


SCHEMA_VERSION = 1

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
        and access
        and isinstance(refresh, str)
        and isinstance(expires_at, int | float)
        and isinstance(scope, str)
        and isinstance(kind, str)
        and (expires_in is None or isinstance(expires_in, int | float))
    ):
        with contextlib.suppress(ValueError, OverflowError, OSError):
            f"{scope}{kind}".encode()  # half a character, which JSON can hold, could never be sent
            end = datetime.fromtimestamp(expires_at, UTC)
            return TokenSet(access, refresh, end, scope, kind, seconds(expires_in))
    raise TokenStoreCorrupt(f"{where} holds no usable login: move it away and log in again")


def with_tokens(document: dict[str, object], tokens: TokenSet, owner: Owner | None) -> dict[str, object]:
    """The object with another login in it. What else it holds stays."""
    return {
        **document,
        "version": SCHEMA_VERSION,
        "token": {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_at": tokens.expires_at.timestamp(),
            "expires_in": tokens.expires_in,
            "scope": tokens.scope,
            "token_type": tokens.token_type,
        },
        **({} if owner is None else {"client": owner[0], "account": owner[1]}),
    }
