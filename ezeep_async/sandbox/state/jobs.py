"""A print job of the sandbox, its document, and its way through the statuses."""

from __future__ import annotations

import math
import re
from datetime import datetime

import attrs

from ezeep_async.sandbox.behaviour import Clock
from ezeep_async.sandbox.scripts import Script
from ezeep_async.sandbox.state.organization import Person
from ezeep_async.sandbox.state.printers import SandboxPrinter


PRINTING_TEXT = "PRINTING|RETAINED|"
_TEXTS = {0: "", 2: "", 87: "", 129: PRINTING_TEXT, 1246: ""}
"""`jobstatusstring` of known statuses."""
_PAGE_OF_PDF = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")


@attrs.frozen(eq=False, kw_only=True)
class Printed:
    """A document that was sent to a printer, or to a queue for pull printing."""

    job_id: str
    content: bytes = attrs.field(repr=False)
    """The document, without the frame of a multipart upload. Empty without the behaviour `keep_documents`."""
    size: int
    """Its length in bytes."""
    type: str
    """Its file type, such as `"pdf"`."""
    printer: SandboxPrinter
    user: Person
    alias: str | None = None
    """Name of the document."""
    fileid: str
    url: str | None = attrs.field(default=None, repr=False)
    """Address of a print by URL."""
    options: dict[str, object] = attrs.field(factory=dict[str, object])
    """`properties` of the Print request, with the documented spelling of their keys."""
    deleted: bool = False
    """`printanddelete` of the Print request."""

    @property
    def pages(self) -> int:
        """Number of pages, copies included. An estimate, and 1 where the type of the document gives none."""
        total = 1
        if self.type == "pdf":
            total = len(_PAGE_OF_PDF.findall(self.content)) or 1
        elif self.type == "txt":
            total = self.content.rstrip(b"\f").count(b"\f") + 1
        if isinstance(ranges := self.options.get("PageRanges"), str):
            total = sum(_pages_in(each, total) for each in ranges.split(";"))
        copies = self.options.get("copies", 1)
        return total * (copies if isinstance(copies, int) else 1)


def _pages_in(text: str, total: int) -> int:
    first, _, last = text.partition("-")
    return max(0, min(int(last or first), total) - int(first) + 1)


@attrs.define(eq=False, kw_only=True)
class Outcome(Script[Printed]):
    """The scripted statuses of jobs, from `Printing.script`. It counts its jobs: `calls`, `hits`."""

    final: int = 0
    text: str | None = None
    through: tuple[int | tuple[int, str], ...] = (1246, 129, 129, 129)


@attrs.define(eq=False, kw_only=True)
class SandboxJob:
    """A print job. Its status depends on the clock of the sandbox."""

    printed: Printed
    clock: Clock = attrs.field(repr=False)
    seconds: float
    """Time from the Print request, or from the release from a queue, to the final status."""
    outcome: Outcome = attrs.field(factory=Outcome)
    queued: bool = False
    """Whether it waits in a queue for pull printing."""
    expired: bool = False
    """Whether it left the queue without being printed."""
    total: int = attrs.field(init=False)
    """Number of its pages, copies included."""
    created: datetime = attrs.field(init=False)
    started: datetime = attrs.field(init=False)
    """When its statuses began: at the Print request, or at the release from a queue."""
    _ended: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.created = self.started = self.clock.now()
        self.total = self.printed.pages  # once: it searches the document

    @property
    def id(self) -> str:
        """The job id."""
        return self.printed.job_id

    @property
    def seconds_left(self) -> float:
        """Time until its final status, in seconds; infinite in a queue."""
        if self._ended:
            return 0.0
        if self.queued:
            return math.inf
        return max(0.0, self.seconds - (self.clock.now() - self.started).total_seconds())

    @property
    def progress(self) -> float:
        """The elapsed part of its time, from 0 to 1."""
        left = self.seconds_left
        return 0.0 if math.isinf(left) else 1 - left / self.seconds if left else 1.0

    @property
    def is_final(self) -> bool:
        """Whether its status does not change any more."""
        return self.progress >= 1

    @property
    def status(self) -> tuple[int, str]:
        """`jobstatus` and `jobstatusstring`."""
        outcome, progress = self.outcome, self.progress
        if progress >= 1:
            text = _TEXTS.get(outcome.final, "ERROR|") if outcome.text is None else outcome.text
            return outcome.final, text
        current = outcome.through[int(progress * len(outcome.through))] if outcome.through else 1246
        return (current, _TEXTS.get(current, "")) if isinstance(current, int) else current

    @property
    def pages(self) -> tuple[int, int]:
        """Printed pages, and all pages; without a status both are 0."""
        (code, _), total = self.status, self.total
        if code in {0, 129}:
            return int(total * self.progress), total
        return (0, total) if self.is_final else (0, 0)

    @property
    def word(self) -> str:
        """Its status in the list of jobs: `INQUEUE`, `DONE`, `EXPIRED`, `ERROR`; `PRINTING` is our own."""
        if self.expired:
            return "EXPIRED"
        if self.queued:
            return "INQUEUE"
        if not self.is_final:
            return "PRINTING"
        return "ERROR" if self.outcome.final else "DONE"

    def finish(self, final: int | None = None, *, text: str | None = None) -> None:
        """End the job now.

        Args:
            final: Its last status. Default: the one of its script, which is 0 without one.
            text: Its `jobstatusstring`. Default: as for `Printing.script`.
        """
        if final is not None:
            self.outcome = attrs.evolve(self.outcome, final=final, text=text)
        self._ended, self.queued = True, False
        self.clock.wake()

    def release(self) -> None:
        """Print it: it leaves the queue, and its statuses begin."""
        self.queued, self.started = False, self.clock.now()
        self.clock.wake()

    def expire(self) -> None:
        """Remove it from the queue unprinted: no status is known any more."""
        self.expired = True
        self.finish(2)
