"""Bodies that are meant to hurt: too large, too deep, not quite JSON. Bounded memory, one clear error, and on we go.

Requirements 3-7, 3-8, 3-9, 8-1 and 8-3.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle

import pytest
from helpers.raw_server import GROUP, ID, NEXT, Exchange, Play, PlayServer, http, says
from helpers.stub_servers import ACCESS, no_jitter, session_on
from helpers.support import bounded

from ezeep_async import ApiError, BadRequest, EzeepError, NotFound, TransientAuthError, UnexpectedResponse


MEGABYTE = 1_000_000
BOUND = 64 * MEGABYTE
"""A body of the largest kind (16 MB), its pieces before they are joined, and as much again."""


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


# --- too large


def pours(head: bytes, before: bytes = b"", after: bytes = b"") -> Play:
    """200 MB in pieces of 1 MB, each with something around it."""
    piece = before + b" " * MEGABYTE + after

    async def play(exchange: Exchange) -> None:
        await exchange.send(head)
        for _ in range(200):
            await exchange.send(piece)

    return play


def bomb() -> bytes:
    """200 MB of spaces, as 200 KB of gzip."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as file:
        for _ in range(200):
            file.write(b" " * MEGABYTE)
    return packed.getvalue()


OVERSIZED: dict[str, Play] = {
    "a length of 200 MB": pours(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n"),
    "chunks of 200 MB": pours(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % MEGABYTE, b"\r\n"
    ),
    "200 MB until the end": pours(b"HTTP/1.0 200 OK\r\n\r\n"),
    "an error of 200 MB": pours(b"HTTP/1.1 404 Not Found\r\nContent-Length: 200000000\r\n\r\n"),
    "a gzip bomb": says(http(bomb(), "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("fault", OVERSIZED)
async def test_3_7_an_oversized_body_is_not_read_to_its_end(fault: str) -> None:
    """3-7: `UnexpectedResponse` that names the call, memory bounded, and the next call works."""
    async with PlayServer(OVERSIZED[fault]) as server, session_on(server.url, retries=0) as session:
        with bounded(BOUND), pytest.raises(UnexpectedResponse, match=r"GET .*larger than") as caught:
            await session.groups.list().collect()
        assert caught.value.excerpt == ""
        assert (await session.groups.get(ID)).name == "g"


@pytest.mark.slow
@pytest.mark.parametrize("fault", OVERSIZED)
async def test_1_15_nor_one_of_the_token_endpoint(fault: str) -> None:
    """1-15: there it is `TransientAuthError`, and the token set works when the server does."""
    play = OVERSIZED[fault]
    async with PlayServer(play, play) as server, session_on(server.url) as session:
        with bounded(BOUND), pytest.raises(TransientAuthError):
            await session.oauth.refresh()
        assert (await session.oauth.refresh()).access_token == "access-2"


MANY = 500_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("element", "problem"),
    [
        (b"1", r"Expected `object`, got `int` at \$\.results\[0\]"),
        (b"{}", r"missing required field `id` at \$\.results\[0\]"),
    ],
)
async def test_8_1_a_page_of_nothing_but_mistakes_costs_one_mistake(element: bytes, problem: str) -> None:
    """8-1: half a million rows that do not fit are reported by the first one, not by half a million errors."""
    rows = b'{"results":[' + b",".join([element] * MANY) + b"]}"
    async with PlayServer(says(http(rows))) as server, session_on(server.url, retries=0) as session:
        with bounded(BOUND), pytest.raises(UnexpectedResponse, match=problem):
            await session.users.list().collect()
        assert (await session.groups.get(ID)).name == "g"


@pytest.mark.parametrize("element", [b"[],", b"{},", b'"a",', b'{"a":{}},'])
async def test_8_1_a_large_response_of_any_shape_is_not_decoded_into_plain_values(element: bytes) -> None:
    """8-1: 14 MB of brackets would be 400 MB of objects, and seconds in which the event loop stands still."""
    body = b"[" + element * (14_000_000 // len(element)) + b"0]"
    async with PlayServer(says(http(body))) as server, session_on(server.url, retries=0) as session:
        with bounded(BOUND), pytest.raises(UnexpectedResponse, match=r"GET /x/: .* request less at once"):
            await session.request("GET", "/x/")
        assert (await session.groups.get(ID)).name == "g"


async def test_8_1_two_megabytes_are_decoded() -> None:
    body = b"[" + b'"' + b"x" * 2_000_000 + b'"]'
    async with PlayServer(says(http(body))) as server, session_on(server.url) as session:
        assert await session.request("GET", "/x/") == ["x" * 2_000_000]


async def test_1_15_a_token_set_in_many_megabytes_is_read() -> None:
    """1-15: a refresh token was spent for it. What else the response has is not decoded."""
    body = b'{"access_token":"a","refresh_token":"b","x":[' + b"[]," * 4_000_000 + b"0]}"
    async with PlayServer(says(http(body))) as server, session_on(server.url) as session:
        with bounded(BOUND):
            assert (await session.oauth.refresh()).access_token == "a"


async def test_1_15_many_megabytes_without_a_token_set_are_refused() -> None:
    """1-15: the token set in the store is kept."""
    body = b'{"access_token":[1],"x":[' + b"[]," * 4_000_000 + b"0]}"
    play = says(http(body))
    async with PlayServer(play, play) as server, session_on(server.url) as session:
        with bounded(BOUND), pytest.raises(TransientAuthError, match="not a JSON object with a token set"):
            await session.oauth.refresh()
        assert (await session.oauth.refresh()).access_token == "access-2"


async def test_8_1_the_first_mistake_is_the_one_that_is_named() -> None:
    """8-1: by its JSON path, however deep in the page."""
    good = f'{{"id":"{ID}","groups":[]}}'
    bad = f'{{"id":"{ID}","groups":[{{"group_id":"{ID}"}},{{"group_id":7}}]}}'
    rows = f'{{"count":"3","results":[{good},{bad},1]}}'.encode()
    async with PlayServer(says(http(rows))) as server, session_on(server.url) as session:
        with pytest.raises(UnexpectedResponse) as caught:
            await session.users.list().collect()
        assert caught.value.path == "$.results[1].groups[1].group_id"


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 404])
async def test_3_8_a_large_error_is_kept_as_an_excerpt(status: int) -> None:
    """3-8: an error of 12 MB is not taken apart field by field: its beginning is kept, as text."""
    body = b'{"name":[' + b",".join([b'"no"'] * 2_400_000) + b"]}"
    play = says(http(body, status=f"{status} No"))
    async with PlayServer(play, play) as server, session_on(server.url) as session:
        with bounded(BOUND), pytest.raises((BadRequest, NotFound)) as caught:
            await session.groups.get(ID)
        error = caught.value
        assert isinstance(error, ApiError)
        assert error.body == body[:4096].decode()
        assert error.field_errors == {}
        with bounded(BOUND), pytest.raises(TransientAuthError):
            await session.oauth.refresh()
        assert (await session.oauth.refresh()).access_token == "access-2"


async def test_1_15_a_refusal_of_a_megabyte_is_no_refusal() -> None:
    """1-15: what says `invalid_grant` in a megabyte is no RFC 6749 error, and does not end the token set."""
    body = b'{"error":"invalid_grant","error_description":"' + b"x" * MEGABYTE + b'"}'
    async with PlayServer(says(http(body, status="400 Bad Request"))) as server:
        async with session_on(server.url) as session:
            with pytest.raises(TransientAuthError):
                await session.oauth.refresh()
            assert (await session.oauth.refresh()).access_token == "access-2"


# --- bodies that grow


@pytest.mark.slow
async def test_3_8_a_long_name_is_not_repeated_for_each_of_its_mistakes() -> None:
    """3-8: 40 kB of a field's name around 20 000 mistakes would be 800 MB of names."""
    body = b'{"' + b"K" * 40_000 + b'":[' + b",".join([b'{"":1}'] * 20_000) + b"]}"
    assert len(body) < 256 * 1024
    async with PlayServer(says(http(body, status="400 No"))) as server, session_on(server.url) as session:
        with bounded(50_000_000), pytest.raises(BadRequest) as caught:
            await session.groups.get(ID)
        assert len(caught.value.field_errors) <= 1000
        assert {len(name) for name in caught.value.field_errors} == {200}
        assert caught.value.body == json.loads(body)


SIZE = 14_000_000
ROW = b'{"id":1}'
LARGE = {
    "lists": b'{"results":[' + ROW + b'],"x":[' + b"[]," * (SIZE // 3) + b"1]}",
    "escapes": b'{"results":[' + ROW + b'],"x":["' + rb"\u0041" * (SIZE // 6) + b'"]}',
    "short texts": b"[" + rb'"\n",' * (SIZE // 5) + b"1]",
}


@pytest.mark.parametrize("fault", LARGE)
async def test_3_7_8_1_a_large_body_is_not_made_larger(fault: str) -> None:
    """3-7, 8-1: 14 MB that are no page take their own size and the pieces that they came in, not ten times that."""
    async with PlayServer(says(http(LARGE[fault]))) as server, session_on(server.url) as session:
        with (
            bounded(60_000_000),
            pytest.raises(UnexpectedResponse, match=r"documented shape|not JSON") as caught,
        ):
            await session.groups.list().collect()
        assert len(caught.value.excerpt) == 4096
        assert (await session.groups.get(ID)).name == "g"


@pytest.mark.slow
@pytest.mark.parametrize("status", ["200 OK", "404 No"])
@pytest.mark.parametrize("escaped", [False, True])
async def test_8_3_no_excerpt_ends_in_half_a_token(status: str, escaped: bool) -> None:
    """8-3: wherever an excerpt, or the piece of the body that it is made of, ends: the token is not to be read off it."""
    token = "".join(f"\\u{ord(letter):04x}" for letter in ACCESS).encode() if escaped else ACCESS.encode()
    for shift in range(0, len(token), 11):
        body = b'{"x":["' + b"y" * shift + token * 9000 + b'"'
        async with PlayServer(says(http(body, status=status))) as server, session_on(server.url) as session:
            with pytest.raises((UnexpectedResponse, NotFound)) as caught:
                await session.groups.get(ID)
        error = caught.value
        text = error.excerpt if isinstance(error, UnexpectedResponse) else str(error.body)
        assert len(text) > 100
        assert set(text[7:]) <= set("y*")


# --- too deep


def nested(opening: bytes, closing: bytes, levels: int) -> bytes:
    return opening * levels + b"1" + closing * levels


DEEP = {
    "arrays": nested(b"[", b"]", 10_000),
    "objects": nested(b'{"detail":', b"}", 10_000),
    "arrays in a field that is not read": GROUP[:-1] + b',"zzz":' + nested(b"[", b"]", 10_000) + b"}",
    "arrays of a page": b'{"results":' + nested(b"[", b"]", 10_000) + b"}",
}


@pytest.mark.parametrize("fault", DEEP)
async def test_8_1_ten_thousand_levels_are_an_error_of_ours(fault: str) -> None:
    """8-1: no `RecursionError`: `UnexpectedResponse`; at the token endpoint `TransientAuthError`."""
    play = says(http(DEEP[fault]))
    async with PlayServer(play, play, play, play, play) as server, session_on(server.url) as session:
        for call in (
            lambda: session.groups.get(ID),
            lambda: session.users.list().collect(),
            lambda: session.request("GET", "/x/"),
        ):
            with pytest.raises(UnexpectedResponse):
                await call()
        with pytest.raises(TransientAuthError):
            await session.oauth.refresh()
        assert (await session.oauth.refresh()).access_token == "access-2"
        assert (await session.groups.get(ID)).name == "g"


@pytest.mark.parametrize("levels", [31, 33, 500, 10_000])
@pytest.mark.parametrize("opening", [b"[", b'{"detail":', b'{"x":'])
async def test_3_8_8_6_an_error_with_a_deeply_nested_body_prints_and_pickles(
    levels: int, opening: bytes
) -> None:
    """3-8, 8-6: however deep an error's body is: `NotFound`, which pickles and prints."""
    body = nested(opening, b"]" if opening == b"[" else b"}", levels)
    async with PlayServer(says(http(body, status="404 No"))) as server, session_on(server.url) as session:
        with pytest.raises(NotFound) as caught:
            await session.groups.get(ID)
        error = pickle.loads(pickle.dumps(caught.value))
        assert repr(error.body) == repr(caught.value.body)
        assert isinstance(error.body, str) == (levels > 32)
        assert (await session.groups.get(ID)).name == "g"


# --- not quite JSON

ODD = {
    "invalid UTF-8": b'{"id":"\xff"}',
    "UTF-16": GROUP.decode().encode("utf-16"),
    "NaN": b'{"id":NaN}',
    "Infinity": GROUP[:-1] + b',"num_members":-Infinity}',
    "a number beyond floats": GROUP[:-1] + b',"num_members":1e999}',
    "a number of a million digits": GROUP[:-1] + b',"num_members":' + b"9" * MEGABYTE + b"}",
    "a count of a million digits, as a string": GROUP[:-1] + b',"num_members":"' + b"9" * MEGABYTE + b'"}',
    "half of a surrogate pair": GROUP[:-1] + b',"description":"\\ud800"}',
    "two values": GROUP + GROUP,
    "a number": b"5",
    "null": b"null",
    "nothing": b"",
    "blanks": b" \r\n\t",
}


@pytest.mark.parametrize("fault", ODD)
async def test_8_1_what_is_not_quite_json_is_unexpected(fault: str) -> None:
    """8-1: `UnexpectedResponse` from every decoder, `TransientAuthError` from the token endpoint."""
    play = says(http(ODD[fault]))
    async with PlayServer(play, play, play, play) as server, session_on(server.url) as session:
        for call in (lambda: session.groups.get(ID), lambda: session.users.list().collect()):
            with pytest.raises(UnexpectedResponse):
                await call()
        with pytest.raises(TransientAuthError):
            await session.oauth.refresh()
        assert (await session.oauth.refresh()).access_token == "access-2"
        assert (await session.groups.get(ID)).name == "g"


BOM = b"\xef\xbb\xbf"
TWICE = b'{"id":"0","name":"first","expires_in":1,' + GROUP[1:]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (BOM + GROUP, BOM + NEXT),
        (TWICE, b'{"access_token":"access-1",' + NEXT[1:]),
        (GROUP[:-1] + b',"num_members":' + b"9" * 30 + b"}", NEXT[:-1] + b',"zzz":' + b"9" * 30 + b"}"),
    ],
    ids=["a byte order mark", "names given twice", "a number of 30 digits"],
)
async def test_8_1_what_is_odd_but_plain_is_read(body: bytes, tokens: bytes) -> None:
    """8-1: a byte order mark is ignored (RFC 8259 section 8.1), of a name given twice the last counts: a login that
    comes in such a body is not thrown away."""
    async with PlayServer(says(http(body)), says(http(tokens))) as server, session_on(server.url) as session:
        assert (await session.groups.get(ID)).name == "g"
        assert (await session.oauth.refresh()).access_token == "access-2"
        assert len(server.requests) == 2


# --- headers in other letters


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK"])
async def test_8_6_an_error_with_headers_that_are_not_utf8_can_be_printed(status: str) -> None:
    """8-6, 8-4: bytes in a request id that are no UTF-8 do not keep an error from being written down."""
    headers = ("X-Request-ID: \xff\xfe", "X-Other: \xff", "Retry-After: \xff")
    async with PlayServer(says(http(b"<html>", *headers, status=status))) as server:
        async with session_on(server.url) as session:
            with pytest.raises(EzeepError) as caught:
                await session.groups.get(ID)
            error = caught.value
            assert isinstance(error, ApiError | UnexpectedResponse)
            assert error.request_id
            text = f"{error} {error.request_id} {dict(getattr(error, 'headers', {}))}"
            assert text.encode()
