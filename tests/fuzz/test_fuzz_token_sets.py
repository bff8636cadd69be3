"""Input from the account service, browsers and stores: a token set, or an error of the SDK without secrets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.fuzzing import (
    SECRETS,
    bodies,
    headers,
    json_values,
    leaks,
    oauth_paths,
    response,
    shown,
    spelled,
    statuses,
)
from helpers.support import Clock
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import (
    AuthorizationDenied,
    EzeepError,
    ReadOnlyTokens,
    TokenSet,
    TokenStoreCorrupt,
    TokenStoreError,
    UnexpectedResponse,
)
from ezeep_async._wire.requests import Phase, Request, oauth_form
from ezeep_async._wire.responses import RawResponse
from ezeep_async.auth.app import AuthorizationRequest, code_from_callback
from ezeep_async.auth.logs import logger
from ezeep_async.auth.stores.document import SCHEMA_VERSION, check, owner_of, parsed, tokens_in, with_tokens
from ezeep_async.auth.token_endpoint import TOKEN_PATH, TokenEndpoint, pairing_from
from ezeep_async.errors import AuthenticationError


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PREVIOUS = TokenSet("old-access", "old-refresh", NOW)
ANSWER = {
    "access_token": "PLANTED-access/+==",
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": "printing",
    "refresh_token": "PLANTED-refresh,;'x",
}
FORM = {
    "grant_type": "refresh_token", "scope": "printing", "refresh_token": SECRETS[0], "password": SECRETS[1],
    "code": SECRETS[2],
}  # shorter than one item a line  # fmt: skip
REFUSALS: list[Any] = [
    {"error": "invalid_grant", "error_description": "used"},
    {"error": "authorization_pending"},
    {"error": "temporarily_unavailable"},
    {"error": "invalid_client", "error_uri": "https://x.example/"},
]


def endpoint(status: int, given: dict[str, str], body: bytes) -> TokenEndpoint:
    """An endpoint with one canned response."""

    async def send(request: Request, phase: Phase) -> RawResponse:
        return response(status, given, body, request.secrets)

    return TokenEndpoint(send, Clock(), 10.0, 10.0, logger)


def usable(tokens: TokenSet, *, is_stored: bool = False) -> None:
    """A token set that the rest of the SDK can use."""
    assert tokens.access_token or (is_stored and tokens.refresh_token)  # then the first call refreshes it
    assert tokens.expires_at.tzinfo is UTC
    assert tokens.expires_in is None or 0 < tokens.expires_in < float("inf")
    assert min(60.0, (tokens.expires_in or 3600.0) / 5) > 0
    f"Bearer {tokens.access_token}".encode("ascii")
    oauth_form(TOKEN_PATH, {"scope": tokens.scope, "refresh_token": tokens.refresh_token})
    assert tokens_in(json.loads(json.dumps(with_tokens({}, tokens, None))), "here") == tokens


@given(status=st.integers(200, 299), given=headers, body=bodies(ANSWER, *REFUSALS))
async def test_1_18_fuzz_token_responses(status: int, given: dict[str, str], body: bytes) -> None:
    """1-18, 8-1, 8-3: any 2xx response: tokens, or `AuthenticationError`, which shows nothing of the response."""
    try:
        tokens = await endpoint(status, given, body).tokens({}, PREVIOUS)
    except AuthenticationError as error:
        assert "PLANTED" not in shown(error)
        assert "\n" not in str(error)
    else:
        usable(tokens)
        assert "PLANTED" not in repr(tokens)


@pytest.mark.slow
@given(answer=st.dictionaries(st.sampled_from([*ANSWER]), json_values))
def test_1_18_fuzz_token_set_from_response(answer: dict[str, Any]) -> None:
    """1-18: any mapping: a token set, or `ValueError`, as documented."""
    try:
        tokens = TokenSet.from_response(answer, NOW)
    except ValueError as error:
        access = answer.get("access_token")
        assert not isinstance(access, str) or len(access) < 12 or access not in str(error)
    else:
        usable(tokens)


@pytest.mark.slow
@given(status=statuses, given=headers, body=bodies(ANSWER, *REFUSALS), path=oauth_paths, data=st.data())
async def test_1_15_fuzz_refused_grants(
    status: int, given: dict[str, str], body: bytes, path: str, data: st.DataObject
) -> None:
    """1-15, 8-3: any refusal: an `AuthenticationError`; without the sent values and without tokens of the response."""
    if data.draw(st.booleans()):
        said = data.draw(st.sampled_from(SECRETS).flatmap(spelled))
        body = (
            f'{{"error":"invalid_grant","error_description":"bad {said}","refresh_token":"PLANTED"}}'.encode()
        )
    try:
        await endpoint(status, given, body).post(path, FORM)
    except AuthenticationError as error:
        text = shown(error)
        assert leaks(text) == []
        assert "\n" not in str(error)
        if isinstance(json_or_none(body), dict) and json_or_none(body).keys() >= ANSWER.keys():
            assert "PLANTED" not in text
    else:
        assert 200 <= status < 300


def json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


@pytest.mark.parametrize(
    "written",
    [
        json.dumps(ANSWER),
        json.dumps(ANSWER).replace("/", "\\/"),
        str(ANSWER),
        "access_token=PLANTED-access&refresh_token=PLANTED-refresh",
        json.dumps(ANSWER)[:-5],
        json.dumps({**ANSWER, "access_token": [[{"x": "PLANTED"}]]}),
    ],
)
@pytest.mark.parametrize("status", [400, 401, 500, 502])
async def test_8_3_a_refusal_that_contains_a_token_set_does_not_show_it(status: int, written: str) -> None:
    """8-3: tokens may contain any visible character. They are redacted completely."""
    with pytest.raises(AuthenticationError) as caught:
        await endpoint(status, {}, written.encode()).post(TOKEN_PATH, FORM)
    text = shown(caught.value)
    assert [part for part in ("PLANTED", "-access", "/+==", ",;'x") if part in text] == []


@given(
    status=statuses,
    given=headers,
    body=bodies({"pairing_code": "PLANTED", "auth_url": "https://x.example/PLANTED"}),
)
def test_1_17_fuzz_pairing_responses(status: int, given: dict[str, str], body: bytes) -> None:
    """8-1, 8-3: any response to a pairing: two strings, or `UnexpectedResponse`."""
    try:
        code, url = pairing_from(response(status, given, body))
    except UnexpectedResponse as error:
        assert "PLANTED" not in shown(error)
    else:
        assert isinstance(code, str)
        assert isinstance(url, str)


# --- browsers

REQUEST = AuthorizationRequest(
    "https://x.example/", "PLANTED-state", "PLANTED-verifier", "https://app.example/back"
)
query_words = st.sampled_from(["state", "code", "error", "error_description", "x"])
query_values = st.text(max_size=20) | st.sampled_from(
    ["PLANTED-state", "PLANTED-code", "PLANTED-verifier", "%", "%ff"]
)
callbacks = (
    st.text(max_size=60)
    | st.lists(st.tuples(query_words, query_values), max_size=5).map(
        lambda pairs: "https://app.example/back?" + "&".join(f"{name}={value}" for name, value in pairs)
    )
    | st.sampled_from(["http://[::1/?state=x", "http://a:PLANTED-code/?state=x", "http://x:99999999/?code=PLANTED-code"])
)  # shorter than one item a line  # fmt: skip


@given(callback=callbacks)
def test_9_fuzz_redirects(callback: str) -> None:
    """RFC 6749 4.1.2: any redirect address: the code, or `AuthorizationDenied` without secrets."""
    try:
        code = code_from_callback(callback, REQUEST)
    except AuthorizationDenied as error:
        text = shown(error)
        assert leaks(text, ("PLANTED-state", "PLANTED-verifier")) == []
        assert "code=PLANTED-code" not in callback or "PLANTED-code" not in text
        assert "\n" not in str(error)
        assert len(str(error)) < 600
    else:
        assert code
        assert "state=PLANTED-state" in callback


# --- stores

OWNER = owner_of("client", "https://account.ezeep.com")
STORED = with_tokens({}, TokenSet("PLANTED-access", "PLANTED-refresh", NOW, expires_in=3600.0), OWNER)


@given(body=bodies(STORED, {"version": SCHEMA_VERSION, "token": STORED["token"]}))
def test_2_fuzz_stored_documents(body: bytes) -> None:
    """8-1, 8-3: any token file: a token set that works, or `TokenStoreError`, which shows nothing of it."""
    try:
        document = parsed(body, "here")
        check(document, OWNER, "here")
        tokens = tokens_in(document, "here")
    except TokenStoreError as error:
        assert "PLANTED" not in shown(error)
    else:
        usable(tokens, is_stored=True)


@pytest.mark.parametrize("value", ["NaN", "1e400", "1" + "0" * 400, "-5", "0", "true"])
def test_2_an_invalid_stored_lifetime_counts_as_unknown(value: str) -> None:
    """2: an invalid lifetime in a token file prevents neither a call nor a refresh."""
    text = json.dumps(STORED).replace('"expires_in": 3600.0', f'"expires_in": {value}')
    tokens = tokens_in(parsed(text, "here"), "here")
    assert tokens.expires_in is None
    usable(tokens)


@pytest.mark.slow
@given(
    values=st.dictionaries(
        st.sampled_from(["access_token", "refresh_token", "expires_at", "expires_in", "scope", "token_type"]),
        json_values
        | st.sampled_from(["PLANTED\x01", "PLANTED-ä", "0001-01-01T00:00:00+23:59", 10**400, "1e400"]),
    )
)
async def test_2_13_fuzz_read_only_token_sets(values: dict[str, Any]) -> None:
    """2-13, 8-3: any mapping: a token set, None, or `TokenStoreCorrupt`."""
    try:
        tokens = await ReadOnlyTokens(values).load()
    except EzeepError as error:
        assert type(error) is TokenStoreCorrupt
        assert "PLANTED" not in shown(error)
    else:
        if tokens is not None:
            usable(tokens)
