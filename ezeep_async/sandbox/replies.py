"""Responses, and the checks of requests that handlers share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode
from uuid import UUID, uuid4
from xml.sax.saxutils import escape

import msgspec
from aiohttp import web

from ezeep_async.sandbox.behaviour import Behaviour
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.state.organization import Memberships, Person


JSON = "application/json"

_PUBLIC = {"account": "http://account.ezeep.com", "api": "http://api2.ezeep.com"}
"""The addresses in `next`: tests detect a client that follows one of them. The service knows `http` only."""

T = TypeVar("T")
Parse = Callable[[Any], object]
"""Returns the value of a field. Raises `WrongField` if it is not valid."""


class Refused(Exception):  # control flow of the handlers
    """Ends a handler with an error response."""

    def __init__(self, response: web.Response, text: str = "") -> None:
        super().__init__(text or response.status)
        self.response = response


class WrongField(Exception):
    """A field is not valid: the message of the error response."""


# --- responses


def _encode_memberships(value: object) -> object:
    if type(value) is Memberships:  # isinstance of an abstract class takes longer than the rest
        return [{"group_id": group_id} for group_id in value]
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


encode = msgspec.json.Encoder(enc_hook=_encode_memberships).encode


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=encode(value), headers={"Content-Type": JSON, **(headers or {})})


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


def refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> Refused:
    """The framework's error with one sentence."""
    return Refused(json_response({"detail": text}, status, headers))


def storage_error(status: int, code: str, text: str, detail: str | None = None) -> web.Response:
    """An error of the blob storage: XML, with the code in a header too."""
    more = (
        "" if detail is None else f"<AuthenticationErrorDetail>{escape(detail)}</AuthenticationErrorDetail>"
    )
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{escape(text)}</Message>{more}</Error>'
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code, "x-ms-request-id": str(uuid4())}
    return web.Response(status=status, body=body.encode(), headers=headers)


def method_not_allowed(method: str, allowed: Collection[str]) -> Refused:
    return refused(405, f'Method "{method}" not allowed.', {"Allow": ", ".join(allowed)})


# --- requests


def require_admin(caller: Person) -> None:
    """Refuse callers without the role admin."""
    if "admin" not in caller.roles:
        raise refused(403, "You do not have permission to perform this action.")


def id_of(request: RecordedRequest) -> UUID | None:
    """The id in the last part of the path, if it is a UUID."""
    try:
        return UUID(request.path.rstrip("/").rpartition("/")[2])
    except ValueError:
        return None


def found(records: Mapping[UUID, T], request: RecordedRequest) -> T:
    """The record with the id in the path."""
    record_id = id_of(request)
    if record_id is None or record_id not in records:
        raise refused(404, "Not found.")
    return records[record_id]


def form(request: RecordedRequest) -> dict[str, str] | None:
    """The fields of a form; None if the body is not a form, not UTF-8, or repeats a field."""
    if _media_type(request) != "application/x-www-form-urlencoded":
        return None
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


def json_fields(
    request: RecordedRequest, parsers: Mapping[str, Parse], *, required: Collection[str] = ()
) -> dict[str, Any]:
    """The fields of the JSON object in the body, as their parsers return them; others are ignored.

    Errors are reported for all fields at once, as Django REST framework does.
    """
    given = _json_object(request)
    errors = {name: ["This field is required."] for name in required if name not in given}
    fields: dict[str, Any] = {}
    for name in parsers.keys() & given.keys():
        try:
            fields[name] = parsers[name](given[name])
        except WrongField as error:
            errors[name] = [str(error)]
    if errors:
        raise Refused(json_response(errors, 400))
    return fields


def _json_object(request: RecordedRequest) -> dict[str, object]:
    if not request.body:
        return {}
    if (media_type := _media_type(request)) != JSON:
        raise refused(415, f'Unsupported media type "{media_type}" in request.')
    try:
        return msgspec.json.decode(request.body, type=dict[str, object])
    except msgspec.ValidationError:
        errors = {"non_field_errors": ["Invalid data. Expected a dictionary."]}
        raise Refused(json_response(errors, 400)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refused(400, f"JSON parse error - {error}") from None


def _media_type(request: RecordedRequest) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


# --- parsers of fields


def text(*, longest: int = 255, blank: bool = True) -> Parse:
    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise WrongField("This field may not be null." if value is None else "Not a valid string.")
        if not blank and not value.strip():
            raise WrongField("This field may not be blank.")
        if len(value) > longest:
            raise WrongField(f"Ensure this field has no more than {longest} characters.")
        return value

    return parse


def typed(kind: Any) -> Parse:
    """A value of that type."""

    def parse(value: object) -> object:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise WrongField(str(error)) from None

    return parse


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongField("This field may not be null." if value is None else "Must be a valid boolean.")
    return value


_address = text(longest=254, blank=False)


def email(value: object) -> str:
    address = str(_address(value))
    local, _, domain = address.rpartition("@")
    if not local or "." not in domain.strip("."):
        raise WrongField("Enter a valid email address.")
    return address
