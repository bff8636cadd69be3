"""What the server refuses for good, so that it is not asked for the same thing again by every call."""

from __future__ import annotations

import hashlib
import weakref

import attrs

from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import AuthenticationError, ReauthorizationRequired


MOST_REMEMBERED = 32
"""Refresh tokens; more of them than one store has had are not asked for."""
FIRST_PAUSE_S = 1.0
"""Seconds without another request after the first refusal that may pass. Doubled with each one that follows."""
LONGEST_PAUSE_S = 60.0
"""Seconds."""


@attrs.define
class _Pause:
    """No requests until a time. Longer with each refusal, and short again after a time without any."""

    until: float = float("-inf")
    count: int = 0

    def begin(self, now: float) -> None:
        self.count = 0 if now > self.until + LONGEST_PAUSE_S else self.count + 1
        self.until = now + min(FIRST_PAUSE_S * 2.0 ** min(self.count, 10), LONGEST_PAUSE_S)


@attrs.define(eq=False)
class Refusals:
    """The refresh tokens of one store that the server refused, and the access tokens that it refuses though they are new.

    By value: a store with another token set is never affected. Times are those of a steady clock.
    """

    _dead: dict[str, ReauthorizationRequired] = attrs.field(
        factory=dict[str, ReauthorizationRequired], repr=False
    )
    _refused: tuple[str, AuthenticationError] | None = attrs.field(default=None, repr=False)
    _until_refresh: _Pause = attrs.field(factory=_Pause)
    _useless: str | None = attrs.field(default=None, repr=False)
    _until_replacement: _Pause = attrs.field(factory=_Pause)

    def check(self, tokens: TokenSet, now: float) -> None:
        """Raise what the server said to this refresh token before, if presenting it again is of no use now."""
        if (dead := self._dead.get(_digest(tokens.refresh_token))) is not None:
            raise ReauthorizationRequired(
                f"{dead}. The server said so before, and is not asked again while the token store holds this token set",
                error=dead.error,
                status=dead.status,
                request_id=dead.request_id,
            )
        if self._refused is not None and now < self._until_refresh.until:
            digest, error = self._refused
            if digest == _digest(tokens.refresh_token):
                raise AuthenticationError(
                    f"{error}. The server said so just now, and is asked again in {self._until_refresh.until - now:.0f} s",
                    error=error.error,
                    status=error.status,
                    request_id=error.request_id,
                )

    def remember(self, tokens: TokenSet, error: AuthenticationError, now: float) -> None:
        """Keep what the server said to this refresh token."""
        error = type(error)(str(error), error=error.error, status=error.status, request_id=error.request_id)
        if isinstance(error, ReauthorizationRequired):
            self._dead[_digest(tokens.refresh_token)] = error
            while len(self._dead) > MOST_REMEMBERED:
                del self._dead[next(iter(self._dead))]
        else:
            self._refused = _digest(tokens.refresh_token), error
            self._until_refresh.begin(now)

    def is_useless(self, access_token: str, now: float) -> bool:
        """Whether this access token was issued because of a 401, was refused too, and another is not asked for yet."""
        return self._useless == _digest(access_token) and now < self._until_replacement.until

    def rejected_again(self, access_token: str, now: float) -> None:
        """Note a 401 to an access token that was issued because of a 401."""
        if self._useless != (digest := _digest(access_token)):  # once, however many calls had it
            self._useless = digest
            self._until_replacement.begin(now)


def _digest(token: str) -> str:
    """What is remembered of a token: this may live longer than the session."""
    return hashlib.sha256(token.encode()).hexdigest()


_of_stores: weakref.WeakKeyDictionary[TokenStore, Refusals] = weakref.WeakKeyDictionary()


def refusals_of(store: TokenStore) -> Refusals:
    """Those of a store: sessions that share it in this process share them."""
    try:
        return _of_stores.setdefault(store, Refusals())
    except TypeError:  # a store that cannot be referred to weakly, or has no hash
        return Refusals()
