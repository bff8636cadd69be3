"""A login that has ended is stored as ended: no other process and no later one sends its refresh token again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from helpers.support import ME, TOKEN, Clock, expired, open_session, put
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ezeep_async import (
    AuthenticationError,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    ReadOnlyTokens,
    ReauthorizationRequired,
    SQLTokenStore,
    TokenSet,
    TokenStoreError,
    TransientAuthError,
)
from ezeep_async.auth import exchange
from ezeep_async.auth.tokens import LATEST
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


@asynccontextmanager
async def another_process(sandbox: Sandbox, path: Path) -> AsyncIterator:
    """A session that knows nothing of earlier ones but the file."""
    exchange._of_stores.clear()
    async with open_session(sandbox, FileTokenStore(path)) as session:
        yield session


@pytest.fixture
async def dead(sandbox: Sandbox, tmp_path: Path) -> Path:
    """A file with a token set that the server has ended."""
    tokens = expired(sandbox.tokens())
    sandbox._grants.revoke(tokens.refresh_token)
    await put(FileTokenStore(tmp_path / "login.json"), tokens)
    return tmp_path / "login.json"


async def test_1_21_the_refresh_token_is_sent_once_by_all_processes(sandbox: Sandbox, dead: Path) -> None:
    """Also for an explicit refresh. The error is the one of a refusal."""
    for number in range(4):
        async with another_process(sandbox, dead) as session:
            with pytest.raises(ReauthorizationRequired) as caught:
                await session.accounts.me()
            assert caught.value.error == "invalid_grant"
            assert ("login has ended" in str(caught.value)) == (number > 0)
            with pytest.raises(ReauthorizationRequired):
                await session.oauth.refresh()
    assert sandbox.refresh_requests == 1
    assert sandbox.count(ME) == 0
    assert json.loads(dead.read_text())["token"]["ended"] is True


async def test_a_new_login_is_used_at_once(sandbox: Sandbox, dead: Path) -> None:
    """By the session that logs in, and by others. The mark is gone."""
    sandbox.behaviour.password_grant = True
    async with another_process(sandbox, dead) as session, another_process(sandbox, dead) as other:
        for each in (session, other):
            with pytest.raises(ReauthorizationRequired):
                await each.accounts.me()
        await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        await session.accounts.me()
        await other.accounts.me()
        await other.oauth.refresh()
    assert "ended" not in json.loads(dead.read_text())["token"]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/logins.db")
    await SQLTokenStore.create_table(engine)
    yield engine
    await engine.dispose()


@pytest.mark.parametrize("kind", ["file", "sql", "memory"])
async def test_a_new_login_that_is_passed_as_tokens_is_used(
    sandbox: Sandbox, tmp_path: Path, engine: AsyncEngine, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """`tokens=` replaces a token set whose login has ended. One that is older does not."""
    memory = MemoryTokenStore()
    store = {
        "file": lambda: FileTokenStore(tmp_path / "login.json"),
        "sql": lambda: SQLTokenStore(engine, "user"),
        "memory": lambda: memory,
    }[kind]
    old = expired(sandbox.tokens())
    async with open_session(sandbox, store(), tokens=old) as session:
        await session.oauth.refresh()
        stored = await session.oauth.refresh()
    sandbox._grants.revoke(stored.refresh_token)
    for tokens in (None, old):
        async with open_session(sandbox, store(), tokens=tokens) as session:
            with pytest.raises(ReauthorizationRequired):
                await session.oauth.refresh()
    new = sandbox.tokens()
    for _ in range(2):
        async with open_session(sandbox, store(), tokens=new) as session:
            await session.accounts.me()
            await session.oauth.refresh()
            assert (kept := await store().load())
            assert not kept.ended
            assert new.mark in kept.lineage
    assert caplog.text.count("tokens= replaces a login in the ") == 1
    assert "tokens= was not used" not in caplog.text


async def test_the_access_token_of_an_ended_login_is_used_to_its_end(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), sandbox.tokens())
    async with another_process(sandbox, path) as session:
        sandbox.faults.add(TOKEN, status=400, body='{"error": "invalid_grant"}')
        with pytest.raises(ReauthorizationRequired):
            await session.oauth.refresh()
        await session.accounts.me()
    async with another_process(sandbox, path) as session:
        await session.accounts.me()
        with pytest.raises(ReauthorizationRequired, match="ended"):
            await session.oauth.refresh(if_older_than=1200)
    assert sandbox.refresh_requests == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": '{"error": "invalid_request"}'},
        {"status": 401, "body": '{"error": "invalid_client"}'},
        {"status": 400, "body": "<p>a proxy"},
        {"status": 503},
    ],
    ids=str,
)
async def test_other_failures_end_no_login(sandbox: Sandbox, tmp_path: Path, fault: dict) -> None:
    """The token file does not change, and the next process makes its calls."""
    path = tmp_path / "login.json"
    await put(FileTokenStore(path), expired(sandbox.tokens()))
    before = path.read_bytes()
    rule = sandbox.faults.add(TOKEN, times=None, **fault)
    async with another_process(sandbox, path) as session:
        with pytest.raises(AuthenticationError):
            await session.accounts.me()
    assert path.read_bytes() == before
    rule.remove()
    async with another_process(sandbox, path) as session:
        await session.accounts.me()


async def test_a_token_set_that_another_process_stored_meanwhile_is_not_marked(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A lock that does not reach the other process: its token set is used."""
    path = tmp_path / "login.json"
    old, new = sandbox.tokens(), sandbox.tokens()
    sandbox._grants.revoke(old.refresh_token)
    await put(FileTokenStore(path), expired(old))
    hold = sandbox.faults.hold(TOKEN)
    async with another_process(sandbox, path) as session:
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        await FileTokenStore(path).save(new)
        hold.release()
        await call
    stored = await FileTokenStore(path).load()
    assert stored == new
    assert not stored.ended


