"""Files that a command writes for its owner only, because they name people and their groups."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path

from ezeep_async.auth.stores.private import replace_file, temporary_beside, write_synced


_STEM = "ezeep"  # short: a name of the greatest length plus something would be too long


def write_private(path: Path, content: str) -> None:
    """Write a file completely or not at all; the previous content stays until the new one is on the disk.

    Only its owner can read the new file. A symbolic link stays one. Blocks. Raises `OSError`.
    """
    with _errors_name(path):
        if _is_replaceable(path):
            replace_file(_target(path), content.encode(), stem=_STEM)
        else:
            path.write_bytes(content.encode())


def check_private(path: Path) -> None:
    """Raise `OSError` if `write_private` could not write the file. Changes nothing. Blocks."""
    with _errors_name(path):
        if _is_replaceable(path):
            target = _target(path)
            with temporary_beside(target, _STEM, "tmp") as temporary:
                write_synced(temporary, b"", target)
        else:
            path.open("ab").close()


def check_different(path: Path, name: str, other: Path | None, other_name: str) -> None:
    """Raise `ValueError` if both paths lead to one file, also through links. Blocks. Raises `OSError`."""
    if other is None:
        return
    try:
        same = path.samefile(other)
    except FileNotFoundError:
        same = _target(path) == _target(other)
    if same:
        raise ValueError(f"{name} and {other_name} are one file: {path}")


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_replaceable(path: Path) -> bool:
    """Whether it is an ordinary file, or will be one. A device or a pipe is opened and written."""
    return not path.exists() or stat.S_ISREG(path.stat().st_mode)


@contextlib.contextmanager
def _errors_name(path: Path) -> Generator[None]:
    """Make errors name the path of the caller. The system names the temporary file, or none for a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
