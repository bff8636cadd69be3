"""The documents of one command: each is uploaded, printed and followed by itself."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import stat
import sys
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Literal, Protocol, Self

import attrs

from ezeep_async import EzeepError, JobTimeout, OutcomeUnknown, ReauthorizationRequired
from ezeep_async.cli.printing.jobs import pages_of, status_record
from ezeep_async.cli.signals import stop_on_signals
from ezeep_async.cli.terminal.output import clean, complain, sentence
from ezeep_async.cli.terminal.prompts import in_background
from ezeep_async.provisioning.wording import counted


if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import Progress

    from ezeep_async import EzeepSession, JobStatus, Printer, PrintJob, PrintOptions

STDIN = "-"
STDIN_NAME = "standard input"
UPLOADS_AT_ONCE = 4
INTERVAL_S = 2.0
"""Seconds between two readings of a status."""
CHUNK = 65536
"""Bytes that are read of a pipe at once."""

Outcome = Literal["printed", "queued", "accepted", "timed_out", "failed", "unknown", "not_sent"]
"""queued: it waits in a pull queue. accepted: its job was not followed to its end. timed_out: its job has not ended."""
GOOD = frozenset({"printed", "queued", "accepted"})


@attrs.frozen(kw_only=True)
class Orders:
    """How all documents of a command are printed."""

    printer: Printer | UUID
    options: PrintOptions
    name: str | None
    type: str | None
    check: bool
    wait: bool
    timeout: float


class Pipe:
    """A document that can be read once. A program or a person may still write it, so a thread waits for that."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number: int | None = None
        self.size = 0
        self.ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while chunk := await in_background(self._read):
            self.size += len(chunk)
            yield chunk
        self.ended = True

    def _read(self) -> bytes:
        number = self._number
        if number is None:
            # Past Python's buffers: a thread that waits in those keeps the interpreter from its end.
            is_stdin = self._path == STDIN
            number = self._number = sys.stdin.fileno() if is_stdin else os.open(self._path, os.O_RDONLY)
        return os.read(number, CHUNK)


@attrs.define(eq=False)
class Document:
    """A document of the command line, and what is known of it."""

    source: str
    name: str
    """The source, without secrets."""
    outcome: Outcome = "not_sent"
    error: str = ""
    job: PrintJob | None = None
    status: JobStatus | None = None
    pipe: Pipe | None = None
    is_started: bool = False
    sent: int = 0
    """Bytes that are uploaded."""
    size: int | None = None

    @classmethod
    def of(cls, source: str) -> Self:
        """Return the document of an argument: a path, an address, or a hyphen for standard input."""
        if source == STDIN:
            return cls(source, STDIN_NAME)
        if not is_url(source):
            return cls(source, source)
        # The query and the password of an address may give access to the document.
        scheme, _, rest = source.partition("://")
        authority, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
        return cls(source, f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}")

    @property
    def may_be_printed(self) -> bool:
        """Whether the print request may have been sent."""
        if is_url(self.source):
            return self.is_started
        if self.pipe is not None:
            return self.pipe.ended and 0 < self.pipe.size <= self.sent
        return self.size is not None and self.sent >= self.size

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.outcome in GOOD and not self.error

    def record(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "document": self.name,
            "outcome": self.outcome,
            "job_id": None if self.job is None else self.job.id,
            "status": None if self.status is None else status_record(self.status),
            "error": self.error or None,
        }

    def row(self) -> tuple[str, str, str, str]:
        """Return it as the table has it."""
        pages = "" if self.status is None else pages_of(self.status)
        job_id = "" if self.job is None else self.job.id
        return self.name, self.outcome.replace("_", " "), pages and f"{pages} pages", job_id


def is_url(source: str) -> bool:
    """Whether it is the address of a document, and no path."""
    return source.lower().startswith(("http://", "https://"))


