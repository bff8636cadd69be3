"""Makes every new event loop one of the kind that `EVENT_LOOP` names. Python imports this in child processes."""

from __future__ import annotations

import asyncio
import os
import sys


def use_event_loop(kind: str) -> None:
    """Set the event loop policy of this process: "eager" tasks, "uvloop", "debug" mode, or plain "asyncio"."""
    if kind == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        return
    sys.modules["uvloop"] = None  # type: ignore[assignment]  # the command would use it without a policy
    if kind == "asyncio":
        return

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            loop = super().new_event_loop()
            if kind == "eager":
                loop.set_task_factory(asyncio.eager_task_factory)
            else:
                loop.set_debug(True)
                loop.slow_callback_duration = 5.0  # a busy machine is no finding
            return loop

    asyncio.set_event_loop_policy(Policy())


if kind := os.environ.get("EVENT_LOOP"):
    use_event_loop(kind)
