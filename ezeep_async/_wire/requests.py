"""The `Request` record, and one builder for each call of the API. No I/O."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, cast
from urllib.parse import quote, unquote, urlencode
from uuid import UUID

import attrs
from yarl import URL

from ezeep_async._text.redaction import Secret
from ezeep_async._wire.converter import encode, to_plain
from ezeep_async.settings import Endpoints


class Host(enum.StrEnum):
    """The hosts that receive access tokens. The values are the fields of `Endpoints`."""

    API = "api"
    ACCOUNT = "account"
    PRINT = "print"


def origins(endpoints: Endpoints) -> dict[Host, URL]:
    """The base URL of each host. Of several hosts at one address, the first in `Host` counts for a full URL."""
    return {host: URL(getattr(endpoints, host.value)) for host in Host}


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
JSON = "application/json"
LONGEST_TARGET = 8192
"""Characters of a URL, and of one parameter in it."""
FORM = "application/x-www-form-urlencoded"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SECRET_FIELDS = ("code", "code_verifier", "refresh_token", "password", "pairing_code", "token")


class Sink(Protocol):
    """Takes the body of a 2xx response piece by piece, so that it is never whole in memory."""

    async def begin(self) -> None:
        """Forget what an earlier attempt has written."""
        ...

    async def write(self, piece: bytes, /) -> None:
        """Take the next piece."""
        ...


@attrs.define  # not frozen: that takes three times as long to create
class Request:
    """One request, never changed. The path is quoted.

    It ends in a slash, but for webhooks and reports: the server redirects otherwise.
    """

    method: str
    host: Host
    path: str
    route: str
    """The path with placeholders, for logs."""
    query: str = ""
    body: bytes | None = attrs.field(default=None, repr=False)
    content_type: str = JSON
    idempotent: bool = True
    """Whether repeating the request has no further effect."""
    once: bool = False
    """Whether a 408, a 5xx, or a 503 without `Retry-After`, may come from a proxy after the request was carried out, so that
    it must not be repeated: a second copy is on paper."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Secrets in the body, which the server may repeat."""
    redact: Callable[[bytes], bytes] | None = attrs.field(default=None, repr=False)
    """Removes secrets that the server sends from the body of any response, before anything else sees it."""
    sink: Sink | None = attrs.field(default=None, repr=False)
    """Where the body of a 2xx response goes. None: into the `RawResponse`."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


class HasId(Protocol):
    """A record with an id."""

    @property
    def id(self) -> UUID:
        """Id of the record."""
        ...


class Phase:
    """Whether a request has left this machine. Set while it is sent."""

    sent: bool = False
    connect_timeout: float | None = None
    """Seconds to open a connection for it. None: those of the session."""

    def progressed(self) -> None:
        """Called when the request is sent, and for each part of its response."""
        self.sent = True


def as_uuid(value: UUID | str, what: str) -> UUID:
    """Parse an id. Raises `ValueError` if it is not a UUID."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{what} must be a UUID, not {value!r}") from None


def as_id(value: object, what: str, *kinds: type[HasId]) -> UUID:
    """Parse an id, or take that of a record of one of the kinds. Raises `ValueError`, before anything is sent."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, kinds):
        # Checked as every other: a program can make a record with any id, and this one becomes a part of a path.
        return as_id(value.id, f"{what}.id")
    try:
        return UUID(cast("str", value))
    except (ValueError, AttributeError, TypeError):
        raise not_an_id(value, what, "a UUID", *kinds) from None


def id_text(value: object, what: str, *kinds: type[HasId]) -> str:
    """An id as the API writes it; otherwise as `as_id`."""
    # Most ids are written like that already: three times as fast as a UUID and its text. No subclass of str: Python 3.11 puts
    # the name of a member of a `str, Enum` into a path, not its value.
    if type(value) is str and _ID.fullmatch(value):
        return value
    return str(as_id(value, what, *kinds))


def not_an_id(value: object, what: str, form: str, *kinds: type) -> ValueError:
    """The error for a value that is neither an id nor a record of the kinds."""
    expected = " or ".join([form, *(f"{_article(kind)} {kind.__name__}" for kind in kinds)])
    kind = type(value)
    # Of a record, its kind and its id: a user may have hundreds of groups.
    found = f"the {kind.__name__} {getattr(value, 'id', '')}".rstrip() if attrs.has(kind) else repr(value)
    return ValueError(f"{what} must be {expected}, not {found}")


def _article(kind: type) -> str:
    return "an" if kind.__name__[0] in "AEIO" else "a"  # a User


def checked_text(
    value: object, what: str, *, shortest: int = 0, longest: int = 255, secret: bool = False
) -> str:
    """A text within the API's limits. Raises `ValueError`, before anything is sent; a `secret` is not in its message."""
    shown = type(value).__name__ if secret else repr(value)
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a str, not {shown}")
    if len(value.strip()) < shortest:
        raise ValueError(f"{what} must not be empty")
    if len(value) > longest:
        raise ValueError(f"{what} must have at most {longest} characters, not {len(value)}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{what} contains a surrogate code point, which cannot be sent: {shown}")
    return value


