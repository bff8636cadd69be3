"""The `Request` record, and one builder for each call of the API. No I/O."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import urlencode
from uuid import UUID

import attrs

from ezeep_async._text.redaction import Secret
from ezeep_async._wire.converter import encode, to_plain


class Host(enum.StrEnum):
    """The two hosts that receive access tokens."""

    ACCOUNT = "account"
    API = "api"


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
JSON = "application/json"
LONGEST_TARGET = 8192
"""Characters of a URL, and of one parameter in it."""
FORM = "application/x-www-form-urlencoded"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SECRET_FIELDS = ("code", "code_verifier", "refresh_token", "password", "pairing_code", "token")


@attrs.define  # not frozen: that takes three times as long to create
class Request:
    """One request, never changed. The path is quoted and ends in a slash: without it the server redirects."""

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
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Secrets in the body, which the server may repeat."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


class Phase:
    """Whether a request has left this machine. Set while it is sent."""

    sent: bool = False

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


def id_text(value: UUID | str, what: str) -> str:
    """An id as the API writes it. Raises `ValueError` if it is not a UUID."""
    # Most ids are written like that already: three times as fast as a UUID and its text.
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    return str(as_uuid(value, what))


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
    if any("\ud800" <= character <= "\udfff" for character in value):
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
    """A resource with a list at `path` and one record at `path<id>/`."""

    host: Host
    path: str

    def page(self, params: Mapping[str, str], body: bytes | None = None) -> Request:
        return Request("GET", self.host, self.path, self.path, urlencode(params), body)

    def get(self, item: UUID | str) -> Request:
        return self._one("GET", item)

    def create(self, values: Mapping[str, object]) -> Request:
        """Create a record. Not idempotent: a repetition creates another one."""
        return Request("POST", self.host, self.path, self.path, body=encode(values), idempotent=False)

    def patch(self, item: UUID | str, values: Mapping[str, object]) -> Request:
        """Set the given fields. Idempotent: the values are absolute."""
        return self._one("PATCH", item, encode(values))

    def put(self, item: UUID | str, values: Mapping[str, object]) -> Request:
        return self._one("PUT", item, encode(values))

    def delete(self, item: UUID) -> Request:
        return self._one("DELETE", item)

    def _one(self, method: str, item: UUID | str, body: bytes | None = None) -> Request:
        route = f"{self.path}{{id}}/"
        return Request(method, self.host, f"{self.path}{item}/", route, body=body)


GROUPS = Collection(Host.API, "/printing/v1/groups/")
USERS = Collection(Host.API, "/printing/v1/users/")
ACCOUNTS = Collection(Host.ACCOUNT, "/v1/users/")
INVITATIONS = Collection(Host.ACCOUNT, "/v1/userinvitations/")


def memberships(group_ids: Iterable[UUID | str]) -> list[dict[str, str]]:
    """Group ids as a user record has them. Sorted, so that equal sets give equal bytes."""
    return [{"group_id": text} for text in sorted(str(group_id) for group_id in group_ids)]


def group_filter(group_id: UUID) -> bytes:
    """The body of the documented GET that lists one group's users (API document, "Users")."""
    return encode({"groups": memberships([group_id])})


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
