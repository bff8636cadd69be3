"""How `ezeep provision` shows a plan, a run and its report."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ezeep_async import SafetyLimitExceeded
from ezeep_async.cli.signals import stop_on_signals
from ezeep_async.cli.terminal.screen import Screen, Whole
from ezeep_async.provisioning.wording import counted, some


if TYPE_CHECKING:
    from ezeep_async import Plan, Report
    from ezeep_async.provisioning import Event, OnEvent


STYLES = {"+": "green", "-": "red", "!": "yellow", "~": "dim"}
"""By the sign at the beginning of a diff's line."""
LINES_SHOWN = 100
"""Lines of a diff that are shown before it is applied."""
FAILURES_SHOWN = 10


def show_plan(screen: Screen, plan: Plan, *, most: int | None = None, rest: str = "") -> None:
    """Show the diff, at most `most` lines of it, and the summary. The command `rest` shows all of it."""
    # Notes are sentences. All other lines are names and addresses.
    lines = (
        (line if line.startswith("!") else Whole(line), STYLES.get(line.lstrip()[:1], ""))
        for line in plan.diff()
    )
    screen.styled(islice(lines, most))
    if more := sum(1 for _ in lines):
        screen.styled([(f"... and {counted(more, 'more line')}: {rest} shows all of them", "dim")])
    screen.styled([(plan.summary(), "bold")])


def limit_message(error: SafetyLimitExceeded) -> str:
    """Why the plan is refused, and what to do about it, in the words of the command line."""
    groups = some([f"{number} from {name!r}" for name, number in error.by_group.items()])
    return (
        f"the plan removes {error.what}, and the limit is {error.limit}: {groups}. "
        f"If this is intended, plan with --max-removals {error.needed}"
    )


async def follow(
    screen: Screen, total: int, start: Callable[[OnEvent], Awaitable[Report]]
) -> tuple[Report | None, int]:
    """Run `start`, and show the progress that it reports to its argument. Raises what it raises.

    After Ctrl-C, SIGTERM or SIGHUP no change is started, and those in flight are completed. A second signal cancels
    those too.

    Returns:
        The report, None if the run ended before its first change, and the signal that ended it, 0 for none.
    """
    report: Report | None = None
    with screen.steps(total) as steps:
        failed = 0

        def on_event(event: Event) -> None:
            nonlocal failed
            failed += event.outcome == "failed"
            with contextlib.suppress(OSError):  # the run continues without its terminal
                steps.done(event.done, failed)
                screen.flush()

        async def run() -> Report | None:
            try:
                return await start(on_event)
            except asyncio.CancelledError as cancelled:
                from ezeep_async import report_of

                return report_of(cancelled)

        def stop() -> None:
            task.cancel()  # before the note, because its reader may send the next signal
            with contextlib.suppress(OSError):
                steps.note("stopping: waiting for the changes in flight")
                screen.flush()

        task = asyncio.ensure_future(run())
        with stop_on_signals(stop) as ending:
            report = await task
    return report, ending.number


def facts_of(report: Report) -> dict[str, object]:
    """What was done, for people; zeros are left out."""
    counts = report.counts
    unchanged = Counter(row.change.kind for row in report.rows if row.outcome == "unchanged")
    facts: dict[str, object] = {
        "groups created": counts["created"],
        "groups created by others": counts["adopted"],
        "people invited": counts["invited"],
        "people invited already": unchanged["invite_person"],
        "users changed": report.users_changed,
        "memberships added": report.memberships_added,
        "memberships removed": report.memberships_removed,
        "users without changes": unchanged["change_memberships"],
        "printers changed": report.printers_changed,
        "printer assignments added": report.assignments_added,
        "printer assignments removed": report.assignments_removed,
        "printers without changes": unchanged["change_assignments"],
        "deleted already": counts["already_absent"],
        "groups deleted": counts["deleted"],
        "groups kept, because they are in use": counts["kept"],
        "failed": counts["failed"],
        "outcome unknown": counts["unknown"],
        "memberships different afterwards": len(report.differences),
        "printer assignments different afterwards": len(report.assignment_differences),
        "not started": counts["not_started"],
    }
    return {name: number for name, number in facts.items() if number} | {"seconds": f"{report.seconds:.2f}"}


def show_report(screen: Screen, report: Report, rest: str) -> None:
    """Show what was done, and the first failures. `rest` says where all of them are."""
    failures = [row for row in report.failures if row.outcome != "not_started"]
    _show_first(
        screen, [f"{row.change}: {row.outcome}: {row.error or 'cancelled'}" for row in failures], rest
    )
    screen.styled((f"! {warning}", "yellow") for warning in report.warnings)
    different = [*map(str, report.differences), *map(str, report.assignment_differences)]
    _show_first(screen, different, rest)
    screen.facts(facts_of(report))


def _show_first(screen: Screen, problems: Sequence[str], rest: str) -> None:
    screen.styled((f"! {problem}", "yellow") for problem in problems[:FAILURES_SHOWN])
    if (more := len(problems) - FAILURES_SHOWN) > 0:
        screen.styled([(f"! and {more} more: {rest}", "yellow")])


def failure_message(report: Report) -> str:
    """How much was not done, or did not last; empty if all was done, or was not started."""
    failed, unknown = report.counts["failed"], report.counts["unknown"]
    if failed or unknown:
        lost = f", and the outcome of {unknown} is unknown" if unknown else ""
        return (
            f"{failed} of {counted(len(report.rows), 'change')} failed{lost}. Run the same again to make the missing "
            "changes"
        )
    if report.different:
        return (
            f"{report.different} different after the run, because of other writers. Run the same again to make the missing "
            "changes"
        )
    if report.unverified and not report.counts["not_started"]:
        return f"everything was written, and nothing was verified: {report.unverified}"
    return ""
