"""Webhooks: endpoints, and the events that they receive (docs/ezeep-api.md#webhooks)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import attrs

from ezeep_async.models.record import Record


@attrs.frozen(kw_only=True)
class Webhook(Record):
    """An endpoint that events are posted to. The password, which the API repeats, is left out."""

    endpoint_id: UUID
    name: str = ""
    url: str = ""
    topics: tuple[str, ...] = ()
    """"printjob_succeeded", "printjob_failed"; unknown values are kept."""
    disabled: bool = False
    authentication_scheme: str | None = None
    """"basic" (RFC 7617), or None."""
    basic_username: str | None = None

    @property
    def id(self) -> UUID:
        """The same as `endpoint_id`."""
        return self.endpoint_id


@attrs.frozen(kw_only=True)
class WebhookPrintJob(Record):
    """A print job in an event. A field that was not sent, or has another type than was seen, is empty or None.

    Note:
        Assumed: the fields were seen in one client of ezeep, and are not documented. `raw` has all that was sent.
    """

    printjob_id: str = ""
    """Not the id of `session.printing`, as far as is known."""
    status: str = ""
    filename: str = ""
    created: datetime | None = None
    user_id: str = ""
    user_name: str = ""
    user_email: str = ""
    printer_id: str = ""
    printer_name: str = ""
    connector_id: str = ""
    connector_name: str = ""
    type: str = ""
    color: bool | None = None
    duplex: bool | None = None
    copies: int | None = None
    total_printed_pages: int | None = None
    co2_impact: float | None = None
    """Its unit is not known."""
    paper: str = ""
    raw: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False, hash=False)


@attrs.frozen(kw_only=True)
class WebhookEvent(Record):
    """What ezeep posts to a webhook."""

    topic: str | None = None
    """"printjob_succeeded" or "printjob_failed"; None if it was not sent."""
    printjob: WebhookPrintJob
    raw: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False, hash=False)
    """The whole event."""
