"""`KeepAlive`: renews a login that nobody uses just now, before it ends."""

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


LONGEST_SLEEP = 30.0
"""Seconds between two looks at the clock: a machine that was suspended, or a login by somebody else, is noticed soon.
The timers of an event loop stand still while the machine is suspended."""
SHORTEST_SLEEP = 1.0
"""Seconds between two renewals at least, whatever life a server gives its tokens."""
FIRST_PAUSE = 5.0
"""Seconds after the first failure. Doubled with each one that follows."""
LONGEST_PAUSE = 60.0
"""Seconds."""
SPREAD = 0.25
"""The share of the leeway over which workers on one store spread, so that they do not all wake in one instant."""
STOP_WAIT = 1.0
"""Seconds that stopping waits, at most, for a look into the store to end."""


KeepAliveState = Literal["running", "trying again", "waiting for a login", "stopped"]


class Kept(Protocol):
    """The inside of a session, as far as it is needed here."""

    @property
    def refresher(self) -> Refresher: ...
    async def stored(self) -> TokenSet | None: ...


class KeepAlive:
    """Keeps the login of one session alive while nobody uses it: what `EzeepSession.keep_alive` returns.

    A login that is due is renewed in the way in which a call renews it: joined by calls that come meanwhile, under the
    lock of the store, and not at all where another session or process has done it already. No error ends it. Trouble
    with the server or the store is logged once, as a warning, and the renewal tried again after 5 to 60 seconds; where
    a person has to log in again, that is logged once and a new login waited for, whoever makes it.

    It ends with `stop()`, with the block of `async with` (or `with`, in blocking code), with the session, or with the
    event loop.
    """

    # Here, as the module's globals are gone when a session is collected at the end of the interpreter.
    _getpid = staticmethod(os.getpid)

    def __init__(self, kept: Kept) -> None:
        # Weakly, and only while there is something to do: a session that nobody closed shall be noticed.
        self._kept = weakref.ref(kept)
        self._log = kept.refresher.log
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._stopped = False
        self._share = _share()
        self._failures = 0
        self._failing_with: type[BaseException] | None = None
        self._seen: TokenSet | None = None
        self._refused: tuple[TokenSet | None] | None = None
        """What the store held when a person was found to be needed, None included."""
        # In a context of its own: it outlives the request, or whatever else, it was started in.
        # And never eagerly, whatever the loop's task factory: it needs what it is a part of.
        self._task = asyncio.Task(self._run(), loop=self._loop, name="ezeep-keep-alive", context=Context())

    def __repr__(self) -> str:
        return f"<KeepAlive {self.state}>"

    @property
    def is_running(self) -> bool:
        """Whether it has neither been stopped nor ended otherwise."""
        return not self._stopped and not self._task.done() and self._pid == self._getpid()

    @property
    def state(self) -> KeepAliveState:
        """How it goes. `"waiting for a login"`: a person has to log in; `"trying again"`: the last attempt failed."""
        if not self.is_running:
            return "stopped"
        if self._refused is not None:
            return "waiting for a login"
        return "trying again" if self._failures else "running"

    def stop(self) -> None:
        """End it. A renewal that is under way goes on. From any thread, and as often as you like."""
        was_running, self._stopped = self.is_running, True
        if was_running:
            try:  # noqa: SIM105  # needs no globals
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:  # the loop is closed, and the task has ended with it
                pass

    async def aclose(self) -> None:
        """End it, and wait until it has ended: a second at most."""
        self.stop()
        await asyncio.wait({self._task}, timeout=STOP_WAIT)

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

    # --- the task --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while not self._stopped and (kept := self._kept()) is not None:
            pause = await self._step(kept)
            del kept
            await asyncio.sleep(pause)

    async def _step(self, kept: Kept) -> float:
        """Do what there is to do now. The seconds until the next step."""
        refresher = kept.refresher
        try:
            if refresher.due_in() > 0:
                self._went_well()
                await refresher.access_token()  # at once; sees to a login that could not be stored before
            left = refresher.due_in(self._share)
            if left > 0:
                return min(left, LONGEST_SLEEP)
            # Looked at before it is tried, and not after: a login that somebody makes in between is never missed.
            self._seen = await kept.stored()
            if self._refused == (self._seen,):
                return LONGEST_SLEEP
            await refresher.access_token()
        except ReauthorizationRequired as error:
            self._refused = (self._seen,)
            self._tell(error, "a new login is waited for")
            return LONGEST_SLEEP
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # stores and hooks are other people's code; it goes on all the same
            self._failures += 1
            self._tell(error, "it is tried again until it works")
            return min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        self._went_well()
        self._share = _share()
        return SHORTEST_SLEEP

    def _tell(self, error: BaseException, what_now: str) -> None:
        if self._failing_with is not type(error):
            self._failing_with = type(error)
            unexpected = None if isinstance(error, EzeepError) else error
            self._log.warning("the login is not kept alive now, %s: %s", what_now, error, exc_info=unexpected)

    def _went_well(self) -> None:
        if self._failing_with is not None:
            self._log.info("the login is kept alive again")
        self._failures, self._failing_with, self._refused = 0, None, None


def _share() -> float:
    return random.uniform(0, SPREAD)  # noqa: S311  # not a secret
