"""The address of an upload, and the requests to the storage behind it: Azure's Put Blob, Put Block, Put Block List. No I/O."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import attrs
from yarl import URL

from ezeep_async._text.redaction import Secret
from ezeep_async._wire.converter import decode_plain
from ezeep_async._wire.printing import mapping, secrets_of_url
from ezeep_async.errors import InsecureEndpoint, UnexpectedResponse
from ezeep_async.settings import is_loopback


MOST_BLOCKS = 50_000
"""Blocks of one blob, by the documents of Azure."""

Part = bytes | memoryview


@attrs.frozen
class StoragePut:
    """One request to the storage. Repeating it has no further effect."""

    name: str
    """For logs and errors: without the address, which is a secret."""
    url: Secret
    headers: Mapping[str, str]
    parts: Sequence[Part] = attrs.field(repr=False)
    """The body, in pieces that are not copied together."""
    secrets: tuple[str, ...] = attrs.field(repr=False)
    """The parts of the address that the storage may repeat."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.parts))


@attrs.frozen
class UploadTarget:
    """The response of `PrepareUpload`: where one document is uploaded to, with the right to write it in the address."""

    file_id: str
    url: Secret
    expires: datetime | None
    """End of that right, by the clock of the storage. None if the address does not say it."""
    secrets: tuple[str, ...] = attrs.field(repr=False)

    def put_blob(self, parts: Sequence[Part]) -> StoragePut:
        """Upload a whole document."""
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-blob-content-type": "application/octet-stream"}
        return StoragePut("PUT blob", self.url, headers, parts, self.secrets)

    def put_block(self, number: int, part: Part) -> StoragePut:
        """Upload one block. It belongs to the document once the list of blocks is put."""
        url = self._with(f"comp=block&blockid={quote(_block_id(number), safe='')}")
        return StoragePut("PUT block", url, {}, [part], self.secrets)

    def put_block_list(self, count: int) -> StoragePut:
        """Make a document of the blocks.

        `Latest`, as `Uncommitted` fails when the request is repeated after a lost response.
        """
        listed = "".join(f"<Latest>{_block_id(number)}</Latest>" for number in range(count))
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        headers = {"Content-Type": "application/xml", "x-ms-blob-content-type": "application/octet-stream"}
        return StoragePut("PUT block list", self._with("comp=blocklist"), headers, [body], self.secrets)

    def _with(self, query: str) -> Secret:
        return Secret(f"{self.url}&{query}" if "?" in self.url else f"{self.url}?{query}")


def _block_id(number: int) -> str:
    """All ids of a blob must have the same length."""
    return base64.b64encode(f"{number:06d}".encode()).decode("ascii")


def upload_target(body: bytes) -> UploadTarget:
    """Read the response of `PrepareUpload`. No error shows the address.

    Raises `InsecureEndpoint` for an address that is not https, but for loopback.
    """
    values = mapping(decode_plain(body))
    file_id, address = values.get("fileid"), values.get("sasUri")
    if not isinstance(file_id, str) or not file_id:
        raise UnexpectedResponse("the response has no id of a file", path="$.fileid")
    try:
        url = URL(address, encoded=True) if isinstance(address, str) else URL()
        host, expiry = url.host, url.query.get("se")
        userless = url.user is None and url.password is None
    except ValueError:
        host, expiry, userless, url = None, None, False, URL()
    if not isinstance(address, str) or not host or not userless:
        raise UnexpectedResponse("the response has no address for the upload", path="$.sasUri")
    scheme = url.scheme.lower()
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise InsecureEndpoint(
            f"the address for the upload, on {host}, is not https: the document is not sent. Check the print service"
        )
    signed = Secret(address.partition("#")[0])
    return UploadTarget(file_id, signed, _time(expiry), (signed, *secrets_of_url(signed)))


def _time(text: str | None) -> datetime | None:
    try:
        when = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when
