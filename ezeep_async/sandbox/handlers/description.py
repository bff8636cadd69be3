"""The OpenAPI description of the endpoints."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import attrs
from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import DESCRIPTION_PATH, RecordedRequest
from ezeep_async.sandbox.replies import JSON, encode, refused
from ezeep_async.settings import Endpoints


routes = RouteTable()
STORAGE = "https://storage.example.com"
"""The storage in the description. The service names its host in the address for an upload only."""
_YAML = files("ezeep_async.sandbox").joinpath("openapi.yaml").read_text("utf-8")


@routes.add("GET", DESCRIPTION_PATH)
def describe(state: State, _: RecordedRequest) -> web.Response:
    """The description, with the addresses of this sandbox as its servers."""
    try:
        text = _as_json()
    except ImportError:
        raise refused(501, "PyYAML is not installed: pip install 'ezeep_async[yaml]'") from None
    own = {**attrs.asdict(state.endpoints()), "blobs": state.storage.origin}
    for name, public in {**attrs.asdict(Endpoints()), "blobs": STORAGE}.items():
        text = text.replace(f'"url":"{public}"', f'"url":"{own[name]}"')
    return web.Response(text=text, content_type=JSON)


@cache
def _as_json() -> str:
    import yaml

    description: dict[str, Any] = yaml.load(_YAML, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # both are safe
    return encode(description).decode()
