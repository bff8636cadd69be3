"""What the blocking twin is made of: each async method is named once, and its signature comes along.

    class BlockingGroups:
        def __init__(self, aio: Groups) -> None:
            self._aio = aio

        get = call(Groups.get)        # async def: blocks, and returns what the coroutine returns
        list = listing(Groups.list)   # a Paginator: becomes a BlockingPaginator
        url = plain(Groups.url)       # neither: passed through
        watch = on_loop(Groups.watch) # neither, and needs the running event loop: passed through there

The async object is taken from `_aio` at each call, so a property may open it, or open it again after a fork. The words
for "await session.groups.get(...)" come from the class attribute `_awaited_as`, or else from the class's own name.
"""

from __future__ import annotations

import functools
import inspect
import os
import weakref
from collections.abc import Awaitable, Callable, Generator
from types import MethodType, TracebackType
from typing import Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, get_args, overload

from ezeep_async._runtime import forks
from ezeep_async._text.redaction import clears_locals
from ezeep_async.blocking import portal
from ezeep_async.errors import SessionClosed
from ezeep_async.pagination.reader import HasId, Page


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T", bound=HasId)

LEAVE_WAIT = 1.0
"""Seconds that leaving a loop early waits for the request that is under way to end."""


class Twin(Protocol[S_co]):
    """A blocking object: the view of the async one."""

    @property
    def _aio(self) -> S_co: ...


class AsyncPages(Protocol[T]):
    """The async iterator of one reading."""

    def __anext__(self) -> Awaitable[Page[T]]: ...
    def aclose(self) -> Awaitable[object]: ...


class AsyncListing(Protocol[T]):
    """What `BlockingPaginator` needs of an async paginator."""

    @property
    def drift(self) -> bool: ...
    @property
    def duplicates(self) -> int: ...
    def pages(self) -> AsyncPages[T]: ...
    def collect(self, *, consistent: bool = False) -> Awaitable[list[T]]: ...
    def first(self) -> Awaitable[T | None]: ...
    def count(self) -> Awaitable[int]: ...
    def aclose(self) -> Awaitable[object]: ...


class BlockingPages(Generic[T]):
    """The pages of one reading. Closed when it ends, when it is left, and at the latest when it is forgotten."""

    _portal: portal.Portal | None = None
    _closed = False
    _thread = 0

    def __init__(self, source: AsyncPages[T], meant: str) -> None:
        self._source = source
        self._meant = meant

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page[T]:
        if self._closed:
            raise StopIteration
        if self._portal is None:
            self._portal = portal.current()
        self._thread = portal.here()
        try:
            return self._portal.run_as(self._meant, self._source.__anext__)
        except StopAsyncIteration:
            self._closed = True
            raise StopIteration from None

    def close(self) -> None:
        """Ends the reading, and waits until the request that is under way has ended."""
        if not self._closed:
            self._closed = True
            if self._portal is not None:
                self._portal.run_as(self._meant, self._source.aclose)

    def leave(self) -> None:
        """Ends the reading without ever raising, from wherever it is forgotten."""
        if self._closed:
            return
        self._closed = True
        home = self._portal
        if home is None or home.closing:
            return
        if home.inherited:
            forks.bury(self._source)
            return
        # `break` gets here in the thread that was reading, and finds nothing left running when it goes on. The garbage
        # collector may get here anywhere, in the middle of anything: there nothing is waited for.
        same = self._thread == portal.here()
        home.post(self._source.aclose, wait=LEAVE_WAIT if same else 0.0)

    def __del__(self) -> None:
        self.leave()


