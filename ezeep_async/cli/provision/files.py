"""The files of `ezeep provision`: inputs, saved plans, audit logs, reports."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from ezeep_async import DesiredState, InvalidInput, Plan, Report
from ezeep_async._text.text_files import UTF8_BOM, is_blank, text_of
from ezeep_async.auth.stores.paths import folder_for
from ezeep_async.auth.stores.private import make_folder
from ezeep_async.cli.terminal.private_files import check_different, check_private, write_private


STDIN = Path("-")
STDIN_NAME = "standard input"
BEGIN = 64
"""Bytes that distinguish a plan, which is JSON, from a table."""


def read_input(path: Path) -> DesiredState | Plan:
    """Read groups and members, or a saved plan. Blocks. Raises `InvalidInput`, `ValueError`, `OSError`."""
    if path == STDIN:
        content = sys.stdin.buffer.read()
        return _plan_in(content, STDIN_NAME) or DesiredState.from_bytes(content, "csv", source=STDIN_NAME)
    with path.open("rb") as file:
        begin = file.read(BEGIN)
        # A table with a hundred thousand rows is not read twice.
        content = begin + file.read() if _may_be_json(begin) else begin
    try:
        return _plan_in(content, str(path)) or DesiredState.from_file(path)
    except ImportError as error:  # YAML needs another package
        raise ValueError(str(error)) from error
    except ValueError as error:
        if is_blank(content) and not isinstance(error, InvalidInput):  # which names the missing header
            raise ValueError(f"{path} is empty: it has neither a plan nor groups") from error
        raise


def _may_be_json(begin: bytes) -> bool:
    return begin.removeprefix(UTF8_BOM).lstrip().startswith(b"{")


def _plan_in(content: bytes, name: str) -> Plan | None:
    """Return the plan in the content; None for other content. Raises `ValueError` for a plan that cannot be read."""
    if not _may_be_json(content):
        return None
    try:
        # A group may be named "format": its value is a list.
        if not isinstance(json.loads(text_of(content)).get("format"), str):
            return None
    except (ValueError, RecursionError):
        return None
    try:
        return Plan.from_json(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def default_audit_log() -> Path:
    """Return a new path in the user's state folder, with the time in its name. Creates the folder. Raises `OSError`."""
    folder = folder_for("state") / "audit"
    make_folder(folder)
    # Two runs may start in the same second.
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{os.getpid()}.jsonl"


def check_readable(path: Path) -> None:
    """Raise `OSError` for a file that does not exist or must not be read. Does not open it: it may be a pipe. Blocks."""
    if path == STDIN:
        return
    path.stat()
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def check_not_read(path: Path, name: str, read: Path) -> None:
    """Raise `ValueError` if writing the file would overwrite the input. Blocks. Raises `OSError`."""
    # Where the shell has opened the input, this is another name for it. Windows has no such name.
    check_different(path, name, Path("/dev/stdin") if read == STDIN else read, "the file that is read")


def check_report(path: Path) -> None:
    """Raise `ValueError` or `OSError` if the report could not be written later."""
    if path.suffix.casefold() not in {".csv", ".jsonl"}:
        raise ValueError(f"--report takes a .csv or a .jsonl, not {path}")
    check_private(path)


def write_report(report: Report, path: Path) -> None:
    """Write each change and its outcome, in the format of the file's suffix. Blocks. Raises `OSError`."""
    if path.suffix.casefold() == ".csv":
        text = io.StringIO(newline="")
        report.write_csv(text)
        write_private(path, text.getvalue())
    else:
        rows = io.BytesIO()
        report.write_jsonl(rows)
        write_private(path, rows.getvalue().decode())
