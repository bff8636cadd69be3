"""Expansion of paths, and the folders of the user for settings and state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal


def expanded(path: str | os.PathLike[str], base: Path | None = None) -> Path:
    """Return the absolute path, with `~` and `~name` replaced. Symbolic links stay.

    A relative path counts from `base`, by default from the current working directory. Raises `ValueError` if the home folder
    is not known, or if the working directory was removed.
    """
    try:
        found = Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{os.fspath(path)}: this home folder is not known: give an absolute path") from None
    try:
        return found.absolute() if base is None else base / found
    except FileNotFoundError:
        raise ValueError(
            f"{os.fspath(path)} is relative to the working directory, which was removed: give an absolute path"
        ) from None


def folder_for(kind: Literal["config", "state"]) -> Path:
    """Return the user's folder for settings or for state. Raises `ValueError` for a user without a home folder."""
    import platformdirs  # not needed for a path that is given

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    try:
        folder = find("ezeep_async")
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # older versions of platformdirs return a relative path
        raise ValueError(
            f"this user has no home folder: set HOME, or XDG_{kind.upper()}_HOME, to a folder's absolute path"
        )
    return folder
