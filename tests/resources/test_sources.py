"""Sources that change or never end, and files that nothing leaves open."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ezeep_async.resources import _sources
from ezeep_async.resources._sources import open_source


@pytest.fixture
def nothing_open() -> Iterator[None]:
    """Fails for a file that the garbage collector had to close."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [each for each in found if each.category is ResourceWarning]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_a_file_whose_end_is_not_known(nothing_open: None) -> None:
    """Files in /proc cannot be moved to their end. They are read to it."""
    source = await open_source("/proc/self/status")
    assert source.total is None
    assert bytes(await source.read()).startswith(b"Name:")
    await source.aclose()


async def test_a_file_that_becomes_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its upload fails: a part of a document is not printed in silence."""
    monkeypatch.setattr(_sources, "BLOCK", 10)
    path = tmp_path / "report.pdf"
    path.write_bytes(b"x" * 100_000)
    source = await open_source(path)
    assert len(await source.read()) == 10
    os.truncate(path, 50_000)
    with pytest.raises(OSError, match="shorter"):
        while await source.read():
            pass
    await source.aclose()


@pytest.mark.parametrize("steps", range(6))
async def test_a_caller_that_is_cancelled_while_it_opens(
    tmp_path: Path, nothing_open: None, steps: int
) -> None:
    """The file is closed, at whichever step of the event loop the caller is cancelled."""
    path = tmp_path / "report.pdf"
    path.write_bytes(b"x")
    task = asyncio.create_task(open_source(path))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        await task.result().aclose()
    await asyncio.to_thread(int)
    await asyncio.sleep(0.01)
    del task


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
async def test_a_pipe_that_gives_nothing(tmp_path: Path, nothing_open: None) -> None:
    """A cancelled caller does not wait for it. It is closed when the abandoned read ends."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    opening = asyncio.create_task(open_source(path))
    writer = await asyncio.to_thread(path.open, "wb")
    source = await opening
    reading = asyncio.ensure_future(source.read())
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait({reading})
    try:
        async with asyncio.timeout(2):
            await source.aclose()
    finally:
        writer.close()
    await asyncio.to_thread(int)
    await asyncio.sleep(0.05)


async def _pieces() -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.parametrize("make", [lambda: io.BytesIO(b"x"), lambda: iter([b"x"]), _pieces])
async def test_two_readers_of_one_source(make: Callable[[], object]) -> None:
    """Each would get a part of the document. The next call after the end of the first one may read on."""
    shared = make()
    first = await open_source(shared)
    with pytest.raises(ValueError, match="another call"):
        await open_source(shared)
    await first.aclose()
    await (await open_source(shared)).aclose()


async def test_a_list_may_be_shared() -> None:
    """Each call has an iterator of its own."""
    shared = [b"x"]
    for source in (await open_source(shared), await open_source(shared)):
        assert bytes(await source.read()) == b"x"
        await source.aclose()


async def test_a_file_that_cannot_be_measured_is_not_kept() -> None:
    """A closed file is refused each time with its own error."""
    file = io.BytesIO(b"x")
    file.close()
    for _ in range(2):
        with pytest.raises(ValueError, match="closed file"):
            await open_source(file)
