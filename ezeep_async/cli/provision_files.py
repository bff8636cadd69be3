"""The files of `ezeep provision`: who should be where, plans, audit logs, reports."""

from __future__ import annotations

import io
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

from ezeep_async.auth.stores.places import folder_for
from ezeep_async.cli.private_files import check_different, check_private, write_private
from ezeep_async.errors import UnexpectedResponse
from ezeep_async.provisioning.desired import DesiredState
from ezeep_async.provisioning.plan import Plan
from ezeep_async.provisioning.plan_json import FORMAT
from ezeep_async.provisioning.report import Report
from ezeep_async.wire.converter import decode_json


STDIN = Path("-")
STDIN_NAME = "standard input"


def read_input(path: Path) -> DesiredState | Plan:
    """Who should be where, or a plan that was kept. Blocks. Raises `InvalidInput`, `ValueError`, `OSError`."""
    if path == STDIN:
        content = sys.stdin.buffer.read()
        if not _is_plan(content):
            return DesiredState.from_bytes(content, "csv", source=STDIN_NAME)
        return _plan(content, STDIN_NAME)
    with path.open("rb") as file:
        begin = file.read(64)
        # A table of a hundred thousand rows is not read for this.
        content = begin + file.read() if begin.lstrip().startswith(b"{") else b""
    if _is_plan(content):
        return _plan(content, str(path))
    try:
        return DesiredState.from_file(path)
    except ImportError as error:  # YAML's package is an extra of its own
        raise ValueError(str(error)) from error


def _is_plan(content: bytes) -> bool:
    if not content.lstrip().startswith(b"{"):
        return False
    try:
        document = decode_json(content)
    except UnexpectedResponse:
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
    folder.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
    # Two runs may begin in one second: each has a file of its own.
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{os.getpid()}.jsonl"


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
