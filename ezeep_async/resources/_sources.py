"""What a document is read from: a path, bytes, a file object, or an iterable of bytes. Read in blocks, on demand."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol, TypeGuard, cast, runtime_checkable
from weakref import WeakValueDictionary

from ezeep_async._wire.uploads import Part
from ezeep_async.errors import UploadExpired


BLOCK = 2 * 1024 * 1024
"""Bytes of a block of an upload."""
KEPT = 2 * BLOCK
"""Bytes of a stream that are kept to upload them once more, as long as no more have been read."""

PrintSource = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Iterable[bytes]
    | AsyncIterable[bytes]
)
"""A document to print: a path, its bytes, a binary file object, or an iterable of bytes."""

Progress = Callable[[int, int | None], object]
"""Called with the bytes that the storage has accepted, and the bytes of the document, or None."""


class Source(Protocol):
    """A document that is read block by block."""

    total: int | None
    """Bytes of the document, None if unknown."""

    async def read(self) -> Part:
        """Return the next block of `BLOCK` bytes; the last one may be shorter. Empty at the end."""
        ...

    async def rewind(self) -> None:
        """Read from the beginning again. Raises `UploadExpired` if that is impossible."""
        ...

    async def aclose(self) -> None:
        """Close what the source has opened itself."""
        ...


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int, /) -> object: ...


async def open_source(source: object) -> Source:
    """Open a source. Raises `TypeError` for what is none, `OSError` for a file that cannot be opened."""
    if isinstance(source, str | os.PathLike):
        return await _FileSource.open(Path(cast("str", source)))
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(cast("bytes", source))
        return _BytesSource(view.cast("B") if view.c_contiguous else memoryview(view.tobytes()))
    if isinstance(source, io.TextIOBase):
        raise TypeError('source is a text file: open it with mode "rb"')
    if isinstance(source, _Readable):
        # A file object with async methods, such as anyio's, or an asyncio.StreamReader.
        if inspect.iscoroutinefunction(source.read):
            return _StreamSource(_AsyncFileChunks(source), Claim(source))
        return await _FileSource.of(source)
    if isinstance(source, AsyncIterable):
        pieces = aiter(cast("AsyncIterable[object]", source))
        return _StreamSource(_AsyncChunks(pieces), Claim(pieces))
    if isinstance(source, Iterable):
        chunks = iter(cast("Iterable[object]", source))
        return _StreamSource(_Chunks(chunks), Claim(chunks))
    raise TypeError(
        f"source must be a path, bytes, a binary file object or an iterable of bytes, not {type(source).__name__}"
    )


class Claim:
    """Keeps other calls from reading a file or an iterator. Raises `ValueError` if one reads it."""

    _held: ClassVar[WeakValueDictionary[int, Claim]] = WeakValueDictionary()
    """By the id of what is claimed. A claim that is not released ends with the source that has it."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, source: object) -> None:
        self._source = source
        with self._lock:
            if id(source) in self._held:
                raise ValueError(
                    "source is being read by another call, so that each would print a part of it: pass its path or its content"
                )
            self._held[id(source)] = self

    def release(self) -> None:
        """Let other calls read it."""
        if self._held.get(id(self._source)) is self:
            del self._held[id(self._source)]


class _BytesSource:
    """Bytes in memory. Their blocks are views."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0
        self.total: int | None = data.nbytes

    async def read(self) -> Part:
        part = self._data[self._at : self._at + BLOCK]
        self._at += part.nbytes
        return part

    async def rewind(self) -> None:
        self._at = 0

    async def aclose(self) -> None:
        pass


class _FileSource:
    """A file object, read in threads. The caller's own is neither closed nor read from before its position."""

    def __init__(self, file: Any, claim: Claim | None) -> None:
        self._file = file
        self._claim = claim
        """On the caller's own file. None for a file that was opened here."""
        self._start: int | None = None
        self.total: int | None = None
        self._read = 0
        self._chunks = _FileChunks(file)
        self._stream = _StreamSource(self._chunks)

    @classmethod
    async def open(cls, path: Path) -> _FileSource:
        def opened() -> _FileSource:
            source = cls(path.open("rb"), None)
            try:
                source._measure()
            except BaseException:
                source._file.close()
                raise
            return source

        opening = asyncio.get_running_loop().run_in_executor(None, opened)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    @classmethod
    async def of(cls, file: object) -> _FileSource:
        source = cls(file, claim := Claim(file))
        try:
            await asyncio.to_thread(source._measure)
        except BaseException:
            claim.release()
            raise
        return source

    def _measure(self) -> None:
        file = self._file
        if not (hasattr(file, "seekable") and hasattr(file, "tell") and file.seekable() is True):
            return
        start = file.tell()
        try:
            file.seek(0, os.SEEK_END)
        except OSError:  # files in /proc have no end to go to
            return
        size = file.tell() - start
        file.seek(start)
        self._start, self.total = start, max(0, size)

    async def read(self) -> Part:
        block = await self._stream.read()
        self._read += len(block)
        if not block and self.total is not None and self._read < self.total:
            raise OSError(
                f"the file became shorter while it was read: {self._read} of {self.total} bytes are left"
            )
        return block

    async def rewind(self) -> None:
        self._read = 0
        if self._start is None:
            await self._stream.rewind()
        else:
            await self._chunks.settle()
            await asyncio.to_thread(self._file.seek, self._start)
            self._stream = _StreamSource(self._chunks)

    async def aclose(self) -> None:
        if self._claim is not None:
            self._claim.release()
            return
        reading = self._chunks.reading
        if reading is not None and not reading.done():
            # Abandoned in its thread, where it holds the lock of the file: that of a pipe may never end.
            reading.add_done_callback(lambda _: self._file.close())
            return
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._file.close))


