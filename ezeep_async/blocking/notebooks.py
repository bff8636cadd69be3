"""Detect notebook cells, where a blocking call on the event loop's thread is allowed."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType


def in_notebook() -> bool:
    """Return whether this thread's event loop is that of a notebook, which waits for each cell to end."""
    return _under_ipython_kernel() or _in_cell()


def _under_ipython_kernel() -> bool:
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None


def _in_cell() -> bool:
    """Detect notebooks other than Jupyter, such as marimo, that run a cell as module code inside a task.

    Between a coroutine of an application and the call there are only functions. An import inside a coroutine also runs
    module code; its frames are recognized and skipped.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    outermost = getattr(None if task is None else task.get_coro(), "cr_frame", None)
    is_cell = False
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]  # inspect.currentframe is the same
    while frame is not None:
        is_cell = is_cell or (frame.f_code.co_name == "<module>" and not _is_import(frame.f_back))
        if frame is outermost:
            return is_cell
        frame = frame.f_back
    return False


def _is_import(frame: FrameType | None) -> bool:
    return frame is not None and str(frame.f_globals.get("__name__", "")).startswith("importlib.")
