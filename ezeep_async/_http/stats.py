"""`Stats`: the counters of a session."""

from __future__ import annotations

import attrs

from ezeep_async.models.record import Record


@attrs.define(kw_only=True)
class Stats(Record):
    """Counters since the session was created. A snapshot: read `session.stats` again for newer values."""

    calls: int = 0
    """API calls, however many requests they took. Each page of a listing is one call."""
    failed: int = 0
    """Calls that ended with an error."""
    requests: int = 0
    """Requests to the API, including retries. Token requests and uploads are not included."""
    retries: int = 0
    """Requests that repeated a failed one."""
    throttled: int = 0
    """Requests with a 429 response."""
    refreshes: int = 0
    """Token refreshes made by this session."""
    in_flight: int = 0
    """Requests under way."""
    waiting: int = 0
    """Calls that wait for a slot."""
