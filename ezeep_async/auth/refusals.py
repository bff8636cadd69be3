"""Tokens that the server has refused, so that not every call sends them again."""

from __future__ import annotations

import hashlib
import weakref

import attrs

from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import AuthenticationError, ReauthorizationRequired


MAX_REVOKED_TOKENS = 32
"""Refresh tokens that are remembered for one store."""
FIRST_COOL_DOWN_S = 1.0
"""Seconds without another request after the first temporary refusal. Each further refusal doubles it."""
LONGEST_COOL_DOWN_S = 60.0
"""Limit of that doubling, in seconds. After as many seconds without a refusal it starts again."""


@attrs.define
class _CoolDown:
    """A time without requests."""

    until: float = float("-inf")
    count: int = 0

    def begin(self, now: float) -> None:
        self.count = 0 if now > self.until + LONGEST_COOL_DOWN_S else self.count + 1
        self.until = now + min(FIRST_COOL_DOWN_S * 2.0 ** min(self.count, 10), LONGEST_COOL_DOWN_S)


@attrs.define(eq=False)
class Refusals:
    """Refresh tokens of one store that the server refused, and the access token that it refused though it was new.

    Tokens are compared by value, so another token set in the store is not affected. `now` is monotonic time.
    """

    _revoked: dict[str, ReauthorizationRequired] = attrs.field(
        factory=dict[str, ReauthorizationRequired], repr=False
    )
    _refused: tuple[str, AuthenticationError] | None = attrs.field(default=None, repr=False)
    _until_refresh: _CoolDown = attrs.field(factory=_CoolDown)
    _useless: str | None = attrs.field(default=None, repr=False)
    _until_replacement: _CoolDown = attrs.field(factory=_CoolDown)

    def check(self, tokens: TokenSet, now: float) -> None:
        """Raise the earlier refusal of this refresh token, if it is final or its cool-down is not over."""
        if (error := self._revoked.get(_digest(tokens.refresh_token))) is not None:
            raise ReauthorizationRequired(
                f"{error}. The server refused it before. It is not sent again while the token store holds this token set",
                error=error.error,
                status=error.status,
                request_id=error.request_id,
            )
        if self._refused is not None and now < self._until_refresh.until:
            digest, refusal = self._refused
            if digest == _digest(tokens.refresh_token):
                raise AuthenticationError(
                    f"{refusal}. It is not sent again for {self._until_refresh.until - now:.0f} s",
                    error=refusal.error,
                    status=refusal.status,
                    request_id=refusal.request_id,
                )

    def remember(self, tokens: TokenSet, error: AuthenticationError, now: float) -> None:
        """Remember the refusal of this refresh token."""
        error = type(error)(str(error), error=error.error, status=error.status, request_id=error.request_id)
        if isinstance(error, ReauthorizationRequired):
            self._revoked[_digest(tokens.refresh_token)] = error
            while len(self._revoked) > MAX_REVOKED_TOKENS:
                del self._revoked[next(iter(self._revoked))]
        else:
            self._refused = _digest(tokens.refresh_token), error
            self._until_refresh.begin(now)

    def is_useless(self, access_token: str, now: float) -> bool:
        """Whether this access token replaced a rejected one, was rejected too, and its cool-down is not over."""
        return self._useless == _digest(access_token) and now < self._until_replacement.until

    def rejected_again(self, access_token: str, now: float) -> None:
        """Remember a 401 for an access token that was issued because of a 401."""
        if self._useless != (digest := _digest(access_token)):  # once, however many calls used it
            self._useless = digest
            self._until_replacement.begin(now)


def _digest(token: str) -> str:
    """A hash is kept instead of the token, because this lives longer than the session."""
    return hashlib.sha256(token.encode()).hexdigest()


_of_stores: weakref.WeakKeyDictionary[TokenStore, Refusals] = weakref.WeakKeyDictionary()


def refusals_of(store: TokenStore) -> Refusals:
    """The refusals of a store, shared by its sessions in this process."""
    try:
        return _of_stores.setdefault(store, Refusals())
    except TypeError:  # the store has no hash or no weak references
        return Refusals()
