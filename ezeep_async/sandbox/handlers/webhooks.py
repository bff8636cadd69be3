"""Webhook endpoints. Their paths have no slash at the end."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from yarl import URL

from ezeep_async.sandbox.handlers.routes import RouteTable, State, require_scope
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import (
    Parse,
    WrongField,
    flag,
    found,
    json_fields,
    json_response,
    page,
    require_admin,
    text,
    typed,
)
from ezeep_async.sandbox.state.organization import Person
from ezeep_async.sandbox.state.webhooks import WebhookEndpoint
from ezeep_async.settings import is_loopback


routes = RouteTable()
_ENDPOINTS = "/webhooks/endpoints"
_TOPICS = ("printjob_succeeded", "printjob_failed")
_READ, _WRITE = ("webhooks", "webhooks.readonly"), ("webhooks",)
_list_of_text = typed(list[str])


@routes.add("GET", _ENDPOINTS)
def list_endpoints(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    """A page, or with `bare_webhook_list` one list: the documents do not say which."""
    _check(state, request, caller, _READ)
    endpoints = list(state.webhooks.endpoints.values())
    if state.behaviour.bare_webhook_list:
        return json_response(endpoints)
    return page(request, state.behaviour, endpoints)


@routes.add("POST", _ENDPOINTS)
def create_endpoint(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    _check(state, request, caller, _WRITE)
    fields = json_fields(request, _PARSERS, required=["name", "url"])
    endpoint = WebhookEndpoint(endpoint_id=state.administration.new_id(), **fields)
    state.webhooks.endpoints[endpoint.endpoint_id] = endpoint
    return json_response(endpoint, 201)


@routes.add("GET", _ENDPOINTS + "/{id}")
def get_endpoint(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    _check(state, request, caller, _READ)
    return json_response(found(state.webhooks.endpoints, request))


@routes.add("PATCH", _ENDPOINTS + "/{id}")
def update_endpoint(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    _check(state, request, caller, _WRITE)
    endpoint = found(state.webhooks.endpoints, request)
    for name, value in json_fields(request, _PARSERS).items():
        setattr(endpoint, name, value)
    return json_response(endpoint)


@routes.add("DELETE", _ENDPOINTS + "/{id}")
def delete_endpoint(state: State, request: RecordedRequest, caller: Person) -> web.Response:
    _check(state, request, caller, _WRITE)
    del state.webhooks.endpoints[found(state.webhooks.endpoints, request).endpoint_id]
    return web.Response(status=204)


def _check(state: State, request: RecordedRequest, caller: Person, scopes: tuple[str, ...]) -> None:
    require_scope(state, request, *scopes)
    require_admin(caller)


def _address(value: object) -> str:
    address = str(text(longest=2048, blank=False)(value))
    try:
        url = URL(address)
        host = url.host  # decoded only now
    except ValueError:
        url, host = URL(), None
    # The service takes https only. Tests receive events on this machine.
    if not host or not (url.scheme == "https" or (url.scheme == "http" and is_loopback(host))):
        raise WrongField("Enter a URL that begins with https://.")
    return address


def _topics(value: object) -> Any:
    topics: Any = _list_of_text(value)
    if unknown := [topic for topic in topics if topic not in _TOPICS]:
        raise WrongField(f'"{unknown[0]}" is not a valid choice.')
    return topics


def _scheme(value: object) -> str | None:
    if value not in (None, "basic"):  # no set: the value may be a list
        raise WrongField(f'"{value}" is not a valid choice.')
    return None if value is None else "basic"


_PARSERS: dict[str, Parse] = {
    "name": text(blank=False),
    "url": _address,
    "topics": _topics,
    "disabled": flag,
    "authentication_scheme": _scheme,
    "basic_username": text(),
    "basic_password": text(),
}
