"""Whether two token sets belong to the same user, as far as their values show."""

from __future__ import annotations

import base64
import json
from typing import cast

from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import TokenStoreError


_WHAT_TO_DO = (
    "To use tokens=, empty the store first (await store.clear(), or `ezeep logout --forget`), or give the session another "
    "store. To use the stored token set, leave tokens= out"
)


def check_same_identity(store: TokenStore, stored: TokenSet, given: TokenSet, log: Log = logger) -> None:
    """Report that `tokens=` is not used, unless the stored token set is the same one or a successor of it.

    Raises `TokenStoreError` if both are JWTs of different subjects. Logs a warning if the users are not known.
    """
    same = is_same_identity(stored, given)
    name = type(store).__name__
    if same is False:
        raise TokenStoreError(
            f"tokens= belongs to another user than the token set in the {name} (their subjects differ). {_WHAT_TO_DO}"
        )
    if same is None:
        log.warning(
            "tokens= was not used: the %s already holds another token set, perhaps of another user, and the session uses "
            "that one. %s",
            name,
            _WHAT_TO_DO,
        )


def is_same_identity(stored: TokenSet, given: TokenSet) -> bool | None:
    """True if one is the other or its successor. Else whether their subjects are equal, None if those are unknown."""
    if stored.access_token and stored.access_token == given.access_token:
        return True
    if given.mark in (stored.mark, *stored.lineage) or stored.mark in given.lineage:
        return True
    ours, theirs = _subject(stored.access_token), _subject(given.access_token)
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return None
    return ours[1] == theirs[1]


def _subject(token: str) -> tuple[str, str] | None:
    """Issuer and subject of a JWT (RFC 7519 section 4.1), unverified. None if it is not a JWT with a subject."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    values = cast("dict[str, object]", claims)
    subject = values.get("sub")
    if not isinstance(subject, str | int) or subject == "":
        return None
    return str(values.get("iss")), str(subject)
