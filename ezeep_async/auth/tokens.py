"""`TokenSet`, the `TokenStore` protocol, and the store in memory."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self, runtime_checkable

import attrs

from ezeep_async._text.redaction import clears_arguments, clears_locals
from ezeep_async.errors import EzeepError, TokenStoreError


STORE_METHODS = ("load", "save", "clear", "lock", "check_writable")
"""What every `TokenStore` has."""
DEFAULT_LIFETIME = 3600.0
"""Seconds that a token lives when the server does not say (API document, "OAuth2")."""
LONGEST_TOKEN = 65536
"""Characters. A server that takes longer ones in a header is not known, and stores have limits."""
LONGEST_TEXT = 4096
"""Characters of a scope or a token type."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Later ends of access tokens are this one: every store can keep it, and every system read it."""
_END_OF_TIME = 253402300800.0
LINEAGE = 8
"""Replaced refresh tokens that a token set records: the first, and the last ones."""


def fingerprint(secret: str) -> str:
    """A few letters that tell one secret from another and give nothing of it away."""
    return "~" + hashlib.sha256(secret.encode()).hexdigest()[:8]


def _utc(value: datetime) -> datetime:
    if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"expires_at is a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            "expires_at must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)"
        )
    # Compared before it is converted: near the ends of what a datetime can be, another zone has no such time.
    return LATEST if value >= LATEST else EPOCH if value <= EPOCH else value.astimezone(UTC)


def moment(value: float) -> datetime:
    """The time that many seconds after 1970, UTC, on every system. Raises `ValueError`, `OverflowError`."""
    # A float of the last second of the year 9999 is the first of the next year.
    return _utc(EPOCH + timedelta(seconds=value if value < _END_OF_TIME else value - 1))


def usable_text(value: object) -> str | None:
    """A scope or a token type as it was given, None where no server can be sent it or no store keep it."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        return None
    return value


def usable_token(value: object) -> str | None:
    """A token of a response, without a line break that some servers put behind it. None for what is none."""
    token = value.strip("\r\n\t") if isinstance(value, str) else ""
    return token if _token_problem(token) is None and token else None


def seconds(value: object) -> float | None:
    """`expires_in` as servers and files have it: a number, a number in a string, or nothing of use."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 < number < 10 * 365 * 86400 else None


