"""`session.printing`: print documents, and follow their jobs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from typing import Protocol, runtime_checkable
from uuid import UUID

import attrs
from yarl import URL

from ezeep_async._text.redaction import Secret, clears_locals
from ezeep_async._wire.print_options import wire_properties
from ezeep_async._wire.printing import (
    CONFIGURATION,
    QUEUED_JOBS,
    Order,
    queued_page,
    read_status,
    secrets_of_url,
    status_in,
    status_request,
    supported_types,
)
from ezeep_async._wire.requests import LONGEST_TARGET, Request, checked_flag, checked_text, not_an_id
from ezeep_async._wire.responses import decode_response
from ezeep_async._wire.retrying import backoff
from ezeep_async.errors import (
    ApiError,
    Conflict,
    OutcomeUnknown,
    RequestTimeout,
    UnsupportedFileType,
)
from ezeep_async.models.assignments import PrinterAssignment
from ezeep_async.models.printers import Printer
from ezeep_async.models.printing import JobStatus, PrintOptions, QueuedJob
from ezeep_async.models.record import Record
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.prefetch import Params
from ezeep_async.resources._base import Api, page_fetcher
from ezeep_async.resources._job_status import JobWatch, wait_for_end
from ezeep_async.resources._print_outcomes import accepted_job_id, file_id_to_repeat, lost, refused
from ezeep_async.resources._sources import (
    PrintSource,
    Progress,
    base_name,
    open_source,
    type_from_name,
)
from ezeep_async.resources._uploads import Storage, upload
from ezeep_async.resources.printers import Printers, PrintingReads, printer_id_of


logger = logging.getLogger("ezeep_async.resources")


@runtime_checkable
class AcceptedJob(Protocol):
    """A `PrintJob`, or its blocking form."""

    @property
    def id(self) -> str:
        """Id of the job."""
        ...

    @property
    def printer_id(self) -> UUID:
        """Id of the printer."""
        ...

    @property
    def is_queue(self) -> bool:
        """Whether the job waits in a pull queue for its release."""
        ...


class Printing:
    """Print documents, and follow their jobs.

    Note:
        docs/ezeep-api.md#print-jobs
    """

    def __init__(self, api: Api, storage: Storage, printers: Printers, deadline: float) -> None:
        self._api = api
        self._storage = storage
        self._printers = printers
        self._deadline = deadline
        self._types = api.common(PrintingReads).types

    async def supported_types(self) -> frozenset[str]:
        """Return the file types that the service prints, such as "pdf". Read once in a session.

        Returns:
            The types in lower case, without a dot.
        """

        async def read() -> frozenset[str]:
            return decode_response(CONFIGURATION, await self._api.send(CONFIGURATION), supported_types)

        return await self._types.get("", read, self._api.settings)

    async def print_file(
        self,
        source: PrintSource,
        printer_or_id: Printer | PrinterAssignment | UUID | str,
        options: PrintOptions | None = None,
        *,
        name: str | None = None,
        type: str | None = None,  # noqa: A002  # the name that the API has
        delete_after: bool = True,
        check: bool = True,
        on_progress: Progress | None = None,
    ) -> PrintJob:
        """Upload a document and print it.

        The document is read and uploaded in parts, so memory is bounded for any size. More than 8 MiB are uploaded in
        blocks of 2 MiB, four at a time. The storage takes at most 50,000 blocks. The largest document that the service
        prints is not known.

        `Settings.deadline` and the retries hold for each request, not for the whole call. A document of up to 8 MiB takes
        at most six: three of `check`, which are kept, the address of the upload, the upload, and the job. Each block, and
        the list of the blocks, is one more. If the address expires, the upload starts again.

        The document is printed at most once by this call. A caller that is cancelled, or whose call ends with
        `OutcomeUnknown`, does not know whether it is printed.

        Args:
            source: A path, the bytes of a document, a binary file object (from its position on, and left open), or an iterable
                or async iterable of bytes.
            printer_or_id: The printer, or its id.
            options: How to print; None for the settings of the printer.
            name: Name of the document for people; 1 to 255 characters. The base name by default where `source` is a path.
            type: File type, such as "pdf". By default the ending of `name`, or of the path.
            delete_after: Whether the service deletes the uploaded document after printing.
            check: Whether to check the type, the printer and the options before the upload. What is read for that is kept: the
                types for the session, printers for 60 seconds.
            on_progress: Called after each part with the bytes that are uploaded, and all bytes of the document, or None where the
                size is unknown. It starts from 0 again if the address of the upload expires. An exception from it ends the upload.

        Returns:
            The job. `await job.wait()` waits until it is printed.

        Raises:
            UnsupportedFileType: The service does not print this type.
            UnsupportedOption: The printer does not have what an option names.
            NotFound: The user has no such printer.
            PrintFailed: The service refused the job. The code is in `error.status`.
            OutcomeUnknown: The response was lost, so the document may or may not be printed.
            UploadExpired: The address of the upload expired, and the source cannot be read again.
            InsecureEndpoint: The service named an address for the upload that is not https.
            OSError: The file cannot be read.
            TypeError: `source` is a text file, or gives no bytes.
            ValueError: The type is not known, the document is empty, or an argument is invalid.
        """
        document = await open_source(source)
        try:
            path = base_name(source)
            alias = path if name is None else name
            order, is_queue = await self._order(
                printer_or_id, options, alias, [name, path], type, delete_after, check
            )
            file_id = await upload(self._api, self._storage, document, on_progress)
        finally:
            await document.aclose()
        return await self._print(order, {"fileid": file_id}, is_queue)

    @clears_locals
    async def print_url(
        self,
        url: str,
        printer_or_id: Printer | PrinterAssignment | UUID | str,
        options: PrintOptions | None = None,
        *,
        name: str | None = None,
        type: str | None = None,  # noqa: A002  # the name that the API has
        delete_after: bool = True,
        check: bool = True,
    ) -> PrintJob:
        """Print a document that the print service downloads itself.

        While it downloads, the request is repeated with the id of the file, within `Settings.deadline`.

        Args:
            url: Address of the document, http or https. It must be reachable from the internet, and contain all credentials that
                it takes. Its query and its password are treated as secrets.
            printer_or_id: The printer, or its id.
            options: How to print; None for the settings of the printer.
            name: Name of the document for people; 1 to 255 characters.
            type: File type, such as "pdf". By default the ending of `name`, or of the path of `url`.
            delete_after: Whether the service deletes its copy after printing.
            check: Whether to check the type, the printer and the options first, as `print_file` does.

        Returns:
            The job. `await job.wait()` waits until it is printed.

        Raises:
            UnsupportedFileType: The service does not print this type.
            UnsupportedOption: The printer does not have what an option names.
            NotFound: The user has no such printer.
            PrintFailed: The service refused the job. The code is in `error.status`.
            RequestTimeout: The service had not downloaded the document within `Settings.deadline`. Nothing was printed.
            OutcomeUnknown: The response was lost, so the document may or may not be printed.
            ValueError: `url` is no such address, the type is not known, or an argument is invalid.
        """
        address = _checked_url(url)
        order, is_queue = await self._order(
            printer_or_id, options, name, [name, URL(address).name], type, delete_after, check
        )
        return await self._print(order, {"fileurl": address}, is_queue)

    async def status(self, job_id: str | AcceptedJob) -> JobStatus:
        """Read the status of a job.

        Args:
            job_id: The job, or its id as `PrintJob.id` has it: not quoted.

        Returns:
            The status, also that of a failed or unknown job.
        """
        request = status_request(_job_id(job_id))
        try:
            response = await self._api.send(request)
        except ApiError as error:
            # A malformed id has the code 87, whatever the HTTP status is.
            status = status_in(error.body) if error.status in {400, 404, 409, 410, 412, 422} else None
            if status is None:
                raise
            return status
        return decode_response(request, response, read_status)

    async def wait(
        self,
        job_id: str | AcceptedJob,
        interval: float = 2.0,
        timeout: float | None = 120.0,  # noqa: ASYNC109  # it raises JobTimeout, with the status
    ) -> JobStatus:
        """Wait until a job has ended.

        A status that cannot be read for the moment is read again.

        Args:
            job_id: The job, or its id.
            interval: Seconds between two readings of the status, more than 0.
            timeout: Seconds to wait, more than 0; None for no limit.

        Returns:
            The final status.

        Raises:
            PrintFailed: The job ended with an error, which is in `error.status`.
            JobTimeout: The job has not ended. The last status is in `error.status`.
        """
        return await wait_for_end(JobWatch(self.status, _job_id(job_id), interval, timeout))

    def watch(
        self, job_id: str | AcceptedJob, interval: float = 2.0, timeout: float | None = None
    ) -> AsyncIterator[JobStatus]:
        """Iterate over the changes of the status of a job.

        Args:
            job_id: The job, or its id.
            interval: Seconds between two readings of the status, more than 0.
            timeout: Seconds for the whole iteration, more than 0; None for no limit.

        Returns:
            An iterator that ends with a final status, also that of a failed job. It raises `JobTimeout` when the time is over.
        """
        return JobWatch(self.status, _job_id(job_id), interval, timeout)

    def queued(self, page_size: int = 100, concurrency: int = 1, offset: int = 0) -> Paginator[QueuedJob]:
        """List the user's jobs that wait in pull queues for their release. Nothing is sent before the listing is iterated.

        Jobs cannot be released or deleted here: the API documents that it is possible, but not how.

        Args:
            page_size: Rows to request per page, 1 to 100.
            concurrency: Pages to request at the same time, at least 1.
            offset: Rows to skip, at least 0.

        Returns:
            A listing, in the order of the server.

        Note:
            docs/ezeep-api.md#print-jobs. The fields of a job are not documented: see `QueuedJob.raw`.
        """
        fetch = page_fetcher(self._api, QueuedJob, _queued_jobs, queued_page)
        return Paginator(fetch, page_size=page_size, concurrency=concurrency, offset=offset)

    # --- printing ------------------------------------------------------------------------------------------------------

    async def _order(
        self,
        printer_or_id: Printer | PrinterAssignment | UUID | str,
        options: PrintOptions | None,
        alias: str | None,
        names: list[str | None],
        file_type: str | None,
        delete_after: bool,
        check: bool,
    ) -> tuple[Order, bool]:
        """What to print, checked, and whether the printer is a queue."""
        printer_id = printer_id_of(printer_or_id)
        options = PrintOptions() if options is None else options
        if not isinstance(options, PrintOptions):  # pyright: ignore[reportUnnecessaryIsInstance]  # programs without a type checker
            raise TypeError(f"options must be PrintOptions, not {type(options).__name__}")
        checked_flag(delete_after, "delete_after")
        if alias is not None:
            checked_text(alias, "name", shortest=1)
        endings = _file_types(file_type, names)
        if not checked_flag(check, "check"):
            properties = wire_properties(options, None)
            is_queue = isinstance(printer_or_id, Printer) and printer_or_id.is_queue
            return Order(printer_id, endings[0], properties, alias, delete_after), is_queue
        supported = await self.supported_types()
        known = next((each for each in endings if each in supported), None)
        if known is None:
            raise UnsupportedFileType(
                f"the print service does not print files of the type {endings[0]!r}. It prints: {', '.join(sorted(supported))}",
                type=endings[0],
                supported=supported,
            )
        printer = (
            printer_or_id if isinstance(printer_or_id, Printer) else await self._printers.get(printer_id)
        )
        properties = {}
        if options != PrintOptions():
            properties = wire_properties(options, await self._printers.properties(printer_id))
        return Order(printer_id, known, properties, alias, delete_after), printer.is_queue

    async def _print(self, order: Order, document: Mapping[str, str], is_queue: bool) -> PrintJob:
        """Send the job, which happens once. Repeated only while the service says that it has nothing to print yet."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        secrets = secrets_of_url(document["fileurl"]) if "fileurl" in document else ()
        repeats = 0
        while True:
            request = order.request(document, secrets)
            try:
                response = await self._api.send(request)
            except Conflict as error:
                file_id = file_id_to_repeat(error, document if repeats else {})
                if file_id is None:
                    raise refused(error) from None
            except OutcomeUnknown as error:
                raise lost(error, is_queue) from error.__cause__
            except ApiError as error:
                # What was not processed, and what concerns the token, is no refusal of the job.
                raise (error if error.status in {401, 429, 503} else refused(error)) from error.__cause__
            else:
                job_id = accepted_job_id(request, response, is_queue)
                return PrintJob(job_id, order.printer_id, is_queue, printing=self)
            repeats += 1
            document = {"fileid": file_id}
            delay = backoff(repeats, random.random)
            if loop.time() - started + delay >= self._deadline:
                raise RequestTimeout(
                    f"the print service had not fetched the document within the deadline of {self._deadline:g} s. Nothing was "
                    "printed. Print again, or check that the address can be reached from the internet",
                    request_sent=True,
                    attempts=repeats,
                )
            logger.info("the print service still fetches the document: asking again in %.1f s", delay)
            await asyncio.sleep(delay)


