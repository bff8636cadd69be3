"""`SharedLocks`: locks of a token store for changing one user or creating groups, shared by all users of the store."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable


class HeldLock(Protocol):
    """A shared lock while it is held."""

    @property
    def lost(self) -> bool:
        """Whether another process may have held the lock since this one acquired it.

        True when the lease ran out before it was extended. After the release: whether that happened before it.
        """
        ...


@runtime_checkable
class SharedLocks(Protocol):
    """The locks of one session, on one event loop. `TokenStore.shared_locks()` returns them.

    They are independent of the store's `lock()`, which may be acquired while one of these is held. A task holds at most
    one of these. Two names may share a lock, if that is rare.
    """

    def hold(self, name: str, /) -> AbstractAsyncContextManager[HeldLock | None]:
        """Hold the lock called `name` against all other tasks, event loops and processes that share the store.

        It has no timeout of its own: the session cancels it. A cancelled waiter leaves no lock behind. Another task than
        the one that acquired the lock may release it. The release completes even if its task is cancelled. When the
        process that holds the lock ends, the lock ends at once, or when a lease runs out.

        Args:
            name: Any text. May contain confidential names: hash it where others can read it.

        Returns:
            A context manager. It gives an object with `lost`, or None if the lock cannot be lost.

        Raises:
            TokenStoreError: Locks cannot be used here: the folder or the server is missing.
        """
        ...

    async def aclose(self) -> None:
        """Close files and connections of these locks. Called once, when the session closes."""
        ...
