"""Descriptors that turn async methods into blocking methods with the same signature.

    class BlockingGroups:
        def __init__(self, aio: Groups) -> None:
            self._aio = aio

        get = call(Groups.get)        # async def: blocks and returns the coroutine's result
        list = listing(Groups.list)   # returns a Paginator: returns a BlockingPaginator
        url = plain(Groups.url)       # plain function: called in the caller's thread
        watch = on_loop(Groups.watch) # plain function that needs the running event loop: called there

`_aio` is read at each call, so that a property can open the session, or open it again after a fork. The class attribute
`_awaited_as`, or else the class name, gives the path for error messages: "await session.groups.get(...)".
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import threading
import weakref
from collections.abc import Awaitable, Callable, Generator
from types import MethodType, TracebackType
from typing import Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, get_args, overload

from ezeep_async._runtime import forks
from ezeep_async._text.redaction import clears_locals
from ezeep_async.blocking import portal
from ezeep_async.errors import SessionClosed
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.pagination.reader import HasId, Page, PageIterator


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T", bound=HasId)

LEAVE_TIMEOUT_S = 1.0
"""Wait for the requests in progress when a loop is left early."""


class Twin(Protocol[S_co]):
    """A blocking object with its async counterpart."""

    @property
    def _aio(self) -> S_co: ...


class BlockingPages(Generic[T]):
    """Iterator over the pages of one reading. The first `next()` starts it.

    It is closed at its end, by `close()`, and when it is garbage collected.
    """

    _portal: portal.Portal | None = None
    _closed = False
    _thread = 0

    def __init__(self, source: PageIterator[T], expression: str) -> None:
        self._source = source
        self._expression = expression

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page[T]:
        if self._closed:
            raise StopIteration
        if self._portal is None:
            self._portal = portal.current()
        self._thread = threading.get_ident()
        try:
            return self._portal.run_as(self._expression, self._source.__anext__)
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
            if self._portal is not None:
                self._portal.run_as(self._expression, self._source.aclose)

    def leave(self) -> None:
        """End the reading from a finalizer or a left loop. Never raises."""
        if self._closed:
            return
        self._closed = True
        owner = self._portal
        if owner is None or owner.closing:
            return
        if owner.inherited:
            forks.keep_forever(self._source)
            return
        # After `break`, in the thread that was reading, no request is left running. The garbage collector runs in any
        # thread, where the caller may hold any lock: no wait there.
        is_reader = self._thread == threading.get_ident()
        owner.post(self._source.aclose, wait=LEAVE_TIMEOUT_S if is_reader else 0.0)

    def __del__(self) -> None:
        self.leave()


class BlockingPaginator(Generic[T]):
    """Iterable over the items of a listing, fetched page by page with blocking calls.

    Each loop is a new reading. A loop that is left early, or whose body raises, leaves no request running. Use the
    paginator as a context manager to close all its readings at the end of the block.

    Note:
        Every method, and each step of a loop, can raise the errors that `BlockingSession` lists, and `PaginationLoop`.
        A failed listing has the items that were read in `error.items_so_far`.
    """

    def __init__(self, aio: Paginator[T], called: str = "session.listing") -> None:
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
        """Iterate over pages instead of items.

        Returns:
            An iterator over the pages of a new reading, as the server sent them.
        """
        return self._read(f"async for page in {self._called}.pages()")

    def collect(self, *, consistent: bool = False) -> list[T]:
        """Read all items.

        Args:
            consistent: Read the listing again until two consecutive readings are equal.

        Returns:
            The items in the order of the server, without duplicates.

        Raises:
            InconsistentListing: No two consecutive readings were equal.
        """
        return self._run("collect", self._checked().collect, consistent=consistent)

    def first(self) -> T | None:
        """Read the first item.

        Returns:
            The first item, or None if the listing is empty.
        """
        return self._run("first", self._checked().first)

    def count(self) -> int:
        """Count the items.

        Returns:
            The count that the server reports, or the number of items read if it reports none.
        """
        return self._run("count", self._checked().count)

    @property
    def drift(self) -> bool:
        """Whether the responses of the last reading show that the listing changed meanwhile.

        False is no proof: a row can move between two pages unnoticed. Use `collect(consistent=True)` to be sure.
        """
        return self._aio.drift

    @property
    def duplicates(self) -> int:
        """Number of duplicate items in the last reading. They were left out."""
        return self._aio.duplicates

    def close(self) -> None:
        """End all open readings of this paginator.

        Raises:
            BlockingCallError: This thread runs an event loop.
            SessionClosed: The paginator was created in the parent process of a fork.
        """
        for pages in list(self._open):
            pages.close()
        self._run("aclose", self._checked().aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._called}>"

    def _checked(self) -> Paginator[T]:
        if self._pid != os.getpid():
            raise SessionClosed(
                f"this listing was created before a fork, in the parent process: call {self._called} again"
            )
        return self._aio

    def _read(self, expression: str) -> BlockingPages[T]:
        pages = BlockingPages(self._checked().pages(), expression)
        self._open.add(pages)
        return pages

    def _run(self, name: str, func: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        return portal.run_as(f"await {self._called}.{name}()", func, *args, **kwargs)


class _Method(Generic[S, P, R]):
    """A blocking method.

    Binds as a function does, so that `help()` and `inspect` see a method. The docstring is that of the async method
    without `await` and `async`.
    """

    def __init__(self, func: Callable[..., object], body: Callable[Concatenate[Twin[S], P], R]) -> None:
        self._body = functools.update_wrapper(body, func)
        functools.update_wrapper(self, func)
        self.__doc__ = self._body.__doc__ = func.__doc__ and re.sub(r"\b(await|async) ", "", func.__doc__)
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


class call(_Method[S, P, R]):  # noqa: N801  # used like a function
    """Run an async method on the background event loop and wait for its result."""

    def __init__(self, func: Callable[Concatenate[S, P], Awaitable[R]]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
            return portal.run_as(f"await {self._called}", func, _aio_of(instance), *args, **kwargs)

        super().__init__(func, clears_locals(body))


class listing(_Method[S, P, BlockingPaginator[T]], Generic[S, P, T]):  # noqa: N801  # as call
    """Return a `BlockingPaginator` instead of a `Paginator`."""

    def __init__(self, func: Callable[Concatenate[S, P], Paginator[T]]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> BlockingPaginator[T]:
            return BlockingPaginator(func(_aio_of(instance), *args, **kwargs), self._called)

        super().__init__(func, body)
        signature = inspect.signature(func)
        signature = signature.replace(return_annotation=_blocking(signature.return_annotation))
        for target in (self, body):
            vars(target)["__signature__"] = signature


class plain(_Method[S, P, R]):  # noqa: N801  # as call
    """Call a method that does no I/O, in the caller's thread."""

    def __init__(self, func: Callable[Concatenate[S, P], R]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
            return func(_aio_of(instance), *args, **kwargs)

        super().__init__(func, clears_locals(body))


class on_loop(_Method[S, P, R]):  # noqa: N801  # as call
    """Call a method that is not async on the background event loop, which it needs."""

    def __init__(self, func: Callable[Concatenate[S, P], R]) -> None:
        def body(instance: Twin[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
            async def run(aio: S) -> R:
                return func(aio, *args, **kwargs)

            return portal.run_as(self._called, run, _aio_of(instance))

        super().__init__(func, body)


def _aio_of(instance: Twin[S]) -> S:
    return instance._aio  # pyright: ignore[reportPrivateUsage]  # the two are one thing


def _blocking(annotation: object) -> object:
    """Return `BlockingPaginator[Group]` for the annotation `Paginator[Group]`, a string or a type."""
    if isinstance(annotation, str):
        return (
            "BlockingPaginator" + annotation[annotation.find("[") :]
            if "[" in annotation
            else "BlockingPaginator"
        )
    return BlockingPaginator[get_args(annotation)] if get_args(annotation) else BlockingPaginator  # type: ignore[misc]  # built at run time
