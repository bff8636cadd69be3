"""Calling `on_token_rotated`: the caller's code, in a task where its exceptions do no harm."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from ezeep_async._runtime.contained_tasks import ContainedTask
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.tokens import TokenSet


TokenHook = Callable[[TokenSet | None, TokenSet], Awaitable[None] | None]
"""Called as `hook(old, new)` after each rotation, with the lock released."""

HOOK_WAIT = 5.0
"""Seconds that closing waits for hooks."""


class Hooks:
    """Calls `hook` in tasks of its own."""

    def __init__(self, hook: TokenHook | None, log: Log = logger) -> None:
        self._hook = hook
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, old: TokenSet | None, new: TokenSet) -> None:
        """Start a call of the hook if the access token has another value."""
        if self._hook is not None and (old is None or old.access_token != new.access_token):
            # Cancellable, as the hook is the caller's code. Not from the loop's task factory: an eager task would call the
            # hook in the middle of the refresh.
            task = ContainedTask(self._call(self._hook, old, new), name="ezeep-token-hook")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, hook: TokenHook, old: TokenSet | None, new: TokenSet) -> None:
        try:
            result = hook(old, new)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            raise
        except BaseException:  # noqa: BLE001  # the hook is the caller's code, which may call `sys.exit`
            self._log.exception("on_token_rotated raised; the login is not affected")

    async def aclose(self, caller: asyncio.Task[object] | None = None) -> None:
        """Wait a moment for what is under way, but for `caller`, which may be one of them."""
        if tasks := {task for task in self._tasks if task is not caller}:
            await asyncio.wait(tasks, timeout=HOOK_WAIT)
