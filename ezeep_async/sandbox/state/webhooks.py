"""The webhook endpoints of the sandbox, and what was delivered to them."""

from __future__ import annotations

from uuid import UUID

import attrs


@attrs.define(eq=False, kw_only=True)
class WebhookEndpoint:
    """An endpoint that events are posted to."""

    endpoint_id: UUID
    name: str
    url: str
    topics: list[str] = attrs.field(factory=list[str])
    """`"printjob_succeeded"`, `"printjob_failed"`."""
    disabled: bool = False
    authentication_scheme: str | None = None
    """`"basic"`, or None."""
    basic_username: str | None = None
    basic_password: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(eq=False, kw_only=True)
class Delivery:
    """One attempt to post an event to an endpoint."""

    endpoint_id: UUID
    topic: str
    event: dict[str, object]
    """The body."""
    status: int | None
    """Status of the response; None: there was none."""


@attrs.define(eq=False)
class Webhooks:
    """Endpoints and deliveries: `Sandbox.webhooks`."""

    endpoints: dict[UUID, WebhookEndpoint] = attrs.field(factory=dict[UUID, WebhookEndpoint])
    deliveries: list[Delivery] = attrs.field(factory=list[Delivery])
    """All attempts, in order."""
