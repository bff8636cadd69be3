"""`run_sync`: the blocking twin of a session or of a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from ezeep_async._runtime.later_types import imported_later
from ezeep_async.blocking.session import BlockingSession
from ezeep_async.session import EzeepSession


if TYPE_CHECKING:
    from ezeep_async.blocking.pool import BlockingSessionPool
    from ezeep_async.pool import SessionPool

globals().update(imported_later("ezeep_async", "BlockingSessionPool SessionPool"))


@overload
def run_sync(session: EzeepSession) -> BlockingSession: ...
@overload
def run_sync(session: SessionPool) -> BlockingSessionPool: ...
def run_sync(session: EzeepSession | SessionPool) -> BlockingSession | BlockingSessionPool:
    """Make a session with blocking calls from an `EzeepSession`, or a pool of them from a `SessionPool`.

    The result has the same attributes and methods, without `await`. Use it in a `with` block:

        with run_sync(EzeepSession(app, store)) as session:
            session.accounts.me()

    Do not use `session` itself afterwards: it belongs to the background event loop.

    Args:
        session: A session or pool that is not open on another event loop. If it is, the first call raises `RuntimeError`,
            and it stays open there.

    Returns:
        The blocking session or pool. A second call with the same session returns a view of it: closing one closes both.

    Raises:
        TypeError: `session` is neither an `EzeepSession` nor a `SessionPool`.
    """
    if not isinstance(session, EzeepSession):
        from ezeep_async.blocking.pool import BlockingSessionPool  # most programs do not use it
        from ezeep_async.pool import SessionPool

        if isinstance(session, SessionPool):
            return BlockingSessionPool(session)
    return BlockingSession(session)
