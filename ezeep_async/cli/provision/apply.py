"""Applying a plan from the command line: show it, ask, do it, and say what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Group, Parameter

from ezeep_async.cli.options import AtLeastOne, OutFile, Yes
from ezeep_async.cli.provision.files import (
    check_not_read,
    check_readable,
    check_report,
    default_audit_log,
    write_report,
)
from ezeep_async.cli.provision.screen import (
    LINES_SHOWN,
    Ran,
    follow,
    show_plan,
    show_report,
    told_failures,
    told_limit,
)
from ezeep_async.cli.terminal.output import Whole
from ezeep_async.cli.terminal.private_files import check_different
from ezeep_async.cli.terminal.prompts import check_somebody_there, confirmed
from ezeep_async.cli.terminal.screen import Screen, complain, sentence, to_json, write_json
from ezeep_async.errors import SafetyLimitExceeded
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.apply import Verify
from ezeep_async.provisioning.runs.report import Report
from ezeep_async.session import EzeepSession


FAILED = 1
"""The exit code where something failed, or nothing could be done."""
REFUSED = 3
"""The exit code of what a safety limit refuses."""


@Parameter(name="*", group=Group("Applying", sort_key=6))
@attrs.frozen(kw_only=True)
class Applying:
    """The options that say how a plan is applied."""

    yes: Yes = False
    concurrency: AtLeastOne = 16
    """How many changes are made at once, at most."""
    audit_log: OutFile = None
    """Where every write is noted before it is sent, for undo. By default a new file in the user's state folder; in a
    sandbox none."""
    no_audit_log: bool = False
    """Keep no audit log. What was done cannot be taken back with undo then."""
    report: Annotated[OutFile, Parameter(name="--report")] = None
    """Write what became of each change into this file, a .csv or a .jsonl."""

    def check(self, given: Path) -> None:
        """Find out what cannot work before anything is read. Blocks. Raises `ValueError` and `OSError`.

        `given` is the file that is applied, or undone.
        """
        if self.no_audit_log and self.audit_log is not None:
            raise ValueError("--audit-log and --no-audit-log exclude each other")
        check_readable(given)
        if self.report is not None:
            # Each would destroy the other, and an audit log is what undo needs.
            check_different(self.report, "--report", self.audit_log, "--audit-log")
            check_not_read(self.report, "--report", given)
            check_report(self.report)
        check_somebody_there(yes=self.yes)

    def log(self, *, sandbox: bool) -> Path | None:
        """Where the audit log is. Blocks. Raises `OSError`."""
        if self.audit_log is not None or self.no_audit_log or sandbox:
            return self.audit_log
        return default_audit_log()


CAREFUL = Applying()
"""No options."""


async def apply_plan(
    session: EzeepSession,
    plan: Plan,
    applying: Applying,
    *,
    verify: Verify = "fresh",
    verify_after: bool | None = None,
    as_json: bool,
    sandbox: bool,
    whole: str,
) -> int:
    """Show the plan, ask, make the changes, and report them. Gives the exit code.

    `whole` is what shows all of a plan that is too long to be shown before the question.
    """
    screen = Screen(beside=as_json)
    show_plan(screen, plan, most=LINES_SHOWN, rest=whole)
    log: Path | None = None
    try:
        plan.check_limits()
        if plan.is_empty:
            ran = Ran(Report())
        elif not await confirmed("Make these changes?", yes=applying.yes):
            complain("nothing was changed")
            return FAILED
        else:
            log = await asyncio.to_thread(lambda: applying.log(sandbox=sandbox))
            if log is not None:
                screen.say("The audit log is", Whole(log))  # who kills this has been told
            ran = await follow(
                screen,
                len(plan.changes),
                lambda on_event: session.provisioning.apply(
                    plan,
                    concurrency=applying.concurrency,
                    on_event=on_event,
                    audit_log=log,
                    verify=verify,
                    verify_after=plan.mode == "exact" if verify_after is None else verify_after,
                ),
            )
    except SafetyLimitExceeded as error:
        complain(f"nothing was changed: {told_limit(error)}")
        return REFUSED
    kept = False
    # A terminal that was closed shows nothing any more. What ended the run is still what the exit code says.
    with contextlib.suppress(OSError) if ran.ended_by else contextlib.nullcontext():
        kept = ran.report is not None and await _tell(
            screen, ran.report, applying.report, log, as_json=as_json
        )
    if ran.ended_by:
        complain("interrupted")
        return 128 + ran.ended_by
    return 0 if kept and ran.report is not None and ran.report.ok else FAILED


async def _tell(
    screen: Screen, report: Report, path: Path | None, log: Path | None, *, as_json: bool
) -> bool:
    """Say what became of it, in all the places. Gives whether the report is in its file, where it has one."""
    # The file first of all: whatever becomes of the screen, it is there.
    problem = None if path is None else await asyncio.to_thread(_problem_of_writing, report, path)
    try:
        _show(screen, report, path if problem is None else None, log, as_json=as_json)
    finally:
        if problem is not None:
            complain(f"the report is not written: {problem}")
    return problem is None


def _show(screen: Screen, report: Report, path: Path | None, log: Path | None, *, as_json: bool) -> None:
    if as_json:
        write_json(to_json(_record(report, log)))
    if report.rows:
        rest = path or log
        show_report(
            screen, report, "--report FILE keeps all of them" if rest is None else f"all are in {rest}"
        )
    if log is not None and any(row.ok for row in report.rows):
        screen.say("To take it back:", Whole(f"ezeep provision undo {shlex.quote(str(log))}"))
    if failures := told_failures(report):
        complain(failures)


def _problem_of_writing(report: Report, path: Path) -> str | None:
    """Write the report, or say why it cannot be: what was done has to be told all the same."""
    try:
        write_report(report, path)
    except OSError as error:
        return sentence(error)
    return None


def _record(report: Report, log: Path | None) -> dict[str, object]:
    return {
        "ok": report.ok,
        "run_id": report.run_id,
        "audit_log": None if log is None else str(log),
        "seconds": round(report.seconds, 3),
        "counts": dict(report.counts),
        "memberships_added": report.memberships_added,
        "memberships_removed": report.memberships_removed,
        "warnings": report.warnings,
        "differences": [difference.plain() for difference in report.differences],
        "unverified": report.unverified,
        "rows": [row.plain() for row in report.rows],
    }
