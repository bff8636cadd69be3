"""What the outcome of a print request means: accepted, refused, not ready to be printed, or unknown.

A job that is wrongly taken for refused is printed twice. So everything is an unknown outcome that is not certain
(docs/how-to/printing.md#never-twice).
"""

from __future__ import annotations

from collections.abc import Mapping

from ezeep_async._wire.converter import decode_plain
from ezeep_async._wire.printing import file_id_in, job_id_in, status_in
from ezeep_async._wire.requests import Request
from ezeep_async._wire.responses import RawResponse, decode_response
from ezeep_async.errors import ApiError, Conflict, EzeepError, OutcomeUnknown, PrintFailed, UnexpectedResponse
from ezeep_async.models.printing import JobStatus
from ezeep_async.resources._job_status import failed


_GATEWAY = frozenset({502, 504})


def accepted_job_id(request: Request, response: RawResponse, is_queue: bool) -> str:
    """The id of the job in a 2xx response. Raises `PrintFailed` for a code, else `OutcomeUnknown`."""
    try:
        body = decode_response(request, response, decode_plain)
    except UnexpectedResponse as error:
        raise _unknown(error, is_queue, error) from error
    if (job_id := job_id_in(body)) is not None:
        return job_id
    # Of the redacted body: its message may contain the address of the document.
    if (status := _refusal_in(response.redacted_body())) is not None:
        raise _refusal(status, response)
    empty = UnexpectedResponse(
        f"{request.name}: the response has no id of a job",
        status=response.status,
        excerpt=response.redacted_excerpt(),
        request_id=response.request_id,
        attempts=response.attempts,
    )
    raise _unknown(empty, is_queue, empty) from empty


def file_id_to_repeat(error: Conflict, repeated: Mapping[str, str]) -> str | None:
    """The file id to ask for again, if the service says that it does not have the document yet."""
    if (
        error.status != 412
        or job_id_in(error.body) is not None
        or (file_id_in(error.body) is None and status_in(error.body) is not None)
    ):
        return None
    return file_id_in(error.body) or repeated.get("fileid")


def refused(error: ApiError) -> EzeepError:
    """The error for a response that has no job: `PrintFailed` if it has a code of the print service."""
    status = _refusal_in(error.body)
    if status is None or job_id_in(error.body) is not None:
        return error
    return _refusal(status, error)


def _refusal_in(body: object) -> JobStatus | None:
    """The code of a refused job. One of success, or of a job in progress, without a job id, refuses nothing."""
    status = status_in(body)
    return status if status is not None and status.is_final and not status.succeeded else None


def _refusal(status: JobStatus, response: RawResponse | ApiError) -> PrintFailed:
    refusal = failed("the print service refused the job", status)
    refusal.request_id, refusal.attempts = response.request_id, response.attempts
    return refusal


def lost(error: OutcomeUnknown, is_queue: bool) -> EzeepError:
    """The error for a lost response. A 5xx with a code of the print service is a refusal, but not that of a gateway."""
    cause = error.__cause__
    if isinstance(cause, ApiError) and cause.status not in _GATEWAY:
        refusal = refused(cause)
        if isinstance(refusal, PrintFailed):
            return refusal
    return _unknown(error, is_queue, cause or error)


def _unknown(error: EzeepError, is_queue: bool, cause: BaseException) -> OutcomeUnknown:
    """The error for a job that may have been accepted, with what to do."""
    find_out = (
        "Look for it in session.printing.queued()"
        if is_queue
        else "A person has to look at the printer: the API lists no jobs of a printer"
    )
    return OutcomeUnknown(
        f"the document may or may not be printed, as the response of the print service was lost: {cause}. {find_out}. "
        "Print again only if it is not there",
        request_id=error.request_id,
        attempts=error.attempts,
    )
