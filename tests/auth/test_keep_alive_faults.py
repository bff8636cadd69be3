"""`session.keep_alive()` when server, store or login are not as they should be."""

from __future__ import annotations

import contextlib
import logging
from contextlib import AbstractAsyncContextManager

import attrs
import pytest
from helpers.keeping_alive import LIFE, later, steps, warnings_of
from helpers.support import TOKEN, Clock, expired, open_session, put, until

from ezeep_async import (
    MemoryTokenStore,
    TokenPersistError,
    TokenSet,
    TokenStoreError,
)
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "trouble", [{"status": 503, "retry_after": 3600.0}, {"status": 500}, {"drop": "before"}], ids=str
)
async def test_refreshes_are_retried_until_the_server_is_back(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture, trouble: dict[str, object]
) -> None:
    """The keep-alive and the refresh each log one warning. The token set works once the server is back."""
    caplog.set_level(logging.INFO, logger="ezeep_async.auth")
    fault = sandbox.faults.add(TOKEN, times=None, **trouble)
    async with open_session(sandbox, clock=clock) as session:
        handle = session.keep_alive()
        await until(lambda: fault.hits >= 6)
        assert handle.state == "trying again"
        fault.remove()
        await until(lambda: sandbox.refreshes == 1)
        await until(lambda: handle.state == "running")
        await session.accounts.me()
    assert len(warnings_of(caplog)) == 1
    assert len(warnings_of(caplog, "the token refresh failed")) == 1
    assert caplog.text.count("kept alive again") == 1


class _Breaks(MemoryTokenStore):
    """A store that fails in one of its methods, as long as there is something to raise."""

    where = ""
    error: Exception | None = None
    failures = 0

    def _fail(self, where: str) -> None:
        if where == self.where and self.error is not None:
            self.failures += 1
            raise self.error

    async def load(self) -> TokenSet | None:
        self._fail("load")
        return await super().load()

    async def save(self, tokens: TokenSet, /) -> None:
        self._fail("save")
        await super().save(tokens)

    async def check_writable(self) -> None:
        self._fail("check_writable")

    def lock(self) -> AbstractAsyncContextManager[object]:
        self._fail("lock")
        return super().lock()

    def bind(self, client_id: str, account: str) -> None:
        self._fail("bind")


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("where", ["load", "check_writable", "lock", "bind"])
@pytest.mark.parametrize(
    "error",
    [TokenStoreError("the store is away"), RuntimeError("the store is away")],
    ids=lambda error: type(error).__name__,
)
async def test_a_store_that_fails_is_asked_again_until_it_works(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, where: str, error: Exception
) -> None:
    """Any error at any place: logged once, nothing is sent, and the token set is refreshed in the end."""
    store = _Breaks(expired(sandbox.tokens()))
    store.where, store.error = where, error
    session = open_session(sandbox, store)
    async with contextlib.aclosing(session):  # not opened: that may be what fails
        handle = session.keep_alive()
        await until(lambda: store.failures >= 6)
        assert handle.state == "trying again"
        assert sandbox.refresh_requests == 0
        store.error = None
        await until(lambda: sandbox.refreshes == 1)
    assert len(warnings_of(caplog)) == 1
    assert "the store is away" in warnings_of(caplog)[0]
    assert [record.exc_info for record in caplog.records if "not kept alive" in record.getMessage()] == [None]


@pytest.mark.parametrize("where", ["load", "lock", "bind"])
async def test_a_look_into_a_store_that_fails_is_a_token_store_error(sandbox: Sandbox, where: str) -> None:
    """Whatever it raises: its callers cannot know every library behind a store."""
    store = _Breaks(sandbox.tokens())
    store.where, store.error = where, LookupError("the store is away")
    async with contextlib.aclosing(open_session(sandbox, store)) as session:
        with pytest.raises(TokenStoreError, match="the token store failed: the store is away"):
            await session._core.stored()


