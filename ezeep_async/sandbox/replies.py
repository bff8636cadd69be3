"""Requests and responses as handlers see them, and the checks that handlers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qsl
from uuid import UUID

import attrs
import msgspec
from multidict import CIMultiDict

from ezeep_async.sandbox.state.organization import Person


JSON = "application/json"
HTML = "text/html; charset=utf-8"


@attrs.define(eq=False, kw_only=True)
class Reply:
    """A response."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: dict[str, str] = attrs.field(factory=dict[str, str])


@attrs.define(eq=False, kw_only=True)
class Call:
    """A request as a handler sees it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: CIMultiDict[str]
    body: bytes
    id: str = ""
    """The value of `{id}` in the path."""
    origin: str = ""
    """The address of the called host, without a trailing slash."""
    bearer: Person | None = None
    """The owner of the access token, on routes that need one."""

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def person(self) -> Person:
        """Return the owner of the access token, on routes that need one."""
        if self.bearer is None:
            raise Refused(detail(401, "Authentication credentials were not provided."))
        return self.bearer


Handler = Callable[[Call], Reply]


class Refused(Exception):  # control flow of the handlers
    """Ends a handler with an error response."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(value: object, status: int = 200) -> Reply:
    """A reply with that value as JSON."""
    return Reply(status=status, body=msgspec.json.encode(value))


def html_reply(page: str, status: int = 200) -> Reply:
    """An HTML page that is not cached or framed and sends no referrer, because it is part of a login."""
    headers = {
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    }
    return Reply(status=status, body=page.encode(), content_type=HTML, headers=headers)


def detail(status: int, text: str) -> Reply:
    """The framework's error with one sentence."""
    return json_reply({"detail": text}, status)


def not_found() -> Refused:
    """No such object."""
    return Refused(detail(404, "Not found."))


def method_not_allowed(method: str, allowed: Iterable[str]) -> Reply:
    """405 with the allowed methods."""
    reply = detail(405, f'Method "{method}" not allowed.')
    reply.headers["Allow"] = ", ".join(allowed)
    return reply


def require_admin(call: Call) -> None:
    """Refuse callers without the role admin."""
    if "admin" not in call.person().roles:
        raise Refused(detail(403, "You do not have permission to perform this action."))


def as_uuid(value: object) -> UUID | None:
    """The value as a UUID, or None."""
    if not isinstance(value, str):
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


def form(call: Call) -> dict[str, str] | None:
    """The fields of a form; None if the body is not a form, not UTF-8, or repeats a field."""
    if call.media_type != "application/x-www-form-urlencoded":
        return None
    try:
        pairs = parse_qsl(call.body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


def json_object(call: Call) -> dict[str, object]:
    """The JSON object in the body; an empty body is an empty object."""
    if not call.body:
        return {}
    if call.media_type != JSON:
        raise Refused(detail(415, f'Unsupported media type "{call.media_type}" in request.'))
    try:
        return msgspec.json.decode(call.body, type=dict[str, object])
    except msgspec.ValidationError:
        raise Refused(
            json_reply({"non_field_errors": ["Invalid data. Expected a dictionary."]}, 400)
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(detail(400, f"JSON parse error - {error}")) from None


class Fields:
    """Reads the fields of an object and collects their errors, as Django REST framework does."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self.given = given
        self.errors: dict[str, list[str]] = {}

    def fail(self, name: str, message: str) -> None:
        """Add an error of a field."""
        self.errors.setdefault(name, []).append(message)

    def check(self) -> None:
        """Refuse the request if there are errors."""
        if self.errors:
            raise Refused(json_reply(self.errors, 400))

    def required(self, name: str) -> bool:
        """Whether the field is present; a missing one is an error."""
        if name in self.given:
            return True
        self.fail(name, "This field is required.")
        return False

    def text(self, name: str, default: str, *, longest: int = 255, blank: bool = True) -> str:
        """A string, or `default` where the field is absent or wrong."""
        value = self.given.get(name, default)
        if value is None:
            self.fail(name, "This field may not be null.")
        elif not isinstance(value, str):
            self.fail(name, "Not a valid string.")
        elif not blank and not value.strip():
            self.fail(name, "This field may not be blank.")
        elif len(value) > longest:
            self.fail(name, f"Ensure this field has no more than {longest} characters.")
        else:
            return value
        return default

    def flag(self, name: str, default: bool) -> bool:
        """A boolean, or `default` where the field is absent or wrong."""
        value = self.given.get(name, default)
        if isinstance(value, bool):
            return value
        self.fail(name, "This field may not be null." if value is None else "Must be a valid boolean.")
        return default

    def email(self, name: str, default: str) -> str:
        """An e-mail address, or `default` where the field is absent or wrong."""
        value = self.text(name, default, longest=254, blank=False)
        local, at, domain = value.rpartition("@")
        if name in self.given and name not in self.errors and not (at and local and "." in domain.strip(".")):
            self.fail(name, "Enter a valid email address.")
        return value
