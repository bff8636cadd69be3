"""The contract of token stores, tested with every store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.ended_logins import EndedLogins
from helpers.other_stores import Shelf, Vault, in_the_way, shelves

from ezeep_async import (
    FileTokenStore,
    KeyringTokenStore,
    MemoryTokenStore,
    ReadOnlyTokens,
    RedisTokenStore,
    TokenSet,
)
from ezeep_async.testing import ReadOnlyTokenStoreContract, TokenStoreContract
from ezeep_async.testing.store_checks import token_set


pytestmark = pytest.mark.slow


EXACT = timedelta(0)


# --- of this package -----------------------------------------------------------------------------------------------------------


class TestMemoryTokenStore(EndedLogins):
    precision = EXACT

    @pytest.fixture
    def make_store(self):
        store = MemoryTokenStore()
        return lambda: store


class TestMemoryTokenStoreOnItsOwn(TokenStoreContract):
    shared = False
    precision = EXACT

    @pytest.fixture
    def make_store(self):
        return MemoryTokenStore


class TestFileTokenStore(EndedLogins):
    precision = EXACT

    @pytest.fixture
    def make_store(self, tmp_path: Path):
        return lambda: FileTokenStore(tmp_path / "login.json")

    @pytest.fixture
    def make_store_elsewhere(self, tmp_path: Path):
        return partial(FileTokenStore, tmp_path / "login.json")

    @pytest.fixture
    def make_unwritable(self, tmp_path: Path):
        return lambda: in_the_way(tmp_path / "login.json")


class TestKeyringTokenStore(EndedLogins):
    precision = EXACT

    @pytest.fixture
    def make_store(self, tmp_path: Path):
        keyring = pytest.importorskip("keyring", reason="the extra keyring is not installed")
        backend = pytest.importorskip("keyring.backend", reason="the extra keyring is not installed")
        entries: dict[tuple[str, str], str] = {}

        class InMemory(backend.KeyringBackend):
            priority = 1

            def get_password(self, service: str, username: str) -> str | None:
                return entries.get((service, username))

            def set_password(self, service: str, username: str, password: str) -> None:
                entries[service, username] = password

            def delete_password(self, service: str, username: str) -> None:
                del entries[service, username]

        before = keyring.core._keyring_backend
        keyring.set_keyring(InMemory())
        yield lambda: KeyringTokenStore(folder=tmp_path)
        keyring.core._keyring_backend = before


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from helpers.redis_servers import Server

    server = Server(tmp_path_factory.mktemp("redis"))
    yield server.address
    server.close()


class TestRedisTokenStore(EndedLogins):
    precision = EXACT

    @pytest.fixture
    def make_store(self, redis_address: str, request: pytest.FixtureRequest):
        return lambda: RedisTokenStore(redis_address, f"clear:{request.node.nodeid}")

    @pytest.fixture
    def make_store_elsewhere(self, redis_address: str, request: pytest.FixtureRequest):
        return partial(RedisTokenStore, redis_address, f"clear:{request.node.nodeid}")

    @pytest.fixture
    def make_response_lost(self, monkeypatch: pytest.MonkeyPatch):
        """The server runs the script, and none of the client's retries gets a response.

        For a shared lock, the first retry gets one. Without any, the session writes without the lock, which ends with its
        lease: a release of each would delay all sessions in an outage (`test_an_outage_delays_each_session_once`).
        """
        pytest.importorskip("redis", reason="the extra redis is not installed")
        from ezeep_async.auth.stores.leased import StoreUnusable
        from ezeep_async.auth.stores.redis import _LOAD
        from ezeep_async.auth.stores.redis_server import RedisServer

        evaluate, armed = RedisServer.evaluate, list[bool]()

        async def lost(self: RedisServer, script: str, *arguments: Any) -> Any:
            result = await evaluate(self, script, *arguments)
            if not armed or script == _LOAD:
                return result
            armed.clear()
            if "the shared locks" not in self.where:
                raise StoreUnusable("no response", "no response")
            return await evaluate(self, script, *arguments)

        monkeypatch.setattr(RedisServer, "evaluate", lost)
        yield lambda: armed.append(True)
        assert not armed, "no response was lost"


class TestRedisTokenStoreWithEncryption(EndedLogins):
    precision = EXACT

    @pytest.fixture
    def make_store(self, redis_address: str, request: pytest.FixtureRequest):
        fernet = pytest.importorskip("cryptography.fernet", reason="the extra redis is not installed")
        key = fernet.Fernet.generate_key()
        return lambda: RedisTokenStore(redis_address, f"encrypted:{request.node.nodeid}", encryption_key=key)


def _values(tokens: TokenSet) -> dict[str, object]:
    return attrs.asdict(tokens) | {"expires_at": tokens.expires_at.timestamp()}


class TestReadOnlyTokensOfAMapping(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def source(self) -> dict[str, object]:
        return {}

    @pytest.fixture
    def make_store(self, source: dict[str, object]):
        return lambda: ReadOnlyTokens(source)

    @pytest.fixture
    def put_login(self, source: dict[str, object]):
        return lambda tokens: source.update(_values(tokens))


class TestReadOnlyTokensOfAFile(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path):
        return lambda: ReadOnlyTokens(tmp_path / "login.json")

    @pytest.fixture
    def put_login(self, tmp_path: Path):
        return lambda tokens: (tmp_path / "login.json").write_text(json.dumps(_values(tokens)))


class TestReadOnlyTokensOfTheEnvironment(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def make_store(self):
        return ReadOnlyTokens.from_env

    @pytest.fixture
    def put_login(self, monkeypatch: pytest.MonkeyPatch):
        def put(tokens: TokenSet) -> None:
            monkeypatch.setenv("EZEEP_ACCESS_TOKEN", tokens.access_token)
            monkeypatch.setenv("EZEEP_REFRESH_TOKEN", tokens.refresh_token)
            monkeypatch.setenv("EZEEP_TOKEN_EXPIRES_AT", tokens.expires_at.isoformat())

        return put

    async def test_every_load_reads_the_source(self, make_store, put_login) -> None:
        """Only by a new store: another program cannot change the environment of a process, so it is read once."""
        put_login(token_set(1))
        store = make_store()
        put_login(token_set(2))
        await self.assert_gives(store, token_set(1))
        await self.assert_gives(make_store(), token_set(2))


# --- of another project -----------------------------------------------------------------------------------------------------


class TestShelf(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self):
        return shelves(Shelf)


class TestVault(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def box(self) -> list[TokenSet]:
        return []

    @pytest.fixture
    def make_store(self, box: list[TokenSet]):
        return lambda: Vault(box)

    @pytest.fixture
    def put_login(self, box: list[TokenSet]):
        return box.append
