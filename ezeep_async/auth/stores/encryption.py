"""Optional encryption of a stored token set, the same in the stores that have an `encryption_key`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ezeep_async._text.redaction import clears_locals
from ezeep_async.errors import TokenStoreCorrupt


if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

EncryptionKey = str | bytes | Sequence[str | bytes]
"""One Fernet key, or several: the first one encrypts, all of them decrypt."""


_PREFIX = b"gAAAA"
"""The version of Fernet and the first bytes of its time stamp, in base64 (until the year 2106)."""


def is_encrypted(text: str | bytes) -> bool:
    """Whether the text is encrypted. A token set that is not encrypted is a JSON object."""
    return (text if isinstance(text, bytes) else text.encode()).startswith(_PREFIX)


class Cipher:
    """Encrypts and decrypts documents with Fernet keys."""

    @clears_locals
    def __init__(self, keys: EncryptionKey, extra: str) -> None:
        """Raise `TypeError` or `ValueError` for another key, `ImportError` without the package, which `extra` installs."""
        try:
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError as error:
            raise ImportError(
                f"encryption_key needs the package cryptography: pip install 'ezeep_async[{extra}]'"
            ) from error
        try:
            self._keys: MultiFernet = MultiFernet(
                [Fernet(key) for key in ([keys] if isinstance(keys, str | bytes) else keys)]
            )
        except TypeError:
            raise TypeError(
                "encryption_key must be a Fernet key, a str or bytes, or a list of them"
            ) from None
        except ValueError:
            raise ValueError(
                "encryption_key is not a Fernet key: create one with cryptography.fernet.Fernet.generate_key()"
            ) from None

    def encrypted(self, text: str) -> str:
        """Return the text encrypted with the first key, in ASCII."""
        return self._keys.encrypt(text.encode()).decode()

    def decrypted(self, text: str | bytes, place: str) -> str:
        """Return the text. Raises `TokenStoreCorrupt`, which names `place`, if it has another key or none."""
        from cryptography.fernet import InvalidToken

        try:
            return self._keys.decrypt(text.strip()).decode()
        except (InvalidToken, ValueError, TypeError):
            raise TokenStoreCorrupt(
                f"{place} cannot be decrypted: it was stored with another encryption_key, without one, or is damaged. "
                "Pass its key too, or move it away and log in again"
            ) from None
