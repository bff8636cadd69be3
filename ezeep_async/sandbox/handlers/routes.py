"""`RouteTable`: the handlers by path and method; `State`: what they work on."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

import attrs
from aiohttp import web

from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.state.organization import Organization
from ezeep_async.sandbox.state.printing import Printing
from ezeep_async.sandbox.state.storage import Storage
from ezeep_async.sandbox.state.webhooks import Webhooks
from ezeep_async.sandbox.tokens import Grants


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
    page_token: str = attrs.field(init=False, factory=secrets.token_urlsafe, repr=False)
    """The anti-forgery value of the page for people."""
    forms: dict[str, dict[str, str]] = attrs.field(init=False, factory=dict[str, dict[str, str]], repr=False)
    """The open consent forms: anti-forgery value, hidden fields."""


class RouteTable(dict[str, dict[str, Handler]]):
    """Template, method, handler."""

    def add(self, methods: str, template: str) -> Callable[[H], H]:
        """A decorator for the handler of a template with these methods, separated by spaces."""

        def register(handler: H) -> H:
            self.setdefault(template, {}).update(dict.fromkeys(methods.split(), handler))
            return handler

        return register
