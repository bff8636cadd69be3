"""`TokenSet`, the `TokenStore` protocol, and the store in memory."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, Self, runtime_checkable

import attrs

from ezeep_async._text.redaction import clears_arguments, clears_locals
from ezeep_async.errors import EzeepError, TokenStoreError


STORE_METHODS = ("load", "save", "clear", "lock", "check_writable")
"""Methods that every `TokenStore` has."""
DEFAULT_LIFETIME = 3600.0
"""Assumed lifetime in seconds of an access token whose response has no `expires_in` (docs/ezeep-api.md#oauth2)."""
LONGEST_TOKEN = 65536
"""Characters. No known server accepts longer ones in a header, and token stores have limits."""
LONGEST_TEXT = 4096
"""Characters of a scope or a token type."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Latest `expires_at`: a later one could not be stored or read on every system."""
_END_OF_TIME = 253402300800.0
CLIENT_CREDENTIALS = "client_credentials"
"""`TokenSet.grant` of a partner app (RFC 6749 section 4.4)."""
LINEAGE = 8
"""Length of `TokenSet.lineage`."""


def fingerprint(secret: str) -> str:
    """A short hash that distinguishes one secret from another and does not reveal it."""
    return "~" + hashlib.sha256(secret.encode()).hexdigest()[:8]


def _utc(value: datetime) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"expires_at must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            "expires_at must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)"
        )
    # Compare before the conversion: astimezone() overflows near the limits of datetime.
    return LATEST if value >= LATEST else EPOCH if value <= EPOCH else value.astimezone(UTC)


def moment(value: float) -> datetime:
    """Like `datetime.fromtimestamp(value, UTC)`, on every system. Raises `ValueError`, `OverflowError`."""
    # A float in the last second of the year 9999 may round up to the year 10000.
    return _utc(EPOCH + timedelta(seconds=value if value < _END_OF_TIME else value - 1))


def _token_problem(value: str) -> str | None:
    """What is wrong with a token, which is visible ASCII (RFC 6749 appendix A)."""
    if len(value) > LONGEST_TOKEN:
        return f"{len(value)} characters: {LONGEST_TOKEN} at most"
    if value.casefold().startswith("bearer "):
        return "the scheme 'Bearer': pass the token alone"
    return None if value.isascii() and value.isprintable() else "characters that are not visible ASCII"


def _text_problem(value: str) -> str | None:
    if len(value) <= LONGEST_TEXT and value.isprintable():
        return None
    return f"characters that are not printable, or more than {LONGEST_TEXT}, and cannot be stored"


def usable_text(value: object) -> str | None:
    """Return a scope or a token type unchanged, None if it cannot be sent or stored."""
    return value if isinstance(value, str) and _text_problem(value) is None else None


def usable_token(value: object) -> str | None:
    """Return a token of a response, without a line break after it or a scheme before it. None if it is not a token."""
    token = value.strip("\r\n\t") if isinstance(value, str) else ""
    while token.casefold().startswith("bearer "):
        token = token[len("bearer ") :]
    return token if token and _token_problem(token) is None else None


