"""The list of print jobs at the management API, for pull printing."""

from __future__ import annotations

from datetime import UTC

import attrs
from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import Refused, json_response, page
from ezeep_async.sandbox.state.jobs import SandboxJob
from ezeep_async.sandbox.state.organization import Person


routes = RouteTable()
_STATUSES = ("INQUEUE", "DONE", "EXPIRED", "ERROR")
_MOST = 100


@routes.add("GET", "/printing/v1/printjobs/")
def list_jobs(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """List the caller's jobs. 100 are the default and the maximum, as documented."""
    wanted, order = request.query.get("status"), request.query.get("o", "created")
    if wanted is not None and wanted not in _STATUSES:
        choices = {"status": [f"Select a valid choice. {wanted} is not one of the available choices."]}
        raise Refused(json_response(choices, 400))
    jobs = [job for job in state.printing.jobs.values() if job.printed.user.id == caller.id]
    jobs = [job for job in jobs if wanted is None or job.word == wanted]
    if order == "-created":
        jobs.reverse()
    largest = min(_MOST, state.behaviour.max_page_size)
    return page(
        request,
        attrs.evolve(state.behaviour, default_page_size=largest, max_page_size=largest),
        jobs,
        _shown,
    )


def _shown(job: SandboxJob) -> dict[str, object]:
    """The fields of a job. None is documented: they are named as those of webhook events."""
    printed = job.printed
    return {
        "id": job.id,
        "status": job.word,
        "created": job.created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "filename": printed.alias or printed.fileid,
        "printer_id": printed.printer.id,
        "printer_name": printed.printer.name,
        "user_id": printed.user.id,
    }
