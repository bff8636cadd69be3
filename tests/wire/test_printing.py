"""Requests to the print API and its responses, in all shapes that the documents and clients show."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import InsecureEndpoint, JobStatus, UnexpectedResponse
from ezeep_async._wire import printing, uploads
from ezeep_async._wire.printing import Order
from ezeep_async.models.printing import IN_PROGRESS


ID = UUID("11111111-2222-4333-8444-000000000001")
FULL: dict[str, Any] = {
    "Id": str(ID).upper(),
    "Name": "Front desk laser",
    "Location": "Ground floor",
    "Driver": "Example PCL 6",
    "Collate": True,
    "Color": True,
    "ColorSupported": True,
    "DuplexSupported": True,
    "DuplexMode": 2,
    "OrientationsSupported": ["portrait", "landscape"],
    "OrientationsSupportedId": [1, 2],
    "MediaSupported": ["Auto", "A4", None],
    "MediaSupportedId": [0, 9, 0],
    "PaperFormats": [
        {"Id": 9, "Name": "A4", "XRes": 2100, "YRes": 2970, "Default": True},
        {"Id": 256, "XRes": 1000, "YRes": 1500},
    ],
    "Resolutions": ["Auto", "600", ""],
    "Trays": [{"Index": 259, "Name": "Tray 1", "Default": False}],
    "TPUID": 1,
}

STATUSES = [
    (0, True, True),
    (129, False, False),
    (1246, False, False),
    (3011, True, False),
    (2, True, False),
    (87, True, False),
    (412, True, False),
    (500, True, False),
    (503, True, False),
    (1048579, True, False),
    (804, True, False),
    (987654321, True, False),
    (-1, True, False),
]


@pytest.mark.parametrize(("code", "is_final", "succeeded"), STATUSES)
def test_every_row_of_the_status_table(code: int, is_final: bool, succeeded: bool) -> None:
    """docs/ezeep-api.md#print-jobs: an unknown code is final, failed, and kept."""
    body = {
        "jobpagesprinted": 1,
        "jobpagestotal": 4,
        "jobposition": 2,
        "jobstatus": code,
        "jobstatusstring": "ERROR|",
    }
    status = printing.read_status(json.dumps(body).encode())
    assert status == JobStatus(code, "ERROR|", 1, 4, 2)
    assert (status.is_final, status.succeeded) == (is_final, succeeded)
    assert (code in IN_PROGRESS) is not is_final
    assert status.meaning


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"jobstatus": 1246}, JobStatus(1246)),
        ({"jobstatus": "129", "jobpagestotal": "4", "jobposition": None}, JobStatus(129, "", 0, 4, 0)),
        ({"jobstatus": 0, "jobstatusstring": None}, JobStatus(0)),
        ({"code": 87}, JobStatus(87)),
        ({"code": 804, "message": "not accepted"}, JobStatus(804, "not accepted")),
    ],
)
def test_statuses_with_fields_that_are_missing(body: dict[str, Any], expected: JobStatus) -> None:
    """Missing fields are 0 or empty; an error response has a code instead."""
    assert printing.read_status(json.dumps(body).encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"jobstatus": true}',
        b"<html>",
        b'{"code": "x"}',
        b'{"code": "403"}',
        b'{"code": true}',
    ],
)
def test_a_response_without_a_status(body: bytes) -> None:
    """`UnexpectedResponse`."""
    with pytest.raises(UnexpectedResponse):
        printing.read_status(body)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_job_id_is_quoted_once(job_id: str) -> None:
    """The server reads the id that was given, whatever characters it has."""
    request = printing.status_request(job_id)
    assert parse_qs(request.query, keep_blank_values=True) == {"id": [job_id]}
    assert request.path == "/sfapi/Status/"


def test_the_quoted_job_id() -> None:
    """Colon, number sign, blank and a percent sign."""
    request = printing.status_request("node:Front desk_tpcb_41#1:3%20")
    assert request.query == "id=node%3AFront%20desk_tpcb_41%231%3A3%2520"


