"""`ReadOnlyTokenStoreContract`: the tests for a store that somebody else writes."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ezeep_async.auth.tokens import MemoryTokenStore, TokenSet, TokenStore
from ezeep_async.errors import EzeepError, TokenPersistError, TokenStoreError
from ezeep_async.sandbox.server import Sandbox
from ezeep_async.testing.base import (
    MakeStore,
    StoreTests,
    assert_shows_none,
    ended,
    login,
    refused,
)


PutLogin = Callable[[TokenSet], object]


class ReadOnlyTokenStoreContract(StoreTests):
    """The tests that a `TokenStore` has to pass which only reads: a mounted secret, the environment, a vault.

    Make a subclass as of `TokenStoreContract`, with one more fixture: `put_login` gives a function that puts a login
    where the store reads it, as whoever may write there does.

        class TestMySecret(ReadOnlyTokenStoreContract):
            @pytest.fixture
            def make_store(self, tmp_path):
                return lambda: MySecret(tmp_path / "secret")

            @pytest.fixture
            def put_login(self, tmp_path):
                return lambda tokens: (tmp_path / "secret").write_text(tokens.access_token)
    """

    def test_it_gives_the_login_of_its_source(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """What somebody put there, to every store object."""
        put_login(login())
        for store in self._pair(make_store):
            self._assert_gives(store, login())

    def test_a_login_that_was_replaced_is_taken_up(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """The source is read again with every load: somebody else renews what is there."""
        store = make_store()
        for number in (1, 2, 3):
            put_login(login(number))
            self._assert_gives(store, login(number))

    def test_nothing_can_be_stored(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """`check_writable` raises `TokenStoreError`, `save` `TokenPersistError`; the login stays as it is."""
        put_login(login(1))
        store = make_store()

        async def scenario() -> None:
            async with self._taken(store, "to call check_writable() and save()"):
                with refused(TokenStoreError, "check_writable() of a read-only store", login(1)):
                    await store.check_writable()
                with refused(TokenPersistError, "save() of a read-only store", login(1), login(2)):
                    await store.save(login(2))

        self._run(scenario)
        self._assert_gives(store, login(1))

    def test_what_it_shows_of_itself_has_no_token(self, make_store: MakeStore, put_login: PutLogin) -> None:
        """`repr` and `str`, with the login loaded."""
        put_login(login())
        store = make_store()
        self._run(lambda: self._loaded(store))
        assert_shows_none(f"{store!r} {store}", [login()], f"repr or str of {type(store).__name__}")

    def test_a_session_works_to_the_end_of_its_token(
        self, make_store: MakeStore, put_login: PutLogin
    ) -> None:
        """Nothing needs to be written as long as the access token is good."""
        sandbox = Sandbox(users=3, groups=1)
        put_login(sandbox.tokens())
        store = make_store()

        async def scenario() -> None:
            async with sandbox, self._session(sandbox, store) as session:
                try:
                    await asyncio.gather(*[session.accounts.me() for _ in range(3)])
                except EzeepError as error:
                    raise AssertionError(f"a call with a good access token failed: {error!r}") from error

        self._run(scenario)

    @pytest.mark.parametrize("how", ["has ended", "was refused"])
    def test_a_login_that_cannot_be_stored_is_not_renewed(
        self, make_store: MakeStore, put_login: PutLogin, how: str
    ) -> None:
        """The call raises before anything is sent to the token endpoint: the refresh token stays good for its owner."""
        sandbox = Sandbox(users=3, groups=1)
        tokens = sandbox.tokens()
        put_login(ended(tokens) if how == "has ended" else tokens)
        store = make_store()

        async def scenario() -> None:
            async with sandbox:
                if how == "was refused":
                    sandbox.expire_access_tokens()
                async with self._session(sandbox, store) as session:
                    with refused(TokenStoreError, f"a call with an access token that {how}", tokens):
                        await session.accounts.me()
                assert sandbox.refresh_requests == 0, (
                    "a refresh token was spent, and what came for it could not be stored"
                )
                async with self._session(sandbox, MemoryTokenStore(ended(tokens))) as owner:
                    await owner.accounts.me()

        self._run(scenario)

    def _assert_gives(self, store: TokenStore, tokens: TokenSet) -> None:
        found = self._run(lambda: self._loaded(store))
        assert found is not None, "load() gives None for the login in the source"
        assert found.access_token == tokens.access_token, (
            "load() gives another login than the one in the source"
        )
        assert found.refresh_token in {"", tokens.refresh_token}, "load() gives another refresh token"
