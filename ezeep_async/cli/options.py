"""The options of every command: before or after its name. A command that has an option of the same name keeps it."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Group, Parameter, validators


_POSITIVE = validators.Number(gt=0, lte=31_536_000)


@Parameter(name="*", group=Group("Global options", sort_key=9))
@attrs.frozen(kw_only=True)
class Options:
    """What every command knows about itself."""

    debug: bool = False
    """Write log lines and tracebacks to standard error. They contain no tokens and no secrets."""
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"))] = False
    """Show results and errors only: no progress and no notes."""
    timeout: Annotated[float | None, Parameter(validator=_POSITIVE, metavar="SECONDS")] = None
    """End the command after this time, as SIGTERM does, with exit code 124."""
    profile: Annotated[str | None, Parameter(metavar="NAME")] = None
    """A profile of the configuration file. Else EZEEP_PROFILE."""

    def check(self) -> None:
        """Raise `ValueError` for options that contradict each other."""
        if self.debug and self.quiet:
            raise ValueError("--debug and --quiet cannot be used together")


NO_OPTIONS = Options()
_current = NO_OPTIONS


def options() -> Options:
    """The options of the command that runs."""
    return _current


def use(new: Options) -> None:
    """Set the options of the command that begins."""
    global _current  # noqa: PLW0603  # a process runs one command at a time
    _current = new
