"""Encrypted values for cookies of web apps: an authorization request on its way through a browser."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ezeep_async._text.redaction import clears_locals
from ezeep_async.errors import InvalidLoginCookie


if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

CookieSecret = str | bytes | Sequence[str | bytes]
"""A secret of the app, or several: the first one encrypts, all of them decrypt."""
LONGEST_COOKIE = 3800
"""Characters. Browsers drop a cookie of more than 4096 bytes, with its name and attributes, without a report."""
LARGEST_CLOCK_DIFFERENCE_S = 60
"""Seconds by which the clocks of the app's hosts may differ. A cookie from later than that would live too long."""
_PURPOSE = b"ezeep_async AuthorizationRequest"
"""So that no other use of the app's secret has the same key (RFC 5869 section 3.2)."""


@clears_locals
def sealed(fields: dict[str, str | None], secret: CookieSecret) -> str:
    """Encrypt the fields, with the current time. Raises `ValueError`, and `ImportError` without the extra."""
    value = _cipher(secret).encrypt(json.dumps(fields).encode()).decode()
    if len(value) > LONGEST_COOKIE:
        raise ValueError(
            f"the cookie would have {len(value)} characters, and browsers drop it: use a shorter state"
        )
    return value


@clears_locals
def unsealed(value: str | None, secret: CookieSecret, max_age: float) -> dict[str, str | None]:
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
    age = time.time() - begun
    if age < -LARGEST_CLOCK_DIFFERENCE_S:
        raise InvalidLoginCookie(
            f"the login cookie was written {-age:.0f} s in the future: the clocks of the app's hosts differ. Start again",
            error="invalid_cookie",
        )
    if age > max_age:
        raise InvalidLoginCookie(
            f"the login was begun more than {max_age:g} s ago: start again", error="expired_cookie"
        )
    fields: dict[str, str | None] = json.loads(text)  # written by `sealed`, as it has the key
    return fields


def _cipher(secret: CookieSecret) -> MultiFernet:
    several: Sequence[Any] = secret if isinstance(secret, list | tuple) else [secret]
    if not several or not all(isinstance(each, str | bytes) and each for each in several):
        raise ValueError(
            "secret must be a str or bytes that is not empty, such as the SECRET_KEY of the app, or a list of them"
        )
    try:
        from cryptography.fernet import Fernet, MultiFernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise ImportError(
            "login cookies need the package cryptography: pip install 'ezeep_async[web]'"
        ) from error

    def key(secret: str | bytes) -> bytes:
        material = secret.encode() if isinstance(secret, str) else secret
        return base64.urlsafe_b64encode(HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(material))

    return MultiFernet([Fernet(key(each)) for each in several])