def seconds(value: object) -> float | None:
    """Parse `expires_in`: a number, or a number in a string. None for anything else, and above ten years."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 < number < 10 * 365 * 86400 else None


def _without(
    problem_of: Callable[[str], str | None],
) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        # The message never contains the value: it may be secret.
        if not isinstance(value, str):
            raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
        if (problem := problem_of(value)) is not None:
            raise ValueError(f"{attribute.name} has {problem}")

    return validate


def _lineage(value: Iterable[str] | None) -> tuple[str, ...]:
    """Third-party stores may give a list, or None from a row that is older than the column."""
    if isinstance(value, str):
        raise TypeError("lineage must be a tuple of str, not a str")
    marks = () if value is None else tuple(value)
    if not all(isinstance(mark, str) for mark in marks):
        raise TypeError("lineage must be a tuple of str")
    return marks


@clears_arguments
@attrs.frozen
class TokenSet:
    """The tokens of one user. The repr shows fingerprints instead of the two tokens.

    Args:
        access_token: Sent with every call; visible ASCII, at most 65536 characters. Empty if there is only the other one.
        refresh_token: Exchanged for the next token set; the same characters. Empty if there is none.
        expires_at: When the access token expires; an aware datetime.
        scope: OAuth scopes, separated by spaces; at most 4096 printable characters.
        token_type: As in the response of the token endpoint.
        expires_in: Lifetime of the access token when it was issued, in seconds. None for unknown or unusable values.
        lineage: Fingerprints of earlier token sets. Keep it with the other fields.
        grant: `"client_credentials"` for a token set that is requested again with the client's secret when it expires;
            empty for one of a person. Keep it with the other fields.
        ended: Whether the server refused the refresh token: a person has to log in again.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A token has characters other than visible ASCII, or `expires_at` has no time zone.
    """

    access_token: str = attrs.field(repr=fingerprint, validator=_without(_token_problem))
    refresh_token: str = attrs.field(repr=fingerprint, validator=_without(_token_problem))
    """Works once: the response to its use contains the next one."""
    expires_at: datetime = attrs.field(converter=_utc)
    """When the access token expires, in UTC."""
    scope: str = attrs.field(default="printing", validator=_without(_text_problem))
    token_type: str = attrs.field(default="Bearer", validator=_without(_text_problem))
    expires_in: float | None = attrs.field(default=None, converter=seconds)
    """Lifetime of the access token when it was issued, in seconds; None if unknown."""
    lineage: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False, kw_only=True, converter=_lineage)
    """Fingerprints of refresh tokens that this set replaced: the first one and the latest ones."""
    grant: str = attrs.field(default="", kw_only=True, validator=_without(_text_problem))
    """How the next token set is got: `"client_credentials"`, or empty for the refresh token."""
    ended: bool = attrs.field(default=False, eq=False, repr=False, kw_only=True, converter=bool)
    """Whether the server refused the refresh token. It is not sent again; the access token is used until it expires."""

    @property
    def mark(self) -> str:
        """The fingerprint of this set in the `lineage` of its successors."""
        return fingerprint(self.refresh_token or self.access_token)

    @classmethod
    @clears_locals
    def from_response(
        cls,
        response: Mapping[str, object],
        now: datetime | None = None,
        *,
        previous: TokenSet | None = None,
        requested_scope: str = "printing",
    ) -> Self:
        """Create a token set from a response of the token endpoint.

        A value that cannot be used counts as absent.

        Args:
            response: The decoded JSON object.
            now: When the response arrived; the current time by default.
            previous: The token set that this one replaces. Its refresh token is kept if the response has none, its scope
                if the response has none or an empty one, as after a refresh at ezeep.
            requested_scope: The scope for a response that has none or an empty one, if there is no `previous`: that of
                the request (RFC 6749 section 5.1).

        Returns:
            The new token set.

        Raises:
            ValueError: The response has no usable access token.

        Note:
            RFC 6749 section 5.1.
        """
        access = usable_token(response.get("access_token"))
        if access is None:
            given = "no" if not response.get("access_token") else "an unusable"
            raise ValueError(f"the response of the token endpoint has {given} access_token")
        refresh = usable_token(response.get("refresh_token"))
        scope = usable_text(response.get("scope"))
        expires_in = seconds(response.get("expires_in"))
        lifetime = timedelta(seconds=expires_in or DEFAULT_LIFETIME)
        begin = datetime.now(UTC) if now is None else now
        new = cls(
            access_token=access,
            refresh_token=refresh or (previous.refresh_token if previous else ""),
            expires_at=begin + lifetime if begin.year < LATEST.year - 100 else LATEST,
            scope=scope or (previous.scope if previous else requested_scope),
            token_type=usable_text(response.get("token_type")) or "Bearer",
            expires_in=expires_in,
            grant=previous.grant if previous else "",
        )
        return new if previous is None else attrs.evolve(new, lineage=_lineage_after(previous, new))


def _lineage_after(previous: TokenSet, new: TokenSet) -> tuple[str, ...]:
    if previous.mark == new.mark:
        return previous.lineage
    marks = (*previous.lineage, previous.mark)
    return marks if len(marks) <= LINEAGE else (marks[0], *marks[1 - LINEAGE :])


@runtime_checkable
class TokenStore(Protocol):
    """Where a token set is kept. A store holds one token set; sessions and processes that share the store share it.

    `lock()` guards a whole refresh: everything that may refresh the same token set must acquire it, in this process and
    in others. `load` and `save` are called with the lock held. All methods run on the event loop and must not block it.

    A store that keeps the fields of a token set one by one must keep `lineage` and `grant` too. Without `lineage`, a session
    with `tokens=` cannot recognize their successor and logs a warning at each start. Without `grant`, a partner app has to
    call `login_with_client_credentials` again whenever its token expires. Without `ended`, each process sends a refresh token
    that the server has refused once more.

    Optional methods:

    - `bind(client_id, account)` is called with the client id and the account address when a session opens. It raises
      `TokenStoreError` if the token set belongs to another client.
    - `async is_unused()` is called without the lock, for stores whose lock creates a file or a folder. It returns true if
      there is no token set and nothing was created yet.
    - `async begin_refresh()`, `async end_refresh()` and `async is_still_locked()`, for stores whose lock has a lease, so that
      a live holder can lose it: see `LeasedStore`. All are called with the lock held.
    - `is_lock_kept`, true for stores whose lock ends with its process and not before: a session that could not store a token
      set holds the lock on, so that no other process sends the used refresh token. Another task may release it.
    - `shared_locks() -> SharedLocks`, for locks for changing one user and for creating groups, shared by all processes
      that share the store, and best by all logins in one database or on one server: their names contain ids that are
      unique everywhere, and two logins of one organization change the same users. A session calls it once, before its first write that needs a lock. Without it, changes of one
      user's groups from several processes may undo each other.
    """

    async def load(self) -> TokenSet | None:
        """Load the token set.

        Returns:
            The stored token set, None if there is none.

        Raises:
            TokenStoreCorrupt: It cannot be decoded.
            TokenStoreError: The store cannot be read.
        """
        ...

    async def save(self, tokens: TokenSet, /) -> None:
        """Store the token set so that it survives a crash right after the return.

        Args:
            tokens: The token set. It replaces the stored one.

        Raises:
            TokenStoreError: It was not stored.
        """
        ...

    async def clear(self) -> None:
        """Delete the stored token set.

        Raises:
            TokenStoreError: It was not deleted.
        """
        ...

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Hold the exclusive lock of the token set.

        Returns:
            A context manager. Entering it waits for the lock, and raises `TokenStoreError` after a timeout of the store.
        """
        ...

    async def check_writable(self) -> None:
        """Check that `save` can store a token set now. Called before a refresh token is used up.

        Raises:
            TokenStoreError: It cannot.
        """
        ...


