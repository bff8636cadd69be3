"""The files of `ezeep provision`: who should be where, plans, audit logs, reports."""

from __future__ import annotations

import errno
import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from ezeep_async._text.text_files import UTF8_BOM, NotText, is_blank, text_of
from ezeep_async._wire.converter import decode_json
from ezeep_async.auth.stores.paths import folder_for
from ezeep_async.auth.stores.private import make_folder
from ezeep_async.cli.terminal.private_files import check_different, check_private, write_private
from ezeep_async.errors import UnexpectedResponse
from ezeep_async.provisioning.inputs.desired import FORMATS, DesiredState
from ezeep_async.provisioning.plans.plan import FORMAT, Plan
from ezeep_async.provisioning.runs.report import Report


STDIN = Path("-")
STDIN_NAME = "standard input"
BEGIN = 64
"""Bytes that tell a plan, which is JSON, from a table."""


def read_input(path: Path) -> DesiredState | Plan:
    """Who should be where, or a plan that was kept. Blocks. Raises `InvalidInput`, `ValueError`, `OSError`."""
    if path == STDIN:
        content = sys.stdin.buffer.read()
        if not _is_plan(content):
            return DesiredState.from_bytes(content, "csv", source=STDIN_NAME)
        return _plan(content, STDIN_NAME)
    with path.open("rb") as file:
        begin = file.read(BEGIN)
        # A table of a hundred thousand rows is not read for this.
        content = begin + file.read() if _may_be_json(begin) else b""
    if _is_plan(content):
        return _plan(content, str(path))
    if is_blank(begin) and path.suffix.lower() not in FORMATS and len(begin) < BEGIN:
        raise ValueError(f"{path} is empty: it has neither a plan nor groups")
    try:
        return DesiredState.from_file(path)
    except ImportError as error:  # YAML's package is an extra of its own
        raise ValueError(str(error)) from error


def _may_be_json(begin: bytes) -> bool:
    return begin.removeprefix(UTF8_BOM).lstrip().startswith(b"{")


def _is_plan(content: bytes) -> bool:
    if not _may_be_json(content):
        return False
    try:
        document = decode_json(text_of(content).encode())
    except (UnexpectedResponse, NotText):
        return False
    # A mapping of groups may have one of the name "format", but no group has this for its members.
    return isinstance(document, dict) and document.get("format") == FORMAT  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]  # plain JSON


def _plan(content: bytes, name: str) -> Plan:
    try:
        return Plan.from_json(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def default_audit_log() -> Path:
    """A new file where the system keeps such things, with the time in its name. Makes the folder. Raises `OSError`."""
    folder = folder_for("state") / "audit"
    make_folder(folder)
    # Two runs may begin in one second: each has a file of its own.
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{os.getpid()}.jsonl"


def check_readable(path: Path) -> None:
    """Raise `OSError` for a file that is not there, or may not be read. Opens nothing: it may be a pipe. Blocks."""
    if path == STDIN:
        return
    path.stat()
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def check_not_read(path: Path, name: str, read: Path) -> None:
    """Raise `ValueError` where the file that is written would overwrite the one that is read. Blocks. Raises `OSError`."""
    # Where the shell opened it, this is another name for it. Windows has no such name.
    check_different(path, name, Path("/dev/stdin") if read == STDIN else read, "the file that is read")


def check_report(path: Path) -> None:
    """Raise `ValueError` and `OSError` for a report that could not be written afterwards."""
    if path.suffix.casefold() not in {".csv", ".jsonl"}:
        raise ValueError(f"--report takes a .csv or a .jsonl, not {path}")
    check_private(path)


def write_report(report: Report, path: Path) -> None:
    """Each change and its outcome, in the form that the file's name says. Blocks. Raises `OSError`."""
    if path.suffix.casefold() == ".csv":
        text = io.StringIO(newline="")
        report.write_csv(text)
        write_private(path, text.getvalue())
    else:
        rows = io.BytesIO()
        report.write_jsonl(rows)
        write_private(path, rows.getvalue().decode())
