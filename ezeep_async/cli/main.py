"""The entry point of `ezeep`: runs a command, and turns errors into sentences and an exit code.

An error is one sentence on standard error, and an invalid input a line for each problem. docs/reference/exit-codes.md has the exit
codes. `USAGE` is EX_USAGE of sysexits.h.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
import math
import os
import sys
import traceback
from collections.abc import Coroutine, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from ezeep_async import EzeepError, __version__
from ezeep_async._text.redaction import clears_locals
from ezeep_async.cli.signals import end_reason, limited, signals_end
from ezeep_async.cli.terminal.output import (
    FULL,
    clean,
    complain,
    finished,
    forget,
    incomplete,
    is_stuck,
    prepare_streams,
    problem_lines,
    sentence,
    write_error,
)


if TYPE_CHECKING:
    import asyncio

    from ezeep_async.cli.options import Options


EXTRA = frozenset({"cyclopts", "rich", "segno"})
"""What the extra `cli` installs and this command imports."""
USAGE = 64
"""The exit code of an invalid command line."""


@clears_locals
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of the process, and return its exit code."""
    is_shown = sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison]  # None if it was closed before the start
    _open_closed_streams()
    if not is_shown:
        return _fail("standard output is closed, and nothing can be shown (>/dev/null discards it)")
    prepare_streams()
    logger = logging.getLogger("ezeep_async")
    if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(_LogLines())
    level = logger.level
    with signals_end() as ending:
        try:
            code = _run(arguments)
        except _interruptions():
            code = 130
            complain(end_reason())
        except BrokenPipeError:
            forget(sys.stdout)
            code = 141
        except Exception:
            # A bug keeps its traceback, which may contain text from outside.
            sys.excepthook = _show_bug
            raise
        finally:
            logger.setLevel(level)
    if not ending.number:
        return 141 if code == 141 else finished(code)
    # After SIGHUP the terminal may be gone. The exit code reports the signal all the same.
    for stream in (sys.stdout, sys.stderr):
        if is_stuck(stream):
            forget(stream)
    return ending.code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        from cyclopts import CycloptsError

        from ezeep_async.cli.app import app
        from ezeep_async.cli.options import HYPHEN, NO_OPTIONS, options, use
        from ezeep_async.cli.terminal.help import call

        if find_spec("segno") is None:  # imported late, in the middle of a login
            raise ModuleNotFoundError(name="segno")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        return _fail("the command line needs more packages: pip install 'ezeep_async[cli]'")
    try:
        use(NO_OPTIONS)
        command, bound, _ = app.meta.parse_args(arguments, print_error=False, exit_on_error=False)
        code = call(command, bound)
        if inspect.iscoroutine(code):  # not for --help and --version
            code = _run_async(code, options())
    except CycloptsError as error:
        given = sys.argv[1:] if arguments is None else arguments
        if any(each == "--password" or each.startswith("--password=") for each in given):
            # The message would repeat a password, into a log for example.
            return _fail(
                "the command line is invalid. --password takes no value: it is asked for, or read from a pipe. If you "
                "gave one, change it: every user of a machine can read its command lines",
                code=USAGE,
            )
        text = " ".join(str(error).split()).replace(HYPHEN, "-")
        return _fail(f"{text} (see ezeep --help)", code=USAGE)
    except BrokenPipeError:
        raise
    except (EzeepError, OSError, ValueError) as error:
        if options().debug:  # tracebacks contain no values of variables
            _show_bug(type(error), error, error.__traceback__)
        return _refused_by_the_system(error) if isinstance(error, OSError) else _refused(error)
    return code if isinstance(code, int) else 0


def _run_async(command: Coroutine[object, object, object], given: Options) -> object:
    import asyncio

    gc.enable()
    if given.debug:
        logger = logging.getLogger("ezeep_async")
        logger.setLevel(logging.DEBUG)
        logger.debug("ezeep %s, Python %s, %s", __version__, sys.version.split()[0], sys.platform)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(command if given.timeout is None else limited(command, given.timeout))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop of uvloop where it is installed: the extra `fast`."""
    import asyncio

    if sys.platform != "win32":
        with contextlib.suppress(ImportError):
            import uvloop

            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def _interruptions() -> tuple[type[BaseException], ...]:
    """Exceptions of an interrupted command. Called after an exception: `ezeep --help` does without asyncio."""
    import asyncio

    return KeyboardInterrupt, asyncio.CancelledError


def _refused(error: Exception) -> int:
    from ezeep_async import InvalidInput, RateLimited, ReauthorizationRequired  # `ezeep --help` does without
    from ezeep_async.cli.connection import LOG_IN_AGAIN

    if isinstance(error, ReauthorizationRequired):
        return _fail(sentence(error), code=LOG_IN_AGAIN)
    if isinstance(error, InvalidInput):
        return _fail(*problem_lines(error))
    if isinstance(error, EzeepError) and error.retry_after:
        wait = math.ceil(error.retry_after)
        return _fail(f"{sentence(error)}. The server asks to wait {wait} s: try again after that")
    if isinstance(error, RateLimited):
        return _fail(f"{sentence(error)}. It was tried {error.attempts} times: try again in a few minutes")
    return _fail(sentence(error))


def _refused_by_the_system(error: OSError) -> int:
    if error.filename is None and is_stuck(sys.stdout):
        return 1  # `finished` reports what is left in the buffer
    # A document that is larger than the buffer does not stay there.
    is_of_output = error.filename is None and error.errno in FULL
    return _fail(incomplete(error) if is_of_output else sentence(error))


def _fail(text: str, *more: str, code: int = 1) -> int:
    complain(text, *more)
    return code


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
    write_error("".join(f"{clean(line)}\n" for line in lines))


def _open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed.

    In this order each gets the number that it should have, and no connection gets it by accident.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # until the process ends


class _LogLines(logging.Handler):
    """Writes errors of the log, and warnings of the token stores, as lines on standard error; with `--debug` all lines.

    Other warnings are about failures that also raise an error, which is reported.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record."""
        from ezeep_async.cli.options import options

        is_shown = record.levelno >= logging.ERROR or options().debug
        if not is_shown and not options().quiet:
            is_of_a_store = record.name.startswith("ezeep_async.auth.stores")
            is_shown = is_of_a_store and record.levelno >= logging.WARNING
        return is_shown and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        from ezeep_async.cli.options import options

        if not options().debug:
            complain(record.getMessage())
            return
        text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s").format(record)
        write_error("".join(f"{clean(line)}\n" for line in text.splitlines()))
