"""`KeepAlive`: refreshes the token set of an idle session before it expires."""

from __future__ import annotations

import asyncio
import os
import random
import weakref
from contextvars import Context
from types import TracebackType
from typing import Literal, Protocol, Self

from ezeep_async.auth.refresher import Refresher
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.errors import EzeepError, ReauthorizationRequired


LONGEST_SLEEP_S = 30.0
"""Seconds between two checks of the clock, at most. Timers of an event loop stop while the machine is suspended."""
SHORTEST_SLEEP_S = 1.0
"""Seconds between two refreshes, at least, whatever lifetime the server gives its tokens."""
FIRST_PAUSE_S = 5.0
"""Seconds after the first failure. Each further failure doubles it."""
LONGEST_PAUSE_S = 60.0
"""Limit of that doubling, in seconds."""
REFRESH_SPREAD = 0.25
"""Share of the leeway over which several processes on one store spread their refreshes. The later ones then find the token set
of the first one in the store."""
STOP_TIMEOUT_S = 1.0
"""Seconds that `aclose` waits for the task."""


KeepAliveState = Literal["running", "trying again", "waiting for a login", "stopped"]
"""What `KeepAlive.state` can be."""


class Kept(Protocol):
    """What `KeepAlive` needs of the inside of a session (`_core.Core`)."""

    @property
    def refresher(self) -> Refresher:
        """The refresher of the session."""
        ...

    async def stored(self) -> TokenSet | None:
        """Load the stored token set."""
        ...


class KeepAlive:
    """Refreshes the token set of an idle session. `EzeepSession.keep_alive` returns it.

    It refreshes like a call does: calls join the refresh, it holds the lock of the store, and it adopts a token set that
    another process stored. No error ends it. A failure is logged once, as a warning, and the refresh is retried after 5
    to 60 seconds. If a person has to log in again, it waits for a new token set in the store.

    It ends with `stop()`, at the end of its `async with` block (`with` in blocking code), with the session, or with the
    event loop.
    """

    # The globals of the module are gone when a session is collected at the end of the interpreter.
    _getpid = staticmethod(os.getpid)

    def __init__(self, kept: Kept, interval: float | None = None) -> None:
        # A weak reference: a session that was not closed must be collected, and warn.
        self._kept = weakref.ref(kept)
        self._log = kept.refresher.log
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._interval = interval
        self._stopped = False
        self._delay_share = random.uniform(0, REFRESH_SPREAD)  # noqa: S311  # jitter, not a secret
        """Share of the leeway by which the next refresh begins later."""
        self._failures = 0
        self._failing_with: type[BaseException] | None = None
        self._seen: TokenSet | None = None
        """What the store contained before the last attempt."""
        self._refused: tuple[TokenSet | None] | None = None
        """What the store contained, which may be None, when a person had to log in. While it contains that, nothing is tried."""
        # With a context of its own, because it outlives the caller. Not from the loop's task factory: an eager task would
        # begin before `_task` is set.
        self._task = asyncio.Task(self._run(), loop=self._loop, name="ezeep-keep-alive", context=Context())

    def __repr__(self) -> str:
        return f"<KeepAlive {self.state}>"

    @property
    def is_running(self) -> bool:
        """Whether it was neither stopped nor ended in another way."""
        return not self._stopped and not self._task.done() and self._pid == self._getpid()

    @property
    def state(self) -> KeepAliveState:
        """What it does. `"waiting for a login"`: a person has to log in. `"trying again"`: the last attempt failed."""
        if not self.is_running:
            return "stopped"
        if self._refused is not None:
            return "waiting for a login"
        return "trying again" if self._failures else "running"

    def stop(self) -> None:
        """Stop it. A refresh that is under way continues. Thread-safe; further calls do nothing."""
        was_running, self._stopped = self.is_running, True
        if was_running:
            try:  # noqa: SIM105  # contextlib may be cleared at exit, see `_getpid`
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:  # the loop is closed, and the task has ended with it
                pass

    async def aclose(self) -> None:
        """Stop it, and wait until it has ended, for at most one second."""
        self.stop()
        # Another loop: that of the task is closed, so the task never ends.
        if self._loop is asyncio.get_running_loop():
            await asyncio.wait({self._task}, timeout=STOP_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _run(self) -> None:
        while not self._stopped and (kept := self._kept()) is not None:
            pause = await self._step(kept)
            del kept
            await asyncio.sleep(pause)

    async def _step(self, kept: Kept) -> float:
        """Refresh if it is time. Return the seconds until the next step."""
        refresher = kept.refresher
        try:
            if refresher.due_in(max_age=self._interval) > 0:
                self._succeeded()
                await refresher.access_token()  # at once; saves a token set that could not be stored before
            left = refresher.due_in(self._delay_share, self._interval)
            if left > 0:
                return min(left, LONGEST_SLEEP_S)
            # Before the attempt, so that a login during the attempt is noticed.
            self._seen = await kept.stored()
            if self._refused == (self._seen,):
                return LONGEST_SLEEP_S
            await (refresher.access_token() if self._interval is None else refresher.refresh(self._interval))
        except ReauthorizationRequired as error:
            self._refused = (self._seen,)
            self._warn(error, "a new login is waited for")
            return LONGEST_SLEEP_S
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # third-party stores and hooks must not end it
            self._failures += 1
            self._warn(error, "the refresh is retried")
            return min(FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_S)
        self._succeeded()
        self._delay_share = random.uniform(0, REFRESH_SPREAD)  # noqa: S311  # jitter, not a secret
        return SHORTEST_SLEEP_S

    def _warn(self, error: BaseException, what_now: str) -> None:
        if self._failing_with is not type(error):
            self._failing_with = type(error)
            unexpected = None if isinstance(error, EzeepError) else error
            self._log.warning(
                "the token set is not kept alive now, %s: %s", what_now, error, exc_info=unexpected
            )

    def _succeeded(self) -> None:
        if self._failing_with is not None:
            self._log.info("the token set is kept alive again")
        self._failures, self._failing_with, self._refused = 0, None, None
