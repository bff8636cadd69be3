"""What a forked child inherits and must leave alone.

A child has copies of its parent's objects, and descriptors of the very same sockets and of the same epoll instance. A
finalizer that runs on them in the child takes a socket off the selector of the parent, or ends a TLS connection that the
parent goes on with. So in the child the descriptors are made harmless, and the objects are never finalized.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import sys
import weakref
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, Protocol, runtime_checkable


class Inherited(Protocol):
    """What is registered with `watch`."""

    def disown(self) -> None:
        """Called in a forked child: this object belongs to the parent process. It may still call `watch_socket`."""
        ...


@runtime_checkable
class _WithDescriptor(Protocol):
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class _Grave(tzinfo):
    """What is in here is never finalized, not even while the interpreter ends and clears its modules.

    The garbage collector does not look into a `datetime`, so this cycle is never garbage.
    """

    def __init__(self) -> None:
        self.buried: list[object] = []
        self._cycle = datetime(1, 1, 1, tzinfo=self)


_grave = _Grave()  # type: ignore[abstract]  # no datetime is ever converted with it
_watched: weakref.WeakSet[Inherited] = weakref.WeakSet()
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


def watch(owner: Inherited, loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Let a forked child leave alone what `owner` has open, on `loop`. Both are referred to weakly."""
    _watched.add(owner)
    if loop is not None:
        _loops.add(loop)


def watch_socket(sock: socket.socket) -> None:
    """Let a forked child have a socket without a peer in place of this connection."""
    _sockets.add(sock)


def watch_connection(transport: asyncio.BaseTransport) -> None:
    """`watch_socket`, for a connection that was made by somebody else."""
    sock = getattr(transport.get_extra_info("socket"), "_sock", None)
    if isinstance(sock, socket.socket):
        watch_socket(sock)


def watch_task(task: asyncio.Task[Any]) -> None:
    """Let a forked child neither wait for this task nor finalize it."""
    _tasks.add(task)


def bury(inherited: object) -> None:
    """Keep an object that belongs to another process for ever, so that it is never finalized here."""
    _grave.buried.append(inherited)


def at_end_of_child(callback: Callable[[], None]) -> None:
    """Call it at the end of a child of `multiprocessing`, which runs no exit handlers but those of that module."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, callback, exitpriority=-10)  # after those of the program, which may still call


def _after_fork_in_child() -> None:
    owners, loops, tasks = list(_watched), list(_loops), list(_tasks)
    for each in (_watched, _loops, _tasks):
        each.clear()
    for owner in owners:
        owner.disown()
    sockets = list(_sockets)
    _sockets.clear()
    _grave.buried += [owners, loops, sockets, tasks]
    for task in tasks:
        # https://docs.python.org/3/library/asyncio-extending.html#task-lifetime-support
        asyncio._unregister_task(task)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    # There may be no descriptor left, and an event loop may have any selector: the child goes on all the same.
    if sockets:
        with contextlib.suppress(OSError):
            _cut_off(sockets)
    for loop in loops:
        with contextlib.suppress(Exception):
            _give_own_descriptors(loop, {sock.fileno() for sock in sockets})


def _cut_off(sockets: list[socket.socket]) -> None:
    """Put a connection to nowhere in their place: what is sent there vanishes, and its end is there to be read."""
    here, nowhere = socket.socketpair()
    nowhere.shutdown(socket.SHUT_WR)
    here.setblocking(False)
    bury(nowhere)
    for sock in sockets:
        if sock.fileno() >= 0:
            os.dup2(here.fileno(), sock.fileno(), inheritable=False)
    here.close()


def _give_own_descriptors(loop: asyncio.AbstractEventLoop, silent: set[int]) -> None:
    """Give a copied event loop a selector and a self-pipe that it does not share with its original.

    Of the descriptors `silent` it is told nothing any more: what waits for them does not go on.

    asyncio has no public way to do that (python/cpython#66285). An event loop without these attributes, such as
    uvloop's, is only kept from being finalized.
    """
    # Asynchronous generators are suspended in the parent too: closed here, they would do its clean-up.
    getattr(loop, "_asyncgens", set[object]()).clear()
    selector: object = getattr(loop, "_selector", None)
    if not isinstance(selector, selectors.BaseSelector):
        return
    keys = list(selector.get_map().values())  # None when it is closed, against its annotation
    ends = [getattr(loop, name, None) for name in ("_ssock", "_csock")]
    for end, replacement in zip(ends, socket.socketpair(), strict=True):
        replacement.setblocking(False)
        if isinstance(end, socket.socket) and end.fileno() >= 0:
            os.dup2(replacement.fileno(), end.fileno(), inheritable=False)
        replacement.close()
    if isinstance(selector, _WithDescriptor):
        fresh = type(selector)()
        if fresh.fileno() == selector.fileno():  # a kqueue does not come through a fork: its number was free
            bury(fresh)
        else:
            os.dup2(fresh.fileno(), selector.fileno(), inheritable=False)
            fresh.close()
    for key in keys:
        selector.unregister(key.fileobj)
        if key.fd not in silent:
            with contextlib.suppress(OSError, ValueError):
                selector.register(key.fileobj, key.events, key.data)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
