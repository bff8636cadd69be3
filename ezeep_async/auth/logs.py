"""Log lines that name their token set: a process may use many."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import MutableMapping
from typing import Any, TypeAlias

from ezeep_async.auth.tokens import TokenSet, TokenStore


Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"

logger = logging.getLogger("ezeep_async.auth")


LONGEST_USER = 100
"""Characters of a user id in a log line."""


class _OfTokenSet(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, name: str) -> None:
        super().__init__(logger, None)
        self._name = name
        self.user = ""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        # Messages without a placeholder have no arguments, so logging does not format them.
        name = f"{self._name}{self.user}"
        if "%" in msg:
            name = name.replace("%", "%%")
        return f"{msg} ({name})", kwargs


def log_of(client_id: str, store: TokenStore) -> Log:
    """The log of one session: each line ends with the client id, the token store, and the user if that is known."""
    # Of stores from outside this package only the class: their repr may contain secrets.
    is_ours = type(store).__module__.startswith("ezeep_async.")
    return _OfTokenSet(f"client {client_id!r}, {repr(store) if is_ours else type(store).__name__}")


def name_user(log: Log, tokens: TokenSet | None) -> None:
    """From now on name the user of the token set, if its access token is a JWT."""
    if isinstance(log, _OfTokenSet):
        subject = None if tokens is None else subject_of(tokens.access_token)
        log.user = "" if subject is None else f", user {subject[1][:LONGEST_USER]!r}"


def subject_of(token: str) -> tuple[str, str] | None:
    """Issuer and subject of a JWT (RFC 7519 section 4.1), unverified. None if it is not a JWT with a subject."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))  # excess padding is ignored
        issuer, subject = claims.get("iss"), claims["sub"]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    return (str(issuer), str(subject)) if isinstance(subject, str | int) and subject != "" else None
