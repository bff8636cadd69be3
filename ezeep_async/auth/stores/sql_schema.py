"""The tables of `SQLTokenStore`, and its statements. Importing this needs SQLAlchemy.

Every change is one statement that states all its conditions, so it is right at every isolation level and may run twice.
Times are seconds since 1970 by the clock of the database, which all processes share.
"""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator

from ezeep_async._text.redaction import Secret


LONGEST_KEY = 255

METADATA = sa.MetaData()

TOKENS = sa.Table(
    "ezeep_tokens",
    METADATA,
    sa.Column("key", sa.String(LONGEST_KEY), primary_key=True),
    sa.Column("document", sa.Text, nullable=True),
    sa.Column("generation", sa.String(32), nullable=False),
    sa.Column("lock_owner", sa.String(128), nullable=False),
    sa.Column("lock_until", sa.Double, nullable=False),
    sa.Column("refresh_owner", sa.String(128), nullable=False),
    sa.Column("refresh_until", sa.Double, nullable=False),
)
"""A row for each token set: the document, the state that it is in, who has the lock, and who refreshes it.

`document` is NULL in the row of a lock without a token set, which its release removes. `generation` is a random name for
this state of the document. `refresh_owner` is the mark of `begin_refresh`: who may have sent the refresh token of this
generation. It outlives the lock of an owner that was suspended or died, so that no other process sends the token too.
"""

LOCKS = sa.Table(
    "ezeep_locks",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("next_owner", sa.String(128), nullable=False),
    sa.Column("next_until", sa.Double, nullable=False),
)
"""A row for each shared lock that is held: who has it, and for whom the next turn is reserved."""

_CLOCKS = {
    "postgresql": "extract(epoch from clock_timestamp())",
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
}
_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
DIALECTS = frozenset(_CLOCKS)


def _now(dialect: str) -> sa.ColumnElement[float]:
    return sa.literal_column(_CLOCKS[dialect], sa.Double)


