"""The blocking form of `session.printing` and of its jobs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast
from uuid import UUID

import attrs

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async._runtime.syntax import BlockingIterable
from ezeep_async._text.redaction import clears_locals
from ezeep_async._wire.uploads import Part
from ezeep_async.blocking import portal
from ezeep_async.blocking.descriptors import Twin, call, listing, shaped
from ezeep_async.models.printing import JobStatus
from ezeep_async.resources._sources import BLOCK, Claim, is_iterable_source, take
from ezeep_async.resources.printing import Printing, PrintJob


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class _Changes(BlockingIterable):
    """Iterator over the changes of a status. Each step is a blocking call."""

    def __init__(self, source: AsyncIterator[JobStatus], called: str) -> None:
        self._source = source
        self._expression = f"async for status in {called}.watch(...)"
        self._portal = portal.current()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> JobStatus:
        try:
            return self._portal.run(self._expression, self._source.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


def _watching(
    func: Callable[Concatenate[S, P], AsyncIterator[JobStatus]],
) -> Callable[Concatenate[Twin[S], P], Iterator[JobStatus]]:
    def body(instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[JobStatus]:
        return _Changes(func(instance._aio, *args, **kwargs), instance._called)

    return shaped(func, body)


class BlockingPrintJob:
    """A document that the print service has accepted; the blocking form of `PrintJob`."""

    _called = "job"

    def __init__(self, job: PrintJob, printing: Callable[[], Printing]) -> None:
        self._job = job
        self._printing = printing

    @property
    def id(self) -> str:
        """See `PrintJob.id`."""
        return self._job.id

    @property
    def printer_id(self) -> UUID:
        """See `PrintJob.printer_id`."""
        return self._job.printer_id

    @property
    def is_queue(self) -> bool:
        """See `PrintJob.is_queue`."""
        return self._job.is_queue

    def to_dict(self) -> dict[str, object]:
        """See `PrintJob.to_dict`."""
        return self._job.to_dict()

    status = call(PrintJob.status)
    wait = call(PrintJob.wait)
    watch = _watching(PrintJob.watch)

    @property
    def _aio(self) -> PrintJob:
        return attrs.evolve(self._job, printing=self._printing())

    def __eq__(self, other: object) -> bool:
        return self._job == other._job if isinstance(other, BlockingPrintJob) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._job)

    def __repr__(self) -> str:
        return f"Blocking{self._job!r}"


class _Exchange(Generic[R]):
    """A call on the background event loop that takes chunks, which another thread gives it one step at a time."""

    def __init__(self, start: Callable[[AsyncGenerator[Part]], Awaitable[R]]) -> None:
        self._start = start
        self._given: list[Part] = []
        self._is_hungry = asyncio.Event()
        self._is_fed = asyncio.Event()
        self._has_ended = False
        self._task: asyncio.Task[R] | None = None

    async def step(self, parts: list[Part] | None = None) -> bool:
        """Give the next parts, none of them at the end. Return whether more are wanted."""
        if self._task is None:
            # `on_progress` of the caller may exit: that must not end the event loop.
            self._task = ContainedTask(self._run())
        if parts is not None:
            self._given, self._has_ended = parts, not parts
            self._is_hungry.clear()
            self._is_fed.set()
        hungry = asyncio.ensure_future(self._is_hungry.wait())
        try:
            await asyncio.wait({self._task, hungry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hungry.cancel()
        return not self._task.done()

    async def outcome(self) -> R:
        """Return the result of the call, which has ended."""
        assert self._task is not None  # noqa: S101  # a step was made
        return self._task.result()

    async def aclose(self) -> None:
        """Cancel the call, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.exception()  # retrieved: the error of the caller's source counts

    async def _run(self) -> R:
        return await self._start(self._chunks())

    async def _chunks(self) -> AsyncGenerator[Part]:
        while not self._has_ended:
            self._is_fed.clear()
            self._is_hungry.set()
            await self._is_fed.wait()
            for part in self._given:
                yield part


def _read_here(expression: str, chunks: Iterable[object], start: Callable[[Any], Awaitable[R]]) -> R:
    """Run `start` on the background event loop, and read `chunks` in this thread whenever it wants more."""
    loop = portal.current()
    iterator = iter(chunks)
    exchange = loop.run(expression, _made, start)
    claim = Claim(iterator)
    try:
        while loop.run(expression, exchange.step):
            while loop.run(expression, exchange.step, take(iterator, BLOCK)):
                pass
    except BaseException:
        loop.run(expression, exchange.aclose)
        raise
    finally:
        claim.release()
    return loop.run(expression, exchange.outcome)


async def _made(start: Callable[[Any], Awaitable[R]]) -> _Exchange[R]:
    return _Exchange(start)


def _printing(
    func: Callable[Concatenate[Printing, P], Awaitable[PrintJob]],
) -> Callable[Concatenate[Twin[Printing], P], BlockingPrintJob]:
    """Run a method that prints, and return its job with blocking methods. An iterable is read in the caller's thread."""
    signature = inspect.signature(func)
    name = func.__name__

    def body(instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> BlockingPrintJob:
        printing = cast("BlockingPrinting", instance)
        expression = f"await session.printing.{name}(...)"
        bound = signature.bind(printing.source(), *args, **kwargs)
        source = bound.arguments.get("source")

        async def start(source: object) -> PrintJob:
            if "source" in bound.arguments:
                bound.arguments["source"] = source
            return await func(*bound.args, **bound.kwargs)

        if is_iterable_source(source):
            job = _read_here(expression, source, start)
        else:
            job = portal.run(expression, start, source)
        return BlockingPrintJob(job, printing.source)

    # The address of a document has secrets. Frames of the caller's own source keep their variables.
    return shaped(func, body if "source" in signature.parameters else clears_locals(body))


class BlockingPrinting:
    """Print documents, and follow their jobs; the blocking form of `Printing`.

    An iterable is read in the thread of the caller; `on_progress` is called in the background thread.
    """

    _called = "session.printing"

    def __init__(self, printing: Callable[[], Printing]) -> None:
        self.source = printing
        """Internal: the async form, on the event loop of this process."""

    @property
    def _aio(self) -> Printing:
        return self.source()

    print_file = _printing(Printing.print_file)
    print_url = _printing(Printing.print_url)
    status = call(Printing.status)
    wait = call(Printing.wait)
    watch = _watching(Printing.watch)
    supported_types = call(Printing.supported_types)
    queued = listing(Printing.queued)