def _close_opened(opening: asyncio.Future[_FileSource]) -> None:
    """Close the file of a cancelled caller."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()._file.close()  # pyright: ignore[reportPrivateUsage]  # of this module


class _ChunkReader(Protocol):
    """Where a `_StreamSource` gets its bytes from."""

    async def more(self, want: int) -> list[Part]:
        """Chunks of about `want` bytes together, none at the end."""
        ...


class _FileChunks:
    """A file object, read in threads."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.reading: asyncio.Future[object] | None = None

    async def settle(self) -> None:
        """Wait for the read of a cancelled task. Its thread still reads, and moves the position of the file."""
        if self.reading is not None:
            await asyncio.wait({self.reading})

    async def more(self, want: int) -> list[Part]:
        self.reading = asyncio.get_running_loop().run_in_executor(None, self._file.read, want)
        chunk = await asyncio.shield(self.reading)
        if chunk is None:
            raise ValueError("source is a file in non-blocking mode: pass its content instead")
        part = _checked(chunk)
        return [part] if part else []


class _AsyncFileChunks:
    """A file object whose `read` is awaited."""

    def __init__(self, file: Any) -> None:
        self._file = file

    async def more(self, want: int) -> list[Part]:
        part = _checked(await self._file.read(want))
        return [part] if part else []


class _Chunks:
    """An iterator, read in threads, as its code may block."""

    def __init__(self, chunks: Iterator[object]) -> None:
        self._chunks = chunks

    async def more(self, want: int) -> list[Part]:
        return await asyncio.to_thread(take, self._chunks, want)


class _AsyncChunks:
    """An async iterator."""

    def __init__(self, chunks: AsyncIterator[object]) -> None:
        self._chunks = chunks

    async def more(self, want: int) -> list[Part]:
        taken: list[Part] = []
        while want > 0:
            try:
                part = _checked(await anext(self._chunks))
            except StopAsyncIteration:
                break
            taken += [part] if part else []
            want -= len(part)
        return taken


class _StreamSource:
    """Chunks of any size, made into blocks. Its beginning is kept, so that a short one can be read twice."""

    total: int | None = None

    def __init__(self, chunks: _ChunkReader, claim: Claim | None = None) -> None:
        self._chunks = chunks
        self._claim = claim
        self._pending: list[Part] = []
        """Read from the chunks, and not returned yet."""
        self._kept: list[Part] | None = []
        """Blocks that were returned; None if they are too many."""
        self._kept_size = 0

    async def read(self) -> Part:
        size = sum(map(len, self._pending))
        while size < BLOCK and (chunks := await self._chunks.more(BLOCK - size)):
            self._pending += chunks
            size += sum(map(len, chunks))
        block = self._take_block()
        if self._kept is not None:
            self._kept_size += len(block)
            self._kept = [*self._kept, block] if self._kept_size <= KEPT else None
        return block

    async def rewind(self) -> None:
        if self._kept is None:
            raise UploadExpired(
                "the address of the upload expired, and the source cannot be read again: pass a path, bytes or a seekable file"
            )
        self._pending = [*self._kept, *self._pending]
        self._kept, self._kept_size = [], 0

    async def aclose(self) -> None:
        if self._claim is not None:
            self._claim.release()

    def _take_block(self) -> Part:
        taken: list[Part] = []
        missing = BLOCK
        while self._pending and missing:
            part = self._pending[0]
            if len(part) <= missing:
                taken.append(self._pending.pop(0))
            else:
                # A large chunk is not copied: its blocks are views of it.
                view = memoryview(part)
                taken.append(view[:missing])
                self._pending[0] = view[missing:]
            missing -= len(taken[-1])
        return taken[0] if len(taken) == 1 else b"".join(taken)


def take(chunks: Iterator[object], want: int) -> list[Part]:
    """Take about `want` bytes from an iterator; none at its end."""
    taken: list[Part] = []
    for chunk in chunks:
        part = _checked(chunk)
        taken += [part] if part else []
        want -= len(part)
        if want <= 0:
            break
    return taken


def is_iterable_source(source: object) -> TypeGuard[Iterable[object]]:
    """Whether it is an iterable of bytes, and no other source."""
    if isinstance(source, str | bytes | bytearray | memoryview | os.PathLike | io.TextIOBase | _Readable):
        return False
    return isinstance(source, Iterable) and not isinstance(source, AsyncIterable)


def _checked(chunk: object) -> Part:
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, bytearray | memoryview):
        # A copy: its owner may write the next chunk into the same buffer.
        return bytes(cast("bytearray", chunk))
    if isinstance(chunk, str):
        raise TypeError("source gives text: it must give bytes")
    raise TypeError(f"source must give bytes, not {type(chunk).__name__}")


def type_from_name(name: str) -> str | None:
    """The file type in the ending of a name, in lower case; None without an ending."""
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem and ending.isascii() and ending.isalnum() else None


def base_name(source: object) -> str | None:
    """The base name of a source that is a path."""
    name = Path(cast("str", source)).name if isinstance(source, str | os.PathLike) else None
    # Bytes of a name that are not UTF-8 cannot be sent.
    return name and name.encode("utf-8", "replace").decode()
