"""`RecordedRequest`: what arrived, as tests look at it."""

from __future__ import annotations

from typing import Literal

import attrs
from multidict import CIMultiDict


Host = Literal["account", "api"]


@attrs.define(eq=False, kw_only=True)
class RecordedRequest:
    """One request as it arrived. The parts that may hold secrets are not in its repr."""

    method: str
    host: Host
    path: str
    query: dict[str, str] = attrs.field(repr=False)
    route: str | None
    """The template, such as `/printing/v1/users/{id}/`; None where no such route exists."""
    headers: CIMultiDict[str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    status: int | None = None
    """None until it is answered, and for ever when the connection was dropped."""
    grant_type: str | None = None
    """At the token endpoint: which grant was asked for."""

    @property
    def key(self) -> str | None:
        """Method and template, as `Sandbox.count` and `Faults.add` name a route."""
        return None if self.route is None else f"{self.method} {self.route}"
