"""Files that a command writes for its owner alone: they name people, and their groups."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path

from ezeep_async.auth.stores.private import keep_owner, open_private


def write_private(path: Path, content: str) -> None:
    """Write a file, whole or not at all: what was there before stays until the new content is on the disk.

    Also where there was a file that others may read, only its owner may read this one. Blocks. Raises `OSError`.
    """
    with _naming(path):
        if not _is_replaced(path):
            with path.open("wb") as stream:
                stream.write(content.encode())
            return
        with _new_file_beside(path) as temporary:
            with open(temporary, "xb", opener=open_private) as file:  # Path.open() takes no opener
                keep_owner(file.fileno(), Path(os.path.realpath(path)))
                file.write(content.encode())
                file.flush()
                os.fsync(file.fileno())
            # A link stays one: what it points at is replaced.
            temporary.replace(os.path.realpath(path))


def check_private(path: Path) -> None:
    """Raise `OSError` for a file that could not be written afterwards. Changes nothing. Blocks."""
    with _naming(path):
        if not _is_replaced(path):
            with path.open("ab"):
                return
        with _new_file_beside(path) as temporary, open(temporary, "xb", opener=open_private):
            pass


def check_different(path: Path, name: str, other: Path | None, other_name: str) -> None:
    """Raise `ValueError` where both are one file, by whatever path or link. Blocks. Raises `OSError`."""
    if other is None:
        return
    try:
        same = path.samefile(other)
    except FileNotFoundError:  # one of them is not there yet
        same = os.path.realpath(path) == os.path.realpath(other)
    if same:
        raise ValueError(f"{name} and {other_name} are one file: {path}")


def _is_replaced(path: Path) -> bool:
    """Whether it is an ordinary file, or will be one. A device or a pipe is written to as it is."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


@contextlib.contextmanager
def _new_file_beside(path: Path) -> Generator[Path]:
    """A name in the same folder, as only there one file can take the place of another in one step."""
    temporary = Path(os.path.realpath(path)).with_name(f".ezeep-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Generator[None]:
    """Errors name the file that was asked for. The system names none for a full disk, or one that nobody knows."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
