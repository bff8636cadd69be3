"""`ezeep provision`: plan, apply, undo. `log` is in a module of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from cyclopts import App, Group, Parameter

from ezeep_async import Plan, ReauthorizationRequired, SafetyLimitExceeded
from ezeep_async.cli.connection import (
    HERE,
    LOG_IN_AGAIN,
    AtLeastOne,
    Connection,
    Json,
    OutFile,
    Yes,
    open_session,
)
from ezeep_async.cli.files import (
    check_different,
    check_files,
    check_not_read,
    default_audit_log,
    read_input,
    write_private,
    write_report,
)
from ezeep_async.cli.options import options
from ezeep_async.cli.provision.log import show_log
from ezeep_async.cli.provision.screen import (
    LINES_SHOWN,
    failure_message,
    follow,
    limit_message,
    show_plan,
    show_report,
)
from ezeep_async.cli.signals import end_reason
from ezeep_async.cli.terminal.output import complain, sentence, write_json
from ezeep_async.cli.terminal.prompts import check_can_ask, confirmed, in_background
from ezeep_async.cli.terminal.screen import Screen, Whole, to_json


if TYPE_CHECKING:
    from ezeep_async import DesiredState, EzeepSession, Report


Verify = Literal["fresh", "trust-plan"]
FAILED = 1
"""The exit code if something failed, or nothing could be done."""
PENDING = 2
"""The exit code of a plan that changes something."""
REFUSED = 3
"""The exit code if a safety limit refuses the plan."""

provision_app = App(
    name="provision",
    help="Bring the organization into line with a file of groups, members and printers.",
)
provision_app.command(show_log, name="log")


@Parameter(name="*", group=Group("Planning", sort_key=5))
@attrs.frozen(kw_only=True)
class Planning:
    """The options of making a plan. None: not given, also for an option whose default is a value."""

    printers: Path | None = None
    """A second file, with the columns group and printer (a name or an id): the printers of the groups."""
    mode: Literal["add", "exact"] | None = None
    """add, the default, removes nothing; exact gives the groups of the file exactly the members and printers of the file.
    Groups that are not in the file are not changed in either mode."""
    organization_id: str | None = None
    """The organization of new groups; by default the one that all groups belong to."""
    no_create_groups: bool | None = None
    """Report a group that does not exist as an error."""
    on_missing: Literal["error", "skip", "invite"] | None = None
    """Members who are not in the organization: stop (error, the default), skip them, or invite them. Invited people get
    their groups when the same command runs again after they have joined."""
    allow_external: bool | None = None
    """Also change the members of groups of another directory, such as Azure. It may change them back."""
    max_removals: float | None = None
    """Maximum number of memberships and printers to remove. Below 1: a share of the current memberships, and of the current
    printers, of the groups in the file (default 0.1); five removals of each are always allowed. From 1 up: a number for
    both together. 0: none."""
    protect_user: tuple[str, ...] | None = None
    """Never remove this user from a group: an id, an e-mail address, or a pattern such as '*@board.example.com'. May be
    given several times. You and the only administrator are always protected."""
    protect_group: tuple[str, ...] | None = None
    """Never remove a member or a printer from this group: an id, a name, or a pattern. May be given several times."""

    def given(self) -> dict[str, Any]:
        """The options that were given, whatever their value."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


