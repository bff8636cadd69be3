"""`RecordedRequest`: a received request."""

from __future__ import annotations

import time
from typing import Literal
from urllib.parse import parse_qs

import attrs
from multidict import CIMultiDict


Host = Literal["account", "api", "print", "blobs"]
DESCRIPTION_PATH = "/openapi.json"
TOKEN_PATH = "/oauth/access_token/"  # noqa: S105  # a path


@attrs.define(eq=False, kw_only=True)
class RecordedRequest:
    """A request that the sandbox received. Its repr omits the parts that may contain secrets."""

    method: str
    host: Host
    """The server that received it: accounts, the management API, the print API, or the blob storage."""
    path: str
    query: dict[str, str] = attrs.field(repr=False)
    route: str | None
    """The template, such as `/printing/v1/users/{id}/`; None where no such route exists."""
    headers: CIMultiDict[str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    """The body. Empty for uploads without the behaviour `keep_documents`."""
    size: int = 0
    """Length of the body in bytes."""
    status: int | None = None
    """Status of the response. None before it, and if the connection was dropped."""
    arrived: float = attrs.field(factory=time.monotonic, repr=False)
    """When it arrived, in seconds of `time.monotonic()`."""

    @property
    def key(self) -> str | None:
        """Method and template, as `Sandbox.count` and `Faults.add` name a route."""
        return None if self.route is None else f"{self.method} {self.route}"

    @property
    def grant_type(self) -> str | None:
        """`grant_type` of a request at the token endpoint."""
        if self.route != TOKEN_PATH:
            return None
        return parse_qs(self.body.decode("utf-8", "replace")).get("grant_type", [None])[0]
