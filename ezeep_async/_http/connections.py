"""Connections without an owner: in a forked child, and of a session that was not closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection
from typing import Any

from ezeep_async._runtime import forks


def new_socket(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    """Make a socket that a forked child does not touch. For aiohttp's `socket_factory`."""
    sock = socket.socket(*address[:3])
    forks.watch_socket(sock)
    return sock


def when_unused(
    loop: asyncio.AbstractEventLoop,
    users: Collection[asyncio.Task[Any]],
    drop: Callable[[], None],
    # The globals of this module are gone when a session is collected at the end of the interpreter.
    _running_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop,
) -> None:
    """Call `drop` when the tasks `users` have ended: on `loop` if it runs, else in this thread. Thread-safe."""
    if loop.is_closed():
        drop()
        return

    def drop_if_unused(_: object = None) -> None:
        if all(task.done() for task in users):
            drop()

    def begin() -> None:
        drop_if_unused()
        for task in users:
            task.add_done_callback(drop_if_unused)

    try:
        here = _running_loop()
    except RuntimeError:
        here = None
    if here is loop or not loop.is_running():
        begin()
    else:
        loop.call_soon_threadsafe(begin)


def close_idle(connector: Any, loop: Any) -> None:
    """Close idle connections whose event loop does not run.

    Private attributes of aiohttp and asyncio: `transport.close()` needs a running loop, and aiohttp has no synchronous
    close (aio-libs/aiohttp#3736).
    """
    kept: dict[object, Collection[tuple[Any, float]]] = getattr(connector, "_conns", {})
    for protocol, _ in [each for connections in kept.values() for each in connections]:
        transport = protocol.transport
        if (tls := getattr(transport, "_ssl_protocol", None)) is not None:
            transport._closed = True
            transport = tls._transport
        if (sock := getattr(transport, "_sock", None)) is not None:
            loop._remove_reader(sock.fileno())  # does nothing on a loop that is closed
            sock.close()
            transport._sock = None
    kept.clear()
