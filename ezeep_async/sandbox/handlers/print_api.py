"""The print API: printers, uploads, print requests, and the status of jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import Refused, json_response
from ezeep_async.sandbox.state.jobs import Printed
from ezeep_async.sandbox.state.organization import Person
from ezeep_async.sandbox.state.printers import SandboxPrinter
from ezeep_async.sandbox.state.printing import Upload
from ezeep_async.sandbox.state.storage import Content, unwrapped


routes = RouteTable()
_BASE = "/sfapi/"
_FILEEXT = (
    # Ends with a semicolon, as documented.
    "bmp;csv;doc;docm;docx;dot;dotm;dotx;eml;gif;htm;html;jpeg;jpg;log;mht;mhtml;odf;odg;odm;odp;odt;otg;oth;otp;ott;"
    "pdf;png;pot;potm;potx;pps;ppsx;ppt;pptm;pptx;rtf;scp;sda;sdd;sds;sdw;sgl;smf;sti;stw;sxd;sxg;sxi;sxm;sxw;tif;tiff;"
    "tpf;txt;vor;wtx;xls;xlsb;xlsm;xlsx;xlt;xltm;xltx;xml;xps;"  # codespell:ignore vor
)
_FILE_TYPES = frozenset(_FILEEXT.split(";")) - {""}
_NOT_FOUND, _INVALID_PARAMETER, _INVALID_PRINTER, _INVALID_TYPE = 2, 87, 1801, 1804
"""Windows system error codes. The documents do not say which of them the service uses here, nor its HTTP status."""
_JOB_ID = re.compile(r"[^:#]+:[^:#]+_tpcb_\d+_\d+#\d+:\d+", re.ASCII)
_PAGES = r"[1-9]\d{0,8}(-[1-9]\d{0,8})?"
_PAGE_RANGES = re.compile(f"{_PAGES}(;{_PAGES})*", re.ASCII)
_MOST_COPIES = 2**15 - 1
"""The largest `dmCopies` of the DEVMODE structure, which the properties follow."""
_OPTIONS: dict[str, type] = {
    "paper": str,
    "paperid": int,
    "paperlength": int,
    "paperwidth": int,
    "color": bool,
    "duplex": bool,
    "duplexmode": int,
    "orientation": int,
    "copies": int,
    "resolution": str,
    "defaultSource": int,
    "trayname": str,
    "PageRanges": str,
}
_SPELLING = {name.lower(): name for name in _OPTIONS}


def _refused(code: int, message: str, status: int = 400) -> Refused:
    return Refused(json_response({"code": code, "message": message}, status))


# --- configuration and printers


@routes.add("GET", _BASE + "GetConfiguration/")
def get_configuration(_: State, __: RecordedRequest, ___: Person) -> web.Response:
    return json_response(
        {
            "System": {
                "FILEEXT": _FILEEXT,
                "MaxLocalPreviewFileSize": 16777216,
                "VALIDITY": 900,
            },
            "User": {"$LoggedUserCount": 1, "ATTACHMENTSIZEMAX": 5, "PWEXPIRATIONDATE": -1, "TPUID": "0:0"},
            "Drivers": {"PrinterDynamic": "", "PrinterStatic": ""},
            "Folders": [],
            "Schema": {"Version": "1.0"},
            "Server": {"VERSION": "1.0"},
            "SFForms": {"$Count": 0},
            "Shell": [],
            "Workplace": {"DiskQuotaFree": -1.0, "DiskQuotaLimit": -1.0, "DiskQuotaUsed": -1.0},
        }
    )


@routes.add("GET", _BASE + "GetPrinter/")
def get_printers(state: State, _: RecordedRequest, caller: Person) -> web.Response:
    printers: list[dict[str, object]] = []
    for printer in state.printing.printers_of(caller):
        shown: dict[str, object] = {"id": printer.id, "location": printer.location, "name": printer.name}
        printers.append(shown if printer.is_queue is None else {**shown, "is_queue": printer.is_queue})
    return json_response(printers)


@routes.add("GET", _BASE + "GetPrinterProperties/")
def get_properties(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """The properties of one printer, by `id` or by `printer` (its name), or of all. Unknown: an empty list."""
    printers = state.printing.printers_of(caller)
    if "id" in request.query:
        wanted = request.query["id"].lower()
        printers = [printer for printer in printers if str(printer.id) == wanted]
    elif "printer" in request.query:
        printers = [printer for printer in printers if printer.name == request.query["printer"]]
    return json_response([_properties(printer) for printer in printers])


def _properties(printer: SandboxPrinter) -> dict[str, Any]:
    papers, trays = printer.papers, printer.trays
    default = next((paper for paper in papers if paper.id == 9), papers[0] if papers else None)
    resolution = next((each for each in reversed(printer.resolutions) if each), "")
    properties: dict[str, Any] = {
        "Id": printer.id,
        "Name": printer.name,
        "Location": printer.location,
        "Driver": printer.driver,
        "Collate": True,
        "Color": printer.color,
        "ColorSupported": printer.color,
        "DuplexSupported": printer.duplex,
        "DuplexMode": 2 if printer.duplex else 0,
        "OrientationsSupported": ["portrait", "landscape"],
        "OrientationsSupportedId": [1, 2],
        "MediaSupported": [paper.name for paper in papers if paper.id != 256],
        "MediaSupportedId": [paper.id for paper in papers if paper.id != 256],
        "PaperFormats": [
            {
                "Id": paper.id,
                **({} if paper.name is None else {"Name": paper.name}),
                "XRes": paper.width,
                "YRes": paper.length,
                **({"Default": True} if paper is default else {}),
            }
            for paper in papers
        ],
        "Resolutions": printer.resolutions,
        "DefaultResolution": resolution,
        "Trays": [{"Index": tray.index, "Name": tray.name, "Default": tray is trays[0]} for tray in trays]
        or [None],
        "Default": {
            "Duplex": "duplex_vertical" if printer.duplex else "duplex_simplex",
            "Color": "color" if printer.color else "monochrome",
            "Orientation": "portrait",
            "OrientationIndex": 1,
            "Resolution": resolution,
            "Paper": "" if default is None else default.name or "",
            "Tray": trays[0].name if trays else "",
        },
        "MaxXExtent": 0,
        "MaxYExtent": 0,
        "TPUID": 1,
        **printer.properties,
    }
    return {name: value for name, value in properties.items() if value is not ...}


# --- printing


@routes.add("GET", _BASE + "PrepareUpload/")
def prepare_upload(state: State, _: RecordedRequest, __: Person) -> web.Response:
    fileid = state.printing.new_upload().fileid
    return json_response({"fileid": fileid, "sasUri": state.storage.sign(fileid)})


@routes.add("POST", _BASE + "Print/")
def print_document(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Create a job. It has no idempotency key: each request that gets here creates one."""
    fields = _object(request.body)
    printer = _printer(state, caller, _text(fields, "printerid", required=True))
    file_type = _text(fields, "type", required=True)
    if file_type not in _FILE_TYPES:
        raise _refused(_INVALID_TYPE, f"The type {file_type!r} is not one of System.FILEEXT.")
    options = _options(fields.get("properties"))
    alias = _text(fields, "alias")
    deleted = fields.get("printanddelete", False)
    if not isinstance(deleted, bool):
        raise _refused(_INVALID_PARAMETER, "printanddelete is no boolean.")
    upload = _upload(state, _text(fields, "fileid"), _text(fields, "fileurl"))
    if upload.attempts_left > 0:
        upload.attempts_left -= 1
        return json_response({"fileid": upload.fileid, "sasUri": ""}, 412)
    content = _content(state, upload)

    def printed(job_id: str) -> Printed:
        return Printed(
            job_id=job_id,
            content=content.data,
            size=content.size,
            type=file_type or "",
            printer=printer,
            user=caller,
            alias=alias,
            fileid=upload.fileid,
            url=upload.url,
            options=options,
            deleted=deleted,
        )

    job = state.printing.new_job(printed, printer)
    if deleted:
        state.storage.blobs.pop(upload.fileid, None)
        state.printing.uploads.pop(upload.fileid, None)
    return json_response({"jobid": job.id})


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _refused(_INVALID_PARAMETER, "The body is no JSON object.") from None
    # Keys are not case-sensitive: clients in use send other spellings.
    return {name.lower(): value for name, value in fields.items()}


