"""A model of a server of listings: its rows, its responses, and the ways in which it may contradict itself.

It changes between two responses as configured, and records each state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode
from uuid import UUID

import attrs
from hypothesis import strategies as st

from ezeep_async import User
from ezeep_async._wire.converter import PageBody
from ezeep_async._wire.requests import USERS
from ezeep_async.errors import EzeepError
from ezeep_async.pagination.reader import RawPage


Change = tuple[Literal["insert", "delete"], int]

LINKS = {
    "documented": "http://api2.ezeep.com/printing/v1/users/?",
    "other host": "https://elsewhere.example:8443/printing/v1/users/?",
    "other path": "http://api2.ezeep.com/a/b/../?",
    "relative": "?",
    "no scheme": "//user:password@elsewhere.example/?",
    "fragment": "/x/?fragment=none&",
}
"""Forms of a valid `next`."""

BROKEN_LINKS = ("", "?", "garbage", "http://[::1/?a=b", "http://x:999999999/?a=b", "\x00", "?&&")
"""Values of `next` without a usable query."""
ODD_LINKS = (
    "?%ff=%",
    "?=&",
    "?cursor=c0",
    "?cursor=c5",
    "?page=1",
    "?page=2",
    "?limit=0&offset=0",
    "?a=b&offset=-1",
)
"""Values of `next` that lead elsewhere."""


@attrs.define
class Server:
    """Pages by `style`; `caps` are the maximum page sizes of successive requests, repeated."""

    rows: list[int]
    style: Literal["offset", "page", "both", "cursor"] = "offset"
    caps: Sequence[int] = (1000,)
    link: str = "documented"
    """A key of `LINKS`, or the text to send."""
    changes: Mapping[int, Sequence[Change]] = attrs.field(factory=dict[int, Sequence[Change]])
    """Changes before the response of this number, counted from 0."""
    count: int | Literal["true"] | None = "true"
    counts_differ_by: Sequence[int] = (0,)
    ignores_offset: bool = False
    empty: frozenset[int] = frozenset()
    """Responses without rows, and with a `next`."""
    last: int | None = None
    """The response without a `next`."""
    longer: int = 0
    doubled: bool = False
    """Every page has its first row twice."""
    fails: Mapping[int, EzeepError] = attrs.field(factory=dict[int, EzeepError])
    turns: Sequence[int] = (0,)
    """Iterations of the event loop that a response takes."""
    leaving: int = 0
    """Iterations of the event loop that a cancelled request takes to end."""
    most: int = 500
    """Requests after which it is an endless loop."""

    history: list[tuple[int, ...]] = attrs.field(init=False, factory=list[tuple[int, ...]])
    answered: list[tuple[dict[str, str], int, int | None]] = attrs.field(
        init=False, factory=list[tuple[dict[str, str], int, int | None]]
    )
    """Each request, with the number of the state at its response, and its count."""
    asked: int = 0
    active: int = 0

    def __attrs_post_init__(self) -> None:
        self.history.append(tuple(self.rows))

    @property
    def always(self) -> set[int]:
        """The rows that are in every state."""
        return set(self.history[0]).intersection(*self.history)

    async def fetch(self, params: Mapping[str, str]) -> RawPage[User]:
        """Respond to one request."""
        USERS.page(params)  # any parameters from a `next` can be sent
        number = self.asked
        self.asked += 1
        assert self.asked <= self.most, "an endless loop"
        self.active += 1
        try:
            for _ in range(self.turns[number % len(self.turns)]):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            for _ in range(self.leaving):
                await asyncio.sleep(0)
            raise
        finally:
            self.active -= 1
        return self._answer(dict(params))

    def _answer(self, params: dict[str, str]) -> RawPage[User]:
        number = len(self.answered)
        for change in self.changes.get(number, ()):
            self._change(*change)
        count = self._count(number)
        self.answered.append((params, len(self.history) - 1, count))
        if number in self.fails:
            raise self.fails[number]
        cap = self.caps[number % len(self.caps)]
        start, size, following = self._window(params, cap)
        shown = 0 if self.ignores_offset else start
        rows = [] if number in self.empty else self.rows[shown : shown + size + self.longer]
        if self.doubled and rows:
            rows = [rows[0], *rows]
        more = start + size + self.longer < len(self.rows) or self.ignores_offset or number in self.empty
        if not more or number == self.last:
            link = None
        else:
            link = LINKS[self.link] + urlencode(following) if self.link in LINKS else self.link
        users = [User(id=UUID(int=row), groups=()) for row in rows]
        return lambda: PageBody(users, count, link), b""

    def _window(self, params: dict[str, str], cap: int) -> tuple[int, int, dict[str, str]]:
        if self.style == "cursor":
            start = int(params.get("cursor", "c0").removeprefix("c") or 0)
            return start, cap, {"cursor": f"c{start + cap}"}
        if self.style == "offset":
            size = min(_number(params.get("limit"), 20), cap)
            start = _number(params.get("offset"), 0)
            return start, size, {"limit": str(size), "offset": str(start + size)}
        size = min(_number(params.get("per_page"), 20), cap)
        page = max(_number(params.get("page"), 1), 1)
        following = {"per_page": str(size), "page": str(page + 1)}
        # A server that does not know these parameters echoes them.
        echoed = {name: params[name] for name in ("limit", "offset") if name in params}
        return (page - 1) * size, size, {**following, **echoed} if self.style == "both" else following

    def _count(self, number: int) -> int | None:
        count = len(self.rows) if self.count == "true" else self.count
        return None if count is None else count + self.counts_differ_by[number % len(self.counts_differ_by)]

    def _change(self, kind: Literal["insert", "delete"], place: int) -> None:
        if kind == "insert":
            new = max(max(state, default=-1) for state in self.history) + 1
            self.rows.insert(place % (len(self.rows) + 1), new)
        elif self.rows:
            del self.rows[place % len(self.rows)]
        self.history.append(tuple(self.rows))


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and int(text) >= 0 else default


def numbers(users: Sequence[object]) -> list[int]:
    """The row numbers of these users."""
    return [user.id.int for user in users if isinstance(user, User)]


sizes = st.integers(1, 12)
concurrencies = st.integers(1, 8)
row_counts = st.integers(0, 40)
several_sizes = st.lists(sizes, min_size=1, max_size=5)
turns = st.lists(st.integers(0, 3), min_size=1, max_size=5)


def changes(*kinds: Literal["insert", "delete"]) -> st.SearchStrategy[dict[int, list[Change]]]:
    """Changes between responses: single rows, and many at once."""
    change = st.tuples(st.sampled_from(kinds), st.integers(0, 60))
    some = st.lists(change, min_size=1, max_size=4)
    many = st.builds(lambda one, times: [one] * times, change, st.integers(1, 30))
    return st.dictionaries(st.integers(1, 9), some | many, min_size=1, max_size=5)


odd_texts = st.text(max_size=20) | st.builds(
    "{}{}={}".format,
    st.sampled_from(["?", "//x?", "http://x:1/?", "?limit=", "http://[::1]?", "http://\u00e4?"]),
    st.text(max_size=5),
    st.text(max_size=5) | st.sampled_from(["%ed%a0%80", "%00", "%", "%%31", "+", "\ud800"]),
)
"""Values of `next` that are no address."""
