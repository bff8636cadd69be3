"""Paths as people write them, and where a system keeps such things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~name` replaced. Raises `ValueError` where that home folder is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{os.fspath(path)}: whose home folder that is, is not known here") from None


def folder_for(kind: Literal["config", "state"]) -> Path:
    """The user's folder for settings, or for what is kept. Raises `ValueError` for a user without a home folder."""
    import platformdirs  # here: whoever names a path does not pay for its import

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        folder = find("ezeep_async")
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # what older versions of it give
        raise ValueError(
            f"this user has no home folder: set HOME, or XDG_{kind.upper()}_HOME, to a folder's absolute path"
        )
    return folder
