"""The print API: printers, properties, uploads, print requests, and statuses."""

from __future__ import annotations

import asyncio
from io import BytesIO
from urllib.parse import quote, urlsplit

import attrs
import pytest
from aiohttp import FormData

from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.printers import Paper, Tray


GET_PRINTER = "/sfapi/GetPrinter/"
PROPERTIES = "/sfapi/GetPrinterProperties/"
PRINT = "/sfapi/Print/"
BLOB = {"x-ms-blob-type": "BlockBlob"}
URL = "https://files.example.com/invoice-7.pdf"
PDF = b"%PDF-1.7 /Type /Pages /Type /Page /Type/Page\r\n\r\n\xff\x00"


@attrs.define
class Paperwork:
    """Sends documents to printers."""

    client: object
    session: object
    sandbox: Sandbox

    async def upload(self, data=PDF, **options):
        """The fileid of a new upload."""
        status, prepared = await self.client("GET", "/sfapi/PrepareUpload/")
        assert status == 200
        headers = BLOB | options.pop("headers", {})
        async with self.session.put(prepared["sasUri"], data=data, headers=headers, **options) as response:
            assert (response.status, await response.read()) == (201, b"")
        return prepared["fileid"]

    async def print(self, printer=0, **fields):
        """The response to a Print request for the printer at that place."""
        printer = [*self.sandbox.printing.printers][printer]
        body = {"type": "pdf", "printerid": str(printer), **fields}
        return await self.client("POST", PRINT, json=body)

    async def status(self, job_id):
        status, body = await self.client("GET", f"/sfapi/Status/?id={quote(job_id, safe='')}")
        assert status == 200
        return body


@pytest.fixture
def work(client, session, server):
    return Paperwork(client, session, server)


async def test_own_origins(server, work, client):
    """The storage host is neither of the three hosts; the signed URL is short-lived, and can write only."""
    _, prepared = await client("GET", "/sfapi/PrepareUpload/")
    url = urlsplit(prepared["sasUri"])
    origins = attrs.astuple(server.endpoints)
    assert len({*origins, f"{url.scheme}://{url.netloc}"}) == 4
    assert prepared["fileid"].startswith("ERI_")
    assert url.path == f"/userstorage/{prepared['fileid']}"
    assert {"sp=wl", "sr=b"} <= {*url.query.split("&")}


@pytest.mark.parametrize("path", ["GetPrinter/", "GetPrinter", "getprinter", "GETPRINTER/"])
async def test_slash_and_case_of_the_last_part(client, server, path):
    status, printers = await client("GET", f"/sfapi/{path}")
    assert (status, len(printers)) == (200, 4)
    assert server.count("GET /sfapi/GetPrinter/") == 1


async def test_other_paths_and_methods(client, server):
    for path in ("/sfapi/", "/sfapi/Nothing/", "/SFAPI/GetPrinter/", "/sfapi/GetPrinter/x/"):
        async with client.session.get(server.endpoints.print + path) as response:
            assert response.status == 404
    server.requests.clear()
    assert (await client("POST", GET_PRINTER))[0] == 405


@pytest.mark.parametrize(
    "path", ["GetConfiguration", "GetPrinter", "GetPrinterProperties", "PrepareUpload", "Status"]
)
async def test_every_call_needs_a_token(client, path):
    assert (await client("GET", f"/sfapi/{path}/", auth=None))[0] == 401
    assert (await client("POST", PRINT, auth=None))[0] == 401


async def test_configuration(client):
    _, configuration = await client("GET", "/sfapi/GetConfiguration/")
    extensions = configuration["System"]["FILEEXT"].split(";")
    assert (len(extensions), extensions[-1]) == (67, "")
    assert {"pdf", "docx", "txt", "xps"} <= {*extensions}


async def test_printers(client, server):
    _, printers = await client("GET", GET_PRINTER)
    assert [printer["name"] for printer in printers] == [
        "Front desk laser",
        "Pull queue",
        "Warehouse label",
        "Second floor",
    ]
    assert [printer["is_queue"] for printer in printers] == [False, True, False, False]
    assert printers[0].keys() == {"id", "name", "location", "is_queue"}
    assert printers == (await client("GET", GET_PRINTER))[1]


