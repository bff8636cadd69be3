"""The time limits of one request: the deadline of its call and the read timeout."""

from __future__ import annotations

from typing import Literal

from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._wire.requests import Phase


class Attempt(Phase, RunningTimeout):
    """One request with its token, used with `with`: raises `TimeoutError` when a time limit is over.

    `deadline` limits all of it, `read_timeout` each wait for data once the request is sent. Both are in seconds.
    """

    limit: Literal["deadline", "read_timeout"] = "deadline"
    """The time limit that is the next to end."""

    def __init__(self, deadline: float, read_timeout: float) -> None:
        super().__init__(deadline)
        self._read_timeout = read_timeout

    def progressed(self) -> None:
        """Start the time limit for the next part of the response."""
        self.sent = True
        now = self._clock.now()
        end, deadline = now + self._read_timeout, self._began + self._seconds
        self.limit = "read_timeout" if end < deadline else "deadline"
        self.end_at(min(deadline, end), now)
