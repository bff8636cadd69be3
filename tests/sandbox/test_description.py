"""The OpenAPI description: its paths and methods are the routes, and the sandbox serves it."""

from __future__ import annotations

import sys
from importlib.resources import files

import attrs
import pytest
import yaml

from ezeep_async.sandbox.handlers.description import STORAGE
from ezeep_async.sandbox.page.serving import is_page
from ezeep_async.sandbox.records import DESCRIPTION_PATH
from ezeep_async.sandbox.server import _ROUTES
from ezeep_async.settings import Endpoints


DESCRIPTION = yaml.safe_load(files("ezeep_async.sandbox").joinpath("openapi.yaml").read_text("utf-8"))
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
HOSTS = {**attrs.asdict(Endpoints()), "blobs": STORAGE}
ONLY_REFUSED = {(STORAGE, "/userstorage/{id}", method) for method in ("get", "head", "delete")}
"""Not described: the signed addresses allow to write only, and the storage refuses all else."""


def servers_of(item):
    return [server["url"] for server in item.get("servers", DESCRIPTION["servers"])]


def test_paths_and_methods_are_those_of_the_sandbox():
    served = {
        (HOSTS[host], template, method.lower())
        for host, routes in _ROUTES.items()
        for template, handlers in routes.items()
        for method in handlers
        if template != DESCRIPTION_PATH
    }
    described = {
        (server, template, method)
        for template, item in DESCRIPTION["paths"].items()
        for server in servers_of(item)
        for method in METHODS & item.keys()
    }
    assert described == served - ONLY_REFUSED
    assert ONLY_REFUSED < served


def test_the_page_for_people_is_not_described():
    """It is the sandbox's own, and no part of the API."""
    assert is_page("/")
    assert not [template for template in DESCRIPTION["paths"] if is_page(template)]


def test_operation_ids_are_unique():
    ids = [
        item[method]["operationId"]
        for part in ("paths", "webhooks")
        for item in DESCRIPTION[part].values()
        for method in METHODS & item.keys()
    ]
    assert len(set(ids)) == len(ids)


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


def test_all_components_are_used_and_all_references_exist():
    components = {
        f"#/components/{kind}/{name}"
        for kind, named in DESCRIPTION["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert set(references(DESCRIPTION)) == components


async def test_two_hosts_serve_it_with_the_addresses_of_all(server, client):
    for address in (server.endpoints.account, server.endpoints.api):
        async with client.session.get(address + DESCRIPTION_PATH) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            served = await response.json()
        assert served["servers"][0]["url"] == server.endpoints.api
        own = {
            "/v1/users/me/": server.endpoints.account,
            "/sfapi/Print/": server.endpoints.print,
            "/userstorage/{id}": server.storage.origin,
        }
        assert {path: served["paths"][path]["servers"][0]["url"] for path in own} == own
        assert served["components"] == DESCRIPTION["components"]
    assert server.counts == {"GET /openapi.json": 2}


@pytest.mark.parametrize("path", ["/openapi.json/", "/openapi/"])
async def test_it_has_no_trailing_slash(client_for, server, client, path):
    async with client.session.get(server.endpoints.api + path) as response:
        assert response.status == 404
    server.reset_counts()


async def test_other_methods_are_refused(server, client):
    async with client.session.post(server.endpoints.api + DESCRIPTION_PATH) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


async def test_without_pyyaml_it_names_the_extra(server, client, monkeypatch):
    from ezeep_async.sandbox.handlers import description

    description._as_json.cache_clear()
    monkeypatch.setitem(sys.modules, "yaml", None)
    async with client.session.get(server.endpoints.api + DESCRIPTION_PATH) as response:
        assert response.status == 501
        assert "ezeep_async[yaml]" in (await response.json())["detail"]
