"""Which route of which host serves a path."""

from __future__ import annotations

from ezeep_async.sandbox.handlers import (
    accounts,
    administration,
    consent,
    description,
    print_api,
    print_jobs,
    printing,
    reports,
    storage,
    token_endpoint,
    webhooks,
)
from ezeep_async.sandbox.handlers.routes import RouteTable
from ezeep_async.sandbox.records import DESCRIPTION_PATH, Host


ROUTES: dict[Host, RouteTable] = {
    "account": RouteTable(token_endpoint.routes | consent.routes | accounts.routes | description.routes),
    "api": RouteTable(
        printing.routes
        | print_jobs.routes
        | administration.routes
        | webhooks.routes
        | reports.routes
        | description.routes
    ),
    "print": print_api.routes,
    "blobs": storage.routes,
}
_PRINT_SPELLING = {template.lower(): template for template in print_api.routes}
"""The last part of these paths is not case-sensitive, and their slash is optional."""


def template_of(host: Host, path: str) -> str | None:
    """The template of the route that serves a path, with or without its trailing slash; None where there is none."""
    if host == "print":
        parent, _, last = path.rstrip("/").rpartition("/")
        return _PRINT_SPELLING.get(f"{parent}/{last}/".lower()) if parent == "/sfapi" else None
    if host == "blobs":
        return "/userstorage/{id}" if path.count("/") == 2 and path.startswith("/userstorage/") else None
    if path == DESCRIPTION_PATH:
        return path
    parent, _, last = path.removesuffix("/").rpartition("/")
    if path.endswith("/"):
        templates = [path, f"{parent}/{{id}}/"] if last else [path]
    else:  # webhooks and reports, or a path that is redirected
        grandparent = parent.rpartition("/")[0]
        templates = [path, f"{path}/", f"{parent}/{{id}}", f"{grandparent}/{{id}}/{last}"]
        templates += [f"{parent}/{{id}}/"] if last else []
    return next((template for template in templates if template in ROUTES[host]), None)