@attrs.frozen
class PrintJob(Record):
    """A document that the print service has accepted.

    The id alone is enough for `session.printing.status(job_id)` in another process.
    """

    id: str
    printer_id: UUID
    is_queue: bool = False
    """Whether the job waits in a pull queue for its release. False for a printer that was given as an id with `check=False`."""
    _printing: Printing = attrs.field(alias="printing", kw_only=True, repr=False, eq=False)

    async def status(self) -> JobStatus:
        """Read the status of the job.

        Returns:
            The status, also that of a failed job.
        """
        return await self._printing.status(self.id)

    async def wait(self, interval: float = 2.0, timeout: float | None = 120.0) -> JobStatus:  # noqa: ASYNC109  # it raises JobTimeout, with the status
        """Wait until the document is printed.

        A job of a pull queue is accepted once it is stored, and ends when a person releases it. For such a job the status is
        read once and returned, whatever it is.

        Args:
            interval: Seconds between two readings of the status, more than 0.
            timeout: Seconds to wait, more than 0; None for no limit.

        Returns:
            The final status.

        Raises:
            PrintFailed: The job ended with an error, which is in `error.status`.
            JobTimeout: The job has not ended. The last status is in `error.status`.
        """
        if self.is_queue:
            return await self.status()
        return await self._printing.wait(self.id, interval, timeout)

    def watch(self, interval: float = 2.0, timeout: float | None = None) -> AsyncIterator[JobStatus]:
        """Iterate over the changes of the status. A job of a pull queue gives one status.

        Args:
            interval: Seconds between two readings of the status, more than 0.
            timeout: Seconds for the whole iteration, more than 0; None for no limit.

        Returns:
            An iterator that ends with a final status, also that of a failed job. It raises `JobTimeout` when the time is over.
        """
        return JobWatch(self._printing.status, self.id, interval, timeout, once=self.is_queue)