class _Hidden(TypeDecorator[str]):
    """Text that logs and errors of SQLAlchemy do not show: they contain the repr of each parameter and each value."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002  # the signature is SQLAlchemy's
        """Hide the value in the logged parameters."""
        return None if value is None else Secret(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:  # noqa: ARG002  # the signature is SQLAlchemy's
        """Hide the value in the logged rows."""
        return None if value is None else Secret(value)


def _given(name: str, kind: type[sa.types.TypeEngine[Any]] = sa.String) -> sa.BindParameter[Any]:
    return sa.bindparam(f"p_{name}", type_=kind())


_KEY, _OWNER, _BASE, _NEW, _SEEN = (_given(name) for name in ("key", "owner", "base", "new", "seen"))
_TEXT, _LEASE, _RESERVED = _given("text", _Hidden), _given("lease", sa.Double), _given("reserved", sa.Double)


@functools.cache
class TokenStatements:
    """The statements on `ezeep_tokens` for one kind of database, which SQLAlchemy compiles once.

    - `load`, `state`: the document with its generation; the lock and the mark.
    - `lock`, `lock_first`: acquire the lock in a row that exists; in a new one.
    - `extend`: the lock, if it is the owner's.
    - `touch`: changes nothing, which shows that the database can be written.
    - `save`, `save_any`: replace the generation `base`; any. They remove the mark.
    - `clear`: the document and the mark.
    - `forget`, `release`: at the end of the lock, remove a row without a document; otherwise the owner's lock.
    """

    def __init__(self, dialect: str) -> None:
        now = _now(dialect)
        t = TOKENS.c
        row = sa.update(TOKENS).where(t.key == _KEY)
        is_locked, is_refreshed = t.lock_owner == _OWNER, t.refresh_owner == _OWNER
        mine = row.where(is_locked)
        self.load = sa.select(
            t.key, t.generation, sa.type_coerce(t.document, _Hidden).label("document")
        ).where(t.key == _KEY)
        is_held, is_over = (t.lock_until > now).label("is_held"), (t.refresh_until <= now).label("is_over")
        self.state = sa.select(t.lock_owner, is_held, t.generation, t.refresh_owner, is_over).where(
            t.key == _KEY
        )
        self.lock = row.where(sa.or_(t.lock_until <= now, is_locked)).values(
            lock_owner=_OWNER, lock_until=now + _LEASE
        )
        first = {"key": _KEY, "document": None, "generation": "", "refresh_owner": "", "refresh_until": 0.0}
        self.lock_first = (
            _INSERTS[dialect](TOKENS)
            .values(**first, lock_owner=_OWNER, lock_until=now + _LEASE)
            .on_conflict_do_nothing()
        )
        self.extend = mine.values(lock_until=now + _LEASE)
        self.touch = row.values(generation=t.generation, document=t.document, refresh_owner=t.refresh_owner)
        # The owner of the mark may save without the lock: no other owner has taken over the refresh.
        may_save = sa.or_(is_locked, sa.and_(is_refreshed, t.generation == _BASE))
        is_second_run = t.generation == _NEW
        saved = {"document": _TEXT, "generation": _NEW, "refresh_owner": "", "refresh_until": 0.0}
        self.save = row.where(sa.or_(is_second_run, sa.and_(may_save, t.generation == _BASE))).values(**saved)
        self.save_any = row.where(sa.or_(is_second_run, is_locked)).values(**saved)
        self.clear = mine.values(document=None, generation=_NEW, refresh_owner="", refresh_until=0.0)
        self.forget = sa.delete(TOKENS).where(t.key == _KEY, is_locked, t.document.is_(None))
        self.release = mine.values(lock_owner="", lock_until=0.0)


@functools.cache
class MarkStatements:
    """The statements on the mark of a refresh, in `ezeep_tokens`.

    - `begin`: mark the generation `base` as being refreshed, if the mark is still the one that was `seen`.
    - `end`: remove the owner's mark, when its refresh has failed.
    """

    def __init__(self, dialect: str) -> None:
        t = TOKENS.c
        row = sa.update(TOKENS).where(t.key == _KEY)
        self.begin = row.where(
            t.lock_owner == _OWNER, t.generation == _BASE, t.refresh_owner == _SEEN
        ).values(refresh_owner=_OWNER, refresh_until=_now(dialect) + _LEASE)
        self.end = row.where(t.refresh_owner == _OWNER).values(refresh_owner="", refresh_until=0.0)


@functools.cache
class LockStatements:
    """The statements on `ezeep_locks`. `LeasedLocks._run` describes what a request does with them.

    - `lock`, `lock_first`: acquire the lock in a row that exists; in a new one.
    - `reserve`: the next turn, for a waiter.
    - `extend`: the lock, if it is the owner's.
    - `release_last`, `release`: end the lock and remove the row; keep a row that is reserved for a waiter.
    - `leave`: end the reservation of a waiter.
    - `forget`: remove what killed processes left.
    """

    def __init__(self, dialect: str) -> None:
        now = _now(dialect)
        s = LOCKS.c
        row = sa.update(LOCKS).where(s.name == _KEY)
        is_mine = s.owner == _OWNER
        is_reserved = sa.and_(s.next_owner.not_in(["", _OWNER]), s.next_until > now)
        self.lock = row.where(sa.or_(is_mine, sa.and_(s.until <= now, sa.not_(is_reserved)))).values(
            owner=_OWNER, until=now + _LEASE, next_owner=sa.case((is_mine, s.next_owner), else_="")
        )
        self.lock_first = (
            _INSERTS[dialect](LOCKS)
            .values(name=_KEY, owner=_OWNER, until=now + _LEASE, next_owner="", next_until=0.0)
            .on_conflict_do_nothing()
        )
        # Not at each attempt of a waiter: half of the time that is left is enough.
        is_short = sa.or_(s.next_owner != _OWNER, s.next_until <= now + _RESERVED / 2)
        self.reserve = row.where(sa.not_(is_reserved), is_short).values(
            next_owner=_OWNER, next_until=now + _RESERVED
        )
        self.extend = row.where(is_mine).values(until=now + _LEASE)
        self.release_last = sa.delete(LOCKS).where(s.name == _KEY, is_mine, sa.not_(is_reserved))
        self.release = row.where(is_mine).values(owner="", until=0.0)
        self.leave = row.where(s.next_owner == _OWNER).values(next_owner="", next_until=0.0)
        an_hour_ago = now - 3600.0
        self.forget = sa.delete(LOCKS).where(s.until <= an_hour_ago, s.next_until <= an_hour_ago)
