"""Faults around a refresh or a login: cancelled closes, failing stores, wrong responses."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from helpers.browser import decide
from helpers.support import ME, QUICK, TOKEN, Clock, expired, open_session, sandbox_in_a_thread, settle

from ezeep_async import (
    AuthenticationError,
    FileTokenStore,
    MemoryTokenStore,
    OAuthApp,
    Settings,
    TokenPersistError,
    TokenSet,
    TokenStoreCorrupt,
    TokenStoreError,
    TransientAuthError,
)
from ezeep_async.sandbox import Sandbox


@pytest.mark.slow
@pytest.mark.may_block
def test_1_7_a_cancelled_close_does_not_cancel_the_refresh() -> None:
    """1-7: a close with a time limit at shutdown, then the end of the loop: the token set is in the store."""
    with sandbox_in_a_thread() as sandbox:
        store = MemoryTokenStore(expired(sandbox.tokens()))
        sandbox.faults.add(TOKEN, delay_after=0.6)

        async def main() -> None:
            session = open_session(sandbox, store)
            call = asyncio.create_task(session.accounts.me())
            await asyncio.sleep(0.2)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.aclose(), 0.1)
            call.cancel()

        asyncio.run(main())

        async def again() -> None:
            async with open_session(sandbox, store) as session:
                await session.accounts.me()

        asyncio.run(again())
        assert sandbox.refresh_requests == 1


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_1_5_the_end_of_the_loop_waits_for_a_save() -> None:
    """1-5: the loop winds up while the new login is being stored: stored at the first attempt, not cancelled."""

    class Slow(MemoryTokenStore):
        attempts = 0

        async def save(self, tokens: TokenSet, /) -> None:
            self.attempts += 1
            saving.set()
            await asyncio.sleep(0.3)
            await super().save(tokens)

    with sandbox_in_a_thread() as sandbox:
        store = Slow(expired(sandbox.tokens()))
        old = store._tokens

        async def main() -> None:
            call = asyncio.create_task(session.accounts.me())
            await saving.wait()
            call.cancel()

        session, saving = open_session(sandbox, store), asyncio.Event()
        asyncio.run(main())
        assert store.attempts == 1
        assert store._tokens.refresh_token != old.refresh_token
        session = None  # it was not closed, on purpose
        gc.collect()


async def test_1_10_a_hook_may_close_the_session(sandbox: Sandbox) -> None:
    """1-10: it does not wait for itself."""
    closed = asyncio.Event()

    async def hook(old: TokenSet | None, new: TokenSet) -> None:
        await session.aclose()
        closed.set()

    session = open_session(sandbox, on_token_rotated=hook)
    await session.oauth.refresh()
    await asyncio.wait_for(closed.wait(), 3)


class _Stubborn(MemoryTokenStore):
    """A store whose `save` fails while `full` is set."""

    full = False

    async def save(self, tokens: TokenSet, /) -> None:
        if self.full:
            raise TokenPersistError("no room")
        await super().save(tokens)


@pytest.mark.parametrize("other", ["logs in", "logs out"])
async def test_2_9_a_late_save_never_replaces_a_newer_token_set(sandbox: Sandbox, other: str) -> None:
    """2-9: the login that could not be stored in time is stored only over the one that it replaced."""
    store, clock = _Stubborn(expired(sandbox.tokens())), Clock()
    session = open_session(sandbox, store, clock=clock)
    store.full = True
    await session.accounts.me()
    store.full = False
    theirs = sandbox.tokens() if other == "logs in" else None
    store._tokens = theirs
    clock.steady = 2.0
    await session.accounts.me()
    await settle(50)
    await session.aclose()
    assert await store.load() == theirs


async def test_1_18_a_number_without_end_is_no_life(sandbox: Sandbox) -> None:
    """1-18: `expires_in` of 400 digits is nonsense, and the login that came with it is kept."""
    body = f'{{"access_token": "{sandbox.tokens().access_token}", "expires_in": {"9" * 400}}}'
    sandbox.faults.add(TOKEN, status=200, body=body)
    async with open_session(sandbox) as session:
        await session.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_2_4_stores_with_similar_names_leave_each_other_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-4: what one store removes as its own leftover is never the file that another one is writing."""
    theirs = tmp_path / ".token.json.0.tmp"
    theirs.write_text("")
    mine = tmp_path / ".token[1].0.tmp"
    mine.write_text("")
    for name in ("token", "token[1]"):
        store = FileTokenStore(tmp_path / name)
        async with store.lock():
            await store.save(sandbox.tokens())
    assert theirs.exists()
    assert not mine.exists()


