"""Events of ended print jobs, posted to webhook endpoints."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC
from uuid import NAMESPACE_URL, uuid5

import aiohttp
from yarl import URL

from ezeep_async.sandbox.replies import JSON, encode
from ezeep_async.sandbox.state.jobs import SandboxJob
from ezeep_async.sandbox.state.webhooks import Delivery, WebhookEndpoint, Webhooks
from ezeep_async.settings import is_loopback


TIMEOUT_S = 5.0
"""Seconds for one delivery."""


async def deliver_when_ended(job: SandboxJob, webhooks: Webhooks) -> None:
    """Wait for the end of a job, and post its event once to each endpoint that has its topic.

    How often the service repeats a delivery that failed is not documented. The sandbox does not repeat it.
    """
    await job.clock.wait_for(lambda: job.seconds_left)
    if job.expired:
        return
    topic = "printjob_failed" if job.outcome.final else "printjob_succeeded"
    content = event(job)
    for endpoint in [*webhooks.endpoints.values()]:
        if topic in endpoint.topics and not endpoint.disabled:
            status = await _post(endpoint, content)
            webhooks.deliveries.append(
                Delivery(endpoint_id=endpoint.endpoint_id, topic=topic, event=content, status=status)
            )


def event(job: SandboxJob) -> dict[str, object]:
    """The body for an ended job. Only the fields of `printjob` are known from clients, none from the documents."""
    printed, succeeded = job.printed, not job.outcome.final
    options: Mapping[str, object] = printed.options
    return {
        "content": {
            "printjob": {
                "printjob_id": str(uuid5(NAMESPACE_URL, job.id)),
                "status": "succeeded" if succeeded else "failed",
                "filename": printed.alias or printed.fileid,
                "created": job.created.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                "user_id": str(printed.user.id),
                "user_name": printed.user.display_name,
                "user_email": printed.user.email,
                "printer_id": str(printed.printer.id),
                "printer_name": printed.printer.name,
                "connector_id": str(uuid5(NAMESPACE_URL, "connector")),
                "connector_name": "Print server A",
                "type": "network",
                "color": options.get("color", printed.printer.color),
                "duplex": options.get("duplex", False),
                "copies": options.get("copies", 1),
                "paper": options.get("paper", "A4"),
                "total_printed_pages": job.total if succeeded else 0,
                "co2_impact": job.total if succeeded else 0,
            }
        }
    }


async def _post(endpoint: WebhookEndpoint, content: Mapping[str, object]) -> int | None:
    """The status of the response; None: there was none, or the address is not on this machine."""
    if not is_loopback(URL(endpoint.url).host):
        return None
    headers = {"Content-Type": JSON}
    if endpoint.authentication_scheme == "basic":
        pair = f"{endpoint.basic_username or ''}:{endpoint.basic_password or ''}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client,
            client.post(
                endpoint.url, data=encode(content), headers=headers, allow_redirects=False
            ) as response,
        ):
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return None