@Parameter(name="*", group=Group("Reading a .csv", sort_key=4))
@attrs.frozen(kw_only=True)
class Reading:
    """How the files are read. None: not given."""

    ignore_columns: str | None = None
    """Columns of a .csv that are not read: their names, with commas between them."""
    encoding: str | None = None
    """The encoding of files that are not UTF-8: cp1252 for "CSV" of Excel in Western Europe, utf-16 for its "Unicode text"."""

    def given(self) -> dict[str, str]:
        """The options that were given."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


@Parameter(name="*", group=Group("Applying", sort_key=6))
@attrs.frozen(kw_only=True)
class Applying:
    """The options of applying a plan."""

    yes: Yes = False
    concurrency: AtLeastOne = 16
    """Maximum number of concurrent changes."""
    audit_log: OutFile = None
    """The file to which each write is logged before it is sent, for undo. By default a new file in your state folder; none
    with --sandbox."""
    no_audit_log: bool = False
    """Write no audit log. The changes cannot be undone then."""
    report: Annotated[OutFile, Parameter(name="--report")] = None
    """Write the outcome of each change to this file, a .csv or a .jsonl."""

    def check(self, given: Path) -> None:
        """Report what cannot work before anything is read. `given` is the input. Blocks. Raises `ValueError`, `OSError`."""
        if self.no_audit_log and self.audit_log is not None:
            raise ValueError("--audit-log and --no-audit-log cannot be used together")
        check_files(given, self.report, self.audit_log)
        check_can_ask(yes=self.yes)


PLAN_DEFAULTS, READ_DEFAULTS, APPLY_DEFAULTS = Planning(), Reading(), Applying()


@provision_app.command(
    name="plan",
    help_epilogue="Exit codes: 0 nothing to change, 1 an error, 2 changes are pending, 4 log in again. Nothing is written to ezeep.",
)
async def plan_file(
    file: Path,
    /,
    *,
    planning: Planning = PLAN_DEFAULTS,
    reading: Reading = READ_DEFAULTS,
    out: OutFile = None,
    html: OutFile = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Show the changes that apply would make: ~ user or printer, + added, - removed, ! not changed.

    Args:
        file: A .csv with the columns group and member (an e-mail address or a user id), or group and printer (a name or an
            id); a .json or a .yaml, which may have both; or a saved plan. - is CSV from standard input.
        out: Save the plan to this file, for ezeep provision apply.
        html: Write the plan to this file as a page for the person who approves it.
    """
    await asyncio.to_thread(_check_written, {"--out": out, "--html": html}, file, planning)
    given = await _read(file, planning, reading)
    if isinstance(given, Plan):
        plan = given
    else:
        async with open_session(connection) as session:
            plan = await _planned(session, given, planning)
    if out is not None:
        await asyncio.to_thread(write_private, out, plan.to_json() + "\n")
    if html is not None:
        await asyncio.to_thread(lambda: write_private(html, plan.to_html()))
    return _show(plan, as_json)


