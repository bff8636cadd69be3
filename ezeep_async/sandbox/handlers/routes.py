"""`RouteTable`: the handlers by path and method; `State`: what they work on."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

import attrs
from aiohttp import web

from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import refused
from ezeep_async.sandbox.state.administration import Administration
from ezeep_async.sandbox.state.organization import Organization
from ezeep_async.sandbox.state.printing import Printing
from ezeep_async.sandbox.state.storage import Storage
from ezeep_async.sandbox.state.webhooks import Webhooks
from ezeep_async.sandbox.tokens import Grants
from ezeep_async.settings import Endpoints


Handler = Callable[..., web.Response]
"""Takes the state, the request, and for paths that need an access token its owner."""
H = TypeVar("H", bound=Handler)


@attrs.frozen
class State:
    """What the handlers of one sandbox share."""

    organization: Organization
    behaviour: Behaviour
    clock: Clock
    grants: Grants
    printing: Printing
    storage: Storage
    webhooks: Webhooks
    endpoints: Callable[[], Endpoints]
    page_token: str = attrs.field(init=False, factory=secrets.token_urlsafe, repr=False)
    """The anti-forgery value of the page for people."""
    forms: dict[str, dict[str, str]] = attrs.field(init=False, factory=dict[str, dict[str, str]], repr=False)
    """The open consent forms: anti-forgery value, hidden fields."""
    administration: Administration = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: Administration(self.organization.seed), takes_self=True),
    )


def require_scope(state: State, request: RecordedRequest, *scopes: str) -> None:
    """Refuse access tokens with none of the scopes (RFC 6750 section 3.1)."""
    token = request.headers.get("Authorization", "").partition(" ")[2].strip()
    if not state.grants.scopes(token) & {*scopes}:
        header = f'Bearer error="insufficient_scope", scope="{scopes[-1]}"'
        raise refused(403, "The token does not have the scope for this.", {"WWW-Authenticate": header})


class RouteTable(dict[str, dict[str, Handler]]):
    """Template, method, handler."""

    def add(self, methods: str, template: str) -> Callable[[H], H]:
        """A decorator for the handler of a template with these methods, separated by spaces."""

        def register(handler: H) -> H:
            self.setdefault(template, {}).update(dict.fromkeys(methods.split(), handler))
            return handler

        return register
