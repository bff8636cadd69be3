"""Pages as Django REST framework makes them, `http://` next links and silent caps included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import web

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import json_response, refused


T = TypeVar("T")
_PUBLIC = {"account": "http://account.ezeep.com", "api": "http://api2.ezeep.com"}
"""The addresses in `next`: the documented names, with the scheme that the service sees behind its TLS proxy.

A client that follows one of them leaves the sandbox, which tests detect.
"""


def page(
    request: RecordedRequest,
    behaviour: Behaviour,
    items: Sequence[T],
    shown: Callable[[T], object] | None = None,
) -> web.Response:
    """One page of `items`, for the query and the behaviour; `shown` returns the JSON value of an item."""
    by_number = behaviour.paging == "page"
    size_name, place_name = ("per_page", "page") if by_number else ("limit", "offset")
    size = _number(request.query.get(size_name), behaviour.default_page_size, smallest=1)
    # `next` shows the capped value: a client can detect the cap there.
    size = min(size, behaviour.max_page_size)
    if by_number:
        place = _number(request.query.get("page", "1"), 0, smallest=1)
        step, start = 1, (place - 1) * size
        if not behaviour.ignore_offset and not 0 <= start < max(len(items), 1):
            raise refused(404, "Invalid page.")
    else:
        place = start = _number(request.query.get("offset"), 0, smallest=0)
        step = size

    def link(place: int) -> str:
        query = {**request.query, size_name: str(size), place_name: str(place)}
        if place <= 0:
            del query[place_name]
        # Sorted, with unknown parameters, as in Django REST framework.
        return f"{_PUBLIC[request.host]}{request.path}?{urlencode(sorted(query.items()))}"

    following = link(place + step) if behaviour.ignore_offset or start + size < len(items) else None
    preceding = link(place - step) if start > 0 else None
    first = 0 if behaviour.ignore_offset else start
    results = items[first : first + size]
    return json_response(
        {
            "count": len(items),
            "next": following,
            "previous": preceding,
            "results": results if shown is None else [shown(item) for item in results],
        }
    )


def _number(text: str | None, default: int, *, smallest: int) -> int:
    try:
        number = int(text or "")
    except ValueError:
        return default
    return number if number >= smallest else default
