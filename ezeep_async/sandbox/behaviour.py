"""`Behaviour`: what the sandbox does where servers differ; `Clock`: the time by which its tokens live."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Literal, TypedDict

import attrs


Paging = Literal["offset", "page"]


def _texts(_: object, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    # A text by itself is a sequence of texts too, of its letters.
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{attribute.name} is a tuple of texts, and not {type(value).__name__}")


@attrs.define(kw_only=True)
class Behaviour:
    """How the sandbox behaves. Every field may be changed while it runs, and counts from the next request on.

    `BehaviourOptions` has the same names: they are the keywords of `Sandbox`.
    """

    expires_in: float = 3600.0
    """Life of an access token, seconds."""
    grace_window: float = 0.0
    """Seconds in which a used refresh token answers with the same new pair again."""
    reuse_protection: bool = True
    """Whether a used refresh token, presented after the window, kills its whole family."""
    honour_group_filter: bool = True
    """False: a listing of one group's users answers with everybody, as behind a proxy that drops the body."""
    max_page_size: int = 100
    """The longest page. A larger limit is cut to it without a word."""
    default_page_size: int = 20
    """The length of a page where the request does not say."""
    paging: Paging = "offset"
    """Which parameters page through lists: limit and offset, or page and per_page."""
    ignore_offset: bool = False
    """True: every page is the first one, and has a next (a broken server)."""
    membership_methods: tuple[str, ...] = attrs.field(default=("PATCH", "PUT"), validator=_texts)
    """The methods that write a user. The others are answered 405."""
    put_resets_flags: bool = True
    """Whether a PUT resets the fields that it leaves out."""
    counts_as_strings: bool = False
    """Whether `num_members` and `num_printers` are strings, as the documented parameter table has them."""
    max_parallel: int | None = None
    """More requests at once than this at the printing API are answered 429."""
    retry_after: float | None = None
    """The Retry-After of those 429, seconds. None: no such header."""
    rate_limit_error: str = "Request was throttled."
    """The `detail` of those 429."""
    latency: float = 0.0
    """Seconds that each request with a bearer token takes before it is processed."""
    client_secret: str = ""
    """The secret of the one registered client."""
    redirect_uris: tuple[str, ...] = attrs.field(
        default=("http://127.0.0.1:8400/callback",), validator=_texts
    )
    """The registered redirect URIs. The first one is that of `Sandbox.oauth_app`."""
    password_grant: bool = False
    """Whether the client may use the password grant."""
    pairing_interval: float = 0.0
    """A pairing code asked for again within these seconds is answered slow_down. 0: never."""


class BehaviourOptions(TypedDict, total=False):
    """The keywords of `Sandbox` that make its `Behaviour`."""

    expires_in: float
    grace_window: float
    reuse_protection: bool
    honour_group_filter: bool
    max_page_size: int
    default_page_size: int
    paging: Paging
    ignore_offset: bool
    membership_methods: tuple[str, ...]
    put_resets_flags: bool
    counts_as_strings: bool
    max_parallel: int | None
    retry_after: float | None
    rate_limit_error: str
    latency: float
    client_secret: str
    redirect_uris: tuple[str, ...]
    password_grant: bool
    pairing_interval: float


class Clock:
    """The sandbox's time: it runs with the real one, and jumps where it is told to."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        # Monotonic: a correction of the system's time must not end anybody's tokens.
        self._zero = time.monotonic()
        self._ahead = 0.0

    def now(self) -> datetime:
        """The present, UTC."""
        return self._start + timedelta(seconds=time.monotonic() - self._zero + self._ahead)

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self._ahead += seconds
