"""For receiving webhooks in a web application, whatever its framework: `parse_event` and `verify_basic`.

`docs/how-to/webhooks.md` has recipes for FastAPI, Django, Flask and aiohttp. `session.webhooks` manages the endpoints.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar, cast

from ezeep_async._text.redaction import clears_locals
from ezeep_async._wire.converter import decode, decode_plain
from ezeep_async.errors import UnexpectedResponse
from ezeep_async.models.webhooks import Webhook, WebhookEvent, WebhookPrintJob


__all__ = ["Webhook", "WebhookEvent", "WebhookPrintJob", "parse_event", "verify_basic"]

T = TypeVar("T")

_TEXTS = (
    *("printjob_id", "status", "filename", "type", "paper"),
    *("user_id", "user_name", "user_email"),
    *("printer_id", "printer_name", "connector_id", "connector_name"),
)


class Headers(Protocol):
    """The headers of a request, as frameworks have them: a mapping, or an object like one."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Names and values."""
        ...


def parse_event(body: bytes | str | Mapping[str, object]) -> WebhookEvent:
    """Read the body of a request that ezeep sent to a webhook.

    Args:
        body: The body of the request, or the mapping that a framework decoded from it.

    Returns:
        The event. A field of the print job that was not sent is empty or None.

    Raises:
        ValueError: The body is not JSON, has more than 2 MiB, or has no print job at `content.printjob`.

    Note:
        Assumed: only `content.printjob` and its fields are known, from one client of ezeep. `topic` is read if an event
        has it. `raw` has everything that was sent (docs/ezeep-api.md#webhooks).
    """
    event: object = body
    if isinstance(body, bytes | str):
        try:
            event = decode_plain(body.encode() if isinstance(body, str) else body)
        except (UnexpectedResponse, UnicodeEncodeError):
            event = None
    job = _object(_object(event, "content"), "printjob")
    if job is None:
        # Without the body: it has names of people and documents.
        raise ValueError("not an event of ezeep: the body must be a JSON object with content.printjob")
    raw = cast("Mapping[str, object]", event)
    topic = raw.get("topic")
    return WebhookEvent(topic=topic if isinstance(topic, str) else None, printjob=_print_job(job), raw=raw)


def _object(value: object, key: str) -> Mapping[str, object] | None:
    inner = cast("Mapping[str, object]", value).get(key) if isinstance(value, Mapping) else None
    return cast("Mapping[str, object]", inner) if isinstance(inner, Mapping) else None


def _print_job(values: Mapping[str, object]) -> WebhookPrintJob:
    def of(name: str, kind: type[T]) -> T | None:
        value = values.get(name)
        return value if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) else None

    texts = {name: of(name, str) or "" for name in _TEXTS}
    return WebhookPrintJob(
        **texts,
        created=_moment(values.get("created")),
        color=of("color", bool),
        duplex=of("duplex", bool),
        copies=of("copies", int),
        total_printed_pages=of("total_printed_pages", int),
        co2_impact=_number(values.get("co2_impact")),
        raw=values,
    )


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _moment(value: object) -> datetime | None:
    """A time with any number of digits after the second: other services of ezeep send seven."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or '"' in value:
        return None
    try:
        return decode(f'"{value}"'.encode(), datetime)
    except UnexpectedResponse:
        return None


@clears_locals
def verify_basic(headers: Headers, username: str, password: str) -> bool:
    """Check that a request has the user name and password of a webhook (RFC 7617), in constant time.

    ezeep signs no events. The password is the only proof that a request is from ezeep, so accept requests over https
    only, and do not use one password for several services.

    Args:
        headers: The headers of the request; names in any case.
        username: The `username` of `session.webhooks.create`.
        password: The `password` of `session.webhooks.create`.

    Returns:
        Whether the request has one `Authorization` header, with these credentials.

    Raises:
        ValueError: `username` or `password` is empty or no str: a setting that is missing would let everyone in. Or
            one of them cannot be encoded, or `username` contains a colon.
    """
    if not isinstance(username, str) or not username or not isinstance(password, str) or not password:
        raise ValueError("username and password must be str that are not empty: check the settings")
    if ":" in username:
        raise ValueError("username contains a colon, which RFC 7617 does not allow")
    if any("\ud800" <= character <= "\udfff" for character in username + password):
        # Not the error of the encoder, which holds the password.
        raise ValueError("username or password contains a surrogate code point: check the settings")
    given = [value for name, value in headers.items() if str(name).lower() == "authorization"]
    # A mapping of a framework may have a list of values, or bytes.
    header = given[0] if len(given) == 1 and isinstance(given[0], str) else ""  # pyright: ignore[reportUnnecessaryIsInstance]  # frameworks may give bytes
    scheme, _, text = header.partition(" ")
    try:
        credentials = base64.b64decode(text.strip(), validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        credentials = b""
    # Hashes have one length: the time does not depend on the length of the password either.
    expected = hashlib.sha256(f"{username}:{password}".encode()).digest()
    return secrets.compare_digest(hashlib.sha256(credentials).digest(), expected)
