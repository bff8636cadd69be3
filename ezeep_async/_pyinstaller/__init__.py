"""The hook for PyInstaller, which finds it by the entry point `pyinstaller40`: nothing is left out of a frozen program."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the folder of the hook."""
    return [str(Path(__file__).parent)]