def _text(fields: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = fields.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value:
        raise _refused(_INVALID_PARAMETER, f"{name} is missing, or it is no string.")
    return value


def _printer(state: State, caller: Person, printer_id: str | None) -> SandboxPrinter:
    for printer in state.printing.printers_of(caller):
        if str(printer.id) == (printer_id or "").lower():
            return printer
    raise _refused(_INVALID_PRINTER, "There is no such printer, or you may not print to it.")


def _options(properties: object) -> dict[str, object]:
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise _refused(_INVALID_PARAMETER, "properties is no object.")
    options: dict[str, object] = {}
    for name, value in cast("dict[str, object]", properties).items():
        known = _SPELLING.get(name.lower())
        # By the exact type: a bool is an int too.
        if known is not None and type(value) is not _OPTIONS[known]:
            raise _refused(_INVALID_PARAMETER, f"properties.{known} has a wrong type.")
        options[known or name] = value
    ranges = options.get("PageRanges", "1")
    if not isinstance(ranges, str) or _PAGE_RANGES.fullmatch(ranges) is None:
        raise _refused(_INVALID_PARAMETER, "PageRanges is no list such as 1-2;5.")
    copies = options.get("copies", 1)
    if not isinstance(copies, int) or not 1 <= copies <= _MOST_COPIES:
        raise _refused(_INVALID_PARAMETER, f"copies is not a number from 1 to {_MOST_COPIES}.")
    return options


def _upload(state: State, fileid: str | None, url: str | None) -> Upload:
    if (fileid is None) is (url is None):
        raise _refused(_INVALID_PARAMETER, "Send one of fileid and fileurl.")
    if fileid is None:
        return state.printing.new_upload(url)
    if fileid not in state.printing.uploads:
        raise _refused(_NOT_FOUND, "There is no such file.")
    return state.printing.uploads[fileid]


def _content(state: State, upload: Upload) -> Content:
    """The document, without the frame of a multipart upload."""
    if upload.url is not None:
        data = state.printing.web.get(upload.url, b"")
        return Content(len(data), data)
    blob = state.storage.blobs.get(upload.fileid)
    if blob is None or blob.content is None:
        raise _refused(_NOT_FOUND, "The file was not uploaded.")
    if len(blob.content.data) < blob.content.size:  # not kept
        return blob.content
    data = unwrapped(blob.content.data, blob.content_type)
    return Content(len(data), data)


@routes.add("GET", _BASE + "Status/")
def get_status(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """The status of a job. Its HTTP status is 200 for unknown and malformed ids too."""
    job_id = request.query.get("id", "")
    job = state.printing.jobs.get(job_id)
    if job is None or job.printed.user.id != caller.id:
        # An id whose "#" was not quoted ends before it.
        code = _NOT_FOUND if _JOB_ID.fullmatch(job_id) else _INVALID_PARAMETER
        return _status(code, "", (0, 0), 0)
    return _status(*job.status, job.pages, state.printing.position(job))


def _status(code: int, text: str, pages: tuple[int, int], position: int) -> web.Response:
    return json_response(
        {
            "jobpagesprinted": pages[0],
            "jobpagestotal": pages[1],
            "jobposition": position,
            "jobstatus": code,
            "jobstatusstring": text,
        }
    )