def test_full_properties() -> None:
    """Names, sizes in millimetres, defaults, and the fields without an attribute."""
    found = printing.printer_properties(json.dumps([FULL]).encode(), ID)
    assert found is not None
    assert (found.id, found.name, found.location, found.driver) == (
        ID, "Front desk laser", "Ground floor", "Example PCL 6",
    )  # shorter than one item a line  # fmt: skip
    assert (found.color, found.duplex, found.collate) == (True, True, True)
    assert [(each.id, each.name, each.width, each.length, each.is_default) for each in found.papers] == [
        (9, "A4", 210.0, 297.0, True),
        (256, None, 100.0, 150.0, False),
    ]
    assert found.resolutions == ("Auto", "600")
    assert [(each.index, each.name, each.is_default) for each in found.trays] == [(259, "Tray 1", False)]
    assert found.raw["TPUID"] == 1
    assert "TPUID" not in repr(found)


@pytest.mark.parametrize(
    ("changes", "attribute", "expected"),
    [
        ({"Trays": [None]}, "trays", ()),
        ({"Trays": None}, "trays", ()),
        ({"PaperFormats": [None, {"Id": 1}]}, "papers", None),
        ({"Name": None}, "name", ""),
        ({"ColorSupported": False}, "color", False),
        ({"ColorSupported": None}, "color", True),
        ({"Color": False}, "color", True),
        ({"OrientationsSupported": None}, "orientations", ("portrait", "landscape")),
        ({"OrientationsSupported": [None, "portrait"]}, "orientations", ("portrait",)),
        ({"Resolutions": None}, "resolutions", ()),
    ],
)
def test_properties_that_contradict_the_documents(
    changes: dict[str, Any], attribute: str, expected: object
) -> None:
    """Null names, lists with null, and missing keys are empty values."""
    found = printing.printer_properties(json.dumps([FULL | changes]).encode(), ID)
    assert found is not None
    if expected is None:
        assert [(each.id, each.name, each.width) for each in found.papers] == [(1, None, 0.0)]
    else:
        assert getattr(found, attribute) == expected


@pytest.mark.parametrize("missing", FULL)
def test_every_key_of_the_properties_may_be_missing(missing: str) -> None:
    """Older servers send fewer."""
    row = {key: value for key, value in FULL.items() if key != missing}
    assert printing.printer_properties(json.dumps([row]).encode(), ID) is not None


def test_the_properties_of_the_printer_that_was_asked_for() -> None:
    """A server that ignores the id sends all printers. An empty list has none."""
    other = FULL | {"Id": str(UUID(int=5)), "Name": "Other"}
    found = printing.printer_properties(json.dumps([other, FULL]).encode(), ID)
    assert found is not None
    assert found.name == "Front desk laser"
    assert printing.printer_properties(b"[]", ID) is None
    assert printing.printer_properties(b"[null]", ID) is None


def test_a_printer_without_the_key_of_queues() -> None:
    """`is_queue` is missing in older responses; a location may be null."""
    page = printing.printers_page(json.dumps([{"id": str(ID), "name": "A", "location": None}]).encode())
    assert [(each.is_queue, each.location) for each in page.results] == [(False, "")]
    assert (page.count, page.next) == (1, None)


def test_the_list_of_file_types() -> None:
    """It ends with a separator. Other sections may be absent."""
    body = json.dumps({"System": {"FILEEXT": "pdf;DOCX; .txt;"}}).encode()
    assert printing.supported_types(body) == {"pdf", "docx", "txt"}
    for wrong in (b"{}", b"[]", b'{"System": {"FILEEXT": null}}'):
        with pytest.raises(UnexpectedResponse):
            printing.supported_types(wrong)


def test_the_body_of_a_print_request() -> None:
    """`printanddelete` is at the top level; what was not chosen is absent."""
    order = Order(ID, "pdf", {"copies": 2}, "Invoice 7", True)
    request = order.request({"fileid": "ERI_1"})
    assert json.loads(request.body or b"") == {
        "fileid": "ERI_1",
        "type": "pdf",
        "printerid": str(ID),
        "alias": "Invoice 7",
        "printanddelete": True,
        "properties": {"copies": 2},
    }
    assert (request.idempotent, request.once) == (False, True)
    bare = Order(ID, "pdf", {}, None, False).request({"fileurl": "https://x.example/a.pdf"})
    assert json.loads(bare.body or b"").keys() == {"fileurl", "type", "printerid", "printanddelete"}


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("https://x.example/a.pdf", set()),
        ("https://x.example/a.pdf?v=1", set()),
        ("https://x.example/a.pdf?sig=abcdefgh%2B1&v=1", {"sig=abcdefgh%2B1&v=1", "abcdefgh+1"}),
        ("https://me:longpassword@x.example/a.pdf", {"longpassword"}),
    ],
)
def test_the_secrets_of_an_address(url: str, secrets: set[str]) -> None:
    """Its query, the long values in that, and its password."""
    found = printing.secrets_of_url(url)
    assert set(found) == secrets
    assert all("***" in repr(each) for each in found)