@pytest.mark.parametrize("kind", ["file", "sql"])
@pytest.mark.parametrize("what", ["client", "account"])
async def test_a_refusal_to_another_client_ends_no_login(
    sandbox: Sandbox, tmp_path: Path, engine: AsyncEngine, kind: str, what: str
) -> None:
    """A token set that was stored without a session names no client and no account: a wrong setting must not end it."""

    def store() -> FileTokenStore | SQLTokenStore:
        return FileTokenStore(tmp_path / "login.json") if kind == "file" else SQLTokenStore(engine, "user")

    await put(store(), expired(sandbox.tokens()))
    other = EzeepSession(
        attrs.evolve(sandbox.oauth_app, client_id="another") if what == "client" else sandbox.oauth_app,
        store(),
        endpoints=attrs.evolve(
            sandbox.endpoints, account=sandbox.endpoints.account.replace("127.0.0.1", "localhost")
        )
        if what == "account"
        else sandbox.endpoints,
    )
    refusal = sandbox.faults.add(TOKEN, times=None, status=400, body='{"error": "invalid_grant"}')
    async with other as session:
        with pytest.raises(ReauthorizationRequired):
            await session.oauth.refresh()
    exchange._of_stores.clear()
    async with EzeepSession(other._core.app, store(), endpoints=other._core.endpoints) as session:
        with pytest.raises(ReauthorizationRequired, match="login has ended"):
            await session.oauth.refresh()
    assert refusal.hits == 1
    refusal.remove()
    for _ in range(2):
        async with open_session(sandbox, store()) as session:
            await session.accounts.me()
            sandbox._grants.revoke((await session.oauth.refresh()).refresh_token)
            with pytest.raises(ReauthorizationRequired):
                await session.oauth.refresh()
        assert (kept := await store().load())
        assert kept.ended
        await put(store(), sandbox.tokens())


async def test_a_store_that_cannot_keep_the_mark(sandbox: Sandbox) -> None:
    """One that fails, and one of other people that keeps some fields only: the refusal is reported all the same."""

    class Fails(MemoryTokenStore):
        async def save(self, tokens: TokenSet, /) -> None:
            raise TokenStoreError("the disk is full")

    class Forgets(MemoryTokenStore):
        async def save(self, tokens: TokenSet, /) -> None:
            await super().save(TokenSet(tokens.access_token, tokens.refresh_token, tokens.expires_at))

    for kind in (Fails, Forgets):
        tokens = expired(sandbox.tokens())
        sandbox._grants.revoke(tokens.refresh_token)
        before = sandbox.refresh_requests
        async with open_session(sandbox, kind(tokens)) as session:
            for _ in range(3):
                with pytest.raises(ReauthorizationRequired, match="not valid any more"):
                    await session.accounts.me()
        assert sandbox.refresh_requests == before + 1


