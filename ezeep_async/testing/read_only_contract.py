"""What a token store that only reads owes its sessions, as tests: `ReadOnlyTokenStoreContract`."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ezeep_async.auth.tokens import MemoryTokenStore, TokenSet, TokenStore
from ezeep_async.errors import EzeepError, ReauthorizationRequired, TokenPersistError, TokenStoreError
from ezeep_async.testing.store_checks import (
    CommonContract,
    assert_no_token,
    expired,
    raises,
    token_set,
    without_plugin,
)


PutTokens = Callable[[TokenSet], object]


@without_plugin
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

    async def test_every_load_reads_the_source(self, put_login: PutTokens) -> None:
        """Every store object loads what was written there last: another program refreshes the token set."""
        for number in (1, 2, 3):
            await asyncio.to_thread(put_login, token_set(number))
            for store in (self.store, self.make_store()):
                await self.assert_gives(store, token_set(number))

    async def test_nothing_can_be_saved(self, put_login: PutTokens) -> None:
        """`check_writable` raises `TokenStoreError`, `save` `TokenPersistError`; the token set does not change."""
        await asyncio.to_thread(put_login, token_set(1))
        store = self.make_store()
        async with self.acquired(store.lock):
            with raises(TokenStoreError, "check_writable() of a read-only store", token_set(1)):
                await store.check_writable()
            with raises(TokenPersistError, "save() of a read-only store", token_set(1), token_set(2)):
                await store.save(token_set(2))
        await self.assert_gives(store, token_set(1))

    async def test_a_session_never_refreshes(self, put_login: PutTokens) -> None:
        """Calls work until the access token is refused or expires. The refresh token stays valid for its owner."""
        tokens = self.sandbox.tokens()
        await asyncio.to_thread(put_login, tokens)
        store = self.make_store()  # it may read its source once
        async with self.acquired(store.lock):
            found = await store.load()
        # A source may have the access token only, as that of the docstring.
        has_refresh_token = found is not None and bool(found.refresh_token)
        expected = TokenStoreError if has_refresh_token else ReauthorizationRequired
        async with self.sandbox:
            async with self.session_with(self.make_store()) as session:
                try:
                    await asyncio.gather(*[session.accounts.me() for _ in range(3)])
                except EzeepError as error:
                    raise AssertionError(f"a call with a valid access token failed: {error!r}") from error
                self.sandbox.expire_access_tokens()
                with raises(expected, "a call with an access token that was refused", tokens):
                    await session.accounts.me()
            await asyncio.to_thread(put_login, expired(tokens))
            async with self.session_with(self.make_store()) as session:
                with raises(expected, "a call with an access token that has expired", tokens):
                    await session.accounts.me()
            assert self.sandbox.refresh_requests == 0, "a refresh was sent whose result could not be saved"
            async with self.session_with(MemoryTokenStore(expired(tokens))) as owner:
                await owner.accounts.me()

    async def assert_gives(self, store: TokenStore, tokens: TokenSet) -> None:
        """Fail unless the store loads these tokens, the refresh token if it has one."""
        async with self.acquired(store.lock):
            found = await store.load()
        assert found is not None, "load() gives None for the token set of the source"
        assert_no_token(f"{store!r} {store}", "repr or str of the store", tokens)
        assert found.access_token == tokens.access_token, "load() gives another token set than the source has"
        assert found.refresh_token in {"", tokens.refresh_token}, "load() gives another refresh token"
