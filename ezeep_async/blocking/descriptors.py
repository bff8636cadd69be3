"""Blocking methods, made from async methods: the same signature, and the same docstring without `await`.

    class BlockingGroups:
        _called = "session.groups"  # for messages

        def __init__(self, aio: Groups) -> None:
            self._aio = aio

        get = call(Groups.get)        # async def: blocks and returns the coroutine's result
        list = listing(Groups.list)   # returns a Paginator: returns a BlockingPaginator
        url = plain(Groups.url)       # plain function: called in the caller's thread
        watch = on_loop(Groups.watch) # plain function that needs the running event loop: called there

`_aio` is read at each call, so that a property can open the session, or open it again after a fork.
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from ezeep_async._runtime import forks
from ezeep_async._runtime.syntax import BlockingIterable
from ezeep_async._text.cleaning import check_unread
from ezeep_async._text.redaction import Dropping, clears_locals
from ezeep_async._wire.requests import HasId
from ezeep_async.blocking import portal
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.reader import Page, PageIterator


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T", bound=HasId)
Row = TypeVar("Row", bound=HasId)

_READ_FIRST = ("Iterable[", "Sequence[", "Mapping[")
"""In the annotations of parameters that take iterables."""
LEAVE_TIMEOUT_S = 1.0
"""Wait for the requests in progress when a loop is left early."""


class Twin(Protocol[S_co]):
    """A blocking object with its async counterpart, and the expression for it in async code."""

    @property
    def _aio(self) -> S_co: ...
    @property
    def _called(self) -> str: ...


def _async_form(instance: Twin[S]) -> tuple[S, str]:
    return instance._aio, instance._called  # pyright: ignore[reportPrivateUsage]  # the descriptors belong to the twin classes


def shaped(func: Callable[..., object], body: Callable[P, R]) -> Callable[P, R]:
    """Give `body` the signature, name and docstring of `func`, for `help()` and editors."""
    functools.update_wrapper(body, func)
    body.__qualname__ = f"Blocking{func.__qualname__.removeprefix('Ezeep')}"
    body.__doc__ = func.__doc__ and re.sub(r"\b(await|async) ", "", func.__doc__)
    return body


def call(func: Callable[Concatenate[S, P], Awaitable[R]]) -> Callable[Concatenate[Twin[S], P], R]:
    """Run an async method on the background event loop and wait for its result. Iterables are read before."""
    name = func.__name__

    def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        aio, called = _async_form(instance)
        return portal.run(f"await {called}.{name}(...)", func, aio, *args, **kwargs)

    return shaped(func, _reading_first(func, clears_locals(body)))


def _reading_first(func: Callable[..., object], body: Callable[P, R]) -> Callable[P, R]:
    """Read the iterables among the arguments of `body` in the caller's thread, where their code may block."""
    hints = {name: str(hint) for name, hint in func.__annotations__.items()}
    names = {name for name, hint in hints.items() if any(kind in hint for kind in _READ_FIRST)}
    if not names:
        return body
    order = [*inspect.signature(func).parameters]

    # Outside of `clears_locals`: the frames of an iterable are the caller's, and keep their variables.
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        with Dropping():
            positional = [
                _read(value, name) if name in names else value
                for name, value in zip(order, args, strict=False)
            ]
            named = {name: _read(value, name) if name in names else value for name, value in kwargs.items()}
            return cast("Callable[..., R]", body)(*positional, *args[len(order) :], **named)

    return read


def _read(value: object, name: str) -> object:
    check_unread(value, name)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value  # pyright: ignore[reportUnknownVariableType]  # an object
    return list(cast("Iterable[object]", value))


def on_loop(func: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[Twin[S], P], R]:
    """Call a method that is not async on the background event loop, which it needs."""

    def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def run(aio: S) -> R:
            return func(aio, *args, **kwargs)

        aio, called = _async_form(instance)
        return portal.run(f"{called}.{func.__name__}(...)", run, aio)

    return shaped(func, body)


def plain(func: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[Twin[S], P], R]:
    """Call a method that does no I/O, in the caller's thread."""

    def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return func(_async_form(instance)[0], *args, **kwargs)

    return shaped(func, clears_locals(body))