def checked_name(value: object, what: str) -> str:
    """A name: 1 to 255 characters without white space at its ends: a server may strip it, and two names would be one.

    Raises `ValueError`, before anything is sent.
    """
    name = checked_text(value, what, shortest=1)
    if name != name.strip():
        raise ValueError(f"{what} has white space at its ends: {name!r}")
    return name


def checked_flag(value: object, what: str) -> bool:
    """True or False. Raises `ValueError`, before anything is sent."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} must be True or False, not {value!r}")
    return value


def checked_params(params: object) -> dict[str, str | int]:
    """Parameters for a query. Raises `ValueError`, before anything is sent."""
    if not isinstance(params, Mapping):
        raise ValueError(f"params must be a mapping, not {params!r}")
    checked: dict[str, str | int] = {}
    for key, value in cast("Mapping[object, object]", params).items():
        name = checked_text(key, "the name of a parameter")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"the parameter {name!r} must be a str or an int, not {value!r}")
        checked_text(str(value), f"the parameter {name!r}", longest=LONGEST_TARGET)
        checked[name] = value
    return checked


def checked_json(value: object) -> bytes:
    """The JSON of plain values. Raises `ValueError` for what has none, before anything is sent."""
    try:
        # Not msgspec: it writes NaN and infinity as null.
        text = json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"json cannot be encoded as JSON: {error}") from error


# --- resources -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Collection:
    """A resource with a list at `path`, and one record at `path<id>/`, or at `path/<id>` if `path` has no slash at its end."""

    host: Host
    path: str
    redact: Callable[[bytes], bytes] | None = None

    def page(self, params: Mapping[str, str], body: bytes | None = None) -> Request:
        return Request("GET", self.host, self.path, self.path, _query(params), body, redact=self.redact)

    def get(self, item: UUID | str) -> Request:
        return self._one("GET", item)

    def create(self, values: Mapping[str, object], secrets: tuple[str, ...] = ()) -> Request:
        """Create a record. Not idempotent: a repetition creates another one."""
        body = encode(values)
        return Request(
            "POST",
            self.host,
            self.path,
            self.path,
            body=body,
            idempotent=False,
            secrets=secrets,
            redact=self.redact,
        )

    def patch(self, item: UUID | str, values: Mapping[str, object]) -> Request:
        """Set the given fields. Idempotent: the values are absolute."""
        return self._one("PATCH", item, encode(values))

    def put(self, item: UUID | str, values: Mapping[str, object]) -> Request:
        return self._one("PUT", item, encode(values))

    def delete(self, item: UUID, body: bytes | None = None) -> Request:
        return self._one("DELETE", item, body)

    def _one(self, method: str, item: UUID | str, body: bytes | None = None) -> Request:
        path, end = (self.path, "/") if self.path.endswith("/") else (f"{self.path}/", "")
        return Request(
            method, self.host, f"{path}{item}{end}", f"{path}{{id}}{end}", body=body, redact=self.redact
        )


def _query(params: Mapping[str, str]) -> str:
    # Four times faster than `urlencode` for the query of nearly every page, which is two numbers.
    text = "".join([*params, *params.values()])
    if text.isascii() and text.isalnum():
        return "&".join([f"{name}={value}" for name, value in params.items()])
    return urlencode(params)


GROUPS = Collection(Host.API, "/printing/v1/groups/")
USERS = Collection(Host.API, "/printing/v1/users/")
ACCOUNTS = Collection(Host.ACCOUNT, "/v1/users/")
INVITATIONS = Collection(Host.ACCOUNT, "/v1/userinvitations/")
ASSIGNMENTS = Collection(Host.API, "/printing/v1/assignments/")
CONNECTORS = Collection(Host.API, "/printing/v1/connectors/")
DRIVERS = Collection(Host.API, "/printing/v1/drivers/")
VENDORS = Request("GET", Host.API, "/printing/v1/drivers/vendors/", "/printing/v1/drivers/vendors/")
_PASSWORD = re.compile(
    rb'("[^"\\]*password[^"\\]*"\s*:\s*)(?:"(?:\\.|[^"\\])*"?|[\w.+-]+)', re.IGNORECASE | re.DOTALL
)
WEBHOOKS = Collection(Host.API, "/webhooks/endpoints", lambda body: _PASSWORD.sub(rb'\1"***"', body))
"""The server repeats passwords in clear text (docs/ezeep-api.md#webhooks)."""
REPORTS = Collection(Host.API, "/reporting/reports")


def report_request(report_id: str) -> Request:
    """The request for a report. Its id is any text, as the server issued it."""
    return REPORTS.get(quote(report_id, safe=""))


def report_download(report_id: str, sink: Sink) -> Request:
    """The request for the content of a report. Assumed: ezeep documents that a download exists, not its address."""
    path = report_request(report_id).path + "/download"
    return Request("GET", REPORTS.host, path, REPORTS.path + "/{id}/download", sink=sink)


def memberships(group_ids: Iterable[UUID | str]) -> list[dict[str, str]]:
    """Group ids as a user record has them. Sorted, so that equal sets give equal bytes."""
    return [{"group_id": text} for text in sorted(str(group_id) for group_id in group_ids)]


def group_filter(group_id: UUID) -> bytes:
    """The body of the documented GET that lists one group's users (API document, "Users")."""
    return encode({"groups": memberships([group_id])})


# --- calls without a method of their own ---------------------------------------------------------------------------


def any_request(
    endpoints: Endpoints,
    method: str,
    path_or_url: str,
    params: Mapping[str, str | int] | None,
    json: object,
    idempotent: bool | None,
) -> Request:
    """The request of `EzeepSession.request`. Raises `ValueError` for an argument that is not allowed."""
    method = checked_text(method, "method", shortest=1).upper()
    if not method.isascii() or not method.isalpha():
        raise ValueError(f"not an HTTP method: {method!r}. Use one such as 'GET'")
    if method in {"CONNECT", "TRACE"}:
        raise ValueError(f"the method {method} is not supported: a token must not be sent with it")
    checked_text(path_or_url, "path_or_url", shortest=1, longest=LONGEST_TARGET)
    host, path, query = _target(endpoints, path_or_url, params)
    body = None if json is None else checked_json(json)
    if idempotent is None:
        idempotent = method in SAFE_METHODS
    checked_flag(idempotent, "idempotent")
    redact = WEBHOOKS.redact if path.startswith(WEBHOOKS.path) else None
    return Request(method, host, path, path, query, body, idempotent=idempotent, redact=redact)


def _target(
    endpoints: Endpoints, path_or_url: str, params: Mapping[str, str | int] | None
) -> tuple[Host, str, str]:
    """Host, path and query of a path on the API host, or of a URL on one of the endpoints."""
    url = URL(path_or_url)
    host, path = Host.API, url.raw_path
    if url.absolute:
        for candidate, base in origins(endpoints).items():
            prefix = base.raw_path.rstrip("/")
            if url.origin() == base.origin() and path.startswith(prefix + "/") and url.user is None:
                host, path = candidate, path[len(prefix) :]
                break
        else:
            raise ValueError(
                f"{url.host or path_or_url!r} is not one of the endpoints: the token is sent to no other host"
            )
    if not path.startswith("/") or path.startswith("//") or path_or_url.startswith("//"):
        raise ValueError(f"{path_or_url!r} is not a path: start it with one slash")
    if {".", ".."} & set(unquote(path).split("/")):
        raise ValueError(f"the path {path_or_url!r} contains a '.' or '..' segment: remove it")
    if params is not None:
        url = url.update_query(checked_params(params))
    return host, path, url.raw_query_string


# --- OAuth ---------------------------------------------------------------------------------------------------------


def oauth_form(path: str, form: Mapping[str, str]) -> Request:
    try:
        body = urlencode(form).encode("ascii")
    except UnicodeEncodeError:
        body = b""
    if form and not body:  # not in the handler: the encoder's error holds the whole text
        raise ValueError(
            "the form contains a surrogate code point, which cannot be sent: check codes and passwords"
        )
    secrets = tuple(Secret(form[name]) for name in _SECRET_FIELDS if form.get(name))
    return Request("POST", Host.ACCOUNT, path, path, "", body, FORM, idempotent=False, secrets=secrets)
