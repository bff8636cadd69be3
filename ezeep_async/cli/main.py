"""The entry point of `ezeep`: runs a command, and turns what went wrong into one sentence and an exit code.

Exit codes: 0 done, 1 an error (one sentence on standard error says which), 64 a command line that cannot be understood,
129 SIGHUP, 130 Ctrl-C, 141 nobody reads the output any more, 143 SIGTERM. `ezeep provision` adds 2, changes are
pending, and 3, a safety limit refused. So 2 means one thing, and 64 is what sysexits.h has for a command line
(EX_USAGE).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from ezeep_async._text.redaction import clears_locals
from ezeep_async.cli.signals import signals_end
from ezeep_async.cli.terminal.output import (
    FULL,
    clean,
    complain,
    finished,
    forget,
    incomplete,
    is_stuck,
    prepare_streams,
    sentence,
    write_error,
)


EXTRA = frozenset({"cyclopts", "rich", "segno"})
"""What the extra `cli` installs and this command imports."""


USAGE = 64
"""The exit code for a command line that cannot be understood."""


@clears_locals
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of the process, and return its exit code."""
    is_shown = sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison]  # closed by whoever started it
    _open_closed_streams()
    if not is_shown:
        return _fail("standard output is closed, and nothing can be shown (>/dev/null throws it away)")
    _prepare_streams()
    with signals_end() as ending:
        try:
            code = _run(arguments)
        except (KeyboardInterrupt, asyncio.CancelledError):
            code = _fail("interrupted", 130)
        except BrokenPipeError:
            forget(sys.stdout)
            code = 141
        except Exception:
            # A fault of ours keeps its traceback, and that may quote anybody.
            sys.excepthook = _show_fault
            raise
    if not ending.number:
        return 141 if code == 141 else finished(code)
    # After SIGHUP the terminal may be gone. What cannot be shown must not decide on the exit code.
    for stream in (sys.stdout, sys.stderr):
        if is_stuck(stream):
            forget(stream)
    return 128 + ending.number


def _run(arguments: Sequence[str] | None) -> int:
    try:
        from cyclopts import CycloptsError

        from ezeep_async.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        return _fail("the command line needs more packages: pip install 'ezeep_async[cli]'")
    from ezeep_async.errors import EzeepError

    try:
        code = app(arguments, print_error=False, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        if _may_have_a_secret(sys.argv[1:] if arguments is None else arguments):
            return _fail(
                "that cannot be understood. --password takes no value: it is asked for, or read from a pipe. If you gave "
                "one, take it for known to others: everybody on a machine can read its command lines",
                USAGE,
            )
        return _fail(f"{sentence(error)} (see ezeep --help)", USAGE)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _refused_by_the_system(error)
    except (EzeepError, ValueError) as error:
        return _fail(sentence(error))
    return code if isinstance(code, int) else 0


def _refused_by_the_system(error: OSError) -> int:
    if error.filename is None and is_stuck(sys.stdout):
        return 1  # what was not taken is still in its buffer, and `finished` says that it is not whole
    # What is larger than the buffer does not stay there.
    is_of_output = error.filename is None and error.errno in FULL
    return _fail(incomplete(error) if is_of_output else sentence(error))


def _may_have_a_secret(arguments: Sequence[str]) -> bool:
    """Whether a password may be on the command line, wherever. It must not be said again, into a log for example."""
    return any(each == "--password" or each.startswith("--password=") for each in arguments)


def _fail(text: str, code: int = 1) -> int:
    complain(text)
    return code


def _show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
    write_error("".join(f"{clean(line)}\n" for line in lines))


def _open_closed_streams() -> None:
    """Put nothing where Python found a stream closed, so that there is something to read from and to write to.

    From the lowest on: each gets the number that it should have, and no connection has it by accident.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # to the end of the process


def _prepare_streams() -> None:
    prepare_streams()
    logger = logging.getLogger("ezeep_async")
    if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(_LogLines(logging.WARNING))


class _LogLines(logging.Handler):
    """The log's errors as lines on standard error, in the form that `main` has for its own.

    And what the stores warn of: a file that others could read, locks that do not hold. Other warnings come back as
    errors, and would be said twice.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show it."""
        is_of_a_store = record.name.startswith("ezeep_async.auth.stores")
        return (record.levelno >= logging.ERROR or is_of_a_store) and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        complain(record.getMessage())
