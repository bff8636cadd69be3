"""`ezeep reports`: reports on printed jobs, as CSV."""

from __future__ import annotations

import asyncio
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from ezeep_async.cli.connection import HERE, Connection, OutFile, open_session
from ezeep_async.cli.files import check_private
from ezeep_async.cli.terminal.screen import Screen, Whole


_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)

Seconds = Annotated[float, Parameter(help="Seconds to wait until the report is ready.")]

reports_app = App(
    name="reports",
    help="Reports on printed jobs. The client needs the OAuth scope reporting (--scope of ezeep login).",
)


@reports_app.command(name="create")
async def create_report(
    *,
    out: OutFile,
    month: str | None = None,
    start: str | None = None,
    end: str | None = None,
    delimiter: Literal[",", ";"] = ",",
    utc_offset: int = 0,
    file_names: bool = False,
    emails: bool = False,
    names: bool = False,
    timeout: Seconds = 300.0,  # noqa: ASYNC109  # an option
    connection: Connection = HERE,
) -> None:
    """Create a report on the jobs of a period, wait until it is ready, and store it in a file.

    Args:
        out: The file. It is readable for its owner only.
        month: The period as YYYY-MM; or give --start and --end.
        start: First day, or time, of the period, as YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ.
        end: The day, or time, after the period.
        delimiter: What separates the columns.
        utc_offset: Hours between UTC and the times in the report.
        file_names: Show the names of documents.
        emails: Show the e-mail addresses of users.
        names: Show the names of users.
    """
    screen = Screen()
    begin, after = _period(month, start, end)
    path = Path() if out is None else out
    await asyncio.to_thread(check_private, path)
    async with open_session(connection) as session:
        report = await session.reports.create(
            begin,
            after,
            delimiter=delimiter,
            utc_offset=utc_offset,
            obfuscate_file_names=not file_names,
            blank_emails=not emails,
            blank_names=not names,
        )
        await session.reports.wait(report.id, timeout=timeout)
        size = await session.reports.download(report.id, path)
    screen.note(f"{size} bytes in", Whole(path))


def _period(month: str | None, start: str | None, end: str | None) -> tuple[str, str]:
    if month is None:
        if start is None or end is None:
            raise ValueError("no period is given: use --month, or --start and --end")
        return start, end
    if start is not None or end is not None:
        raise ValueError("--month cannot be used together with --start and --end")
    if (found := _MONTH.fullmatch(month.strip())) is None:
        raise ValueError(f"--month must be YYYY-MM, such as 2026-10, not {month!r}")
    year, number = int(found[1]), int(found[2])
    first = date(max(year, 1), number, 1)
    last = date(first.year + number // 12, number % 12 + 1, 1) if first.year < date.max.year else date.max
    return first.isoformat(), last.isoformat()
