"""Messages to a service manager: what the environment may contain."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from ezeep_async.cli.login.supervisor import Supervisor


@pytest.mark.parametrize(
    "given", ["", "0", "-5", "x", "1e6", "9" * 400, "9" * 5000, "\u0663\u0663", str(10**15)]
)
async def test_a_watchdog_that_is_none(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signs of life are sent, and nothing fails."""
    supervisor, sent = Supervisor({"WATCHDOG_USEC": given}), []
    monkeypatch.setattr(supervisor, "notify", sent.append)
    async with supervisor.signs_of_life():
        await asyncio.sleep(0.01)
    assert sent == []


async def test_a_watchdog_of_a_microsecond_does_not_occupy_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supervisor, sent = Supervisor({"WATCHDOG_USEC": "1"}), []
    monkeypatch.setattr(supervisor, "notify", sent.append)
    async with supervisor.signs_of_life():
        for _ in range(100):
            await asyncio.sleep(0)
    assert len(sent) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no sockets with paths")
def test_text_of_the_server_is_neither_a_state_nor_a_control_sequence(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        supervisor.notify("READY=1", "STATUS=a\nSTOPPING=1\r\x1b[31m\x00\u202eb")
        text = channel.recv(4096).decode()
    assert text.split("\n") == ["READY=1", "STATUS=a\ufffdSTOPPING=1\ufffd\ufffd[31m\ufffd\ufffdb"]


@pytest.mark.parametrize(
    "address", ["/dev/null", "/gone/notify", "/" + "x" * 4096, "@" + "x" * 4096, "vsock:2:1", "\udce4"]
)
def test_an_address_without_a_listener(address: str) -> None:
    """Messages are dropped, also those with text that cannot be encoded, and very long ones."""
    for text in ("READY=1", "STATUS=\ud800", "STATUS=" + "x" * 10**6):
        Supervisor({"NOTIFY_SOCKET": address}).notify(text)