class Run:
    """Prints documents concurrently, and shows where they are. None of them ends another one."""

    def __init__(
        self, session: EzeepSession, documents: Sequence[Document], orders: Orders, bars: Progress | None
    ) -> None:
        self._session = session
        self._documents = documents
        self._orders = orders
        self._bars = bars
        self._slots = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._tasks: dict[Document, asyncio.Task[None]] = {}
        self._stops = 0
        self._logged_out: ReauthorizationRequired | None = None

    async def run(self) -> int:
        """Print all documents. Returns the signal that ended it, 0 for none. Raises `ReauthorizationRequired`."""
        with stop_on_signals(self.stop) as ending:
            async with asyncio.TaskGroup() as group:
                for document in self._documents:
                    self._tasks[document] = group.create_task(self._print(document))
        nothing_sent = all(
            each.outcome in {"failed", "not_sent"} and not each.job for each in self._documents
        )
        if self._logged_out is not None and nothing_sent:
            raise self._logged_out  # as in every command
        return ending.number

    def stop(self) -> None:
        """End uploads, and stop waiting for jobs. Print requests get their response, unless this is called again."""
        self._stops += 1
        requests = 0
        for document, task in self._tasks.items():
            if task.done():
                continue
            if document.job is None and document.may_be_printed and self._stops == 1:
                requests += 1
            else:
                task.cancel()
        if requests:
            waits_for = counted(requests, "print request")
            complain(f"stopping: waiting for the response to {waits_for}. Ctrl-C again does not wait")

    async def _print(self, document: Document) -> None:
        try:
            async with self._slots:
                if self._stops:
                    return
                with self._line(document) as show:
                    document.job = await self._send(document, show)
            document.outcome = "queued" if document.job.is_queue else "accepted"
            if document.outcome == "accepted" and self._orders.wait and not self._stops:
                with self._line(document) as show:
                    await self._follow(document, document.job, show)
        except asyncio.CancelledError:  # by `stop`
            if document.job is None and document.may_be_printed:
                document.outcome = "unknown"
                document.error = "the document may or may not be printed: there was no response yet"
        except OutcomeUnknown as error:
            # The message names a method of the SDK.
            text = sentence(error).replace("session.printing.queued()", "ezeep jobs queued")
            document.outcome, document.error = "unknown", text
        except (EzeepError, OSError, ValueError) as error:
            if isinstance(error, ReauthorizationRequired):
                self._logged_out = error
            document.outcome, document.error = "failed", _reason(error)

    async def _send(self, document: Document, show: Show) -> PrintJob:
        printing, orders = self._session.printing, self._orders
        document.is_started = True
        if is_url(document.source):
            _check_type(orders, document.name.partition("://")[2].partition("/")[2])
            show("sent, waiting for the response")
            return await printing.print_url(
                document.source,
                orders.printer,
                orders.options,
                name=orders.name,
                type=orders.type,
                check=orders.check,
            )

        def on_progress(sent: int, size: int | None) -> None:
            document.sent, document.size = sent, size
            state = "uploaded" if document.may_be_printed else _megabytes(sent, size)
            show(state, sent, size)

        show("uploading")
        source = await asyncio.to_thread(_source_of, document.source)
        document.pipe = source if isinstance(source, Pipe) else None
        is_path = isinstance(source, str)
        path = None if document.source == STDIN else PurePath(document.source).name
        ending = _check_type(orders, path)
        return await printing.print_file(
            source,
            orders.printer,
            orders.options,
            name=orders.name if is_path else orders.name or path,
            type=orders.type if is_path else ending,
            check=orders.check,
            on_progress=on_progress,
        )

    async def _follow(self, document: Document, job: PrintJob, show: Show) -> None:
        try:
            show("waiting for its status")
            async for status in job.watch(INTERVAL_S, self._orders.timeout):
                document.status = status
                pages = pages_of(status)
                show(f"{status.meaning}, page {pages}" if pages else status.meaning)
        except JobTimeout:
            document.outcome = "timed_out"
            document.error = (
                f"the job has not ended within {self._orders.timeout:g} s, and may still be printed: "
                f"ezeep jobs status --wait {shlex.quote(job.id)} waits for it"
            )
        except EzeepError as error:
            document.error = f"it was sent, and its status cannot be read: {sentence(error)}"
        else:
            if (final := document.status) is not None and final.succeeded:
                document.outcome = "printed"
            elif final is not None:
                document.outcome = "failed"
                words = f"{final.meaning}, {final.text}" if final.text else final.meaning
                document.error = f"the job failed: code {final.code}, {words}"

    @contextmanager
    def _line(self, document: Document) -> Generator[Show]:
        """Show a line for the document while it is in work."""
        if self._bars is None:
            yield _show_nothing
            return
        bars, line = self._bars, self._bars.add_task(clean(document.name), total=None, state="")

        def show(state: str, done: int | None = None, total: int | None = None) -> None:
            bars.update(line, state=clean(state), completed=done, total=total)

        try:
            yield show
        finally:
            bars.remove_task(line)


class Show(Protocol):
    """Shows the state of a document, and the bytes that are uploaded."""

    def __call__(self, state: str, done: int | None = None, total: int | None = None, /) -> object:
        """Show them."""


def _show_nothing(state: str, done: int | None = None, total: int | None = None, /) -> None:
    """Where there is no terminal."""


def _check_type(orders: Orders, path: str | None) -> str | None:
    """Return the file type by the option, or by an ending of a name. Raises `ValueError` if there is none."""
    if orders.type is not None:
        return orders.type
    for name in (orders.name, path):
        if name is not None and (ending := PurePath(name).suffix.removeprefix(".")):
            return ending
    raise ValueError("the file type is not known: give --type pdf, or another type")


def _source_of(path: str) -> str | IO[bytes] | Pipe:
    """The source of a document: `Pipe` for what can be read once. Raises `OSError` for a file that is not there."""
    if path == STDIN:
        is_file = stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
        return sys.stdin.buffer if is_file else Pipe(path)
    mode = Path(path).stat().st_mode
    return path if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else Pipe(path)


def _megabytes(sent: int, size: int | None) -> str:
    done = f"{sent / 1e6:.1f}"
    return f"{done} MB uploaded" if size is None else f"{done} of {size / 1e6:.1f} MB"


def _reason(error: Exception) -> str:
    """The error, without the path that the document is named by."""
    if isinstance(error, OSError) and error.strerror:
        return clean(error.strerror)
    return sentence(error)
