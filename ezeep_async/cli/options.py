"""The options of every command: before or after its name. A command that has an option of the same name keeps it."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Group, Parameter


LONGEST_TIMEOUT_S = 31_536_000
HYPHEN = "\0-"
"""What `print`, `provision plan` and `provision apply` get for the hyphen that stands for standard input. cyclopts takes it for an option, or, if it may be a
document, takes all options of the command line for documents. An argument of a process cannot contain NUL."""


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