class BlockingPaginator(Generic[T]):
    """A listing to loop over: one item after the other, fetched page by page.

    Each loop is a new reading. Leaving one early leaves no request behind, neither does an error in its body; as a
    context manager it closes everything that it opened.
    """

    def __init__(self, aio: AsyncListing[T], called: str = "session.listing") -> None:
        self._aio = aio
        self._called = called
        self._pid = os.getpid()
        self._open: weakref.WeakSet[BlockingPages[T]] = weakref.WeakSet()

    def __iter__(self) -> Generator[T, None, None]:
        pages = self._read(f"async for item in {self._called}")
        try:
            for page in pages:
                yield from page.items
        finally:
            pages.leave()

    def pages(self) -> BlockingPages[T]:
        """The same by pages, each as the server sent it."""
        return self._read(f"async for page in {self._called}.pages()")

    def collect(self, *, consistent: bool = False) -> list[T]:
        """All items. With `consistent=True` reads until two readings in a row agree; raises `InconsistentListing`."""
        return self._run("collect", self._home().collect, consistent=consistent)

    def first(self) -> T | None:
        """The first item, or None."""
        return self._run("first", self._home().first)

    def count(self) -> int:
        """How many there are, as the server says."""
        return self._run("count", self._home().count)

    @property
    def drift(self) -> bool:
        """Whether the listing changed while it was read, as far as can be seen (see `Paginator.drift`)."""
        return self._aio.drift

    @property
    def duplicates(self) -> int:
        """How many items came twice, and were passed on once."""
        return self._aio.duplicates

    def close(self) -> None:
        """Ends every reading that is open."""
        for pages in list(self._open):
            pages.close()
        self._run("aclose", self._home().aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._called}>"

    def _home(self) -> AsyncListing[T]:
        if self._pid != os.getpid():
            raise SessionClosed(
                f"this listing was made before a fork, in another process: call {self._called} again"
            )
        return self._aio

    def _read(self, meant: str) -> BlockingPages[T]:
        pages = BlockingPages(self._home().pages(), meant)
        self._open.add(pages)
        return pages

    def _run(self, name: str, func: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        return portal.run_as(f"await {self._called}.{name}()", func, *args, **kwargs)


class _Method(Generic[S, P, R]):
    """A method of the twin. A descriptor that binds as a function does, so that `help()` and `inspect` see a method."""

    def __init__(self, func: Callable[..., object], body: Callable[Concatenate[Twin[S], P], R]) -> None:
        self._body = functools.update_wrapper(body, func)
        functools.update_wrapper(self, func)
        self._called = f"session.{self.__name__}(...)"

    __name__: str

    def __set_name__(self, owner: type, name: str) -> None:
        path = getattr(owner, "_awaited_as", None)
        if path is None:
            resource = owner.__name__.removeprefix("Blocking").lower()
            path = "session" if resource == "session" else f"session.{resource}"
        self._called = f"{path}.{name}(...)"
        for target in (self, self._body):
            for attribute, value in (
                ("__name__", name),
                ("__qualname__", f"{owner.__qualname__}.{name}"),
                ("__module__", owner.__module__),
            ):
                setattr(target, attribute, value)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: Twin[S], owner: type | None = None) -> Callable[P, R]: ...
    def __get__(self, instance: Twin[S] | None, owner: type | None = None) -> Self | Callable[P, R]:
        if instance is None:
            return self
        return cast("Callable[P, R]", MethodType(self._body, instance))

    def __call__(self, instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._body(instance, *args, **kwargs)


class call(_Method[S, P, R]):  # noqa: N801  # stands where a decorator would
    """The blocking twin of an async method."""

    def __init__(self, func: Callable[Concatenate[S, P], Awaitable[R]]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
            return portal.run_as(f"await {self._called}", func, _aio_of(instance), *args, **kwargs)

        super().__init__(func, clears_locals(body))


class listing(_Method[S, P, BlockingPaginator[T]], Generic[S, P, T]):  # noqa: N801  # as call
    """The blocking twin of a method that returns a paginator."""

    def __init__(self, func: Callable[Concatenate[S, P], AsyncListing[T]]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> BlockingPaginator[T]:
            return BlockingPaginator(func(_aio_of(instance), *args, **kwargs), self._called)

        super().__init__(func, body)
        signature = inspect.signature(func)
        signature = signature.replace(return_annotation=_blocking(signature.return_annotation))
        for target in (self, body):
            vars(target)["__signature__"] = signature


class plain(_Method[S, P, R]):  # noqa: N801  # as call
    """A method that does not wait for anything, as it is."""

    def __init__(self, func: Callable[Concatenate[S, P], R]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
            return func(_aio_of(instance), *args, **kwargs)

        super().__init__(func, clears_locals(body))


class on_loop(_Method[S, P, R]):  # noqa: N801  # as call
    """A method that does not wait for anything, and needs the running event loop."""

    def __init__(self, func: Callable[Concatenate[S, P], R]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
            async def run(aio: S) -> R:
                return func(aio, *args, **kwargs)

            return portal.run_as(self._called, run, _aio_of(instance))

        super().__init__(func, body)


def _aio_of(instance: Twin[S]) -> S:
    return instance._aio  # pyright: ignore[reportPrivateUsage]  # the two are one thing


def _blocking(annotation: object) -> object:
    """The annotation `Paginator[Group]` as `BlockingPaginator[Group]`, whether it is still text or not."""
    if isinstance(annotation, str):
        return (
            "BlockingPaginator" + annotation[annotation.find("[") :]
            if "[" in annotation
            else "BlockingPaginator"
        )
    return BlockingPaginator[get_args(annotation)] if get_args(annotation) else BlockingPaginator  # type: ignore[misc]  # built at run time
