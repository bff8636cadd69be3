"""Applying a plan from the command line: show it, ask, apply it, and report the outcome."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Group, Parameter

from ezeep_async import EzeepSession, Plan, Report, SafetyLimitExceeded
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
    failure_message,
    follow,
    limit_message,
    show_plan,
    show_report,
)
from ezeep_async.cli.terminal.output import complain, sentence, write_json
from ezeep_async.cli.terminal.private_files import check_different
from ezeep_async.cli.terminal.prompts import check_can_ask, confirmed
from ezeep_async.cli.terminal.screen import Screen, Whole, to_json
from ezeep_async.provisioning import Verify


FAILED = 1
"""The exit code if something failed, or nothing could be done."""
REFUSED = 3
"""The exit code if a safety limit refuses the plan."""


@Parameter(name="*", group=Group("Applying", sort_key=6))
@attrs.frozen(kw_only=True)
class Applying:
    """The options of applying a plan."""

    yes: Yes = False
    concurrency: AtLeastOne = 16
    """Maximum number of concurrent changes."""
    audit_log: OutFile = None
    """The file to which each write is logged before it is sent, for undo. By default a new file in your state folder; none
    in a sandbox."""
    no_audit_log: bool = False
    """Write no audit log. The changes cannot be undone then."""
    report: Annotated[OutFile, Parameter(name="--report")] = None
    """Write the outcome of each change to this file, a .csv or a .jsonl."""

    def check(self, given: Path) -> None:
        """Report what cannot work before anything is read. `given` is the input. Blocks. Raises `ValueError`, `OSError`."""
        if self.no_audit_log and self.audit_log is not None:
            raise ValueError("--audit-log and --no-audit-log exclude each other")
        check_readable(given)
        if self.report is not None:
            # Each would overwrite the other, and undo needs the audit log.
            check_different(self.report, "--report", self.audit_log, "--audit-log")
            check_not_read(self.report, "--report", given)
            check_report(self.report)
        check_can_ask(yes=self.yes)


DEFAULTS = Applying()
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
    """Show the plan, ask, make the changes, and report them. Return the exit code.

    `whole` is the command that shows all of a long plan.
    """
    screen = Screen(stderr=as_json)
    show_plan(screen, plan, most=LINES_SHOWN, rest=whole)
    log = applying.audit_log
    report: Report | None = Report()
    signal = 0
    try:
        plan.check_limits()
        if plan.is_empty:
            log = None
        else:
            if not await confirmed("Make these changes?", yes=applying.yes):
                complain("nothing was changed")
                return FAILED
            if log is None and not applying.no_audit_log and not sandbox:
                log = await asyncio.to_thread(default_audit_log)
            if log is not None:
                screen.say("The audit log is", Whole(log))  # before the run, which may be killed
            report, signal = await follow(
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
        complain(f"nothing was changed: {limit_message(error)}")
        return REFUSED
    is_written = False
    # After a signal the terminal may be gone. The exit code still reports the signal.
    with contextlib.suppress(OSError) if signal else contextlib.nullcontext():
        if report is not None:
            is_written = await _report(screen, report, applying.report, log, as_json=as_json)
    if signal:
        complain("interrupted")
        return 128 + signal
    return 0 if is_written and report is not None and report.ok else FAILED


async def _report(
    screen: Screen, report: Report, path: Path | None, log: Path | None, *, as_json: bool
) -> bool:
    """Write the report to its file, then show it. Return whether it could be written."""
    problem = ""
    if path is not None:
        try:
            await asyncio.to_thread(write_report, report, path)
        except OSError as error:
            problem, path = sentence(error), None
    try:
        if as_json:
            write_json(to_json(_record(report, log)))
        if report.rows:
            place = path or log
            show_report(screen, report, f"all are in {place}" if place else "--report FILE keeps all of them")
        if log is not None and any(row.ok for row in report.rows):
            screen.say("To undo it:", Whole(f"ezeep provision undo {shlex.quote(str(log))}"))
        if message := failure_message(report):
            complain(message)
    finally:
        if problem:
            complain(f"the report is not written: {problem}")
    return not problem


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
