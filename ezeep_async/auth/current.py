"""The token set that a session has in memory, whether it is newer than the stored one, and whose it is."""

from __future__ import annotations

from ezeep_async._text.redaction import Secret
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.logs import Log
from ezeep_async.auth.logs import subject_of as _subject
from ezeep_async.auth.tokens import DEFAULT_LIFETIME, TokenSet, TokenStore
from ezeep_async.errors import TokenStoreError


REPLACED_TOKENS = 32
"""Replaced refresh tokens that are remembered."""
CLOCK_TOLERANCE_S = 60.0
"""Seconds by which the clocks of two processes may differ before the age of a token set counts as unknown."""
SAVE_AGAIN_AFTER_S = 1.0
"""Seconds between two attempts to store a token set that could not be stored."""
_WHAT_TO_DO = (
    "To use tokens=, empty the store first (await store.clear(), or `ezeep logout --forget`), or give the session another "
    "store. To use the stored token set, leave tokens= out"
)


class CurrentTokens:
    """The token set in memory: when its access token expires, and whether it is newer than the stored one."""

    def __init__(self, clock: Clock, leeway: float) -> None:
        self.tokens: TokenSet | None = None
        self.is_unsaved = False
        """Whether the token set in memory is newer than the stored one, and has to be stored."""
        self._clock = clock
        self._leeway = leeway
        self._refresh_at = float("-inf")
        self._save_at = float("-inf")
        self._still_stored: str | None = None
        """The refresh token that the store has while the token set in memory is unsaved."""
        # If the store has one of these again, it went back: a replica without the last write, or a restored backup.
        # No deque: an empty one has 760 bytes, and a process may have thousands of sessions.
        self._replaced: tuple[str, ...] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether the access token can be used without a refresh."""
        return self._clock.monotonic() < self._refresh_at

    def due_in(self, share: float = 0.0) -> float:
        """Seconds until the refresh is due (`share` 0), until expiry (1), or between; minus infinity without tokens."""
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
        self.tokens, self.is_unsaved = None, False
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

    def age_of(self, tokens: TokenSet) -> float:
        """Seconds since `tokens` was issued; infinite if that is unknown, or if its login has ended."""
        lifetime, left = tokens.expires_in or DEFAULT_LIFETIME, self.life_left(tokens)
        if tokens != self.tokens:
            left = (tokens.expires_at - self._clock.now()).total_seconds()
        # With more left than its lifetime, it was issued by a clock that was set back since.
        return float("inf") if tokens.ended or left > lifetime + CLOCK_TOLERANCE_S else lifetime - left

    def leeway_of(self, tokens: TokenSet) -> float:
        """Seconds before its expiry at which the access token is refreshed."""
        return min(self._leeway, (tokens.expires_in or DEFAULT_LIFETIME) / 5)

    def will_replace(self, new: TokenSet, stored: TokenSet | None) -> None:
        """Record that `new` replaces the stored token set and the one in memory. Call it before `put(new)`."""
        self._still_stored = None if stored is None else stored.refresh_token
        for old in (stored, self.tokens):
            if old and old.refresh_token not in {new.refresh_token, *self._replaced}:
                self._replaced = (*self._replaced, old.refresh_token)[-REPLACED_TOKENS:]

    def newest(self, stored: TokenSet | None, log: Log) -> TokenSet | None:
        """Return the newer token set, and record whether it has to be stored.

        That is the stored one, with two exceptions:

        - Ours could not be stored, and the store still has what ours replaced, which may be nothing.
        - The store went back to a token set that ours replaced.

        An empty store means otherwise that another process logged out.
        """
        if self.tokens is None:
            return stored
        token = None if stored is None else Secret(stored.refresh_token)
        if self.is_unsaved and self._still_stored == token:
            return self.tokens
        if not token or token == self.tokens.refresh_token or token not in self._replaced:
            self.is_unsaved = False  # another process logged in or out meanwhile
            if stored is not None and _is_same_user(stored, self.tokens) is False:
                log.warning(
                    "another user has logged in to the token store: the session continues as that user"
                )
            return stored
        if not self.is_unsaved:
            log.warning(
                "the token store went back to a token set that was replaced: storing the newer one again"
            )
        self.is_unsaved, self._still_stored = True, token
        return self.tokens

    def save_failed(self) -> None:
        """Record that the token set in memory could not be stored."""
        self.is_unsaved = True
        self._save_at = self._clock.monotonic() + SAVE_AGAIN_AFTER_S

    def must_save_again(self) -> bool:
        """Whether it is time for another attempt to store it; if so, that counts as begun."""
        if not self.is_unsaved or self._clock.monotonic() < self._save_at:
            return False
        self.save_failed()
        return True


def check_same_identity(store: TokenStore, stored: TokenSet, given: TokenSet, log: Log) -> bool:
    """Return whether `tokens=` replaces the stored token set, because the login of that has ended.

    Raises or logs that `tokens=` is not used, unless the stored token set is the same one or a successor of it.
    """
    if stored.access_token and stored.access_token == given.access_token:
        return False
    if given.mark in (stored.mark, *stored.lineage):
        return False
    if stored.mark in given.lineage:
        return stored.ended
    name, is_same = type(store).__name__, _is_same_user(stored, given)
    if stored.ended and is_same is not False:
        if is_same is None:
            log.warning("tokens= replaces a login in the %s that has ended, perhaps of another user", name)
        return True
    if is_same is None:
        log.warning(
            "tokens= was not used: the %s already holds another token set, perhaps of another user, and the session uses "
            "that one. %s",
            name,
            _WHAT_TO_DO,
        )
    elif not is_same:
        raise TokenStoreError(
            f"tokens= belongs to another user than the token set in the {name} (their subjects differ). {_WHAT_TO_DO}"
        )
    return False


def check_adopted(store: TokenStore, stored: TokenSet | None, given: TokenSet) -> tuple[TokenSet, bool]:
    """Return which of the two a store keeps when a person has logged in again, and whether they may be of two users.

    That is `given`, unless it is not newer. Raises `TokenStoreError` if they belong to two users.
    """
    if stored is None:
        return given, False
    if given.mark in stored.lineage or (given.mark == stored.mark and given.expires_at <= stored.expires_at):
        return stored, False
    if given.mark == stored.mark or stored.mark in given.lineage:
        return given, False
    is_same = _is_same_user(stored, given)
    if is_same is False:
        raise TokenStoreError(
            f"the new token set belongs to another user than the one in the {type(store).__name__} (their subjects differ), "
            "which was kept. Delete that one first (await pool.drop(key)), or use another key"
        )
    return given, is_same is None


def _is_same_user(one: TokenSet, other: TokenSet) -> bool | None:
    """Whether two token sets belong to one user. None if they do not name it, or are of two issuers."""
    first, second = _subject(one.access_token), _subject(other.access_token)
    return None if first is None or second is None or first[0] != second[0] else first == second
