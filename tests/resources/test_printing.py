"""`session.printing` against the sandbox: checks, print requests, jobs and their statuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, session_on
from helpers.support import QUICK

from ezeep_async import (
    BadRequest,
    Conflict,
    EzeepError,
    EzeepSession,
    JobStatus,
    JobTimeout,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Printer,
    PrintFailed,
    PrintJob,
    PrintOptions,
    RequestTimeout,
    ServerError,
    UnsupportedFileType,
    UnsupportedOption,
    is_retryable,
)
from ezeep_async.sandbox import Sandbox


PRINT = "POST /sfapi/Print/"
STATUS = "GET /sfapi/Status/"
PREPARE = "GET /sfapi/PrepareUpload/"
PUT = "PUT /userstorage/{id}"
LASER = Printer(UUID(int=1), "Laser")
PDF = b"%PDF-1.4 a page"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
async def laser(session: EzeepSession) -> Printer:
    return await session.printers.find("Front desk laser")


def body_of(sandbox: Sandbox) -> Any:
    """The last print request."""
    return json.loads([each for each in sandbox.requests if each.path == "/sfapi/Print/"][-1].body)


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_a_file_on_paper(
    session: EzeepSession, sandbox: Sandbox, laser: Printer, tmp_path: Path
) -> None:
    """The three lines of the README: a path, options, and a wait."""
    path = tmp_path / "Invoice 7.PDF"
    path.write_bytes(PDF)
    job = await session.printing.print_file(
        path, laser, PrintOptions(copies=2, duplex="long-edge", pages="1-2,5", tray="Tray 1", paper="A4")
    )
    sandbox.clock.advance(10)
    assert await job.wait(timeout=120) == JobStatus(0, "", 2, 2, 0)
    (printed,) = sandbox.printed
    assert (printed.content, printed.type, printed.alias) == (PDF, "pdf", "Invoice 7.PDF")
    assert printed.options == {
        "copies": 2, "duplex": True, "duplexmode": 2, "PageRanges": "1-2;5", "defaultSource": 259, "trayname": "Tray 1",
        "paper": "A4", "paperid": 9,
    }  # shorter than one item a line  # fmt: skip
    assert body_of(sandbox)["printanddelete"] is True
    assert isinstance(job, PrintJob)
    assert (job.id, job.printer_id, job.is_queue) == (printed.job_id, laser.id, False)


@pytest.mark.parametrize(
    ("name", "given", "alias", "sent"),
    [
        (None, None, "a.pdf", "pdf"),
        ("Invoice 7", None, "Invoice 7", "pdf"),
        ("Report v1.2", None, "Report v1.2", "pdf"),
        ("letter.DOCX", None, "letter.DOCX", "docx"),
        ("letter.docx", ".PDF", "letter.docx", "pdf"),
        (None, "Txt", "a.pdf", "txt"),
    ],
)
async def test_type_and_alias_of_a_path(
    session: EzeepSession,
    sandbox: Sandbox,
    laser: Printer,
    tmp_path: Path,
    name: str,
    given: str,
    alias: str,
    sent: str,
) -> None:
    """`type`, then the ending of `name`, then that of the path; the alias is `name` or the base name."""
    (tmp_path / "a.pdf").write_bytes(PDF)
    await session.printing.print_file(
        str(tmp_path / "a.pdf"), laser, name=name, type=given, delete_after=False
    )
    sentence = body_of(sandbox)
    assert (sentence["alias"], sentence["type"], sentence["printanddelete"]) == (alias, sent, False)
    assert "properties" not in sentence


async def test_bytes_have_no_alias(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """And need a type."""
    await session.printing.print_file(PDF, laser, type="pdf")
    assert "alias" not in body_of(sandbox)
    with pytest.raises(ValueError, match="type="):
        await session.printing.print_file(PDF, laser)
    await session.printing.print_file(PDF, laser, name="x.txt")
    assert body_of(sandbox)["type"] == "txt"


async def test_requests_of_a_first_job(sandbox: Sandbox, laser: Printer) -> None:
    """Six, as the docstring says: each of them has the whole `Settings.deadline`."""
    session = EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)
    sandbox.reset_counts()
    async with session:
        await session.printing.print_file(PDF, laser.id, PrintOptions(copies=2), type="pdf")
    assert [each.path.rpartition("/ERI")[0] or each.path for each in sandbox.requests] == [
        "/sfapi/GetConfiguration/",
        "/sfapi/GetPrinter/",
        "/sfapi/GetPrinterProperties/",
        "/sfapi/PrepareUpload/",
        "/userstorage",
        "/sfapi/Print/",
    ]


async def test_requests_of_a_job(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """What the checks read is kept: the second job takes three requests."""
    await session.printing.print_file(PDF, laser, PrintOptions(copies=2), type="pdf")
    sandbox.reset_counts()
    await session.printing.print_file(PDF, laser, PrintOptions(copies=2), type="pdf")
    assert [each.path.rpartition("/ERI")[0] or each.path for each in sandbox.requests] == [
        "/sfapi/PrepareUpload/",
        "/userstorage",
        "/sfapi/Print/",
    ]


async def test_without_a_check_nothing_is_read(
    session: EzeepSession, sandbox: Sandbox, laser: Printer
) -> None:
    """Neither types nor printers nor properties; an unknown type is sent."""
    sandbox.reset_counts()
    with pytest.raises(PrintFailed) as caught:
        await session.printing.print_file(PDF, laser.id, PrintOptions(paper="A9"), type="zpl", check=False)
    assert caught.value.status.code == 1804
    assert not [each for each in sandbox.requests if "Get" in each.path]


# --- checks ----------------------------------------------------------------------------------------------------------


async def test_an_unsupported_type(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """Whole items of the list, nothing uploaded."""
    types = await session.printing.supported_types()
    assert len(types) == 66
    assert {"pdf", "docx"} <= types
    for wrong in ("zpl", "df", "pd"):
        with pytest.raises(UnsupportedFileType) as caught:
            await session.printing.print_file(PDF, laser, type=wrong)
        assert (caught.value.type, caught.value.supported) == (wrong, types)
    assert sandbox.count(PREPARE) == 0
    assert sandbox.count("GET /sfapi/GetConfiguration/") == 1


@pytest.mark.parametrize("call", ["print_file", "print_url"])
async def test_an_unsupported_option(session: EzeepSession, sandbox: Sandbox, call: str) -> None:
    """Names what the printer has; nothing is uploaded or printed."""
    label = await session.printers.find("Warehouse label")
    method: Any = getattr(session.printing, call)
    source = PDF if call == "print_file" else "https://files.example/a.pdf"
    with pytest.raises(UnsupportedOption, match="'Label'") as caught:
        await method(source, label, PrintOptions(paper="A4"), type="pdf")
    assert caught.value.available == ("Label",)
    assert sandbox.count(PREPARE) == sandbox.count(PRINT) == 0


async def test_a_printer_that_the_user_does_not_have(session: EzeepSession, sandbox: Sandbox) -> None:
    """A bare id is looked up first."""
    with pytest.raises(NotFound):
        await session.printing.print_file(PDF, UUID(int=7), type="pdf")
    assert sandbox.count(PREPARE) == 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"type": ""}, ValueError),
        ({"type": "p/df"}, ValueError),
        ({"name": ""}, ValueError),
        ({"name": "x" * 256}, ValueError),
        ({"printer_or_id": "Front desk laser"}, ValueError),
        ({"options": {"copies": 1}}, TypeError),
        ({"delete_after": 1}, ValueError),
        ({"check": None}, ValueError),
        ({"source": 5}, TypeError),
        ({"source": None}, TypeError),
        ({"source": "/nonexistent/a.pdf"}, FileNotFoundError),
    ],
)
async def test_arguments_that_are_refused(
    session: EzeepSession, sandbox: Sandbox, changes: dict[str, Any], error: type[Exception]
) -> None:
    """Before anything is sent."""
    arguments: dict[str, Any] = {"source": PDF, "printer_or_id": LASER, "type": "pdf", **changes}
    with pytest.raises(error):
        await session.printing.print_file(**arguments)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "url", ["", "a.pdf", "ftp://x.example/a.pdf", "https:///a.pdf", "https://x.example/a b.pdf", None, 5]
)
async def test_addresses_that_are_refused(session: EzeepSession, sandbox: Sandbox, url: Any) -> None:
    """http and https only."""
    with pytest.raises(ValueError, match="url"):
        await session.printing.print_url(url, LASER, type="pdf")
    assert sandbox.requests == []


# --- one print -------------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> Any:
    return attrs.evolve(QUICK, **changes)


async def one_print(sandbox: Sandbox, **changes: Any) -> PrintJob | EzeepError:
    """Print once, and return the job or the error."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=settings(**changes)
    ) as session:
        try:
            laser = await session.printers.find("Front desk laser")
            return await session.printing.print_file(PDF, laser, type="pdf", check=False)
        except EzeepError as error:
            return error


