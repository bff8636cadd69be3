"""`session.reports`: reports on printed jobs, made by the server in the background, and streamed to a file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import IO, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._wire.requests import (
    REPORTS,
    checked_flag,
    checked_text,
    not_an_id,
    report_download,
    report_request,
)
from ezeep_async.errors import EzeepError, is_retryable
from ezeep_async.models.reports import PrintReport
from ezeep_async.resources._base import Api, create_for, send_for
from ezeep_async.resources._scopes import ScopedApi


T = TypeVar("T")

OFFSETS_H = range(-12, 15)
"""Hours between UTC and local times, without daylight saving time and islands with quarters of an hour."""
READY = "succeeded"
NOT_READY = "pending"


class ReportFailed(EzeepError):
    """The status of a report on printed jobs is neither "pending" nor "succeeded". `report` has it; create another one."""

    def __init__(self, message: str, *, report: PrintReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class ReportTimeout(ReportFailed, TimeoutError):
    """A report on printed jobs was not ready in time. `report` is the last one that was read. Wait for it again."""


def _checked_moment(value: object, what: str) -> tuple[datetime, str]:
    """A date or a time, and the text that is sent for it. Raises `ValueError`."""
    if isinstance(value, str):
        for parse in (date.fromisoformat, datetime.fromisoformat):
            with contextlib.suppress(ValueError):
                return _checked_moment(parse(value), what)
    if isinstance(value, datetime):
        try:
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"{what} is {value!r}: in UTC it is out of range") from None
        return moment, moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC), value.isoformat()
    raise ValueError(f"{what} must be a date, a datetime, or one of them as in ISO 8601, not {value!r}")


def _checked_id(value: object) -> str:
    if not isinstance(value, str | PrintReport):
        raise not_an_id(value, "report_id", "a str", PrintReport)
    text = checked_text(value.id if isinstance(value, PrintReport) else value, "report_id", shortest=1)
    if text in {".", ".."}:  # a URL would not keep it
        raise ValueError(f"report_id is {text!r}: pass the id of a report")
    return text


class Reports:
    """Reports on the printed jobs of the organization. The app needs the scope `reporting`.

    Note:
        docs/ezeep-api.md#reports
    """

    def __init__(self, api: Api) -> None:
        self._api = ScopedApi(api, "reporting")

    async def create(
        self,
        start: date | str,
        end: date | str,
        *,
        delimiter: str = ",",
        utc_offset: int = 0,
        obfuscate_file_names: bool = True,
        blank_emails: bool = True,
        blank_names: bool = True,
    ) -> PrintReport:
        """Start a report on the jobs of a period. `wait` returns it when it is ready, `download` stores it.

        Args:
            start: First day, or time, of the period: a date, a datetime (UTC where it has no time zone), or the same as
                text in ISO 8601.
            end: Day, or time, after the period.
            delimiter: Separates the columns: "," or ";".
            utc_offset: Whole hours between UTC and the times in the report, from -12 to 14.
            obfuscate_file_names: Whether the names of documents are made unreadable.
            blank_emails: Whether the e-mail addresses of users are left out.
            blank_names: Whether the names of users are left out.

        Returns:
            The report, which is usually "pending".

        Raises:
            ValueError: An argument is invalid. Nothing was sent.
            OutcomeUnknown: The response was lost. Create another report: the first one does no harm.
            PermissionDenied: The app lacks the scope `reporting`, or the user may not do this.
            BadRequest: The server rejects a value.
        """
        (first, start_text), (last, end_text) = _checked_moment(start, "start"), _checked_moment(end, "end")
        if last <= first:
            raise ValueError(
                f"end must be after start, {start_text}, not {end_text}: it is the day, or time, after the period"
            )
        if delimiter not in {",", ";"}:
            raise ValueError(f'delimiter must be "," or ";", not {delimiter!r}')
        if type(utc_offset) is not int or utc_offset not in OFFSETS_H:
            raise ValueError(f"utc_offset must be a whole number of hours from -12 to 14, not {utc_offset!r}")
        # The documents do not say what the server assumes for an option that is left out: all are sent.
        values = {
            "start": start_text,
            "end": end_text,
            "csv_delimiter": delimiter,
            "timestamp_offset": utc_offset,
            "file_name_obfuscated": checked_flag(obfuscate_file_names, "obfuscate_file_names"),
            "user_email_blank": checked_flag(blank_emails, "blank_emails"),
            "user_name_blank": checked_flag(blank_names, "blank_names"),
        }
        return (await create_for(self._api, REPORTS.create(values), PrintReport))[0]

    async def get(self, report_id: str | PrintReport) -> PrintReport:
        """Read the status of a report.

        Args:
            report_id: The report, or its id.

        Returns:
            The report.

        Raises:
            NotFound: No such report exists.
            PermissionDenied: The app lacks the scope `reporting`, or the user may not do this.

        Note:
            Assumed: the address of one report is not documented, only that its status can be polled.
        """
        return (await send_for(self._api, report_request(_checked_id(report_id)), PrintReport))[0]

    async def wait(
        self,
        report_id: str | PrintReport,
        interval: float = 2.0,
        timeout: float = 300.0,  # noqa: ASYNC109  # it raises ReportTimeout, with the report
    ) -> PrintReport:
        """Poll until a report is ready.

        A status that cannot be read for now, because of a rate limit or a server error, is polled again, after the time that
        the server asks for (`Retry-After`).

        Args:
            report_id: The report, or its id.
            interval: Seconds between two requests, more than 0.
            timeout: Seconds until `ReportTimeout`. There is one more request at the end.

        Returns:
            The report, with the status "succeeded".

        Raises:
            ReportFailed: The status is neither "pending" nor "succeeded".
            ReportTimeout: The report was not ready in time.
            NotFound: No such report exists.
        """
        item = _checked_id(report_id)
        if not interval > 0:
            raise ValueError(f"interval must be more than 0, not {interval!r}")
        if math.isnan(timeout):  # no comparison with it would end the loop, or sleep
            raise ValueError("timeout must be a number of seconds, not NaN")
        limit, clock = RunningLimit(timeout), asyncio.get_running_loop().time
        is_last = timeout <= 0
        report: PrintReport | None = None
        failure: EzeepError | None = None
        while True:
            began = clock()
            try:
                report, failure = await self.get(item), None
            except EzeepError as error:
                if not is_retryable(error) or is_last:
                    raise
                failure = error
            if failure is None and report is not None and report.status != NOT_READY:
                if report.status != READY:
                    raise ReportFailed(f"report {item}: its status is {report.status!r}", report=report)
                return report
            if is_last:
                raise ReportTimeout(
                    f"report {item} was not ready within {timeout:g} s. Wait for it again", report=report
                )
            limit.left -= clock() - began
            pause = interval if failure is None else max(interval, failure.retry_after or 0.0)
            # The last request comes earlier than that.
            is_last = limit.left <= pause
            if limit.left > 0:
                await limit.sleep(pause)

    async def download(self, report_id: str | PrintReport, path: str | os.PathLike[str]) -> int:
        """Store the content of a report, which is CSV, in a file.

        The content is streamed, and never whole in memory. The file appears when it is complete, readable for its owner
        only, and replaces a file of that name. `Settings.deadline` limits the time of the download.

        Args:
            report_id: A report that is ready (see `wait`), or its id.
            path: Path of the file.

        Returns:
            The length of the file in bytes.

        Raises:
            OSError: The file cannot be written.
            NotFound: No such report exists, or it is not ready.
            PermissionDenied: The app lacks the scope `reporting`, or the user may not do this.

        Note:
            Assumed: ezeep documents that a report can be downloaded, but not its address.
            `GET /reporting/reports/<id>/download` is used (docs/ezeep-api.md#reports).
        """
        sink = _FileSink(Path(path))
        try:
            await self._api.send(report_download(_checked_id(report_id), sink))
            return await sink.finish()
        except _WriteFailed as failed:
            error = failed.error
        finally:
            await sink.discard()
        raise error


class _WriteFailed(Exception):
    """An `OSError` of a file. Not an `OSError` itself: that would count as a failure of the network."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _FileSink:
    """Writes to a file beside `path`, in threads, and renames it at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._part = path
        # A limiter of its own: the threads of the event loop may all be waiting for this session.
        self._limiter = CapacityLimiter(1)

    async def begin(self) -> None:
        """See `Sink.begin`."""
        await self._run(self._begin)

    async def write(self, piece: bytes, /) -> None:
        """See `Sink.write`."""
        await self._run(lambda: self._open_file().write(piece))

    async def finish(self) -> int:
        """Complete the file. Return its length."""
        return await self._run(self._finish)

    async def discard(self) -> None:
        """Remove what is not complete."""
        if self._file is not None:
            with CancelScope(shield=True):
                await self._run(self._discard)

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            return await to_thread.run_sync(function, limiter=self._limiter)
        except OSError as error:
            raise _WriteFailed(error) from error

    def _open_file(self) -> IO[bytes]:
        if self._file is None:
            self._path = Path(os.path.realpath(self._path))  # a symbolic link stays one
            if self._path.exists() and not (self._path.is_file() or self._path.is_dir()):
                # The rename would replace a device or a pipe, such as /dev/null.
                raise FileExistsError(
                    errno.EEXIST, "not a regular file, so it is not replaced", str(self._path)
                )
            number, name = tempfile.mkstemp(".part", f".{self._path.name}.", self._path.parent)
            self._file, self._part = os.fdopen(number, "wb"), Path(name)
        return self._file

    def _begin(self) -> None:
        file = self._open_file()
        file.seek(0)
        file.truncate()

    def _finish(self) -> int:
        file = self._open_file()
        length = file.tell()
        file.close()
        self._part.replace(self._path)
        self._file = None
        return length

    def _discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
            self._file = None
