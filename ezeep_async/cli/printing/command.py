"""`ezeep print`: print documents, and wait until they are printed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import Group, Parameter

from ezeep_async.cli.connection import HERE, AtLeastOne, Connection, Json, open_session
from ezeep_async.cli.directory.lookup import as_id
from ezeep_async.cli.printing.documents import STDIN, Document, Orders, Run
from ezeep_async.cli.printing.jobs import Timeout
from ezeep_async.cli.printing.printers import PrinterName, find_printer
from ezeep_async.cli.signals import end_reason
from ezeep_async.cli.terminal.output import complain, write_json
from ezeep_async.cli.terminal.screen import Screen, to_json
from ezeep_async.provisioning.wording import counted, some


if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from ezeep_async import EzeepSession, Printer, PrintOptions

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?x ?(\d+(?:\.\d+)?) ?mm", re.ASCII | re.IGNORECASE)


FileName = Annotated[
    str,
    Parameter(
        help="Paths, addresses that begin with http:// or https://, or - for standard input.",
    ),
]


@Parameter(name="*", group=Group("Paper", sort_key=5))
@attrs.frozen(kw_only=True)
class Paper:
    """The options that say how a document is printed. Without them the settings of the printer hold."""

    copies: AtLeastOne | None = None
    """Number of copies."""
    pages: str | None = None
    """Pages and ranges, such as 1-2,5."""
    duplex: Literal["off", "long-edge", "short-edge"] | None = None
    """Print on one side, or on both sides, turned at that edge."""
    paper: str | None = None
    """Name of a paper format of the printer, such as A4, or a size, such as 100x150mm (width x length)."""
    color: bool = False
    """Print in color."""
    mono: bool = False
    """Print in black and white."""
    orientation: Literal["portrait", "landscape"] | None = None
    resolution: str | None = None
    """A resolution of the printer, such as 600."""
    tray: str | None = None
    """Name or index of a tray of the printer."""


PRINTER_SETTINGS = Paper()


async def print_documents(
    *files: FileName,
    printer: PrinterName,
    paper: Paper = PRINTER_SETTINGS,
    name: str | None = None,
    type: str | None = None,  # noqa: A002  # the name of the option
    no_check: bool = False,
    no_wait: bool = False,
    timeout: Timeout = 120.0,  # noqa: ASYNC109  # an option
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Print documents, and wait until they are printed. Several are printed concurrently, in no particular order.

    ezeep printers show PRINTER lists the values of the options. A document is never sent twice: if the outcome of a print
    request is unknown, the command says so. The exit code is 1 if a document was not printed, or may not be.

    Args:
        name: Name of the document for people, instead of that of the file.
        type: File type, such as pdf, instead of the ending of the name. Needed for standard input.
        no_check: Do not check type, printer and options before the upload.
        no_wait: Do not wait until the documents are printed.
    """
    documents = [Document.of(each) for each in files]
    _check(documents, name, paper)
    screen, progress = Screen(), Screen(stderr=True)
    async with open_session(connection) as session:
        printer_id = as_id(printer) if no_check else None
        target = printer_id or await find_printer(session, printer)
        options = _options(paper, await _tray(session, paper.tray, target, check=not no_check))
        orders = Orders(
            printer=target,
            options=options,
            name=name,
            type=type,
            check=not no_check,
            wait=not no_wait,
            timeout=timeout,
        )
        with progress.document_bars() as bars:
            signal = await Run(session, documents, orders, bars).run()
        # Before the session is closed: closing may fail, or be interrupted.
        try:
            if as_json:
                write_json(to_json([each.record() for each in documents]))
            else:
                screen.table(("document", "outcome", "pages", "job"), [each.row() for each in documents])
                screen.flush()
        finally:  # also if standard output is closed
            _complain(documents)
            if signal:
                sent = sum(each.job is not None for each in documents)
                complain(f"{end_reason()}: {sent} of {counted(len(documents), 'document')} sent")
    return 0 if all(each.is_good for each in documents) else 1


def _check(documents: Sequence[Document], name: str | None, paper: Paper) -> None:
    if not documents:
        raise ValueError("no document is given: name at least one, or - for standard input")
    if sum(each.source == STDIN for each in documents) > 1:
        raise ValueError("standard input can be printed once: give one hyphen")
    if name is not None and len(documents) > 1:
        raise ValueError(
            "--name is the name of one document: print the documents one by one, or remove --name"
        )
    if paper.color and paper.mono:
        raise ValueError("--color and --mono cannot be used together")


def _options(paper: Paper, tray: str | int | None) -> PrintOptions:
    from ezeep_async import PrintOptions

    size = None if paper.paper is None else _SIZE.fullmatch(paper.paper.strip())
    return PrintOptions(
        copies=paper.copies,
        color=True if paper.color else False if paper.mono else None,
        duplex=paper.duplex,
        orientation=paper.orientation,
        paper=paper.paper if size is None else (float(size[1]), float(size[2])),
        resolution=paper.resolution,
        tray=tray,
        pages=paper.pages,
    )


async def _tray(
    session: EzeepSession, tray: str | None, printer: Printer | UUID, *, check: bool
) -> str | int | None:
    """Return the name or the index of a tray. A number is a name if the printer has a tray of that name."""
    is_number = tray is not None and tray.isascii() and tray.isdecimal()
    if tray is None or not (is_number or not check):
        return tray
    if not is_number:
        raise ValueError(
            f"with --no-check, --tray takes the index of a tray, not {tray!r}: ezeep printers show has it"
        )
    names = [each.name for each in (await session.printers.properties(printer)).trays] if check else []
    return tray if tray in names else int(tray)


def _complain(documents: Sequence[Document]) -> None:
    """Report what is wrong, in one line for documents with the same problem."""
    names: dict[str, list[str]] = {}
    for each in documents:
        if each.error:
            names.setdefault(each.error, []).append(each.name)
    for error, which in names.items():
        complain(f"{some(which)}: {error}")
