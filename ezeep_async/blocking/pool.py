"""`BlockingSessionPool`: the blocking form of `SessionPool`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ezeep_async._open_sessions import SessionBlock
from ezeep_async._parts import part
from ezeep_async._runtime.syntax import Blocking
from ezeep_async._text.cleaning import check_kind
from ezeep_async.auth.oauth import OAuthLogin
from ezeep_async.blocking import portal
from ezeep_async.blocking.descriptors import call, on_loop, plain
from ezeep_async.blocking.session import BlockingSession, Shared, shared_by
from ezeep_async.errors import OPENED_BEFORE_FORK, SessionClosed, TokenStoreError
from ezeep_async.pool import PoolStats, SessionPool
from ezeep_async.session import EzeepSession


class _Lent(Shared[EzeepSession]):
    """The session of one block. The pool closes it."""

    def __init__(self, session: EzeepSession, owner: portal.Portal) -> None:
        super().__init__(session)
        self._portal = owner

    def session(self) -> EzeepSession:
        """Return the session. Raises `SessionClosed` in a forked child."""
        if self._portal is not portal.current():
            raise SessionClosed(OPENED_BEFORE_FORK)
        return self._session

    @property
    def _owner(self) -> None:
        """No portal has to close it."""

    def close(self) -> None:
        """Do nothing."""


class _BlockingPooledSession(BlockingSession):
    """A blocking session that a pool opens and closes. `close()` and `with` do not close it."""

    def __init__(self, session: EzeepSession, owner: portal.Portal) -> None:
        self._shared = _Lent(session, owner)


class BlockingSessionBlock(Blocking):
    """The block of `BlockingSessionPool.session(key)`."""

    def __init__(self, block: SessionBlock) -> None:
        self._block = block
        self._portal = portal.current()

    def __enter__(self) -> BlockingSession:
        owner = self._portal
        self._block.check_new()
        try:
            session = owner.run("async with pool.session(key) as session", self._block.__aenter__)
        except BaseException:
            owner.post(self._block.aclose)  # Ctrl-C may come when it was entered
            raise
        return _BlockingPooledSession(session, owner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.post(self._block.aclose)


class BlockingOAuthLogin:
    """Logs in, and returns the token set without storing it; the blocking form of `OAuthLogin`."""

    _called = "pool.oauth"

    def __init__(self, shared: Shared[SessionPool]) -> None:
        self._shared = shared

    @property
    def _aio(self) -> OAuthLogin:
        return self._shared.session().oauth

    authorization_request = plain(OAuthLogin.authorization_request)
    complete = call(OAuthLogin.complete)
    exchange_code = call(OAuthLogin.exchange_code)
    login_with_password = call(OAuthLogin.login_with_password)
    login_with_client_credentials = call(OAuthLogin.login_with_client_credentials)
    pair = call(OAuthLogin.pair)
    wait_for_pairing = call(OAuthLogin.wait_for_pairing)


class BlockingSessionPool(Blocking):
    """The sessions of many users with blocking calls, for threads that run no event loop. Made by `run_sync`.

    It has the methods of `SessionPool`, without `await`. Several threads may share it. Close it with a `with` block or
    `close()`. In a forked child the first call opens a pool of the child, with the same token stores.

    Args:
        pool: The async pool that makes the calls, on the background event loop of this process. `store(key)` and
            `on_token_rotated` are called in its thread.

    Raises:
        TypeError: `pool` is not a `SessionPool`.
    """

    _called = "pool"

    oauth: BlockingOAuthLogin = part(
        "blocking.pool.BlockingOAuthLogin", lambda kind, pool, _: kind(pool._shared)
    )
    """Log people in before their key is known. Pass the token set to `adopt`: it is stored nowhere before."""

    def __init__(self, pool: SessionPool) -> None:
        check_kind(pool, SessionPool, "pool", "run_sync(SessionPool(app, ...)) makes one")
        self._shared = shared_by(pool)

    def session(self, key: str) -> BlockingSessionBlock:
        """Use the session of a key: `with pool.session(key) as session:`.

        The session is opened if it is not open. All blocks with one key share one session. Use it only in the block: after
        it, the pool may close the session. Closing the session does nothing.

        A key without a login is no error here. Its calls raise `ReauthorizationRequired`.

        Args:
            key: Names the login. Not empty.

        Returns:
            The context manager of the block.

        Raises:
            TypeError: `key` is not a str.
            ValueError: `key` is empty.
            SessionClosed: The pool is closed, or belongs to the parent process of a fork. Raised by the block, as are the
                errors of `store(key)` and the following.
            TokenStoreError: The token store belongs to another client id.
            RuntimeError: The pool was opened on another event loop.
        """
        return BlockingSessionBlock(self._aio.session(key))

    adopt = call(SessionPool.adopt)
    drop = call(SessionPool.drop)
    keep_alive = on_loop(SessionPool.keep_alive)

    @property
    def stats(self) -> PoolStats:
        """Counters of this pool: sessions that are open and in use, requests under way."""
        return self._aio.stats

    @property
    def _aio(self) -> SessionPool:
        return self._shared.session()

    def __repr__(self) -> str:
        return f"<BlockingSessionPool of {self._shared!r}>"

    def __enter__(self) -> Self:
        portal.run("async with SessionPool(...)", self._aio.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except TokenStoreError:
            if error is None:  # already logged as critical; an error of the block takes precedence
                raise

    def close(self) -> None:
        """Close all sessions and their connections.

        Blocks until token refreshes in progress have ended; calls of other threads raise `SessionClosed`. A second call
        does nothing.

        Raises:
            BlockingCallError: This thread runs an event loop. The pool stays open.
            TokenPersistError: The latest token set of a session could not be saved.
        """
        self._shared.close()

    aclose = close
