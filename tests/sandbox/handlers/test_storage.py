"""The blob storage: uploads with one request and in blocks, its errors, and credentials that arrive there."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from io import BytesIO
from xml.etree import ElementTree as ET

import aiohttp
import attrs
import pytest

from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.handlers import storage
from ezeep_async.testing import ThreadedSandbox


BLOB = {"x-ms-blob-type": "BlockBlob"}
PUT = "PUT /userstorage/{id}"


@attrs.define
class Uploads:
    """Sends requests to one signed URL."""

    url: str
    session: aiohttp.ClientSession

    async def __call__(self, data=b"x", method="PUT", headers=BLOB, **query):
        """Status and error code."""
        url = aiohttp.client.URL(self.url, encoded=True)
        if query:
            url = url.update_query(query)
        async with self.session.request(method, url, data=data, headers=headers) as response:
            body = await response.read()
            if response.status == 201:
                assert body == b""
                return 201, None
            code = response.headers["x-ms-error-code"]
            if method != "HEAD":
                assert response.content_type == "application/xml"
                assert ET.fromstring(body).findtext("Code") == code
            return response.status, code

    async def block(self, block_id, data):
        return await self(data, headers={}, comp="block", blockid=block_id)

    async def commit(self, *listed, kind="Latest"):
        items = "".join(f"<{kind}>{each}</{kind}>" for each in listed)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{items}</BlockList>'
        return await self(body.encode(), headers={}, comp="blocklist")


def block_id(number, width=6):
    return base64.b64encode(f"{number:0{width}}".encode()).decode()


@pytest.fixture
async def put(client, session):
    _, prepared = await client("GET", "/sfapi/PrepareUpload/")
    return Uploads(prepared["sasUri"], session)


@pytest.fixture
def blob(server, put):
    """The content of the blob."""

    def read():
        blob = server.storage.blobs.get(put.url.partition("?")[0].rpartition("/")[2])
        return None if blob is None or blob.content is None else blob.content.data

    return read


async def test_one_request(put, blob):
    assert await put(b"first") == (201, None)
    assert await put(b"second") == (201, None)
    assert blob() == b"second"
    assert await put(b"") == (201, None)
    assert blob() == b""


async def test_headers(put):
    data = b"some content"
    async with put.session.put(
        put.url, data=data, headers={**BLOB, "x-ms-client-request-id": "mine"}
    ) as response:
        digest = base64.b64encode(hashlib.md5(data).digest()).decode()
        assert response.headers["Content-MD5"] == digest
        assert response.headers["x-ms-client-request-id"] == "mine"
        assert response.headers["x-ms-version"] == "2019-07-07"
        assert {"ETag", "Last-Modified", "x-ms-request-id"} <= response.headers.keys()


async def test_blocks(put, blob):
    """In any order, also twice; nothing is there before the commit."""
    names = [block_id(number) for number in range(3)]
    for name, data in ((names[2], b"c"), (names[0], b"wrong"), (names[1], b"b"), (names[0], b"a")):
        assert await put.block(name, data) == (201, None)
    assert blob() is None
    assert await put.commit(*names) == (201, None)
    assert blob() == b"abc"


async def test_repeated_commits(put, blob):
    """`Latest` can be repeated. `Uncommitted` cannot: the blocks are committed then."""
    names = [block_id(number) for number in range(2)]
    for kind, again in (("Latest", (201, None)), ("Uncommitted", (400, "InvalidBlockList"))):
        for name in names:
            assert (await put.block(name, name.encode()))[0] == 201
        assert await put.commit(*names, kind=kind) == (201, None)
        assert await put.commit(*names, kind=kind) == again
        assert blob() == "".join(names).encode()
    assert await put.commit(*reversed(names), kind="Committed") == (201, None)
    assert blob() == "".join(reversed(names)).encode()


async def test_a_commit_discards_other_blocks(put):
    for number in range(2):
        await put.block(block_id(number), b"x")
    assert (await put.commit(block_id(0)))[0] == 201
    assert await put.commit(block_id(1)) == (400, "InvalidBlockList")


async def test_an_upload_with_one_request_discards_blocks(put, blob):
    await put.block(block_id(0), b"x")
    assert await put(b"whole") == (201, None)
    assert await put.commit(block_id(0)) == (400, "InvalidBlockList")
    assert blob() == b"whole"


async def test_block_ids(put):
    """Base64, of equal length, and quoted in the URL."""
    assert await put.block(block_id(1), b"x") == (201, None)
    assert await put.block(block_id(1, width=7), b"x") == (400, "InvalidBlobOrBlock")
    for wrong in ("", "x", "not base64!", "\u00e9", base64.b64encode(bytes(65)).decode()):
        assert await put.block(wrong, b"x") == (400, "InvalidQueryParameterValue")
    plus = base64.b64encode(b"\xfb\xff\xfe\xfb\xff\xfe").decode()
    assert "+" in plus
    url = aiohttp.client.URL(f"{put.url}&comp=block&blockid={plus}", encoded=True)
    async with put.session.put(url, data=b"x") as response:
        assert response.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<BlockList>",
        b"<x/>",
        b"<BlockList><Newest>a</Newest></BlockList>",
        b'<?xml version="1.0" encoding="unknown"?><BlockList/>',
    ],
)
async def test_wrong_block_lists(put, body):
    assert await put(body, headers={}, comp="blocklist") == (400, "InvalidXmlDocument")


async def test_a_block_list_with_entities(put):
    body = b'<!DOCTYPE x [<!ENTITY a "b">]><BlockList><Latest>&a;</Latest></BlockList>'
    assert await put(body, headers={}, comp="blocklist") == (400, "InvalidXmlDocument")


async def test_wrong_uploads(put, monkeypatch):
    assert await put(headers={}) == (400, "MissingRequiredHeader")
    assert await put(headers={"x-ms-blob-type": "Blob"}) == (400, "InvalidHeaderValue")
    assert await put(comp="other") == (400, "InvalidQueryParameterValue")
    assert await put(headers={**BLOB, "Content-MD5": "eA=="}) == (400, "Md5Mismatch")
    assert await put.block(block_id(1), b"") == (400, "InvalidHeaderValue")
    monkeypatch.setattr(storage, "LARGEST_BLOB", 9)
    monkeypatch.setattr(storage, "LARGEST_BLOCK", 9)
    assert await put(bytes(10)) == (413, "RequestBodyTooLarge")
    assert await put.block(block_id(1), bytes(10)) == (413, "RequestBodyTooLarge")


async def test_without_a_length(put, blob):
    """411: chunked uploads are refused."""

    async def chunks():
        yield b"a"
        yield b"b"

    assert await put(chunks()) == (411, "MissingContentLengthHeader")
    assert blob() is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_the_url_can_write_only(put, method):
    await put(b"secret")
    assert await put(None, method=method) == (403, "AuthorizationPermissionMismatch")


async def test_other_paths_and_methods(put, server):
    origin = server.storage.origin
    async with put.session.put(f"{origin}/other", data=b"") as response:
        assert (response.status, response.headers["x-ms-error-code"]) == (400, "InvalidUri")
    assert server.unknown_routes == {"PUT /other": 1}
    server.requests.clear()
    assert (await put(method="POST"))[0] == 405


async def test_signatures(put, client):
    """Each is for one blob, and for the expiry and the rights that it was made with."""
    other = Uploads((await client("GET", "/sfapi/PrepareUpload/"))[1]["sasUri"], put.session)
    swapped = other.url.partition("?")[0] + "?" + put.url.partition("?")[2]
    for wrong in (
        swapped,
        put.url.replace("sp=wl", "sp=rw"),
        put.url.replace("sig=", "sig=x"),
        put.url.partition("?")[0],
        put.url.replace("sv=", "SV="),
    ):
        assert await attrs.evolve(put, url=wrong)() == (403, "AuthenticationFailed")
    assert await put() == (201, None)


async def test_expiry(put, server):
    """By the clock, or by a call of the test; the reason is in the body."""
    server.clock.advance(3590)
    assert await put() == (201, None)
    server.clock.advance(10)
    assert await put() == (403, "AuthenticationFailed")
    async with put.session.put(put.url, data=b"x", headers=BLOB) as response:
        detail = ET.fromstring(await response.read()).findtext("AuthenticationErrorDetail")
        assert "Signature not valid in the specified time frame" in detail


async def test_expired_by_a_test(put, server, client):
    server.storage.expire_urls()
    assert await put() == (403, "AuthenticationFailed")
    new = Uploads((await client("GET", "/sfapi/PrepareUpload/"))[1]["sasUri"], put.session)
    assert await new() == (201, None)


async def test_short_lifetimes(put, server, client):
    server.behaviour.upload_expires_in = 0
    new = Uploads((await client("GET", "/sfapi/PrepareUpload/"))[1]["sasUri"], put.session)
    assert await new() == (403, "AuthenticationFailed")


@pytest.mark.parametrize(("status", "code"), [(500, "InternalServerError"), (503, "ServiceUnavailable")])
async def test_scripted_errors(put, server, blob, status, code):
    """They are XML too."""
    server.faults.add(PUT, status=status)
    assert await put() == (status, code)
    assert blob() is None
    assert await put() == (201, None)


async def test_slow_uploads(put, server, blob):
    """Slow before the content is stored, or after that."""
    hold = server.faults.hold(PUT)
    server.faults.add(PUT, delay=0.05, times=None)
    upload = asyncio.create_task(put(b"data"))
    await hold.arrived()
    assert blob() is None
    hold.release()
    assert await upload == (201, None)
    after = server.faults.hold(PUT, after=True)
    upload = asyncio.create_task(put(b"again"))
    await after.arrived()
    assert (blob(), upload.done()) == (b"again", False)
    after.release()
    assert await upload == (201, None)


@pytest.mark.parametrize(("drop", "content"), [("upload", None), ("before", None), ("after", b"data")])
async def test_lost_connections(put, server, blob, drop, content):
    """While the body is sent, before it is stored, or after that."""
    fault = server.faults.add(PUT, drop=drop, times=None)  # aiohttp repeats a PUT once
    with pytest.raises(aiohttp.ClientConnectionError):
        await put(b"data")
    assert blob() == content
    assert fault.hits == server.count(PUT) > 0
    fault.remove()
    assert server.requests[-1].size == (0 if drop == "upload" else 4)
    assert await put(b"again") == (201, None)


async def test_the_second_upload_is_lost(put, server):
    """Each request counts once."""
    fault = server.faults.add(PUT, drop="upload", nth=2, times=None)
    assert await put() == (201, None)
    with pytest.raises(aiohttp.ClientConnectionError):
        await put()
    assert (fault.calls, fault.hits) == (server.count(PUT), server.count(PUT) - 1)


async def test_a_connection_that_is_lost_in_a_large_body(put, server, blob):
    server.faults.add(PUT, drop="upload", times=None)
    with pytest.raises(aiohttp.ClientConnectionError):
        await put(BytesIO(bytes(30_000_000)))
    assert blob() is None


@pytest.mark.parametrize("header", ["Authorization", "Cookie", "Proxy-Authorization"])
async def test_credentials_make_closing_fail(client_for, session, header):
    """They belong to other hosts."""
    with pytest.raises(AssertionError, match="received credentials"):
        async with Sandbox(users=1) as server:
            client = client_for(server)
            put = Uploads((await client("GET", "/sfapi/PrepareUpload/"))[1]["sasUri"], session)
            await put(headers={**BLOB, header: "x"})
            assert [leak.headers[header] for leak in server.storage.leaks] == ["x"]


async def test_tokens_in_other_places_make_closing_fail(client_for, session):
    async with Sandbox(users=1) as server:
        client = client_for(server)
        put = Uploads((await client("GET", "/sfapi/PrepareUpload/"))[1]["sasUri"], session)
        await put(headers={**BLOB, "X-Token": f"t={client.token}"})
        await put(token=client.token)
        await put(b"fine")
        with pytest.raises(AssertionError) as caught:
            await server.aclose()
        assert client.token not in str(caught.value)
        assert len(server.storage.leaks) == 2
        server.storage.leaks.clear()


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_credentials_at_a_sandbox_in_another_thread(error):
    """Closing fails there too, and does not hide an error of the test."""

    async def leak(url):
        async with aiohttp.ClientSession() as session:
            await Uploads(url, session)(headers={**BLOB, "Authorization": "x"})

    with pytest.raises(error or AssertionError):
        with ThreadedSandbox(users=1) as server:
            asyncio.run(leak(server.storage.sign("ERI_x")))
            if error is not None:
                raise error


async def test_an_error_of_the_test_is_not_hidden(client_for, session):
    with pytest.raises(ZeroDivisionError):
        async with Sandbox(users=1) as server:
            client = client_for(server)
            put = Uploads((await client("GET", "/sfapi/PrepareUpload/"))[1]["sasUri"], session)
            await put(headers={**BLOB, "Authorization": "x"})
            raise ZeroDivisionError
