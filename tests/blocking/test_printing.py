"""`session.printers` and `session.printing` of a blocking session."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import QUICK, open_session, sandbox_in_a_thread

from ezeep_async import (
    BlockingCallError,
    BlockingPrintJob,
    BlockingSession,
    JobTimeout,
    PrintFailed,
    PrintJob,
    PrintOptions,
    UnsupportedFileType,
    run_sync,
)
from ezeep_async.blocking.printing import BlockingPrinting
from ezeep_async.blocking.session import BlockingPrinters
from ezeep_async.resources import _sources
from ezeep_async.resources.printers import Printers
from ezeep_async.resources.printing import Printing
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block

PDF = b"%PDF-1.4 a page"


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.fixture
def blocking(server: Sandbox) -> Iterator[BlockingSession]:
    with run_sync(open_session(server)) as session:
        yield session


@pytest.mark.parametrize(
    ("async_class", "blocking_class"),
    [(Printers, BlockingPrinters), (Printing, BlockingPrinting), (PrintJob, BlockingPrintJob)],
)
def test_the_twins_have_the_same_methods(async_class: type, blocking_class: type) -> None:
    """Names, parameters and defaults; the docstrings have no `await`."""
    for name, function in inspect.getmembers(async_class, inspect.isfunction):
        if name.startswith("_"):
            continue
        twin = inspect.getattr_static(blocking_class, name)
        expected = list(inspect.signature(function).parameters.values())[1:]
        bound = twin.__get__(types.SimpleNamespace(_aio=None), blocking_class)
        assert list(inspect.signature(bound).parameters.values()) == expected, name
        assert "await " not in bound.__doc__
    assert {"id", "printer_id", "is_queue"} <= set(dir(BlockingPrintJob))


def test_a_file_on_paper(server: Sandbox, blocking: BlockingSession, tmp_path: Path) -> None:
    """Printers, properties, types, a print, and a job whose methods block."""
    (tmp_path / "a.pdf").write_bytes(PDF)
    printer = blocking.printers.find("Front desk laser")
    assert blocking.printers.get(printer.id) == printer
    assert blocking.printers.properties(printer).color
    assert blocking.printers.list().first() == printer
    assert "pdf" in blocking.printing.supported_types()
    seen: list[int] = []
    job = blocking.printing.print_file(
        tmp_path / "a.pdf", printer, PrintOptions(copies=2), on_progress=lambda sent, _: seen.append(sent)
    )
    assert isinstance(job, BlockingPrintJob)
    assert job.status().code == blocking.printing.status(job.id).code == 1246
    changes = job.watch(interval=0.01)
    assert iter(changes) is changes
    assert next(changes).code == 1246
    server.clock.advance(10)
    assert [each.code for each in changes] == [0]
    assert job.wait().succeeded
    assert blocking.printing.wait(job.id).succeeded
    assert [each.code for each in blocking.printing.watch(job.id)] == [0]
    assert (job.id, job.printer_id, job.is_queue) == (server.printed[0].job_id, printer.id, False)
    assert job.to_dict() == {"id": job.id, "printer_id": str(printer.id), "is_queue": False}
    assert seen == [len(PDF)]
    assert server.printed[0].content == PDF
    assert repr(job).startswith("BlockingPrintJob(id=")


def test_a_document_by_address(server: Sandbox, blocking: BlockingSession) -> None:
    """`print_url`, and a job in a queue."""
    queue = blocking.printers.find("Pull queue")
    job = blocking.printing.print_url("https://files.example/a.pdf", queue)
    assert job.is_queue
    assert not job.wait().is_final
    assert len(list(blocking.printing.queued())) == 1
    assert job == BlockingPrintJob(job._job, lambda: blocking._aio.printing)
    assert len({job, BlockingPrintJob(job._job, lambda: blocking._aio.printing)}) == 1


def test_errors(server: Sandbox, blocking: BlockingSession) -> None:
    """As by the async session."""
    printer = blocking.printers.find("Front desk laser")
    with pytest.raises(UnsupportedFileType):
        blocking.printing.print_file(PDF, printer, type="zpl")
    with pytest.raises(TypeError):
        blocking.printing.print_file(PDF)  # type: ignore[call-arg]  # wrong on purpose
    server.printing.script(3011)
    job = blocking.printing.print_file(PDF, printer, type="pdf")
    with pytest.raises(JobTimeout):
        job.wait(interval=0.01, timeout=0.03)
    server.clock.advance(10)
    with pytest.raises(PrintFailed):
        job.wait()


@pytest.mark.parametrize("size", [0, 1, 999, 4000, 4001, 50_000])
def test_an_iterable_is_read_in_the_callers_thread(
    server: Sandbox, blocking: BlockingSession, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever its size, in one request or in blocks."""
    monkeypatch.setattr(_sources, "BLOCK", 1000)
    monkeypatch.setattr("ezeep_async.blocking.printing.BLOCK", 1000)
    monkeypatch.setattr("ezeep_async.resources._uploads.LARGEST_SINGLE", 4000)
    data = bytes(number % 251 for number in range(size))
    threads = set()

    def document() -> Iterator[bytes]:
        for start in range(0, len(data), 333):
            threads.add(threading.get_ident())
            yield data[start : start + 333]

    printer = blocking.printers.find("Front desk laser")
    if size == 0:
        with pytest.raises(ValueError, match="empty"):
            blocking.printing.print_file(document(), printer, type="pdf")
        return
    blocking.printing.print_file(source=document(), printer_or_id=printer, type="pdf")
    assert threads == {threading.get_ident()}
    assert server.printed[-1].content == data


