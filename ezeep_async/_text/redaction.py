"""Keeps secrets out of tracebacks: rich, Sentry and `pytest --showlocals` print the local variables of every frame.

`Secret` is a string whose repr is redacted, for secrets in variables of this package. `clears_locals` clears the frames
below a function when it raises, for plain strings in frames of other libraries. Attributes that callers read
(`TokenSet.access_token`) stay plain strings: libraries such as msgspec and PyYAML do not encode a subclass of str.
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
    """A string with a redacted repr. `str`, f-strings and encoders give the string itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        # rich truncates a long string before it calls repr().
        return Secret(super().__getitem__(key))


def clears_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Clear the local variables of the frames of `function`, and of all it called, when it raises.

    The traceback keeps its lines. An exception that the caller was handling before the call keeps its variables too,
    although it may become the context of the new one.
    """
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> object:
            with Clearing():
                return await function(*args, **kwargs)

        return cast("Callable[P, R]", run_async)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with Clearing():
            return function(*args, **kwargs)

    return run


def clears_arguments(cls: C) -> C:
    """`clears_locals` for the `__init__` of a class with secret arguments, such as attrs generates."""
    setattr(cls, "__init__", clears_locals(vars(cls)["__init__"]))  # noqa: B010  # type checkers refuse to assign a method
    return cls


class Dropping:
    """Leaves the frame of its block out of a traceback: it holds the arguments. The frames below it keep their variables."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and trace is not None:
            error.__traceback__ = trace.tb_next


class Clearing:
    """The context manager around one call."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = sys.exception()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and trace is not None:
            # Drop the frame of the wrapper: it still runs, so it cannot be cleared, and it holds the arguments.
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
