"""Reading the status of a job until it has ended."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Self

from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._runtime.syntax import Asynchronous
from ezeep_async._wire.responses import one_line, redact
from ezeep_async.errors import EzeepError, JobTimeout, PrintFailed
from ezeep_async.models.printing import JobStatus


logger = logging.getLogger("ezeep_async.resources")


class JobWatch(Asynchronous):
    """Async iterator over the changes of a job's status, from `session.printing.watch`. One task may use it."""

    def __init__(
        self,
        read: Callable[[str], Awaitable[JobStatus]],
        job_id: str,
        interval: float,
        timeout: float | None,
        *,
        once: bool = False,
    ) -> None:
        self.job_id = job_id
        self._read = read
        self._interval = _seconds(interval, "interval")
        self._timeout = math.inf if timeout is None else _seconds(timeout, "timeout")
        self._once = once
        self._until: float | None = None
        self._delay = 0.0
        self._last: JobStatus | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobStatus:
        if self._ended:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._timeout
        try:
            with RunningTimeout(self._until - loop.time()):
                status = await self._change()
        except TimeoutError:
            self._ended = True
            state = "no status could be read" if self._last is None else self._last.meaning
            raise JobTimeout(
                f"the job {self.job_id} has not ended within {self._timeout:g} s ({state}). It may still be printed: wait again",
                status=self._last,
            ) from None
        self._last = status
        self._ended = self._once or status.is_final
        return status

    async def _change(self) -> JobStatus:
        """Read the status until it differs from the last one."""
        while True:
            await asyncio.sleep(self._delay)
            self._delay = self._interval
            try:
                status = await self._read(self.job_id)
            except EzeepError as error:
                if not error.retryable or self._once:
                    raise
                self._delay = max(self._interval, error.retry_after or 0.0)
                logger.warning("the status of the job %s cannot be read now: %s", self.job_id, error)
                continue
            if status != self._last or status.is_final:
                return status


async def wait_for_end(watch: JobWatch) -> JobStatus:
    """Return the final status. Raises `PrintFailed` for that of a failed job."""
    status = JobStatus(0)
    async for status in watch:  # noqa: B007  # the last one counts
        pass
    if not status.succeeded:
        raise failed(f"the job {watch.job_id} failed", status)
    return status


def failed(what: str, status: JobStatus) -> PrintFailed:
    """The error for a final status."""
    text = one_line(redact(status.text, ()))
    words = f"{status.meaning}, {text}" if text else status.meaning
    # The words for an unknown code contain it.
    code = "" if str(status.code) in status.meaning else f"code {status.code}, "
    return PrintFailed(f"{what}: {code}{words}", status=status)


def _seconds(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:  # pyright: ignore[reportUnnecessaryIsInstance]  # programs without a type checker
        raise ValueError(f"{name} must be a number of seconds, more than 0, not {value!r}")
    return float(value)
