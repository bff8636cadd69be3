"""Encrypted values for cookies of web apps: an authorization request on its way through a browser."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

from ezeep_async._text.redaction import clears_locals
from ezeep_async.errors import InvalidLoginCookie


if TYPE_CHECKING:
    from cryptography.fernet import Fernet

LONGEST_COOKIE = 3800
"""Characters. Browsers drop a cookie of more than 4096 bytes, with its name and attributes, without a report."""
_PURPOSE = b"ezeep_async AuthorizationRequest"
"""So that no other use of the app's secret has the same key (RFC 5869 section 3.2)."""


@clears_locals
def sealed(fields: dict[str, str | None], secret: str | bytes) -> str:
    """Encrypt the fields, with the current time. Raises `ValueError`, and `ImportError` without the extra."""
    value = _cipher(secret).encrypt(json.dumps(fields).encode()).decode()
    if len(value) > LONGEST_COOKIE:
        raise ValueError(
            f"the cookie would have {len(value)} characters, and browsers drop it: use a shorter state"
        )
    return value


@clears_locals
def unsealed(value: str | None, secret: str | bytes, max_age: float) -> dict[str, str | None]:
    """Decrypt the fields. Raises `InvalidLoginCookie`, `ValueError`, and `ImportError` without the extra."""
    cipher = _cipher(secret)
    if not max_age > 0:
        raise ValueError(f"max_age must be greater than 0 seconds, not {max_age!r}")
    if not value:
        raise InvalidLoginCookie(
            "the browser sent no login cookie: it blocks cookies, or the login was begun in another browser. Start again",
            error="no_cookie",
        )
    from cryptography.fernet import InvalidToken

    try:
        text = cipher.decrypt(value)
        begun = cipher.extract_timestamp(value)
    except (InvalidToken, ValueError, TypeError):
        text, begun = b"", 0
    if not text:
        raise InvalidLoginCookie(
            "the login cookie cannot be decrypted: it was changed, or written with another secret. Start again",
            error="invalid_cookie",
        )
    if time.time() - begun > max_age:
        raise InvalidLoginCookie(
            f"the login was begun more than {max_age:g} s ago: start again", error="expired_cookie"
        )
    fields: dict[str, str | None] = json.loads(text)  # written by `sealed`, as it has the key
    return fields


def _cipher(secret: str | bytes) -> Fernet:
    if not isinstance(secret, str | bytes) or not secret:
        raise ValueError("secret must be a str or bytes that is not empty, such as the SECRET_KEY of the app")
    try:
        from cryptography.fernet import Fernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise ImportError(
            "login cookies need the package cryptography: pip install 'ezeep_async[web]'"
        ) from error
    key = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(
        secret.encode() if isinstance(secret, str) else secret
    )
    return Fernet(base64.urlsafe_b64encode(key))
