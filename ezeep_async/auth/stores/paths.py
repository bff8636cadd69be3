"""Paths as people write them, and where a system keeps such things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def expanded(path: str | os.PathLike[str], base: Path | None = None) -> Path:
    """The absolute path, with `~` and `~name` replaced. Symbolic links stay.

    A relative path counts from `base`, by default from the working directory as it is now: a path is resolved once,
    where it is given. Raises `ValueError` where that home folder is not known, or the working directory is gone.
    """
    try:
        found = Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{os.fspath(path)}: whose home folder that is, is not known here") from None
    try:
        return found.absolute() if base is None else base / found
    except FileNotFoundError:
        raise ValueError(
            f"{os.fspath(path)} is relative to the working directory, which does not exist any more: "
            "give an absolute path"
        ) from None


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
