"""`Stats`: what a session has done so far."""

from __future__ import annotations

import attrs


@attrs.define(kw_only=True)
class Stats:
    """Counts since a session was made. A snapshot: ask again for newer ones."""

    calls: int = 0
    """Calls of the API, however many requests they took; pages of a listing are calls of their own."""
    failed: int = 0
    """Calls that ended with an error."""
    requests: int = 0
    """Requests to the API, repetitions included, logins and their renewals not."""
    retries: int = 0
    """Requests that repeated one that had failed."""
    throttled: int = 0
    """Requests that were answered 429."""
    refreshes: int = 0
    """Renewals of the login that this session made itself."""
    in_flight: int = 0
    """Requests that are under way now."""
    waiting: int = 0
    """Calls that wait for a slot now."""
