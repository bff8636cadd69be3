"""`TokenSet`: its values, its repr, and how it is made from a response."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path

import pytest

from ezeep_async import EzeepSession, MemoryTokenStore, OAuthApp, TokenSet, TokenStore
from ezeep_async.auth.stores.file import FileTokenStore


NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FROM_CODE = {
    "access_token": "eyJ0eXAiO...",
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": "printing",
    "refresh_token": "erliDdAb...",
}


def test_from_the_documented_answer() -> None:
    """The two responses of the seed document, one after the other: the empty scope of the second changes nothing."""
    first = TokenSet.from_response(FROM_CODE, now=NOW)
    assert (first.access_token, first.refresh_token, first.scope) == (
        "eyJ0eXAiO...",
        "erliDdAb...",
        "printing",
    )
    assert first.expires_at == NOW + timedelta(hours=1)
    assert first.expires_in == 3600
    response = {**FROM_CODE, "access_token": "eyJ0eXAiOiJ...", "scope": "", "refresh_token": "vT5GTKk8..."}
    second = TokenSet.from_response(response, now=NOW, previous=first)
    assert (second.refresh_token, second.scope) == ("vT5GTKk8...", "printing")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (60, 60),
        ("60", 60),
        (60.5, 60.5),
        (None, None),
        ("x", None),
        (0, None),
        (-5, None),
        ("nan", None),
        (True, None),
    ],
)
def test_1_18_expires_in_in_every_form(given: object, seconds: float | None) -> None:
    """1-18: a number, a text, a fraction; anything else counts as the documented hour."""
    tokens = TokenSet.from_response({**FROM_CODE, "expires_in": given}, now=NOW)
    assert tokens.expires_in == seconds
    assert tokens.expires_at == NOW + timedelta(seconds=seconds or 3600)


@pytest.mark.parametrize("response", [{}, {"access_token": ""}, {"access_token": 5}, {"access_token": None}])
def test_a_response_without_an_access_token(response: dict[str, object]) -> None:
    """It is not a login."""
    with pytest.raises(ValueError, match="access_token"):
        TokenSet.from_response(response)


def test_8_3_no_secret_in_the_repr() -> None:
    """8-3: fingerprints, which distinguish two tokens and reveal nothing."""
    tokens = TokenSet("secret-access", "secret-refresh", NOW)
    text = repr(tokens) + str(tokens) + f"{tokens}"
    assert "secret" not in text
    assert repr(tokens) != repr(TokenSet("secret-other", "secret-refresh", NOW))


def test_8_3_the_repr_of_a_store_in_memory_does_not_depend_on_its_token_set() -> None:
    """8-3: log lines contain the repr of the store from the start of the session, when it had another token set."""
    tokens = TokenSet("secret-access", "secret-refresh", NOW)
    assert repr(MemoryTokenStore(tokens)) == repr(MemoryTokenStore()) == "MemoryTokenStore()"


def test_times_are_aware_and_utc() -> None:
    """A naive time is refused; another zone becomes UTC."""
    with pytest.raises(ValueError, match="aware"):
        TokenSet("a", "r", datetime(2026, 1, 1))  # noqa: DTZ001  # no time zone on purpose
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    assert TokenSet("a", "r", local).expires_at.tzinfo is UTC


def test_8_6_copies_are_equal() -> None:
    """8-6: pickled and copied; a session is not, and says why."""
    tokens = TokenSet("a", "r", NOW, expires_in=5.0)
    assert pickle.loads(pickle.dumps(tokens)) == tokens == copy.deepcopy(tokens)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(EzeepSession(OAuthApp("id")))


def test_both_stores_are_token_stores(tmp_path: Path) -> None:
    """The protocol that a third-party store has to implement."""
    assert isinstance(MemoryTokenStore(), TokenStore)
    assert isinstance(FileTokenStore(tmp_path / "x"), TokenStore)


def test_the_bundled_fixtures_are_the_documents(tmp_path: Path) -> None:
    """The sandbox's data is the seed document's first page: 134 users, 20 of them on it."""
    page = json.loads((files("ezeep_async.sandbox") / "data" / "users_page_1.json").read_text())
    assert (page["count"], len(page["results"])) == (134, 20)
