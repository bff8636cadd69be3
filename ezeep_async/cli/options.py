"""The options of every command: before or after its name. A command that has an option of the same name keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar, cast

import attrs
from cyclopts import Group, Parameter


T = TypeVar("T")

LONGEST_TIMEOUT_S = 31_536_000
HYPHEN = "\ue000-"
"""Stands for a hyphen while cyclopts reads the command line, which takes a hyphen for an option. Its private character
passes the checks of paths and names."""


def without_hyphens(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The command line as cyclopts can read it."""
    return tuple(HYPHEN if each == "-" else each for each in tokens)


def with_hyphens(value: T) -> T:
    """An argument with its hyphens: text, a path, several of them, or the fields of a class of options."""
    new: object = value
    if isinstance(value, str | Path):
        new = type(value)("-") if str(value) == HYPHEN else value
    elif isinstance(value, tuple):
        new = tuple(map(with_hyphens, cast("tuple[object, ...]", value)))
    elif attrs.has(type(value)):
        make = cast("Callable[..., object]", type(value))
        new = make(
            **{
                name: with_hyphens(getattr(value, name))
                for name in attrs.fields_dict(cast("type", type(value)))
            }
        )
    return cast("T", new)


def _seconds(_: object, value: float | None) -> None:
    if value is not None and not 0 < value <= LONGEST_TIMEOUT_S:
        raise ValueError(
            f"--timeout must be more than 0 and at most {LONGEST_TIMEOUT_S} seconds, not {value:g}"
        )


# Texts and not docstrings of a class: those take longer to read, in each --help.
_GLOBAL = Group("Global options", sort_key=9)
Debug = Annotated[
    bool,
    Parameter(
        group=_GLOBAL,
        help="Write log lines and tracebacks to standard error. They contain no tokens and no secrets.",
    ),
]
Quiet = Annotated[
    bool,
    Parameter(
        name=("--quiet", "-q"), group=_GLOBAL, help="Show results and errors only: no progress and no notes."
    ),
]
Timeout = Annotated[
    float | None,
    Parameter(
        group=_GLOBAL,
        validator=_seconds,
        metavar="SECONDS",
        help="End the command after this time, as SIGTERM does, with exit code 124.",
    ),
]
Profile = Annotated[
    str | None,
    Parameter(group=_GLOBAL, metavar="NAME", help="A profile of the configuration file. Else EZEEP_PROFILE."),
]


@attrs.frozen(kw_only=True)
class Options:
    """What the user said about the command as a whole."""

    debug: bool = False
    quiet: bool = False
    timeout: float | None = None
    profile: str | None = None


NO_OPTIONS = Options()
_current = NO_OPTIONS


def options() -> Options:
    """The options of the command that runs."""
    return _current


def use(new: Options) -> None:
    """Set the options of the command that begins."""
    global _current  # noqa: PLW0603  # a process runs one command at a time
    _current = new
