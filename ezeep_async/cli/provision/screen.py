"""How `ezeep provision` looks: the diff, the run, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from itertools import islice

import attrs

from ezeep_async.cli.signals import ended_by
from ezeep_async.cli.terminal.output import Whole
from ezeep_async.cli.terminal.screen import Screen, Steps
from ezeep_async.errors import SafetyLimitExceeded
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.apply import Event, OnEvent
from ezeep_async.provisioning.runs.report import Report, Row, report_of
from ezeep_async.provisioning.wording import counted, some


STYLES = {"+": "green", "-": "red", "!": "yellow", "~": "dim"}
"""By the sign at the beginning of a diff's line."""
LINES_SHOWN = 100
"""How much of a diff is shown before it is applied."""
FAILURES_SHOWN = 10
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that end a run. Windows does not have all of them."""


def show_plan(screen: Screen, plan: Plan, *, most: int | None = None, rest: str = "") -> None:
    """The diff, at most so many lines of it, and the summary. `rest` shows all of it."""
    # Notes are sentences. All else is a name, or an address.
    lines = (
        (line if line.startswith("!") else Whole(line), STYLES.get(line.lstrip()[:1], ""))
        for line in plan.diff()
    )
    screen.styled(islice(lines, most))
    if more := sum(1 for _ in lines):
        screen.styled([(f"... and {counted(more, 'more line')}: {rest} shows all of them", "dim")])
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
    """None where it was ended before there was anything to report."""
    ended_by: int = 0
    """The signal that ended it; 0 where it ended by itself."""


Start = Callable[[OnEvent], Awaitable[Report]]
"""Begins a run that reports to the callback."""


async def follow(screen: Screen, total: int, start: Start) -> Ran:
    """Run it, and show how far it is. Raises what `start` raises.

    After Ctrl-C, SIGTERM or SIGHUP what is in flight ends, and nothing else begins; the second one breaks that off too.
    """
    signals: list[int] = []
    ended: list[Report | None] = []
    try:
        with screen.steps(total) as steps:
            run = asyncio.ensure_future(_run(start, _on_event(screen, steps)))

            def stop(number: int) -> None:
                signals.append(number)
                ended_by(number)
                with contextlib.suppress(OSError):
                    steps.note("stopping: what is in flight is waited for")
                    screen.flush()
                run.cancel()

            with _taking_signals(stop):
                try:
                    ended.append(await asyncio.shield(run))
                except asyncio.CancelledError:  # Ctrl-C, where the loop takes no signals
                    if not run.done():
                        stop(signal.SIGINT)
                        await asyncio.wait({run})
                    ended.append(run.result())
    except OSError:
        # A terminal that is gone cannot take the last line of the steps. The report has other places.
        if not ended:
            raise
    return Ran(ended[0], signals[0] if signals else 0)


async def _run(start: Start, on_event: OnEvent) -> Report | None:
    try:
        return await start(on_event)
    except asyncio.CancelledError as cancelled:
        return report_of(cancelled)


@contextlib.contextmanager
def _taking_signals(stop: Callable[[int], None]) -> Generator[None]:
    """Call `stop` for Ctrl-C, SIGTERM and a terminal that is closed. Left to themselves, they would lose the report.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored.
    """
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    before = {
        number: handler for number in numbers if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    try:
        for number in before:
            loop.add_signal_handler(number, stop, number)
    except NotImplementedError:  # Windows
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _on_event(screen: Screen, steps: Steps) -> OnEvent:
    failed = 0

    def on_event(event: Event) -> None:
        nonlocal failed
        failed += event.outcome == "failed"
        # Nobody may be looking any more. That ends nothing half-way.
        with contextlib.suppress(OSError):
            steps.done(event.done, failed)
            screen.flush()

    return on_event


def facts_of(report: Report) -> dict[str, object]:
    """What was done, for people: what there is of it."""
    counts = report.counts
    already = Counter(row.change.kind for row in report.rows if row.outcome == "unchanged")
    facts: dict[str, object] = {
        "groups created": counts["created"],
        "groups that had come into being": counts["adopted"],
        "people invited": counts["invited"],
        "people invited already": already["invite_person"],
        "users changed": report.users_changed,
        "memberships added": report.memberships_added,
        "memberships removed": report.memberships_removed,
        "users that were so already": already["change_memberships"],
        "gone already": counts["already_absent"],
        "groups deleted": counts["deleted"],
        "groups kept, as they are used": counts["kept"],
        "failed": counts["failed"],
        "outcome unknown": counts["unknown"],
        "memberships different afterwards": len(report.differences),
        "not begun": counts["not_started"],
    }
    return {name: number for name, number in facts.items() if number} | {"seconds": f"{report.seconds:.2f}"}


def show_report(screen: Screen, report: Report, rest: str) -> None:
    """What was done, and the first failures. `rest` is where all of them are."""
    screen.styled(_failure_lines(report, rest))
    screen.styled((f"! {warning}", "yellow") for warning in report.warnings)
    screen.styled(_difference_lines(report, rest))
    screen.facts(facts_of(report))


def _failures(report: Report) -> list[Row]:
    return [row for row in report.failures if row.outcome != "not_started"]


def _failure_lines(report: Report, rest: str) -> Iterator[tuple[str, str]]:
    failures = _failures(report)
    for row in failures[:FAILURES_SHOWN]:
        yield f"! {row.change}: {row.outcome}: {row.error or 'it was broken off'}", "yellow"
    if (more := len(failures) - FAILURES_SHOWN) > 0:
        yield f"! and {more} more: {rest}", "yellow"


def _difference_lines(report: Report, rest: str) -> Iterator[tuple[str, str]]:
    for difference in report.differences[:FAILURES_SHOWN]:
        yield f"! {difference}", "yellow"
    if (more := len(report.differences) - FAILURES_SHOWN) > 0:
        yield f"! and {more} more: {rest}", "yellow"


def told_failures(report: Report) -> str:
    """How much was not done, or did not last, in a sentence; empty where everything was, or was not begun."""
    failed, unknown = report.counts["failed"], report.counts["unknown"]
    if not failed and not unknown:
        return _told_differences(report)
    told = f"{failed} of {counted(len(report.rows), 'change')} failed"
    if unknown:
        told += f", and of {unknown} it is not known whether {'it was' if unknown == 1 else 'they were'} made"
    return f"{told}. The same again makes up for what is missing"


def _told_differences(report: Report) -> str:
    if report.differences:
        return (
            f"{counted(len(report.differences), 'membership')} different after the run, as others write too. "
            "The same again makes up for it"
        )
    if report.unverified and not report.counts["not_started"]:
        return f"everything was written, and nothing verified: {report.unverified}"
    return ""
