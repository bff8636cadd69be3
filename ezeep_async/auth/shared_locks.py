"""`SharedLocks`: locks for single users and for creating groups that a token store lends, shared by all that share the store."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable


class HeldLock(Protocol):
    """A shared lock while it is held."""

    @property
    def lost(self) -> bool:
        """Whether another process may have held the lock since this one took it.

        True for a lease that ran out before it could be extended. Once the lock was given back, whether that had
        happened before.
        """
        ...


@runtime_checkable
class SharedLocks(Protocol):
    """The locks of one session, on one event loop. `TokenStore.shared_locks()` makes them.

    They are not the store's `lock()`, which may be taken while one of these is held. A session takes no two of these in
    one task. Two names may share a lock, as long as most do not.
    """

    def hold(self, name: str, /) -> AbstractAsyncContextManager[HeldLock | None]:
        """Hold the lock called `name` against all other tasks, event loops and processes that share the store.

        It waits for as long as it takes: the session cancels it at its own time limit. A cancelled waiter leaves no lock
        behind. It may be given back by another task than the one that took it, and is given back whatever that task is
        told. It ends with the process that holds it, if not at once, then by a lease.

        Args:
            name: Any text. It may hold what should not be shown: hash it where others can read it.

        Returns:
            A context manager. It gives an object whose `lost` says that the lock did not last, None where it always does.

        Raises:
            TokenStoreError: No lock can be had here at all: no such folder, no such server.
        """
        ...

    async def aclose(self) -> None:
        """Close what is open for these locks. Called once, when the session closes."""
        ...
