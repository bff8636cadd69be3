"""Assignments of printers to groups, connectors and drivers."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

import attrs
from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    WrongField,
    found,
    json_fields,
    json_response,
    page,
    require_admin,
    typed,
)
from ezeep_async.sandbox.state.organization import Person
from ezeep_async.sandbox.state.printers import SandboxPrinter


routes = RouteTable()
_ASSIGNMENTS = "/printing/v1/assignments/"
_CONNECTORS = "/printing/v1/connectors/"
_DRIVERS = "/printing/v1/drivers/"


# --- assignments


@attrs.frozen
class _Group:
    group_id: UUID


@attrs.frozen
class _Assignment:
    groups: list[_Group]


_assignment = typed(list[_Assignment])


@routes.add("GET", _ASSIGNMENTS)
def list_assignments(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """All printers with their groups, or the printers of the group in the query."""
    require_admin(caller)
    printers = list(state.printing.printers.values())
    wanted = request.query.get("group")
    if wanted is not None and state.behaviour.honour_group_filter:
        printers = [printer for printer in printers if wanted in map(str, printer.groups)]
    return page(request, state.behaviour, printers, lambda printer: _shown(state, printer))


@routes.add("PUT", _ASSIGNMENTS + "{id}/")
def assign(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Replace the groups of a printer or add to them, as `assignments_put` says."""
    require_admin(caller)
    printer = found(state.printing.printers, request)
    kept = printer.groups if state.behaviour.assignments_put == "add" else []
    printer.groups = [*dict.fromkeys([*kept, *_groups_in(state, request)])]
    return json_response(_shown(state, printer))


@routes.add("DELETE", _ASSIGNMENTS + "{id}/")
def remove(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """Remove the groups in the body from a printer."""
    require_admin(caller)
    printer = found(state.printing.printers, request)
    removed = _groups_in(state, request)
    printer.groups = [group_id for group_id in printer.groups if group_id not in removed]
    return web.Response(status=204)


def _groups_in(state: State, request: RecordedRequest) -> list[UUID]:
    def known(value: object) -> list[UUID]:
        ids = [each.group_id for one in cast("list[_Assignment]", _assignment(value)) for each in one.groups]
        for group_id in ids:
            if group_id not in state.organization.groups:
                raise WrongField(f'Invalid pk "{group_id}" - object does not exist.')
        return ids

    ids: list[UUID] = json_fields(request, {"assignment": known}, required=["assignment"])["assignment"]
    return ids


def _shown(state: State, printer: SandboxPrinter) -> dict[str, Any]:
    groups = [
        {
            "group_id": str(group_id),
            "group_name": group.name,
            "group_foreign_id": group.origin.get("foreign_id"),
            "force_chosen": False,
        }
        for group_id in printer.groups
        if (group := state.organization.groups.get(group_id)) is not None
    ]
    assignments = [{"settings": None, "groups": groups}] if groups else []
    return {"printer_id": printer.id, "printer_name": printer.name, "assignments": assignments}


# --- connectors and drivers


@routes.add("GET", _CONNECTORS)
def list_connectors(state: State, request: RecordedRequest, _: Person) -> web.Response:
    kind = request.query.get("type")
    connectors = [each for each in state.administration.connectors if kind in {None, each.type}]
    return page(request, state.behaviour, connectors)


@routes.add("GET", _DRIVERS + "vendors/")
def list_vendors(state: State, _: RecordedRequest, __: Person) -> web.Response:
    """A list without pages."""
    return json_response(sorted({driver.vendor for driver in state.administration.drivers}))


@routes.add("GET", _DRIVERS)
def list_drivers(state: State, request: RecordedRequest, _: Person) -> web.Response:
    vendor = request.query.get("vendor")
    drivers = [each for each in state.administration.drivers if vendor in {None, each.vendor}]
    return page(request, state.behaviour, drivers)
