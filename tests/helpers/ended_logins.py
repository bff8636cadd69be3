"""What the stores of this package do beyond the contract: they keep that a login has ended."""

from __future__ import annotations

import attrs

from ezeep_async.testing import TokenStoreContract
from ezeep_async.testing.store_checks import token_set


class EndedLogins(TokenStoreContract):
    """The contract, and `TokenSet.ended`."""

    async def test_1_21_an_ended_login_is_kept_until_the_next_one(self) -> None:
        """Other processes see it. The next token set is not marked."""
        for tokens in (attrs.evolve(token_set(1), ended=True), token_set(2)):
            await self.saved(self.store, tokens)
            for store in (self.store, self.other):
                async with store.lock():
                    found = await store.load()
                assert found is not None
                assert found.ended is tokens.ended