@pytest.mark.parametrize(
    "fault",
    [{"drop": "before"}, {"drop": "after"}, {"status": 500}, {"status": 502}, {"status": 504}, {"status": 503},
     {"status": 503, "processed": True}, {"status": 500, "processed": True}, {"status": 408}, {"body": "<html>", "content_type": "text/html"},
     {"body": "{}"}, {"body": ""}, {"status": 502, "body": '{"code": 502}'}, {"status": 599}],
)  # shorter than one item a line  # fmt: skip
async def test_an_ambiguous_response_is_never_repeated(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    """`OutcomeUnknown` with how to find out; one print request."""
    sandbox.faults.add(PRINT, times=None, **fault)
    error = await one_print(sandbox)
    assert isinstance(error, OutcomeUnknown)
    assert "A person has to look at the printer" in str(error)
    assert str(error).endswith("Print again only if it is not there")
    assert error.may_have_happened
    assert not is_retryable(error)
    assert sandbox.count(PRINT) == 1
    assert len(sandbox.printed) <= 1


@pytest.mark.parametrize(
    "fault", [{"status": 429}, {"status": 429, "retry_after": 0.01}, {"status": 503, "retry_after": 0.01}]
)
async def test_what_was_not_processed_is_retried(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    """429, and 503 with Retry-After: one print in the end."""
    sandbox.faults.add(PRINT, times=2, **fault)
    assert isinstance(await one_print(sandbox), PrintJob)
    assert (sandbox.count(PRINT), len(sandbox.printed)) == (3, 1)


async def test_a_401_is_replayed_once(sandbox: Sandbox) -> None:
    """With a new token."""
    sandbox.faults.add(PRINT, status=401)
    assert isinstance(await one_print(sandbox), PrintJob)
    assert (sandbox.count(PRINT), len(sandbox.printed)) == (2, 1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 400}, BadRequest),
        ({"status": 403}, PermissionDenied),
        ({"status": 404}, NotFound),
        ({"status": 409}, Conflict),
        ({"status": 412}, Conflict),
    ],
)
async def test_a_refusal_without_a_code(
    sandbox: Sandbox, fault: dict[str, Any], error: type[EzeepError]
) -> None:
    """The usual errors."""
    sandbox.faults.add(PRINT, **fault)
    found = await one_print(sandbox)
    assert type(found) is error
    assert not found.may_have_happened
    assert sandbox.count(PRINT) == 1


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 412, 422, 500, 503])
async def test_a_refusal_with_a_code(sandbox: Sandbox, status: int) -> None:
    """`PrintFailed` with the code and the message, under any status."""
    sandbox.faults.add(PRINT, status=status, body='{"code": 804, "message": "not accepted"}')
    error = await one_print(sandbox)
    assert isinstance(error, PrintFailed)
    assert error.status == JobStatus(804, "not accepted")
    assert str(error).count("804") == 1
    assert "not accepted" in str(error)
    assert not error.may_have_happened
    assert sandbox.printed == []


