"""What a token store owes its sessions, as tests: `TokenStoreContract` and `ReadOnlyTokenStoreContract`."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, cast

import attrs
import pytest

from ezeep_async.auth.tokens import MemoryTokenStore, TokenSet, TokenStore
from ezeep_async.errors import EzeepError, TokenPersistError, TokenStoreError
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.session import EzeepSession
from ezeep_async.testing.lock_contract import FreeLockContract, LockContract
from ezeep_async.testing.store_checks import (
    MakeStore,
    Scenario,
    assert_no_token,
    expired,
    longest_pause,
    raises,
    token_set,
    with_stores,
)


PutLogin = Callable[[TokenSet], object]

CLIENT, ACCOUNT = "a-client", "https://account.example.com"
OTHER_OWNERS = [("another", ACCOUNT), (CLIENT, "https://account.example.net")]
TOKEN_ROUTE = "POST /oauth/access_token/"  # noqa: S105  # a route
ME_ROUTE = "GET /v1/users/me/"
CALLS = 10
TOKEN_CHARACTERS = "".join(map(chr, range(0x20, 0x7F)))
"""All characters that RFC 6749 appendix A allows in a token."""
TOKEN_SETS: dict[str, dict[str, object]] = {
    "no expires_in": {"expires_in": None},
    "expires_in with a fraction": {"expires_in": 3599.25},
    "an unusual scope and token_type": {
        "scope": "printing urn:example:a/b?c=1&d='2' ~!",
        "token_type": "urn:example:mac",
    },
    "no scope": {"scope": ""},
    "no refresh token": {"refresh_token": ""},
    "tokens of 8 kB": {"access_token": "a" * 8192, "refresh_token": "r" * 8192},
    "every character": {"access_token": TOKEN_CHARACTERS, "refresh_token": TOKEN_CHARACTERS[::-1]},
    "microseconds": {"expires_at": datetime(2031, 5, 6, 7, 8, 9, 999999, UTC)},
    "another time zone": {
        "expires_at": datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    },
    "expired": {"expires_at": datetime(2001, 2, 3, tzinfo=UTC)},
    "the far future": {"expires_at": datetime(9999, 1, 1, tzinfo=UTC)},
}


class CommonContract(FreeLockContract):
    """What writable and read-only stores owe."""

    @with_stores
    async def test_it_satisfies_the_protocol(self, store: object) -> None:
        """It has all methods of `TokenStore`, and `lock()` returns an asynchronous context manager."""
        assert isinstance(store, TokenStore), (
            f"{type(store).__name__} lacks a method of ezeep_async.TokenStore: load, save, clear, lock, check_writable"
        )

        manager: object = store.lock()
        if isinstance(manager, Coroutine):
            cast("Coroutine[Any, Any, object]", manager).close()
        assert isinstance(manager, AbstractAsyncContextManager), (
            "lock() has to be a plain `def` that returns an asynchronous context manager"
        )

    def test_it_can_be_bound_again_to_the_same_client(self, make_store: MakeStore) -> None:
        """Two sessions of one client may share a store: `bind` with the same values changes nothing."""
        bind = self._hook_of(make_store(), "bind")
        bind(CLIENT, ACCOUNT)
        try:
            bind(CLIENT, ACCOUNT)
        except TokenStoreError as error:
            raise AssertionError("bind() refused the client and host that the store is bound to") from error

    @pytest.mark.parametrize(("client", "account"), OTHER_OWNERS)
    def test_it_cannot_be_bound_to_another_client_or_host(
        self, make_store: MakeStore, client: str, account: str
    ) -> None:
        """One store object never serves two clients or two account hosts."""
        bind = self._hook_of(make_store(), "bind")
        bind(CLIENT, ACCOUNT)
        with raises(TokenStoreError, "bind() of a bound store to another client id or host"):
            bind(client, account)


class TokenStoreContract(CommonContract, LockContract):
    """Test a `TokenStore` that sessions write to. No plugin for asynchronous tests is needed.

    Derive a class whose name begins with `Test`, with a fixture `make_store`: a callable that returns another store
    object with the same token set each time, as another process would. It is empty at the start of each test:

        from ezeep_async.testing import TokenStoreContract

        class TestMyStore(TokenStoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MyStore(tmp_path / "tokens")

    Each test runs the store in its own event loops, in asyncio's debug mode.

    Two more fixtures are optional; without them the tests that need them are skipped. `make_store_elsewhere` is
    a `make_store` that can be pickled, such as `functools.partial(MyStore, path)`: another process calls it.
    `make_unwritable` is a callable after which saving to these stores fails.

    Three properties are left to your own tests: a save survives a crash, a killed process frees the lock, and no
    call blocks the event loop for less than `longest_pause`.

    Attributes:
        shared: Whether all stores of `make_store` have one token set and one lock. Default: True.
        precision: How far a loaded `expires_at` may differ from the saved one. Default: 1 ms.
        patience: Seconds after which a lock that should be free counts as lost. Default: 10.
        longest_pause: Seconds for which a call may block the event loop. Default: 0.1.
    """

    @pytest.fixture
    def make_unwritable(self) -> Callable[[], object] | None:
        """A callable that makes saving fail; None skips its test."""
        return None

    # --- token sets

    @with_stores
    async def test_an_empty_store_gives_none(self, store: TokenStore) -> None:
        """`load` returns None for an empty store; it does not raise."""
        found = await self._locked(store, store.load)
        assert found is None, f"load() of an empty store gives {found!r}"

    @pytest.mark.parametrize("changes", TOKEN_SETS.values(), ids=TOKEN_SETS)
    @with_stores
    async def test_a_token_set_is_loaded_as_it_was_saved(
        self, store: TokenStore, other: TokenStore, changes: dict[str, Any]
    ) -> None:
        """Every field, by the same store object and by another one."""
        tokens = attrs.evolve(token_set(), **changes)

        await self._saved(store, tokens)
        await self._assert_loads(store, tokens, "what was saved")
        await self._assert_loads(other, tokens, "what another store object saved")

    @with_stores
    async def test_saving_replaces_the_whole_token_set(self, store: TokenStore) -> None:
        """No field of the previous token set is left, even where the new one has none."""
        first = attrs.evolve(token_set(1), scope="first", token_type="First", expires_in=1.5)  # noqa: S106
        second = attrs.evolve(token_set(2), refresh_token="", expires_in=None)

        for tokens in (first, second):
            await self._saved(store, tokens)
        await self._assert_loads(store, second, "the last token set")

    @with_stores
    async def test_every_load_sees_what_other_stores_saved(
        self, store: TokenStore, other: TokenStore
    ) -> None:
        """A store that caches its token set makes its session send a used refresh token."""
        for each in (store, other):
            await self._locked(each, each.load)
        for number, writer, reader in ((1, store, other), (2, other, store), (3, store, other)):
            await self._saved(writer, token_set(number))
            await self._assert_loads(reader, token_set(number), "what another store object saved")
        await self._locked(other, other.clear)
        found = await self._locked(store, store.load)
        assert found is None, "load() gives a token set that another store object cleared"

    @with_stores
    async def test_clear_removes_the_token_set(self, store: TokenStore, other: TokenStore) -> None:
        """After `clear` no store object loads a token set, and another one can be saved."""
        await self._saved(store, token_set(1))
        await self._locked(store, store.clear)
        for each in (store, other):
            found = await self._locked(each, each.load)
            assert found is None, "load() gives a token set after clear()"
        await self._saved(other, token_set(2))
        await self._assert_loads(store, token_set(2), "a token set that was saved after clear()")

    @with_stores
    async def test_clearing_an_empty_store_does_nothing(self, store: TokenStore) -> None:
        """A logout may be repeated."""
        for _ in range(2):
            try:
                await self._locked(store, store.clear)
            except Exception as error:
                raise AssertionError(f"clear() of an empty store raises {error!r}") from error
        assert await self._locked(store, store.load) is None, "load() of a cleared store gives a token set"

    @with_stores
    async def test_it_does_not_block_the_event_loop(self, store: TokenStore) -> None:
        """No call blocks it longer than `longest_pause`. The best of five counts, because a busy machine pauses too."""
        calls: dict[str, Scenario[object]] = {
            "save": lambda: store.save(token_set()),
            "load": store.load,
            "check_writable": store.check_writable,
            "clear": store.clear,
        }

        for name, call in calls.items():
            shortest = min([await self._locked(store, partial(longest_pause, call)) for _ in range(5)])
            assert shortest <= self.longest_pause, (
                f"{name}() blocks the event loop for at least {shortest:.2f} s: move the work to a thread"
            )

    @with_stores
    async def test_check_writable_raises_when_saving_is_impossible(
        self, store: TokenStore, make_unwritable: Callable[[], object] | None
    ) -> None:
        """It raises before a refresh token is used. The stores become unwritable while the lock is held."""
        if make_unwritable is None:
            pytest.skip("no fixture make_unwritable: what check_writable() detects is not tested")

        await self._saved(store, token_set())
        async with self._acquired(store.lock, "before check_writable()"):
            await asyncio.to_thread(make_unwritable)
            with raises(TokenStoreError, "check_writable() of an unwritable store", token_set()):
                await store.check_writable()

    @with_stores
    async def test_check_writable_changes_nothing(self, store: TokenStore, other: TokenStore) -> None:
        """A session calls it before every refresh: it neither creates, changes nor removes a token set."""
        await self._locked(store, store.check_writable)
        found = await self._locked(other, other.load)
        assert found is None, "check_writable() left a token set in an empty store"
        await self._saved(store, token_set())
        await self._locked(store, store.check_writable)
        await self._assert_loads(other, token_set(), "the token set after check_writable()")

    @with_stores
    async def test_repr_contains_no_token(self, store: TokenStore) -> None:
        """`repr` and `str`, after a save and a load."""
        await self._saved(store, token_set())
        await self._locked(store, store.load)
        assert_no_token(f"{store!r} {store}", [token_set()], f"repr or str of {type(store).__name__}")

    @pytest.mark.parametrize(("client", "account"), OTHER_OWNERS)
    @with_stores
    async def test_the_token_set_of_another_client_or_host_is_refused(
        self, store: TokenStore, other: TokenStore, client: str, account: str
    ) -> None:
        """A bound store raises when the stored token set is not of its client, and does not change it."""
        bind, bind_other = self._hook_of(store, "bind"), self._hook_of(other, "bind")
        what = "of the token set of another client id or host"

        bind(CLIENT, ACCOUNT)
        await self._saved(store, token_set(1))
        with raises(TokenStoreError, f"load() {what}", token_set(1)):
            bind_other(client, account)
            await self._locked(other, other.load)
        with raises(TokenStoreError, f"replacement {what}", token_set(1), token_set(2)):
            bind_other(client, account)
            await self._locked(other, lambda: other.save(token_set(2)))
        await self._assert_loads(store, token_set(1), "the token set that another client was refused")

    # --- sessions

    @with_stores
    async def test_concurrent_sessions_refresh_once(
        self, store: TokenStore, other: TokenStore, sandbox: Sandbox
    ) -> None:
        """Two sessions, each with its own store, make ten calls each with an expired token: one refresh."""
        old = expired(sandbox.tokens())
        await self._saved(store, old)
        async with self._session(sandbox, store) as one, self._session(sandbox, other) as two:
            await self._calls(one, two)
        await self._assert_refreshed_once(sandbox, other, old)

    @with_stores
    async def test_a_refresh_with_all_callers_cancelled_is_saved(
        self, store: TokenStore, other: TokenStore, sandbox: Sandbox
    ) -> None:
        """All callers are cancelled while the server responds: the new token set is saved."""
        old = expired(sandbox.tokens())
        await self._saved(store, old)
        hold = sandbox.faults.hold(TOKEN_ROUTE, times=1)
        async with self._session(sandbox, store) as session:
            try:
                calls = [asyncio.create_task(session.accounts.me()) for _ in range(CALLS)]
                await self._within(hold.arrived(), "no refresh began")
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
            finally:
                hold.release()
        await self._assert_refreshed_once(sandbox, other, old)

    @with_stores
    async def test_a_refused_access_token_is_refreshed_once(
        self, store: TokenStore, other: TokenStore, sandbox: Sandbox
    ) -> None:
        """Ten calls get a 401: one refresh, and one replay of each call."""
        old = sandbox.tokens()
        await self._saved(store, old)
        sandbox.expire_access_tokens()
        async with self._session(sandbox, store) as session:
            await self._calls(session)
        assert sandbox.count(ME_ROUTE) <= 2 * CALLS, "a call was sent more than twice"
        await self._assert_refreshed_once(sandbox, other, old)

    @with_stores
    async def test_a_token_set_refreshed_elsewhere_is_adopted(
        self, store: TokenStore, other: TokenStore, sandbox: Sandbox
    ) -> None:
        """A session loads the token set that another session refreshed, and does not refresh itself."""
        await self._saved(store, sandbox.tokens())
        async with self._session(sandbox, store) as one, self._session(sandbox, other) as two:
            await self._calls(one, two, each=1)
            await two.oauth.refresh()
            await self._calls(one, two)
        assert sandbox.refresh_requests == 1, (
            "a session did not load the token set that another session saved"
        )

    @with_stores
    async def test_first_tokens_and_revocation_go_through_the_store(
        self, store: TokenStore, other: TokenStore, sandbox: Sandbox
    ) -> None:
        """`tokens=` is saved to an empty store, and `oauth.revoke()` clears it."""
        tokens = sandbox.tokens()
        async with EzeepSession(
            sandbox.oauth_app, store=store, tokens=tokens, endpoints=sandbox.endpoints
        ) as session:
            await self._assert_loads(other, tokens, "the first token set of a session")
            await session.oauth.revoke()
        found = await self._locked(other, other.load)
        assert found is None, "the store has a token set after revoke()"

    @with_stores
    async def test_no_token_is_logged(
        self, store: TokenStore, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No logger logs one at any level during a save, a refresh and a revocation."""
        caplog.set_level(logging.DEBUG)
        seen: list[TokenSet | None] = [expired(sandbox.tokens())]
        await self._saved(store, expired(sandbox.tokens()))
        async with self._session(sandbox, store) as session:
            seen.append(await self._locked(store, store.load))
            await self._calls(session)
            seen.append(await self._locked(store, store.load))
            await session.oauth.revoke()
        assert_no_token(caplog.text, [tokens for tokens in seen if tokens is not None], "the log")

    async def _calls(self, *sessions: EzeepSession, each: int = CALLS) -> None:
        """Concurrent calls of each session, all of which succeed."""
        calls = [session.accounts.me() for session in sessions for _ in range(each)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise AssertionError(f"{len(errors)} of {len(calls)} calls failed: {errors[0]!r}") from errors[0]

    async def _assert_refreshed_once(self, sandbox: Sandbox, store: TokenStore, old: TokenSet) -> None:
        """One refresh was sent, and the store has its result: a new session works without another one."""
        sent = sandbox.refresh_requests
        assert sent == 1, f"{sent} refreshes of one token set: a refresh token works once"
        found = await self._locked(store, store.load)
        assert found is not None, "the store is empty after a refresh"
        assert found.refresh_token != old.refresh_token, "the refreshed token set was not saved"
        async with self._session(sandbox, store) as session:
            await self._calls(session, each=1)
        assert sandbox.refresh_requests == sent, (
            "the saved token set is not the refreshed one, or has expired"
        )


class ReadOnlyTokenStoreContract(CommonContract):
    """Test a `TokenStore` that only reads: a mounted secret, the environment, a vault.

    Derive a class as from `TokenStoreContract`, with the fixture `make_store` and the fixture `put_login`: a callable
    that writes a token set to the place that the store reads.

        class TestMySecret(ReadOnlyTokenStoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MySecret(tmp_path / "secret")

            @pytest.fixture
            def put_login(self, tmp_path):
                return lambda tokens: (tmp_path / "secret").write_text(tokens.access_token)

    Attributes:
        shared: Whether all stores of `make_store` have one token set and one lock. Default: True.
        patience: Seconds after which a lock that should be free counts as lost. Default: 10.
    """

    def test_it_loads_the_token_set_of_its_source(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """Every store object loads what was written there."""
        put_login(token_set())
        for store in self._pair(make_store):
            self._assert_gives(store, token_set())

    def test_a_replaced_token_set_is_loaded(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """Every load reads the source: another program refreshes the token set there."""
        store = make_store()
        for number in (1, 2, 3):
            put_login(token_set(number))
            self._assert_gives(store, token_set(number))

    def test_nothing_can_be_saved(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """`check_writable` raises `TokenStoreError`, `save` `TokenPersistError`; the token set does not change."""
        put_login(token_set(1))
        store = make_store()

        async def scenario() -> None:
            async with self._acquired(store.lock, "before check_writable() and save()"):
                with raises(TokenStoreError, "check_writable() of a read-only store", token_set(1)):
                    await store.check_writable()
                with raises(TokenPersistError, "save() of a read-only store", token_set(1), token_set(2)):
                    await store.save(token_set(2))

        self._run(scenario)
        self._assert_gives(store, token_set(1))

    def test_repr_contains_no_token(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """`repr` and `str`, after a load."""
        put_login(token_set())
        store = make_store()
        self._run(lambda: self._locked(store, store.load))
        assert_no_token(f"{store!r} {store}", [token_set()], f"repr or str of {type(store).__name__}")

    def test_a_session_works_until_its_token_expires(
        self, make_store: MakeStore, put_login: PutLogin
    ) -> None:
        """Nothing has to be saved as long as the access token is valid."""
        sandbox = Sandbox(users=3, groups=1)
        put_login(sandbox.tokens())
        store = make_store()

        async def scenario() -> None:
            async with sandbox, self._session(sandbox, store) as session:
                try:
                    await asyncio.gather(*[session.accounts.me() for _ in range(3)])
                except EzeepError as error:
                    raise AssertionError(f"a call with a valid access token failed: {error!r}") from error

        self._run(scenario)

    @pytest.mark.parametrize("how", ["has expired", "was refused"])
    def test_a_token_set_that_cannot_be_saved_is_not_refreshed(
        self, make_store: MakeStore, put_login: PutLogin, how: str
    ) -> None:
        """The call raises before the refresh: the refresh token stays valid for the program that owns it."""
        sandbox = Sandbox(users=3, groups=1)
        tokens = sandbox.tokens()
        put_login(expired(tokens) if how == "has expired" else tokens)
        store = make_store()

        async def scenario() -> None:
            async with sandbox:
                if how == "was refused":
                    sandbox.expire_access_tokens()
                async with self._session(sandbox, store) as session:
                    with raises(TokenStoreError, f"a call with an access token that {how}", tokens):
                        await session.accounts.me()
                assert sandbox.refresh_requests == 0, "a refresh was sent whose result could not be saved"
                async with self._session(sandbox, MemoryTokenStore(expired(tokens))) as owner:
                    await owner.accounts.me()

        self._run(scenario)

    def _assert_gives(self, store: TokenStore, tokens: TokenSet) -> None:
        found = self._run(lambda: self._locked(store, store.load))
        assert found is not None, "load() gives None for the token set of the source"
        assert found.access_token == tokens.access_token, "load() gives another token set than the source has"
        assert found.refresh_token in {"", tokens.refresh_token}, "load() gives another refresh token"
