"""`TokenStoreContract`: the tests for a store that can be written, up to whole sessions on it."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
import logging

import pytest

from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.session import EzeepSession
from ezeep_async.testing.base import MakeStore, assert_shows_none, ended
from ezeep_async.testing.keeping import KeepingTests
from ezeep_async.testing.locking import LockingTests
from ezeep_async.testing.sharing import SharingTests


TOKEN = "POST /oauth/access_token/"  # noqa: S105  # a route
ME = "GET /v1/users/me/"
CALLS = 10


class TokenStoreContract(KeepingTests, LockingTests, SharingTests):
    """The tests that every `TokenStore` has to pass, ours and yours. Needs no plugin for asynchronous tests.

    Make a subclass whose name begins with `Test`, with a fixture `make_store`. What that gives is called for every store
    that a test needs, and gives another store object on the same login each time, as another process would make it:

        from ezeep_async.testing import TokenStoreContract

        class TestMyStore(TokenStoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MyStore(tmp_path / "login")

    The login is empty at the beginning of each test. Each test runs the store in event loops of its own, in asyncio's
    debug mode. The class attributes `shared`, `precision`, `patience` and `longest_pause` say what your store is like.

    Two fixtures more are optional, and what they are for is skipped without them. `make_store_elsewhere` gives what makes
    such a store in another process, and is pickled for that (`functools.partial(MyStore, path)`); without it a lock that
    keeps nobody out but tasks and threads of its own process passes. `make_unwritable` gives a function that makes it
    impossible to store anything there; without it a `check_writable` that does nothing passes.

    What no test here can find out is yours to test: that a save survives a crash, that a killed process frees the lock,
    and that the event loop is not blocked for a moment, shorter than `longest_pause`.
    """

    def test_sessions_on_one_login_renew_it_once(self, make_store: MakeStore) -> None:
        """Two sessions, each on a store of its own, meet an expired token with ten calls each: one refresh."""
        store, other = self._pair(make_store)

        async def scenario(sandbox: Sandbox) -> None:
            old = ended(sandbox.tokens())
            await self._saved(store, old)
            async with self._session(sandbox, store) as one, self._session(sandbox, other) as two:
                await self._calls(one, two)
            assert sandbox.refresh_requests == 1, (
                f"{sandbox.refresh_requests} refreshes of one login: a refresh token works once"
            )
            await self._assert_kept(sandbox, other, old)

        self._in_sandbox(scenario)

    def test_a_renewal_whose_callers_are_all_cancelled_is_stored(self, make_store: MakeStore) -> None:
        """Every caller goes away while the server answers: the new login is stored all the same."""
        store, other = self._pair(make_store)

        async def scenario(sandbox: Sandbox) -> None:
            old = ended(sandbox.tokens())
            await self._saved(store, old)
            hold = sandbox.faults.hold(TOKEN, times=1)
            async with self._session(sandbox, store) as session:
                try:
                    calls = [asyncio.create_task(session.accounts.me()) for _ in range(CALLS)]
                    await self._within(hold.arrived(), "a renewal was not begun")
                    for call in calls:
                        call.cancel()
                    await asyncio.wait(calls)
                finally:
                    hold.release()
            assert sandbox.refresh_requests == 1, f"{sandbox.refresh_requests} refreshes instead of one"
            await self._assert_kept(sandbox, other, old)

        self._in_sandbox(scenario)

    def test_a_token_that_is_refused_is_renewed_once(self, make_store: MakeStore) -> None:
        """Ten calls are answered 401: one refresh, and each call is sent once more."""
        store, other = self._pair(make_store)

        async def scenario(sandbox: Sandbox) -> None:
            old = sandbox.tokens()
            await self._saved(store, old)
            sandbox.expire_access_tokens()
            async with self._session(sandbox, store) as session:
                await self._calls(session)
            assert sandbox.refresh_requests == 1, f"{sandbox.refresh_requests} refreshes after one refusal"
            assert sandbox.count(ME) <= 2 * CALLS, "a call was sent more than twice"
            await self._assert_kept(sandbox, other, old)

        self._in_sandbox(scenario)

    def test_a_login_that_was_renewed_elsewhere_is_adopted(self, make_store: MakeStore) -> None:
        """A session whose token was renewed by another one takes that from the store, and refreshes nothing."""
        store, other = self._pair(make_store)

        async def scenario(sandbox: Sandbox) -> None:
            await self._saved(store, sandbox.tokens())
            async with self._session(sandbox, store) as one, self._session(sandbox, other) as two:
                await self._calls(one, two, each=1)
                await two.oauth.refresh()
                await self._calls(one, two)
            assert sandbox.refresh_requests == 1, (
                "a session did not find in its store the login that another session had put there"
            )

        self._in_sandbox(scenario)

    def test_a_login_and_a_logout_go_through_the_store(self, make_store: MakeStore) -> None:
        """`tokens=` is put into an empty store, and `oauth.revoke()` empties it, for everybody."""
        store, other = self._pair(make_store)

        async def scenario(sandbox: Sandbox) -> None:
            tokens = sandbox.tokens()
            async with EzeepSession(
                sandbox.oauth_app, store=store, tokens=tokens, endpoints=sandbox.endpoints
            ) as session:
                self._assert_same(await self._loaded(other), tokens, "the first login of a session")
                await session.oauth.revoke()
            assert await self._loaded(other) is None, "the login is still in the store after a logout"

        self._in_sandbox(scenario)

    def test_no_token_is_logged(self, make_store: MakeStore, caplog: pytest.LogCaptureFixture) -> None:
        """Not at any level, by anybody, over a login, a renewal and a logout."""
        store = make_store()
        seen: list[TokenSet | None] = []

        async def scenario(sandbox: Sandbox) -> None:
            seen.append(ended(sandbox.tokens()))
            await self._saved(store, ended(sandbox.tokens()))
            async with self._session(sandbox, store) as session:
                seen.append(await self._loaded(store))
                await self._calls(session)
                seen.append(await self._loaded(store))
                await session.oauth.revoke()

        with caplog.at_level(logging.DEBUG):
            self._in_sandbox(scenario)
        assert_shows_none(caplog.text, [tokens for tokens in seen if tokens is not None], "the log")

    async def _calls(self, *sessions: EzeepSession, each: int = CALLS) -> None:
        """Calls of each session at once, all of which succeed."""
        calls = [session.accounts.me() for session in sessions for _ in range(each)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise AssertionError(f"{len(errors)} of {len(calls)} calls failed: {errors[0]!r}") from errors[0]

    async def _assert_kept(self, sandbox: Sandbox, store: TokenStore, old: TokenSet) -> None:
        """The store has the login that the server issued last: a new session needs no other one."""
        found = await self._loaded(store)
        assert found is not None, "the login is gone after it was renewed"
        assert found.refresh_token != old.refresh_token, (
            "the renewed login was not stored, and the old one is spent"
        )
        before = sandbox.refresh_requests
        async with self._session(sandbox, store) as session:
            await self._calls(session, each=1)
        assert sandbox.refresh_requests == before, (
            "the login that was stored is not the renewed one, or has ended"
        )