async def test_a_mark_in_a_mounted_file(sandbox: Sandbox, dead: Path) -> None:
    """A reader of the file reports the end too, and not that the file is read-only."""
    async with another_process(sandbox, dead) as session:
        with pytest.raises(ReauthorizationRequired):
            await session.accounts.me()
    async with open_session(sandbox, ReadOnlyTokens(dead)) as session:
        with pytest.raises(ReauthorizationRequired, match="ended"):
            await session.accounts.me()


async def test_the_mark_is_no_part_of_the_identity_of_a_token_set(sandbox: Sandbox) -> None:
    tokens = sandbox.tokens()
    ended = attrs.evolve(tokens, ended=True)
    assert ended == tokens
    assert ended.ended
    assert attrs.evolve(tokens, ended=None).ended is False  # a row that is older than the column


# --- refresh(if_older_than=...) -----------------------------------------------------------------------------------


async def test_a_young_token_set_is_not_refreshed(sandbox: Sandbox) -> None:
    """In memory, and in the store. Old ones are, and those that expire soon."""
    clock, store = Clock(), MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store, clock=clock) as session:
        for seconds, refreshes in ((0, 0), (1190, 0), (20, 1), (1190, 1), (20, 2), (4000, 3)):
            clock.steady += seconds
            sandbox.clock.advance(seconds if seconds < 4000 else 0)
            tokens = await session.oauth.refresh(if_older_than=1200)
            assert tokens == await store.load()
            assert sandbox.refreshes == refreshes
        clock.steady += 3550
        await session.oauth.refresh(if_older_than=10_000)
        assert sandbox.refreshes == 4


async def test_the_age_of_what_another_process_stored_counts(sandbox: Sandbox) -> None:
    """Of two programs that refresh every 20 minutes one does."""
    clock, store = Clock(), MemoryTokenStore(sandbox.tokens())
    async with (
        open_session(sandbox, store, clock=clock) as one,
        open_session(sandbox, store, clock=clock) as two,
    ):
        for number in range(1, 5):
            for session in (one, two):
                await session.oauth.refresh(if_older_than=1200)
            clock.steady += 1300
            sandbox.clock.advance(1300)
            for session in (two, one):
                await session.oauth.refresh(if_older_than=1200)
            assert sandbox.refreshes == number


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": LATEST, "expires_in": None},
        {"expires_at": datetime.now(UTC) + timedelta(days=1), "expires_in": None},
        {"expires_at": datetime.now(UTC) + timedelta(hours=3)},
        {"expires_at": datetime.now(UTC) + timedelta(days=4000)},
    ],
    ids=["no expiry", "no lifetime", "clock set back", "clock set back by years"],
)
async def test_a_token_set_of_unknown_age_is_refreshed_once(sandbox: Sandbox, fields: dict) -> None:
    """As from a file that a person wrote, or of a clock that was wrong: it must not count as young until its expiry."""
    unknown = attrs.evolve(sandbox.tokens(), **fields)
    async with open_session(sandbox, stored=unknown) as session:
        for _ in range(3):
            await session.oauth.refresh(if_older_than=1200)
    assert sandbox.refreshes == 1


@pytest.mark.parametrize(("age", "error"), [(-1, ValueError), ("1", TypeError), (None, TypeError)])
async def test_an_age_that_is_none(sandbox: Sandbox, age, error) -> None:
    async with open_session(sandbox) as session:
        with pytest.raises(error, match="if_older_than"):
            await session.oauth.refresh(if_older_than=age)
    assert sandbox.refresh_requests == 0


async def test_clocks_that_differ_a_little_leave_a_token_set_young(sandbox: Sandbox) -> None:
    tokens = sandbox.tokens()
    ahead = attrs.evolve(tokens, expires_at=tokens.expires_at + timedelta(seconds=50))
    async with open_session(sandbox, stored=ahead) as session:
        await session.oauth.refresh(if_older_than=1200)
    assert sandbox.refresh_requests == 0


async def test_an_outage_is_an_error_also_for_a_young_enough_token_set(sandbox: Sandbox) -> None:
    clock = Clock()
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        fault = sandbox.faults.add(TOKEN, times=None, status=400, body="a proxy")
        clock.steady += 1300
        with pytest.raises(TransientAuthError):
            await session.oauth.refresh(if_older_than=1200)
        fault.remove()
        await session.oauth.refresh(if_older_than=1200)
    assert sandbox.refreshes == 1
