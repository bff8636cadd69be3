"""Uploads: sources, blocks, retries, addresses that expire, and what the storage must not get."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from aiohttp import web
from helpers.stub_servers import Seen, Stub, no_jitter, nothing_running, session_on
from helpers.support import QUICK
from helpers.watch import Watch
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import (
    Disconnected,
    EzeepError,
    EzeepSession,
    InsecureEndpoint,
    PermissionDenied,
    Printer,
    PrintJob,
    ServerError,
    SessionClosed,
    UnexpectedRedirect,
    UnexpectedResponse,
    UploadExpired,
)
from ezeep_async.resources import _sources, _uploads
from ezeep_async.resources._sources import open_source
from ezeep_async.resources._uploads import BLOCKS_IN_FLIGHT, LARGEST_SINGLE
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.records import RecordedRequest


PUT = "PUT /userstorage/{id}"
PREPARE = "GET /sfapi/PrepareUpload/"
PRINT = "POST /sfapi/Print/"
SMALL = 1000
"""Bytes of a block in most tests."""


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 1000 bytes, single uploads of up to 4000, and 2000 bytes that are kept."""
    monkeypatch.setattr(_sources, "BLOCK", SMALL)
    monkeypatch.setattr(_uploads, "BLOCK", SMALL)
    monkeypatch.setattr(_sources, "KEPT", 2 * SMALL)
    monkeypatch.setattr(_uploads, "LARGEST_SINGLE", 4 * SMALL)


@pytest.fixture
async def laser(session: EzeepSession) -> Printer:
    return await session.printers.find("Front desk laser")


