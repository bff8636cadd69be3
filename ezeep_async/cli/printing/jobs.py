"""`ezeep jobs`: the status of print jobs, and those that wait in pull queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter, validators

from ezeep_async.cli.connection import HERE, Connection, Json, open_session
from ezeep_async.cli.terminal.output import write_json
from ezeep_async.cli.terminal.screen import Screen, Whole, to_json


if TYPE_CHECKING:
    from ezeep_async import JobStatus

Timeout = Annotated[
    float, Parameter(validator=validators.Number(gt=0), help="Seconds to wait for the end of a job.")
]

jobs_app = App(name="jobs", help="Print jobs: their status, and those that wait in pull queues.")


@jobs_app.command(name="status")
async def job_status(
    job_id: str,
    /,
    *,
    wait: bool = False,
    timeout: Timeout = 120.0,  # noqa: ASYNC109  # an option
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Show the status of a job. The exit code is 1 if it has failed, or is unknown.

    Args:
        job_id: The id that ezeep print shows, in quotes: it contains blanks and a hash sign.
        wait: Wait until the job has ended.
    """
    from ezeep_async import PrintFailed

    screen = Screen()
    async with open_session(connection) as session:
        if wait:
            try:
                status = await session.printing.wait(job_id, timeout=timeout)
            except PrintFailed as error:
                status = error.status
        else:
            status = await session.printing.status(job_id)
    if as_json:
        write_json(to_json({"job_id": job_id, **status_record(status)}))
    else:
        screen.facts(
            {
                "job": Whole(job_id),
                "status": status.meaning,
                "code": status.code,
                "text": status.text,
                "pages": pages_of(status),
                "position": status.position,
            }
        )
    return 1 if status.is_final and not status.succeeded else 0


@jobs_app.command(name="queued")
async def list_queued(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """List your jobs that wait in pull queues for their release at a printer. --json shows all fields that the service sends."""
    screen = Screen()
    async with open_session(connection) as session:
        jobs = await session.printing.queued().collect()
    if as_json:
        write_json(to_json([job.raw for job in jobs]))
        return
    # The fields of a job are not documented: these are those of the events that webhooks get.
    names = ("filename", "printer_name", "created")
    screen.table(
        ("id", "document", "printer", "created"),
        [(job.raw.get("id") or job.id, *(str(job.raw.get(name) or "") for name in names)) for job in jobs],
    )


def status_record(status: JobStatus) -> dict[str, object]:
    """Return a status as JSON has it."""
    return {
        "code": status.code,
        "meaning": status.meaning,
        "text": status.text,
        "pages_printed": status.pages_printed,
        "pages_total": status.pages_total,
        "position": status.position,
        "is_final": status.is_final,
    }


def pages_of(status: JobStatus) -> str:
    """Return how many pages are printed; empty while no number is known."""
    if not status.pages_total:
        return str(status.pages_printed or "")
    return f"{status.pages_printed} of {status.pages_total}"
