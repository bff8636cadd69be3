"""Files that commands read and write. Written files are for their owner only: they name people and their groups."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import stat
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from ezeep_async import DesiredState, InvalidInput, Plan, Report
from ezeep_async._text.text_files import UTF8_BOM, is_blank, text_of
from ezeep_async.auth.stores.paths import folder_for
from ezeep_async.auth.stores.private import make_folder, replace_file, temporary_beside


STDIN = Path("-")
STDIN_NAME = "standard input"
BEGIN = 64
"""Bytes that distinguish a plan, which is JSON, from a table."""
_STEM = "ezeep"  # short: a name of the greatest length plus something would be too long


def read_input(path: Path, encoding: str = "utf-8", ignore_columns: str = "") -> DesiredState | Plan:
    """Read groups with members and printers, or a saved plan. Blocks. Raises `InvalidInput`, `ValueError`, `OSError`.

    `ignore_columns` has names between commas, quoted as in CSV.
    """
    try:
        ignored = next(csv.reader([ignore_columns], strict=True, skipinitialspace=True), list[str]())
    except csv.Error:
        raise ValueError(f"--ignore-columns takes names between commas, not {ignore_columns!r}") from None
    if path == STDIN:
        content = sys.stdin.buffer.read()
        return _plan_in(content, STDIN_NAME) or DesiredState.from_bytes(
            content, "csv", source=STDIN_NAME, encoding=encoding, ignore_columns=ignored
        )
    with path.open("rb") as file:
        begin = file.read(BEGIN)
        # A table with a hundred thousand rows is not read twice.
        content = begin + file.read() if _may_be_json(begin) else begin
    try:
        return _plan_in(content, str(path)) or DesiredState.from_file(
            path, encoding=encoding, ignore_columns=ignored
        )
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


def audit_folder() -> Path:
    """Return the folder of the audit logs, in the user's state folder. It may not exist."""
    return folder_for("state") / "audit"


def default_audit_log() -> Path:
    """Return a new path in `audit_folder`, with the time in its name. Creates the folder. Raises `OSError`."""
    folder = audit_folder()
    make_folder(folder)
    # Two runs may start in the same second.
    return folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{os.getpid()}.jsonl"


def check_files(read: Path, report: Path | None, audit_log: Path | None) -> None:
    """Report what cannot work before anything is read. Blocks. Raises `ValueError` and `OSError`."""
    if read != STDIN:
        read.stat()
        if not os.access(read, os.R_OK):  # not opened: it may be a pipe
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(read))
    if report is not None:
        # Each would overwrite the other, and undo needs the audit log.
        check_different(report, "--report", audit_log, "--audit-log")
        check_not_read(report, "--report", read)
        if report.suffix.casefold() not in {".csv", ".jsonl"}:
            raise ValueError(f"--report takes a .csv or a .jsonl, not {report}")
        check_private(report)


def check_not_read(path: Path, name: str, read: Path) -> None:
    """Raise `ValueError` if writing the file would overwrite the input. Blocks. Raises `OSError`."""
    # Where the shell has opened the input, this is another name for it. Windows has no such name.
    check_different(path, name, Path("/dev/stdin") if read == STDIN else read, "the file that is read")


def check_different(path: Path, name: str, other: Path | None, other_name: str) -> None:
    """Raise `ValueError` if both paths lead to one file, also through links."""
    if other is None:
        return
    try:
        same = path.samefile(other)
    except FileNotFoundError:
        same = _target(path) == _target(other)
    if same:
        raise ValueError(f"{name} and {other_name} are one file: {path}")


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


# --- files for their owner -----------------------------------------------------------------------------------------


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
            with temporary_beside(target, b"", _STEM, "tmp"):
                pass
        else:
            path.open("ab").close()


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
