"""Encryption of a stored token set (package cryptography)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Cipher(Protocol):
    """The methods of `Fernet` that are used."""

    def encrypt(self, msg: bytes) -> bytes: ...
    def decrypt(self, msg: bytes) -> bytes: ...


def cipher(keys: str | bytes | Sequence[str | bytes]) -> Cipher:
    """Return a cipher that encrypts with the first key and decrypts with any. Raises `ValueError`, `ImportError`."""
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ImportError(
            "encryption_key needs the package cryptography: pip install 'ezeep_async[redis]'"
        ) from error
    try:
        return MultiFernet([Fernet(key) for key in ([keys] if isinstance(keys, str | bytes) else keys)])
    except ValueError:
        raise ValueError(
            "encryption_key is not a Fernet key: create one with cryptography.fernet.Fernet.generate_key()"
        ) from None