def content(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def uploads(sandbox: Sandbox) -> list[RecordedRequest]:
    return [each for each in sandbox.requests if each.host == "blobs"]


async def printed(session: EzeepSession, source: Any, **options: Any) -> PrintJob:
    printer = await session.printers.find("Front desk laser")
    return await session.printing.print_file(source, printer, type="pdf", check=False, **options)


# --- sources ---------------------------------------------------------------------------------------------------------


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def pieces_async(data: bytes, size: int) -> AsyncIterator[bytes]:
    for piece in pieces(data, size):
        await asyncio.sleep(0)
        yield piece


class Dribble(io.RawIOBase):
    """A file that is not seekable, and gives few bytes at once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(memoryview(buffer)[:7])


SOURCES: dict[str, Any] = {
    "bytes": lambda data: data,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of a part": lambda data: memoryview(b"x" + data)[1:],
    "every second byte": lambda data: memoryview(bytes(byte for each in data for byte in (each, 0)))[::2],
    "list": lambda data: list(pieces(data, 700)),
    "generator": lambda data: pieces(data, 300),
    "one large piece": lambda data: iter([data]),
    "empty pieces": lambda data: iter([b"", data[:10], b"", data[10:], b""]),
    "bytearrays": lambda data: map(bytearray, pieces(data, 300)),
    "async generator": lambda data: pieces_async(data, 300),
    "BytesIO": io.BytesIO,
    "raw file": Dribble,
}


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 3999, 4000, 4001, 12_345])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.usefixtures("small_blocks")
async def test_every_source_arrives_whole(
    session: EzeepSession, sandbox: Sandbox, kind: str, size: int
) -> None:
    """In one request up to the threshold, in blocks above it."""
    data = content(size)
    await printed(session, SOURCES[kind](data))
    assert sandbox.printed[-1].content == data
    blocks = -(-size // SMALL)
    assert sandbox.count(PUT) == (1 if size <= 4 * SMALL else blocks + 1)


@pytest.mark.usefixtures("small_blocks")
async def test_files(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """A path in three spellings, and files of the caller: read from their position, and left open."""
    data = content(9000)
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    for source in (path, str(path), anyio.Path(path)):
        await printed(session, source)
        assert sandbox.printed[-1].content == data
    with path.open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
        file.seek(100)
        await printed(session, file)
        assert not file.closed
        spooled.write(data)
        spooled.seek(50)
        await printed(session, spooled)
    assert [len(each.content) for each in sandbox.printed[-2:]] == [8900, 8950]
    async with await anyio.open_file(path, "rb") as async_file:
        await printed(session, async_file)
    assert sandbox.printed[-1].content == data


@pytest.mark.usefixtures("small_blocks")
async def test_a_pipe(session: EzeepSession, sandbox: Sandbox) -> None:
    """A file object that cannot be rewound."""
    reading, writing = os.pipe()
    os.write(writing, content(6000))
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        await printed(session, file)
    assert sandbox.printed[-1].content == content(6000)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (lambda: io.StringIO("text"), TypeError, "text"),
        (lambda: iter(["text"]), TypeError, "text"),
        (lambda: iter([5]), TypeError, "int"),
        (lambda: [None], TypeError, "NoneType"),
        (lambda: b"", ValueError, "empty"),
        (lambda: iter([]), ValueError, "empty"),
        (lambda: iter([b"", b""]), ValueError, "empty"),
        (lambda: io.BytesIO(b""), ValueError, "empty"),
        (lambda: {"a": 1}, TypeError, "text"),
        (object, TypeError, "object"),
    ],
)
async def test_sources_that_are_refused(
    session: EzeepSession, sandbox: Sandbox, source: Any, error: type[Exception], words: str
) -> None:
    """Text, other items than bytes, and nothing to print."""
    with pytest.raises(error, match=words):
        await printed(session, source())
    assert sandbox.count(PUT) == sandbox.count(PRINT) == 0


async def test_an_error_of_a_source_is_raised_unchanged(session: EzeepSession, sandbox: Sandbox) -> None:
    """Nothing is printed."""

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    async def exiting() -> AsyncIterator[bytes]:
        yield b"x" * (LARGEST_SINGLE + 1)
        raise SystemExit(3)

    with pytest.raises(KeyError, match="mine"):
        await printed(session, broken())
    with pytest.raises(SystemExit):
        await printed(session, exiting())
    assert sandbox.count(PRINT) == 0


@given(st.lists(st.integers(0, 5000), max_size=20), st.integers(0, 6))
async def test_blocks_of_a_stream(sizes: list[int], rewinds: int) -> None:
    """All blocks but the last one are full, and a stream that was rewound repeats itself."""
    data = [content(size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sources, "BLOCK", SMALL)
        patch.setattr(_sources, "KEPT", 2 * SMALL)
        source = await open_source(iter(data))
        blocks: list[bytes] = []
        for _ in range(rewinds):
            if block := bytes(await source.read()):
                blocks.append(block)
        try:
            await source.rewind()
        except UploadExpired:
            assert sum(map(len, blocks)) > 2 * SMALL
        else:
            blocks = []
        while block := bytes(await source.read()):
            blocks.append(block)
    assert b"".join(blocks) == b"".join(data)
    assert all(len(block) == SMALL for block in blocks[:-1])


# --- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
async def test_progress(session: EzeepSession, sandbox: Sandbox, tmp_path: Path) -> None:
    """Bytes that the storage has accepted, and the size where it is known."""
    for source, total in ((content(4500), 4500), (pieces(content(4500), 99), None)):
        seen: list[tuple[int, int | None]] = []
        await printed(session, source, on_progress=lambda sent, size: seen.append((sent, size)))  # noqa: B023  # called in this round
        assert [size for _, size in seen] == [total] * 5
        assert [sent for sent, _ in seen] == sorted(sent for sent, _ in seen)
        assert seen[-1][0] == 4500
    seen = []
    await printed(session, b"abc", on_progress=lambda sent, size: seen.append((sent, size)))
    assert seen == [(3, 3)]


async def test_an_error_of_the_progress_function_ends_the_upload(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """It is raised unchanged, and nothing is printed."""

    def fail(sent: int, total: int | None) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await printed(session, b"abc", on_progress=fail)
    assert sandbox.count(PRINT) == 0


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 3, 6, 7])
@pytest.mark.parametrize(
    "fault",
    [{"drop": "upload"}, {"drop": "before"}, {"drop": "after"}, {"status": 500}, {"status": 503}, {"status": 429, "retry_after": 0.01},
     {"status": 500, "processed": True}],
)  # shorter than one item a line  # fmt: skip
@pytest.mark.usefixtures("small_blocks")
async def test_a_block_or_the_commit_is_repeated(
    session: EzeepSession, sandbox: Sandbox, nth: int, fault: dict[str, Any]
) -> None:
    """Six blocks and the list: each survives a fault, also one whose response was lost."""
    found = sandbox.faults.add(PUT, nth=nth, **fault)
    await printed(session, content(5500))
    assert found.hits == 1
    assert sandbox.printed[-1].content == content(5500)
    assert sandbox.count(PREPARE) == 1


async def test_a_storage_that_always_fails(session: EzeepSession, sandbox: Sandbox) -> None:
    """The error of the last attempt; nothing is printed."""
    sandbox.faults.add(PUT, times=None, status=500)
    with pytest.raises(ServerError, match="InternalServerError") as caught:
        await printed(session, b"abc")
    assert caught.value.attempts == QUICK.retries + 1
    assert not caught.value.may_have_happened
    sandbox.faults.clear()
    sandbox.faults.add(PUT, times=None, drop="before")
    with pytest.raises(Disconnected):
        await printed(session, b"abc")
    assert sandbox.count(PRINT) == 0


@pytest.mark.usefixtures("small_blocks")
async def test_at_most_four_blocks_in_flight(session: EzeepSession, sandbox: Sandbox) -> None:
    """The fifth waits for one of them."""
    hold = sandbox.faults.hold(PUT)
    task = asyncio.create_task(printed(session, pieces_async(content(12_000), 500)))
    await hold.arrived(BLOCKS_IN_FLIGHT)
    await asyncio.sleep(0.1)
    assert hold.count == 4
    hold.release()
    await task
    assert sandbox.peaks["blobs"] == 4


# --- addresses that expire -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 4, 7])
@pytest.mark.parametrize("kind", ["bytes", "BytesIO", "path"])
@pytest.mark.usefixtures("small_blocks")
async def test_an_address_that_expires(
    session: EzeepSession, sandbox: Sandbox, kind: str, nth: int, tmp_path: Path
) -> None:
    """A 403 is answered by one new address and a fresh upload."""
    data = content(5500)
    (tmp_path / "a").write_bytes(data)
    source = {"bytes": data, "BytesIO": io.BytesIO(data), "path": tmp_path / "a"}[kind]
    sandbox.faults.add(PUT, nth=nth, status=403)
    seen: list[int] = []
    await printed(session, source, on_progress=lambda sent, _: seen.append(sent))
    assert sandbox.printed[-1].content == data
    assert sandbox.count(PREPARE) == 2
    assert seen[-1] == 5500
    assert len(sandbox.printed) == 1


class Slow(io.BytesIO):
    """A file whose reads take a while, in their thread."""

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(0.03)
        return super().read(size)


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
async def test_a_file_is_not_rewound_during_a_read(session: EzeepSession, sandbox: Sandbox) -> None:
    """A read that is under way in a thread would move the position afterwards."""
    for nth in (1, 2):
        sandbox.faults.add(PUT, nth=nth, status=403)
        await printed(session, Slow(content(5500)))
        assert sandbox.printed[-1].content == content(5500)


async def test_a_refusal_in_the_callers_code_is_no_expiry(session: EzeepSession, sandbox: Sandbox) -> None:
    """`PermissionDenied` that `on_progress` raises is raised unchanged."""

    def fail(sent: int, total: int | None) -> None:
        raise PermissionDenied("mine", status=403)

    with pytest.raises(PermissionDenied, match="mine"):
        await printed(session, b"abc", on_progress=fail)
    assert sandbox.count(PREPARE) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
async def test_an_address_that_expires_by_its_time(session: EzeepSession, sandbox: Sandbox) -> None:
    """`se` is compared with the clock; nothing is sent to an address that has expired."""
    sandbox.behaviour.upload_expires_in = 1.5
    sandbox.faults.add(PUT, nth=2, times=1, delay=2.0)
    await printed(session, content(5500))
    assert sandbox.printed[-1].content == content(5500)
    assert sandbox.count(PREPARE) >= 2


async def test_a_clock_that_is_wrong(session: EzeepSession, sandbox: Sandbox) -> None:
    """An address that looks expired when it is new is tried: only the storage knows."""
    sandbox.behaviour.upload_expires_in = -3600.0
    with pytest.raises(UploadExpired, match="second address"):
        await printed(session, b"abc")
    assert sandbox.count(PUT) == 2


@pytest.mark.usefixtures("small_blocks")
async def test_a_short_stream_is_kept(session: EzeepSession, sandbox: Sandbox) -> None:
    """What was read of it is uploaded once more."""
    sandbox.faults.add(PUT, status=403)
    await printed(session, pieces(content(1900), 100))
    assert sandbox.printed[-1].content == content(1900)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("source", [lambda: pieces(content(6000), 100), lambda: Dribble(content(6000))])
async def test_a_long_stream_cannot_be_read_twice(
    session: EzeepSession, sandbox: Sandbox, source: Any
) -> None:
    """`UploadExpired` says so. Nothing is printed."""
    sandbox.faults.add(PUT, nth=5, status=403)
    with pytest.raises(UploadExpired, match="cannot be read again"):
        await printed(session, source())
    assert sandbox.count(PRINT) == 0


async def test_two_addresses_that_are_refused(session: EzeepSession, sandbox: Sandbox) -> None:
    """No third one is asked for."""
    sandbox.faults.add(PUT, times=None, status=403)
    with pytest.raises(UploadExpired):
        await printed(session, b"abc")
    assert (sandbox.count(PREPARE), sandbox.count(PUT)) == (2, 2)


# --- what the storage gets -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
async def test_the_headers_of_an_upload(session: EzeepSession, sandbox: Sandbox) -> None:
    """No token, no cookie; a length, since the storage refuses chunks. The sandbox fails a test with a token there, too."""
    await printed(session, content(500))
    await printed(session, content(4500))
    assert len(uploads(sandbox)) == 7
    for request in uploads(sandbox):
        names = {name.lower() for name in request.headers}
        assert (
            not {"authorization", "cookie", "proxy-authorization", "transfer-encoding", "x-request-id"}
            & names
        )
        assert int(request.headers["Content-Length"]) == len(request.body)
        assert request.headers["Content-Type"] in {"application/octet-stream", "application/xml"}
    assert sandbox.storage.leaks == []


def storage_stub(handle: Any, **changes: Any) -> Stub:
    """A server that is print API and storage in one."""

    def serve(seen: Seen) -> web.Response:
        if seen.path == "/sfapi/PrepareUpload/":
            address = f"{stub.url}/blob?sig=AAAABBBBCCCC%2B&se=2999-01-01T00%3A00%3A00Z"
            return web.json_response({"fileid": "ERI_1", "sasUri": address, **changes})
        if seen.path == "/sfapi/Print/":
            return web.json_response({"jobid": "j"})
        return handle(seen)

    stub = Stub(serve)
    return stub


LASER = Printer(UUID(int=1), "Laser")


async def upload_to(stub: Stub, **settings: Any) -> PrintJob | EzeepError:
    async with session_on(stub.url, **settings) as session:
        try:
            return await session.printing.print_file(b"abc", LASER, type="pdf", check=False)
        except EzeepError as error:
            return error


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_of_the_storage_is_not_followed(status: int) -> None:
    """The document goes to no other address."""
    async with storage_stub(
        lambda _: web.Response(status=status, headers={"Location": "/elsewhere?sig=AAAABBBBCCCC%2B"})
    ) as stub:
        error = await upload_to(stub)
        assert isinstance(error, UnexpectedRedirect)
        assert "AAAABBBBCCCC" not in str(error)
        assert "/elsewhere" not in {seen.path for seen in stub.seen}


async def test_cookies_of_the_storage_are_not_kept() -> None:
    """The second upload brings none."""
    async with storage_stub(lambda _: web.Response(status=201, headers={"Set-Cookie": "a=b"})) as stub:
        async with session_on(stub.url) as session:
            for _ in range(2):
                await session.printing.print_file(b"abc", LASER, type="pdf", check=False)
        assert not any("Cookie" in seen.headers for seen in stub.seen)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sasUri": "http://blobs.example/x?sig=AAAABBBBCCCC"}, InsecureEndpoint),
        ({"sasUri": "AAAABBBBCCCC"}, UnexpectedResponse),
        ({"sasUri": None}, UnexpectedResponse),
        ({"fileid": 5}, UnexpectedResponse),
    ],
)
async def test_an_address_that_is_refused(
    changes: dict[str, Any], error: type[EzeepError], watch: Watch
) -> None:
    """Nothing is uploaded, and neither an error nor the variables in its traceback show the address."""
    watch.secrets.add("AAAABBBBCCCC")
    async with (
        storage_stub(lambda _: web.Response(status=201), **changes) as stub,
        session_on(stub.url) as session,
    ):
        with pytest.raises(error):
            await session.printing.print_file(b"abc", LASER, type="pdf", check=False)
        assert [seen.path for seen in stub.seen] == ["/sfapi/PrepareUpload/"]


async def test_a_signed_address_in_a_header() -> None:
    """Also in the target of a redirect."""
    location = "https://x.example/sig=AAAABBBBCCCC"
    async with Stub(lambda _: web.Response(status=302, headers={"Location": location})) as stub:
        error = await upload_to(stub)
    assert "AAAABBBBCCCC" not in str(error)


@pytest.mark.parametrize("status", [400, 404, 409, 500])
async def test_the_signature_is_redacted(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """In errors and logs, also where the storage repeats it in another spelling, or the print API in an error."""
    caplog.set_level(logging.DEBUG)
    body = "<Error><Code>Bad</Code><Message>AAAABBBBCCCC%2B AAAABBBBCCCC+ AAAABBBBCCCC%2b</Message></Error>"
    async with storage_stub(lambda _: web.Response(status=status, text=body)) as stub:
        error = await upload_to(stub, retries=1)
    assert isinstance(error, EzeepError)
    assert "Bad" in str(error)
    shown = f"{error!r} {vars(error)} {error.__cause__!r} {caplog.text}"
    assert "AAAABBBBCCCC" not in shown


async def test_a_signed_address_in_an_error_of_the_print_api() -> None:
    """The signature is hidden, although the client has never seen it."""
    body = {"fileid": "", "sasUri": "https://blobs.example/x?sv=1&sig=AAAABBBBCCCC%2B&sp=wl"}
    async with Stub(lambda _: web.json_response(body, status=412)) as stub:
        error = await upload_to(stub)
    assert "AAAABBBBCCCC" not in f"{error!r} {vars(error)}"
    assert "sig=***" in str(error)


# --- the end of a session, and cancellation --------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [100, 9000])
async def test_closing_ends_an_upload(sandbox: Sandbox, size: int) -> None:
    """With `SessionClosed`; nothing is printed, and no task is left."""
    hold = sandbox.faults.hold(PUT)
    async with nothing_running():
        session = EzeepSession(
            sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
        )
        task = asyncio.create_task(printed(session, content(size)))
        await hold.arrived()
        await session.aclose()
        with pytest.raises(SessionClosed):
            await task
        hold.release()
    assert sandbox.count(PRINT) == 0


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [100, 9000])
async def test_a_cancelled_upload(session: EzeepSession, sandbox: Sandbox, size: int, tmp_path: Path) -> None:
    """No task is left, and the session works on."""
    (tmp_path / "a.pdf").write_bytes(content(size))
    await session.printers.find("Front desk laser")
    hold = sandbox.faults.hold(PUT)
    async with nothing_running():
        task = asyncio.create_task(printed(session, tmp_path / "a.pdf"))
        await hold.arrived()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.release()
    await printed(session, content(size))
    assert len(sandbox.printed) == 1


@pytest.mark.parametrize("wrong", [5, asyncio.sleep])
async def test_a_progress_that_is_no_plain_function(
    session: EzeepSession, sandbox: Sandbox, laser: Printer, wrong: Any
) -> None:
    """It is refused before anything is uploaded: a coroutine would never be awaited."""
    with pytest.raises(TypeError, match="on_progress"):
        await session.printing.print_file(b"x", laser, type="pdf", on_progress=wrong)
    assert not uploads(sandbox)
    assert sandbox.count(PREPARE) == 0


@pytest.mark.parametrize("where", ["source", "progress"])
async def test_a_part_of_a_document_is_never_printed(
    session: EzeepSession, sandbox: Sandbox, laser: Printer, small_blocks: None, where: str
) -> None:
    """A `CancelledError` of the source, or of `on_progress`, ends the upload like every other exception."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(9):
            if where == "source" and number == 6:
                raise asyncio.CancelledError
            yield bytes(SMALL)

    def on_progress(sent: int, _: int | None) -> None:
        if where == "progress" and sent >= 2 * SMALL:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await session.printing.print_file(pieces(), laser, type="pdf", on_progress=on_progress)
    assert not sandbox.printed
    assert sandbox.count(PRINT) == 0
