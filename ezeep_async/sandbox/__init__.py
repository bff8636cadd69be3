"""The ezeep API on loopback, for tests and demos: an aiohttp server in the caller's event loop.

    async with Sandbox(users=134, groups=13, seed=0) as sandbox:
        print(sandbox.endpoints, sandbox.oauth_app, sandbox.tokens())

It behaves as the service does: refresh tokens work once, pages are capped silently, `next` links are `http://`, a
write replaces all memberships of a user, print jobs go through their statuses. `Sandbox.faults` adds failures of the
network, `Sandbox.printed` has the printed documents.
"""

from __future__ import annotations

from ezeep_async.sandbox.behaviour import Behaviour, BehaviourOptions, Clock
from ezeep_async.sandbox.faults import Effect, Fault, Faults, Hold
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.sandbox.state.administration import (
    Administration,
    SandboxConnector,
    SandboxDriver,
    SandboxReport,
)
from ezeep_async.sandbox.state.jobs import Outcome, Printed, SandboxJob
from ezeep_async.sandbox.state.organization import (
    GroupFields,
    Invitation,
    Organization,
    Person,
    SandboxGroup,
    SandboxUser,
)
from ezeep_async.sandbox.state.printers import Paper, PrinterFields, SandboxPrinter, Tray
from ezeep_async.sandbox.state.printing import Printing
from ezeep_async.sandbox.state.seeding import SANDBOX_ADMIN, SANDBOX_PASSWORD
from ezeep_async.sandbox.state.storage import Storage
from ezeep_async.sandbox.state.webhooks import Delivery, WebhookEndpoint, Webhooks


__all__ = [
    "SANDBOX_ADMIN",
    "SANDBOX_PASSWORD",
    "Administration",
    "Behaviour",
    "BehaviourOptions",
    "Clock",
    "Delivery",
    "Effect",
    "Fault",
    "Faults",
    "GroupFields",
    "Hold",
    "Invitation",
    "Organization",
    "Outcome",
    "Paper",
    "Person",
    "Printed",
    "PrinterFields",
    "Printing",
    "RecordedRequest",
    "Sandbox",
    "SandboxConnector",
    "SandboxDriver",
    "SandboxGroup",
    "SandboxJob",
    "SandboxPrinter",
    "SandboxReport",
    "SandboxUser",
    "Storage",
    "Tray",
    "WebhookEndpoint",
    "Webhooks",
]