def _token(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A token is visible ASCII (RFC 6749 appendix A). What was given instead is never shown: it is one all the same."""
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} is a str, not {type(value).__name__}")
    if (problem := _token_problem(value)) is not None:
        raise ValueError(f"{attribute.name} has {problem}")


def _token_problem(value: str) -> str | None:
    if len(value) > LONGEST_TOKEN:
        return f"{len(value)} characters: {LONGEST_TOKEN} at most"
    return None if value.isascii() and value.isprintable() else "characters that no token has"


def _text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} is a str, not {type(value).__name__}")
    if usable_text(value) is None:
        raise ValueError(
            f"{attribute.name} cannot be stored: it has characters that are not printable, or more than {LONGEST_TEXT}"
        )


def _lineage(value: Iterable[str] | None) -> tuple[str, ...]:
    """As stores of other people keep it: a list, or nothing in a row that is older than the column."""
    if isinstance(value, str):
        raise TypeError("lineage is a tuple of texts, not a text")
    marks = () if value is None else tuple(value)
    if not all(isinstance(mark, str) for mark in marks):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError("lineage is a tuple of texts")
    return marks


@clears_arguments
@attrs.frozen
class TokenSet:
    """What a login consists of. The two tokens never appear in its repr: fingerprints do."""

    access_token: str = attrs.field(repr=fingerprint, validator=_token)
    refresh_token: str = attrs.field(repr=fingerprint, validator=_token)
    """Works once: the answer to its use carries the next one."""
    expires_at: datetime = attrs.field(converter=_utc)
    """When the access token ends, UTC."""
    scope: str = attrs.field(default="printing", validator=_text)
    token_type: str = attrs.field(default="Bearer", validator=_text)
    expires_in: float | None = attrs.field(default=None, converter=seconds)
    """How long the access token lived when it was issued, seconds; None where nobody said."""
    lineage: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False, kw_only=True, converter=_lineage)
    """Fingerprints of refresh tokens that this set replaced: the first one, and the last ones."""

    @property
    def mark(self) -> str:
        """What `lineage` knows this set by."""
        return fingerprint(self.refresh_token or self.access_token)

    @classmethod
    @clears_locals
    def from_response(
        cls, response: Mapping[str, object], now: datetime | None = None, *, previous: TokenSet | None = None
    ) -> Self:
        """From the token endpoint's answer (RFC 6749 section 5.1).

        `previous` is the login that this one replaces: its refresh token stays when the answer has none, its scope
        when the answer's is empty, as ezeep's is after a refresh. A value that cannot be used counts as absent: what
        matters is the access token. Raises `ValueError` without one.
        """
        access = usable_token(response.get("access_token"))
        if access is None:
            given = "no" if not response.get("access_token") else "an unusable"
            raise ValueError(f"the token endpoint's answer has {given} access_token")
        refresh = usable_token(response.get("refresh_token"))
        if refresh is None:
            refresh = previous.refresh_token if previous is not None else ""
        scope = usable_text(response.get("scope"))
        if not scope:
            scope = previous.scope if previous is not None else "printing"
        expires_in = seconds(response.get("expires_in"))
        lifetime = timedelta(seconds=DEFAULT_LIFETIME if expires_in is None else expires_in)
        begin = datetime.now(UTC) if now is None else now
        new = cls(
            access_token=access,
            refresh_token=refresh,
            expires_at=begin + lifetime if begin.year < LATEST.year - 100 else LATEST,
            scope=scope,
            token_type=usable_text(response.get("token_type")) or "Bearer",
            expires_in=expires_in,
        )
        return new if previous is None else attrs.evolve(new, lineage=_lineage_after(previous, new))


def _lineage_after(previous: TokenSet, new: TokenSet) -> tuple[str, ...]:
    if previous.mark == new.mark:
        return previous.lineage
    marks = (*previous.lineage, previous.mark)
    return marks if len(marks) <= LINEAGE else (marks[0], *marks[1 - LINEAGE :])


@runtime_checkable
class TokenStore(Protocol):
    """Where a login is kept. One store holds one login; whoever shares the store shares the login.

    `lock()` guards a whole renewal: everything that may rotate the same login has to contend for it, in this process
    and elsewhere. `load` and `save` are called with the lock held. All of it is awaited: never block the event loop.

    A store may also have `bind(client_id, account)`, called with the client id and the account address when a session
    opens, to refuse a login that belongs to another client. And `async is_unused()`, called without the lock, where
    taking the lock makes something (a folder, a file): true when there is no token set and nothing was made yet. A store
    whose lock can end under a holder that lives on may have the methods of `ezeep_async.auth.presenting.LeasedStore`.
    One that keeps the fields of a token set one by one keeps `lineage` too, or `tokens=` is reported at each start.

    A store may also have `shared_locks() -> SharedLocks`: locks for single users and for creating groups, shared by all
    processes that share the store. Each session calls it once, before its first write that needs one. Without it, changes
    of one user's groups from several processes may undo each other.
    """

    async def load(self) -> TokenSet | None:
        """The stored login, None where there is none. Raises `TokenStoreCorrupt` for one that cannot be read."""
        ...

    async def save(self, tokens: TokenSet, /) -> None:
        """Store the login so that it survives a crash right after the return. Raises `TokenStoreError`."""
        ...

    async def clear(self) -> None:
        """Forget the login."""
        ...

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Hold the login against everyone else. Raises `TokenStoreError` when it cannot be had in time."""
        ...

    async def check_writable(self) -> None:
        """Raise `TokenStoreError` if `save` could not store a login now."""
        ...


@contextmanager
def as_store_errors() -> Generator[None]:
    """Whatever a store raises becomes a `TokenStoreError`: its callers cannot know every library behind one."""
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
    """Keeps the login for as long as the process lives. May be shared by sessions, event loops and threads.

    A forked child has a copy of it. There the access token can be used to its end, and is not renewed: the refresh
    token works once, and using it up in the child would log the parent out. Share a `FileTokenStore` instead.
    """

    _tokens: TokenSet | None = attrs.field(default=None, validator=_token_set)
    _owner: tuple[str, str] | None = attrs.field(init=False, default=None)
    # A thread lock, tried and never waited for: an asyncio.Lock belongs to the first loop that had to wait for it,
    # and a session of run_sync lives on another loop than the one of the application.
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock, repr=False)
    _pid: int = attrs.field(init=False, factory=os.getpid, repr=False)
    _lock_pid: int = attrs.field(init=False, factory=os.getpid, repr=False)

    async def load(self) -> TokenSet | None:
        return self._tokens

    async def save(self, tokens: TokenSet, /) -> None:
        self._tokens = tokens
        self._pid = os.getpid()

    async def clear(self) -> None:
        self._tokens = None

    async def check_writable(self) -> None:
        """Memory can always be written. Raises `TokenStoreError` where the login belongs to a parent process."""
        if self._tokens is not None and self._pid != os.getpid():
            raise TokenStoreError(
                "the login in this MemoryTokenStore came through a fork: renewing it here would log the parent process "
                "out. Share a FileTokenStore between processes"
            )

    def bind(self, client_id: str, account: str) -> None:
        """Refuse sessions of two different clients on one login."""
        if self._owner is not None and self._owner != (client_id, account):
            raise TokenStoreError(
                "this MemoryTokenStore already holds the login of another client id or account host"
            )
        self._owner = (client_id, account)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        if self._lock_pid != os.getpid():
            # Its holder may have stayed in the parent.
            self._lock, self._lock_pid = threading.Lock(), os.getpid()
        lock, pause = self._lock, 0.001
        while not lock.acquire(blocking=False):
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
        try:
            yield
        finally:
            lock.release()