async def test_printers_of_an_older_service(client, server):
    """They have no `is_queue`."""
    next(iter(server.printing.printers.values())).is_queue = None
    _, printers = await client("GET", GET_PRINTER)
    assert [each.get("is_queue") for each in printers] == [None, True, False, False]
    assert "is_queue" not in printers[0]


async def test_the_same_seed_gives_the_same_printers():
    first, second, other = (Sandbox(users=1, printers=9, seed=seed).printing.printers for seed in (5, 5, 6))
    assert [*first] == [*second] != [*other]
    assert len({printer.name for printer in first.values()}) == 9
    with pytest.raises(ValueError, match="printers"):
        Sandbox(printers=-1)


async def test_properties(client, server):
    _, everything = await client("GET", PROPERTIES)
    assert [each["Name"] for each in everything] == [
        printer.name for printer in server.printing.printers.values()
    ]
    laser, _, label, older = everything
    assert (await client("GET", PROPERTIES, params={"id": laser["Id"]}))[1] == [laser]
    assert (await client("GET", PROPERTIES, params={"printer": "Warehouse label"}))[1] == [label]
    assert (await client("GET", PROPERTIES, params={"id": "x"}))[1] == []
    assert (laser["Color"], laser["DuplexSupported"], laser["DuplexMode"]) == (True, True, 2)
    assert laser["MediaSupported"] == ["Auto", "A4", "Letter", None]
    assert laser["MediaSupportedId"] == [0, 9, 1, 0]
    assert laser["PaperFormats"][1] == {"Id": 9, "Name": "A4", "XRes": 2100, "YRes": 2970, "Default": True}
    assert "Name" not in laser["PaperFormats"][-1]
    assert laser["Trays"][0] == {"Index": 15, "Name": "Automatic", "Default": True}
    assert (label["Color"], label["Trays"], label["Resolutions"]) == (False, [None], ["", "203"])
    assert not older.keys() & {"Trays", "Default", "ColorSupported"}


async def test_printers_of_ones_own(client, server):
    printer = server.printing.add_printer(
        "Mine",
        papers=[Paper(id=8, name="A3", width=2970, length=4200)],
        trays=[Tray(index=1, name="Top")],
        properties={"Driver": "", "TPUID": ...},
    )
    _, (found,) = await client("GET", PROPERTIES, params={"id": str(printer.id)})
    assert [paper["Name"] for paper in found["PaperFormats"]] == ["A3"]
    assert (found["Default"]["Tray"], found["Driver"], "TPUID" in found) == ("Top", "", False)
    server.printing.remove_printer(printer.id)
    assert (await client("GET", PROPERTIES, params={"id": str(printer.id)}))[1] == []


async def test_printers_of_ones_groups(client, server, work):
    """With assignments, people see and use the printers of their groups only."""
    server.behaviour.printers_by_group = True
    fileid = await work.upload()
    assert await client("GET", GET_PRINTER) == (200, [])
    admin = server.organization.users[server.organization.admin_id]
    group = server.organization.add_group("Finance")
    admin.groups.add(group.id)
    printer = [*server.printing.printers.values()][2]
    printer.groups.append(group.id)
    assert [each["id"] for each in (await client("GET", GET_PRINTER))[1]] == [str(printer.id)]
    status, error = await work.print(0, fileid=fileid)
    assert (status, error["code"]) == (400, 1801)
    assert (await work.print(2, fileid=fileid))[0] == 200


