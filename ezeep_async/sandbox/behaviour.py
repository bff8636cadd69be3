"""`Behaviour`: the options of the sandbox; `Clock`: the time that its tokens expire by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, TypedDict

import attrs


Paging = Literal["offset", "page"]
_LONGEST_WAIT_S = 3600.0
"""Longest time without a check; the event loop refuses an infinite one."""


def _texts(_: object, attribute: attrs.Attribute[tuple[str, ...]], value: object) -> None:
    # A str is a sequence of str too.
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{attribute.name} must be a tuple of str, not {type(value).__name__}")


@attrs.define(kw_only=True)
class Behaviour:
    """The options of a `Sandbox`. Each may be changed while it runs, with effect from the next request.

    `BehaviourOptions` has the same names: they are keywords of `Sandbox`.
    """

    expires_in: float = 3600.0
    """Lifetime of an access token, in seconds."""
    refresh_expires_in: float | None = 3600.0
    """Lifetime of a refresh token, in seconds. None: without end."""
    grace_window: float = 0.0
    """Seconds for which a used refresh token gives the same new token set again."""
    reuse_protection: bool = True
    """Whether reuse of a refresh token after the grace window revokes its token family."""
    honour_group_filter: bool = True
    """False: the list of a group's users contains all users, as behind a proxy that drops the request body."""
    max_page_size: int = 100
    """Largest page. A larger limit is reduced to it silently."""
    default_page_size: int = 20
    """Page size of requests without a limit."""
    paging: Paging = "offset"
    """Which parameters page through lists: limit and offset, or page and per_page."""
    ignore_offset: bool = False
    """True: every page is the first one, and has a next (a broken server)."""
    membership_methods: tuple[str, ...] = attrs.field(default=("PATCH", "PUT"), validator=_texts)
    """The methods that update a user. Others get a 405."""
    put_resets_flags: bool = True
    """Whether a PUT resets the fields that it leaves out."""
    counts_as_strings: bool = False
    """Whether `num_members` and `num_printers` are strings, as the documented parameter table has them."""
    max_parallel: int | None = None
    """Concurrent requests at the printing API; more than these get a 429. None: no limit."""
    max_per_second: int | None = None
    """Requests at the printing API in any one second; more than these get a 429. None: no limit."""
    retry_after: float | None = None
    """The `Retry-After` of these 429 responses, in seconds. None: no such header."""
    rate_limit_error: str = "Request was throttled."
    """The `detail` of these 429 responses."""
    latency: float = 0.0
    """Seconds to wait before a request with a bearer token is processed."""
    client_secret: str = ""
    """The secret of the registered client."""
    redirect_uris: tuple[str, ...] = attrs.field(
        default=("http://127.0.0.1:8400/callback",), validator=_texts
    )
    """The registered redirect URIs. The first one is that of `Sandbox.oauth_app`."""
    password_grant: bool = False
    """Whether the client may use the password grant."""
    client_credentials_grant: bool = False
    """Whether the client may use the client credentials grant, as partner apps do. Its tokens are the admin's."""
    scopes: tuple[str, ...] = attrs.field(
        default=("printing", "reporting", "webhooks", "webhooks.readonly"), validator=_texts
    )
    """The scopes that the client may ask for."""
    blank_scopes: bool = False
    """Whether `scope` is empty in the response to every grant, not only to a refresh."""
    assignments_put: Literal["replace", "add"] = "replace"
    """What a PUT of assignments does with the groups that the printer has: the documents do not say."""
    bare_webhook_list: bool = False
    """Whether the list of webhooks is one list, and not a page."""
    report_polls: int = 1
    """Number of status requests for which a new report is pending."""
    pairing_interval: float = 0.0
    """A token request for a pending pairing within these seconds gets `slow_down`. 0: never."""
    job_seconds: float = 1.0
    """Seconds from the Print request to the final status of a job, by `Sandbox.clock`. 0: at its first status."""
    url_not_ready: int = 0
    """Number of 412 responses to a print by URL, the first one included, before the document is fetched."""
    upload_expires_in: float = 3600.0
    """Lifetime of the URL for an upload, in seconds. Its expiry is a whole second, the earlier one."""
    keep_documents: bool = True
    """False: uploads are counted and not kept, for large ones. `Printed.content` and `RecordedRequest.body` are empty."""
    port: int = 0
    """Port of the account host; the management API, the print API and the storage have the following ones. It is read
    when the sandbox opens. 0: free ports."""
    page: bool = False
    """Whether the account host serves a page for people at `/`, as `ezeep sandbox` does. Its requests are not recorded."""
    printers_by_group: bool = False
    """True: people may print to the printers of their groups only, as in an organization with assignments."""


class BehaviourOptions(TypedDict, total=False):
    """The keywords of `Sandbox` that make its `Behaviour`."""

    expires_in: float
    refresh_expires_in: float | None
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
    max_per_second: int | None
    retry_after: float | None
    rate_limit_error: str
    latency: float
    client_secret: str
    redirect_uris: tuple[str, ...]
    password_grant: bool
    client_credentials_grant: bool
    scopes: tuple[str, ...]
    blank_scopes: bool
    assignments_put: Literal["replace", "add"]
    bare_webhook_list: bool
    report_polls: int
    pairing_interval: float
    job_seconds: float
    url_not_ready: int
    upload_expires_in: float
    keep_documents: bool
    port: int
    page: bool
    printers_by_group: bool


class Clock:
    """The time of the sandbox: real time, plus what `advance` added, until `stop`."""

    def __init__(self) -> None:
        self._wakers: set[Callable[[], object]] = set()
        self._stopped_at: datetime | None = None
        # Monotonic: a correction of the system time must not expire tokens.
        self._zero = datetime.now(UTC) - timedelta(seconds=time.monotonic())

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return self._stopped_at or self._zero + timedelta(seconds=time.monotonic())

    def stop(self) -> None:
        """Stop the time: only `advance` moves it from now on."""
        self._stopped_at = self.now()

    def advance(self, seconds: float) -> None:
        """Move the time forward.

        Args:
            seconds: How far, in seconds.
        """
        if self._stopped_at is None:
            self._zero += timedelta(seconds=seconds)
        else:
            self._stopped_at += timedelta(seconds=seconds)
        self.wake()

    def wake(self) -> None:
        """Let the waiters check again what they wait for. Any thread may call it."""
        for waker in [*self._wakers]:
            waker()

    async def wait_for(self, seconds_left: Callable[[], float]) -> None:
        """Wait until no time is left.

        Args:
            seconds_left: Returns the seconds that are left; called again when the clock was moved.
        """
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        waker = partial(loop.call_soon_threadsafe, changed.set)
        self._wakers.add(waker)
        try:
            while (seconds := seconds_left()) > 0:
                changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(seconds, _LONGEST_WAIT_S))
        finally:
            self._wakers.discard(waker)