async def test_a_queue_is_named_in_the_unknown_outcome(session: EzeepSession, sandbox: Sandbox) -> None:
    """The list of waiting jobs shows whether it was accepted."""
    queue = await session.printers.find("Pull queue")
    sandbox.faults.add(PRINT, drop="after")
    with pytest.raises(OutcomeUnknown, match=r"session\.printing\.queued\(\)"):
        await session.printing.print_file(PDF, queue, type="pdf")
    assert [job.raw["printer_name"] for job in await session.printing.queued().collect()] == ["Pull queue"]


# --- by address ------------------------------------------------------------------------------------------------------


async def test_a_document_that_the_service_downloads(
    session: EzeepSession, sandbox: Sandbox, laser: Printer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """412 is repeated with the id of the file."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    sandbox.behaviour.url_not_ready = 3
    url = "https://files.example/in voices/7.PDF?key=long-secret-key".replace(" ", "%20")
    sandbox.printing.web[url] = PDF
    job = await session.printing.print_url(url, laser, name="Invoice 7")
    (printed,) = sandbox.printed
    assert (printed.job_id, printed.url, printed.type, printed.alias) == (job.id, url, "pdf", "Invoice 7")
    sent = [json.loads(each.body) for each in sandbox.requests if each.path == "/sfapi/Print/"]
    assert [("fileurl" in each, "fileid" in each) for each in sent] == [(True, False)] + [(False, True)] * 3
    assert all(each["printanddelete"] and each["type"] == "pdf" for each in sent)


async def test_a_download_that_does_not_end(sandbox: Sandbox) -> None:
    """`RequestTimeout` at the deadline; nothing was printed, so the call can be repeated."""
    sandbox.behaviour.url_not_ready = 1000
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=settings(deadline=0.6),
    ) as session:
        laser = await session.printers.find("Front desk laser")
        with pytest.raises(RequestTimeout, match="fetched") as caught:
            await session.printing.print_url("https://files.example/a.pdf", laser)
    assert not caught.value.may_have_happened
    assert sandbox.printed == []


async def test_the_second_412_needs_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents do not say what it contains."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    replies = iter(
        [
            (412, {"fileid": "ERI_1", "sasUri": ""}),
            (412, {}),
            (412, {"fileid": "ERI_2"}),
            (200, {"jobid": "j"}),
        ]
    )

    def serve(seen: Seen) -> web.Response:
        status, body = next(replies)
        return web.json_response(body, status=status)

    async with Stub(serve) as stub, session_on(stub.url) as session:
        job = await session.printing.print_url("https://files.example/a.pdf", LASER, check=False)
    assert job.id == "j"
    assert [each.json.get("fileid") for each in stub.seen] == [None, "ERI_1", "ERI_1", "ERI_2"]


async def test_the_secrets_of_an_address_are_redacted(
    session: EzeepSession, sandbox: Sandbox, laser: Printer, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the server repeats the address, its query is hidden."""
    url = "https://files.example/a.pdf?key=long-secret-key"
    sandbox.faults.add(
        PRINT, status=400, body=json.dumps({"detail": f"cannot fetch {url}", "fileurl": [url]})
    )
    with pytest.raises(BadRequest) as caught:
        await session.printing.print_url(url, laser)
    for shown in (str(caught.value), repr(caught.value.body), caplog.text):
        assert "long-secret-key" not in shown
    assert "files.example" in str(caught.value)


# --- statuses --------------------------------------------------------------------------------------------------------


async def test_an_id_that_must_be_quoted(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """Colons, blanks and a number sign; 87 is what an id without quoting gets."""
    job = await session.printing.print_file(PDF, laser, type="pdf")
    assert {":", "#", " "} <= set(job.id)
    assert (await session.printing.status(job.id)).code == 1246
    assert (await session.printing.status(job.id.replace("#", "%23"))).code == 87
    assert (await session.printing.status(job.id.partition("#")[0])).code == 87
    assert (await session.printing.status(job.id[:-1] + "4")).code == 2
    for wrong in ("", None, 5):
        with pytest.raises(ValueError):
            await session.printing.status(wrong)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("status", [200, 400, 404, 409])
async def test_an_error_response_is_a_status(session: EzeepSession, sandbox: Sandbox, status: int) -> None:
    """A `code` in the body, whatever the HTTP status is."""
    sandbox.faults.add(STATUS, status=status, body='{"code": 87, "message": "malformed"}')
    assert await session.printing.status("x") == JobStatus(87, "malformed")


async def test_an_error_without_a_code_is_raised(session: EzeepSession, sandbox: Sandbox) -> None:
    """As by every call."""
    sandbox.faults.add(STATUS, status=404)
    with pytest.raises(NotFound):
        await session.printing.status("x")


@pytest.mark.parametrize("code", [3011, 2, 87, 412, 804, 1048579])
async def test_a_failed_job(session: EzeepSession, sandbox: Sandbox, laser: Printer, code: int) -> None:
    """`PrintFailed` with the status; `watch` gives it without an error."""
    sandbox.printing.script(code, text="ERROR|", times=None)
    sandbox.behaviour.job_seconds = 0
    job = await session.printing.print_file(PDF, laser, type="pdf")
    with pytest.raises(PrintFailed, match=str(code)) as caught:
        await job.wait()
    assert (caught.value.status.code, caught.value.status.text) == (code, "ERROR|")
    assert [each.code async for each in job.watch()] == [code]


async def test_a_watch_gives_changes(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """One status for each change, the final one last."""
    job = await session.printing.print_file(PDF, laser, type="pdf")
    codes = []
    async for status in job.watch(interval=0.01):
        codes.append(status.code)
        sandbox.clock.advance(0.3)
    assert codes == [1246, 129, 129, 129, 0] or codes == [1246, 129, 0]
    assert [each.code async for each in session.printing.watch(job.id)] == [0]


async def test_equal_statuses_are_one(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """`watch` reads on until something changes."""
    job = await session.printing.print_file(PDF, laser, type="pdf")
    watch = job.watch(interval=0.01)
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch))
    while sandbox.count(STATUS) < 4:
        await asyncio.sleep(0.01)
    assert not waiting.done()
    sandbox.clock.advance(10)
    assert (await waiting).succeeded
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_a_wait_that_takes_too_long(session: EzeepSession, sandbox: Sandbox, laser: Printer) -> None:
    """`JobTimeout` with the last status, also a `TimeoutError`."""
    job = await session.printing.print_file(PDF, laser, type="pdf")
    with pytest.raises(JobTimeout, match="no status yet") as caught:
        await job.wait(interval=0.01, timeout=0.05)
    assert caught.value.status == JobStatus(1246, position=1)
    assert isinstance(caught.value, TimeoutError)
    hold = sandbox.faults.hold(STATUS)
    with pytest.raises(JobTimeout) as caught:
        await job.wait(interval=0.01, timeout=0.05)
    assert caught.value.status is None
    hold.release()


async def test_a_status_that_cannot_be_read_is_read_again(sandbox: Sandbox) -> None:
    """5xx and 429, within the time limit; other errors are raised."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=settings(retries=0)
    ) as session:
        laser = await session.printers.find("Front desk laser")
        job = await session.printing.print_file(PDF, laser, type="pdf", check=False)
        sandbox.clock.advance(10)
        sandbox.faults.add(STATUS, status=500)
        sandbox.faults.add(STATUS, status=429, nth=2)
        sandbox.faults.add(STATUS, drop="before", nth=3)
        assert (await job.wait(interval=0.01)).succeeded
        assert sandbox.count(STATUS) == 4
        sandbox.faults.add(STATUS, status=500)
        with pytest.raises(ServerError):
            await job.status()
        sandbox.faults.add(STATUS, status=403)
        with pytest.raises(PermissionDenied):
            await job.wait(interval=0.01)


async def test_a_job_in_a_queue(session: EzeepSession, sandbox: Sandbox) -> None:
    """It is accepted: its status is read once, whatever it is."""
    queue = await session.printers.find("Pull queue")
    job = await session.printing.print_file(PDF, queue.id, type="pdf")
    assert job.is_queue
    sandbox.reset_counts()
    assert not (await job.wait()).is_final
    assert [each.code async for each in job.watch()] == [1246]
    assert sandbox.count(STATUS) == 2
    unchecked = await session.printing.print_file(PDF, queue.id, type="pdf", check=False)
    assert not unchecked.is_queue
    assert await session.printing.queued(page_size=1).count() == 2
    assert sandbox.requests[-1].query["status"] == "INQUEUE"
    next(iter(sandbox.printing.jobs.values())).release()
    assert len(await session.printing.queued().collect()) == 1


@pytest.mark.parametrize("wrong", [0, -1, True, "1", float("nan"), float("inf")])
async def test_times_that_are_refused(session: EzeepSession, wrong: Any) -> None:
    """Also by the plain method `watch`, at its call."""
    for options in ({"interval": wrong}, {"timeout": wrong}):
        with pytest.raises(ValueError):
            session.printing.watch("job", **options)
        with pytest.raises(ValueError):
            await session.printing.wait("job", **options)


def test_jobs_are_equal_by_their_fields(session: EzeepSession) -> None:
    """The session is no part of a job's repr."""
    job = PrintJob("j", UUID(int=1), printing=session.printing)
    assert job == PrintJob("j", UUID(int=1), printing=EzeepSession(session._core.app).printing)
    assert repr(job) == f"PrintJob(id='j', printer_id={UUID(int=1)!r}, is_queue=False)"


@pytest.mark.parametrize("http_status", [200, 500])
@pytest.mark.parametrize("code", [0, 129, 1246])
async def test_a_code_that_refuses_nothing(http_status: int, code: int) -> None:
    """Success, or progress, but no job id: the document may be on paper, so this is no `PrintFailed`."""
    body = {"code": code, "message": ""}
    async with (
        Stub(lambda _: web.json_response(body, status=http_status)) as stub,
        session_on(stub.url) as session,
    ):
        with pytest.raises(OutcomeUnknown):
            await session.printing.print_url("https://files.example/a.pdf", LASER, check=False)
    assert len(stub.seen) == 1