@pytest.mark.may_block
def test_2_5_only_a_file_is_made_private(tmp_path: Path) -> None:
    """2-5: a folder or a pipe in its place is refused and left as it is; a store without a name is refused at once."""
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir(mode=0o755)
    os.mkfifo(pipe, 0o644)
    for path in (folder, pipe):
        with pytest.raises(TokenStoreError, match="cannot be read"):
            asyncio.run(FileTokenStore(path).load())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o644
    for name in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"needs a name|control character"):
            FileTokenStore(name)


@pytest.mark.may_block
@pytest.mark.parametrize(
    "document", ['{"version": 1, "client": [1]}', '{"version": 1, "client": {}, "account": []}']
)
def test_2_6_owners_of_a_wrong_type_are_another_client(tmp_path: Path, document: str) -> None:
    """2-6: an error of ours, whatever the types in the file."""
    path = tmp_path / "login.json"
    path.write_text(document)
    path.chmod(0o600)
    store = FileTokenStore(path)
    store.bind("client", "https://account.example")
    with pytest.raises(TokenStoreError):
        asyncio.run(store.load())


@pytest.mark.may_block
def test_2_6_a_token_with_a_line_break_is_corrupt(tmp_path: Path) -> None:
    """2-6: it could not be sent, and is found out where it is read."""
    path = tmp_path / "login.json"
    path.write_text(
        '{"version": 1, "token": {"access_token": "a\\nb", "refresh_token": "r", "expires_at": 1}}'
    )
    path.chmod(0o600)
    with pytest.raises(TokenStoreCorrupt):
        asyncio.run(FileTokenStore(path).load())


class _Odd(MemoryTokenStore):
    """A store that raises what it likes."""

    where = ""
    error: Exception = RuntimeError("boom")

    def _maybe(self, where: str) -> None:
        if where == self.where:
            raise self.error

    async def load(self) -> TokenSet | None:
        self._maybe("load")
        return await super().load()

    async def check_writable(self) -> None:
        self._maybe("check_writable")

    @contextlib.asynccontextmanager
    async def lock(self):
        self._maybe("lock")
        async with super().lock():
            yield
        self._maybe("unlock")


