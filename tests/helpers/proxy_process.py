"""An HTTP proxy in a process of its own: `python proxy_process.py USER:PASSWORD PORT`, where "" and 0 are neither.

Prints its port, and then a line for each request: the method, the target, and whether it was let through. With a port all
tunnels lead to that port of this machine, whatever host they name.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import attrs


@attrs.define
class Proxy:
    """The proxy as its tests see it."""

    process: Process
    port: int
    seen: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def proxy_process(credentials: str = "", *, tunnels_to: int = 0) -> AsyncIterator[Proxy]:
    """Run the proxy. `seen` has a line for each request once the block is over, and before as far as they were read."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, credentials, str(tunnels_to), stdout=-1
    )
    assert process.stdout is not None
    proxy = Proxy(process, int(await process.stdout.readline()), [])

    async def collect(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            proxy.seen.append(line.decode().strip())

    collecting = asyncio.create_task(collect(process.stdout))
    try:
        yield proxy
    finally:
        process.terminate()
        await process.wait()
        await collecting


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _read(reader: asyncio.StreamReader) -> tuple[list[str], bytes]:
    """One message: its lines, and a body that has a length."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    lengths = [int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:")]
    return lines, await reader.readexactly(lengths[0]) if lengths else b""


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, expected: str, tunnels_to: int
) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            lines, body = await _read(reader)
            method, target, _ = lines[0].split(" ")
            given = [line.split(" ")[-1] for line in lines if line.lower().startswith("proxy-authorization:")]
            allowed = not expected or given == [expected]
            sys.stdout.write(f"{method} {target} {'through' if allowed else 'refused'}\n")
            sys.stdout.flush()
            if not allowed:
                writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                break
            url = urlsplit(target if "://" in target else f"//{target}")
            host, port = url.hostname, url.port
            if method == "CONNECT" and tunnels_to:
                host, port = "127.0.0.1", tunnels_to
            there, out = await asyncio.open_connection(host, port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, out), _copy(there, writer))
                break
            kept = [line for line in lines[1:] if not line.lower().startswith("proxy-")]
            head = "\r\n".join([f"{method} {url.path} HTTP/1.1", *kept, "", ""])
            out.write(head.encode("latin-1") + body)
            lines, body = await _read(there)
            out.close()
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    writer.close()


async def main() -> None:
    """Serve until the process is ended."""
    credentials, tunnels_to = sys.argv[1], int(sys.argv[2])
    expected = base64.b64encode(credentials.encode()).decode()
    server = await asyncio.start_server(lambda r, w: _serve(r, w, expected, tunnels_to), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