async def test_print(work, server):
    """What was printed: bytes, options, printer, user and names."""
    fileid = await work.upload()
    options = {"copies": 2, "color": False, "PageRanges": "1-2;5", "defaultSource": 259, "paperid": 9}
    status, answer = await work.print(0, fileid=fileid, alias="invoice 7.pdf", properties=options)
    assert (status, answer.keys()) == (200, {"jobid"})
    (printed,) = server.printed
    assert (printed.content, printed.size, printed.type) == (PDF, len(PDF), "pdf")
    assert (printed.options, printed.alias, printed.fileid) == (options, "invoice 7.pdf", fileid)
    assert (printed.printer.name, printed.user.id) == ("Front desk laser", server.organization.admin_id)
    assert (printed.job_id, printed.url, printed.deleted) == (answer["jobid"], None, False)
    assert printed.pages == 4
    for character in ":# ":
        assert character in printed.job_id
    assert (await work.print(0, fileid=fileid))[0] == 200
    assert len({each.job_id for each in server.printed}) == 2


async def test_keys_in_other_spellings(client, work, server):
    """Clients in use send them."""
    fileid = await work.upload()
    printer = str(next(iter(server.printing.printers)))
    body = {"FileId": fileid, "Type": "pdf", "printerId": printer, "properties": {"pageRanges": "2"}}
    assert (await client("POST", PRINT, json=body))[0] == 200
    assert server.printed[0].options == {"PageRanges": "2"}


async def test_print_and_delete(work):
    fileid = await work.upload()
    assert (await work.print(fileid=fileid, printanddelete=True))[0] == 200
    status, error = await work.print(fileid=fileid)
    assert (status, error["code"]) == (400, 2)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"fileid": "ERI_x"}, 2),
        ({}, 87),
        ({"fileid": "ERI_x", "fileurl": URL}, 87),
        ({"fileurl": ""}, 87),
        ({"fileurl": URL, "type": ".pdf"}, 1804),
        ({"fileurl": URL, "type": "PDF"}, 1804),
        ({"fileurl": URL, "type": None}, 87),
        ({"fileurl": URL, "printerid": "x"}, 1801),
        ({"fileurl": URL, "printanddelete": "yes"}, 87),
        ({"fileurl": URL, "properties": {"copies": "2"}}, 87),
        ({"fileurl": URL, "properties": {"copies": True}}, 87),
        ({"fileurl": URL, "properties": {"copies": 0}}, 87),
        ({"fileurl": URL, "properties": {"copies": 32768}}, 87),
        ({"fileurl": URL, "properties": {"PageRanges": "1,2"}}, 87),
        ({"fileurl": URL, "properties": {"PageRanges": "1" * 5000}}, 87),
        ({"fileurl": URL, "properties": []}, 87),
    ],
)
async def test_wrong_print_requests(work, server, fields, code):
    status, error = await work.print(**fields)
    assert (status, error["code"]) == (400, code)
    assert error["message"]
    assert server.printed == []


async def test_other_bodies(client, work):
    for body in (b"", b"[]", b"\xff", b'{"a":' * 20_000):
        status, error = await client("POST", PRINT, data=body, headers={"Content-Type": "application/json"})
        assert (status, error["code"]) == (400, 87)
    _, prepared = await client("GET", "/sfapi/PrepareUpload/")
    assert (await work.print(fileid=prepared["fileid"]))[1]["code"] == 2


async def test_url(work, server):
    """It is fetched from `web`; the sandbox connects to nothing."""
    server.printing.web[URL] = PDF
    assert (await work.print(fileurl=URL))[0] == 200
    assert (server.printed[0].content, server.printed[0].url) == (PDF, URL)


async def test_url_that_is_being_fetched(work, server):
    """412 with a fileid, which is to be sent next time."""
    server.behaviour.url_not_ready = 3
    status, answer = await work.print(fileurl=URL)
    assert (status, answer["sasUri"]) == (412, "")
    fileid = answer["fileid"]
    for _ in range(2):
        assert await work.print(fileid=fileid) == (412, answer)
    assert (await work.print(fileurl=URL))[1]["fileid"] != fileid
    assert (await work.print(fileid=fileid))[0] == 200
    assert [printed.fileid for printed in server.printed] == [fileid]


