"""Files that are written completely or not at all, and that only their owner can read."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path

from ezeep_async.auth.stores.private import keep_owner, open_private


@contextlib.contextmanager
def temporary_beside(target: Path, stem: str, suffix: str) -> Generator[Path, None, None]:
    """Yield an unused name in the folder of `target`, and remove the file of that name at the end.

    Only a file in the same folder can replace another one atomically.
    """
    temporary = target.with_name(f".{stem}.{secrets.token_hex(8)}.{suffix}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_synced(path: Path, content: bytes, target: Path) -> None:
    """Create `path` with the owner of `target`, which it will replace, and flush it to the disk."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    descriptor = open_private(str(path), flags)
    with os.fdopen(descriptor, "wb") as file:
        keep_owner(descriptor, target)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(target: Path, content: bytes, *, stem: str, suffix: str = "tmp") -> None:
    """Replace `target`, which is resolved of symbolic links, with a file of this content. Raises `OSError`."""
    with temporary_beside(target, stem, suffix) as temporary:
        write_synced(temporary, content, target)
        temporary.replace(target)