def test_an_iterable_that_fails(server: Sandbox, blocking: BlockingSession) -> None:
    """Its error is raised unchanged, nothing is printed, and no call is left."""

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    printer = blocking.printers.find("Front desk laser")
    with pytest.raises(KeyError, match="mine"):
        blocking.printing.print_file(broken(), printer, type="pdf")
    with pytest.raises(TypeError, match="bytes"):
        blocking.printing.print_file(iter([5]), printer, type="pdf")  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(UnsupportedFileType):
        blocking.printing.print_file(iter([b"x"]), printer, type="zpl")

    def leave(sent: int, total: int | None) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        blocking.printing.print_file(iter([b"x"]), printer, type="pdf", on_progress=leave)
    assert server.count("POST /sfapi/Print/") == 0
    assert blocking.printing.print_file(iter([b"x"]), printer, type="pdf").id


def test_other_sources(server: Sandbox, blocking: BlockingSession) -> None:
    """A file object and an async iterable are read in the background."""

    async def document():
        yield b"async"

    printer = blocking.printers.find("Front desk laser")
    blocking.printing.print_file(io.BytesIO(b"file"), printer, type="pdf")
    blocking.printing.print_file(document(), printer, type="pdf")
    assert [each.content for each in server.printed] == [b"file", b"async"]


async def test_a_blocking_print_on_an_event_loop(server: Sandbox) -> None:
    """`BlockingCallError`, also for an iterable."""
    session = run_sync(open_session(server, settings=QUICK))
    for source in (PDF, iter([PDF])):
        with pytest.raises(BlockingCallError, match=r"await session\.printing\.print_file"):
            session.printing.print_file(source, "x" * 8 + "-0000-0000-0000-000000000000", type="pdf")
    await asyncio.to_thread(session.close)


def test_two_calls_that_read_one_iterator(server: Sandbox, blocking: BlockingSession) -> None:
    """The second one is refused: each would print a part of the document."""
    printer = blocking.printers.find("Front desk laser")
    refused: list[BaseException] = []

    def chunks() -> Iterator[bytes]:
        yield PDF
        try:
            blocking.printing.print_file(shared, printer, type="pdf")
        except ValueError as error:
            refused.append(error)

    shared = chunks()
    blocking.printing.print_file(shared, printer, type="pdf")
    assert "another call" in str(refused[0])
    assert [each.content for each in server.printed] == [PDF]
