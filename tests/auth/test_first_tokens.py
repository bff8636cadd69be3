"""`tokens=` with a store that is not empty: another user is never used silently."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from helpers.support import QUICK, expired, open_session, put

from ezeep_async import (
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    TokenSet,
    TokenStore,
    TokenStoreError,
    run_sync,
)
from ezeep_async.auth.tokens import LINEAGE
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


@pytest.fixture(params=["memory", "file"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TokenStore]:
    """The same store, as each start of a program makes it."""
    if request.param == "file":
        return lambda: FileTokenStore(tmp_path / "tokens.json")
    store = MemoryTokenStore()
    return lambda: store


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.slow
async def test_the_same_tokens_at_each_start(
    sandbox: Sandbox, new_store: Callable[[], TokenStore], caplog: pytest.LogCaptureFixture
) -> None:
    """However often the store has rotated since, nothing is said; and any of the last ones is known too."""
    first = expired(sandbox.tokens())
    given = [first]
    for _ in range(LINEAGE + 3):
        async with open_session(sandbox, new_store(), tokens=first) as session:
            await session.accounts.me()
            given.append(await session.oauth.refresh())
    assert sandbox.refreshes > LINEAGE + 3
    for tokens in given[-3:]:
        async with open_session(sandbox, new_store(), tokens=tokens) as session:
            await session.accounts.me()
    assert _warnings(caplog) == []


async def test_another_token_set_is_reported(
    sandbox: Sandbox, new_store: Callable[[], TokenStore], caplog: pytest.LogCaptureFixture
) -> None:
    """Opaque tokens do not say whose they are: the store is used, as documented, and that is said."""
    await put(new_store(), sandbox.tokens())
    other = sandbox.tokens()
    async with open_session(sandbox, new_store(), tokens=other) as session:
        await session.accounts.me()
    [warning] = _warnings(caplog)
    assert "tokens= was not used" in warning
    assert "TokenStore already holds another token set" in warning
    assert other.access_token not in warning


def _jwt(subject: object, number: int = 0, issuer: str = "https://account.ezeep.com") -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part({'iss': issuer, 'sub': subject, 'jti': number})}.c2lnbmF0dXJl"


def _set(access_token: str, refresh_token: str = "") -> TokenSet:
    return TokenSet(access_token, refresh_token, datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.may_block
@pytest.mark.parametrize("blocking", [False, True])
def test_another_user_is_refused(tmp_path: Path, blocking: bool) -> None:
    """JWTs of two subjects: every call raises, nothing is sent, and the store keeps what it has."""
    import asyncio

    from ezeep_async.testing import ThreadedSandbox

    store = FileTokenStore(tmp_path / "tokens.json")
    asyncio.run(put(store, _set(_jwt("alice"), "refresh-a")))

    with ThreadedSandbox() as sandbox:
        session = EzeepSession(
            sandbox.oauth_app,
            store=store,
            tokens=_set(_jwt("bob"), "refresh-b"),
            endpoints=sandbox.endpoints,
            settings=QUICK,
        )

        async def use() -> None:
            with pytest.raises(TokenStoreError, match="to another user"):
                async with session:
                    pass
            with pytest.raises(TokenStoreError, match="to another user") as caught:
                await session.accounts.me()
            assert "refresh-" not in str(caught.value)
            await session.aclose()

        if blocking:
            blocked = run_sync(session)
            with pytest.raises(TokenStoreError, match="to another user"):
                blocked.accounts.me()
            blocked.close()
        else:
            asyncio.run(use())
        assert list(sandbox.requests) == []
    loaded = asyncio.run(store.load())
    assert loaded is not None
    assert loaded.refresh_token == "refresh-a"


@pytest.mark.parametrize(
    ("stored", "given", "outcome"),
    [
        (_set(_jwt("alice", 1), "r1"), _set(_jwt("alice", 2), "r2"), "same"),
        (_set(_jwt(5, 1)), _set(_jwt(5, 2)), "same"),
        (_set("opaque", "r1"), _set("another", "r1"), "same"),
        (_set("opaque", "r1"), _set("opaque"), "same"),
        (_set(_jwt("alice"), "r1"), _set("opaque", "r2"), "unknown"),
        (_set(_jwt("alice"), "r1"), _set(_jwt("bob", issuer="https://elsewhere.example"), "r2"), "unknown"),
        (_set(_jwt(None), "r1"), _set(_jwt("bob"), "r2"), "unknown"),
        (_set("a.b.c", "r1"), _set("a.b.d", "r2"), "unknown"),
        (_set(".." , "r1"), _set("a.W10.c", "r2"), "unknown"),
        (_set(_jwt("alice")), _set(_jwt("bob")), "another"),
        (_set(_jwt(5)), _set(_jwt(6)), "another"),
    ],
)  # shorter than one item a line  # fmt: skip
async def test_what_is_known_of_two_token_sets(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, stored: TokenSet, given: TokenSet, outcome: str
) -> None:
    """Equal values, one subject, two subjects, or no subject."""
    session = open_session(sandbox, MemoryTokenStore(stored), tokens=given)
    if outcome == "another":
        with pytest.raises(TokenStoreError, match="to another user"):
            async with session:
                pass
        await session.aclose()
    else:
        async with session:
            assert await session._core.stored() == stored
    assert bool(_warnings(caplog)) == (outcome == "unknown")


async def test_a_store_that_was_put_back(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """A backup holds an older set than `tokens=`: it is the same user."""
    old = sandbox.tokens()
    store = MemoryTokenStore(old)
    async with open_session(sandbox, store) as session:
        new = await session.oauth.refresh()
    assert new.lineage == (old.mark,)
    async with open_session(sandbox, MemoryTokenStore(attrs.evolve(old)), tokens=new):
        pass
    assert _warnings(caplog) == []
