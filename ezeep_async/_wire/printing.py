"""Requests to the print API, and what its responses say. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast
from urllib.parse import quote
from uuid import NAMESPACE_OID, UUID, uuid5

import attrs
from yarl import URL

from ezeep_async._text.redaction import Secret
from ezeep_async._wire.converter import PageBody, decode, decode_plain, encode
from ezeep_async._wire.requests import Collection, Host, Request
from ezeep_async.errors import UnexpectedResponse
from ezeep_async.models.printers import PaperFormat, Printer, PrinterProperties, Tray
from ezeep_async.models.printing import JobStatus, QueuedJob


SHORTEST_SECRET = 8
"""Characters of a value in a URL that is redacted by itself. Shorter ones are parts of many words."""
TENTHS_PER_MM = 10


def _get(path: str, query: str = "") -> Request:
    return Request("GET", Host.PRINT, path, path, query)


CONFIGURATION = _get("/sfapi/GetConfiguration/")
PRINTERS = _get("/sfapi/GetPrinter/")
PREPARE_UPLOAD = _get("/sfapi/PrepareUpload/")
QUEUED_JOBS = Collection(Host.API, "/printing/v1/printjobs/")


def properties_request(printer_id: UUID) -> Request:
    """What one printer can do."""
    return _get("/sfapi/GetPrinterProperties/", f"id={printer_id}")


def status_request(job_id: str) -> Request:
    """The status of a job. Its id is quoted once: it contains `:`, `#`, blanks and percent signs."""
    return _get("/sfapi/Status/", f"id={quote(job_id, safe='')}")


@attrs.frozen
class Order:
    """The fields of a print request, other than its document."""

    printer_id: UUID
    type: str
    properties: Mapping[str, object]
    name: str | None
    delete_after: bool

    def request(self, document: Mapping[str, str], secrets: tuple[str, ...] = ()) -> Request:
        """Print `document`, which is a `fileid` or a `fileurl`."""
        values: dict[str, object] = {
            **{name: str(value) for name, value in document.items()},  # a `Secret` is not encoded
            "type": self.type,
            "printerid": str(self.printer_id),
            "printanddelete": self.delete_after,
        }
        if self.name is not None:
            values["alias"] = self.name
        if self.properties:
            values["properties"] = self.properties
        path = "/sfapi/Print/"
        return Request(
            "POST", Host.PRINT, path, path, body=encode(values), idempotent=False, once=True, secrets=secrets
        )


def secrets_of_url(url: str) -> tuple[str, ...]:
    """The parts of an address that give access to what is there: its password, its query and the values in that."""
    query = url.partition("?")[2].partition("#")[0]
    parsed = URL(url)
    found = [query, *parsed.query.values(), parsed.password or ""]
    return tuple(Secret(each) for each in dict.fromkeys(found) if len(each) >= SHORTEST_SECRET)


# --- responses -----------------------------------------------------------------------------------------------------


def printers_page(body: bytes) -> PageBody[Printer]:
    """The printers of the user, who gets all of them at once."""
    printers = decode(body, list[Printer])
    return PageBody(printers, len(printers))


def supported_types(body: bytes) -> frozenset[str]:
    """The file types in a configuration. The list ends with a separator, so its last item is empty."""
    system = mapping(mapping(decode_plain(body)).get("System"))
    listed = system.get("FILEEXT")
    if not isinstance(listed, str):
        raise UnexpectedResponse("the configuration has no list of file types", path="$.System.FILEEXT")
    return frozenset(item.strip().lstrip(".").lower() for item in listed.split(";")) - {""}


def printer_properties(body: bytes, printer_id: UUID) -> PrinterProperties | None:
    """The properties of a printer; None if the server has none.

    The documents contradict themselves and the service: names are null, lists contain null or are absent.
    """
    rows = mappings(decode_plain(body))
    same = [row for row in rows if _text(row.get("Id")).casefold() == str(printer_id)]
    # A single row may write its id in another way. Of several, none may be that of another printer.
    row = next(iter(same or (rows if len(rows) == 1 else [])), None)
    if row is None:
        return None
    papers = [
        PaperFormat(
            _integer(paper.get("Id")),
            _text(paper.get("Name")) or None,
            _integer(paper.get("XRes")) / TENTHS_PER_MM,
            _integer(paper.get("YRes")) / TENTHS_PER_MM,
            paper.get("Default") is True,
        )
        for paper in mappings(row.get("PaperFormats"))
    ]
    trays = [
        Tray(_integer(tray.get("Index")), _text(tray.get("Name")), tray.get("Default") is True)
        for tray in mappings(row.get("Trays"))
    ]
    color = row.get("ColorSupported", row.get("Color"))
    return PrinterProperties(
        id=printer_id,
        name=_text(row.get("Name")),
        location=_text(row.get("Location")),
        driver=_text(row.get("Driver")),
        color=(row.get("Color") if color is None else color) is True,
        duplex=row.get("DuplexSupported") is True,
        collate=row.get("Collate") is True,
        orientations=_orientations(row),
        papers=tuple(papers),
        resolutions=_texts(row.get("Resolutions")),
        trays=tuple(trays),
        raw=row,
    )


def _orientations(row: Mapping[str, object]) -> tuple[str, ...]:
    ids = {1: "portrait", 2: "landscape"}
    named = _texts(row.get("OrientationsSupported"))
    numbers = (_integer(number) for number in _list(row.get("OrientationsSupportedId")))
    return named or tuple(ids[number] for number in numbers if number in ids)


def status_in(value: object) -> JobStatus | None:
    """The status in a response of `Status`, or in that of an error: it has a `code` instead. None if there is none."""
    fields = mapping(value)
    code = _code(fields.get("jobstatus"))
    if code is not None:
        numbers = (_integer(fields.get(f"job{name}")) for name in ("pagesprinted", "pagestotal", "position"))
        return JobStatus(code, _text(fields.get("jobstatusstring")), *numbers)
    number = fields.get("code")
    # A code that is text is of another part of the service.
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    return JobStatus(number, _text(fields.get("message")))


def read_status(body: bytes) -> JobStatus:
    """The status of a job."""
    status = status_in(decode_plain(body))
    if status is None:
        raise UnexpectedResponse("the response has no status of a job", path="$.jobstatus")
    return status


def job_id_in(value: object) -> str | None:
    """The id of the job in a response of `Print`."""
    return _text(mapping(value).get("jobid")) or None


def file_id_in(value: object) -> str | None:
    """The id of the file in a response of `Print`: that of a document that the service still fetches."""
    return _text(mapping(value).get("fileid")) or None


def queued_page(body: bytes) -> PageBody[QueuedJob]:
    """A page of jobs in a queue. Their fields are not documented."""
    page = decode(body, PageBody[dict[str, object]])
    return PageBody([_queued(row) for row in page.results], page.count, page.next)


def _queued(row: Mapping[str, object]) -> QueuedJob:
    for name in ("id", "printjob_id"):
        try:
            return QueuedJob(UUID(_text(row.get(name))), row)
        except ValueError:
            continue
    return QueuedJob(uuid5(NAMESPACE_OID, encode(row).decode()), row)


def mapping(value: object) -> Mapping[str, object]:
    """The object itself, or an empty one for what is none."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def mappings(value: object) -> list[Mapping[str, object]]:
    """The objects in a list, which may contain null."""
    return [cast("dict[str, object]", each) for each in _list(value) if isinstance(each, dict)]


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for each in _list(value) if (text := _text(each)))


def _code(value: object) -> int | None:
    if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _integer(value: object) -> int:
    return _code(value) or 0