def listing(
    func: Callable[Concatenate[S, P], Paginator[T]], item: type[T] | None = None
) -> Callable[Concatenate[Twin[S], P], BlockingPaginator[T]]:
    """Return a `BlockingPaginator` instead of a `Paginator`. `item` replaces a type variable in the signature."""

    def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> BlockingPaginator[T]:
        aio, called = _async_form(instance)
        return BlockingPaginator(func(aio, *args, **kwargs), f"{called}.{func.__name__}(...)")

    signature = inspect.signature(func)
    returned = signature.return_annotation if item is None else f"Paginator[{item.__name__}]"
    signature = signature.replace(return_annotation=f"Blocking{returned}")
    vars(body)["__signature__"] = signature
    return shaped(func, body)


class BlockingPages(BlockingIterable, Generic[T]):
    """Iterator over the pages of one reading. The first `next()` starts it.

    It is closed at its end, by `close()`, and when it is garbage collected.
    """

    def __init__(self, source: PageIterator[T], expression: str, owner: portal.Portal) -> None:
        self._source = source
        self._expression = expression
        self._portal = owner
        self._closed = False
        self._thread = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page[T]:
        if self._closed:
            raise StopIteration
        self._thread = threading.get_ident()
        try:
            return self._portal.run(self._expression, self._source.__anext__)
        except StopAsyncIteration:
            self._closed = True
            raise StopIteration from None

    def close(self) -> None:
        """End the reading and wait until its requests have ended.

        Raises:
            BlockingCallError: This thread runs an event loop.
        """
        if not self._closed:
            self._closed = True
            if self._thread:
                self._portal.run(self._expression, self._source.aclose)

    def leave(self) -> None:
        """End the reading from a finalizer or a left loop. Never raises."""
        if self._closed or not self._thread:
            return
        self._closed = True
        if self._portal.inherited:
            forks.keep_forever(self._source)
        # After `break`, in the thread that was reading, no request is left running. The garbage collector runs in any
        # thread, where the caller may hold any lock: no wait there.
        is_reader = self._thread == threading.get_ident()
        self._portal.post(self._source.aclose, wait=LEAVE_TIMEOUT_S if is_reader else 0.0)

    def __del__(self) -> None:
        self.leave()


class BlockingPaginator(BlockingIterable, Generic[T]):
    """Iterable over the items of a listing, fetched page by page with blocking calls.

    Each loop is a new reading. A loop that is left early, or whose body raises, leaves no request running. Use the
    paginator as a context manager to close all its readings at the end of the block. A listing that was created
    before a fork raises `SessionClosed` in the child.

    Note:
        Every method, and each step of a loop, can raise the errors that `BlockingSession` lists, and `PaginationLoop`.
        A failed listing has the items that were read in `error.items_so_far`.
    """

    def __init__(self, aio: Paginator[T], called: str) -> None:
        self._source = aio
        self._called = called
        self._portal = portal.current()
        self._open: weakref.WeakSet[BlockingPages[T]] = weakref.WeakSet()

    @staticmethod
    def of(records: Iterable[Row], *, page_size: int = 100) -> BlockingPaginator[Row]:
        """Make a listing as `Paginator.of` does, with the same arguments and errors, for blocking code."""
        return BlockingPaginator(Paginator.of(records, page_size=page_size), "Paginator.of(...)")

    def __iter__(self) -> Generator[T, None, None]:
        pages = self._read(f"async for item in {self._called}")
        try:
            for page in pages:
                yield from page.items
        finally:
            pages.leave()

    def pages(self) -> BlockingPages[T]:
        """Iterate over pages instead of items.

        Returns:
            An iterator over the pages of a new reading, as the server sent them.
        """
        return self._read(f"async for page in {self._called}.pages()")

    collect = call(Paginator[T].collect)
    first = call(Paginator[T].first)
    count = call(Paginator[T].count)

    @property
    def drift(self) -> bool:
        """Whether the responses of the last reading show that the listing changed meanwhile.

        False is no proof: a row can move between two pages unnoticed. Use `collect(consistent=True)`, which
        reads at least twice.
        """
        return self._source.drift

    @property
    def duplicates(self) -> int:
        """Number of duplicate items in the last reading. They were left out."""
        return self._source.duplicates

    def close(self) -> None:
        """End all open readings of this paginator.

        Raises:
            BlockingCallError: This thread runs an event loop.
            SessionClosed: An open reading belongs to the parent process of a fork.
        """
        for pages in list(self._open):
            pages.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._called}>"

    @property
    def _aio(self) -> Paginator[T]:
        self._portal.check_running()
        return self._source

    def _read(self, expression: str) -> BlockingPages[T]:
        pages = BlockingPages(self._aio.pages(), expression, self._portal)
        self._open.add(pages)
        return pages
