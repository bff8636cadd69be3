"""Reports. Their paths have no slash at the end. The address of a download is assumed, as in the client."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State, require_scope
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    Parse,
    WrongField,
    flag,
    json_fields,
    json_response,
    refused,
    require_admin,
    typed,
)
from ezeep_async.sandbox.state.administration import SandboxReport
from ezeep_async.sandbox.state.organization import Person


routes = RouteTable()
_REPORTS = "/reporting/reports"


@routes.add("POST", _REPORTS)
def create_report(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Start a report: pending for `report_polls` requests."""
    _check(state, request, caller)
    defaults: dict[str, Any] = {"csv_delimiter": ",", "timestamp_offset": 0}
    defaults |= dict.fromkeys(("file_name_obfuscated", "user_email_blank", "user_name_blank"), True)
    fields = {**defaults, **json_fields(request, _PARSERS, required=["start", "end"])}
    report = SandboxReport(
        # The documented example is not a UUID.
        report_id=f"r{state.administration.new_id()}",
        created=f"{state.clock.now():%Y-%m-%dT%H:%M:%S.%f}7Z",
        user_id=caller.id,
        **fields,
    )
    state.administration.reports[report.report_id] = report
    state.administration.polls[report.report_id] = state.behaviour.report_polls
    return json_response(report, 202)


@routes.add("GET", _REPORTS + "/{id}")
def get_report(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    _check(state, request, caller)
    report = _found(state, request.path)
    if report.status == "pending":
        left = state.administration.polls.get(report.report_id, 0)
        state.administration.polls[report.report_id] = left - 1
        if left <= 0:
            report.status = "succeeded"
    return json_response(report)


@routes.add("GET", _REPORTS + "/{id}/download")
def download_report(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    _check(state, request, caller)
    report = _found(state, request.path.removesuffix("/download"))
    if report.status != "succeeded":
        raise refused(404, "The report is not ready.")
    return web.Response(body=state.administration.report_content, content_type="text/csv")


def _check(state: State, request: RecordedRequest, caller: Person) -> None:
    require_scope(state, request, "reporting")
    require_admin(caller)


def _found(state: State, path: str) -> SandboxReport:
    report = state.administration.reports.get(path.rpartition("/")[2])
    if report is None:
        raise refused(404, "Not found.")
    return report


def _moment(value: object) -> str:
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            parse(str(value))
        except ValueError:
            continue
        return str(value)
    raise WrongField("Use a date or a timestamp.")


def _delimiter(value: object) -> str:
    if value not in (",", ";"):  # no set: the value may be a list
        raise WrongField(f'"{value}" is not a valid choice.')
    return str(value)


_PARSERS: dict[str, Parse] = {
    "start": _moment,
    "end": _moment,
    "csv_delimiter": _delimiter,
    "timestamp_offset": typed(int),
    "file_name_obfuscated": flag,
    "user_email_blank": flag,
    "user_name_blank": flag,
}
