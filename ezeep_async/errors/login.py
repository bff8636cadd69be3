"""Errors of logging in, of tokens and of their stores."""

from __future__ import annotations

from ezeep_async.errors.base import EzeepError


class AuthenticationError(EzeepError):
    """The server rejected the credentials, such as a wrong client secret, or the session has none.

    Attributes:
        error: Error code of the server, such as `invalid_client` (RFC 6749 section 5.2), or None.
        status: HTTP status code, or None if there was no response.
    """

    def __init__(
        self,
        message: str,
        *,
        error: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.error = error
        self.status = status


class ReauthorizationRequired(AuthenticationError):
    """A person must log in again: the server rejected the refresh token, or the token store is empty."""


class TransientAuthError(AuthenticationError):
    """The token refresh failed for now: no response, a server error or a rate limit. The token set is not lost."""

    retryable = True


class AuthorizationDenied(AuthenticationError):
    """The person or the server declined the login (RFC 6749 section 4.1.2.1). Start a new login."""


class StateMismatch(AuthorizationDenied):
    """The redirect does not match the authorization request: it is forged or replayed (RFC 6749 section 10.12)."""


class InvalidLoginCookie(AuthorizationDenied):
    """The cookie with the authorization request is missing, too old, or was changed. Start a new login."""


class PairingTimeout(AuthenticationError, TimeoutError):
    """The pairing was not confirmed before its code expired. Start a new one."""


class TokenStoreError(EzeepError):
    """The token store cannot be read or written. The message names the cause, such as a path or its permissions."""


class TokenStoreCorrupt(TokenStoreError):
    """The stored token set cannot be decoded. Restore it from a backup, or remove it and log in again."""


class TokenPersistError(TokenStoreError):
    """A new token set was issued but could not be saved.

    The session continues with it, but other processes cannot read it. Correct the store, and call again or close the
    session: both save it again.
    """


# --- error responses -------------------------------------------------------------------------------------------------