async def test_multipart_frames_are_unwrapped(work, server):
    """The documented way of uploading; binary content with line ends of all kinds arrives unchanged."""
    data = b"\r\n--x\n\r\r\n" + bytes(range(256)) + b"\r\n"
    form = FormData()
    form.add_field("file", data, filename="a.pdf", content_type="application/pdf")
    fileid = await work.upload(form)
    assert (await work.print(fileid=fileid))[0] == 200
    assert server.printed[0].content == data
    assert data in server.storage.blobs[fileid].content.data
    frame = server.storage.blobs[fileid].content.data
    fileid = await work.upload(frame)
    assert (await work.print(fileid=fileid))[0] == 200
    assert server.printed[1].content == frame


async def test_statuses(work, server):
    """They follow the clock."""
    server.behaviour.job_seconds = 400
    fileid = await work.upload()
    _, answer = await work.print(fileid=fileid)
    job_id = answer["jobid"]
    assert await work.status(job_id) == {
        "jobpagesprinted": 0,
        "jobpagestotal": 0,
        "jobposition": 1,
        "jobstatus": 1246,
        "jobstatusstring": "",
    }
    server.clock.advance(200)
    assert await work.status(job_id) == {
        "jobpagesprinted": 1,
        "jobpagestotal": 2,
        "jobposition": 1,
        "jobstatus": 129,
        "jobstatusstring": "PRINTING|RETAINED|",
    }
    second = (await work.print(fileid=fileid))[1]["jobid"]
    assert (await work.status(second))["jobposition"] == 2
    server.clock.advance(200)
    assert await work.status(job_id) == {
        "jobpagesprinted": 2,
        "jobpagestotal": 2,
        "jobposition": 0,
        "jobstatus": 0,
        "jobstatusstring": "",
    }
    assert (await work.status(second))["jobposition"] == 1
    server.behaviour.job_seconds = 0
    assert (await work.status((await work.print(fileid=fileid))[1]["jobid"]))["jobstatus"] == 0


@pytest.mark.parametrize("final", [3011, 2, 87, 412, 500, 503, 1048579, 1722])
async def test_scripted_outcomes(work, server, final):
    server.behaviour.job_seconds = 0
    outcome = server.printing.script(final, nth=2)
    fileid = await work.upload()
    jobs = [(await work.print(fileid=fileid))[1]["jobid"] for _ in range(3)]
    assert [(await work.status(job))["jobstatus"] for job in jobs] == [0, final, 0]
    assert (outcome.calls, outcome.hits) == (3, 1)


async def test_scripts_by_document(work, server):
    server.behaviour.job_seconds = 10
    forever = server.printing.script(
        3011,
        text="OFFLINE|",
        through=[1246, (130, "SPOOLING|")],
        times=None,
        when=lambda printed: printed.alias == "bad",
    )
    fileid = await work.upload()
    good, bad = [(await work.print(fileid=fileid, alias=alias))[1]["jobid"] for alias in ("good", "bad")]
    server.clock.advance(5)
    assert (await work.status(bad))["jobstatusstring"] == "SPOOLING|"
    server.clock.advance(5)
    assert (await work.status(good))["jobstatus"] == 0
    status = await work.status(bad)
    assert (status["jobstatus"], status["jobstatusstring"], status["jobpagesprinted"]) == (
        3011,
        "OFFLINE|",
        0,
    )
    forever.remove()
    again = (await work.print(fileid=fileid, alias="bad"))[1]["jobid"]
    server.clock.advance(10)
    assert (await work.status(again))["jobstatus"] == 0


async def test_ending_a_job(work, server):
    server.behaviour.job_seconds = float("inf")
    job_id = (await work.print(fileid=await work.upload()))[1]["jobid"]
    assert (await work.status(job_id))["jobstatus"] == 1246
    server.printing.jobs[job_id].finish(3011)
    assert (await work.status(job_id))["jobstatus"] == 3011


