"""Secrets in addresses of documents and uploads: messages, attributes, logs and the variables in tracebacks."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, session_on

from ezeep_async import EzeepError, PrintFailed, run_sync


KEY = "key-of-the-document-0123456789"
URL = f"https://files.example/invoice.pdf?key={KEY}"
SIGNATURE = "signature-of-the-upload-0123"
SIGNED = f"https://blobs.example/x?sv=1&sig={SIGNATURE}"
PRINTER = UUID(int=1)


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


def shown(error: BaseException) -> str:
    """All that a program may show of an error, but for the variables of the test."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    seen: list[str] = []
    for each in (error, error.__cause__, error.__context__):
        if each is not None:
            seen += traceback.TracebackException.from_exception(each, capture_locals=True).format()
            seen += [repr(each), repr(vars(each))]
    return "\n".join(seen)


RESPONSES: dict[str, tuple[int, dict[str, Any]]] = {
    "refused with 200": (200, {"code": 804, "message": f"cannot fetch {URL}"}),
    "refused with 400": (400, {"code": 804, "message": f"cannot fetch {URL}"}),
    "refused with 500": (500, {"code": 804, "message": f"cannot fetch {URL}"}),
    "no job": (200, {"fileurl": URL, "sasUri": SIGNED}),
    "lost": (504, {"detail": URL}),
    "forbidden": (403, {"detail": URL}),
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
async def test_the_address_of_a_document(
    response: tuple[int, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what the service repeats of it, nor a variable in a traceback shows its query."""
    status, body = response
    async with (
        Stub(lambda _: web.json_response(body, status=status)) as stub,
        session_on(stub.url) as session,
    ):
        with pytest.raises(EzeepError) as caught:
            await session.printing.print_url(URL, PRINTER, check=False)
    for text in (shown(caught.value), caplog.text):
        assert KEY not in text
        assert SIGNATURE not in text


async def test_the_address_of_a_document_in_a_blocking_call() -> None:
    """The frames of the blocking form have it as an argument."""
    body = {"code": 804, "message": URL}
    async with Stub(lambda _: web.json_response(body)) as stub:

        def call() -> str:
            with run_sync(session_on(stub.url)) as session:
                try:
                    session.printing.print_url(URL, PRINTER, check=False)
                except PrintFailed as error:
                    return shown(error)
            return ""

        text = await asyncio.to_thread(call)
    assert "PrintFailed" in text
    assert KEY not in text


async def test_words_of_a_status() -> None:
    """In an error they are on one line, and without the signature of an upload. `status` has them as they were sent."""
    text = f"cannot read {SIGNED}\n\x1b[2Jprinted"

    def serve(seen: Seen) -> web.Response:
        return web.json_response({"jobstatus": 5, "jobstatusstring": text})

    async with Stub(serve) as stub, session_on(stub.url) as session:
        with pytest.raises(PrintFailed) as caught:
            await session.printing.wait("job")
    assert str(caught.value).isprintable()
    assert SIGNATURE not in str(caught.value)
    assert caught.value.status.text == text


async def test_a_412_that_has_a_job() -> None:
    """The job exists, so the request is not repeated."""
    body = {"fileid": "ERI_1", "jobid": "node:1"}
    async with Stub(lambda _: web.json_response(body, status=412)) as stub, session_on(stub.url) as session:
        with pytest.raises(EzeepError):
            await session.printing.print_url(URL, PRINTER, check=False)
    assert len(stub.seen) == 1
