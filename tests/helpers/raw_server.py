"""An HTTP server by hand, for responses that no server library would send."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import attrs


ID = "0050a068-cc7b-4490-951a-06920a610ee5"
GROUP = json.dumps({"id": ID, "name": "g", "organization_id": ID}).encode()
NEXT = b'{"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": 3600}'


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer as it should be, with more headers."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@attrs.define
class Exchange:
    """One request, and the connection that it came on."""

    reader: asyncio.StreamReader = attrs.field(repr=False)
    writer: asyncio.StreamWriter = attrs.field(repr=False)
    head: str
    body: bytes = b""

    @property
    def line(self) -> str:
        """The method and the path."""
        return " ".join(self.head.split(" ", 2)[:2])

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reset(self) -> None:
        """Cut the connection so that the other side gets an RST."""
        self.writer.transport.abort()

    async def answer(self) -> None:
        """What a server in good health says."""
        path = self.head.split(" ", 2)[1]
        await self.send(http(NEXT if path == "/oauth/access_token/" else GROUP))


Play = Callable[[Exchange], Awaitable[object]]
"""What happens to one request. The connection is kept when the play returns True."""


def says(data: bytes, *, keep: bool = True) -> Play:
    """Send these bytes, and keep the connection open, or close it."""

    async def play(exchange: Exchange) -> bool:
        await exchange.send(data)
        return keep

    return play


def repeats(first: bytes, again: bytes, pause: float = 0.0) -> Play:
    """Send the first bytes, and the others again and again."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(first)
        while True:
            await exchange.send(again)
            await asyncio.sleep(pause)

    return play


async def well(exchange: Exchange) -> bool:
    """The play of a server in good health."""
    await exchange.answer()
    return True


class PlayServer:
    """Gives each request to the next play; when there are none left, the server is in good health.

    `requests` has what arrived; a play in `unread` gets its request without the body having been read.
    With `tls` it is an https server.
    """

    def __init__(self, *plays: Play, unread: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.plays = list(plays)
        self._unread = unread
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.requests: list[Exchange] = []
        self.connections = 0
        self.url = ""

    @property
    def lines(self) -> list[str]:
        """Methods and paths of the requests that arrived."""
        return [exchange.line for exchange in self.requests]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                exchange = Exchange(reader, writer, head)
                self.requests.append(exchange)
                play = self.plays.pop(0) if self.plays else well
                if play is well or not self._unread:
                    for line in head.split("\r\n"):
                        name, _, value = line.partition(":")
                        if name.lower() == "content-length":
                            exchange.body = await reader.readexactly(int(value))
                if not await play(exchange):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
