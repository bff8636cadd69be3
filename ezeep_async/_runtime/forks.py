"""What a forked child inherits and must not touch.

A child has copies of its parent's objects. Their descriptors refer to the same sockets and the same epoll instance. A
finalizer that runs in the child could remove a socket from the parent's selector, or end a TLS connection that the parent
still uses. So the child replaces what the descriptors refer to, and never finalizes the objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, Protocol


IMPORT_WAIT_S = 10.0
"""Longest delay of a fork by an import."""


class Inherited(Protocol):
    """An object that `watch` registers."""

    def disown(self) -> None:
        """Called in a forked child: this object belongs to the parent process. May call `watch_socket` and `keep_forever`."""
        ...


class _Grave(tzinfo):
    """Objects that are never finalized, not even when the interpreter exits and clears its modules.

    It keeps itself alive by a reference cycle through a `datetime`, which the garbage collector does not traverse.
    """

    def __init__(self) -> None:
        self.buried: list[object] = []
        self._cycle = datetime(1, 1, 1, tzinfo=self)


_grave = _Grave()  # type: ignore[abstract]  # no method of tzinfo is called
_watched: weakref.WeakSet[Inherited] = weakref.WeakSet()
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
_tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
_importing = threading.RLock()


def importing() -> contextlib.AbstractContextManager[object]:
    """The lock to hold during an import in a thread of the SDK: a fork waits for its end.

    A child in which a module is half imported never finishes that import: the thread that does it exists in the parent only.
    """
    return _importing


def watch(owner: Inherited, loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Call `owner.disown()` in a forked child, and separate the child's copy of `loop`. Both are referenced weakly."""
    _watched.add(owner)
    if loop is not None:
        _loops.add(loop)


def watch_socket(sock: socket.socket) -> None:
    """Replace this connection by a disconnected socket in a forked child."""
    _sockets.add(sock)


def watch_connection(transport: asyncio.BaseTransport) -> None:
    """`watch_socket` for the socket of a transport, if it has one."""
    sock = getattr(transport.get_extra_info("socket"), "_sock", None)
    if isinstance(sock, socket.socket):
        watch_socket(sock)


def watch_task(task: asyncio.Task[Any]) -> None:
    """In a forked child, remove this task from `asyncio.all_tasks()` and never finalize it."""
    _tasks.add(task)


def keep_forever(inherited: object) -> None:
    """Keep an object of the parent process forever, so that this process never finalizes it."""
    _grave.buried.append(inherited)


def at_end_of_child(callback: Callable[[], None]) -> None:
    """Call it at the end of a `multiprocessing` child, which runs the exit handlers of `multiprocessing` only."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        # After the exit handlers of the program, which may still make calls.
        util.Finalize(None, callback, exitpriority=-10)


def _before_fork() -> None:
    _importing.acquire(timeout=IMPORT_WAIT_S)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # an import took longer than the limit
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing  # noqa: PLW0603  # a thread that the child does not have may hold it
    _importing = threading.RLock()
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
        # asyncio has no public switch for its warning about a pending task that is finalized.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # see above
    # The process may be out of descriptors, and a loop may have an unknown selector. Neither must break the fork.
    if sockets:
        with contextlib.suppress(OSError):
            _disconnect(sockets)
    for loop in loops:
        with contextlib.suppress(Exception):
            _give_own_descriptors(loop, {sock.fileno() for sock in sockets})


def _disconnect(sockets: list[socket.socket]) -> None:
    """Replace them by one end of a socket pair: reading gives end of file, and what is written is discarded."""
    here, peer = socket.socketpair()
    peer.shutdown(socket.SHUT_WR)
    here.setblocking(False)
    keep_forever(peer)
    with here:
        for sock in sockets:
            if sock.fileno() >= 0:
                os.dup2(here.fileno(), sock.fileno(), inheritable=False)


def _give_own_descriptors(loop: asyncio.AbstractEventLoop, unregistered: set[int]) -> None:
    """Give the copy of an event loop a selector and a self-pipe that it does not share with the parent's loop.

    The new selector does not watch the descriptors in `unregistered`.

    asyncio has no public way to do that (python/cpython#66285). An event loop without these attributes, such as
    uvloop's, is only kept from being finalized.
    """
    # The parent has the same suspended asynchronous generators. Closing them here would run the parent's clean-up.
    getattr(loop, "_asyncgens", set[object]()).clear()
    selector: object = getattr(loop, "_selector", None)
    if not isinstance(selector, selectors.BaseSelector):
        return
    # A closed selector has None here, against the annotation: the caller suppresses the AttributeError.
    keys = list(selector.get_map().values())
    ends = [getattr(loop, name, None) for name in ("_ssock", "_csock")]
    for end, replacement in zip(ends, socket.socketpair(), strict=True):
        replacement.setblocking(False)
        if isinstance(end, socket.socket) and end.fileno() >= 0:
            os.dup2(replacement.fileno(), end.fileno(), inheritable=False)
        replacement.close()
    if (fileno := getattr(selector, "fileno", None)) is not None:
        fresh: Any = type(selector)()
        if fresh.fileno() == fileno():  # a child does not inherit a kqueue: the new one took its number
            keep_forever(fresh)
        else:
            os.dup2(fresh.fileno(), fileno(), inheritable=False)
            fresh.close()
    for key in keys:
        selector.unregister(key.fileobj)
        if key.fd not in unregistered:
            with contextlib.suppress(OSError, ValueError):
                selector.register(key.fileobj, key.events, key.data)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
