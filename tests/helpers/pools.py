"""Pools in the sandbox, with token stores in memory."""

from __future__ import annotations

from helpers.support import QUICK, expired

from ezeep_async import EzeepSession, MemoryTokenStore, SessionPool
from ezeep_async.sandbox import Sandbox


class Stores(dict[str, MemoryTokenStore]):
    """A token store in memory for each key."""

    def __call__(self, key: str) -> MemoryTokenStore:
        return self.setdefault(key, MemoryTokenStore())


def pool_in(sandbox: Sandbox, store=None, **options) -> SessionPool:
    options.setdefault("settings", QUICK)
    return SessionPool(
        sandbox.oauth_app, Stores() if store is None else store, endpoints=sandbox.endpoints, **options
    )


def logged_in(sandbox: Sandbox, *keys: str) -> Stores:
    """Stores with a token set for each of the keys, whose access token has expired."""
    return Stores((key, MemoryTokenStore(expired(sandbox.tokens()))) for key in keys)


async def use(pool: SessionPool, key: str) -> EzeepSession:
    async with pool.session(key) as session:
        await session.accounts.me()
        return session
