"""`session.webhooks`: endpoints that ezeep posts events to. For receiving events see `ezeep_async.webhooks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast
from uuid import UUID

from yarl import URL

from ezeep_async._text.cleaning import check_unread
from ezeep_async._text.redaction import Secret, clears_locals
from ezeep_async._wire.converter import PageBody, decode
from ezeep_async._wire.requests import WEBHOOKS, as_id, checked_flag, checked_text
from ezeep_async.errors import InsecureEndpoint
from ezeep_async.models.unset import UNSET, Unset
from ezeep_async.models.webhooks import Webhook
from ezeep_async.pagination.paginator import Paginator
from ezeep_async.resources._base import Api, Calls, page_fetcher
from ezeep_async.resources._scopes import ScopedApi
from ezeep_async.settings import is_loopback


LONGEST_URL = 2048
"""Characters of an endpoint's URL. Its limit is not documented."""


def _checked_url(value: object, what: str) -> str:
    # Without the value in the messages: a query often has a secret.
    text = checked_text(value, what, shortest=1, longest=LONGEST_URL, secret=True)
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if not url.host:
        raise ValueError(f"{what} must be a URL, such as 'https://hooks.example.com/ezeep'")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise InsecureEndpoint(f"{what} must begin with https://: ezeep sends names and a password there")
    if url.user is not None or url.password is not None:
        raise ValueError(f"{what} contains a user name or a password: pass username= and password=")
    return text


def _checked_topics(value: object, what: str) -> list[str]:
    check_unread(value, what)
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f'{what} is {value!r}: pass a list, such as ["printjob_failed"]')
    return [checked_text(topic, "a topic", shortest=1) for topic in cast("Iterable[object]", value)]


def _checked_username(value: object, what: str) -> str:
    name = checked_text(value, what, shortest=1)
    if ":" in name:
        raise ValueError(f"{what} contains a colon, which RFC 7617 does not allow")
    return name


def _checked_password(value: object, what: str) -> str:
    # A plain str: the encoder takes no subclass, such as a secret type of the caller.
    return str(checked_text(value, what, shortest=1, secret=True))


_CHECKS: dict[str, Callable[[object, str], object]] = {
    "name": lambda value, what: checked_text(value, what, shortest=1),
    "url": _checked_url,
    "topics": _checked_topics,
    "disabled": checked_flag,
    "username": _checked_username,
    "password": _checked_password,
}
_WIRE_NAMES = {"username": "basic_username", "password": "basic_password"}


def _values(**fields: object) -> tuple[dict[str, object], tuple[str, ...]]:
    """The checked fields with the names of the API, and the secrets among them."""
    values = {
        _WIRE_NAMES.get(name, name): _CHECKS[name](value, name)
        for name, value in fields.items()
        if value is not UNSET
    }
    if values.keys() & _WIRE_NAMES.values():
        values["authentication_scheme"] = "basic"
    # The encoder takes no subclass of str, so the secret is beside the values. The callers clear their frames.
    password = values.get("basic_password")
    return values, (Secret(password),) if isinstance(password, str) else ()


