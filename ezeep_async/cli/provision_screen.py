"""How `ezeep provision` looks: the diff, the run, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice

import attrs

from ezeep_async.cli.screen import Screen, Steps
from ezeep_async.errors import SafetyLimitExceeded
from ezeep_async.provisioning.apply import Event, OnEvent
from ezeep_async.provisioning.plan import Plan, counted, some
from ezeep_async.provisioning.report import NOT_DONE, Report, Row, report_of


STYLES = {"+": "green", "-": "red", "!": "yellow", "~": "dim"}
"""By the sign at the beginning of a diff's line."""
LINES_SHOWN = 100
"""How much of a diff is shown before it is applied. `ezeep provision plan` shows all of it."""
FAILURES_SHOWN = 10


def show_plan(screen: Screen, plan: Plan, *, most: int | None = None) -> None:
    """The diff, at most so many lines of it, and the summary."""
    lines = ((line, STYLES.get(line.lstrip()[:1], "")) for line in plan.diff())
    screen.styled(islice(lines, most))
    if more := sum(1 for _ in lines):
        screen.styled(
            [(f"... and {counted(more, 'more line')}: ezeep provision plan shows all of them", "dim")]
        )
    screen.styled([(plan.summary(), "bold")])


def told_limit(error: SafetyLimitExceeded) -> str:
    """Why it is refused, and what to do about it, in the words of the command line."""
    told = some([f"{number} from {name!r}" for name, number in error.by_group.items()])
    return (
        f"{counted(error.removals, 'membership')} would be removed, and at most {error.limit} may be: {told}. "
        f"Where this is meant, plan with --max-removals {error.removals}"
    )


@attrs.frozen
class Ran:
    """A run that has ended, one way or another."""

    report: Report | None
    """None where it was interrupted before there was anything to report."""
    interrupted: bool = False


Applying = Callable[[OnEvent], Awaitable[Report]]


async def follow(screen: Screen, total: int, applying: Applying) -> Ran:
    """Run it, and show how far it is.

    A first Ctrl-C lets what is in flight end, a second one breaks it off. Raises what `applying` raises.
    """
    with screen.steps(total) as steps:
        run = asyncio.ensure_future(_run(applying, _on_event(screen, steps)))
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            steps.note("stopping: what is in flight is waited for")
            run.cancel()
        while not run.done():
            try:
                await asyncio.wait({run})
            except asyncio.CancelledError:
                run.cancel()
    return run.result()


async def _run(applying: Applying, on_event: OnEvent) -> Ran:
    try:
        return Ran(await applying(on_event))
    except asyncio.CancelledError as cancelled:
        return Ran(report_of(cancelled), interrupted=True)


def _on_event(screen: Screen, steps: Steps) -> OnEvent:
    failed = 0

    def on_event(event: Event) -> None:
        nonlocal failed
        failed += event.outcome in NOT_DONE
        # Nobody may be looking any more. That ends nothing half-way.
        with contextlib.suppress(OSError):
            steps.done(event.done, failed)
            screen.flush()

    return on_event


def facts_of(report: Report) -> dict[str, object]:
    """What was done, for people: what there is of it."""
    counts = report.counts
    facts: dict[str, object] = {
        "groups created": counts["created"],
        "groups that had come into being": counts["adopted"],
        "people invited": counts["invited"],
        "users changed": counts["updated"],
        "memberships added": report.memberships_added,
        "memberships removed": report.memberships_removed,
        "users that were so already": counts["unchanged"],
        "gone already": counts["already_absent"],
        "groups deleted": counts["deleted"],
        "groups kept, as they are used": counts["kept"],
        "failed": counts["failed"],
        "outcome unknown": counts["unknown"],
        "not begun": counts["not_started"],
    }
    return {name: number for name, number in facts.items() if number} | {"seconds": f"{report.seconds:.2f}"}


def show_report(screen: Screen, report: Report, rest: str) -> None:
    """What was done, and the first failures. `rest` is where all of them are."""
    screen.styled(_failure_lines(report, rest))
    screen.facts(facts_of(report))


def _failures(report: Report) -> list[Row]:
    return [row for row in report.failures if row.outcome != "not_started"]


def _failure_lines(report: Report, rest: str) -> Iterator[tuple[str, str]]:
    failures = _failures(report)
    for row in failures[:FAILURES_SHOWN]:
        yield f"! {row.change}: {row.outcome}: {row.error or 'it was broken off'}", "yellow"
    if (more := len(failures) - FAILURES_SHOWN) > 0:
        yield f"! and {more} more: {rest}", "yellow"


def told_failures(report: Report) -> str:
    """How much was not done, in a sentence; empty where everything was, or was not begun."""
    failed = len(_failures(report))
    if not failed:
        return ""
    return f"{failed} of {counted(len(report.rows), 'change')} failed. The same again makes up for what is missing"