EarlierHolder = Literal["suspended", "gone"]
"""State of an earlier holder of the lock that began to refresh this token set and has not stored a new one.

"suspended": it may still store one. "gone": it cannot.
"""


@runtime_checkable
class LeasedStore(Protocol):
    """A store whose lock has a lease, so a live holder can lose it. The methods are called with the lock held."""

    async def begin_refresh(self) -> EarlierHolder | None:
        """Record that the loaded token set is being refreshed, until one is stored, `end_refresh` or a time of the store.

        The release of the lock keeps the record: if `save` has failed, the stored refresh token is used up.

        Returns:
            The state of an earlier holder with such a record, None if there is none. While it is "suspended", nothing
            is recorded for the caller.
        """
        ...

    async def end_refresh(self) -> None:
        """Remove the caller's record: its refresh has failed, and others may try. Not called after the server's success."""
        ...

    async def is_still_locked(self) -> bool:
        """Whether the caller still holds the lock. True if the server cannot be reached: a failure is not a loss."""
        ...


@contextmanager
def as_store_errors() -> Generator[None]:
    """Turn exceptions of the libraries behind a store into `TokenStoreError`."""
    try:
        yield
    except EzeepError:
        raise
    except Exception as error:
        raise TokenStoreError(f"the token store failed: {error or type(error).__name__}") from error


def _token_set(_: object, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, TokenSet | None):
        raise TypeError(f"MemoryTokenStore takes a TokenSet or None, not {type(value).__name__}")


@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class MemoryTokenStore:
    """Keeps the token set in memory. Sessions, event loops and threads can share it.

    A forked child gets a copy. It can use the access token until it expires, but cannot refresh it: the refresh token
    works once, and using it in the child would log the parent out. Share a `FileTokenStore` between processes instead.

    Args:
        tokens: Initial token set; None for an empty store.

    Raises:
        TypeError: `tokens` is not a `TokenSet`.
    """

    # Not in the repr, which the log lines of a session contain: it is computed once, and the token set changes.
    _tokens: TokenSet | None = attrs.field(default=None, validator=_token_set, repr=False)
    _owner: tuple[str, str] | None = attrs.field(init=False, default=None, repr=False)
    # A thread lock that is polled: an asyncio.Lock belongs to one event loop, and sessions of run_sync use another loop
    # than the application.
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock, repr=False)
    _pid: int = attrs.field(init=False, factory=os.getpid, repr=False)
    _lock_pid: int = attrs.field(init=False, factory=os.getpid, repr=False)

    async def load(self) -> TokenSet | None:
        """See `TokenStore.load`."""
        return self._tokens

    async def save(self, tokens: TokenSet, /) -> None:
        """See `TokenStore.save`."""
        self._tokens = tokens
        self._pid = os.getpid()

    async def clear(self) -> None:
        """See `TokenStore.clear`."""
        self._tokens = None

    async def check_writable(self) -> None:
        """Check that a refresh is safe.

        Raises:
            TokenStoreError: This is a forked child, and the token set belongs to the parent process.
        """
        if self._tokens is not None and self._pid != os.getpid():
            raise TokenStoreError(
                "the token set in this MemoryTokenStore belongs to the parent process: refreshing it in this forked child "
                "would log the parent out. Share a FileTokenStore between processes"
            )

    def bind(self, client_id: str, account: str) -> None:
        """Bind the store to a client id and an account address. A session calls it when it opens.

        Args:
            client_id: OAuth client id of the session.
            account: Account address of the session.

        Raises:
            TokenStoreError: The store is already bound to another client id or account address.
        """
        if self._owner is not None and self._owner != (client_id, account):
            raise TokenStoreError(
                "this MemoryTokenStore holds the token set of another client id or account host: use one store for each"
            )
        self._owner = (client_id, account)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Hold the lock of this store in this process, for all its sessions, event loops and threads."""
        if self._lock_pid != os.getpid():
            # A thread that the forked child does not have may hold the copied lock.
            self._lock, self._lock_pid = threading.Lock(), os.getpid()
        lock, pause = self._lock, 0.001
        while not lock.acquire(blocking=False):
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
        try:
            yield
        finally:
            lock.release()
