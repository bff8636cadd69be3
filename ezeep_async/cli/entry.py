"""The console script `ezeep`: prints its version without importing the commands."""

from __future__ import annotations

import gc
import sys

from ezeep_async import __version__


def main() -> int:
    """Run the command line of the process, and return its exit code."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]  # None if it was closed before the start
        try:
            print(f"ezeep {__version__}", flush=True)  # noqa: T201  # the output of the command
        except OSError:
            pass  # a closed pipe or a full disk: reported below
        else:
            return 0
    gc.disable()  # the imports create many objects and no garbage; `main` enables it again for the command
    from ezeep_async.cli.main import main as run

    return run()
