"""Secrets in tracebacks: tools such as rich, Sentry and `pytest --showlocals` print the local variables of every frame.

Two means against that. `Secret` is a string that does not show itself: for secrets that live in a variable of ours. And
`clears_locals` empties the frames below a function when an exception passes it: for what other libraries, parsers and
callers hold as plain strings. Attributes that callers read (`TokenSet.access_token`) stay plain strings, as libraries such
as msgspec and PyYAML encode nothing but those.
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, SupportsIndex, TypeVar, cast


P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


class Secret(str):
    """A string whose repr does not show it. `str`, f-strings and encoders see the string itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        # rich shortens a long string before it asks for the repr.
        return Secret(super().__getitem__(key))


def clears_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Clear the local variables of all frames from `function` down in the traceback of what it raises.

    The frames stay in the traceback with their lines. Those of an exception that was being handled before the call, which
    may become the context of a new one, are left alone.
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> object:
            with _Clearing():
                return await function(*args, **kwargs)

        return cast("Callable[P, R]", run_async)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _Clearing():
            return function(*args, **kwargs)

    return run


def clears_arguments(cls: C) -> C:
    """`clears_locals` for the initializer of a class whose arguments are secret, such as attrs generates it."""
    setattr(cls, "__init__", clears_locals(vars(cls)["__init__"]))  # noqa: B010  # type checkers know no such method of a type
    return cls


class _Clearing:
    """A context manager around one call."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = sys.exception()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and trace is not None:
            # Without the frame of the wrapper itself, which still runs and holds the arguments.
            error.__traceback__ = trace.tb_next
            _clear(error, {id(self._before)})


def _clear(error: BaseException | None, done: set[int]) -> None:
    pending = [error]
    while pending:
        each = pending.pop()
        if each is None or id(each) in done:
            continue
        done.add(id(each))
        traceback.clear_frames(each.__traceback__)
        pending += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            pending += cast("BaseExceptionGroup[BaseException]", each).exceptions
