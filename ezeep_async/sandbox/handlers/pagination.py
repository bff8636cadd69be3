"""Pages as Django REST framework makes them, `http://` next links and silent caps included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.replies import Call, Refused, Reply, detail


T = TypeVar("T")

PUBLIC_ACCOUNT = "http://account.ezeep.com"
PUBLIC_API = "http://api2.ezeep.com"
"""The addresses in `next`: the documented names, with the scheme that the service sees behind its TLS proxy.

A client that follows one of them leaves the sandbox, which tests detect.
"""


def page(
    call: Call, behaviour: Behaviour, items: Sequence[T], encode: Callable[[T], bytes], public: str
) -> Reply:
    """One page of `items`, for the query and the behaviour."""
    if behaviour.paging == "page":
        start, size, following, preceding = _by_number(call, behaviour, len(items))
    else:
        start, size, following, preceding = _by_offset(call, behaviour, len(items))
    url = public + call.path
    head = (
        b'{"count":%d,"next":' % len(items) + _link(url, following) + b',"previous":' + _link(url, preceding)
    )
    body = head + b',"results":[' + b",".join(map(encode, items[start : start + size])) + b"]}"
    return Reply(body=body)


def _number(text: str | None, default: int, *, smallest: int) -> int:
    try:
        number = int(text or "")
    except ValueError:
        return default
    return number if number >= smallest else default


def _by_offset(
    call: Call, behaviour: Behaviour, count: int
) -> tuple[int, int, dict[str, str] | None, dict[str, str] | None]:
    limit = _number(call.query.get("limit"), behaviour.default_page_size, smallest=1)
    # `next` shows the capped value: a client can detect the cap there.
    limit = min(limit, behaviour.max_page_size)
    offset = _number(call.query.get("offset"), 0, smallest=0)
    shared = {**call.query, "limit": str(limit)}
    following = preceding = None
    if offset + limit < count or behaviour.ignore_offset:
        following = {**shared, "offset": str(offset + limit)}
    if offset > limit:
        preceding = {**shared, "offset": str(offset - limit)}
    elif offset > 0:
        preceding = {name: value for name, value in shared.items() if name != "offset"}
    return 0 if behaviour.ignore_offset else offset, limit, following, preceding


def _by_number(
    call: Call, behaviour: Behaviour, count: int
) -> tuple[int, int, dict[str, str] | None, dict[str, str] | None]:
    size = _number(call.query.get("per_page"), behaviour.default_page_size, smallest=1)
    size = min(size, behaviour.max_page_size)
    number = _number(call.query.get("page", "1"), 0, smallest=1)
    last = max(1, -(-count // size))
    if behaviour.ignore_offset:
        number, last = max(number, 1), number + 1
    if not 1 <= number <= last:
        raise Refused(detail(404, "Invalid page."))
    shared = {**call.query, "per_page": str(size)}
    following = {**shared, "page": str(number + 1)} if number < last else None
    preceding = {**shared, "page": str(number - 1)} if number > 1 else None
    return 0 if behaviour.ignore_offset else (number - 1) * size, size, following, preceding


def _link(url: str, query: Mapping[str, str] | None) -> bytes:
    # Sorted, with unknown parameters, as in Django REST framework.
    return b"null" if query is None else msgspec.json.encode(f"{url}?{urlencode(sorted(query.items()))}")