@provision_app.command(
    name="apply",
    help_epilogue="Exit codes: 0 all changes are made, 1 a change failed or was undone by another writer, or nothing could be done, 3 a safety "
    "limit refused the plan and nothing was changed, 4 log in again, 129 SIGHUP, 130 Ctrl-C, 141 the output was closed (broken pipe), "
    "143 SIGTERM. Run the same command again to make the missing changes.",
)
async def apply_file(
    file: Path,
    /,
    *,
    planning: Planning = PLAN_DEFAULTS,
    reading: Reading = READ_DEFAULTS,
    applying: Applying = APPLY_DEFAULTS,
    verify: Verify = "fresh",
    verify_after: Annotated[bool | None, Parameter(negative="--no-verify-after")] = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Make the changes: show them, ask, and apply them. A failed change does not stop the others, and is listed at the end.

    Args:
        file: As for ezeep provision plan, which is run first. Or a plan that was saved with --out, or with --json.
        verify: fresh reads each user before writing it, and keeps what others have changed since the plan was made.
            trust-plan relies on the plan for users whose groups are unchanged: half as many requests, but changes that
            others make during the run are overwritten.
        verify_after: List all users after the last change, repeat changes that other writers undid, and report what
            stays different. The default for a plan in mode exact.
    """
    await asyncio.to_thread(applying.check, file)
    await asyncio.to_thread(_check_written, {"--report": applying.report}, file, planning)
    given = await _read(file, planning, reading)
    async with open_session(connection) as session:
        return await _apply(
            session,
            given if isinstance(given, Plan) else await _planned(session, given, planning),
            applying,
            verify=verify,
            verify_after=verify_after,
            as_json=as_json,
            sandbox=connection.sandbox,
            whole="ezeep provision plan",
        )


@provision_app.command(
    name="undo",
    help_epilogue="Exit codes: as those of apply; with --dry-run as those of plan.",
)
async def undo_log(
    log: Path,
    /,
    *,
    run_id: str | None = None,
    delete_groups: bool = False,
    dry_run: bool = False,
    applying: Applying = APPLY_DEFAULTS,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Undo a run of apply: show the changes, ask, and apply them. What others have changed since the run stays.

    Args:
        log: The audit log of the run. apply shows its path.
        run_id: The run, in a log of several; by default the last one.
        delete_groups: Also delete groups that the run created, if they have no members and no printers.
        dry_run: Only show the changes.
    """
    if not dry_run:
        await asyncio.to_thread(applying.check, log)
    async with open_session(connection) as session:
        plan = await session.provisioning.undo(log, run_id=run_id, delete_groups=delete_groups)
        if dry_run:
            return _show(plan, as_json)
        return await _apply(
            session,
            plan,
            applying,
            as_json=as_json,
            sandbox=connection.sandbox,
            whole="ezeep provision undo --dry-run",
        )


async def _read(file: Path, options: Planning, reading: Reading) -> DesiredState | Plan:
    """Read the input. Raises `ValueError` also for options that do not fit it."""
    given = await in_background(lambda: read_input(file, **reading.given()))
    if isinstance(given, Plan):
        if names := ["--" + name.replace("_", "-") for name in [*options.given(), *reading.given()]]:
            raise ValueError(f"{file} is a saved plan: {', '.join(names)} cannot change it. Plan again")
        return given
    if options.mode == "exact":
        _check_filled(file, given)
    if options.printers is None:
        return given
    path = options.printers
    printers = await in_background(lambda: read_input(path, **reading.given()))
    if isinstance(printers, Plan) or printers.groups:
        found = "a saved plan" if isinstance(printers, Plan) else "a file with members"
        raise ValueError(f"--printers takes a file of groups and printers, and {path} is {found}")
    if options.mode == "exact":
        _check_filled(path, printers)
    return given.combined(printers)


def _check_filled(file: Path, given: DesiredState) -> None:
    if not given.names:
        raise ValueError(
            f"{file} contains no groups. --mode exact refuses it, because an empty export is usually a failed export"
        )


def _check_written(written: Mapping[str, Path | None], file: Path, planning: Planning) -> None:
    """Raise `ValueError` if a file would overwrite an input, or another one. Blocks. Raises `OSError`."""
    paths = [(name, path) for name, path in written.items() if path is not None]
    for number, (name, path) in enumerate(paths):
        for read in (file, planning.printers):
            if read is not None:
                check_not_read(path, name, read)
        for other_name, other in paths[:number]:
            check_different(path, name, other, other_name)


async def _planned(session: EzeepSession, desired: DesiredState, options: Planning) -> Plan:
    names = {"protect_user": "protect_users", "protect_group": "protect_groups"}
    given = options.given()
    given.pop("printers", None)  # in `desired`
    create_groups = not given.pop("no_create_groups", False)
    arguments = {names.get(name, name): value for name, value in given.items()}
    return await session.provisioning.plan(desired, create_groups=create_groups, **arguments)


def _show(plan: Plan, as_json: bool) -> int:
    if as_json:
        write_json(plan.to_json())
    else:
        show_plan(Screen(), plan)
    try:
        plan.check_limits()
    except SafetyLimitExceeded as error:
        complain(f"apply would refuse this: {limit_message(error)}")
    return 0 if plan.is_empty else PENDING


async def _apply(
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
    if not (options().quiet and applying.yes):
        show_plan(screen, plan, most=LINES_SHOWN, rest=whole)
    log = applying.audit_log
    report: Report | None
    signal = 0
    try:
        plan.check_limits()
        if plan.is_empty:
            report = await session.provisioning.apply(plan, audit_log=log)  # a given log can be undone
        else:
            if not await confirmed("Make these changes?", yes=applying.yes):
                complain("nothing was changed")
                return FAILED
            if log is None and not applying.no_audit_log and not sandbox:
                log = await asyncio.to_thread(default_audit_log)
            if log is not None:
                screen.note("The audit log is", Whole(log))  # before the run, which may be killed
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
            is_written = await _report(screen, plan, report, applying.report, log, as_json=as_json)
    if signal:
        complain(end_reason())
        return 128 + signal
    return _code_of(report) if is_written and report is not None else FAILED


def _code_of(report: Report) -> int:
    if any(isinstance(row.error, ReauthorizationRequired) for row in report.rows):
        return LOG_IN_AGAIN  # before FAILED: the rows that were not tried work after a login
    return 0 if report.ok else FAILED


async def _report(
    screen: Screen, plan: Plan, report: Report, path: Path | None, log: Path | None, *, as_json: bool
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
            write_json(to_json({**report.to_dict(), "audit_log": None if log is None else str(log)}))
        if report.rows:
            place = path or log
            show_report(screen, report, f"all are in {place}" if place else "--report FILE keeps all of them")
        if log is not None and any(row.ok for row in report.rows):
            # Without its id, an undo is not undone: its log may be that of the run.
            run = f" --run-id {report.run_id}" if plan.undoes else ""
            # A deleted group cannot be put back: a new one has another id.
            deleted = any(row.outcome == "deleted" and row.group_id is not None for row in report.rows)
            note = "To undo it, without the deleted groups:" if deleted else "To undo it:"
            screen.note(note, Whole(f"ezeep provision undo {shlex.quote(str(log))}{run}"))
        if message := failure_message(report):
            complain(message)
    finally:
        if problem:
            complain(f"the report is not written: {problem}")
    return not problem