SIGNED = "https://blobs.example/userstorage/ERI_1?sv=2019-07-07&sr=b&sig=AAAA%2BBBBB%3D&se=2030-01-31T12%3A00%3A00Z&sp=wl"


def prepared(**changes: Any) -> bytes:
    return json.dumps({"fileid": "ERI_1", "sasUri": SIGNED} | changes).encode()


def test_the_address_of_an_upload() -> None:
    """The address is a secret, and is kept byte for byte."""
    target = uploads.upload_target(prepared())
    assert (target.file_id, str(target.url)) == ("ERI_1", SIGNED)
    assert target.expires == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert "AAAA" not in repr(target)


def test_the_requests_of_an_upload() -> None:
    """Put Blob, Put Block and Put Block List, as Azure documents them."""
    target = uploads.upload_target(prepared())
    blob = target.put_blob([b"x"])
    assert (str(blob.url), blob.headers["x-ms-blob-type"]) == (SIGNED, "BlockBlob")
    block = target.put_block(7, b"x")
    assert str(block.url) == f"{SIGNED}&comp=block&blockid=MDAwMDA3"
    listed = target.put_block_list(2)
    assert str(listed.url) == f"{SIGNED}&comp=blocklist"
    assert b"".join(listed.parts) == (
        b'<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>MDAwMDAw</Latest><Latest>MDAwMDAx</Latest></BlockList>'
    )
    for request in (blob, block, listed):
        assert "AAAA" not in repr(request)
        assert "AAAA+BBBB=" in request.secrets
    assert len({len(target.put_block(number, b"").url) for number in (0, 49_999)}) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sasUri": "http://blobs.example/x?sig=AAAABBBBCCCC"}, InsecureEndpoint),
        ({"sasUri": "ftp://blobs.example/x?sig=AAAABBBBCCCC"}, InsecureEndpoint),
        ({"sasUri": "//blobs.example/x?sig=AAAABBBBCCCC"}, InsecureEndpoint),
        ({"sasUri": "https://user:AAAABBBBCCCC@blobs.example/x"}, UnexpectedResponse),
        ({"sasUri": "AAAABBBBCCCC"}, UnexpectedResponse),
        ({"sasUri": ""}, UnexpectedResponse),
        ({"sasUri": None}, UnexpectedResponse),
        ({"sasUri": ["AAAABBBBCCCC"]}, UnexpectedResponse),
        ({"sasUri": "https://[AAAABBBBCCCC/"}, UnexpectedResponse),
        ({"fileid": None}, UnexpectedResponse),
        ({"fileid": ""}, UnexpectedResponse),
    ],
)
def test_addresses_that_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    """https only, but for loopback. The message shows nothing of the address but its host."""
    with pytest.raises(error) as caught:
        uploads.upload_target(prepared(**changes))
    assert "AAAABBBBCCCC" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:5", "localhost", "[::1]:8"])
def test_loopback_needs_no_https(host: str) -> None:
    """As for endpoints."""
    assert uploads.upload_target(prepared(sasUri=f"http://{host}/x")).expires is None


@pytest.mark.parametrize("expiry", ["", "soon", "2030-13-01", None])
def test_an_expiry_that_cannot_be_read_is_none(expiry: str | None) -> None:
    """Then only the storage knows."""
    address = "https://blobs.example/x" + ("" if expiry is None else f"?se={expiry}")
    assert uploads.upload_target(prepared(sasUri=address)).expires is None


def test_jobs_in_a_queue_keep_their_fields() -> None:
    """An id that is no UUID, or none, is computed: two jobs never look the same."""
    rows = [
        {"id": str(ID), "x": 1},
        {"id": "job#1"},
        {"printjob_id": str(UUID(int=3))},
        {"name": "a"},
        {"name": "b"},
    ]
    page = printing.queued_page(json.dumps({"results": rows, "count": 5, "next": None}).encode())
    assert [each.raw for each in page.results] == rows
    assert page.results[0].id == ID
    assert page.results[2].id == UUID(int=3)
    assert len({each.id for each in page.results}) == 5
