"""The blob storage of the sandbox: signed URLs, blobs, and blocks that are not committed yet."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta
from email.message import Message
from urllib.parse import urlencode

import attrs

from ezeep_async.sandbox.behaviour import Behaviour, Clock
from ezeep_async.sandbox.records import RecordedRequest


@attrs.frozen(eq=False)
class Content:
    """Bytes, or only their number where they are not kept."""

    size: int
    data: bytes = attrs.field(default=b"", repr=False)


@attrs.define(eq=False)
class Blob:
    """A blob: its committed content, and the blocks for the next commit."""

    content: Content | None = None
    """None: nothing was committed."""
    content_type: str = "application/octet-stream"
    etag: str = ""
    committed: dict[str, Content] = attrs.field(factory=dict[str, Content], repr=False)
    """The blocks of the content, by their id. Empty after an upload with one request."""
    uncommitted: dict[str, Content] = attrs.field(factory=dict[str, Content], repr=False)


@attrs.define
class _SignedUrl:
    blob: str
    query: dict[str, str]
    expired: bool = False


@attrs.define(eq=False)
class Storage:
    """Blobs and signed URLs: `Sandbox.storage`."""

    behaviour: Behaviour = attrs.field(repr=False)
    clock: Clock = attrs.field(repr=False)
    origin: str = ""
    """Base URL of the storage host."""
    blobs: dict[str, Blob] = attrs.field(init=False, factory=dict[str, Blob], repr=False)
    """By name, which is the `fileid`."""
    leaks: list[RecordedRequest] = attrs.field(init=False, factory=list[RecordedRequest])
    """Requests that brought credentials to this host. Closing the sandbox fails, unless the test removes them."""
    _signed: dict[str, _SignedUrl] = attrs.field(init=False, factory=dict[str, _SignedUrl], repr=False)

    def sign(self, name: str) -> str:
        """Return a new URL that lets its owner write one blob.

        Args:
            name: Name of the blob.
        """
        expiry = self.clock.now() + timedelta(seconds=self.behaviour.upload_expires_in)
        signature = base64.b64encode(secrets.token_bytes(32)).decode()
        query = {
            "sv": "2019-07-07",
            "sr": "b",
            "sig": signature,
            "se": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
            "sp": "wl",
        }
        self._signed[signature] = _SignedUrl(name, query)
        return f"{self.origin}/userstorage/{name}?{urlencode(query)}"

    def problem(self, name: str, query: dict[str, str]) -> str | None:
        """Return what is wrong with the signature in a URL; None: it is valid.

        Args:
            name: Name of the blob in the path.
            query: The parameters of the URL.
        """
        signed = self._signed.get(query.get("sig", ""))
        if signed is None or signed.blob != name or not signed.query.items() <= query.items():
            return "Signature did not match. String to sign used was (redacted by the sandbox)."
        now, expiry = self.clock.now(), datetime.fromisoformat(signed.query["se"])
        if now >= expiry or signed.expired:
            return (
                "Signature not valid in the specified time frame: "
                f"Expiry [{expiry:%a, %d %b %Y %H:%M:%S} GMT] - Current [{now:%a, %d %b %Y %H:%M:%S} GMT]"
            )
        return None

    def expire_urls(self) -> None:
        """Expire all URLs that were signed so far: requests with them get a 403."""
        for signed in self._signed.values():
            signed.expired = True


def unwrapped(data: bytes, content_type: str) -> bytes:
    """Return a document without the multipart frame that it was uploaded in, if there is one.

    Args:
        data: The stored bytes.
        content_type: Their content type.

    Returns:
        The first part of a `multipart/form-data` body, or the data unchanged.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or boundary is None:
        return data
    # Split by hand: the parsers of the standard library change line endings of binary parts.
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    start = data.find(delimiter)
    begin = data.find(b"\r\n\r\n", start)
    end = data.find(b"\r\n" + delimiter, begin + 2)
    return data[begin + 4 : end] if -1 not in {start, begin, end} else data