class Webhooks:
    """The webhooks of the organization. The app needs the scope `webhooks`, or `webhooks.readonly` for reading.

    Note:
        docs/ezeep-api.md#webhooks
    """

    def __init__(self, api: Api) -> None:
        scoped = ScopedApi(api, "webhooks", readonly="webhooks.readonly")
        self._calls = Calls(scoped, WEBHOOKS, Webhook)
        self._fetch_page = page_fetcher(scoped, Webhook, WEBHOOKS.page, _page)

    def list(self) -> Paginator[Webhook]:
        """List all webhooks. Nothing is sent before the listing is iterated.

        Returns:
            A listing, in the order of the server.

        Note:
            Assumed: whether the server sends pages or one list is not documented. Both are read.
        """
        return Paginator(self._fetch_page)

    @clears_locals
    async def create(
        self,
        name: str,
        url: str,
        topics: Iterable[str],
        *,
        username: str | None = None,
        password: str | None = None,
        disabled: bool = False,
    ) -> Webhook:
        """Create a webhook. Not safe to repeat: a second call creates a second one.

        Args:
            name: 1 to 255 characters.
            url: Address that events are posted to; `https://`, or `http://` for a loopback address.
            topics: "printjob_succeeded", "printjob_failed".
            username: Sent with each event (RFC 7617). None: events are sent without authentication.
            password: Sent with each event. Required with `username`. At least one of both parts must be secret and
                long: there is no signature (see `ezeep_async.webhooks.verify_basic`).
            disabled: Whether to create it without sending events to it yet.

        Returns:
            The new webhook.

        Raises:
            ValueError: An argument is invalid, or only one of `username` and `password` is given. Nothing was sent.
            InsecureEndpoint: `url` does not begin with `https://`. Also a `ValueError`.
            OutcomeUnknown: The response was lost: the webhook may exist. `list` shows whether it does.
            PermissionDenied: The app lacks the scope `webhooks`, or the user may not do this.
            BadRequest: The server rejects a value.
        """
        if (username is None) != (password is None):
            raise ValueError("pass both username and password, or neither")
        values, secrets = _values(
            name=name,
            url=url,
            topics=topics,
            disabled=disabled,
            username=UNSET if username is None else username,
            password=UNSET if password is None else password,
        )
        return (await self._calls.post(values, secrets=secrets))[0]

    async def get(self, webhook_id: UUID | str | Webhook) -> Webhook:
        """Read one webhook.

        Args:
            webhook_id: The webhook, or its id.

        Returns:
            The webhook.

        Raises:
            NotFound: No such webhook exists.
            PermissionDenied: The app lacks the scope `webhooks.readonly`, or the user may not do this.
        """
        return (await self._calls.get(as_id(webhook_id, "webhook_id", Webhook)))[0]

    @clears_locals
    async def update(
        self,
        webhook_id: UUID | str | Webhook,
        name: str | Unset = UNSET,
        url: str | Unset = UNSET,
        topics: Iterable[str] | Unset = UNSET,
        *,
        username: str | Unset = UNSET,
        password: str | Unset = UNSET,
        disabled: bool | Unset = UNSET,
    ) -> Webhook:
        """Set the given fields of a webhook, and no others. Safe to repeat.

        Args:
            webhook_id: The webhook, or its id.
            name: 1 to 255 characters.
            url: As for `create`.
            topics: All topics of the webhook.
            username: As for `create`.
            password: As for `create`. It may be given alone, to replace the password.
            disabled: Whether no events are sent to it.

        Returns:
            The webhook after the change.

        Raises:
            NotFound: No such webhook exists.
            ValueError: An argument is invalid, or no field is given. Nothing was sent.
            InsecureEndpoint: `url` does not begin with `https://`. Also a `ValueError`.
            PermissionDenied: The app lacks the scope `webhooks`, or the user may not do this.
            BadRequest: The server rejects a value.
        """
        item = as_id(webhook_id, "webhook_id", Webhook)
        values, secrets = _values(
            name=name, url=url, topics=topics, disabled=disabled, username=username, password=password
        )
        if not values:
            raise ValueError("nothing to update: pass at least one field")
        return await self._calls.patch(item, values, secrets)

    async def delete(self, webhook_id: UUID | str | Webhook) -> None:
        """Delete a webhook.

        Args:
            webhook_id: The webhook, or its id.

        Raises:
            NotFound: No such webhook existed before the call.
            PermissionDenied: The app lacks the scope `webhooks`, or the user may not do this.
        """
        await self._calls.delete(as_id(webhook_id, "webhook_id", Webhook))


def _page(body: bytes) -> PageBody[Webhook]:
    if body.lstrip()[:1] == b"[":
        webhooks = decode(body, list[Webhook])
        return PageBody(webhooks, len(webhooks))
    return decode(body, PageBody[Webhook])
