"""What else knocks at the port that `ezeep login` listens on."""

from __future__ import annotations

import asyncio

import pytest
from helpers.command_line import ended, running
from helpers.people import Desk, visit
from yarl import URL


pytestmark = pytest.mark.slow


@pytest.mark.timeout(60)
async def test_garbage_at_the_port_is_nothing_for_the_terminal(desk: Desk) -> None:
    """9-4: no traceback for what is no HTTP, and the login goes on."""
    async with running("login", env=desk.environment) as process:
        came_back = await desk.came_back()
        url = URL(came_back)
        for garbage in (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /" + b"x" * 20000 + b"\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(garbage)
            await asyncio.wait_for(reader.read(100), 10)
            writer.close()
        assert (await visit(came_back))[0] == 200
        ran = await ended(process)
    assert (ran.code, ran.err) == (0, "")