@pytest.mark.slow
async def test_the_pauses_grow(sandbox: Sandbox) -> None:
    """Five seconds, twice that with each failure, and a minute at most; a second after a refresh."""
    store = _Breaks(sandbox.tokens())
    store.where, store.error = "load", TokenStoreError("the store is away")
    async with open_session(sandbox, store) as session:
        handle = session.keep_alive()
        handle._task.cancel()
        pauses = [await handle._step(session._core) for _ in range(1000)]
        assert pauses[:6] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
        assert pauses[-1] == 60.0
        store.error = None
        store._tokens = expired(sandbox.tokens())
        assert await handle._step(session._core) == 1.0
        assert sandbox.refreshes == 1
        assert (
            await handle._step(session._core) == 30.0
        )  # no longer: a suspended machine is to be noticed soon


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("whose", ["this session", "another process"])
async def test_after_a_logout_a_new_login_is_kept_alive(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture, whose: str
) -> None:
    """Logged once, and nothing is sent meanwhile. This session or another process logs in."""
    sandbox.behaviour.password_grant = True
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store, clock=clock) as session:
        handle = session.keep_alive()
        await session.oauth.revoke()
        await until(lambda: handle.state == "waiting for a login")
        await steps(handle, 10)
        assert sandbox.count(TOKEN) == 0
        if whose == "this session":
            await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        else:
            await put(store, sandbox.tokens())
        await until(lambda: handle.state == "running")
        later(LIFE - 40, clock, sandbox)
        await until(lambda: sandbox.refreshes == 1)
        await session.accounts.me()
    assert len(warnings_of(caplog)) == 1
    assert "a new login is waited for" in warnings_of(caplog)[0]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["ended", "without a refresh token", "empty"])
async def test_where_a_person_is_needed_it_waits(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """At most one request and one log line. A login by another process is adopted."""
    spent = sandbox.tokens()
    async with open_session(sandbox, stored=expired(spent)) as other:
        await other.accounts.me()
    sandbox.reset_counts()
    ended = attrs.evolve(expired(spent), refresh_token="") if "without" in kind else expired(spent)
    store = MemoryTokenStore(None if kind == "empty" else ended)
    async with open_session(sandbox, store) as session:
        handle = session.keep_alive()
        await until(lambda: handle.state == "waiting for a login")
        await steps(handle, 20)
        assert sandbox.refresh_requests == (1 if kind == "ended" else 0)
        await put(store, expired(sandbox.tokens()))
        await until(lambda: sandbox.refreshes == 1)
        await session.accounts.me()
    assert len(warnings_of(caplog)) == 1


@pytest.mark.usefixtures("quick")
async def test_a_login_made_while_the_old_one_is_refused_is_not_missed(sandbox: Sandbox) -> None:
    """It was looked at before it was refused: what is found afterwards is new, whenever it came."""
    spent = sandbox.tokens()
    async with open_session(sandbox, stored=expired(spent)) as other:
        await other.accounts.me()

    class Late(MemoryTokenStore):
        loads = 0

        async def load(self) -> TokenSet | None:
            self.loads += 1
            found = await super().load()
            if self.loads == 3:  # the one after the refusal
                self._tokens = sandbox.tokens()
            return found

    async with open_session(sandbox, Late(expired(spent))) as session:
        handle = session.keep_alive()
        await until(lambda: handle.state == "waiting for a login")
        await until(lambda: handle.state == "running")
        await session.accounts.me()


@pytest.mark.usefixtures("quick")
async def test_a_login_that_could_not_be_stored_is_stored_without_a_call(
    sandbox: Sandbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """2-7: an idle session has no next call that would try it again."""
    store = _Breaks(expired(sandbox.tokens()))
    store.where, store.error = "save", TokenPersistError("no room")
    async with open_session(sandbox, store, clock=clock) as session:
        handle = session.keep_alive()
        await until(lambda: store.failures == 1)
        store.error = None
        await steps(handle)
        clock.steady += 2
        await until(lambda: store._tokens == session._core.refresher.tokens)
    assert sandbox.refreshes == 1
