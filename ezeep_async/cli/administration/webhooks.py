"""`ezeep webhooks`: endpoints that ezeep posts events to."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ezeep_async import Webhook
from ezeep_async.cli.connection import HERE, Connection, Json, Yes, open_session
from ezeep_async.cli.terminal.output import complain, write_json
from ezeep_async.cli.terminal.prompts import ask_secret, check_can_ask, confirmed
from ezeep_async.cli.terminal.screen import Screen, to_json


TOPICS = ("printjob_succeeded", "printjob_failed")
Topics = Annotated[
    tuple[str, ...],
    Parameter(
        name="--topic", help="Which events: printjob_succeeded, printjob_failed. Repeat it for several."
    ),
]

webhooks_app = App(
    name="webhooks",
    help="Endpoints that ezeep posts events to. The client needs the OAuth scope webhooks (--scope of ezeep login).",
)


@webhooks_app.command(name="list")
async def list_webhooks(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """List all webhooks."""
    screen = Screen()
    async with open_session(connection) as session:
        webhooks = await session.webhooks.list().collect()
    if as_json:
        write_json(to_json(webhooks))
        return
    screen.table(
        ("id", "name", "url", "topics", "state"),
        [(each.id, each.name, each.url, ", ".join(each.topics), _state(each)) for each in webhooks],
    )


@webhooks_app.command(name="create")
async def create_webhook(
    name: str,
    url: str,
    /,
    *,
    topic: Topics = TOPICS,
    username: str | None = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> None:
    """Create a webhook.

    Args:
        name: 1 to 255 characters.
        url: The address that events are posted to, with https.
        username: Sent with each event, with a password. The password is asked for, or read from a pipe: other users of a
            machine can read its command lines.
    """
    screen = Screen()
    password = None if username is None else await ask_secret("Password of the webhook: ")
    async with open_session(connection) as session:
        webhook = await session.webhooks.create(name, url, topic, username=username, password=password)
    if as_json:
        write_json(to_json(webhook))
        return
    screen.facts({"id": webhook.id, "name": webhook.name, "url": webhook.url, "state": _state(webhook)})


@webhooks_app.command(name="delete")
async def delete_webhook(webhook_id: str, /, *, yes: Yes = False, connection: Connection = HERE) -> int:
    """Delete a webhook, after a confirmation.

    Args:
        webhook_id: The id of the webhook.
    """
    screen = Screen()
    check_can_ask(yes=yes)
    async with open_session(connection) as session:
        webhook = await session.webhooks.get(webhook_id)
        if not await confirmed(f"Delete the webhook {webhook.name!r}?", yes=yes):
            complain("nothing was deleted")
            return 1
        await session.webhooks.delete(webhook.id)
    screen.note(f"deleted {webhook.name!r}")
    return 0


def _state(webhook: Webhook) -> str:
    return "disabled" if webhook.disabled else "enabled"