@pytest.mark.parametrize("where", ["lock", "load", "check_writable"])
@pytest.mark.parametrize("error", [RuntimeError("boom"), TimeoutError("boom"), KeyError("boom")])
async def test_whatever_a_store_raises_is_a_token_store_error(
    sandbox: Sandbox, where: str, error: Exception
) -> None:
    """And a store's time limit is not taken for the call's: nothing is retried, nothing is hidden."""
    store = _Odd(expired(sandbox.tokens()))
    store.where, store.error = where, error
    async with open_session(sandbox, store) as session:
        with pytest.raises(TokenStoreError, match="boom") as caught:
            await session.accounts.me()
        assert caught.value.__cause__ is error
        store.where = ""
        await session.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_2_7_a_lock_that_cannot_be_given_back_undoes_nothing(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7: the new token set is stored, the call succeeds, the hook is called, and the log reports the error."""
    store, seen = _Odd(expired(sandbox.tokens())), []
    store.where = "unlock"
    async with open_session(sandbox, store, on_token_rotated=lambda old, new: seen.append(new)) as session:
        with caplog.at_level(logging.CRITICAL):
            await session.accounts.me()
        await settle()
    assert len(seen) == 1
    assert "could not be released" in caplog.text


async def test_errors_of_a_store_that_cannot_be_copied_arrive_as_they_are(sandbox: Sandbox) -> None:
    """Each waiter gets its copy, or else the error itself."""

    class MyError(TokenStoreError):
        def __init__(self, code: int, message: str) -> None:
            super().__init__(message)

    store = _Odd(expired(sandbox.tokens()))
    store.where, store.error = "load", MyError(1, "mine")
    async with open_session(sandbox, store) as session:
        with pytest.raises(MyError, match="mine"):
            await session.accounts.me()


async def test_1_3_a_late_401_is_not_answered_with_a_token_that_has_ended(sandbox: Sandbox) -> None:
    """1-3: a 401 after the replacement has expired too: it is refreshed, not sent."""
    clock = Clock()
    async with open_session(sandbox, stored=sandbox.tokens(), clock=clock) as session:
        await session.accounts.me()
        hold = sandbox.faults.hold(ME)
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        await session.oauth.refresh()
        clock.steady = 3700.0
        sandbox.clock.advance(3550)
        sandbox.expire_access_tokens()
        hold.release()
        await call
    assert sandbox.refresh_requests == 2


async def test_1_16_a_huge_leeway_makes_no_storm(sandbox: Sandbox) -> None:
    """1-16: never more than a fifth of the life, also when the server does not say how long that is."""
    sandbox.faults.add(TOKEN, status=200, body=f'{{"access_token": "{sandbox.tokens().access_token}"}}')
    async with open_session(sandbox, settings=attrs.evolve(QUICK, leeway=1e6)) as session:
        for _ in range(5):
            await session.accounts.me()
    assert sandbox.refresh_requests == 1
    with pytest.raises(ValueError, match="leeway"):
        Settings(leeway=float("inf"))


async def test_pairing_ends_with_an_error_that_no_person_can_mend(sandbox: Sandbox) -> None:
    """A client that may not pair gets the error at once, not after ten minutes."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        pairing = await session.oauth.pair()
        await decide(pairing.auth_url)
        sandbox.faults.add(TOKEN, status=400, body='{"error": "unsupported_grant_type"}')
        with pytest.raises(AuthenticationError, match="unsupported_grant_type"):
            await session.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)


@pytest.mark.parametrize(
    "body",
    [
        '{"access_token": "planted-1", "refresh_token":"planted-2"}',
        "access_token=planted-1&refresh_token=planted-2",
    ],
)
async def test_8_3_a_refusal_that_holds_a_login_does_not_show_it(
    sandbox: Sandbox, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    """8-3: a 500 with tokens in it: not in the message, the attributes, the causes, or the log."""
    sandbox.faults.add(TOKEN, times=None, status=500, body=body)
    async with open_session(sandbox) as session:
        with pytest.raises(TransientAuthError) as caught:
            await session.accounts.me()
    error: BaseException | None = caught.value
    while error is not None:
        assert "planted" not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__
    assert "planted" not in caplog.text


def test_8_3_a_token_of_a_wrong_type_is_not_shown() -> None:
    """8-3: bytes are what some stores give, and they are a token all the same."""
    for bad in (b"planted-token", ["planted-token"], "planted\ntoken", "planted-tökén"):
        with pytest.raises((TypeError, ValueError)) as caught:
            TokenSet(bad, "r", datetime.now(UTC) + timedelta(hours=1))
        assert "planted" not in str(caught.value)


def test_an_app_takes_text_only() -> None:
    """No secret is none; what is no text is refused without showing it."""
    assert OAuthApp("id", None).client_secret == ""
    for arguments in ((b"planted",), ("id", b"planted"), ("",), (None,)):
        with pytest.raises(ValueError, match="must be a str") as caught:
            OAuthApp(*arguments)
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize("arguments", [(None,), (b"x",), ("",)])
async def test_a_code_is_a_text(sandbox: Sandbox, arguments: tuple[object]) -> None:
    """Before anything is sent; the word None is no code."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        with pytest.raises(ValueError, match="code"):
            await session.oauth.exchange_code(*arguments)
        with pytest.raises(ValueError, match=r"username|password"):
            await session.oauth.login_with_password("name", None)
    assert not sandbox.requests
