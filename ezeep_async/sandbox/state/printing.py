"""The printers of the sandbox, the documents that were sent to them, and the jobs that print these."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Unpack
from uuid import UUID

import attrs

from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.state.jobs import Outcome, Printed, SandboxJob
from ezeep_async.sandbox.state.organization import Organization, Person
from ezeep_async.sandbox.state.printers import PrinterFields, SandboxPrinter


@attrs.define(eq=False, kw_only=True)
class Upload:
    """A document that is uploaded, or that the server fetches from an address."""

    fileid: str
    url: str | None = None
    """Address that the server fetches it from."""
    attempts_left: int = 0
    """Number of Print requests that get a 412, because the server is still fetching."""


@attrs.define(eq=False)
class Printing:
    """Printers, uploads and jobs: `Sandbox.printing`."""

    organization: Organization = attrs.field(repr=False)
    behaviour: Behaviour = attrs.field(repr=False)
    clock: Clock = attrs.field(repr=False)
    printers: dict[UUID, SandboxPrinter] = attrs.field(
        init=False, factory=dict[UUID, SandboxPrinter], repr=False
    )
    jobs: dict[str, SandboxJob] = attrs.field(init=False, factory=dict[str, SandboxJob], repr=False)
    """All jobs by their id, in the order of the Print requests."""
    uploads: dict[str, Upload] = attrs.field(init=False, factory=dict[str, Upload], repr=False)
    """What PrepareUpload or a print by URL gave a `fileid`."""
    web: dict[str, bytes] = attrs.field(init=False, factory=dict[str, bytes], repr=False)
    """The documents that the sandbox finds at addresses. It connects to none; others give `b""`."""
    on_job: Callable[[SandboxJob], object] = attrs.field(init=False, default=lambda _: None, repr=False)
    """Called with each new job."""
    _outcomes: list[Outcome] = attrs.field(init=False, factory=list[Outcome], repr=False)
    _unfinished: list[SandboxJob] = attrs.field(init=False, factory=list[SandboxJob], repr=False)
    """The jobs whose end was not noticed yet."""
    _random: random.Random = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # A generator of its own: printers do not change the ids of users and groups.
        self._random = random.Random(f"printing {self.organization.seed}")

    @property
    def printed(self) -> list[Printed]:
        """The documents of all jobs, in the order of the Print requests."""
        return [job.printed for job in [*self.jobs.values()]]  # tests read this from other threads

    # --- printers

    def new_id(self) -> UUID:
        """Return the next id. The same seed gives the same ids."""
        return UUID(int=self._random.getrandbits(128), version=4)

    def add_printer(
        self, name: str, *, printer_id: UUID | None = None, **fields: Unpack[PrinterFields]
    ) -> SandboxPrinter:
        """Add a printer at the end of the list. Names need not be unique.

        Args:
            name: The name.
            printer_id: Default: the next id.
            **fields: Other fields of `SandboxPrinter`.

        Returns:
            The new printer.
        """
        printer = SandboxPrinter(self.new_id() if printer_id is None else printer_id, name, **fields)
        self.printers[printer.id] = printer
        return printer

    def num_printers(self, group_id: UUID) -> int:
        """Return the number of printers that are assigned to a group.

        Args:
            group_id: Id of the group.
        """
        return sum(group_id in printer.groups for printer in self.printers.values())

    def remove_printer(self, printer_id: UUID) -> None:
        """Remove a printer. Its jobs stay.

        Args:
            printer_id: Id of the printer.

        Raises:
            KeyError: There is no such printer.
        """
        del self.printers[printer_id]

    def printers_of(self, person: Person) -> list[SandboxPrinter]:
        """Return the printers that a person may print to.

        Args:
            person: The person.

        Returns:
            With the behaviour `printers_by_group` those of the person's groups, else all.
        """
        if not self.behaviour.printers_by_group:
            return list(self.printers.values())
        user = self.organization.users.get(person.id)
        groups = () if user is None else user.groups
        return [
            printer for printer in self.printers.values() if any(each in groups for each in printer.groups)
        ]

    # --- uploads and jobs

    def new_upload(self, url: str | None = None) -> Upload:
        """Return a new upload with the next `fileid`.

        Args:
            url: Address that the document is fetched from.
        """
        attempts = 0 if url is None else self.behaviour.url_not_ready
        upload = Upload(fileid=f"ERI_{self.new_id()}", url=url, attempts_left=attempts)
        self.uploads[upload.fileid] = upload
        return upload

    def new_job(self, printed: Callable[[str], Printed], printer: SandboxPrinter) -> SandboxJob:
        """Create a job with the next job id, and with the outcome that is scripted for it.

        Args:
            printed: Returns the document for the job id.
            printer: The printer.
        """
        number = self._random.randrange(1_000_000, 10_000_000)
        job_id = f"node-d000009:{printer.name}_tpcb_{len(self.jobs) + 41}_{number}#1000000001:3"
        job = SandboxJob(
            printed=printed(job_id),
            clock=self.clock,
            seconds=self.behaviour.job_seconds,
            queued=bool(printer.is_queue),
        )
        due = [outcome for outcome in self._outcomes if outcome.counts(job.printed)]
        if due:
            due[0].hits += 1
            job.outcome = due[0]
        self.jobs[job_id] = job
        self._unfinished.append(job)
        self.on_job(job)
        return job

    def script(
        self,
        final: int = 0,
        *,
        text: str | None = None,
        through: Sequence[int | tuple[int, str]] = (1246, 129, 129, 129),
        nth: int = 1,
        times: int | None = 1,
        when: Callable[[Printed], bool] | None = None,
    ) -> Outcome:
        """Script the statuses of coming jobs.

        Args:
            final: The last status, such as 0 (printed) or 3011 (failed, start again); any integer.
            text: Its `jobstatusstring`. Default: `"ERROR|"` for a failure of the printer, else `""`.
            through: The statuses before it, each for an equal part of the job's time; a tuple has the text too.
            nth: First job that it applies to, counted from now; 1 is the next one.
            times: Number of jobs that it applies to. None: all from `nth` on.
            when: Only jobs for whose document it returns true are counted.

        Returns:
            The outcome, which counts its jobs and can be removed.
        """
        outcome = Outcome(final=final, text=text, through=tuple(through), nth=nth, times=times, when=when)
        self._outcomes.append(outcome)
        return outcome

    @property
    def pending_outcomes(self) -> list[Outcome]:
        """The scripted outcomes that still apply to a coming job."""
        return [outcome for outcome in self._outcomes if outcome.is_pending]

    def position(self, job: SandboxJob) -> int:
        """Return the place of a job in the queue of its printer, from 1; 0: it has ended.

        Args:
            job: The job.
        """
        self._unfinished = [each for each in self._unfinished if not each.is_final]
        if job not in self._unfinished:
            return 0
        before = self._unfinished[: self._unfinished.index(job)]
        return 1 + sum(each.printed.printer is job.printed.printer for each in before)