def _job_id(job_or_id: object) -> str:
    if not isinstance(job_or_id, str | AcceptedJob):
        raise not_an_id(job_or_id, "job_id", "a str", PrintJob)
    job_id = job_or_id.id if isinstance(job_or_id, AcceptedJob) else job_or_id
    return checked_text(job_id, "job_id", shortest=1, longest=LONGEST_TARGET)


def _file_types(given: str | None, names: list[str | None]) -> list[str]:
    """The types that a document may have: the given one, or the endings of its names. Raises `ValueError`."""
    if given is not None:
        named = checked_text(given, "type", shortest=1, longest=20).strip().lower().removeprefix(".")
        if not named.isascii() or not named.isalnum():
            raise ValueError(f'type must be the ending of a file name, such as "pdf", not {given!r}')
        return [named]
    found = [ending for each in names if each and (ending := type_from_name(each)) is not None]
    if not found:
        raise ValueError('the type of the document is not known: pass type="pdf" or the like')
    return found


def _checked_url(url: str) -> Secret:
    """An address for the service to download. No message shows its query."""
    checked_text(url, "url", shortest=1, longest=LONGEST_TARGET, secret=True)
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host or any(map(str.isspace, url)):
        raise ValueError("url must be an http:// or https:// address of a document")
    return Secret(url)


def _queued_jobs(params: Params) -> Request:
    return QUEUED_JOBS.page({"status": "INQUEUE", **params})
