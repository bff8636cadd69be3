"""The token set that a session has in memory, and whether it is newer than the stored one."""

from __future__ import annotations

from collections import deque

from ezeep_async._text.redaction import Secret
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.logs import Log
from ezeep_async.auth.tokens import DEFAULT_LIFETIME, TokenSet


REPLACED_TOKENS = 32
"""Replaced refresh tokens that are remembered."""
SAVE_AGAIN_AFTER_S = 1.0
"""Seconds between two attempts to store a token set that could not be stored."""


class CurrentTokens:
    """The token set in memory, and when its access token expires."""

    def __init__(self, clock: Clock, leeway: float) -> None:
        self.tokens: TokenSet | None = None
        self._clock = clock
        self._leeway = leeway
        self._refresh_at = float("-inf")

    @property
    def is_fresh(self) -> bool:
        """Whether the access token can be used without a refresh."""
        return self.due_in() > 0

    def due_in(self, share: float = 0.0) -> float:
        """Seconds until `share` (0 to 1) of the leeway has passed; minus infinity without a token set."""
        leeway = 0.0 if self.tokens is None else self.leeway_of(self.tokens)
        return self._refresh_at + share * leeway - self._clock.monotonic()

    def put(self, tokens: TokenSet, *, issued_now: bool = False) -> None:
        """Replace the token set."""
        left = (tokens.expires_in or DEFAULT_LIFETIME) if issued_now else self.life_left(tokens)
        self.tokens = tokens
        # Monotonic time from here on: a change of the system clock does not change the lifetime of the token.
        self._refresh_at = self._clock.monotonic() + left - self.leeway_of(tokens)

    def clear(self) -> None:
        """Forget the token set."""
        self.tokens = None
        self.expire()

    def expire(self) -> None:
        """Let the next call refresh the token set, or load it from the store."""
        self._refresh_at = float("-inf")

    def life_left(self, tokens: TokenSet) -> float:
        """Seconds until the access token of `tokens` expires."""
        if tokens == self.tokens:
            return self.due_in(1.0)
        left = (tokens.expires_at - self._clock.now()).total_seconds()
        # A system clock that was set back must not give a token a longer life than it was issued with.
        return left if tokens.expires_in is None else min(left, tokens.expires_in)

    def leeway_of(self, tokens: TokenSet) -> float:
        """Seconds before its expiry at which the access token is refreshed."""
        return min(self._leeway, (tokens.expires_in or DEFAULT_LIFETIME) / 5)


class Succession:
    """Decides whether the stored token set or the one in memory is the newer one."""

    def __init__(self, clock: Clock) -> None:
        self.is_unsaved = False
        """Whether the token set in memory is newer than the stored one, and has to be stored."""
        self._clock = clock
        self._still_stored: str | None = None
        """The refresh token that the store has while the token set in memory is unsaved."""
        # If the store has one of these again, it went back: a replica without the last write, or a restored backup.
        self._replaced: deque[str] = deque(maxlen=REPLACED_TOKENS)
        self._save_at = 0.0

    def replace(self, new: TokenSet, stored: TokenSet | None, ours: TokenSet | None) -> None:
        """Record that `new` replaces the stored token set and the one in memory."""
        self._still_stored = None if stored is None else stored.refresh_token
        for old in (stored, ours):
            if (
                old is not None
                and old.refresh_token != new.refresh_token
                and old.refresh_token not in self._replaced
            ):
                self._replaced.append(old.refresh_token)

    def newest(self, stored: TokenSet | None, ours: TokenSet | None, log: Log) -> TokenSet | None:
        """Return the newer one, and record whether it has to be stored.

        That is the stored one, unless ours replaced it and could not be stored, or was stored and is gone again.
        """
        token = None if stored is None else Secret(stored.refresh_token)
        if ours is None:
            return stored
        if self.is_unsaved and self._still_stored == token:
            return ours
        if token and token != ours.refresh_token and token in self._replaced:
            if not self.is_unsaved:
                log.warning(
                    "the token store went back to a token set that was replaced: storing the newer one again"
                )
            self.is_unsaved, self._still_stored = True, token
            return ours
        self.is_unsaved = False  # another process logged in or out meanwhile
        return stored

    def save_failed(self) -> None:
        """Record that the token set in memory could not be stored."""
        self.is_unsaved = True
        self._save_at = self._clock.monotonic() + SAVE_AGAIN_AFTER_S

    def may_save_again(self) -> bool:
        """Whether it is time for another attempt; if so, it counts as begun."""
        if self._clock.monotonic() < self._save_at:
            return False
        self._save_at = self._clock.monotonic() + SAVE_AGAIN_AFTER_S
        return True