async def test_unknown_and_malformed_job_ids(work, client, server):
    """2 for an unknown id, 87 for one that is cut at its "#", or quoted twice."""
    job_id = (await work.print(fileid=await work.upload()))[1]["jobid"]
    assert (await work.status("node-x:y_tpcb_1_2#3:4"))["jobstatus"] == 2
    for wrong in (job_id.partition("#")[0], quote(job_id, safe=""), "", "x"):
        assert (await work.status(wrong))["jobstatus"] == 87
    _, other = await client("GET", "/sfapi/Status/")
    assert other["jobstatus"] == 87
    person = server.organization.listed_people()[0]
    client.token = server.tokens(person.id).access_token
    assert person.id != server.organization.admin_id
    assert (await work.status(job_id))["jobstatus"] == 2


async def test_too_many_at_once(server, client):
    """The limit holds for each host of its own."""
    server.behaviour.max_parallel = 1
    hold = server.faults.hold("GET /sfapi/GetPrinter/")
    waiting = asyncio.create_task(client("GET", GET_PRINTER))
    await hold.arrived()
    assert (await client("GET", GET_PRINTER))[0] == 429
    assert (await client("GET", "/printing/v1/printjobs/"))[0] == 200
    hold.release()
    assert (await waiting)[0] == 200
    assert (server.peaks["print"], server.peaks["api"]) == (1, 1)


async def test_error_codes_by_script(work, server):
    """Under 400 by default, or under any status."""
    fileid = await work.upload()
    for status, options in ((400, {}), (200, {"status": 200}), (503, {"status": 503})):
        server.faults.add("POST /sfapi/Print/", code=804, **options)
        assert await work.print(fileid=fileid) == (status, {"code": 804, "message": "Error 804."})
    assert server.printed == []
    server.faults.add("GET /sfapi/Status/", code=87, status=200)
    assert (await client_status(work))["code"] == 87


async def client_status(work):
    return (await work.client("GET", "/sfapi/status?id=x"))[1]


async def test_large_uploads_are_counted_only(client_for, session):
    async with Sandbox(users=1, keep_documents=False) as server:
        work = Paperwork(client_for(server), session, server)
        fileid = await work.upload(BytesIO(bytes(3_000_000)))
        assert (await work.print(fileid=fileid))[0] == 200
        (printed,) = server.printed
        assert (printed.size, printed.content) == (3_000_000, b"")
        assert server.requests[1].size == 3_000_000


async def test_pull_queue(work, client, server):
    """A job waits until it is released, expires, or ends."""
    server.behaviour.job_seconds = 0
    fileid = await work.upload()
    jobs = [(await work.print(1, fileid=fileid, alias=name))[1]["jobid"] for name in "abcd"]
    await work.print(0, fileid=fileid, alias="not queued")
    path = "/printing/v1/printjobs/"
    _, queued = await client("GET", path, params={"status": "INQUEUE"})
    assert (queued["count"], [job["filename"] for job in queued["results"]]) == (4, [*"abcd"])
    assert queued["results"][0]["id"] == jobs[0]
    assert (await work.status(jobs[0]))["jobstatus"] == 1246
    server.printing.jobs[jobs[0]].release()
    server.printing.jobs[jobs[1]].expire()
    server.printing.jobs[jobs[2]].finish(3011)
    found = {}
    for word in ("INQUEUE", "DONE", "EXPIRED", "ERROR"):
        _, listed = await client("GET", path, params={"status": word, "o": "-created"})
        found[word] = [job["filename"] for job in listed["results"]]
    assert found == {"INQUEUE": ["d"], "DONE": ["not queued", "a"], "EXPIRED": ["b"], "ERROR": ["c"]}
    assert (await client("GET", path, params={"status": "x"}))[0] == 400
    _, listed = await client("GET", path, params={"limit": "2", "offset": "1"})
    assert (listed["count"], len(listed["results"])) == (5, 2)
    assert (await client("GET", path, auth=None))[0] == 401


async def test_pages_of_jobs(work, client, server):
    """100 are the default and the maximum."""
    fileid = await work.upload()
    for _ in range(101):
        await work.print(1, fileid=fileid)
    for limit in ({}, {"limit": "1000"}):
        _, listed = await client("GET", "/printing/v1/printjobs/", params={"status": "INQUEUE", **limit})
        assert (listed["count"], len(listed["results"])) == (101, 100)
        assert "offset=100" in listed["next"]
