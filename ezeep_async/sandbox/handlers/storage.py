"""The blob storage: uploads with one request, or in blocks. It is another service, with headers and XML errors of its own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from email.utils import format_datetime
from uuid import uuid4
from xml.etree import ElementTree as ET

from aiohttp import web

from ezeep_async.sandbox.handlers.routes import RouteTable, State
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import Refused, storage_error
from ezeep_async.sandbox.state.storage import Blob, Content


routes = RouteTable()
LARGEST_BLOB = 256 * 2**20
LARGEST_BLOCK = 100 * 2**20
MOST_BLOCKS = 50_000
_BLOCK_LIST = re.compile(r"Committed|Uncommitted|Latest")


@routes.add("GET HEAD DELETE", "/userstorage/{id}")
def refuse(state: State, request: RecordedRequest) -> web.Response:
    """The signed URLs allow to write only."""
    _name(state, request)
    raise _refused(
        403,
        "AuthorizationPermissionMismatch",
        "This request is not authorized to perform this operation using this permission.",
    )


def method_not_allowed(_: str, allowed: Collection[str]) -> Refused:
    """The error response for other methods."""
    text = "The resource doesn't support the specified HTTP verb."
    error = _refused(405, "UnsupportedHttpVerb", text)
    error.response.headers["Allow"] = ", ".join(allowed)
    return error


@routes.add("PUT", "/userstorage/{id}")
def put(state: State, request: RecordedRequest) -> web.Response:
    """Put Blob, Put Block or Put Block List."""
    name = _name(state, request)
    if "Content-Length" not in request.headers:
        raise _refused(411, "MissingContentLengthHeader", "The Content-Length header was not specified.")
    match request.query.get("comp"):
        case None:
            return _put_blob(state, request, name)
        case "block":
            return _put_block(state, request, name)
        case "blocklist":
            return _put_block_list(state, request, name)
        case _:
            raise _refused(
                400,
                "InvalidQueryParameterValue",
                "Value for one of the query parameters specified in the request URI is invalid.",
            )


def _name(state: State, request: RecordedRequest) -> str:
    """The name of the blob, after a check of the signature."""
    name = request.path.rpartition("/")[2]
    if (problem := state.storage.problem(name, request.query)) is not None:
        text = "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature."
        raise _refused(403, "AuthenticationFailed", text, problem)
    return name


def _put_blob(state: State, request: RecordedRequest, name: str) -> web.Response:
    kind = request.headers.get("x-ms-blob-type")
    if kind is None:
        raise _refused(
            400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified."
        )
    if kind != "BlockBlob":
        raise _refused(
            400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."
        )
    content = _content(state, request, LARGEST_BLOB)
    # Blocks that were not committed are discarded.
    blob = state.storage.blobs[name] = Blob(content)
    _set_type(blob, request, request.headers.get("Content-Type"))
    return _created(state, request, blob)


def _put_block(state: State, request: RecordedRequest, name: str) -> web.Response:
    block_id = request.query.get("blockid", "")
    size = _decoded_size(block_id)
    if not 0 < size <= 64:
        raise _refused(
            400,
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid.",
        )
    content = _content(state, request, LARGEST_BLOCK)
    if content.size == 0:
        raise _refused(
            400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."
        )
    blob = state.storage.blobs.setdefault(name, Blob())
    if any(_decoded_size(known) != size for known in [*blob.uncommitted][:1] or [*blob.committed][:1]):
        raise _refused(400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.")
    blob.uncommitted[block_id] = content
    return _created(state, request, None)


def _put_block_list(state: State, request: RecordedRequest, name: str) -> web.Response:
    blob = state.storage.blobs.get(name) or Blob()
    blocks = [_block(blob, kind, block_id) for kind, block_id in _block_list(request)]
    if len(blocks) > MOST_BLOCKS:
        raise _refused(400, "BlockListTooLong", "The block list may not contain more than 50,000 blocks.")
    data = b"".join(content.data for _, content in blocks)
    blob.content = Content(sum(content.size for _, content in blocks), data)
    blob.committed = dict(blocks)
    blob.uncommitted = {}
    _set_type(blob, request, None)
    state.storage.blobs[name] = blob
    return _created(state, request, blob)


def _block_list(request: RecordedRequest) -> list[tuple[str, str]]:
    try:
        if b"<!" in request.body:  # no document type: it could define entities
            raise ET.ParseError
        root = ET.fromstring(request.body)  # noqa: S314  # see above
    except (ET.ParseError, ValueError, LookupError):  # LookupError: an unknown encoding
        raise _refused(400, "InvalidXmlDocument", "XML specified is not syntactically valid.") from None
    if root.tag != "BlockList" or not all(_BLOCK_LIST.fullmatch(each.tag) for each in root):
        raise _refused(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
    return [(each.tag, (each.text or "").strip()) for each in root]


def _block(blob: Blob, kind: str, block_id: str) -> tuple[str, Content]:
    """A listed block: `Latest` is the uncommitted one, or else the committed one."""
    places = {"Uncommitted": [blob.uncommitted], "Committed": [blob.committed]}
    for place in places.get(kind, [blob.uncommitted, blob.committed]):
        if block_id in place:
            return block_id, place[block_id]
    raise _refused(400, "InvalidBlockList", "The specified block list is invalid.")


def _content(state: State, request: RecordedRequest, largest: int) -> Content:
    size = request.size
    if size > largest:
        raise _refused(
            413,
            "RequestBodyTooLarge",
            "The request body is too large and exceeds the maximum permissible limit.",
        )
    digest = request.headers.get("Content-MD5")
    kept = state.behaviour.keep_documents
    if digest is not None and kept and digest != _md5(request.body):
        raise _refused(
            400,
            "Md5Mismatch",
            "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
        )
    return Content(size, request.body if kept else b"")


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _decoded_size(block_id: str) -> int:
    """The length of a block id before its encoding; 0: it is not valid. A blank was a "+" that was not quoted."""
    try:
        return len(base64.b64decode(block_id, validate=True))
    except ValueError:  # also for what is not ASCII
        return 0


def _set_type(blob: Blob, request: RecordedRequest, default: str | None) -> None:
    blob.content_type = request.headers.get("x-ms-blob-content-type") or default or "application/octet-stream"
    blob.etag = f'"0x{uuid4().hex[:15].upper()}"'


def _headers(request: RecordedRequest) -> dict[str, str]:
    headers = {"Server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0", "x-ms-request-id": str(uuid4())}
    headers["x-ms-version"] = request.headers.get("x-ms-version", request.query.get("sv", "2019-07-07"))
    if (own := request.headers.get("x-ms-client-request-id")) is not None:
        headers["x-ms-client-request-id"] = own
    return headers


def _created(state: State, request: RecordedRequest, blob: Blob | None) -> web.Response:
    headers = {**_headers(request), "x-ms-request-server-encrypted": "true"}
    if request.body:
        headers["Content-MD5"] = _md5(request.body)
    if blob is not None:
        modified = format_datetime(state.clock.now(), usegmt=True)
        headers.update({"ETag": blob.etag, "Last-Modified": modified})
    return web.Response(status=201, headers=headers)


def _refused(status: int, code: str, text: str, detail: str | None = None) -> Refused:
    return Refused(storage_error(status, code, text, detail))
