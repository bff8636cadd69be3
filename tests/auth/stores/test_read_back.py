"""Whatever the server responds with: what is accepted can be stored, and what is stored can be read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.support import TOKEN, expired, open_session, put
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import (
    FileTokenStore,
    MemoryTokenStore,
    ReadOnlyTokens,
    TokenPersistError,
    TokenSet,
    TokenStoreCorrupt,
    TransientAuthError,
)
from ezeep_async.auth.stores.document import LARGEST_DOCUMENT_BYTES, as_text, parsed, tokens_in, with_tokens
from ezeep_async.auth.tokens import LATEST, LONGEST_TEXT, LONGEST_TOKEN
from ezeep_async.sandbox import Sandbox


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = {
    "access_token": "access-2",
    "refresh_token": "refresh-2",
    "expires_in": 3600,
    "token_type": "Bearer",
    "scope": "",
}


def _json(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


RESPONSES = {
    "scope with half a character": _json(scope="\ud800"),
    "scope with a control character": _json(scope="printing\x00"),
    "scope in several lines": _json(scope="a\nb"),
    "scope of two megabytes": _json(scope="s" * 2_000_000),
    "scope of another kind": _json(scope=["printing"]),
    "token type with half a character": _json(token_type="\udfff"),
    "token type with an escape sequence": _json(token_type="\x1b[31mBearer"),
    "no token type": _json(token_type=None),
    "a large value that was not requested": _json(profile="x" * 3_000_000),
    "expires_in NaN": b'{"expires_in": NaN, ' + _json()[1:].replace(b'"expires_in": 3600, ', b""),
    "expires_in Infinity": _json().replace(b"3600", b"Infinity"),
    "expires_in 1e400": _json().replace(b"3600", b"1e400"),
    "expires_in of 400 digits": _json().replace(b"3600", b"9" * 400),
    "expires_in of 6000 digits": _json().replace(b"3600", b"9" * 6000),
    "expires_in negative": _json(expires_in=-1),
    "expires_in zero": _json(expires_in=0),
    "expires_in true": _json(expires_in=True),
    "expires_in text": _json(expires_in="soon"),
    "expires_in of ages": _json(expires_in=10**15),
    "bytes that are no UTF-8": _json(name="Mueller").replace(b"Mueller", b"M\xfcller"),
    "a line break inside of a text": _json(name="a b").replace(b"a b", b"a\nb"),
    "a line break behind the tokens": _json(access_token="access-2\r\n", refresh_token="refresh-2\n"),
    "UTF-16": _json().decode().encode("utf-16"),
    "with a byte order mark": b"\xef\xbb\xbf" + _json(),
}


@pytest.mark.slow
@pytest.mark.parametrize("body", RESPONSES.values(), ids=RESPONSES.keys())
async def test_a_response_with_something_odd_is_kept(sandbox: Sandbox, tmp_path: Path, body: bytes) -> None:
    """Its tokens are stored, and the next process reads them."""
    path = tmp_path / "tokens.json"
    await put(FileTokenStore(path), expired(sandbox.tokens()))
    sandbox.faults.add(TOKEN, status=200, body=body, content_type="application/json")
    async with open_session(sandbox, FileTokenStore(path)) as session:
        got = await session.oauth.refresh()
    assert (got.access_token, got.refresh_token) == ("access-2", "refresh-2")
    assert (got.token_type, got.scope) == ("Bearer", "printing")
    assert await FileTokenStore(path).load() == got
    assert await ReadOnlyTokens(path).load() == got
    assert path.stat().st_size < 2000
    assert sandbox.count(TOKEN) == 1


@pytest.mark.parametrize(
    "refresh_token", ["half\ud800", "line\nbreak", "x" * (LONGEST_TOKEN + 1), "\x7f", 5, None, ""], ids=repr
)
async def test_a_good_access_token_is_kept_without_a_usable_refresh_token(
    sandbox: Sandbox, tmp_path: Path, refresh_token: object
) -> None:
    """The refresh token that was sent stays, as for a response without one."""
    store = FileTokenStore(tmp_path / "tokens.json")
    old = expired(sandbox.tokens())
    await put(store, old)
    sandbox.faults.add(TOKEN, status=200, body=_json(refresh_token=refresh_token))
    async with open_session(sandbox, store) as session:
        got = await session.oauth.refresh()
    assert (got.access_token, got.refresh_token) == ("access-2", old.refresh_token)
    assert await store.load() == got


@pytest.mark.parametrize(
    "access_token", ["half\ud800", "a\nb", "x" * (LONGEST_TOKEN + 1), "ä"], ids=lambda text: ascii(text[:9])
)
async def test_an_access_token_that_cannot_be_used(
    sandbox: Sandbox, tmp_path: Path, access_token: str
) -> None:
    """It is refused when it arrives, and the stored token set stays."""
    store = FileTokenStore(tmp_path / "tokens.json")
    old = expired(sandbox.tokens())
    await put(store, old)
    sandbox.faults.add(TOKEN, status=200, body=_json(access_token=access_token), times=None)
    async with open_session(sandbox, store) as session:
        with pytest.raises(TransientAuthError, match="unusable access_token"):
            await session.oauth.refresh()
    assert await store.load() == old


# --- token sets that a program makes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: TokenSet("a" * (LONGEST_TOKEN + 1), "r", NOW),
        lambda: TokenSet("a", "r" * (LONGEST_TOKEN + 1), NOW),
        lambda: TokenSet("a", "r", NOW, scope="\ud800"),
        lambda: TokenSet("a", "r", NOW, scope="s" * (LONGEST_TEXT + 1)),
        lambda: TokenSet("a", "r", NOW, token_type="\x00"),
        lambda: attrs.evolve(TokenSet("a", "r", NOW), scope="a\tb"),
        lambda: TokenSet("a", "r", datetime(2026, 1, 1)),  # noqa: DTZ001  # no time zone on purpose
    ],
)
def test_what_no_store_could_keep_is_refused_when_it_is_made(make: Callable[[], TokenSet]) -> None:
    """Every `TokenSet` that there is can be stored."""
    with pytest.raises(ValueError):  # one message each
        make()


@pytest.mark.parametrize("value", ["soon", 5, None])
def test_an_expiry_that_is_not_a_time(value: Any) -> None:
    """Said when it is made, not when it is stored."""
    with pytest.raises(TypeError, match="expires_at"):
        TokenSet("a", "r", value)


ZONES = [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))]
TEXTS = st.text(max_size=20) | st.sampled_from(["", "\ud800", "a\nb", "x" * 5000, "\u202e"])
VALUES = TEXTS | st.none() | st.integers() | st.floats() | st.lists(TEXTS, max_size=2) | st.booleans()


@pytest.mark.parametrize("lineage", [None, ["mark"], ()])
async def test_a_lineage_as_stores_keep_it_does_not_lose_a_refresh(sandbox: Sandbox, lineage: Any) -> None:
    """It is continued when the refresh token is spent already."""
    store = MemoryTokenStore(attrs.evolve(expired(sandbox.tokens()), lineage=lineage))
    async with open_session(sandbox, store) as session:
        old = await store.load()
        assert old is not None
        new = await session.oauth.refresh()
        assert new.lineage == (*(lineage or ()), old.mark)


@pytest.mark.parametrize("lineage", ["mark", [None], 5])
def test_a_lineage_of_another_type_is_refused(lineage: Any) -> None:
    with pytest.raises(TypeError):
        TokenSet("access", "refresh", NOW, lineage=lineage)


async def test_a_token_set_without_tokens_is_not_stored(tmp_path: Path) -> None:
    """It would be refused when it is read."""
    store = FileTokenStore(tmp_path / "tokens.json")
    with pytest.raises(TokenPersistError, match="without an access token"):
        await put(store, TokenSet("", "", NOW))
    assert await store.load() is None


@given(
    end=st.datetimes(timezones=st.sampled_from(ZONES))
    | st.sampled_from([datetime.min.replace(tzinfo=zone) for zone in ZONES])
    | st.sampled_from([datetime.max.replace(tzinfo=zone) for zone in ZONES]),
    tokens=st.tuples(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.just("r")),
    expires_in=st.floats() | st.none() | st.integers(),
)
def test_every_token_set_is_read_back(
    end: datetime, tokens: tuple[str, str], expires_in: float | None
) -> None:
    """With all of its values; an end outside of 1970 to 9999 is the nearest one."""
    made = TokenSet(*tokens, end, expires_in=expires_in)
    text = as_text({}, made, ("client", "account"))
    read = tokens_in(parsed(text, "here"), "here")
    assert abs(read.expires_at - made.expires_at) < timedelta(milliseconds=1)
    assert attrs.evolve(read, expires_at=made.expires_at) == made
    assert made.expires_in is None or math.isfinite(made.expires_in)
    assert made.expires_at <= LATEST


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES), st.booleans())
def test_every_response_is_refused_or_read_back(response: dict[str, object], again: bool) -> None:
    """Nothing between: from a response to what the next process reads."""
    previous = TokenSet("a", "r", NOW) if again else None
    try:
        made = TokenSet.from_response(response, NOW, previous=previous)
    except ValueError as error:
        assert "access_token" in str(error)
        return
    read = tokens_in(parsed(as_text({}, made, None), "here"), "here")
    assert (read, read.lineage) == (made, made.lineage)


def _deep(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("note", ["x" * LARGEST_DOCUMENT_BYTES, _deep(5000)], ids=["large", "deep"])
async def test_what_else_is_in_the_file_does_not_make_it_unreadable(tmp_path: Path, note: object) -> None:
    """What another version stored there is kept, unless the token set could not be read with it."""
    path = tmp_path / "tokens.json"
    store = FileTokenStore(path)
    tokens = TokenSet("a", "r", NOW)
    await put(store, tokens)
    document = json.loads(path.read_text())
    small = {**document, "note": "kept"}
    path.write_text(json.dumps(small))
    await put(store, tokens)
    assert json.loads(path.read_text())["note"] == "kept"
    assert as_text({**document, "note": note}, tokens, None, indent=2) == as_text(
        document, tokens, None, indent=2
    )


async def test_a_file_with_an_odd_scope_is_read(tmp_path: Path) -> None:
    """As earlier versions wrote it: the tokens are good."""
    path = tmp_path / "tokens.json"
    store = FileTokenStore(path)
    await put(store, TokenSet("a", "r", NOW))
    document = json.loads(path.read_text())
    document["token"] |= {
        "scope": "\ud800",
        "token_type": "\x00",
        "expires_at": 253402300800.0,
        "lineage": [5, "~1"],
    }
    path.write_text(json.dumps(document))
    read = await FileTokenStore(path).load()
    assert read == TokenSet("a", "r", LATEST)
    assert read.lineage == ("~1",)


async def test_a_refresh_token_alone_is_enough(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is stored, read, and used to get an access token, whatever the end of the one that is missing."""
    store = FileTokenStore(tmp_path / "tokens.json")
    await put(store, attrs.evolve(sandbox.tokens(), access_token=""))
    async with open_session(sandbox, store) as session:
        await session.accounts.me()
    assert sandbox.refresh_requests == 1


@pytest.mark.parametrize("missing", ["access_token", "refresh_token", "expires_at"])
def test_2_6_a_stored_token_set_without_one_of_its_fields(missing: str) -> None:
    """2-6: it is damaged."""
    document = with_tokens({}, TokenSet("access", "refresh", datetime.now(UTC)), None)
    token = document["token"]
    assert isinstance(token, dict)
    del token[missing]
    with pytest.raises(TokenStoreCorrupt):
        tokens_in(document, "here")
