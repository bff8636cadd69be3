"""What the buttons of the page do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Unpack

import attrs

from ezeep_async.sandbox.faults import Effect


if TYPE_CHECKING:
    from ezeep_async.sandbox.server import Sandbox


@attrs.frozen
class Action:
    """A button."""

    topic: str
    label: str
    run: Callable[[Sandbox], object]


def _fault(sandbox: Sandbox, route: str, effect: Effect) -> None:
    sandbox.faults.add(route, **effect)


def _on(route: str, **effect: Unpack[Effect]) -> Callable[[Sandbox], object]:
    return partial(_fault, route=route, effect=effect)


def _clear(sandbox: Sandbox) -> None:
    sandbox.faults.clear()
    for outcome in sandbox.printing.pending_outcomes:
        outcome.remove()


_EXPIRY, _MANAGEMENT, _PRINTING = "Expiry", "Users and groups", "Printing"
ACTIONS = {
    "expire-tokens": Action(_EXPIRY, "Expire access tokens", lambda sandbox: sandbox.expire_access_tokens()),
    "end-logins": Action(_EXPIRY, "End all logins", lambda sandbox: sandbox.end_logins()),
    "expire-uploads": Action(
        _EXPIRY, "Expire upload addresses", lambda sandbox: sandbox.storage.expire_urls()
    ),
    "refresh-lost": Action(
        _EXPIRY, "Lose the response to a token request", _on("POST /oauth/access_token/", drop="after")
    ),
    "users-503": Action(
        _MANAGEMENT, "503 for a list of users", _on("GET /printing/v1/users/", status=503, retry_after=1)
    ),
    "change-429": Action(
        _MANAGEMENT,
        "429 for a change of a user",
        _on("PATCH /printing/v1/users/{id}/", status=429, retry_after=2),
    ),
    "change-lost": Action(
        _MANAGEMENT,
        "Lose the response to a change of a user",
        _on("PATCH /printing/v1/users/{id}/", drop="after"),
    ),
    "upload-503": Action(_PRINTING, "503 for an upload", _on("PUT /userstorage/{id}", status=503)),
    "upload-lost": Action(
        _PRINTING, "Lose the connection of an upload", _on("PUT /userstorage/{id}", drop="upload")
    ),
    "print-refused": Action(_PRINTING, "Refuse a print request", _on("POST /sfapi/Print/", code=804)),
    "print-lost": Action(
        _PRINTING, "Lose the response to a print request", _on("POST /sfapi/Print/", drop="after")
    ),
    "job-fails": Action(_PRINTING, "A print job fails", lambda sandbox: sandbox.printing.script(3011)),
    "clear": Action("All", "Remove what is waiting", _clear),
}
