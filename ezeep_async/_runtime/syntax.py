"""What a `for` or `with` without `async` says of an asynchronous object, and `await` or `async` of a blocking one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn


ASYNCHRONOUS = (
    "sessions, pools and listings are asynchronous: use `async with` and `async for`, or `await` a listing; for blocking "
    "code make a session or pool with run_sync(EzeepSession(...))"
)
BLOCKING = (
    "sessions and pools of run_sync, and their listings, block: use `with` and `for` without `async` and `await`, or in asynchronous code "
    "an EzeepSession with `async with` and `async for`"
)


class Asynchronous:
    """Base class of what is used with `async for` and `async with`."""

    if not TYPE_CHECKING:  # type checkers report the wrong form by themselves
        # Not `__iter__`: `for` falls back to this, and `isinstance(listing, Iterable)` remains False.
        def __getitem__(self, _: object) -> NoReturn:
            raise TypeError(ASYNCHRONOUS)

        def __enter__(self) -> NoReturn:
            raise TypeError(ASYNCHRONOUS)

        def __exit__(self, *_: object) -> None:
            """Never called: Python looks for it before it calls `__enter__`."""


class Blocking:
    """Base class of what is used with `with`.

    It has no `__await__`: web frameworks await whatever a dependency returns, if `inspect.isawaitable` says that it can be.
    """

    if not TYPE_CHECKING:

        def __aenter__(self) -> NoReturn:
            raise TypeError(BLOCKING)

        def __aexit__(self, *_: object) -> None:
            """Never called: Python looks for it before it calls `__aenter__`."""


class BlockingIterable(Blocking):
    """Base class of what is used with `for`, where asynchronous code has a listing that can be awaited."""

    if not TYPE_CHECKING:

        def __aiter__(self) -> NoReturn:
            raise TypeError(BLOCKING)

        def __await__(self) -> NoReturn:
            raise TypeError(BLOCKING)
