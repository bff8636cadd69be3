"""Forked children and the locks and connections of their parents on a Redis server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.redis_servers import Server

from ezeep_async import RedisTokenStore


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.fixture
def server(tmp_path: Path):
    server = Server(tmp_path)
    yield server
    server.close()


def in_child(act: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def test_5_3_a_child_does_not_release_a_shared_lock_of_its_parent(server: Server) -> None:
    locks = RedisTokenStore(server.address).shared_locks()
    holding = locks.hold("a name")
    held = await holding.__aenter__()

    in_child(lambda: asyncio.run(holding.__aexit__(None, None, None)))
    assert list(server.admin.scan_iter("*:turn:*"))
    await holding.__aexit__(None, None, None)
    assert not held.lost
    assert not list(server.admin.scan_iter("*:turn:*"))
    await locks.aclose()


@pytest.mark.parametrize("borrowed", [False, True])
async def test_5_3_a_child_has_no_connection_of_its_parent(server: Server, borrowed: bool) -> None:
    """It would read responses that the parent waits for."""
    redis = pytest.importorskip("redis.asyncio", reason="the extra redis is not installed")
    client = redis.Redis.from_url(server.address)
    store = RedisTokenStore(client if borrowed else server.address)
    async with store.lock():
        pool = (
            client.connection_pool
            if borrowed
            else next(iter(store._server._links.values())).client.connection_pool
        )
        connections = [*pool._available_connections, *pool._in_use_connections]
        assert connections

        def check() -> None:
            for connection in connections:
                sock = connection._writer.get_extra_info("socket")
                sock._sock.sendall(b"PING\r\n")
                assert sock._sock.recv(10) == b""

        in_child(check)
        assert await store.load() is None
    await client.aclose()
